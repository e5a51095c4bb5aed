//! Takes note of what happens, as a hint that there is something to show, and passes it on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use seaworthy::ports::AdapterInfo;
use seaworthy::ports::observer::{Fact, Observer, RunEnd};
use serde::Serialize;
use tokio::sync::Notify;
use tracing_subscriber::EnvFilter;

/// Wakes the follower of this process when a log has grown, and passes facts on to others.
#[derive(Debug, Default)]
pub(crate) struct CliObserver {
    others: Vec<Arc<dyn Observer>>,
    is_logged: bool,
    grown: Notify,
    warns: AtomicBool,
    succeeded: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    stalled: AtomicU64,
    records: AtomicU64,
}

/// What was seen from the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Seen {
    /// Runs that ended well here.
    pub(crate) succeeded: u64,
    /// Runs that failed here.
    pub(crate) failed: u64,
    /// Runs that were cancelled here.
    pub(crate) cancelled: u64,
    /// How often a run could not go on for a while.
    pub(crate) stalled: u64,
    /// Records that were written.
    pub(crate) records: u64,
}

impl CliObserver {
    /// One that passes facts on to `others`. `is_logged`: one of them writes the log.
    pub(crate) fn before(others: Vec<Arc<dyn Observer>>, is_logged: bool) -> Self {
        Self {
            others,
            is_logged,
            ..Self::default()
        }
    }

    /// Warns of runs that cannot go on from now on: where nobody follows them.
    pub(crate) fn warn(&self) {
        self.warns.store(!self.is_logged, Ordering::Relaxed);
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> Seen {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Seen {
            succeeded: of(&self.succeeded),
            failed: of(&self.failed),
            cancelled: of(&self.cancelled),
            stalled: of(&self.stalled),
            records: of(&self.records),
        }
    }

    /// Returns when a log may have grown. Only a hint, for one waiter.
    pub(crate) async fn grown(&self) {
        self.grown.notified().await;
    }
}

impl Observer for CliObserver {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "cli",
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn wants_content(&self) -> bool {
        self.others.iter().any(|other| other.wants_content())
    }

    fn observe(&self, fact: &Fact) {
        self.others.iter().for_each(|other| other.observe(fact));
        let count = |counter: &AtomicU64, by: u64| {
            counter.fetch_add(by, Ordering::Relaxed);
        };
        match fact {
            Fact::RecordsAppended { records, .. } => {
                count(&self.records, u64::from(*records));
                self.grown.notify_one();
            }
            Fact::RunStalled { run, message } => {
                count(&self.stalled, 1);
                if self.warns.load(Ordering::Relaxed) {
                    tracing::warn!(%run, "the run cannot go on for now: {message}");
                }
            }
            Fact::RunEnded { status, .. } => match status {
                RunEnd::Succeeded => count(&self.succeeded, 1),
                RunEnd::Failed => count(&self.failed, 1),
                RunEnd::Cancelled => count(&self.cancelled, 1),
            },
            _ => {}
        }
    }
}

/// Logs to standard error: warnings of Seaworthy and errors of everything else, unless `filter` says otherwise.
pub(crate) fn log_to_stderr(filter: Option<&str>) {
    let filter = EnvFilter::new(filter.unwrap_or("error,seaworthy=warn"));
    // It is set once in the life of this process, before anything can log.
    let _set_before = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .compact()
        .try_init();
}

#[cfg(test)]
mod tests {
    use seaworthy::ports::async_trait;
    use seaworthy_contract::observer::Harness;

    use super::*;

    struct OfThisProgram;

    #[async_trait]
    impl Harness for OfThisProgram {
        async fn start() -> Self {
            Self
        }

        fn observer(&self) -> Arc<dyn Observer> {
            Arc::new(CliObserver::default())
        }
    }

    seaworthy_contract::observer_contract! {
        harness: OfThisProgram,
        not_checkable: {
            a_lost_backend_costs_facts_that_are_counted: "a hint that nobody waits for is no fact that is lost",
            a_backend_that_is_held_up_holds_nobody_up: "it passes hints on within the process",
            the_facts_of_a_run_come_out_in_their_order: "what comes out are hints, without a run",
            content_that_was_not_asked_for_is_not_passed_on: "what comes out are hints, without content",
            nothing_is_added_to_a_fact: "what comes out are hints, without content",
        }
    }
}

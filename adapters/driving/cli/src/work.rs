//! What this process works at: a runtime that counts the turns it delivers.

#![deny(clippy::missing_trait_methods)]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seaworthy::ports::durable_runtime::{
    Advance, DurableRuntime, Next, RuntimeCapabilities, RuntimeError, Schedule, Served, Signal,
    Signalled, Submit, Submitted, Then, Turn, Worker,
};
use seaworthy::ports::{AdapterInfo, Latch, QueueName, RunId, async_trait};

/// Turns, counted from the start of the process.
#[derive(Debug, Default)]
pub(crate) struct Work {
    claimed: AtomicU64,
    returned: AtomicU64,
    lost: AtomicU64,
    put_off: AtomicU64,
    revoked: AtomicU64,
}

/// [`Work`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Turns that began: each is a claim of a run.
    pub(crate) claimed: u64,
    /// Turns that returned.
    pub(crate) returned: u64,
    /// Turns that panicked or were dropped.
    pub(crate) lost: u64,
    /// Turns, of those that returned, that could not go on and asked for another.
    pub(crate) put_off: u64,
    /// Turns, of those that returned, whose lease was gone.
    pub(crate) revoked: u64,
}

impl Counts {
    /// Turns that are under way.
    pub(crate) const fn live(&self) -> u64 {
        self.claimed
            .saturating_sub(self.returned)
            .saturating_sub(self.lost)
    }
}

impl Work {
    /// What was counted. Turns end before they are counted as begun by nobody, so `live` is never too high by much.
    pub(crate) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Ends first: a turn that ends in between is live rather than negative.
        let (returned, lost) = (of(&self.returned), of(&self.lost));
        Counts {
            claimed: of(&self.claimed),
            returned,
            lost,
            put_off: of(&self.put_off),
            revoked: of(&self.revoked),
        }
    }
}

/// Counts what `serve` delivers, and passes everything on.
#[derive(Debug)]
pub(crate) struct Counting {
    inner: Arc<dyn DurableRuntime>,
    work: Arc<Work>,
}

impl Counting {
    pub(crate) fn new(inner: Arc<dyn DurableRuntime>, work: Arc<Work>) -> Self {
        Self { inner, work }
    }
}

#[async_trait]
impl DurableRuntime for Counting {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> RuntimeCapabilities {
        self.inner.capabilities()
    }

    async fn submit(&self, submit: Submit) -> Result<Submitted, RuntimeError> {
        self.inner.submit(submit).await
    }

    async fn resubmit(&self, run: &RunId) -> Result<(), RuntimeError> {
        self.inner.resubmit(run).await
    }

    async fn signal(&self, run: &RunId, signal: Signal) -> Result<Signalled, RuntimeError> {
        self.inner.signal(run, signal).await
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        self.inner.describe(run).await
    }

    async fn forget(&self, run: &RunId) -> Result<(), RuntimeError> {
        self.inner.forget(run).await
    }

    async fn limit_queue(
        &self,
        queue: &QueueName,
        limit: Option<NonZeroU32>,
    ) -> Result<(), RuntimeError> {
        self.inner.limit_queue(queue, limit).await
    }

    async fn queue_limits(&self) -> Result<BTreeMap<QueueName, NonZeroU32>, RuntimeError> {
        self.inner.queue_limits().await
    }

    async fn serve(
        &self,
        worker: Worker,
        advance: Arc<dyn Advance>,
        stop: Latch,
    ) -> Result<Served, RuntimeError> {
        let counted = Counted {
            inner: advance,
            work: Arc::clone(&self.work),
        };
        self.inner.serve(worker, Arc::new(counted), stop).await
    }
}

struct Counted {
    inner: Arc<dyn Advance>,
    work: Arc<Work>,
}

#[async_trait]
impl Advance for Counted {
    async fn advance(&self, turn: Turn) -> Next {
        let revoked = turn.revoked.clone();
        let live = Live::begin(&self.work);
        let next = self.inner.advance(turn).await;
        live.returned(&next, revoked.is_set());
        next
    }
}

/// A turn under way. Dropped before it returned, it is lost.
struct Live<'a> {
    work: &'a Work,
    has_returned: bool,
}

impl<'a> Live<'a> {
    fn begin(work: &'a Work) -> Self {
        work.claimed.fetch_add(1, Ordering::Relaxed);
        Self {
            work,
            has_returned: false,
        }
    }

    fn returned(mut self, next: &Next, is_revoked: bool) {
        self.has_returned = true;
        self.work.returned.fetch_add(1, Ordering::Relaxed);
        if is_revoked {
            self.work.revoked.fetch_add(1, Ordering::Relaxed);
        } else if matches!(next.then, Then::Again { .. }) {
            self.work.put_off.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        if !self.has_returned {
            self.work.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(then: Then) -> Next {
        Next {
            consumed: Vec::new(),
            then,
        }
    }

    #[test]
    fn a_turn_counts_once_however_it_ends() {
        let work = Work::default();
        let again = next(Then::Again {
            after: std::time::Duration::ZERO,
        });
        let first = Live::begin(&work);
        let second = Live::begin(&work);
        let third = Live::begin(&work);
        let fourth = Live::begin(&work);
        assert_eq!(work.counts().live(), 4);
        first.returned(&next(Then::Done), false);
        second.returned(&again, false);
        third.returned(&again, true);
        drop(fourth);
        let counts = work.counts();
        assert_eq!(counts.live(), 0);
        let expected = Counts {
            claimed: 4,
            returned: 3,
            lost: 1,
            put_off: 1,
            revoked: 1,
        };
        assert_eq!(counts, expected);
    }
}

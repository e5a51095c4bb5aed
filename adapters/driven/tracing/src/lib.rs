//! An [`Observer`] that makes events of the [`tracing`] crate of what it is told, for whatever subscriber the application has.
//!
//! Subscribers write, and writing blocks, so a thread of its own hands the events over: what does not fit into its bounded
//! queue is dropped and counted. The subscriber is the one that is the default where the observer is made.
//!
//! Events are at the target `seaworthy`: `info` for the ends of runs, calls and attempts, `warn` for a run that cannot go on,
//! `debug` for everything else. `trace_id`, `span_id` and `parent_id` tie them to the traces that other observers send.
//! They are no spans of [`tracing`]: those live on the stack of a thread, while a run lives on many workers.
//! Content is not asked for.

mod event;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use seaworthy_ports::AdapterInfo;
use seaworthy_ports::observer::{Fact, Observer};
use tracing::Dispatch;

/// How many facts wait unless [`TracingObserver::with_queue`] says otherwise.
const QUEUE: usize = 4096;

/// The thread that hands events over cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("the thread for events of runs cannot be started: {0}")]
pub struct NoThread(#[from] std::io::Error);

/// Hands what it is told to the subscriber of [`tracing`]. Once it is dropped, what still waits is handed over.
pub struct TracingObserver {
    facts: SyncSender<Told>,
    dropped: Arc<AtomicU64>,
}

enum Told {
    Fact(Box<Fact>),
    /// Says when all before it is handed over.
    Flush(SyncSender<()>),
}

impl fmt::Debug for TracingObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracingObserver")
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

impl TracingObserver {
    /// An observer for the subscriber that is the default here.
    ///
    /// # Errors
    ///
    /// [`NoThread`].
    pub fn new() -> Result<Self, NoThread> {
        Self::with_queue(QUEUE)
    }

    /// The same, with room for so many facts, at least one.
    ///
    /// # Errors
    ///
    /// [`NoThread`].
    pub fn with_queue(facts: usize) -> Result<Self, NoThread> {
        let dispatch = tracing::dispatcher::get_default(Dispatch::clone);
        let (facts, waiting) = sync_channel(facts.max(1));
        std::thread::Builder::new()
            .name("seaworthy-tracing".to_owned())
            .spawn(move || tracing::dispatcher::with_default(&dispatch, || hand_over(&waiting)))?;
        Ok(Self {
            facts,
            dropped: Arc::default(),
        })
    }

    /// How many facts there was no room for.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all that was told is handed over: a blocking call.
    pub fn flush(&self) {
        let (done, said) = sync_channel(1);
        if self.facts.send(Told::Flush(done)).is_ok() {
            // Without an answer the thread is gone, and there is nothing to wait for.
            let _over = said.recv();
        }
    }
}

fn hand_over(facts: &Receiver<Told>) {
    for told in facts {
        match told {
            Told::Fact(fact) => event::emit(&fact),
            Told::Flush(done) => {
                // Whoever asked may be gone.
                let _told = done.send(());
            }
        }
    }
}

impl Observer for TracingObserver {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "tracing",
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn wants_content(&self) -> bool {
        false
    }

    fn observe(&self, fact: &Fact) {
        // The most common fact by far is one that hardly anybody listens to.
        let is_heard = match fact {
            Fact::ModelCallContent { .. }
            | Fact::ToolCallContent { .. }
            | Fact::ServerLogContent { .. } => false,
            fact => event::level(fact) <= tracing::level_filters::LevelFilter::current(),
        };
        if is_heard
            && self
                .facts
                .try_send(Told::Fact(Box::new(fact.clone())))
                .is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

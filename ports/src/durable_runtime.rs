//! Decides when and where a run advances.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use serde::Serialize;

use crate::{
    AdapterInfo, Durability, ErrorKind, Latch, PortError, QueueName, Retry, RunId, SessionId,
    SignalId, Timestamp, WorkerId,
};

/// Queues runs, delivers them to workers, wakes them, and survives its own death.
///
/// The runtime calls the core, not the other way round, so that a polling store and an engine that pushes implement the
/// same port. Delivery is at least once; the log makes it count once.
///
/// # Contract
///
/// * **DR-1** `submit` is idempotent by run id; a run is never delivered before its due time.
/// * **DR-2** While a lease holds, a run, and a session, has at most one live turn.
/// * **DR-3** Leases are renewed by the runtime for as long as `advance` takes. The time to live starts when the lease is
///   granted, on the runtime's clock, never on a timestamp taken before waiting for a connection or lock; renewal never
///   shortens, and never revives a lease that was taken over.
/// * **DR-4** A worker that dies mid-turn is replaced within time to live plus one poll, at once where its death can be
///   proved. A worker whose lease is gone sees `revoked`; its [`Next`] changes nothing.
/// * **DR-5** A signal is durable once accepted, deduplicated by id (consumed ones included), delivered in acceptance
///   order, redelivered until listed in `consumed`, and never lost between a turn ending and the run parking. `mail`
///   brings those that arrive during the turn.
/// * **DR-6** A signal to an unknown run is [`Kind::NotFound`]; to a finished one [`Signalled::Finished`]; neither grows
///   storage.
/// * **DR-7** [`Then::Park`] wakes at its time (never early) or at the next signal. After any downtime every overdue wake
///   happens once.
/// * **DR-8** [`Then::Done`] ends it: no delivery afterwards. [`Then::Again`] comes back not before its time.
/// * **DR-9** A turn that panics or is dropped is delivered again with backoff; it neither stops `serve` nor starves others.
/// * **DR-10** `stop` drains: no new turn starts, live ones finish or are released within the drain time, all leases are
///   free on return, no task and no connection is left.
/// * **DR-11** With every notification lost, progress continues at the poll interval; an idle worker asks at most twice a
///   second.
/// * **DR-12** Worker clocks an hour fast or slow change nothing.
/// * **DR-13** Oldest due first within a queue; a thousand due runs across several workers are each delivered once, with no
///   deadlock.
/// * **DR-14** *(distributed)* All of the above with workers in several processes, killed and paused at random.
/// * **DR-15** `forget` leaves no row; the id may be submitted again.
/// * **DR-16** `resubmit` makes a finished run due again, keeping what it knows of its signals; a run that is not finished
///   is left as it is.
/// * **DR-17** *(queue_limits)* At most as many runs of a queue hold a live lease as [`DurableRuntime::limit_queue`] allows,
///   over all workers, under load and after crashes. A limit is as durable as a submission; a lower one ends no turn, a
///   higher one is used within one poll, and a full queue holds up no other.
///
/// # Cancellation
///
/// Dropping a returned future leaves the outcome unknown, never half done. Dropping `serve` drops its turns; their leases
/// expire.
#[async_trait]
pub trait DurableRuntime: fmt::Debug + Send + Sync + 'static {
    /// Who this is. No I/O.
    fn info(&self) -> AdapterInfo;

    /// What this runtime promises beyond the unconditional clauses. No I/O.
    fn capabilities(&self) -> RuntimeCapabilities;

    /// Makes a run due.
    async fn submit(&self, submit: Submit) -> Result<Submitted, RuntimeError>;

    /// Makes a finished run due again (it was reopened); harmless for any other known run.
    async fn resubmit(&self, run: &RunId) -> Result<(), RuntimeError>;

    /// Sends a durable message to a run.
    async fn signal(&self, run: &RunId, signal: Signal) -> Result<Signalled, RuntimeError>;

    /// What the runtime knows of a run.
    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError>;

    /// Removes everything the runtime knows of a run. Forgetting an unknown run is fine.
    async fn forget(&self, run: &RunId) -> Result<(), RuntimeError>;

    /// Limits how many runs of a queue are leased at once, over all workers; `None` lifts the limit. In force for every
    /// lease granted after it returns. More than [`MAX_QUEUE_LIMITS`] limits are [`Kind::Rejected`], and any limit is
    /// where `queue_limits` is not declared.
    async fn limit_queue(
        &self,
        _queue: &QueueName,
        _limit: Option<NonZeroU32>,
    ) -> Result<(), RuntimeError> {
        Err(RuntimeError::new(
            Kind::Rejected,
            self.info().id,
            "limit_queue",
            "this runtime keeps no queue limits",
        ))
    }

    /// The limits in force, by queue.
    async fn queue_limits(&self) -> Result<BTreeMap<QueueName, NonZeroU32>, RuntimeError> {
        Ok(BTreeMap::new())
    }

    /// Delivers due runs to `advance` until `stop` is set, or, for [`Scope::Run`], until that run is parked or done.
    async fn serve(
        &self,
        worker: Worker,
        advance: Arc<dyn Advance>,
        stop: Latch,
    ) -> Result<Served, RuntimeError>;
}

/// What the runtime calls to move a run forward: the core's driver.
#[async_trait]
pub trait Advance: Send + Sync {
    /// Advances one run as far as it goes. Dropping the future is like the death of the worker: the turn is delivered
    /// again.
    async fn advance(&self, turn: Turn) -> Next;
}

/// What a runtime promises beyond the unconditional clauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RuntimeCapabilities {
    /// What an accepted submission or signal survives.
    pub durability: Durability,
    /// Workers may live in several processes (DR-14).
    pub distributed: bool,
    /// Wake-ups reach a worker of another process without waiting for its poll.
    pub pushed_wakeups: bool,
    /// Queues keep to the limits that [`DurableRuntime::limit_queue`] sets (DR-17).
    pub queue_limits: bool,
    /// How late a wake may come when a worker is free, in milliseconds.
    pub timer_precision_ms: u32,
}

/// A run to make due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// The run.
    pub run: RunId,
    /// The session whose runs go one at a time.
    pub session: Option<SessionId>,
    /// Which line to wait in.
    pub queue: QueueName,
    /// Not before this, on the runtime's clock; `None`: now.
    pub not_before: Option<Timestamp>,
}

/// Whether `submit` was the first for its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The run was unknown.
    New,
    /// The run is known; nothing changed.
    Existing,
}

/// A durable message to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Makes sending it twice harmless.
    pub id: SignalId,
    /// What it says; at most [`MAX_SIGNAL_BYTES`], else [`Kind::Rejected`].
    pub payload: Bytes,
}

/// How many bytes a signal's payload may have.
pub const MAX_SIGNAL_BYTES: usize = 256 * 1024;
/// How many signals may wait for one run; one more is [`Kind::Rejected`].
pub const MAX_WAITING_SIGNALS: usize = 10_000;
/// How many queues may have a limit; one more is [`Kind::Rejected`].
pub const MAX_QUEUE_LIMITS: usize = 1_000;

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// It is durable and will be delivered.
    Accepted,
    /// One with this id was accepted before.
    Duplicate,
    /// The run has ended.
    Finished,
}

/// What the runtime knows of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Where it stands.
    pub state: ScheduleState,
    /// How often it was delivered.
    pub deliveries: u32,
    /// How many signals wait.
    pub signals: u32,
}

/// Where a run stands with the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleState {
    /// Waiting for a worker, from `due` on.
    Due {
        /// Not before this.
        due: Timestamp,
    },
    /// Held by a worker.
    Leased {
        /// The holder.
        worker: WorkerId,
        /// When it may be taken over unless renewed.
        expires: Timestamp,
    },
    /// Waiting for a time or a signal.
    Parked {
        /// The time, if there is one.
        wake_at: Option<Timestamp>,
    },
    /// Over.
    Finished,
}

/// One process that serves runs.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its name, unique among live workers.
    pub id: WorkerId,
    /// Which runs it takes.
    pub scope: Scope,
    /// How many turns at once; at least 1.
    pub concurrency: usize,
    /// How long a lease lives without renewal.
    pub lease: Duration,
    /// How long to wait before asking again when nothing is due and no hint comes; at least half a second is honoured.
    pub poll: Duration,
    /// How long live turns may take after `stop`.
    pub drain: Duration,
}

/// Which runs a worker takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every due run.
    All,
    /// Runs of these queues.
    Queues(BTreeSet<QueueName>),
    /// This one run; `serve` returns when it is parked or done.
    Run(RunId),
}

/// One delivery of a run.
pub struct Turn {
    /// The run.
    pub run: RunId,
    /// The how-many-th delivery this is, from 1.
    pub delivery: u32,
    /// The signals that wait, in acceptance order.
    pub signals: Vec<Signal>,
    /// Signals that arrive while the turn lives, in acceptance order, none twice in one turn. It may end early; what it
    /// does not bring, the next delivery does.
    pub mail: BoxStream<'static, Signal>,
    /// Set when the lease is gone: whatever the turn still does, the log refuses.
    pub revoked: Latch,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("run", &self.run)
            .field("delivery", &self.delivery)
            .field("signals", &self.signals.len())
            .finish_non_exhaustive()
    }
}

/// What a turn leaves for the runtime to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// The signals that need no redelivery.
    pub consumed: Vec<SignalId>,
    /// When the run goes on.
    pub then: Then,
}

/// When a run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// At the next signal, or at `wake_at`. If signals wait that were not consumed and arrived after the turn's
    /// `signals` were read, at once.
    Park {
        /// The time, on the runtime's clock; `None`: only a signal wakes it.
        wake_at: Option<Timestamp>,
    },
    /// Not before this delay.
    Again {
        /// The delay, counted on the runtime's clock from when the turn ended.
        after: Duration,
    },
    /// Never: the run has ended.
    Done,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Turns that returned.
    pub turns: u64,
    /// Turns that panicked.
    pub panicked: u64,
    /// Turns that lost their lease.
    pub revoked: u64,
}

/// Why a runtime call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// The runtime does not know the run.
    #[error("not found")]
    NotFound,
    /// What is stored cannot be read.
    #[error("corrupt")]
    Corrupt,
    /// The runtime cannot be reached, is busy or has no room.
    #[error("unavailable")]
    Unavailable,
    /// The call is malformed, or the runtime refuses it for good.
    #[error("rejected")]
    Rejected,
}

impl ErrorKind for Kind {
    fn default_retry(self) -> Retry {
        match self {
            Self::Unavailable => Retry::Backoff,
            Self::NotFound | Self::Corrupt | Self::Rejected => Retry::No,
        }
    }
}

/// Why a runtime call failed.
pub type RuntimeError = PortError<Kind>;

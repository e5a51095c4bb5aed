//! What the lease loop needs of a store.

use std::time::Duration;

use async_trait::async_trait;
use seaworthy_ports::durable_runtime::{Next, RuntimeError, Schedule, Scope, Signal};
use seaworthy_ports::{RunId, Timestamp, WorkerId};

/// The atomic steps on runs and signals that [`serve`](crate::serve()) is made of.
///
/// Every time in here is on the clock that is given to `serve` too. An implementation reads it when it holds the lock
/// or transaction in which it uses it, never before waiting for one.
///
/// # Cancellation
///
/// Dropping a returned future leaves the outcome unknown, never half done. A lease granted that way expires.
#[async_trait]
pub trait LeaseStorage: Send + Sync + 'static {
    /// Announces a worker that starts to serve. Leases that an earlier life of the same worker left behind are freed if
    /// its death is certain.
    async fn enlist(&self, worker: &WorkerId) -> Result<Box<dyn Presence>, RuntimeError>;

    /// Frees the leases of workers whose death is certain, and says whether there were any. Where nothing but time tells
    /// whether a worker lives, there are none.
    async fn free_dead(&self) -> Result<bool, RuntimeError>;

    /// Grants leases on due runs of the scope, oldest due first: at most `limit`, at most one per session, none in a
    /// session with a live lease. Due are: runs whose time has come, parked runs whose wake time has come, and leased
    /// runs whose lease has expired. Each grant raises the run's delivery count and has a fence of its own.
    ///
    /// Where nothing is due, a storage that can tell when something is may wait for it instead of answering with nothing,
    /// until [`hurry`](Self::hurry) is called.
    async fn claim(&self, claim: Claim<'_>) -> Result<Claimed, RuntimeError>;

    /// Makes a claim that waits answer soon. Called while one is under way.
    fn hurry(&self) {}

    /// Extends the leases that are still held under their fence and have not expired, and returns those; never shortens.
    async fn renew(&self, leases: &[LeaseKey], ttl: Duration)
    -> Result<Vec<Renewed>, RuntimeError>;

    /// Ends a lease and says what becomes of its run. `false`, and nothing changed, if the lease is no longer held under
    /// its fence.
    async fn settle(&self, settle: Settle<'_>) -> Result<bool, RuntimeError>;

    /// The waiting signals of some runs after some positions, in acceptance order for each run; at most `limit`.
    async fn signals(
        &self,
        after: &[SignalsAfter],
        limit: usize,
    ) -> Result<Vec<WaitingSignal>, RuntimeError>;

    /// What is known of a run.
    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError>;
}

/// That a worker serves. Dropping it is the death of the worker: its leases are not freed by it.
#[async_trait]
pub trait Presence: Send + Sync {
    /// Ends the presence in order: the worker holds no lease any more.
    async fn leave(self: Box<Self>);
}

/// Which leases to grant.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// To whom.
    pub worker: &'a WorkerId,
    /// On which runs.
    pub scope: &'a Scope,
    /// How many at most.
    pub limit: usize,
    /// How long they live.
    pub ttl: Duration,
}

/// The leases granted.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// Oldest due first.
    pub leases: Vec<Lease>,
    /// Where none was granted: when the next run of the scope may become due, if that is known to be in the future.
    pub next_due: Option<Timestamp>,
}

/// One lease on one run.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The run.
    pub run: RunId,
    /// Never used for another lease of the same storage.
    pub fence: u64,
    /// The how-many-th delivery of the run this is.
    pub delivery: u32,
    /// When it ends unless renewed.
    pub expires: Timestamp,
    /// Whether signals waited for the run when the lease was granted; `false` only where it is certain that none did.
    pub has_signals: bool,
}

/// Names a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseKey {
    /// The run.
    pub run: RunId,
    /// The lease's fence.
    pub fence: u64,
}

/// A lease that lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The lease's fence.
    pub fence: u64,
    /// When it ends unless renewed again.
    pub expires: Timestamp,
}

/// How a lease ends.
#[derive(Clone, Copy, Debug)]
pub struct Settle<'a> {
    /// Which one.
    pub lease: &'a LeaseKey,
    /// The position of the last signal that the turn was given when it started; 0: none.
    pub seen: u64,
    /// What becomes of the run.
    pub settlement: &'a Settlement,
}

/// What becomes of a run when its lease ends.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// What the turn said. Parking with a waiting signal after `seen` makes the run due at once.
    Next(Next),
    /// The turn panicked: due again after [`redelivery_delay`](crate::redelivery_delay) of the failures in a row.
    Failed,
    /// The turn never started or was dropped by its worker in order: due at once.
    Released,
}

/// From where to look for signals of a run.
#[derive(Clone, Debug)]
pub struct SignalsAfter {
    /// The run.
    pub run: RunId,
    /// Only signals after this position; 0: all that wait.
    pub position: u64,
}

/// A signal that waits.
#[derive(Clone, Debug)]
pub struct WaitingSignal {
    /// For whom.
    pub run: RunId,
    /// Rises with each signal accepted for the run.
    pub position: u64,
    /// What it says.
    pub signal: Signal,
}

//! Supervises one turn: runs it, catches its panic, and settles its lease.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{Advance, Turn};
use seaworthy_ports::{Latch, Retry};
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::redelivery_delay;
use crate::held::Held;
use crate::storage::{LeaseKey, LeaseStorage, Settle, Settlement};

/// How long a turn that was told to end may take to notice. A turn that blocks its thread longer keeps its lease until
/// that expires.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// What the supervisors of one worker share.
pub(crate) struct Context<S: ?Sized> {
    pub(crate) storage: Arc<S>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) held: Arc<Held>,
    pub(crate) advance: Arc<dyn Advance>,
    /// Set when the drain time is over.
    pub(crate) abandon: Latch,
}

/// What became of a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) returned: bool,
    pub(crate) panicked: bool,
    pub(crate) revoked: bool,
}

impl<S: LeaseStorage + ?Sized> Context<S> {
    /// Runs the turn to its end. Dropping the future drops the turn; its lease expires.
    pub(crate) async fn supervise(
        self: Arc<Self>,
        key: LeaseKey,
        seen: u64,
        turn: Turn,
    ) -> Outcome {
        let advance = Arc::clone(&self.advance);
        let mut live =
            AbortOnDropHandle::new(tokio::spawn(async move { advance.advance(turn).await }));
        let ended = tokio::select! {
            ended = &mut live => Some(ended),
            () = self.abandon.wait() => {
                live.abort();
                tokio::time::timeout(ABORT_GRACE, &mut live).await.ok()
            }
        };
        let mut outcome = Outcome::default();
        let settlement = match ended {
            Some(Ok(next)) => {
                outcome.returned = true;
                Some(Settlement::Next(next))
            }
            Some(Err(error)) if error.is_panic() => {
                outcome.panicked = true;
                tracing::error!(run = %key.run, "a turn panicked; it will be delivered again");
                Some(Settlement::Failed)
            }
            Some(Err(_)) => Some(Settlement::Released),
            None => None,
        };
        if let Some(settlement) = settlement {
            outcome.revoked = !self.settle(&key, seen, &settlement).await;
        }
        self.held.remove(key.fence);
        outcome
    }

    /// Ends the lease; `false` if it was gone, or cannot be ended before it is.
    pub(crate) async fn settle(&self, key: &LeaseKey, seen: u64, settlement: &Settlement) -> bool {
        let settle = Settle {
            lease: key,
            seen,
            settlement,
        };
        let mut failures = 0;
        loop {
            if self.held.is_lost(key.fence, self.clock.now()) {
                return false;
            }
            let error = match self.storage.settle(settle).await {
                Ok(settled) => return settled,
                Err(error) => error,
            };
            failures += 1;
            tracing::warn!(run = %key.run, %error, "a turn could not be settled");
            // While draining, somebody waits for this: the lease's expiry does the rest.
            if error.retry() == Retry::No || (self.abandon.is_set() && failures >= 3) {
                return false;
            }
            let again = self.clock.now().plus(redelivery_delay(failures));
            self.clock.sleep_until(again).await;
        }
    }
}

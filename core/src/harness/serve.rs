//! Serving runs, and ending those whose watchers went away and wanted that.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::future::{Either, select};
use seaworthy_ports::durable_runtime::{Scope, Served, Worker};
use seaworthy_ports::observer::Fact;
use seaworthy_ports::{Latch, WorkerId};

use super::{Harness, HarnessError};
use crate::driver::Driver;
use crate::live::Abandoned;
#[cfg(doc)]
use crate::live::OnDrop;

/// How often a run that nobody watches any more is tried to be cancelled.
const ABANDONED_TRIES: u32 = 10;
/// How long to wait between two of these tries.
const ABANDONED_DELAY: std::time::Duration = std::time::Duration::from_secs(1);

impl Harness {
    /// Serves runs until `stop` is set, and cancels those whose watchers went away and wanted that ([`OnDrop`]); with
    /// [`Scope::Run`], until that run is parked or done.
    ///
    /// # Errors
    ///
    /// The runtime's.
    pub async fn serve(&self, worker: Worker, stop: Latch) -> Result<Served, HarnessError> {
        let driver = Driver::new(
            self.ports.clone(),
            self.settings.clone(),
            self.relay.clone(),
            worker.id.clone(),
        );
        let serving = self
            .ports
            .durable_runtime
            .serve(worker, Arc::new(driver), stop);
        let cancelling = std::pin::pin!(self.cancel_abandoned());
        let served = match select(serving, cancelling).await {
            Either::Left((served, _cancelling)) => served?,
            Either::Right((never, _serving)) => match never {},
        };
        while let Some(abandoned) = self.relay.first_abandoned() {
            self.cancel_for(abandoned).await;
        }
        Ok(served)
    }

    /// Cancels runs whose watchers went away and wanted that.
    async fn cancel_abandoned(&self) -> Infallible {
        loop {
            let abandoned = self.relay.abandoned().await;
            self.cancel_for(abandoned).await;
        }
    }

    async fn cancel_for(&self, abandoned: Abandoned) {
        let mut tries = 0_u32;
        while let Err(error) = self.cancel_unless_ended(&abandoned).await {
            tries = tries.saturating_add(1);
            if tries >= ABANDONED_TRIES {
                self.ports.observer.observe(&Fact::RunStalled {
                    run: abandoned.run.clone(),
                    message: format!("its watcher went away, and it cannot be cancelled: {error}")
                        .into(),
                });
                break;
            }
            let later = self.ports.clock.now().plus(ABANDONED_DELAY);
            self.ports.clock.sleep_until(later).await;
        }
        self.relay.settle(&abandoned);
    }

    async fn cancel_unless_ended(&self, abandoned: &Abandoned) -> Result<(), HarnessError> {
        let why = "nobody watches it any more".to_owned();
        match self.state(&abandoned.run).await {
            Ok(state) if state.outcome.is_none() => {
                match self.cancel(&abandoned.run, &abandoned.by, Some(why)).await {
                    Err(HarnessError::WrongStatus { .. }) => Ok(()),
                    cancelled => cancelled,
                }
            }
            Ok(_) | Err(HarnessError::UnknownRun(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A worker that serves `scope`, with the usual times.
#[must_use]
pub fn worker(id: WorkerId, scope: Scope, concurrency: usize) -> Worker {
    use std::time::Duration;
    Worker {
        id,
        scope,
        concurrency,
        lease: Duration::from_secs(15),
        poll: Duration::from_millis(500),
        drain: Duration::from_secs(20),
    }
}

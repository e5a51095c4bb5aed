//! The runtime.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use seaworthy_polling::Hints;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Kind, MAX_SIGNAL_BYTES, RuntimeCapabilities, RuntimeError, Schedule,
    Served, Signal, Signalled, Submit, Submitted, Worker,
};
use seaworthy_ports::{AdapterInfo, Durability, Latch, QueueName, RunId, WorkerId};
use tokio_util::task::AbortOnDropHandle;

use crate::config::RestateConfig;
use crate::error::{ADAPTER, refusal};
use crate::ingress::Ingress;
use crate::lease_storage::Remote;
use crate::limits::LimitChanges;
use crate::wire::{LINE, Limits, Payload, RUN, SendSignal, Sent, SetLimit, SubmitRun, THE_LINE};

/// How long a worker waits to listen again after it could not.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// A durable runtime on a Restate server.
///
/// A handle is a caller of the server's ingress. The handlers that it calls are served by [`Handlers`](crate::Handlers),
/// somewhere else or in the same process.
#[derive(Debug)]
pub struct Restate {
    config: RestateConfig,
    ingress: Ingress,
    clock: Arc<dyn Clock>,
    limits: LimitChanges,
}

impl Restate {
    /// Prepares calls; `clock` is what leases are watched by in this process. No I/O: whether the server answers shows
    /// with the first call.
    ///
    /// # Errors
    ///
    /// `Rejected` for an address or token that cannot be used.
    pub fn new(config: RestateConfig, clock: Arc<dyn Clock>) -> Result<Self, RuntimeError> {
        let ingress = Ingress::new(&config)?;
        Ok(Self {
            config,
            ingress,
            clock,
            limits: LimitChanges::default(),
        })
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        operation: &'static str,
        run: &RunId,
        message: &(impl serde::Serialize + Sync),
    ) -> Result<T, RuntimeError> {
        self.ingress
            .call(operation, (RUN, run.as_str()), operation, message)
            .await
    }
}

#[async_trait]
impl DurableRuntime for Restate {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn capabilities(&self) -> RuntimeCapabilities {
        RuntimeCapabilities {
            durability: Durability::OsCrash,
            distributed: true,
            pushed_wakeups: true,
            queue_limits: true,
            timer_precision_ms: 1_000,
        }
    }

    async fn submit(&self, submit: Submit) -> Result<Submitted, RuntimeError> {
        let message = SubmitRun {
            queue: submit.queue,
            session: submit.session,
            not_before: submit.not_before,
        };
        let is_new: bool = self.call("submit", &submit.run, &message).await?;
        Ok(if is_new {
            Submitted::New
        } else {
            Submitted::Existing
        })
    }

    async fn resubmit(&self, run: &RunId) -> Result<(), RuntimeError> {
        let timeout = self.ingress.timeout();
        let object = (RUN, run.as_str());
        let is_known: bool = self
            .ingress
            .ask(timeout, "resubmit", object, "resubmit")
            .await?;
        if is_known {
            Ok(())
        } else {
            Err(refusal(Kind::NotFound, "resubmit", "the run is unknown"))
        }
    }

    async fn signal(&self, run: &RunId, signal: Signal) -> Result<Signalled, RuntimeError> {
        if signal.payload.len() > MAX_SIGNAL_BYTES {
            let why = "the payload is too large";
            return Err(refusal(Kind::Rejected, "signal", why));
        }
        let message = SendSignal {
            id: signal.id,
            payload: Payload(signal.payload),
        };
        match self.call("signal", run, &message).await? {
            Sent::Accepted => Ok(Signalled::Accepted),
            Sent::Duplicate => Ok(Signalled::Duplicate),
            Sent::Finished => Ok(Signalled::Finished),
            Sent::Unknown => Err(refusal(Kind::NotFound, "signal", "the run is unknown")),
            Sent::Full => Err(refusal(
                Kind::Rejected,
                "signal",
                "too many signals wait for the run",
            )),
        }
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        Remote::describe_for(&self.ingress, "describe", run).await
    }

    async fn forget(&self, run: &RunId) -> Result<(), RuntimeError> {
        let timeout = self.ingress.timeout();
        let object = (RUN, run.as_str());
        self.ingress.ask(timeout, "forget", object, "forget").await
    }

    async fn limit_queue(
        &self,
        queue: &QueueName,
        limit: Option<NonZeroU32>,
    ) -> Result<(), RuntimeError> {
        let change = SetLimit {
            queue: queue.clone(),
            limit,
        };
        let has_room = self.limits.make(&self.ingress, change).await?;
        if has_room {
            Ok(())
        } else {
            let why = "too many queues have a limit";
            Err(refusal(Kind::Rejected, "limit_queue", why))
        }
    }

    async fn queue_limits(&self) -> Result<BTreeMap<QueueName, NonZeroU32>, RuntimeError> {
        let timeout = self.ingress.timeout();
        let line = (LINE, THE_LINE);
        let limits: Limits = self
            .ingress
            .ask(timeout, "queue_limits", line, "limits_in_force")
            .await?;
        Ok(limits)
    }

    async fn serve(
        &self,
        worker: Worker,
        advance: Arc<dyn Advance>,
        stop: Latch,
    ) -> Result<Served, RuntimeError> {
        // A client of its own: its connections belong to the threads that serve, and end with this call.
        let ingress = Ingress::new(&self.config)?;
        let remote = Remote::new(ingress, Arc::clone(&self.clock), self.config.wait);
        let remote = Arc::new(remote);
        let hints = Hints::default();
        let listening = tokio::spawn(listen(
            Arc::clone(&remote),
            worker.id.clone(),
            hints.clone(),
        ));
        let listening = AbortOnDropHandle::new(listening);
        let served = seaworthy_polling::serve(
            ADAPTER,
            remote,
            Arc::clone(&self.clock),
            hints,
            worker,
            advance,
            stop,
        )
        .await;
        listening.abort();
        // Its end, not its result, matters: it only ever ends this way.
        let _aborted = listening.await;
        served
    }
}

/// Brings it to the worker's attention that runs of its have signals. Never returns.
async fn listen(remote: Arc<Remote>, worker: WorkerId, hints: Hints) {
    loop {
        match remote.listen(&worker).await {
            Ok(true) => hints.signal.give(),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "new signals cannot be listened for");
                tokio::time::sleep(LISTEN_AGAIN).await;
                remote.suspect_all();
                hints.signal.give();
            }
        }
    }
}

//! A durable runtime behind faults.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Kind, RuntimeCapabilities, RuntimeError, Schedule, Served, Signal,
    Signalled, Submit, Submitted, Worker,
};
use seaworthy_ports::{AdapterInfo, Latch, QueueName, RunId};

use super::{Faults, wrapper};

wrapper!(
    /// A durable runtime behind faults. What it delivers is its own affair: see
    /// [`FakeRuntime`](crate::FakeRuntime) for signals that are lost or repeated.
    FaultyRuntime, DurableRuntime
);

const FAILED: Kind = Kind::Unavailable;

#[async_trait]
impl DurableRuntime for FaultyRuntime {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> RuntimeCapabilities {
        self.inner.capabilities()
    }

    async fn submit(&self, submit: Submit) -> Result<Submitted, RuntimeError> {
        let call = || self.inner.submit(submit.clone());
        self.faults.port("submit", FAILED, call).await
    }

    async fn resubmit(&self, run: &RunId) -> Result<(), RuntimeError> {
        let call = || self.inner.resubmit(run);
        self.faults.port("resubmit", FAILED, call).await
    }

    async fn signal(&self, run: &RunId, signal: Signal) -> Result<Signalled, RuntimeError> {
        let call = || self.inner.signal(run, signal.clone());
        self.faults.port("signal", FAILED, call).await
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        let call = || self.inner.describe(run);
        self.faults.port("describe", FAILED, call).await
    }

    async fn forget(&self, run: &RunId) -> Result<(), RuntimeError> {
        let call = || self.inner.forget(run);
        self.faults.port("forget", FAILED, call).await
    }

    async fn limit_queue(
        &self,
        queue: &QueueName,
        limit: Option<NonZeroU32>,
    ) -> Result<(), RuntimeError> {
        let call = || self.inner.limit_queue(queue, limit);
        self.faults.port("limit_queue", FAILED, call).await
    }

    async fn queue_limits(&self) -> Result<BTreeMap<QueueName, NonZeroU32>, RuntimeError> {
        let call = || self.inner.queue_limits();
        self.faults.port("queue_limits", FAILED, call).await
    }

    async fn serve(
        &self,
        worker: Worker,
        advance: Arc<dyn Advance>,
        stop: Latch,
    ) -> Result<Served, RuntimeError> {
        let call = || {
            self.inner
                .serve(worker.clone(), Arc::clone(&advance), stop.clone())
        };
        self.faults.port("serve", FAILED, call).await
    }
}

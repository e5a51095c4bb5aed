//! Harnesses of what lives in this process.

use std::sync::Arc;
use std::time::Duration;

use seaworthy::memory::{MemoryBlobStore, MemoryCheckpointStore, MemoryRuntime, MemoryStateStore};
use seaworthy::ports::blob_store::BlobStore;
use seaworthy::ports::checkpoint_store::CheckpointStore;
use seaworthy::ports::clock::Clock as _;
use seaworthy::ports::durable_runtime::DurableRuntime;
use seaworthy::ports::state_store::StateStore;
use seaworthy::ports::{Timestamp, async_trait};
use seaworthy_contract::{
    blob_store as bl, checkpoint_store as ck, durable_runtime as dr, state_store as ss,
};
use seaworthy_fakes::FakeClock;

pub(super) struct Logs(MemoryStateStore);

#[async_trait]
impl ss::Harness for Logs {
    async fn start() -> Self {
        Self(MemoryStateStore::default())
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::new(self.0.clone())
    }

    async fn second_handle(&self) -> Option<Arc<dyn StateStore>> {
        Some(Arc::new(self.0.clone()))
    }
}

pub(super) struct Checkpoints(MemoryCheckpointStore);

#[async_trait]
impl ck::Harness for Checkpoints {
    async fn start() -> Self {
        Self(MemoryCheckpointStore::default())
    }

    fn store(&self) -> Arc<dyn CheckpointStore> {
        Arc::new(self.0.clone())
    }
}

pub(super) struct Blobs(MemoryBlobStore);

#[async_trait]
impl bl::Harness for Blobs {
    async fn start() -> Self {
        Self(MemoryBlobStore::default())
    }

    fn store(&self) -> Arc<dyn BlobStore> {
        Arc::new(self.0.clone())
    }
}

pub(super) struct Runs {
    clock: FakeClock,
    runtime: MemoryRuntime,
}

#[async_trait]
impl dr::Harness for Runs {
    async fn start() -> Self {
        let clock = FakeClock::new();
        let runtime = MemoryRuntime::new(Arc::new(clock.clone()));
        Self { clock, runtime }
    }

    fn runtime(&self) -> Arc<dyn DurableRuntime> {
        Arc::new(self.runtime.clone())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

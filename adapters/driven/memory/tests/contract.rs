//! The contract suites on the memory adapters.

use std::sync::Arc;

use seaworthy_contract::{blob_store as bl, checkpoint_store as ck, state_store as ss};
use seaworthy_memory::{MemoryBlobStore, MemoryCheckpointStore, MemoryStateStore};
use seaworthy_ports::async_trait;
use seaworthy_ports::blob_store::BlobStore;
use seaworthy_ports::checkpoint_store::CheckpointStore;
use seaworthy_ports::state_store::StateStore;

struct Logs(MemoryStateStore);

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

seaworthy_contract::state_store_contract! {
    harness: Logs,
    not_checkable: {
        an_append_repeated_after_reopening_returns_the_first_outcome: "it lives in memory",
        an_acknowledged_append_survives_reopening: "it lives in memory",
        a_damaged_log_is_corrupt_and_others_stay_usable: "nothing outside can reach its memory",
        a_lost_reply_is_resolved_by_repeating_the_append: "it answers within the process",
    }
}

struct Blobs(MemoryBlobStore);

#[async_trait]
impl bl::Harness for Blobs {
    async fn start() -> Self {
        Self(MemoryBlobStore::default())
    }

    fn store(&self) -> Arc<dyn BlobStore> {
        Arc::new(self.0.clone())
    }
}

seaworthy_contract::blob_store_contract! {
    harness: Blobs,
    not_checkable: {
        a_damaged_blob_is_corrupt_and_never_ends_well: "nothing outside can reach its memory",
        a_stored_blob_survives_reopening: "it lives in memory",
    }
}

struct Checkpoints(MemoryCheckpointStore);

#[async_trait]
impl ck::Harness for Checkpoints {
    async fn start() -> Self {
        Self(MemoryCheckpointStore::default())
    }

    fn store(&self) -> Arc<dyn CheckpointStore> {
        Arc::new(self.0.clone())
    }
}

seaworthy_contract::checkpoint_store_contract! {
    harness: Checkpoints,
    not_checkable: {
        a_written_checkpoint_survives_reopening: "it lives in memory",
    }
}

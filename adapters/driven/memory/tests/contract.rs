//! The contract suite of the state store.

use std::sync::Arc;

use seaworthy_contract::state_store::Harness;
use seaworthy_memory::MemoryStateStore;
use seaworthy_ports::async_trait;
use seaworthy_ports::state_store::StateStore;

struct InMemory(MemoryStateStore);

#[async_trait]
impl Harness for InMemory {
    async fn start() -> Self {
        Self(MemoryStateStore::default())
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::new(self.0.clone())
    }

    async fn second_handle(&self) -> Option<Arc<dyn StateStore>> {
        Some(self.store())
    }
}

seaworthy_contract::state_store_contract! {
    harness: InMemory,
    not_checkable: {
        an_acknowledged_append_survives_reopening: "it lives in memory",
        an_append_repeated_after_reopening_returns_the_first_outcome: "it lives in memory",
        a_damaged_log_is_corrupt_and_others_stay_usable: "its memory cannot be damaged from outside",
        a_lost_reply_is_resolved_by_repeating_the_append: "a call in the same process has no reply to lose",
    }
}

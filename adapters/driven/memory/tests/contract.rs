//! The contract suites on the memory adapters.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_contract::{
    blob_store as bl, checkpoint_store as ck, durable_runtime as dr, state_store as ss,
};
use seaworthy_fakes::FakeClock;
use seaworthy_memory::{MemoryBlobStore, MemoryCheckpointStore, MemoryRuntime, MemoryStateStore};
use seaworthy_ports::blob_store::BlobStore;
use seaworthy_ports::checkpoint_store::CheckpointStore;
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::DurableRuntime;
use seaworthy_ports::state_store::StateStore;
use seaworthy_ports::{Timestamp, async_trait};

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

macro_rules! logs_contract {
    ($($profile:tt)*) => {
        seaworthy_contract::state_store_contract! {
            harness: Logs,
            $($profile)*
            not_checkable: {
                an_append_repeated_after_reopening_returns_the_first_outcome: "it lives in memory",
                an_acknowledged_append_survives_reopening: "it lives in memory",
                a_torn_write_costs_nothing_that_was_acknowledged: "it lives in memory",
                a_store_that_lost_its_end_says_so_and_is_never_shorter: "it lives in memory",
                a_store_of_a_newer_version_is_refused: "it lives in memory, with its version",
                an_append_without_room_writes_nothing_and_works_again_when_there_is: "its room is the process's memory",
                an_append_without_room_fails_alone: "its room is the process's memory",
                a_damaged_log_is_corrupt_and_others_stay_usable: "nothing outside can reach its memory",
                a_killed_process_leaves_no_part_of_an_append: "no other process can reach it",
                a_killed_process_loses_nothing_it_was_acknowledged: "no other process can reach it",
                a_killed_process_leaves_a_document_whole_with_its_writer: "no other process can reach it",
                processes_that_make_a_store_at_once_share_it: "no other process can reach it",
            }
        }
    };
}

logs_contract! {}
logs_contract! { profile: one_thread, }

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
        a_killed_put_leaves_nothing_visible: "no other process can reach it",
        a_killed_process_leaves_whole_blobs_and_all_it_was_acknowledged: "no other process can reach it",
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
        a_killed_process_loses_no_checkpoint_it_was_acknowledged: "no other process can reach it",
    }
}

struct Runs {
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

macro_rules! runs_contract {
    ($($profile:tt)*) => {
        seaworthy_contract::durable_runtime_contract! {
            harness: Runs,
            $($profile)*
            not_checkable: {
                an_accepted_signal_survives_reopening: "it lives in memory",
                a_limit_survives_reopening: "it lives in memory",
                a_hundred_leased_runs_are_delivered_again_after_reopening: "it lives in memory",
                a_claim_that_had_to_wait_gets_a_full_lease: "nobody holds its lock for longer than a call",
                a_worker_that_cannot_renew_sees_that_its_lease_is_gone: "nobody holds its lock for longer than a call",
                work_given_through_another_handle_is_found_at_the_next_poll: "all its handles share their notifications",
                clocks_of_workers_that_are_off_change_nothing: "all workers share the one clock it was given",
                a_killed_process_is_replaced_by_another: "no other process can reach it",
                a_process_stopped_past_its_lease_sees_it_and_changes_nothing: "no other process can reach it",
                processes_killed_and_stopped_at_random_serve_every_run: "no other process can reach it",
            }
        }
    };
}

runs_contract! {}
runs_contract! { profile: many_threads, }

//! The suite of [`WorkspaceStore`].
//!
//! Scenarios work in the directories of workspaces with plain files, as a run's tools do. A store may refuse a snapshot as
//! [`Kind::Unavailable`](seaworthy_ports::workspace_store::Kind::Unavailable) while it cannot tell whether files have
//! changed, so a scenario repeats it until it is taken.

mod changing;
mod cleaning;
mod costs;
mod files;
mod orphans;
mod outside;
mod processes;
mod quotas;
mod races;
mod resuming;
mod snapshots;
mod stage;
mod starting;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use seaworthy_ports::workspace_store::{SnapshotWork, WorkspaceStore};

use crate::Adapter;

pub use changing::*;
pub use cleaning::*;
pub use costs::*;
pub use orphans::*;
pub use outside::*;
pub use processes::{
    a_cleanup_that_is_killed_half_way_finishes_next_time,
    a_killed_process_leaves_orphans_and_no_dangling_reference,
    a_killed_process_loses_no_snapshot_it_was_acknowledged,
    the_files_of_an_active_workspace_survive_the_death_of_a_process, work,
};
pub use quotas::*;
pub use races::*;
pub use resuming::*;
pub use snapshots::*;
pub use starting::*;

/// Makes a store for a scenario, and does to it what no caller can. It owns what must be cleaned up.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// An empty store.
    async fn start() -> Self;

    /// The store.
    fn store(&self) -> Arc<dyn WorkspaceStore>;

    /// Lets at least `by` pass on the store's clock: moves it, or waits. `false`: it can do neither.
    async fn advance(&self, by: Duration) -> bool {
        let _stands_still = by;
        false
    }

    /// Drops all that the process knows without closing anything in order, and opens the same store again. `None`:
    /// nothing would survive.
    async fn reopen(&self) -> Option<Arc<dyn WorkspaceStore>> {
        None
    }

    /// A process that calls [`work`] on the same store. `None`: other processes cannot reach it.
    fn another_process(&self) -> Option<Command> {
        None
    }

    /// The files that the store has read and the blobs that it has stored to take snapshots, since it was opened, counted
    /// beneath it. `None`: nobody counts.
    async fn counted(&self) -> Option<SnapshotWork> {
        None
    }

    /// Bytes that the store occupies, with whatever a call that failed left lying about and without the directories of its
    /// workspaces. `None`: nobody can tell.
    async fn occupied(&self) -> Option<u64> {
        None
    }

    /// Changes a byte of every stored copy of this content, leaving its size. `false`: it cannot be reached.
    async fn corrupt(&self, content: &[u8]) -> bool {
        let _unreachable = content;
        false
    }

    /// Whether these bytes lie in the store as they are, outside the directories of its workspaces. `None`: nobody can
    /// tell.
    async fn shows(&self, content: &[u8]) -> Option<bool> {
        let _unreachable = content;
        None
    }

    /// Makes the next cleanup fail half way, as a lost connection would. `false`: it cannot be made to.
    async fn break_cleanup(&self) -> bool {
        false
    }
}

/// What the adapter says of itself.
pub fn about<H: Harness>(harness: &H) -> Adapter {
    let store = harness.store();
    Adapter::new(store.info()).declaring(store.capabilities())
}

/// The list of scenarios; everything else is made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __workspace_store_scenarios {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then! { $($arguments)* [
            "WS-1" starting_again_gives_the_same_workspace
            "WS-1" an_id_that_is_started_with_something_else_is_a_conflict
            "WS-1" starting_twenty_times_at_once_makes_one_workspace
            "WS-1" starting_a_paused_workspace_again_resumes_it
            "WS-1" a_workspace_begins_as_a_copy_of_its_source
            "WS-2" a_snapshot_never_changes_after_it_was_taken
            "WS-2" repeating_a_snapshot_gives_the_same_record
            "WS-2" the_same_content_costs_its_blobs_once
            "WS-2" equal_trees_have_equal_manifests_and_others_do_not
            "WS-2" a_paused_workspace_takes_no_new_snapshot
            "WS-2" a_dropped_snapshot_exists_whole_or_not_at_all
            "WS-2" a_change_that_leaves_size_and_time_alone_is_not_missed
            "WS-2" a_snapshot_taken_while_files_change_is_refused_or_consistent
            "WS-3" resuming_restores_bytes_empty_directories_and_inner_links
            "WS-3" modes_are_restored_as_declared
            "WS-3" every_snapshot_can_be_resumed_and_not_only_the_newest
            "WS-3" resuming_replaces_whatever_the_directory_held
            "WS-3" the_latest_files_are_those_of_the_directory_the_newest_snapshot_or_the_source
            "WS-3" an_unknown_or_cleaned_workspace_is_not_found
            "WS-3" an_aborted_workspace_is_aborted
            "WS-3" a_workspace_past_its_retention_is_expired
            "WS-3" an_unknown_snapshot_is_missing
            "WS-3" a_damaged_snapshot_is_corrupt_and_never_restored
            "WS-4" a_link_that_leads_outside_is_in_no_snapshot
            "WS-4" a_link_that_leads_outside_through_another_link_is_in_no_snapshot
            "WS-4" a_source_with_a_link_that_leads_outside_is_rejected
            "WS-4" what_is_neither_file_directory_nor_link_holds_nobody_up
            "WS-4" resuming_and_cleaning_over_a_link_touch_nothing_outside
            "WS-4" a_directory_swapped_for_a_link_leads_nowhere
            "WS-4" names_that_differ_in_case_or_normalisation_do_not_collide
            "WS-4" ids_that_differ_in_little_are_different_workspaces
            "WS-5" quotas_allow_exactly_what_they_say
            "WS-5" a_refused_snapshot_leaves_nothing_behind
            "WS-5" the_number_of_snapshots_is_kept_and_given_back
            "WS-5" snapshots_at_once_stay_within_their_quota
            "WS-5" a_source_beyond_the_quotas_is_refused_at_start
            "WS-6" aborting_is_repeatable_in_every_state
            "WS-6" cleaning_is_repeatable_and_counts_once
            "WS-6" an_active_workspace_is_not_cleaned
            "WS-6" a_pinned_snapshot_is_not_cleaned
            "WS-6" cleaning_a_workspace_leaves_what_others_share
            "WS-6" orphans_are_swept_and_named_young_and_pinned_snapshots_stay
            "WS-6" what_is_past_its_retention_is_cleaned_and_nothing_else
            "WS-6" a_cleanup_that_fails_half_way_finishes_next_time
            "WS-6" a_dropped_cleanup_is_finished_by_the_next
            "WS-6" a_cleanup_that_is_killed_half_way_finishes_next_time
            "WS-7" a_snapshot_whose_record_was_lost_is_swept_and_harms_no_other
            "WS-7" a_sweep_beside_a_snapshot_takes_nothing_from_it
            "WS-7" a_killed_process_leaves_orphans_and_no_dangling_reference
            "WS-8" unchanged_files_are_neither_read_nor_stored_again
            "WS-8" files_that_were_resumed_are_not_stored_again
            "WS-8" a_snapshot_costs_what_it_says
            "WS-9" a_policy_that_is_not_declared_is_rejected
            "WS-9" an_encrypted_snapshot_does_not_show_its_content
            "WS-10" an_acknowledged_snapshot_survives_reopening
            "WS-10" a_killed_process_loses_no_snapshot_it_was_acknowledged
            "WS-10" the_files_of_an_active_workspace_survive_the_death_of_a_process
        ] }
    };
}

crate::__workspace_store_scenarios! { __runner workspace_store }

/// Makes one test of each scenario of the `WorkspaceStore` suite.
#[macro_export]
macro_rules! workspace_store_contract {
    (harness: $harness:ty $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::__workspace_store_scenarios! { __tests ($) workspace_store, $harness, $($excluded)? }
    };
}

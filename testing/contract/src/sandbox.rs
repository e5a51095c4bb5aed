//! The suite of [`Sandbox`].
//!
//! A scenario has a workspace on this machine and runs a POSIX `sh` in it, with the usual tools and `setsid`. Whether
//! something still runs is told by a pipe in the workspace that everything a command starts holds open, so that no
//! scenario has to guess from silence. Where such a pipe does not reach (a virtual machine), that is not checkable.

mod commands;
mod confinement;
mod endings;
mod environment;
mod fencing;
mod files;
mod life;
mod paths;
mod policies;
mod processes;
mod streams;
mod world;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::sandbox::{Sandbox, SandboxError};

use crate::Adapter;

pub use commands::*;
pub use confinement::*;
pub use endings::*;
pub use environment::*;
pub use fencing::*;
pub use files::*;
pub use paths::*;
pub use policies::*;
pub use processes::*;
pub use streams::*;

/// Makes a sandbox for a scenario. It owns what must be cleaned up.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// A sandbox that nobody else uses.
    async fn start() -> Self;

    /// The sandbox.
    fn sandbox(&self) -> Arc<dyn Sandbox>;

    /// Where commands find `sh` and its tools: their `PATH`.
    fn path(&self) -> String {
        "/usr/local/bin:/usr/bin:/bin".to_owned()
    }

    /// A folder of this machine in which workspaces may lie.
    fn workspaces(&self) -> PathBuf {
        std::env::temp_dir()
    }

    /// What comes of connecting to the sandbox, or of opening a session, where something is missing that it needs: a
    /// binary, an engine. `None`: nothing can be missing, or it cannot be taken away.
    async fn without_its_means(&self) -> Option<Result<(), SandboxError>> {
        None
    }

    /// A process that calls [`work`] with the same sandbox. Its program is also run in the sandbox, to try the network.
    /// `None`: other processes cannot reach it.
    fn another_process(&self) -> Option<Command> {
        None
    }
}

/// What the adapter says of itself.
pub fn about<H: Harness>(harness: &H) -> Adapter {
    let sandbox = harness.sandbox();
    Adapter::new(sandbox.info()).declaring(sandbox.capabilities())
}

/// The list of scenarios; everything else is made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __sandbox_scenarios {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then! { $($arguments)* [
            "SB-1" what_cannot_be_enforced_is_refused_and_what_can_is_taken
            "SB-1" limits_that_are_taken_hold
            "SB-1" missing_means_are_unavailable_with_what_to_do
            "SB-2" exit_codes_and_signals_are_told_apart
            "SB-2" arguments_and_both_outputs_pass_byte_by_byte
            "SB-2" outputs_are_cut_counted_and_drained
            "SB-2" standard_input_goes_in_whole_while_output_comes_back
            "SB-2" standard_input_may_be_ignored_and_is_empty_if_there_is_none
            "SB-2" a_spawned_command_reads_until_its_input_ends
            "SB-2" a_command_runs_in_its_folder_of_the_workspace
            "SB-2" a_command_runs_nowhere_else
            "SB-2" programs_are_found_in_the_path_of_the_session
            "SB-2" what_cannot_be_run_is_refused
            "SB-2" the_duration_is_that_of_the_command
            "SB-3" a_timeout_kills_all_within_a_second_and_keeps_what_was_said
            "SB-3" a_cancellation_kills_all_within_a_second
            "SB-3" a_command_that_never_stops_talking_is_cancelled
            "SB-3" a_command_that_was_cancelled_before_never_runs
            "SB-3" a_dropped_call_leaves_nothing
            "SB-3" a_spawned_command_leaves_nothing_however_it_is_ended
            "SB-3" closing_leaves_nothing_and_takes_no_more
            "SB-4" the_environment_is_what_was_asked_for_and_nothing_more
            "SB-4" a_session_without_environment_has_none
            "SB-5" a_workspace_must_be_a_directory
            "SB-5" files_and_commands_see_the_same_workspace
            "SB-5" a_replaced_file_keeps_its_permissions_and_its_readers_their_content
            "SB-5" a_listing_is_sorted_and_bounded
            "SB-5" what_is_absent_or_of_another_sort_is_told
            "SB-5" paths_out_of_the_workspace_are_refused
            "SB-5" links_out_of_the_workspace_are_refused
            "SB-5" links_within_the_workspace_are_followed_but_not_removed_through
            "SB-5" a_folder_swapped_for_a_link_while_it_is_used_leads_nowhere
            "SB-5" what_a_command_leaves_running_is_killed
            "SB-5" what_commands_can_read_outside_is_what_is_declared
            "SB-5" what_commands_can_write_outside_is_what_is_declared
            "SB-5" what_commands_can_reach_by_network_is_what_is_declared
            "SB-6" output_is_shown_while_the_command_runs
            "SB-6" what_is_shown_is_what_is_kept
            "SB-6" a_spawned_command_is_heard_while_it_runs
            "SB-7" commands_die_with_a_process_that_is_killed
            "SB-8" an_earlier_attempt_is_refused_all_that_acts
            "SB-8" neither_the_same_attempt_nor_another_run_is_fenced
            "SB-8" commands_of_an_earlier_attempt_are_dead_once_a_later_one_is_open
            "SB-8" a_process_that_was_stopped_is_fenced_when_it_goes_on
        ] }
    };
}

crate::__sandbox_scenarios! { __runner sandbox }

/// Makes one test of each scenario of the `Sandbox` suite.
#[macro_export]
macro_rules! sandbox_contract {
    (harness: $harness:ty $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::__sandbox_scenarios! { __tests ($) sandbox, $harness, $($excluded)? }
    };
}

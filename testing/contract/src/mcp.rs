//! The suite of [`Mcp`].
//!
//! Its servers are scripts: data that says what a server offers and how it misbehaves. An adapter that starts servers as
//! processes reaches them as this test binary, started once more; the ignored test that runs there calls [`serve`]:
//!
//! ```text
//! fn server_process(&self) -> Option<Command> {
//!     seaworthy_contract::process::this_test("a_server_of_a_scenario", "")
//! }
//!
//! #[test]
//! #[ignore = "scenarios start it in a process of its own"]
//! fn a_server_of_a_scenario() -> Outcome {
//!     seaworthy_contract::mcp::serve()
//! }
//! ```
//!
//! An adapter that reaches servers at an address has [`listen`] serve them there, in [`Harness::server`]. One that reaches
//! them in yet another way turns the script into a server itself.

mod address;
mod address_stateless;
mod authority;
mod bounds;
mod calls;
mod completions;
mod confined;
mod deaths;
mod endings;
mod grants;
mod lists;
mod logs;
mod names;
mod questions;
mod roots;
mod script;
mod scripts;
mod secrets;
mod serve;
mod serve_extension;
mod serve_more;
mod serve_questions;
mod serve_stateless;
mod serve_tasks;
mod stage;
mod stateless;
mod task_input;
mod tasks;
mod tokens;
mod wire;

use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::mcp::{Mcp, Transport};
use seaworthy_ports::sandbox::SandboxSession;

use crate::Adapter;

pub use address::listen;
pub use bounds::*;
pub use calls::*;
pub use completions::*;
pub use confined::*;
pub use deaths::*;
pub use endings::*;
pub use grants::*;
pub use lists::*;
pub use logs::*;
pub use names::*;
pub use questions::*;
pub use roots::*;
pub use script::{
    Access, Answered, Begins, Completes, Does, Journal, Levels, NEWEST_PROTOCOL, PREVIOUS_PROTOCOL,
    Poll, RENEWED_TOKEN, Root, SILENT_URI, STATELESS_PROTOCOL, Said, Script, Seen, Start, Stubborn,
    Task, Then, Tool,
};
pub use secrets::*;
pub use serve::{echoed, serve, told};
pub use serve_questions::told_all;
pub use stateless::*;
pub use task_input::*;
pub use tasks::*;

/// What scenarios call every server.
pub const ALIAS: &str = "scripted";
/// The version of every server.
pub const VERSION: &str = "1.2.3";

/// Makes an adapter for a scenario, and servers that it can reach. It owns what must be cleaned up.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// An adapter without connections.
    async fn start() -> Self;

    /// The adapter.
    fn mcp(&self) -> Arc<dyn Mcp>;

    /// The protocol version of servers whose script does not say another: [`NEWEST_PROTOCOL`] or [`STATELESS_PROTOCOL`].
    fn protocol(&self) -> &'static str {
        NEWEST_PROTOCOL
    }

    /// A process that calls [`serve`]. `None`: the adapter starts no processes.
    fn server_process(&self) -> Option<Command> {
        None
    }

    /// The session in which [`server_process`](Self::server_process) runs confined. `None`: it runs as a process of this
    /// host.
    async fn sandbox(&self) -> Option<Arc<dyn SandboxSession>> {
        None
    }

    /// A process that calls [`work`] with this harness. `None`: the harness starts none.
    fn another_process(&self) -> Option<Command> {
        None
    }

    /// Makes a server of `script` that tells `journal` what happens to it, and says how it is reached. Its alias will be
    /// [`ALIAS`]. `None`: there is none but [`server_process`](Self::server_process).
    async fn server(&self, script: &Script, journal: &Journal) -> Option<Transport> {
        let (_script, _journal) = (script, journal);
        None
    }
}

/// What the adapter says of itself.
pub fn about<H: Harness>(harness: &H) -> Adapter {
    let mcp = harness.mcp();
    Adapter::new(mcp.info()).declaring(mcp.capabilities())
}

/// The list of scenarios; everything else is made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __mcp_scenarios {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then! { $($arguments)* [
            "MC-1" a_server_tells_who_it_is_and_what_it_has
            "MC-1" a_server_of_the_previous_protocol_is_understood
            "MC-1" a_server_that_offers_nothing_has_empty_lists
            "MC-1" lists_are_paged_through_in_the_servers_order
            "MC-1" a_tool_arrives_with_everything_the_server_says_of_it
            "MC-1" lists_are_cached
            "MC-1" a_list_that_changed_is_asked_for_again
            "MC-1" every_kind_of_content_arrives_typed
            "MC-1" a_tool_that_failed_is_an_answer
            "MC-1" structured_content_arrives_as_data
            "MC-1" resources_read_as_text_and_bytes
            "MC-1" a_prompt_is_filled_in
            "MC-1" an_answer_of_another_shape_is_malformed_and_the_session_goes_on
            "MC-1" a_line_that_is_no_message_ends_nothing
            "MC-2" a_death_leaves_the_call_unknown_and_the_next_call_reconnects
            "MC-2" every_call_in_flight_fails_with_its_server
            "MC-2" answers_in_any_order_reach_their_callers
            "MC-2" answers_that_nobody_waits_for_disturb_nobody
            "MC-2" a_server_that_does_not_start_is_unavailable
            "MC-2" an_expired_token_is_refreshed_once_and_the_call_made_once
            "MC-2" a_token_that_refreshing_does_not_help_is_an_authentication_error
            "MC-2" a_lost_session_is_begun_again_and_the_call_made_once
            "MC-2" a_session_that_is_lost_again_is_unavailable
            "MC-3" a_call_that_takes_too_long_times_out_and_is_cancelled
            "MC-3" a_cancelled_call_ends_and_the_server_hears_of_it
            "MC-3" a_call_that_is_cancelled_beforehand_is_not_made
            "MC-3" a_dropped_call_is_cancelled
            "MC-3" an_answer_after_the_cancellation_disturbs_nobody
            "MC-3" a_request_that_takes_too_long_times_out
            "MC-3" progress_arrives_in_order
            "MC-3" arguments_and_metadata_arrive_as_they_were_given
            "MC-3" a_closed_session_leaves_nothing_and_rejects_every_call
            "MC-3" a_call_in_flight_fails_when_its_session_is_closed
            "MC-3" a_server_that_never_speaks_times_out_and_leaves_nothing
            "MC-3" a_dropped_connect_leaves_nothing
            "MC-3" a_process_that_ignores_its_end_is_killed
            "MC-3" a_dropped_close_kills_all_the_same
            "MC-3" a_process_that_a_server_started_goes_with_it
            "MC-3" a_confined_server_ends_with_its_sandbox_session
            "MC-3" a_killed_worker_leaves_no_confined_server
            "MC-4" tools_are_named_by_alias_and_called_by_their_own_names
            "MC-4" two_tools_of_one_name_are_malformed
            "MC-4" two_tools_that_come_out_with_one_name_are_malformed
            "MC-4" a_tool_without_a_name_is_malformed
            "MC-4" hints_arrive_as_the_server_gave_them
            "MC-4" arguments_that_do_not_fit_never_reach_the_server
            "MC-4" a_schema_that_points_elsewhere_lets_no_arguments_through
            "MC-4" data_that_do_not_fit_are_malformed
            "MC-4" a_tool_that_nobody_listed_is_not_found
            "MC-5" a_question_to_the_user_reaches_the_host
            "MC-5" an_answer_that_does_not_fit_is_a_refusal
            "MC-5" a_model_call_that_a_server_wants_reaches_the_host
            "MC-5" without_a_host_every_question_is_refused
            "MC-5" a_question_that_the_host_does_not_take_is_refused_and_the_server_knows
            "MC-5" a_host_that_never_answers_does_not_outlast_the_call
            "MC-6" a_message_that_is_too_large_is_refused_and_the_session_goes_on
            "MC-6" a_hundred_megabytes_are_refused_and_the_session_goes_on
            "MC-6" a_message_below_the_bound_arrives
            "MC-6" a_list_without_an_end_is_refused_and_the_session_goes_on
            "MC-6" a_list_of_the_most_entries_arrives
            "MC-7" no_error_and_no_debug_output_holds_what_was_said
            "MC-7" a_server_that_complains_is_neither_stalled_nor_quoted
            "MC-7" an_address_with_credentials_is_rejected
            "MC-7" credentials_follow_no_redirect_to_another_origin
            "MC-8" a_call_becomes_a_task_that_is_asked_after_and_fetched
            "MC-8" a_task_is_known_to_every_session
            "MC-8" a_server_may_answer_at_once_instead
            "MC-8" tools_say_whether_their_calls_become_tasks
            "MC-8" a_server_that_does_not_say_that_it_keeps_tasks_has_none
            "MC-8" a_tool_without_tasks_is_not_called_as_one
            "MC-8" a_tool_that_only_has_tasks_is_not_called_otherwise
            "MC-8" a_task_that_nobody_knows_is_not_found
            "MC-8" an_answer_about_another_task_is_malformed
            "MC-8" a_status_that_nobody_knows_is_malformed
            "MC-8" a_task_without_a_usable_name_is_malformed
            "MC-8" a_task_that_nobody_asked_for_is_malformed
            "MC-8" a_task_is_ended
            "MC-8" a_task_that_failed_says_how
            "MC-8" a_task_stands_where_the_server_says
            "MC-8" data_of_a_task_that_do_not_fit_are_malformed
            "MC-8" what_is_said_of_a_task_is_bounded
            "MC-8" what_a_task_asks_reaches_the_host_with_its_name
            "MC-8" a_task_that_nobody_answers_is_not_refused_and_asks_another_session
            "MC-8" what_a_task_asks_is_nobodys_that_is_not_known
            "MC-9" calls_at_once_get_new_tokens_once
            "MC-9" a_refresh_token_that_is_replaced_is_not_used_again
            "MC-9" tokens_that_another_process_got_are_taken
            "MC-9" new_tokens_are_used_when_they_are_kept
            "MC-9" a_grant_that_is_refused_is_not_tried_again
            "MC-9" a_client_gets_tokens_for_itself
            "MC-9" a_refresh_token_goes_to_the_server_that_gave_it
            "MC-9" metadata_of_another_server_are_not_believed
            "MC-10" arguments_of_prompts_and_templates_are_completed
            "MC-10" a_server_that_completes_nothing_is_not_asked
            "MC-10" values_beyond_the_bounds_are_left_out_and_the_answer_says_so
            "MC-10" a_completion_of_another_shape_is_malformed
            "MC-10" a_completion_that_never_comes_times_out
            "MC-11" a_server_that_asks_learns_which_folders_it_is_to_work_in
            "MC-11" without_folders_the_question_is_refused_and_the_server_knows
            "MC-11" a_folder_that_is_none_is_rejected_before_anything_starts
            "MC-12" log_messages_arrive_as_the_server_wrote_them
            "MC-12" the_level_is_told_where_it_is_wanted_and_the_server_logs
            "MC-12" a_server_that_does_not_log_is_told_no_level
            "MC-12" log_messages_that_matter_less_or_are_none_are_left_out
            "MC-12" a_long_log_message_is_cut_and_says_so
            "MC-12" a_flood_of_log_messages_is_bounded_and_counted
            "MC-12" a_server_that_sets_no_level_is_used_all_the_same
            "MC-13" a_server_that_begins_without_initialize_is_understood
            "MC-13" a_call_goes_on_where_the_server_asked
            "MC-13" a_call_that_dies_after_the_server_asked_may_have_begun
            "MC-13" questions_without_an_end_end_the_call
            "MC-13" calls_that_are_left_to_the_server_become_tasks
            "MC-13" questions_of_a_task_keep_their_names
            "MC-13" a_model_call_that_nobody_makes_for_a_task_is_unsupported
        ] }
    };
}

crate::__mcp_scenarios! { __runner mcp }

/// Makes one test of each scenario of the `Mcp` suite.
#[macro_export]
macro_rules! mcp_contract {
    (harness: $harness:ty $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::__mcp_scenarios! { __tests ($) mcp, $harness, $($excluded)? }
    };
}

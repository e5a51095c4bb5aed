//! The suite of [`ModelProvider`].
//!
//! A scenario writes down what the backend says as an [`Answer`] in no provider's words, and looks at what the provider
//! makes of it. The harness stands in for the backend: it puts the answer into the words of its wire.

use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::model_provider::{ListedModel, ModelProvider};

use crate::Adapter;

mod bounds;
mod calls;
mod cancelling;
mod counting;
mod directory;
mod endings;
mod failures;
mod history;
mod items;
mod media;
mod parameters;
mod schema;
mod script;
mod secrets;
mod stage;
mod vectors;

pub use bounds::*;
pub use calls::*;
pub use cancelling::*;
pub use counting::*;
pub use directory::*;
pub use endings::*;
pub use failures::*;
pub use history::*;
pub use items::*;
pub use media::*;
pub use parameters::*;
pub use schema::*;
pub use script::{Answer, Failure, Flood, Numbers, Owner, RetryAfter, Said, Script, Step, Wrong};
pub use secrets::*;
pub use vectors::*;

/// Makes a provider for a scenario, and speaks for the backend behind it.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// A provider with a backend of its own that nobody has called yet. Where the caps on bytes can be chosen they are a
    /// megabyte or so, so that what has no end is soon cut off.
    async fn start() -> Self;

    /// The provider. Asked for again after each [`answer`](Self::answer).
    fn provider(&self) -> Arc<dyn ModelProvider>;

    /// The model to ask for.
    fn model(&self) -> String {
        "contract".to_owned()
    }

    /// Has the backend treat every call from now on like this. `None`: it has no words for a part of it.
    async fn answer(&self, answer: &Answer) -> Option<Said> {
        let _unspeakable = answer;
        None
    }

    /// Has the backend say of every request from now on that it has so many tokens. `None`: it counts none, or as it likes.
    async fn count(&self, tokens: u64) -> Option<()> {
        let _uncounted = tokens;
        None
    }

    /// Has the backend offer these models from now on, and no other; in what of them its provider is told. `None`: what it
    /// offers cannot be chosen.
    async fn offers(&self, models: &[ListedModel]) -> Option<Vec<ListedModel>> {
        let _unoffered = models;
        None
    }

    /// Every call that has reached the backend so far, oldest first, as text: all that was sent but the key. `None`: it
    /// cannot be seen.
    fn requests(&self) -> Option<Vec<String>> {
        None
    }

    /// How many calls the provider has left so far before the backend was done with them. `None`: it cannot be seen.
    fn hang_ups(&self) -> Option<usize> {
        None
    }

    /// The keys and other secrets that the provider was made with; none may be a part of a harmless word.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What the adapter says of itself.
pub fn about<H: Harness>(harness: &H) -> Adapter {
    let provider = harness.provider();
    Adapter::new(provider.info()).declaring(provider.capabilities(&harness.model()))
}

/// The list of scenarios; everything else is made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __model_provider_scenarios {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then! { $($arguments)* [
            "MP-1" an_answer_has_one_finish_and_it_is_last
            "MP-1" an_answer_without_its_terminal_frame_is_interrupted
            "MP-1" nothing_follows_an_error
            "MP-2" an_answer_that_is_done_stops
            "MP-2" an_answer_with_calls_wants_them_made
            "MP-2" an_answer_of_the_greatest_length_says_so
            "MP-2" an_answer_that_fills_the_context_says_so
            "MP-2" a_filtered_answer_says_so
            "MP-2" an_answer_that_declines_is_a_refusal
            "MP-2" an_answer_that_pauses_says_so
            "MP-2" a_reason_that_nobody_knows_is_other
            "MP-2" all_parts_of_the_usage_are_counted_once
            "MP-2" what_the_usage_leaves_out_is_not_zero
            "MP-3" interleaved_calls_keep_their_own_arguments
            "MP-3" arguments_come_in_fragments_of_any_size
            "MP-3" bytes_may_be_split_anywhere
            "MP-3" a_call_without_arguments_has_an_empty_object
            "MP-3" arguments_that_are_no_json_are_malformed
            "MP-3" every_fragment_belongs_to_an_open_block
            "MP-4" an_item_of_a_call_returns_in_its_place
            "MP-4" an_item_of_reasoning_returns_in_its_place
            "MP-4" an_item_of_another_provider_is_never_sent
            "MP-5" a_wrong_key_is_classified
            "MP-5" a_forbidden_call_is_classified
            "MP-5" a_missing_model_is_classified
            "MP-5" a_wrong_request_is_classified
            "MP-5" a_conversation_that_is_too_long_is_classified
            "MP-5" too_many_calls_are_classified
            "MP-5" a_used_up_quota_is_classified
            "MP-5" an_overloaded_backend_is_classified
            "MP-5" a_failing_backend_is_classified
            "MP-5" a_backend_that_took_too_long_is_classified
            "MP-5" a_filtered_request_is_classified
            "MP-5" a_request_beyond_the_model_is_classified
            "MP-5" a_connection_that_breaks_is_classified
            "MP-5" an_error_names_its_request
            "MP-5" an_error_within_a_stream_names_its_request_and_code
            "MP-5" an_error_tells_whether_the_response_had_started
            "MP-6" a_delay_in_seconds_is_kept
            "MP-6" a_delay_until_a_date_is_kept
            "MP-6" what_is_left_of_the_limits_is_told
            "MP-6" an_error_within_a_stream_is_an_error
            "MP-7" a_backend_that_never_answers_times_out
            "MP-7" an_answer_that_falls_silent_times_out
            "MP-7" a_slow_reader_is_no_silent_backend
            "MP-7" an_answer_without_end_is_cut_off
            "MP-7" a_frame_without_end_is_cut_off
            "MP-7" noise_without_end_is_cut_off
            "MP-7" unknown_events_are_skipped
            "MP-7" a_malformed_event_is_an_error
            "MP-8" an_answer_that_fits_its_schema_is_done
            "MP-8" an_answer_that_does_not_fit_its_schema_is_malformed
            "MP-9" a_call_that_is_cancelled_before_it_begins_is_not_made
            "MP-9" cancelling_ends_a_call_without_an_answer
            "MP-9" cancelling_ends_an_answer_in_its_middle
            "MP-9" cancelling_closes_the_connection
            "MP-9" dropping_the_stream_closes_the_connection
            "MP-9" nothing_is_repeated
            "MP-10" no_key_is_in_an_error_or_in_debug
            "MP-10" no_prompt_is_in_an_error_or_in_debug
            "MP-11" a_conversation_that_nobody_would_continue_is_refused
            "MP-11" a_conversation_that_is_whole_is_taken
            "MP-12" every_text_gets_its_vector_in_order
            "MP-12" vectors_that_are_not_one_for_each_text_are_no_answer
            "MP-12" a_call_for_vectors_fails_like_any_other
            "MP-13" every_document_gets_its_score_in_order
            "MP-13" scores_that_are_not_one_for_each_document_are_no_answer
            "MP-13" a_call_for_scores_fails_like_any_other
            "MP-14" everything_of_a_request_is_counted
            "MP-14" what_the_backend_counts_is_told_and_is_no_guess
            "MP-15" a_parameter_is_asked_for_or_refused
            "MP-15" a_call_that_must_be_made_is_asked_for_where_it_is_declared
            "MP-15" a_parameter_that_does_not_exist_is_never_sent
            "MP-16" every_model_is_listed_once_over_bounded_pages
            "MP-16" a_model_is_told_of_as_far_as_the_backend_does
            "MP-16" a_model_that_is_not_there_is_not_found
            "MP-16" a_call_for_models_fails_like_any_other
            "MP-17" what_a_tool_shows_reaches_the_backend_behind_its_text
            "MP-17" what_the_user_may_show_a_tool_may_show
        ] }
    };
}

crate::__model_provider_scenarios! { __runner model_provider }

/// Makes one test of each scenario of the `ModelProvider` suite.
#[macro_export]
macro_rules! model_provider_contract {
    (harness: $harness:ty $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::__model_provider_scenarios! { __tests ($) model_provider, $harness, $($excluded)? }
    };
}

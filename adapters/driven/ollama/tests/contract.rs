//! The contract suite on the adapter, with a server that says in Ollama's chat what a scenario writes down.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod dialect;

use dialect::Chat;
use seaworthy_contract::http::Spoken;

seaworthy_contract::model_provider_contract! {
    harness: Spoken<Chat>,
    not_checkable: {
        an_answer_that_fills_the_context_says_so: "Ollama calls that a length",
        a_filtered_answer_says_so: "nothing is filtered",
        an_answer_that_declines_is_a_refusal: "Ollama has no word for it",
        an_answer_that_pauses_says_so: "no model of Ollama pauses",
        all_parts_of_the_usage_are_counted_once: "Ollama counts neither reasoning nor what is written to a cache",
        what_the_usage_leaves_out_is_not_zero: "Ollama does not count reasoning",
        arguments_that_are_no_json_are_malformed: "arguments come as JSON",
        an_item_of_a_call_returns_in_its_place: "Ollama signs nothing",
        an_item_of_reasoning_returns_in_its_place: "Ollama signs nothing",
        a_conversation_that_is_too_long_is_classified: "Ollama drops its beginning and says nothing",
        a_used_up_quota_is_classified: "there is none",
        a_filtered_request_is_classified: "nothing is filtered",
        a_request_beyond_the_model_is_classified: "Ollama has no code for it",
        an_error_names_its_request: "Ollama does not name requests",
        an_error_within_a_stream_names_its_request_and_code: "Ollama does not name requests",
        what_is_left_of_the_limits_is_told: "Ollama does not tell its limits",
        an_error_within_a_stream_is_an_error: "an error in a stream has words for people alone; hostile.rs has it",
        every_document_gets_its_score_in_order: "Ollama has no scores",
        scores_that_are_not_one_for_each_document_are_no_answer: "Ollama has no scores",
        a_call_for_scores_fails_like_any_other: "Ollama has no scores",
        everything_of_a_request_is_counted: "Ollama counts no tokens",
        what_the_backend_counts_is_told_and_is_no_guess: "Ollama counts no tokens",
    }
}

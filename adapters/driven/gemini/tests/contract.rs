//! The contract suite on the adapter, with a server that says in `generateContent` what a scenario writes down.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod dialect;

use dialect::Generate;
use seaworthy_contract::http::Spoken;

seaworthy_contract::model_provider_contract! {
    harness: Spoken<Generate>,
    not_checkable: {
        an_answer_that_fills_the_context_says_so: "Gemini calls that a length",
        an_answer_that_declines_is_a_refusal: "Gemini has no word for it",
        an_answer_that_pauses_says_so: "no model of Gemini pauses",
        all_parts_of_the_usage_are_counted_once: "Gemini does not count what is written to a cache",
        arguments_that_are_no_json_are_malformed: "arguments come as JSON",
        a_conversation_that_is_too_long_is_classified: "Gemini has no code for it",
        a_filtered_request_is_classified: "a prompt that is blocked is answered with status 200",
        an_error_names_its_request: "Gemini does not name requests that it refuses",
        an_error_within_a_stream_names_its_request_and_code: "Gemini does not name requests that fail",
        a_delay_until_a_date_is_kept: "Gemini tells a span",
        what_is_left_of_the_limits_is_told: "Gemini does not tell its limits",
        every_document_gets_its_score_in_order: "Gemini has no scores",
        scores_that_are_not_one_for_each_document_are_no_answer: "Gemini has no scores",
        a_call_for_scores_fails_like_any_other: "Gemini has no scores",
    }
}

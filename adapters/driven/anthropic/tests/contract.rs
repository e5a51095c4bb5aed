//! The contract suite on the adapter, with a server that says in Messages what a scenario writes down.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod dialect;

use dialect::Messages;
use seaworthy_contract::http::Spoken;

seaworthy_contract::model_provider_contract! {
    harness: Spoken<Messages>,
    not_checkable: {
        a_filtered_answer_says_so: "Messages calls that a refusal",
        an_item_of_a_call_returns_in_its_place: "Messages signs thinking, not calls",
        a_filtered_request_is_classified: "Messages has no such failure",
        a_request_beyond_the_model_is_classified: "Messages has no such failure",
        every_text_gets_its_vector_in_order: "Anthropic has no vectors",
        vectors_that_are_not_one_for_each_text_are_no_answer: "Anthropic has no vectors",
        a_call_for_vectors_fails_like_any_other: "Anthropic has no vectors",
        every_document_gets_its_score_in_order: "Anthropic has no scores",
        scores_that_are_not_one_for_each_document_are_no_answer: "Anthropic has no scores",
        a_call_for_scores_fails_like_any_other: "Anthropic has no scores",
    }
}

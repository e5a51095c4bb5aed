//! The contract suite on the adapter, with servers that say in each of its interfaces what a scenario writes down.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod dialect;

mod chat {
    use seaworthy_contract::http::Spoken;

    use crate::dialect::Chat;

    seaworthy_contract::model_provider_contract! {
        harness: Spoken<Chat>,
    not_checkable: {
        an_answer_that_fills_the_context_says_so: "Chat Completions calls that a length",
        an_answer_that_pauses_says_so: "no model of Chat Completions pauses",
        an_item_of_reasoning_returns_in_its_place: "Chat Completions takes no reasoning back",
        everything_of_a_request_is_counted: "the interface counts no tokens",
        what_the_backend_counts_is_told_and_is_no_guess: "the interface counts no tokens",
    }
    }
}

mod responses {
    use seaworthy_contract::http::Spoken;

    use crate::dialect::Responses;

    seaworthy_contract::model_provider_contract! {
        harness: Spoken<Responses>,
        not_checkable: {
            an_answer_that_fills_the_context_says_so: "Responses calls that a failure",
            an_answer_that_pauses_says_so: "no model of Responses pauses",
            everything_of_a_request_is_counted: "the interface counts no tokens",
            what_the_backend_counts_is_told_and_is_no_guess: "the interface counts no tokens",
        }
    }
}

//! Four formats on a server that others wrote: text, calls and their results, failures.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod asking;
mod formats;

use asking::{key, request};
use formats::Format;
use seaworthy_ports::model_provider::{Block, Kind, ModelProviderExt as _};

/// Every format, with a model that the server takes for one of it.
fn formats() -> [Format; 4] {
    let url = std::env::var("SEAWORTHY_TEST_AIMOCK").unwrap();
    let models = ["gpt-4o", "gpt-5", "claude-sonnet-4", "gemini-2.5-pro"];
    formats::formats(&url, &key(), models)
}

#[tokio::test]
#[cfg_attr(not(has_aimock), ignore = "SEAWORTHY_TEST_AIMOCK names no server")]
async fn text_is_streamed_whole_in_every_format() {
    formats::text_is_streamed_whole(formats()).await;
}

#[tokio::test]
#[cfg_attr(not(has_aimock), ignore = "SEAWORTHY_TEST_AIMOCK names no server")]
async fn calls_are_made_and_their_results_are_taken_in_every_format() {
    // Of Gemini the server says FUNCTION_CALL, which Gemini does not.
    let says_so = |raw: &str| raw != "FUNCTION_CALL";
    formats::calls_are_made_and_their_results_are_taken(formats(), says_so).await;
}

#[tokio::test]
#[cfg_attr(not(has_aimock), ignore = "SEAWORTHY_TEST_AIMOCK names no server")]
async fn reasoning_is_told_apart_where_the_format_shows_it() {
    // Chat Completions has no place for it.
    for (model, provider) in formats().into_iter().skip(1) {
        let reply = provider
            .complete(request(model, "think first"))
            .await
            .unwrap();
        assert_eq!(reply.message.text(), "Thought.", "{model}");
        let thought = reply.message.blocks.iter().find_map(|block| match block {
            Block::Reasoning { text, .. } => Some(text.as_str()),
            _ => None,
        });
        assert_eq!(thought, Some("Let me think."), "{model}");
    }
}

#[tokio::test]
#[cfg_attr(not(has_aimock), ignore = "SEAWORTHY_TEST_AIMOCK names no server")]
async fn failures_are_classified_in_every_format() {
    for (model, provider) in formats() {
        let error = provider.complete(request(model, "fail")).await.unwrap_err();
        let seen = (error.kind(), error.status, error.response_started);
        assert_eq!(seen, (Kind::RateLimited, Some(429), false), "{model}");
        // What no answer is written down for is the caller's mistake.
        let unknown = provider.complete(request(model, "something else"));
        let error = unknown.await.unwrap_err();
        assert!(!error.response_started, "{model}");
        assert_ne!(error.kind(), Kind::Decode, "{model}");
    }
}

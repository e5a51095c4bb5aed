//! Four formats on a proxy that others wrote, which translates each of them to Chat Completions for another server that
//! others wrote: what comes back was put into the format's words by neither.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod asking;
mod formats;

use asking::{key, request};
use formats::{Format, name};
use seaworthy_ports::model_provider::{Kind, ModelProviderExt as _};

/// Every format, for the one model that there is.
fn all() -> [Format; 4] {
    let url = std::env::var("SEAWORTHY_TEST_LITELLM").unwrap();
    formats::formats(&url, &key(), ["steady"; 4])
}

#[tokio::test]
#[cfg_attr(
    not(has_litellm),
    ignore = "SEAWORTHY_TEST_LITELLM names no server; see `cargo xtask services run --only litellm`"
)]
async fn text_is_streamed_whole_in_every_format() {
    formats::text_is_streamed_whole(all()).await;
}

#[tokio::test]
#[cfg_attr(
    not(has_litellm),
    ignore = "SEAWORTHY_TEST_LITELLM names no server; see `cargo xtask services run --only litellm`"
)]
async fn calls_are_made_and_their_results_are_taken_in_every_format() {
    formats::calls_are_made_and_their_results_are_taken(all(), |_raw| true).await;
}

#[tokio::test]
#[cfg_attr(
    not(has_litellm),
    ignore = "SEAWORTHY_TEST_LITELLM names no server; see `cargo xtask services run --only litellm`"
)]
async fn failures_are_classified_in_every_format() {
    for (model, provider) in all() {
        let format = name(&*provider);
        let error = provider.complete(request(model, "fail")).await.unwrap_err();
        let seen = (error.kind(), error.status, error.response_started);
        assert_eq!(seen, (Kind::RateLimited, Some(429), false), "{format}");
    }
    for (_model, provider) in all() {
        let format = name(&*provider);
        let asked = provider.complete(request("nobody", "say hello"));
        let error = asked.await.unwrap_err();
        let seen = (error.kind(), error.status, error.response_started);
        assert_eq!(seen, (Kind::InvalidRequest, Some(400), false), "{format}");
    }
}

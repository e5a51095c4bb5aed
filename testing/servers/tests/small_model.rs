//! A real model behind llama.cpp. What it says is not looked at: it is too small to be right.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod asking;

use std::sync::Arc;

use asking::{anthropic, key, openai, request};
use seaworthy_openai::Api;
use seaworthy_ports::model_provider::{
    FinishReason, ModelProvider, ModelProviderExt as _, ModelReply, ModelRequest,
};
use serde_json::{Value, json};

fn url() -> String {
    std::env::var("SEAWORTHY_TEST_SMALL_MODEL").unwrap()
}

async fn asked(
    provider: Arc<dyn ModelProvider>,
    change: impl FnOnce(&mut ModelRequest),
) -> ModelReply {
    let mut request = request("smollm2", "How many legs has a dog?");
    request.max_output_tokens = Some(24);
    change(&mut request);
    provider.complete(request).await.unwrap()
}

#[tokio::test]
#[cfg_attr(
    not(has_small_model),
    ignore = "SEAWORTHY_TEST_SMALL_MODEL names no server"
)]
async fn an_answer_has_the_shape_of_its_schema() {
    let schema = json!({
        "type": "object",
        "properties": {"legs": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["legs"],
        "additionalProperties": false,
    });
    let reply = asked(openai(&url(), &key(), Api::ChatCompletions), |request| {
        request.output_schema = Some(Arc::new(schema));
        request.max_output_tokens = Some(64);
    })
    .await;
    assert_eq!(reply.finish.reason, FinishReason::Stop);
    let answer: Value = serde_json::from_str(&reply.message.text()).unwrap();
    assert!(answer.get("legs").is_some_and(Value::is_u64), "{answer}");
    assert!(reply.usage.input_tokens.is_some_and(|tokens| tokens > 0));
    assert!(reply.usage.output_tokens.is_some_and(|tokens| tokens > 0));
}

#[tokio::test]
#[cfg_attr(
    not(has_small_model),
    ignore = "SEAWORTHY_TEST_SMALL_MODEL names no server"
)]
async fn every_format_that_the_server_speaks_brings_text() {
    for (format, provider) in [
        ("chat", openai(&url(), &key(), Api::ChatCompletions)),
        ("responses", openai(&url(), &key(), Api::Responses)),
        ("messages", anthropic(&url(), &key())),
    ] {
        let reply = asked(provider, |_request| {}).await;
        assert!(!reply.message.text().trim().is_empty(), "{format}");
        // The server calls an answer of Responses complete that was cut off.
        let ends = [FinishReason::Stop, FinishReason::Length];
        assert!(ends.contains(&reply.finish.reason), "{format}");
        let output = reply.usage.output_tokens.unwrap();
        assert!((1..=24).contains(&output), "{format}: {output}");
    }
}

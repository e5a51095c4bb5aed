//! Four formats on a server that others wrote: text, calls and their results, failures.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod asking;

use std::sync::Arc;

use asking::{anthropic, key, openai, request};
use seaworthy_gemini::{Gemini, GeminiConfig};
use seaworthy_openai::Api;
use seaworthy_ports::ToolName;
use seaworthy_ports::model_provider::{
    Block, FinishReason, Kind, Message, ModelProvider, ModelProviderExt as _, ModelRequest, Role,
    ToolResultBlock, ToolSpec,
};
use serde_json::json;

fn url() -> String {
    std::env::var("SEAWORTHY_TEST_AIMOCK").unwrap()
}

fn gemini(url: &str) -> Arc<dyn ModelProvider> {
    let config = GeminiConfig::new(key()).with_base_url(format!("{url}/v1beta"));
    Arc::new(Gemini::connect(config).unwrap())
}

/// Every format, with a model that the server takes for one of it.
fn formats() -> [(&'static str, Arc<dyn ModelProvider>); 4] {
    let url = url();
    [
        ("gpt-4o", openai(&url, Api::ChatCompletions)),
        ("gpt-5", openai(&url, Api::Responses)),
        ("claude-sonnet-4", anthropic(&url)),
        ("gemini-2.5-pro", gemini(&url)),
    ]
}

fn asked(model: &str, messages: Vec<Message>) -> ModelRequest {
    let weather = ToolSpec {
        name: ToolName::new("get_weather").unwrap(),
        description: "The weather.".to_owned(),
        input_schema: json!({"type": "object", "properties": {"city": {"type": "string"}}}),
    };
    ModelRequest {
        messages: Arc::new(messages),
        tools: Arc::new(vec![weather]),
        ..request(model, "")
    }
}

#[tokio::test]
#[cfg_attr(not(has_aimock), ignore = "SEAWORTHY_TEST_AIMOCK names no server")]
async fn text_is_streamed_whole_in_every_format() {
    for (model, provider) in formats() {
        let reply = provider
            .complete(request(model, "say hello"))
            .await
            .unwrap();
        let expected = "Hello, Grüße 🦀, from a server that others wrote.";
        assert_eq!(reply.message.text(), expected, "{model}");
        assert_eq!(reply.finish.reason, FinishReason::Stop, "{model}");
    }
}

#[tokio::test]
#[cfg_attr(not(has_aimock), ignore = "SEAWORTHY_TEST_AIMOCK names no server")]
async fn calls_are_made_and_their_results_are_taken_in_every_format() {
    for (model, provider) in formats() {
        let ask = Message::user("weather please");
        let reply = provider
            .complete(asked(model, vec![ask.clone()]))
            .await
            .unwrap();
        let calls: Vec<_> = reply.message.tool_calls().collect();
        let arguments: Vec<_> = calls.iter().map(|call| call.parsed().unwrap()).collect();
        let cities = [json!({"city": "Zürich"}), json!({"city": "Oslo"})];
        assert_eq!(arguments, cities, "{model}");
        // Of Gemini the server says FUNCTION_CALL, which Gemini does not.
        let raw = reply.finish.raw_reason.as_deref();
        let wanted = reply.finish.reason == FinishReason::ToolCalls;
        assert!(wanted || raw == Some("FUNCTION_CALL"), "{model}: {raw:?}");
        let result = |call: &&seaworthy_ports::model_provider::ToolCallBlock| {
            Block::ToolResult(ToolResultBlock {
                id: call.id.clone(),
                name: call.name.clone(),
                content: "sunny".to_owned(),
                is_error: false,
                media: Vec::new(),
            })
        };
        let results = Message {
            role: Role::User,
            blocks: calls.iter().map(result).collect(),
        };
        let messages = vec![ask, reply.message.clone(), results];
        let last = provider.complete(asked(model, messages)).await.unwrap();
        assert_eq!(last.message.text(), "It is sunny in both.", "{model}");
        assert_eq!(last.finish.reason, FinishReason::Stop, "{model}");
    }
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

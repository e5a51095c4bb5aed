//! The adapter against an endpoint that others wrote; `tests/README.md` says how to start one.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail the test"
)]

use std::sync::Arc;
use std::time::Duration;

use seaworthy_openai::{OpenAi, OpenAiConfig};
use seaworthy_ports::model_provider::{
    Block, FinishReason, Message, ModelProviderExt as _, ModelReply, ModelRequest, Role,
    ToolResultBlock, ToolSpec,
};
use seaworthy_ports::{Latch, Secret, ToolName};
use serde_json::json;

async fn reply(messages: Vec<Message>) -> ModelReply {
    let url = std::env::var("SEAWORTHY_TEST_OPENAI_URL")
        .expect("SEAWORTHY_TEST_OPENAI_URL is the base URL of an endpoint");
    let config = OpenAiConfig::new(Some(Secret::new("sk-test"))).with_base_url(url);
    let request = ModelRequest {
        model: "gpt-4o-mini".to_owned(),
        instructions: Arc::from("You are a test."),
        messages: Arc::new(messages),
        tools: Arc::new(vec![ToolSpec {
            name: ToolName::new("get_weather").unwrap(),
            description: "The weather of a city.".to_owned(),
            input_schema: json!({"type": "object", "properties": {"city": {"type": "string"}}}),
        }]),
        output_schema: None,
        max_output_tokens: None,
        idle_timeout: Duration::from_secs(30),
        cancel: Latch::never(),
    };
    OpenAi::connect(config)
        .unwrap()
        .complete(request)
        .await
        .unwrap()
}

#[tokio::test]
#[ignore = "needs SEAWORTHY_TEST_OPENAI_URL: see tests/README.md"]
async fn an_independent_endpoint_answers_with_text() {
    let reply = reply(vec![Message::user("say hello")]).await;
    assert_eq!(reply.finish.reason, FinishReason::Stop);
    assert_eq!(
        reply.message.text(),
        "Hello, Grüße 🦀, from an endpoint that others wrote."
    );
}

#[tokio::test]
#[ignore = "needs SEAWORTHY_TEST_OPENAI_URL: see tests/README.md"]
async fn an_independent_endpoint_calls_tools_and_takes_their_results() {
    let mut messages = vec![Message::user("weather please")];
    let first = reply(messages.clone()).await;
    assert_eq!(first.finish.reason, FinishReason::ToolCalls);
    let calls: Vec<_> = first.message.tool_calls().cloned().collect();
    let cities: Vec<_> = calls.iter().map(|call| call.parsed().unwrap()).collect();
    assert_eq!(cities, [json!({"city": "Zürich"}), json!({"city": "Oslo"})]);
    let results = calls.into_iter().map(|call| {
        Block::ToolResult(ToolResultBlock {
            id: call.id,
            name: call.name,
            content: "sunny".to_owned(),
            is_error: false,
        })
    });
    messages.extend([
        first.message,
        Message {
            role: Role::User,
            blocks: results.collect(),
        },
    ]);
    let second = reply(messages).await;
    assert_eq!(
        (second.finish.reason, second.message.text()),
        (FinishReason::Stop, "It is sunny.".to_owned())
    );
}

//! The adapter against a server that somebody else wrote. How to start one: `README.md` beside this file.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use seaworthy_openai::{OpenAi, OpenAiConfig};
use seaworthy_ports::model_provider::{
    Block, FinishReason, Kind, Message, ModelProviderExt as _, ModelRequest, Role, ToolResultBlock,
    ToolSpec,
};
use seaworthy_ports::{Latch, Secret, ToolName};
use serde_json::json;

/// The server; a run that asks for these tests without naming one fails.
fn model() -> OpenAi {
    let url = std::env::var("SEAWORTHY_TEST_OPENAI_URL").unwrap();
    let config = OpenAiConfig::new(Some(Secret::new("sk-test"))).with_base_url(url);
    OpenAi::connect(config).unwrap()
}

fn request(messages: Vec<Message>) -> ModelRequest {
    let tool = |name: &str| ToolSpec {
        name: ToolName::new(name).unwrap(),
        description: "For tests.".to_owned(),
        input_schema: json!({"type": "object"}),
    };
    ModelRequest {
        model: "gpt-4o-mini".to_owned(),
        instructions: Arc::from("Be brief."),
        messages: Arc::new(messages),
        tools: Arc::new(vec![tool("read"), tool("list")]),
        output_schema: None,
        max_output_tokens: None,
        idle_timeout: Duration::from_secs(20),
        cancel: Latch::never(),
    }
}

#[tokio::test]
#[ignore = "needs SEAWORTHY_TEST_OPENAI_URL: see tests/README.md"]
async fn text_is_streamed_whole() {
    let reply = model()
        .complete(request(vec![Message::user("say grüße")]))
        .await
        .unwrap();
    assert_eq!(
        reply.message.text(),
        "Grüße, 🦀! This answer is longer than one chunk of the server."
    );
    assert_eq!(reply.finish.reason, FinishReason::Stop);
}

#[tokio::test]
#[ignore = "needs SEAWORTHY_TEST_OPENAI_URL: see tests/README.md"]
async fn two_calls_are_made_and_their_results_accepted() {
    let ask = Message::user("read two files");
    let reply = model().complete(request(vec![ask.clone()])).await.unwrap();
    assert_eq!(reply.finish.reason, FinishReason::ToolCalls);
    let calls: Vec<_> = reply
        .message
        .tool_calls()
        .map(|call| (call.name.as_str(), call.parsed().unwrap()))
        .collect();
    assert_eq!(
        calls,
        [("read", json!({"path": "ü.md"})), ("list", json!({}))]
    );
    let mut answers: Vec<Block> = reply
        .message
        .tool_calls()
        .map(|call| {
            Block::ToolResult(ToolResultBlock {
                id: call.id.clone(),
                name: call.name.clone(),
                content: "done".to_owned(),
                is_error: false,
            })
        })
        .collect();
    answers.push(Block::Text {
        text: "say grüße".to_owned(),
        opaque: None,
    });
    let answers = Message {
        role: Role::User,
        blocks: answers,
    };
    let last = model()
        .complete(request(vec![ask, reply.message.clone(), answers]))
        .await
        .unwrap();
    assert_eq!(last.finish.reason, FinishReason::Stop);
}

#[tokio::test]
#[ignore = "needs SEAWORTHY_TEST_OPENAI_URL: see tests/README.md"]
async fn an_error_is_classified() {
    let error = model()
        .complete(request(vec![Message::user("fail")]))
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.status), (Kind::RateLimited, Some(429)));
}

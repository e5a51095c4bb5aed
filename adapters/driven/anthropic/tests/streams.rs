//! A recorded exchange, and what the next request makes of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use seaworthy_anthropic::{Anthropic, AnthropicConfig, Cache, Thinking};
use seaworthy_contract::http::{Act, Backend, head};
use seaworthy_ports::model_provider::{
    Block, FileBlock, FinishReason, Kind, Message, ModelProviderExt as _, ModelReply, ModelRequest,
    OpaqueItem, Role, ToolResultBlock, ToolSpec, Usage,
};
use seaworthy_ports::{Latch, Secret, ToolName};
use serde_json::{Value, json};

const KEY: &str = "sk-ant-test";

async fn backend() -> Backend {
    let backend = Backend::start().await;
    let body = include_bytes!("recorded/tools.sse");
    backend.perform(vec![
        Act::Say(head("request-id: req_42\r\n")),
        Act::Say(body.to_vec()),
    ]);
    backend
}

fn config(backend: &Backend) -> AnthropicConfig {
    AnthropicConfig::new(Secret::new(KEY)).with_base_url(backend.url())
}

fn request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        model: "claude-test".to_owned(),
        instructions: Arc::from("Be brief."),
        messages: Arc::new(messages),
        tools: Arc::default(),
        output_schema: None,
        max_output_tokens: None,
        parameters: Arc::default(),
        idle_timeout: Duration::from_secs(40),
        cancel: Latch::never(),
    }
}

async fn reply(backend: &Backend, messages: Vec<Message>) -> ModelReply {
    let model = Anthropic::connect(config(backend)).unwrap();
    model.complete(request(messages)).await.unwrap()
}

/// What was sent last.
fn sent(backend: &Backend) -> Value {
    serde_json::from_str(backend.bodies().last().unwrap()).unwrap()
}

fn result(id: &str, content: &str, is_error: bool) -> Block {
    Block::ToolResult(ToolResultBlock {
        id: id.to_owned(),
        name: "read".to_owned(),
        content: content.to_owned(),
        is_error,
        media: Vec::new(),
    })
}

fn text(text: &str) -> Block {
    Block::Text {
        text: text.to_owned(),
        opaque: None,
    }
}

fn user(blocks: Vec<Block>) -> Message {
    Message {
        role: Role::User,
        blocks,
    }
}

fn own(data: Value) -> Option<OpaqueItem> {
    let provider = "anthropic".to_owned();
    Some(OpaqueItem { provider, data })
}

#[tokio::test]
async fn everything_of_a_recorded_answer_is_read() {
    let backend = backend().await;
    let reply = reply(&backend, vec![Message::user("go")]).await;
    let [thinking, redacted, said, read, now] = reply.message.blocks.as_slice() else {
        panic!("{:?}", reply.message.blocks);
    };
    let thought = Block::Reasoning {
        text: "Let me look.".to_owned(),
        opaque: own(json!({"signature": "EqQB+/=="})),
    };
    assert_eq!(*thinking, thought);
    let hidden = Block::Reasoning {
        text: String::new(),
        opaque: own(json!({"redacted": "Eopaque+/=="})),
    };
    assert_eq!(*redacted, hidden);
    assert_eq!(*said, text("Grüße, 🦀!"));
    let (Block::ToolCall(read), Block::ToolCall(now)) = (read, now) else {
        panic!("{read:?} {now:?}");
    };
    assert_eq!((read.id.as_str(), read.name.as_str()), ("toolu_A", "read"));
    assert_eq!(read.parsed(), Some(json!({"path": "ü.md"})));
    assert_eq!(
        (now.id.as_str(), now.parsed()),
        ("toolu_B", Some(json!({})))
    );
    let usage = Usage {
        input_tokens: Some(520),
        cache_read_tokens: Some(300),
        cache_write_tokens: Some(200),
        output_tokens: Some(70),
        reasoning_tokens: Some(40),
    };
    assert_eq!(reply.usage, usage);
    assert_eq!(reply.finish.reason, FinishReason::ToolCalls);
    assert_eq!(reply.model.as_deref(), Some("claude-sonnet-4-5-20250929"));
    assert_eq!(reply.request_id.as_deref(), Some("req_42"));
}

#[tokio::test]
async fn an_answer_goes_back_as_it_came_and_results_follow_in_one_turn() {
    let backend = backend().await;
    let answer = reply(&backend, vec![Message::user("go")]).await.message;
    let messages = vec![
        Message::user("go"),
        answer,
        user(vec![text("and?"), result("toolu_A", "ä", false)]),
        user(vec![result("toolu_B", "no clock", true)]),
    ];
    reply(&backend, messages).await;
    let expected = json!([
        {"role": "user", "content": [{"type": "text", "text": "go"}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Let me look.", "signature": "EqQB+/=="},
            {"type": "redacted_thinking", "data": "Eopaque+/=="},
            {"type": "text", "text": "Grüße, 🦀!"},
            {"type": "tool_use", "id": "toolu_A", "name": "read", "input": {"path": "ü.md"}},
            {"type": "tool_use", "id": "toolu_B", "name": "now", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_A", "content": "ä"},
            {"type": "tool_result", "tool_use_id": "toolu_B", "content": "no clock", "is_error": true},
            {"type": "text", "text": "and?", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
        ]},
    ]);
    assert_eq!(sent(&backend)["messages"], expected);
    // To the letter: the provider compares what it kept.
    assert!(backend.bodies()[1].contains(r#""input":{"path": "ü.md"}"#));
}

#[tokio::test]
async fn thinking_of_others_stays_here_and_empty_text_too() {
    let backend = backend().await;
    let foreign = Block::Reasoning {
        text: "hm".to_owned(),
        opaque: Some(OpaqueItem {
            provider: "another".to_owned(),
            data: json!({"signature": "x"}),
        }),
    };
    let unsigned = Block::Reasoning {
        text: "hm".to_owned(),
        opaque: None,
    };
    let answer = Message {
        role: Role::Assistant,
        blocks: vec![foreign, unsigned, text(" \n"), text("so")],
    };
    reply(
        &backend,
        vec![Message::user("go"), answer, Message::user("on")],
    )
    .await;
    assert_eq!(
        sent(&backend)["messages"][1]["content"],
        json!([{"type": "text", "text": "so"}])
    );
}

#[tokio::test]
async fn settings_schema_and_tools_are_written() {
    let backend = backend().await;
    let config = config(&backend)
        .with_cache(Cache::OneHour)
        .with_thinking(Thinking::Budget(2_000))
        .with_max_output_tokens(9_000);
    let model = Anthropic::connect(config).unwrap();
    let mut request = request(vec![Message::user("go")]);
    request.tools = Arc::new(vec![ToolSpec {
        name: ToolName::new("read").unwrap(),
        description: "Reads.".to_owned(),
        input_schema: json!({"type": "object"}),
    }]);
    request.output_schema = Some(Arc::new(json!({"type": "object"})));
    model.complete(request.clone()).await.unwrap();
    let cached = json!({"type": "ephemeral", "ttl": "1h"});
    let expected = json!({
        "model": "claude-test",
        "max_tokens": 9_000,
        "stream": true,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": cached}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "go", "cache_control": cached}]}],
        "tools": [{"name": "read", "description": "Reads.", "input_schema": {"type": "object"}}],
        "thinking": {"type": "enabled", "budget_tokens": 2_000},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    });
    assert_eq!(sent(&backend), expected);
    let head = &backend.requests()[0];
    assert!(head.starts_with("POST /v1/v1/messages HTTP/1.1\r\n"));
    assert!(head.contains("anthropic-version: 2023-06-01\r\n"));
    assert!(head.contains(&format!("x-api-key: {KEY}\r\n")));
    request.max_output_tokens = Some(7);
    let off = AnthropicConfig::new(Secret::new(KEY))
        .with_base_url(backend.url())
        .with_cache(Cache::Off);
    Anthropic::connect(off)
        .unwrap()
        .complete(request)
        .await
        .unwrap();
    let body = &backend.bodies()[1];
    assert!(!body.contains("cache_control") && body.contains("\"max_tokens\":7"));
}

#[tokio::test]
async fn images_and_documents_are_sent_and_other_files_refused_before_that() {
    let backend = backend().await;
    let file = |media_type: &str, name: Option<&str>| {
        Block::File(FileBlock {
            media_type: media_type.to_owned(),
            name: name.map(str::to_owned),
            data: "QQ==".to_owned(),
        })
    };
    let files = vec![
        file("image/png", None),
        file("application/pdf", Some("a.pdf")),
        text("look"),
    ];
    reply(&backend, vec![user(files)]).await;
    let source = |media_type| json!({"type": "base64", "media_type": media_type, "data": "QQ=="});
    let content = sent(&backend)["messages"][0]["content"].clone();
    assert_eq!(
        content[0],
        json!({"type": "image", "source": source("image/png")})
    );
    assert_eq!(
        content[1],
        json!({"type": "document", "source": source("application/pdf"), "title": "a.pdf"})
    );
    let model = Anthropic::connect(config(&backend)).unwrap();
    let sound = request(vec![user(vec![file("audio/wav", None)])]);
    let error = model.complete(sound).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert_eq!(backend.bodies().len(), 1);
}

#[tokio::test]
async fn blocks_that_nobody_knows_are_skipped_with_all_that_belongs_to_them() {
    let backend = Backend::start().await;
    let body = concat!(
        "data: {\"type\":\"message_start\",\"message\":{}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"new\",\"x\":1}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"new_delta\"}}\n\n",
        "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"so\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"citations_delta\",\"citation\":{}}}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",
        "data: {\"type\":\"message_stop\"}\n\n",
    );
    backend.perform(vec![Act::Say(head("")), Act::Say(body.into())]);
    let reply = reply(&backend, vec![Message::user("go")]).await;
    assert_eq!(reply.message.blocks, [text("so")]);
    assert_eq!(reply.finish.reason, FinishReason::Stop);
}

/// What servers that nobody here wrote said: aimock 1.43 and llama.cpp of October 2026.
#[tokio::test]
async fn answers_of_other_peoples_servers_are_read() {
    let backend = Backend::start().await;
    let answered = async |body: &str| {
        backend.perform(vec![Act::Say(head("")), Act::Say(body.into())]);
        reply(&backend, vec![Message::user("go")]).await
    };
    let thought = answered(include_str!("recorded/aimock-messages.sse")).await;
    assert_eq!(thought.message.text(), "Thought.");
    assert_eq!(thought.message.blocks.len(), 2);
    let called = answered(include_str!("recorded/aimock-messages-calls.sse")).await;
    let cities: Vec<Value> = called
        .message
        .tool_calls()
        .map(|call| call.parsed().unwrap())
        .collect();
    assert_eq!(cities, [json!({"city": "Zürich"}), json!({"city": "Oslo"})]);
    assert_eq!(called.finish.reason, FinishReason::ToolCalls);
    let said = answered(include_str!("recorded/llama-messages.sse")).await;
    assert!(!said.message.text().is_empty());
    // 9 that no cache knew, and 24 that one did.
    assert_eq!(said.usage.input_tokens, Some(33));
}

//! A recorded exchange, and what the next request makes of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use seaworthy_contract::http::{Act, Backend};
use seaworthy_ollama::{Ollama, OllamaConfig};
use seaworthy_ports::model_provider::{
    Block, FileBlock, FinishReason, Kind, Message, ModelProviderExt as _, ModelReply, ModelRequest,
    Role, ToolCallBlock, ToolResultBlock, ToolSpec, Usage,
};
use seaworthy_ports::{Latch, ToolName};
use serde_json::{Value, json};

const TOOLS: &str = include_str!("recorded/tools.ndjson");

fn streaming(body: &str) -> Vec<Act> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n";
    vec![Act::Say(format!("{head}{body}").into_bytes())]
}

async fn backend(body: &str) -> Backend {
    let backend = Backend::start().await;
    backend.perform(streaming(body));
    backend
}

fn config(backend: &Backend) -> OllamaConfig {
    OllamaConfig::new().with_base_url(backend.url())
}

fn request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        model: "qwen3:0.6b".to_owned(),
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
    let model = Ollama::connect(config(backend)).unwrap();
    model.complete(request(messages)).await.unwrap()
}

/// What was sent last.
fn sent(backend: &Backend) -> Value {
    serde_json::from_str(backend.bodies().last().unwrap()).unwrap()
}

fn text(text: &str) -> Block {
    Block::Text {
        text: text.to_owned(),
        opaque: None,
    }
}

fn thought(text: &str) -> Block {
    Block::Reasoning {
        text: text.to_owned(),
        opaque: None,
    }
}

fn call(id: &str, name: &str, arguments: &str) -> Block {
    Block::ToolCall(ToolCallBlock {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        opaque: None,
    })
}

fn result(id: &str, name: &str, content: &str) -> Block {
    Block::ToolResult(ToolResultBlock {
        id: id.to_owned(),
        name: name.to_owned(),
        content: content.to_owned(),
        is_error: false,
        media: Vec::new(),
    })
}

fn user(blocks: Vec<Block>) -> Message {
    Message {
        role: Role::User,
        blocks,
    }
}

#[tokio::test]
async fn everything_of_a_recorded_answer_is_read() {
    let reply = reply(&backend(TOOLS).await, vec![Message::user("go")]).await;
    let expected = [
        thought("Let me look."),
        text("Grüße, 🦀!"),
        call("call_0", "read", "{\"path\": \"ü.md\"}"),
        call("call_1", "now", "{}"),
        call("call_2", "list", "{}"),
    ];
    assert_eq!(reply.message.blocks, expected);
    let usage = Usage {
        input_tokens: Some(520),
        output_tokens: Some(70),
        ..Usage::default()
    };
    assert_eq!(reply.usage, usage);
    assert_eq!(
        (reply.finish.reason, reply.finish.raw_reason.as_deref()),
        (FinishReason::ToolCalls, Some("stop"))
    );
    assert_eq!(reply.model.as_deref(), Some("qwen3:0.6b"));
}

#[tokio::test]
async fn what_the_server_does_not_count_is_not_zero() {
    let body = "{\"message\":{\"content\":\"so\"},\"done\":true,\"eval_count\":7}\n";
    let reply = reply(&backend(body).await, vec![Message::user("go")]).await;
    let usage = Usage {
        output_tokens: Some(7),
        ..Usage::default()
    };
    assert_eq!(
        (reply.usage, reply.finish.reason),
        (usage, FinishReason::Stop)
    );
}

#[tokio::test]
async fn thinking_within_the_answer_is_told_apart() {
    let record = |content: &str, done: bool| {
        format!(
            "{}\n",
            json!({"message": {"content": content}, "done": done})
        )
    };
    let body: String = ["<th", "ink>hm", "m</thi", "nk>\n\nGrüße", ""]
        .iter()
        .zip([false, false, false, false, true])
        .map(|(content, done)| record(content, done))
        .collect();
    let reply = reply(&backend(&body).await, vec![Message::user("go")]).await;
    assert_eq!(reply.message.blocks, [thought("hmm"), text("Grüße")]);
    assert_eq!(reply.finish.reason, FinishReason::Stop);
}

#[tokio::test]
async fn an_answer_goes_back_and_results_follow_in_the_order_of_their_calls() {
    let backend = backend(TOOLS).await;
    let answer = reply(&backend, vec![Message::user("go")]).await.message;
    let messages = vec![
        Message::user("go"),
        answer,
        user(vec![
            text("and?"),
            result("call_2", "list", "three"),
            result("call_1", "now", "noon"),
        ]),
        user(vec![result("call_0", "read", "ä")]),
    ];
    reply(&backend, messages).await;
    let expected = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "Grüße, 🦀!", "tool_calls": [
            {"function": {"name": "read", "arguments": {"path": "ü.md"}}},
            {"function": {"name": "now", "arguments": {}}},
            {"function": {"name": "list", "arguments": {}}},
        ]},
        {"role": "tool", "content": "ä", "tool_name": "read"},
        {"role": "tool", "content": "noon", "tool_name": "now"},
        {"role": "tool", "content": "three", "tool_name": "list"},
        {"role": "user", "content": "and?"},
    ]);
    assert_eq!(sent(&backend).get("messages"), Some(&expected));
}

#[tokio::test]
async fn settings_schema_tools_and_images_are_written() {
    let backend = backend(TOOLS).await;
    let config = config(&backend)
        .with_context_tokens(8_192)
        .with_think(false);
    let model = Ollama::connect(config).unwrap();
    let file = |media_type: &str| {
        Block::File(FileBlock {
            media_type: media_type.to_owned(),
            name: None,
            data: "QQ==".to_owned(),
        })
    };
    let mut request = request(vec![user(vec![file("image/png"), text("look")])]);
    request.tools = Arc::new(vec![ToolSpec {
        name: ToolName::new("read").unwrap(),
        description: "Reads.".to_owned(),
        input_schema: json!({"type": "object"}),
    }]);
    request.output_schema = Some(Arc::new(json!({"type": "object"})));
    request.max_output_tokens = Some(7);
    model.complete(request.clone()).await.unwrap();
    let expected = json!({
        "model": "qwen3:0.6b",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "look", "images": ["QQ=="]},
        ],
        "stream": true,
        "tools": [{"type": "function", "function":
            {"name": "read", "description": "Reads.", "parameters": {"type": "object"}}}],
        "format": {"type": "object"},
        "think": false,
        "options": {"num_ctx": 8_192, "num_predict": 7},
    });
    assert_eq!(sent(&backend), expected);
    let requests = backend.requests();
    let head = requests.first().unwrap();
    assert!(head.starts_with("POST /v1/api/chat HTTP/1.1\r\n"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("authorization"));
    request.messages = Arc::new(vec![user(vec![file("application/pdf")])]);
    let error = model.complete(request).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert_eq!(backend.bodies().len(), 1);
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let body = "{\"message\":{\"content\":\"so\"},\"done\":true,\"done_reason\":\"length\"}";
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let backend = Backend::start().await;
    backend.perform(vec![Act::Say(answer.into_bytes())]);
    let reply = reply(&backend, vec![Message::user("go")]).await;
    assert_eq!(reply.message.blocks, [text("so")]);
    assert_eq!(reply.finish.reason, FinishReason::Length);
}

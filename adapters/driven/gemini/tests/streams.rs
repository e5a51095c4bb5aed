//! A recorded exchange, and what the next request makes of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use seaworthy_contract::http::{Act, Backend, head};
use seaworthy_gemini::{Gemini, GeminiConfig, Thinking, ThinkingLevel};
use seaworthy_ports::model_provider::{
    Block, FileBlock, FinishReason, Kind, Message, ModelProviderExt as _, ModelReply, ModelRequest,
    OpaqueItem, Role, ToolCallBlock, ToolResultBlock, ToolSpec, Usage,
};
use seaworthy_ports::{Latch, Secret, ToolName};
use serde_json::{Value, json};

const KEY: &str = "AIza-test";
const TOOLS: &str = include_str!("recorded/tools.sse");

async fn backend() -> Backend {
    let backend = Backend::start().await;
    backend.perform(vec![Act::Say(head("")), Act::Say(TOOLS.into())]);
    backend
}

fn config(backend: &Backend) -> GeminiConfig {
    GeminiConfig::new(Secret::new(KEY)).with_base_url(backend.url())
}

fn request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        model: "gemini-2.5-flash".to_owned(),
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
    let model = Gemini::connect(config(backend)).unwrap();
    model.complete(request(messages)).await.unwrap()
}

/// What was sent last.
fn sent(backend: &Backend) -> Value {
    serde_json::from_str(backend.bodies().last().unwrap()).unwrap()
}

fn text(text: &str, opaque: Option<OpaqueItem>) -> Block {
    Block::Text {
        text: text.to_owned(),
        opaque,
    }
}

fn call(id: &str, name: &str, arguments: &str, opaque: Option<OpaqueItem>) -> Block {
    Block::ToolCall(ToolCallBlock {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        opaque,
    })
}

fn result(id: &str, name: &str, content: &str, is_error: bool) -> Block {
    Block::ToolResult(ToolResultBlock {
        id: id.to_owned(),
        name: name.to_owned(),
        content: content.to_owned(),
        is_error,
        media: Vec::new(),
    })
}

fn user(blocks: Vec<Block>) -> Message {
    Message {
        role: Role::User,
        blocks,
    }
}

fn signed(signature: &str) -> Option<OpaqueItem> {
    Some(OpaqueItem {
        provider: "gemini".to_owned(),
        data: json!({"thoughtSignature": signature}),
    })
}

#[tokio::test]
async fn everything_of_a_recorded_answer_is_read() {
    let backend = backend().await;
    let reply = reply(&backend, vec![Message::user("go")]).await;
    let thought = Block::Reasoning {
        text: "Let me look.".to_owned(),
        opaque: None,
    };
    let expected = [
        thought,
        text("Grüße, 🦀!", None),
        call(
            "unnamed_call_0",
            "read",
            "{\"path\": \"ü.md\"}",
            signed("EqQB+/=="),
        ),
        call("unnamed_call_1", "now", "{}", None),
        call("own-1", "list", "{}", None),
        text("", signed("Etext==")),
    ];
    assert_eq!(reply.message.blocks, expected);
    let usage = Usage {
        input_tokens: Some(520),
        cache_read_tokens: Some(300),
        cache_write_tokens: None,
        output_tokens: Some(70),
        reasoning_tokens: Some(40),
    };
    assert_eq!(reply.usage, usage);
    assert_eq!(
        (reply.finish.reason, reply.finish.raw_reason.as_deref()),
        (FinishReason::ToolCalls, Some("STOP"))
    );
    assert_eq!(reply.model.as_deref(), Some("gemini-2.5-flash"));
}

#[tokio::test]
async fn an_answer_goes_back_as_it_came_and_results_follow_in_the_order_of_their_calls() {
    let backend = backend().await;
    let answer = reply(&backend, vec![Message::user("go")]).await.message;
    let messages = vec![
        Message::user("go"),
        answer,
        user(vec![
            text("and?", None),
            result("own-1", "list", "three", false),
            result("unnamed_call_1", "now", "no clock", true),
        ]),
        user(vec![result("unnamed_call_0", "read", "ä", false)]),
    ];
    reply(&backend, messages).await;
    let expected = json!([
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [
            {"text": "Grüße, 🦀!"},
            {"functionCall": {"name": "read", "args": {"path": "ü.md"}}, "thoughtSignature": "EqQB+/=="},
            {"functionCall": {"name": "now", "args": {}}},
            {"functionCall": {"id": "own-1", "name": "list", "args": {}}},
            {"text": "", "thoughtSignature": "Etext=="},
        ]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "read", "response": {"output": "ä"}}},
            {"functionResponse": {"name": "now", "response": {"error": "no clock"}}},
            {"functionResponse": {"id": "own-1", "name": "list", "response": {"output": "three"}}},
            {"text": "and?"},
        ]},
    ]);
    assert_eq!(sent(&backend).get("contents"), Some(&expected));
}

#[tokio::test]
async fn settings_schema_and_tools_are_written() {
    let backend = backend().await;
    let ask = |thinking| {
        let model = Gemini::connect(config(&backend).with_thinking(thinking)).unwrap();
        let mut request = request(vec![Message::user("go")]);
        request.tools = Arc::new(vec![ToolSpec {
            name: ToolName::new("read").unwrap(),
            description: "Reads.".to_owned(),
            input_schema: json!({"type": "object"}),
        }]);
        request.output_schema = Some(Arc::new(json!({"type": "object"})));
        request.max_output_tokens = Some(7);
        async move { model.complete(request).await.unwrap() }
    };
    ask(Thinking::Level(ThinkingLevel::Low)).await;
    let expected = json!({
        "contents": [{"role": "user", "parts": [{"text": "go"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "tools": [{"functionDeclarations": [
            {"name": "read", "description": "Reads.", "parametersJsonSchema": {"type": "object"}}]}],
        "generationConfig": {
            "maxOutputTokens": 7,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"includeThoughts": true, "thinkingLevel": "LOW"},
        },
    });
    assert_eq!(sent(&backend), expected);
    ask(Thinking::Budget(0)).await;
    let config = sent(&backend);
    assert_eq!(
        config.pointer("/generationConfig/thinkingConfig"),
        Some(&json!({"includeThoughts": false, "thinkingBudget": 0}))
    );
    let requests = backend.requests();
    let head = requests.first().unwrap();
    let path = "POST /v1/models/gemini-2.5-flash:streamGenerateContent?alt=sse HTTP/1.1\r\n";
    assert!(head.starts_with(path), "{head}");
    assert!(head.contains(&format!("x-goog-api-key: {KEY}\r\n")));
    assert_eq!(head.matches(KEY).count(), 1);
}

#[tokio::test]
async fn a_name_with_a_slash_says_what_kind_of_model_it_is() {
    let backend = backend().await;
    let model = Gemini::connect(config(&backend)).unwrap();
    let mut request = request(vec![Message::user("go")]);
    request.model = "tunedModels/mine".to_owned();
    model.complete(request).await.unwrap();
    let requests = backend.requests();
    let path = "POST /v1/tunedModels/mine:streamGenerateContent?alt=sse ";
    assert!(requests.first().unwrap().starts_with(path));
}

#[tokio::test]
async fn files_are_sent_in_line_and_others_refused_before_that() {
    let backend = backend().await;
    let file = |media_type: &str| {
        Block::File(FileBlock {
            media_type: media_type.to_owned(),
            name: None,
            data: "QQ==".to_owned(),
        })
    };
    reply(
        &backend,
        vec![user(vec![file("audio/wav"), file("image/png")])],
    )
    .await;
    let expected = json!([
        {"inlineData": {"mimeType": "audio/wav", "data": "QQ=="}},
        {"inlineData": {"mimeType": "image/png", "data": "QQ=="}},
    ]);
    assert_eq!(sent(&backend).pointer("/contents/0/parts"), Some(&expected));
    let model = Gemini::connect(config(&backend)).unwrap();
    let archive = request(vec![user(vec![file("application/zip")])]);
    let error = model.complete(archive).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert_eq!(backend.bodies().len(), 1);
}

#[tokio::test]
async fn what_a_tool_shows_is_in_its_result_where_the_model_takes_it_there() {
    for (model, is_within) in [("gemini-3-flash", true), ("gemini-2.5-flash", false)] {
        let backend = backend().await;
        let shows = Block::ToolResult(ToolResultBlock {
            id: "c1".to_owned(),
            name: "look".to_owned(),
            content: "seen".to_owned(),
            is_error: false,
            media: vec![FileBlock {
                media_type: "image/png".to_owned(),
                name: None,
                data: "QQ==".to_owned(),
            }],
        });
        let mut request = request(vec![
            Message::user("go"),
            Message {
                role: Role::Assistant,
                blocks: vec![call("c1", "look", "{}", signed("s"))],
            },
            user(vec![shows]),
        ]);
        request.model = model.to_owned();
        let gemini = Gemini::connect(config(&backend)).unwrap();
        gemini.complete(request).await.unwrap();
        let image = json!({"inlineData": {"mimeType": "image/png", "data": "QQ=="}});
        let sent = sent(&backend);
        let within = sent.pointer("/contents/2/parts/0/functionResponse/parts/0");
        let beside = sent.pointer("/contents/2/parts/1");
        let places = if is_within {
            (Some(&image), None)
        } else {
            (None, Some(&image))
        };
        assert_eq!((within, beside), places, "{model}");
    }
}

#[tokio::test]
async fn a_blocked_prompt_is_a_failure_and_malformed_calls_are_malformed() {
    let backend = Backend::start().await;
    let blocked = "data: {\"promptFeedback\":{\"blockReason\":\"PROHIBITED_CONTENT\"}}\n\n";
    backend.perform(vec![Act::Say(head("")), Act::Say(blocked.into())]);
    let model = Gemini::connect(config(&backend)).unwrap();
    let error = model
        .complete(request(vec![Message::user("go")]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::ContentFilter);
    assert_eq!(error.code.as_deref(), Some("PROHIBITED_CONTENT"));
    let malformed = "data: {\"candidates\":[{\"finishReason\":\"MALFORMED_FUNCTION_CALL\"}]}\n\n";
    backend.perform(vec![Act::Say(head("")), Act::Say(malformed.into())]);
    let reply = model
        .complete(request(vec![Message::user("go")]))
        .await
        .unwrap();
    assert_eq!(reply.finish.reason, FinishReason::Malformed);
}

#[tokio::test]
async fn an_endpoint_that_does_not_stream_is_understood() {
    let backend = Backend::start().await;
    let chunks: Vec<&str> = TOOLS
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    let body = format!("[{}]", chunks.join(",\n"));
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    backend.perform(vec![Act::Say(answer.into_bytes())]);
    let whole = reply(&backend, vec![Message::user("go")]).await;
    let streamed = reply(&self::backend().await, vec![Message::user("go")]).await;
    assert_eq!(whole, streamed);
}

/// What a server that nobody here wrote said: aimock 1.43, which has a reason of its own for calls.
#[tokio::test]
async fn answers_of_another_server_are_read() {
    let backend = Backend::start().await;
    let answered = async |body: &str| {
        backend.perform(vec![Act::Say(head("")), Act::Say(body.into())]);
        reply(&backend, vec![Message::user("go")]).await
    };
    let said = answered(include_str!("recorded/aimock-generate.sse")).await;
    assert_eq!(
        said.message.text(),
        "Hello, Grüße 🦀, from a server that others wrote."
    );
    let called = answered(include_str!("recorded/aimock-generate-calls.sse")).await;
    let cities: Vec<Value> = called
        .message
        .tool_calls()
        .map(|call| call.parsed().unwrap())
        .collect();
    assert_eq!(cities, [json!({"city": "Zürich"}), json!({"city": "Oslo"})]);
    assert_eq!(called.finish.raw_reason.as_deref(), Some("FUNCTION_CALL"));
}

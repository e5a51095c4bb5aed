//! Responses, event by event: what the suite's words do not reach.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(
    clippy::indexing_slicing,
    reason = "what is not there must fail the test"
)]

#[expect(dead_code, reason = "other tests need more of it")]
mod support;

use std::sync::Arc;

use seaworthy_openai::{Api, OpenAi};
use seaworthy_ports::model_provider::{
    Block, FinishReason, Kind, Message, ModelError, ModelProviderExt as _, ModelReply, Usage,
};
use serde_json::{Value, json};
use support::{Server, request};

const WHOLE: &str = include_str!("recorded/responses.sse");

fn model(server: &Server) -> OpenAi {
    OpenAi::connect(server.config().with_api(Api::Responses)).unwrap()
}

async fn answered(body: impl Into<Vec<u8>>) -> Result<ModelReply, ModelError> {
    let server = Server::streaming(body).await;
    model(&server).complete(request()).await
}

fn event(sort: &str, mut data: Value) -> String {
    data["type"] = json!(sort);
    format!("event: {sort}\ndata: {data}\n\n")
}

fn done(index: u64, item: &Value) -> String {
    event(
        "response.output_item.done",
        json!({"output_index": index, "item": item}),
    )
}

fn completed() -> String {
    event("response.completed", json!({"response": {}}))
}

#[tokio::test]
async fn an_answer_is_read_whole_with_what_must_return() {
    let reply = answered(WHOLE).await.unwrap();
    let [
        Block::Reasoning {
            text: thought,
            opaque: Some(reasoning),
        },
        Block::Text {
            text,
            opaque: Some(message),
        },
    ] = reply.message.blocks.as_slice()
    else {
        panic!("{:?}", reply.message.blocks);
    };
    assert_eq!(
        (thought.as_str(), text.as_str()),
        ("**Grüßen**", "Grüße, 🦀!")
    );
    assert_eq!(reasoning.provider, "openai-responses");
    // What came when the item began was not whole.
    assert_eq!(
        reasoning.data,
        json!({"id": "rs_1", "type": "reasoning", "encrypted_content": "gAAA-whole==",
            "summary": [{"type": "summary_text", "text": "**Grüßen**"}]})
    );
    assert_eq!(message.data, json!({"phase": "final_answer"}));
    assert_eq!(reply.finish.reason, FinishReason::Stop);
    assert_eq!(
        reply.usage,
        Usage {
            input_tokens: Some(21),
            cache_read_tokens: Some(4),
            cache_write_tokens: None,
            output_tokens: Some(11),
            reasoning_tokens: Some(5),
        }
    );
    assert_eq!(reply.model.as_deref(), Some("gpt-5-mini-2025-08-07"));
}

#[tokio::test]
async fn the_request_keeps_nothing_at_the_provider_and_reasoning_returns_unchanged() {
    let mut server = Server::streaming(WHOLE).await;
    let model = model(&server);
    let first = model.complete(request()).await.unwrap();
    let mut request = request();
    request.messages = Arc::new(vec![
        Message::user("go"),
        first.message,
        Message::user("on"),
    ]);
    model.complete(request).await.unwrap();
    let _first = server.requests.recv().await.unwrap();
    let second = server.requests.recv().await.unwrap();
    let (head, body) = second.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/responses HTTP"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&body["store"], &body["stream"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(body["input"][1]["encrypted_content"], "gAAA-whole==");
    assert_eq!(body["input"][2]["phase"], "final_answer");
}

#[tokio::test]
async fn items_that_come_whole_count_where_no_fragments_came() {
    let parts =
        json!([{"type": "output_text", "text": "Hel"}, {"type": "output_text", "text": "lo"}]);
    let call =
        json!({"type": "function_call", "call_id": "c", "name": "read", "arguments": "{\"a\":1}"});
    let body = [
        done(0, &json!({"type": "message", "content": parts})),
        done(1, &call),
        completed(),
    ];
    let reply = answered(body.concat()).await.unwrap();
    assert_eq!(reply.message.text(), "Hello");
    let calls: Vec<_> = reply.message.tool_calls().collect();
    assert_eq!(calls[0].parsed(), Some(json!({"a": 1})));
    assert_eq!(reply.finish.reason, FinishReason::ToolCalls);
}

#[tokio::test]
async fn reasoning_that_could_not_be_sent_back_is_shown_alone() {
    let summary =
        json!([{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}]);
    for (extra, returns) in [
        (json!({}), false),
        (json!({"encrypted_content": ""}), false),
        (json!({"encrypted_content": "x"}), true),
    ] {
        let mut item = json!({"type": "reasoning", "id": "rs_1", "summary": summary});
        item.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let reply = answered([done(0, &item), completed()].concat())
            .await
            .unwrap();
        let Block::Reasoning { text, opaque } = &reply.message.blocks[0] else {
            panic!("{:?}", reply.message.blocks);
        };
        assert_eq!(text, "one\n\ntwo");
        assert_eq!(opaque.is_some(), returns, "{extra}");
    }
}

#[tokio::test]
async fn servers_may_leave_out_indices_and_names_of_events() {
    let frame = |data: Value| format!("data: {data}\n\n");
    let added = |id: &str| {
        frame(json!({"type": "response.output_item.added",
            "item": {"type": "function_call", "call_id": id, "name": "read", "arguments": ""}}))
    };
    let more = |id: &str, delta: &str| {
        frame(
            json!({"type": "response.function_call_arguments.delta", "item_id": id, "delta": delta}),
        )
    };
    let body = [
        frame(json!({"type": "response.output_text.delta", "delta": "Hi"})),
        added("a"),
        added("b"),
        more("a", "{\"n\":"),
        more("b", "{\"n\":2"),
        more("a", "1}"),
        more("b", "}"),
        frame(json!({"type": "response.completed", "response": {"status": "completed"}})),
        "data: [DONE]\n\n".to_owned(),
    ];
    let reply = answered(body.concat()).await.unwrap();
    assert_eq!(reply.message.text(), "Hi");
    let calls: Vec<_> = reply
        .message
        .tool_calls()
        .map(|call| (call.id.as_str(), call.parsed().unwrap()))
        .collect();
    assert_eq!(calls, [("a", json!({"n": 1})), ("b", json!({"n": 2}))]);
}

#[tokio::test]
async fn an_answer_in_one_document_is_read_too() {
    let response = json!({"object": "response", "status": "completed", "model": "m", "error": null, "output": [
        {"type": "reasoning", "summary": []},
        {"type": "web_search_call", "status": "completed"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
    ], "usage": {"input_tokens": 3, "output_tokens": 2}});
    let json = "content-type: application/json\r\n";
    let server = Server::answering(200, json, &response.to_string()).await;
    let reply = model(&server).complete(request()).await.unwrap();
    assert_eq!(reply.message.text(), "Hello");
    assert_eq!(reply.usage.input_tokens, Some(3));
    for (failed, expected) in [
        (json!({"error": {"code": "server_error"}}), Kind::Server),
        (
            json!({"object": "response", "status": "failed", "error": {"code": "rate_limit_exceeded"}}),
            Kind::RateLimited,
        ),
        (json!({"object": "response"}), Kind::Decode),
    ] {
        let server = Server::answering(200, json, &failed.to_string()).await;
        let error = model(&server).complete(request()).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{failed}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_complete_says_why() {
    for (details, reason, raw) in [
        (
            json!({"reason": "max_output_tokens"}),
            FinishReason::Length,
            "max_output_tokens",
        ),
        (
            json!({"reason": "content_filter"}),
            FinishReason::ContentFilter,
            "content_filter",
        ),
        (json!({"reason": "steered"}), FinishReason::Other, "steered"),
        (Value::Null, FinishReason::Other, "incomplete"),
    ] {
        let last = json!({"response": {"status": "incomplete", "incomplete_details": details}});
        let reply = answered(event("response.incomplete", last)).await.unwrap();
        assert_eq!(
            (reply.finish.reason, reply.finish.raw_reason.as_deref()),
            (reason, Some(raw))
        );
    }
}

/// What servers that nobody here wrote said: aimock 1.43 and llama.cpp of October 2026, which leaves out indices.
#[tokio::test]
async fn answers_of_other_peoples_servers_are_read() {
    let thought = answered(include_str!("recorded/aimock-responses.sse"))
        .await
        .unwrap();
    assert_eq!(thought.message.text(), "Thought.");
    assert!(matches!(
        &thought.message.blocks[0],
        Block::Reasoning { text, .. } if text == "Let me think."
    ));
    let called = answered(include_str!("recorded/aimock-responses-calls.sse"))
        .await
        .unwrap();
    let cities: Vec<Value> = called
        .message
        .tool_calls()
        .map(|call| call.parsed().unwrap())
        .collect();
    assert_eq!(cities, [json!({"city": "Zürich"}), json!({"city": "Oslo"})]);
    assert_eq!(called.finish.reason, FinishReason::ToolCalls);
    let said = answered(include_str!("recorded/llama-responses.sse"))
        .await
        .unwrap();
    assert!(said.message.text().starts_with("```json"));
    assert_eq!(said.finish.reason, FinishReason::Stop);
    assert_eq!(said.usage.output_tokens, Some(24));
}

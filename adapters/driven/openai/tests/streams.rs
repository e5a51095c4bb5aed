//! Answers as endpoints stream them, byte by byte.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use seaworthy_ports::Latch;
use seaworthy_ports::model_provider::{
    Block, FinishReason, Kind, ModelEvent, ModelProvider as _, ModelProviderExt as _, ModelReply,
    OpaqueItem, ToolCallBlock, Usage,
};
use serde_json::{Value, json};
use support::{Act, Server, head, request};

const TEXT: &str = include_str!("recorded/text.sse");
const CALLS: &str = include_str!("recorded/parallel-calls.sse");
const REFUSAL: &str = include_str!("recorded/refusal.sse");
const COMPATIBLE: &str = include_str!("recorded/compatible.sse");

async fn reply(body: impl Into<Vec<u8>>) -> ModelReply {
    Server::streaming(body).await.reply().await.unwrap()
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    format!(
        "data: {}\n\n",
        json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    )
}

fn calls(reply: &ModelReply) -> Vec<(&str, &str, Value)> {
    reply
        .message
        .tool_calls()
        .map(|call| (call.id.as_str(), call.name.as_str(), call.parsed().unwrap()))
        .collect()
}

#[tokio::test]
async fn text_usage_model_and_request_id_are_read() {
    let server = Server::start(vec![
        Act::Say(head("x-request-id: req_42\r\n")),
        Act::Say(TEXT.into()),
    ])
    .await;
    let reply = server.reply().await.unwrap();
    assert_eq!(reply.message.text(), "Grüße, 🦀!");
    assert_eq!(
        (reply.finish.reason, reply.finish.raw_reason.as_deref()),
        (FinishReason::Stop, Some("stop"))
    );
    let usage = Usage {
        input_tokens: Some(25),
        cache_read_tokens: Some(5),
        cache_write_tokens: None,
        output_tokens: Some(18),
        reasoning_tokens: Some(10),
    };
    assert_eq!(reply.usage, usage);
    assert_eq!(reply.model.as_deref(), Some("gpt-5-mini-2025-08-07"));
    assert_eq!(reply.request_id.as_deref(), Some("req_42"));
}

#[tokio::test]
async fn a_stream_has_one_finish_and_it_is_last() {
    for body in [TEXT, CALLS, REFUSAL, COMPATIBLE, ""] {
        let events = Server::streaming(body).await.events().await;
        let finishes = events
            .iter()
            .filter(|event| matches!(event, Ok(ModelEvent::Finish(_))))
            .count();
        assert_eq!(finishes, 1);
        assert!(matches!(events.last(), Some(Ok(ModelEvent::Finish(_)))));
        assert!(matches!(
            events.first(),
            Some(Ok(ModelEvent::Started { .. }))
        ));
    }
}

#[tokio::test]
async fn what_follows_the_terminal_frame_is_not_read() {
    let body = format!("{TEXT}data: garbage\n\n{TEXT}");
    assert_eq!(reply(body).await.message.text(), "Grüße, 🦀!");
}

#[tokio::test]
async fn parallel_calls_keep_their_order_and_arguments() {
    let reply = reply(CALLS).await;
    let expected = [
        ("call_A", "read", json!({"path": "ü.md"})),
        ("call_B", "list", json!({"path": "."})),
        ("call_C", "now", json!({})),
    ];
    assert_eq!(calls(&reply), expected);
    assert_eq!(reply.finish.reason, FinishReason::ToolCalls);
}

#[tokio::test]
async fn a_refusal_is_no_answer() {
    let reply = reply(REFUSAL).await;
    assert_eq!(
        reply.message.blocks,
        [Block::Refusal {
            text: "I cannot help with that.".to_owned()
        }]
    );
    assert_eq!(
        (reply.finish.reason, reply.finish.raw_reason.as_deref()),
        (FinishReason::Refusal, Some("stop"))
    );
}

#[tokio::test]
async fn a_compatible_server_may_leave_out_done_and_usage_and_show_its_reasoning() {
    let reply = reply(COMPATIBLE).await;
    let [
        Block::Reasoning { text: thought, .. },
        Block::Text { text, .. },
    ] = reply.message.blocks.as_slice()
    else {
        panic!("{:?}", reply.message.blocks);
    };
    assert_eq!((thought.as_str(), text.as_str()), ("Let me see.", "Yes."));
    assert_eq!(reply.finish.reason, FinishReason::Stop);
    assert_eq!(reply.usage, Usage::default());
}

#[tokio::test]
async fn an_endpoint_that_does_not_stream_is_understood() {
    let call =
        json!({"id": "c1", "type": "function", "function": {"name": "read", "arguments": "{}"}});
    let message = json!({"role": "assistant", "content": "Look.", "tool_calls": [call]});
    let body = json!({"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
                      "usage": {"prompt_tokens": 3, "completion_tokens": 4}});
    let server = Server::answering(
        200,
        "content-type: application/json; charset=utf-8\r\n",
        &body.to_string(),
    )
    .await;
    let reply = server.reply().await.unwrap();
    assert_eq!(reply.message.text(), "Look.");
    assert_eq!(calls(&reply), [("c1", "read", json!({}))]);
    assert_eq!(
        (reply.usage.input_tokens, reply.usage.cache_read_tokens),
        (Some(3), None)
    );
}

#[tokio::test]
async fn it_does_not_matter_where_the_network_splits_the_bytes() {
    let whole = reply(CALLS).await;
    let bytes = CALLS.as_bytes();
    let start = CALLS.find('ü').unwrap();
    for at in (start - 2..start + 4).chain([0, 1, 5, 6, bytes.len() - 1, bytes.len() - 9]) {
        let (one, two) = bytes.split_at(at);
        let chunked = |part: &[u8]| {
            let mut sent = format!("{:x}\r\n", part.len()).into_bytes();
            sent.extend_from_slice(part);
            sent.extend_from_slice(b"\r\n");
            Act::Say(sent)
        };
        let mut acts = vec![Act::Say(head("transfer-encoding: chunked\r\n"))];
        acts.extend(
            [one, two]
                .into_iter()
                .filter(|part| !part.is_empty())
                .map(chunked),
        );
        acts.push(Act::Say(b"0\r\n\r\n".to_vec()));
        assert_eq!(
            Server::start(acts).await.reply().await.unwrap(),
            whole,
            "{at}"
        );
    }
}

#[tokio::test]
async fn every_finish_reason_is_mapped_and_kept() {
    for (raw, reason) in [
        ("stop", FinishReason::Stop),
        ("length", FinishReason::Length),
        ("content_filter", FinishReason::ContentFilter),
        ("something_new", FinishReason::Other),
    ] {
        let reply = reply(chunk(&json!({"content": "x"}), Some(raw))).await;
        assert_eq!(
            (reply.finish.reason, reply.finish.raw_reason.as_deref()),
            (reason, Some(raw))
        );
    }
}

#[tokio::test]
async fn calls_are_told_apart_by_id_where_the_index_is_missing_or_always_the_same() {
    let fragment = |index: Option<u32>, id: &str, arguments: &str| {
        let mut call = json!({"id": id, "function": {"name": "read", "arguments": arguments}});
        if let Some(index) = index {
            call["index"] = json!(index);
        }
        chunk(&json!({"tool_calls": [call]}), None)
    };
    for index in [None, Some(0)] {
        let body = [
            fragment(index, "a", "{\"path\":\"1\"}"),
            fragment(index, "b", "{\"path\":\"2\"}"),
            chunk(&json!({}), Some("stop")),
        ];
        let reply = reply(body.concat()).await;
        let expected = [
            ("a", "read", json!({"path": "1"})),
            ("b", "read", json!({"path": "2"})),
        ];
        assert_eq!(calls(&reply), expected);
        assert_eq!(reply.finish.reason, FinishReason::ToolCalls);
    }
}

#[tokio::test]
async fn calls_without_an_id_of_their_own_get_one() {
    let fragment = |index: u32, id: &str| {
        let call =
            json!({"index": index, "id": id, "function": {"name": "read", "arguments": "{}"}});
        chunk(&json!({"tool_calls": [call]}), None)
    };
    for id in ["", "same"] {
        let body = [
            fragment(0, id),
            fragment(1, id),
            chunk(&json!({}), Some("tool_calls")),
        ];
        let reply = reply(body.concat()).await;
        let ids: std::collections::BTreeSet<_> = reply
            .message
            .tool_calls()
            .map(|call| call.id.as_str())
            .collect();
        assert_eq!(ids.len(), 2, "{ids:?}");
        assert!(!ids.contains(""));
    }
}

#[tokio::test]
async fn arguments_that_are_no_json_make_the_answer_malformed() {
    let call =
        json!({"index": 0, "id": "a", "function": {"name": "read", "arguments": "{\"path\""}});
    let body = [
        chunk(&json!({"tool_calls": [call]}), None),
        chunk(&json!({}), Some("tool_calls")),
    ]
    .concat();
    let reply = reply(body).await;
    assert_eq!(
        (reply.finish.reason, reply.finish.raw_reason.as_deref()),
        (FinishReason::Malformed, Some("tool_calls"))
    );
}

#[tokio::test]
async fn what_a_compatible_server_wants_back_is_kept_with_the_call() {
    let data = json!({"google": {"thought_signature": "x=="}});
    let call = json!({"index": 0, "id": "a", "function": {"name": "read", "arguments": "{}"}, "extra_content": data});
    let body = [
        chunk(&json!({"tool_calls": [call]}), None),
        chunk(&json!({}), Some("tool_calls")),
    ]
    .concat();
    let reply = reply(body).await;
    let opaque = Some(OpaqueItem {
        provider: "openai".to_owned(),
        data,
    });
    let expected = ToolCallBlock {
        id: "a".to_owned(),
        name: "read".to_owned(),
        arguments: "{}".to_owned(),
        opaque,
    };
    assert_eq!(reply.message.blocks, [Block::ToolCall(expected)]);
}

#[tokio::test]
async fn unknown_events_are_skipped() {
    let body = format!("event: ping\ndata: {{\n\ndata: {{\"type\":\"new\"}}\n\n{TEXT}");
    assert_eq!(reply(body).await.message.text(), "Grüße, 🦀!");
}

#[tokio::test]
async fn a_stream_without_its_end_is_interrupted() {
    let half = TEXT.split_inclusive("\n\n").take(2).collect::<String>();
    for body in [
        half.clone(),
        format!("{half}data: {{\"choices\":[{{\"del"),
        format!("{half}data: [DONE]\n\n"),
    ] {
        let reply = reply(body).await;
        assert_eq!(reply.finish.reason, FinishReason::Interrupted);
        assert_eq!(reply.message.text(), "Grüße");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_unless_the_answer_was_complete() {
    let cut = |frames: usize| {
        let body: String = TEXT.split_inclusive("\n\n").take(frames).collect();
        Server::start(vec![
            Act::Say(head(&format!("content-length: {}\r\n", TEXT.len()))),
            Act::Say(body.into()),
        ])
    };
    let error = cut(2).await.error().await;
    assert_eq!(
        (error.kind(), error.response_started),
        (Kind::Network, true)
    );
    let error = cut(0).await.error().await;
    assert_eq!(
        (error.kind(), error.response_started),
        (Kind::Network, false)
    );
    assert_eq!(
        cut(4).await.reply().await.unwrap().finish.reason,
        FinishReason::Stop
    );
}

#[tokio::test]
async fn an_answer_must_fit_the_output_schema() {
    let schema =
        json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
    for (said, reason) in [
        ("{\"n\": 3}", FinishReason::Stop),
        ("{\"n\": \"3\"}", FinishReason::Malformed),
        ("three", FinishReason::Malformed),
    ] {
        let body = [
            chunk(&json!({"content": said}), None),
            chunk(&json!({}), Some("stop")),
        ]
        .concat();
        let mut server = Server::streaming(body).await;
        let mut request = request();
        request.output_schema = Some(Arc::new(schema.clone()));
        let reply = server.model().complete(request).await.unwrap();
        assert_eq!(reply.finish.reason, reason, "{said}");
        assert!(
            server
                .requests
                .recv()
                .await
                .unwrap()
                .contains("\"response_format\":{\"type\":\"json_schema\"")
        );
    }
    let server = Server::streaming(TEXT).await;
    let mut request = request();
    request.output_schema = Some(Arc::new(json!({"type": 3})));
    assert_eq!(
        server.model().complete(request).await.unwrap_err().kind(),
        Kind::InvalidRequest
    );
}

#[tokio::test]
async fn cancelling_closes_the_connection() {
    let half: String = TEXT.split_inclusive("\n\n").take(2).collect();
    for acts in [
        vec![Act::Wait],
        vec![Act::Say(head("")), Act::Say(half.into()), Act::Wait],
    ] {
        let said_something = acts.len() > 1;
        let mut server = Server::start(acts).await;
        let (setter, latch) = Latch::new();
        let mut request = request();
        request.cancel = latch;
        let mut stream = server.model().stream(request);
        if said_something {
            while !matches!(
                stream.next().await.unwrap(),
                Ok(ModelEvent::BlockDelta { .. })
            ) {}
            setter.set();
        }
        let cancel = async {
            server.requests.recv().await.unwrap();
            setter.set();
        };
        let (mut events, ()) = tokio::join!(stream.collect::<Vec<_>>(), cancel);
        let error = events.pop().unwrap().unwrap_err();
        assert_eq!(
            (error.kind(), error.response_started),
            (Kind::Cancelled, said_something)
        );
        server.left.recv().await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_is_cancelled_before_it_begins_sends_nothing() {
    let mut server = Server::streaming(TEXT).await;
    let (setter, latch) = Latch::new();
    setter.set();
    let mut request = request();
    request.cancel = latch;
    assert_eq!(
        server.model().complete(request).await.unwrap_err().kind(),
        Kind::Cancelled
    );
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let mut server = Server::start(vec![
        Act::Say(head("")),
        Act::Say(TEXT.as_bytes()[..400].to_vec()),
        Act::Wait,
    ])
    .await;
    let mut stream = server.model().stream(request());
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    server.left.recv().await.unwrap();
}

#[tokio::test]
async fn silence_ends_the_call() {
    let half: String = TEXT.split_inclusive("\n\n").take(2).collect();
    for (acts, started) in [
        (vec![Act::Wait], false),
        (
            vec![Act::Say(head("")), Act::Say(half.into()), Act::Wait],
            true,
        ),
    ] {
        let mut server = Server::start(acts).await;
        let mut request = request();
        request.idle_timeout = Duration::from_millis(300);
        let error = server.model().complete(request).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.response_started),
            (Kind::Timeout, started)
        );
        server.left.recv().await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_of_any_form_ends_at_the_cap() {
    let endless = [
        b"x".repeat(65536),
        b": comment\n\n".repeat(4096),
        chunk(&json!({"content": "x".repeat(1000)}), None).into(),
    ];
    for bytes in endless {
        let mut server = Server::start(vec![Act::Say(head("")), Act::Repeat(bytes)]).await;
        let error = server.error().await;
        assert_eq!(error.kind(), Kind::Truncated);
        server.left.recv().await.unwrap();
    }
}

#[tokio::test]
async fn the_caps_are_those_of_the_configuration() {
    let server = Server::streaming(TEXT).await;
    let complete = |config| async {
        seaworthy_openai::OpenAi::connect(config)
            .unwrap()
            .complete(request())
            .await
    };
    let error = complete(server.config().with_max_event_bytes(100))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Truncated);
    let error = complete(server.config().with_max_stream_bytes(TEXT.len() - 1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Truncated);
    assert!(
        complete(server.config().with_max_stream_bytes(TEXT.len()))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn connections_are_used_again() {
    let body = format!("{:x}\r\n{TEXT}\r\n0\r\n\r\n", TEXT.len());
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = Act::Say(format!("{head}{body}").into());
    // The server answers one request a connection and then waits: the second call on it would hang were it not the same
    // connection's end that the server sees.
    let mut server = Server::start(vec![answer.clone(), Act::Wait, answer]).await;
    let model = server.model();
    model.complete(request()).await.unwrap();
    model.complete(request()).await.unwrap();
    assert!(server.requests.recv().await.is_some());
    assert!(
        server.requests.try_recv().is_err(),
        "the second call opened a connection"
    );
}

/// What servers that nobody here wrote said: aimock 1.43 and llama.cpp of October 2026.
#[tokio::test]
async fn answers_of_other_peoples_servers_are_read() {
    let said = reply(include_str!("recorded/aimock-chat.sse")).await;
    assert_eq!(
        said.message.text(),
        "Hello, Grüße 🦀, from a server that others wrote."
    );
    assert_eq!(said.finish.reason, FinishReason::Stop);
    let called = reply(include_str!("recorded/aimock-chat-calls.sse")).await;
    let cities: Vec<Value> = calls(&called)
        .into_iter()
        .map(|(_, _, city)| city)
        .collect();
    assert_eq!(cities, [json!({"city": "Zürich"}), json!({"city": "Oslo"})]);
    assert_eq!(called.finish.reason, FinishReason::ToolCalls);
    let shaped = reply(include_str!("recorded/llama-chat.sse")).await;
    let answer: Value = serde_json::from_str(&shaped.message.text()).unwrap();
    assert!(answer["answer"].is_i64(), "{answer}");
    assert_eq!(shaped.model.as_deref(), Some("smollm2"));
    assert_eq!(
        (shaped.usage.input_tokens, shaped.usage.output_tokens),
        (Some(41), Some(10))
    );
}

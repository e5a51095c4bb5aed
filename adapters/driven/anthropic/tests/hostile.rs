//! Hostile servers that speak Messages.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;

use seaworthy_anthropic::{Anthropic, AnthropicConfig};
use seaworthy_contract::http::Dialect;
use seaworthy_ports::Secret;
use seaworthy_ports::model_provider::{Kind, ModelProvider};

struct Messages;

impl Dialect for Messages {
    fn provider(url: &str, frame_bytes: usize, stream_bytes: usize) -> Arc<dyn ModelProvider> {
        let config = AnthropicConfig::new(Secret::new("sk-ant-test"))
            .with_base_url(url)
            .with_max_event_bytes(frame_bytes)
            .with_max_stream_bytes(stream_bytes);
        Arc::new(Anthropic::connect(config).unwrap())
    }

    fn content_type() -> &'static str {
        "text/event-stream; charset=utf-8"
    }

    fn whole() -> &'static [u8] {
        include_bytes!("recorded/tools.sse")
    }

    fn terminal() -> &'static [u8] {
        b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    }

    fn beginning() -> &'static [u8] {
        b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n\
          data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
          data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"half\"}}\n\n"
    }

    fn failures() -> Vec<(Vec<u8>, Kind)> {
        let frame = |sort: &str| {
            let data = format!(
                "{{\"type\":\"error\",\"error\":{{\"type\":\"{sort}\",\"message\":\"no\"}}}}"
            );
            format!("event: error\ndata: {data}\n\n").into_bytes()
        };
        vec![
            (frame("overloaded_error"), Kind::Overloaded),
            (frame("rate_limit_error"), Kind::RateLimited),
            (frame("api_error"), Kind::Server),
            (frame("invalid_request_error"), Kind::InvalidRequest),
            (frame("something_new"), Kind::Server),
        ]
    }

    fn wrong_types() -> Vec<Vec<u8>> {
        [
            "event: message_start\ndata: garbage\n\n",
            "data: [3]\n\n",
            "data: {\"type\":3}\n\n",
            "data: {\"type\":\"message_start\"}\n\n",
            "data: {\"type\":\"message_start\",\"message\":3}\n\n",
            "data: {\"type\":\"content_block_start\",\"index\":-1,\"content_block\":{}}\n\n",
            "data: {\"type\":\"content_block_start\",\"index\":7,\"content_block\":{\"type\":\"tool_use\"}}\n\n",
            "data: {\"type\":\"content_block_delta\",\"index\":9,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n",
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":3}}\n\n",
            "data: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":-1}}\n\n",
        ]
        .map(|frame| frame.as_bytes().to_vec())
        .to_vec()
    }

    fn frame_with(bytes: &[u8]) -> Vec<u8> {
        [
            &b"data: {\"type\":\"content_block_start\",\"index\":8,\"content_block\":{\"type\":\"text\",\"text\":\""[..],
            bytes,
            b"\"}}\n\n",
        ]
        .concat()
    }

    fn limited() -> String {
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"},"request_id":"req_1"}"#.to_owned()
    }
}

seaworthy_contract::hostile_tests! { dialect: Messages }

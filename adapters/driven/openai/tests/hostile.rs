//! Hostile servers that speak Chat Completions.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;

use seaworthy_contract::http::Dialect;
use seaworthy_openai::{OpenAi, OpenAiConfig};
use seaworthy_ports::Secret;
use seaworthy_ports::model_provider::{Kind, ModelProvider};

struct Chat;

impl Dialect for Chat {
    fn provider(url: &str, frame_bytes: usize, stream_bytes: usize) -> Arc<dyn ModelProvider> {
        let config = OpenAiConfig::new(Some(Secret::new("sk-test")))
            .with_base_url(url)
            .with_max_event_bytes(frame_bytes)
            .with_max_stream_bytes(stream_bytes);
        Arc::new(OpenAi::connect(config).unwrap())
    }

    fn content_type() -> &'static str {
        "text/event-stream"
    }

    fn whole() -> &'static [u8] {
        include_bytes!("recorded/text.sse")
    }

    fn terminal() -> &'static [u8] {
        b"data: [DONE]\n\n"
    }

    fn beginning() -> &'static [u8] {
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"half\"}}]}\n\n"
    }

    fn failures() -> Vec<(Vec<u8>, Kind)> {
        [
            (
                "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n",
                Kind::RateLimited,
            ),
            (
                "event: error\ndata: {\"message\":\"no\",\"code\":\"insufficient_quota\"}\n\n",
                Kind::QuotaExhausted,
            ),
            ("data: {\"error\":\"no\"}\n\n", Kind::Server),
        ]
        .map(|(frame, kind)| (frame.as_bytes().to_vec(), kind))
        .to_vec()
    }

    fn wrong_types() -> Vec<Vec<u8>> {
        [
            "data: garbage\n\n",
            "data: {\"choices\":3}\n\n",
            "data: {\"choices\":[{\"delta\":[3]}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":3}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"tool_calls\":{}}}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":-1}}\n\n",
            "data: [3]\n\n",
        ]
        .map(|frame| frame.as_bytes().to_vec())
        .to_vec()
    }

    fn frame_with(bytes: &[u8]) -> Vec<u8> {
        [
            &b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\""[..],
            bytes,
            b"\"}}]}\n\n",
        ]
        .concat()
    }

    fn limited() -> String {
        r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#
            .to_owned()
    }
}

seaworthy_contract::hostile_tests! { dialect: Chat }

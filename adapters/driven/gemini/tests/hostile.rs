//! Hostile servers that speak `generateContent`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;

use seaworthy_contract::http::Dialect;
use seaworthy_gemini::{Gemini, GeminiConfig};
use seaworthy_ports::Secret;
use seaworthy_ports::model_provider::{Kind, ModelProvider};

struct GenerateContent;

impl Dialect for GenerateContent {
    fn provider(url: &str, frame_bytes: usize, stream_bytes: usize) -> Arc<dyn ModelProvider> {
        let config = GeminiConfig::new(Secret::new("AIza-test"))
            .with_base_url(url)
            .with_max_event_bytes(frame_bytes)
            .with_max_stream_bytes(stream_bytes);
        Arc::new(Gemini::connect(config).unwrap())
    }

    fn content_type() -> &'static str {
        "text/event-stream"
    }

    fn whole() -> &'static [u8] {
        include_bytes!("recorded/tools.sse")
    }

    fn terminal() -> &'static [u8] {
        b"data: {\"candidates\":[{\"finishReason\":\"STOP\",\"index\":0}]}\n\n"
    }

    fn beginning() -> &'static [u8] {
        b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"half\"}]}}]}\n\n"
    }

    fn failures() -> Vec<(Vec<u8>, Kind)> {
        let frame = |code: u16, status: &str| {
            let data = format!(
                "{{\"error\":{{\"code\":{code},\"message\":\"no\",\"status\":\"{status}\"}}}}"
            );
            format!("data: {data}\n\n").into_bytes()
        };
        vec![
            (frame(503, "UNAVAILABLE"), Kind::Overloaded),
            (frame(429, "RESOURCE_EXHAUSTED"), Kind::RateLimited),
            (frame(500, "INTERNAL"), Kind::Server),
            (frame(400, "SOMETHING_NEW"), Kind::InvalidRequest),
            (
                b"data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"}}\n\n".to_vec(),
                Kind::ContentFilter,
            ),
        ]
    }

    fn wrong_types() -> Vec<Vec<u8>> {
        [
            "data: garbage\n\n",
            "data: [3]\n\n",
            "data: 3\n\n",
            "data: {\"candidates\":3}\n\n",
            "data: {\"candidates\":[3]}\n\n",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":3}]}}]}\n\n",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"args\":{}}}]}}]}\n\n",
            "data: {\"candidates\":[{\"finishReason\":3}]}\n\n",
            "data: {\"candidates\":[],\"usageMetadata\":{\"promptTokenCount\":-1}}\n\n",
        ]
        .map(|frame| frame.as_bytes().to_vec())
        .to_vec()
    }

    fn frame_with(bytes: &[u8]) -> Vec<u8> {
        [
            &b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\""[..],
            bytes,
            b"\"}]}}]}\n\n",
        ]
        .concat()
    }

    fn limited() -> String {
        r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}"#.to_owned()
    }
}

seaworthy_contract::hostile_tests! { dialect: GenerateContent }

//! Hostile servers that speak Ollama's chat.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;

use seaworthy_contract::http::Dialect;
use seaworthy_ollama::{Ollama, OllamaConfig};
use seaworthy_ports::model_provider::{Kind, ModelProvider};

struct Chat;

impl Dialect for Chat {
    fn provider(url: &str, frame_bytes: usize, stream_bytes: usize) -> Arc<dyn ModelProvider> {
        let config = OllamaConfig::new()
            .with_base_url(url)
            .with_max_event_bytes(frame_bytes)
            .with_max_stream_bytes(stream_bytes);
        Arc::new(Ollama::connect(config).unwrap())
    }

    fn content_type() -> &'static str {
        "application/x-ndjson"
    }

    fn whole() -> &'static [u8] {
        include_bytes!("recorded/tools.ndjson")
    }

    fn terminal() -> &'static [u8] {
        b"{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}\n"
    }

    fn beginning() -> &'static [u8] {
        b"{\"message\":{\"content\":\"half\"},\"done\":false}\n"
    }

    fn failures() -> Vec<(Vec<u8>, Kind)> {
        vec![
            (b"{\"error\":\"no\"}\n".to_vec(), Kind::Server),
            (b"{\"error\":{\"message\":\"no\"}}\n".to_vec(), Kind::Server),
        ]
    }

    fn wrong_types() -> Vec<Vec<u8>> {
        [
            "garbage\n",
            "[3]\n",
            "3\n",
            "{\"message\":3}\n",
            "{\"message\":{\"content\":3}}\n",
            "{\"message\":{\"tool_calls\":{}}}\n",
            "{\"message\":{\"tool_calls\":[{\"function\":{\"arguments\":{}}}]}}\n",
            "{\"done\":\"yes\"}\n",
            "{\"done\":true,\"eval_count\":-1}\n",
            "{\"message\":{\n",
        ]
        .map(|frame| frame.as_bytes().to_vec())
        .to_vec()
    }

    fn frame_with(bytes: &[u8]) -> Vec<u8> {
        [&b"{\"message\":{\"content\":\""[..], bytes, b"\"}}\n"].concat()
    }

    fn limited() -> String {
        r#"{"error":"slow down"}"#.to_owned()
    }
}

seaworthy_contract::hostile_tests! { dialect: Chat }

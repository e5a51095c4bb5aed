//! How the provider is spoken to.

use reqwest::header::{HeaderName, HeaderValue};
use seaworthy_http::client::{Connection, Settings};
use seaworthy_http::counting::Counting;
use seaworthy_http::directory::Listing;
use seaworthy_http::headers::Names;
use seaworthy_http::vectors::{Embedding, Scoring};
use seaworthy_http::{Caps, Complaint, Dialect, Form, Outgoing, Reader};
use seaworthy_ports::AdapterInfo;
use seaworthy_ports::model_provider::{ModelCapabilities, ModelError, ModelRequest, Parameters};
use serde_json::Value;

use crate::answer::Answer;
use crate::config::AnthropicConfig;
use crate::error::{ADAPTER, complaint};
use crate::parameters::thinks;
use crate::request::body;

/// The version of the wire that this adapter speaks.
static VERSION: [(HeaderName, HeaderValue); 1] = [(
    HeaderName::from_static("anthropic-version"),
    HeaderValue::from_static("2023-06-01"),
)];

impl Dialect for AnthropicConfig {
    fn settings(&self) -> Settings<'_> {
        Settings {
            about: AdapterInfo {
                id: ADAPTER,
                package: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
            },
            form: Form::Events,
            names: Names {
                request_id: &["request-id", "x-request-id"],
                requests_remaining: "anthropic-ratelimit-requests-remaining",
                requests_reset: "anthropic-ratelimit-requests-reset",
                tokens_remaining: "anthropic-ratelimit-tokens-remaining",
                tokens_reset: "anthropic-ratelimit-tokens-reset",
            },
            base_url: &self.base_url,
            key: Some(&self.api_key),
            key_header: (HeaderName::from_static("x-api-key"), ""),
            headers: &VERSION,
            connect_timeout: self.connect_timeout,
            caps: Caps::new(self.max_event_bytes, self.max_stream_bytes),
        }
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        let capabilities = ModelCapabilities::NONE
            .with_tool_use()
            .with_structured_output()
            .with_schema_with_tools()
            .with_vision_input()
            .with_file_input();
        // A model that thinks cannot be made to call a tool.
        if thinks(&Parameters::default(), self) {
            capabilities
        } else {
            capabilities.with_forced_calls()
        }
    }

    fn outgoing(
        &self,
        connection: &Connection,
        request: &ModelRequest,
    ) -> Result<Outgoing, ModelError> {
        Ok(Outgoing {
            url: connection.url(&["v1", "messages"]),
            body: body(request, self)?,
        })
    }

    fn complaint(&self, body: &Value, status: Option<u16>) -> Complaint {
        complaint(body, status)
    }

    fn reader(&self, _request: &ModelRequest) -> Box<dyn Reader> {
        Box::new(Answer::default())
    }

    fn embedding(&self) -> Option<&dyn Embedding> {
        None
    }

    fn scoring(&self) -> Option<&dyn Scoring> {
        None
    }

    fn counting(&self) -> Option<&dyn Counting> {
        Some(self)
    }

    fn listing(&self) -> Option<&dyn Listing> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_ports::Secret;

    use super::*;
    use crate::config::Thinking;

    #[test]
    fn a_model_that_thinks_cannot_be_made_to_call_a_tool() {
        for (thinking, can) in [
            (Thinking::Adaptive, false),
            (Thinking::Budget(2_000), false),
            (Thinking::Disabled, true),
        ] {
            let config = AnthropicConfig::new(Secret::new("k")).with_thinking(thinking);
            let capabilities = config.capabilities("claude-test");
            assert_eq!(capabilities.forced_calls, can, "{thinking:?}");
        }
        let config = AnthropicConfig::new(Secret::new("k"));
        assert!(config.capabilities("claude-test").forced_calls);
    }
}

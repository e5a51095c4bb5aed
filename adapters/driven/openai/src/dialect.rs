//! How an endpoint is spoken to.

use reqwest::header::AUTHORIZATION;
use seaworthy_http::client::{Connection, Settings};
use seaworthy_http::counting::Counting;
use seaworthy_http::directory::Listing;
use seaworthy_http::headers::Names;
use seaworthy_http::vectors::{Embedding, Scoring};
use seaworthy_http::{Caps, Complaint, Dialect, Form, Outgoing, Reader};
use seaworthy_ports::AdapterInfo;
use seaworthy_ports::model_provider::{ModelCapabilities, ModelError, ModelRequest};
use serde_json::Value;

use crate::config::{Api, OpenAiConfig};
use crate::error::complaint;
use crate::{chat, responses};

impl Dialect for OpenAiConfig {
    fn settings(&self) -> Settings<'_> {
        Settings {
            about: AdapterInfo {
                id: match self.api {
                    Api::ChatCompletions => chat::ADAPTER,
                    Api::Responses => responses::ADAPTER,
                },
                package: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
            },
            form: Form::Events,
            names: Names {
                request_id: &["x-request-id", "request-id"],
                requests_remaining: "x-ratelimit-remaining-requests",
                requests_reset: "x-ratelimit-reset-requests",
                tokens_remaining: "x-ratelimit-remaining-tokens",
                tokens_reset: "x-ratelimit-reset-tokens",
            },
            base_url: &self.base_url,
            key: self.api_key.as_ref(),
            key_header: (AUTHORIZATION, "Bearer "),
            headers: &[],
            connect_timeout: self.connect_timeout,
            caps: Caps::new(self.max_event_bytes, self.max_stream_bytes),
        }
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        let both = ModelCapabilities::NONE
            .with_tool_use()
            .with_structured_output()
            .with_schema_with_tools()
            .with_forced_calls()
            .with_vision_input()
            .with_file_input();
        match self.api {
            Api::ChatCompletions => both.with_audio_input(),
            Api::Responses => both,
        }
    }

    fn outgoing(
        &self,
        connection: &Connection,
        request: &ModelRequest,
    ) -> Result<Outgoing, ModelError> {
        Ok(match self.api {
            Api::ChatCompletions => Outgoing {
                url: connection.url(&["chat", "completions"]),
                body: chat::body(request, self)?,
            },
            Api::Responses => Outgoing {
                url: connection.url(&["responses"]),
                body: responses::body(request, self)?,
            },
        })
    }

    fn complaint(&self, body: &Value, status: Option<u16>) -> Complaint {
        complaint(body, status)
    }

    fn reader(&self, _request: &ModelRequest) -> Box<dyn Reader> {
        match self.api {
            Api::ChatCompletions => Box::new(chat::Answer::default()),
            Api::Responses => Box::new(responses::Answer::default()),
        }
    }

    fn embedding(&self) -> Option<&dyn Embedding> {
        Some(self)
    }

    fn scoring(&self) -> Option<&dyn Scoring> {
        self.rerank_base_url.is_some().then_some(self as _)
    }

    fn counting(&self) -> Option<&dyn Counting> {
        None
    }

    fn listing(&self) -> Option<&dyn Listing> {
        Some(self)
    }
}

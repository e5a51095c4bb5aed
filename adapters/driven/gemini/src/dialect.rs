//! How the provider is spoken to.

use reqwest::header::HeaderName;
use seaworthy_http::client::{Connection, Settings};
use seaworthy_http::headers::Names;
use seaworthy_http::vectors::{Embedding, Scoring};
use seaworthy_http::{Caps, Complaint, Dialect, Form, Outgoing, Reader};
use seaworthy_ports::AdapterInfo;
use seaworthy_ports::model_provider::{ModelCapabilities, ModelError, ModelRequest};
use serde_json::Value;

use crate::answer::Answer;
use crate::config::GeminiConfig;
use crate::error::{ADAPTER, complaint};
use crate::request::{body, named};

impl Dialect for GeminiConfig {
    fn settings(&self) -> Settings<'_> {
        Settings {
            about: AdapterInfo {
                id: ADAPTER,
                package: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
            },
            form: Form::Events,
            names: Names::NONE,
            base_url: &self.base_url,
            key: Some(&self.api_key),
            key_header: (HeaderName::from_static("x-goog-api-key"), ""),
            headers: &[],
            connect_timeout: self.connect_timeout,
            caps: Caps::new(self.max_event_bytes, self.max_stream_bytes),
        }
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        let capabilities = ModelCapabilities::NONE
            .with_tool_use()
            .with_structured_output()
            .with_vision_input()
            .with_audio_input()
            .with_file_input();
        // From the third generation on a call without its signature is refused.
        let name = model.rsplit('/').next().unwrap_or(model);
        let is_old = name.starts_with("gemini-1") || name.starts_with("gemini-2");
        if is_old || !name.starts_with("gemini-") {
            capabilities
        } else {
            capabilities.with_signed_calls()
        }
    }

    fn outgoing(
        &self,
        connection: &Connection,
        request: &ModelRequest,
    ) -> Result<Outgoing, ModelError> {
        let path = format!("{}:streamGenerateContent", named(&request.model));
        let segments: Vec<&str> = path.split('/').collect();
        let mut url = connection.url(&segments);
        url.query_pairs_mut().append_pair("alt", "sse");
        Ok(Outgoing {
            url,
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
        Some(self)
    }

    fn scoring(&self) -> Option<&dyn Scoring> {
        None
    }
}

//! How a server is spoken to.

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

use crate::answer::Answer;
use crate::config::OllamaConfig;
use crate::error::{ADAPTER, complaint};
use crate::request::body;

impl Dialect for OllamaConfig {
    fn settings(&self) -> Settings<'_> {
        Settings {
            about: AdapterInfo {
                id: ADAPTER,
                package: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
            },
            form: Form::Lines,
            names: Names::NONE,
            base_url: &self.base_url,
            key: self.api_key.as_ref(),
            key_header: (AUTHORIZATION, "Bearer "),
            headers: &[],
            connect_timeout: self.connect_timeout,
            caps: Caps::new(self.max_event_bytes, self.max_stream_bytes),
        }
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        ModelCapabilities::NONE
            .with_tool_use()
            .with_structured_output()
            .with_vision_input()
    }

    fn outgoing(
        &self,
        connection: &Connection,
        request: &ModelRequest,
    ) -> Result<Outgoing, ModelError> {
        Ok(Outgoing {
            url: connection.url(&["api", "chat"]),
            body: body(request, self)?,
        })
    }

    fn complaint(&self, _body: &Value, status: Option<u16>) -> Complaint {
        complaint(status)
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

    fn counting(&self) -> Option<&dyn Counting> {
        None
    }

    fn listing(&self) -> Option<&dyn Listing> {
        Some(self)
    }
}

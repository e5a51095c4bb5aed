//! The connection to the provider.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, HeaderName, HeaderValue};
use seaworthy_http::client::{Connection, Settings};
use seaworthy_http::headers::Names;
use seaworthy_http::{Caps, Complaint, Form, Outgoing, Wire, stream};
use seaworthy_ports::model_provider::{
    CountTokens, Embeddings, ModelCapabilities, ModelError, ModelEvent, ModelProvider,
    ModelRequest, Rerank,
};
use seaworthy_ports::{AdapterInfo, BoxStream};
use serde_json::Value;

use crate::answer::Answer;
use crate::config::GeminiConfig;
use crate::error::{ADAPTER, complaint};
use crate::request::{body, path};

/// The provider names neither requests nor limits in its headers.
const NAMES: Names = Names {
    request_id: &[],
    requests_remaining: "",
    requests_reset: "",
    tokens_remaining: "",
    tokens_reset: "",
};

/// A model behind Gemini. Clones share their connections.
#[derive(Clone)]
pub struct Gemini(Arc<Endpoint>);

/// Where calls go, and how they are written.
struct Endpoint {
    connection: Connection,
    config: GeminiConfig,
}

impl fmt::Debug for Gemini {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gemini")
            .field("host", &self.0.connection.host())
            .finish_non_exhaustive()
    }
}

impl Gemini {
    /// Prepares calls. No I/O: the platform's certificates are read with the first call, which fails
    /// with `Kind::Unsupported` where they cannot be used.
    ///
    /// # Errors
    ///
    /// `Kind::InvalidRequest` for an address that is none, `Kind::Authentication` for a key that no header can carry.
    pub fn connect(config: GeminiConfig) -> Result<Self, ModelError> {
        let accept = HeaderValue::from_static("text/event-stream, application/json");
        let connection = Connection::new(&Settings {
            adapter: ADAPTER,
            user_agent: concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")),
            base_url: &config.base_url,
            key: Some(&config.api_key),
            key_header: (HeaderName::from_static("x-goog-api-key"), ""),
            headers: &[(ACCEPT, accept)],
            connect_timeout: config.connect_timeout,
            caps: Caps::new(config.max_event_bytes, config.max_stream_bytes),
        })?;
        Ok(Self(Arc::new(Endpoint { connection, config })))
    }
}

impl Wire for Endpoint {
    type Reader = Answer;

    fn adapter(&self) -> &'static str {
        ADAPTER
    }

    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn form(&self) -> Form {
        Form::Events
    }

    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn outgoing(&self, request: &ModelRequest) -> Result<Outgoing, ModelError> {
        let path = path(&request.model);
        let segments: Vec<&str> = path.split('/').collect();
        let mut url = self.connection.url(&segments);
        url.query_pairs_mut().append_pair("alt", "sse");
        Ok(Outgoing {
            url,
            body: body(request, &self.config)?,
        })
    }

    fn complaint(&self, body: &Value, status: Option<u16>) -> Complaint {
        complaint(body, status)
    }

    fn reader(&self, _request: &ModelRequest) -> Answer {
        Answer::default()
    }
}

#[async_trait]
impl ModelProvider for Gemini {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: ADAPTER,
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
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
        if ["gemini-1", "gemini-2"]
            .iter()
            .any(|old| name.starts_with(old))
            || !name.starts_with("gemini-")
        {
            capabilities
        } else {
            capabilities.with_signed_calls()
        }
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        stream(Arc::clone(&self.0), request)
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        None
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        None
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        None
    }
}

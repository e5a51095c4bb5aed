//! The connection to the provider.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Url;
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
use crate::config::AnthropicConfig;
use crate::error::{ADAPTER, complaint};
use crate::request::body;

/// The version of the wire that this adapter speaks.
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

const NAMES: Names = Names {
    request_id: &["request-id", "x-request-id"],
    requests_remaining: "anthropic-ratelimit-requests-remaining",
    requests_reset: "anthropic-ratelimit-requests-reset",
    tokens_remaining: "anthropic-ratelimit-tokens-remaining",
    tokens_reset: "anthropic-ratelimit-tokens-reset",
};

/// A model behind Anthropic Messages. Clones share their connections.
#[derive(Clone)]
pub struct Anthropic(Arc<Endpoint>);

/// Where calls go, and how they are written.
struct Endpoint {
    connection: Connection,
    url: Url,
    config: AnthropicConfig,
}

impl fmt::Debug for Anthropic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anthropic")
            .field("host", &self.0.connection.host())
            .finish_non_exhaustive()
    }
}

impl Anthropic {
    /// Prepares calls. No I/O: the platform's certificates are read with the first call, which fails
    /// with `Kind::Unsupported` where they cannot be used.
    ///
    /// # Errors
    ///
    /// `Kind::InvalidRequest` for an address that is none, `Kind::Authentication` for a key that no header can carry.
    pub fn connect(config: AnthropicConfig) -> Result<Self, ModelError> {
        let accept = HeaderValue::from_static("text/event-stream, application/json");
        let connection = Connection::new(&Settings {
            adapter: ADAPTER,
            user_agent: concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")),
            base_url: &config.base_url,
            key: Some(&config.api_key),
            key_header: (HeaderName::from_static("x-api-key"), ""),
            headers: &[
                (ACCEPT, accept),
                (HeaderName::from_static("anthropic-version"), VERSION),
            ],
            connect_timeout: config.connect_timeout,
            caps: Caps::new(config.max_event_bytes, config.max_stream_bytes),
        })?;
        let url = connection.url(&["v1", "messages"]);
        Ok(Self(Arc::new(Endpoint {
            connection,
            url,
            config,
        })))
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
        Ok(Outgoing {
            url: self.url.clone(),
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
impl ModelProvider for Anthropic {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: ADAPTER,
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        ModelCapabilities::NONE
            .with_tool_use()
            .with_structured_output()
            .with_vision_input()
            .with_file_input()
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

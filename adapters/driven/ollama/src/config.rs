//! What a connection needs to know.

use std::fmt;
use std::time::Duration;

use seaworthy_http::client::host;
use seaworthy_ports::Secret;

/// Where a server listens unless told otherwise.
const LOCAL: &str = "http://127.0.0.1:11434";

/// How to reach an endpoint. `Debug` shows neither the key nor more of the address than its host.
#[derive(Clone)]
#[non_exhaustive]
pub struct OllamaConfig {
    /// The key, where a server wants one: the hosted ones do.
    pub api_key: Option<Secret>,
    /// The address that `/api/chat` is appended to.
    pub base_url: String,
    /// The longest time to connect.
    pub connect_timeout: Duration,
    /// The most bytes of one frame of a stream.
    pub max_event_bytes: usize,
    /// The most bytes of a whole answer.
    pub max_stream_bytes: usize,
    /// The tokens that the server loads the model for; `None` leaves it to the server.
    pub context_tokens: Option<u32>,
    /// Whether the model thinks where a request does not say; `None` leaves it to the model.
    pub think: Option<bool>,
}

impl OllamaConfig {
    /// A server on this machine, with 10 s to connect, 1 MiB a frame and 64 MiB an answer.
    #[must_use]
    pub fn new() -> Self {
        Self {
            api_key: None,
            base_url: LOCAL.to_owned(),
            connect_timeout: Duration::from_secs(10),
            max_event_bytes: 1024 * 1024,
            max_stream_bytes: 64 * 1024 * 1024,
            context_tokens: None,
            think: None,
        }
    }

    /// Another endpoint: `http` or `https`, without user or password; a query is kept.
    ///
    /// Whoever can read the traffic of an `http` address reads the key.
    #[must_use]
    pub fn with_base_url(mut self, base_url: impl Into<String>) -> Self {
        self.base_url = base_url.into();
        self
    }

    /// Another longest time to connect.
    #[must_use]
    pub fn with_connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Another most bytes of one frame.
    #[must_use]
    pub fn with_max_event_bytes(mut self, max_event_bytes: usize) -> Self {
        self.max_event_bytes = max_event_bytes;
        self
    }

    /// Another most bytes of an answer.
    #[must_use]
    pub fn with_max_stream_bytes(mut self, max_stream_bytes: usize) -> Self {
        self.max_stream_bytes = max_stream_bytes;
        self
    }

    /// A key, where a server wants one.
    #[must_use]
    pub fn with_api_key(mut self, api_key: Secret) -> Self {
        self.api_key = Some(api_key);
        self
    }

    /// The tokens that the server loads the model for. Changing them from call to call loads it anew.
    #[must_use]
    pub fn with_context_tokens(mut self, context_tokens: u32) -> Self {
        self.context_tokens = Some(context_tokens);
        self
    }

    /// Whether the model thinks; a model that cannot refuses the call.
    #[must_use]
    pub fn with_think(mut self, think: bool) -> Self {
        self.think = Some(think);
        self
    }
}

impl Default for OllamaConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for OllamaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OllamaConfig")
            .field("host", &host(&self.base_url))
            .field("api_key", &self.api_key.as_ref().map(|_key| "…"))
            .finish_non_exhaustive()
    }
}

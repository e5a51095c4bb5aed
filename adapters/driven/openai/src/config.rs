//! What a connection needs to know.

use std::fmt;
use std::time::Duration;

use seaworthy_http::client::host;
use seaworthy_ports::Secret;

/// The address of OpenAI itself.
const OPENAI: &str = "https://api.openai.com/v1";

/// How to reach an endpoint. `Debug` shows neither the key nor more of the address than its host.
#[derive(Clone)]
#[non_exhaustive]
pub struct OpenAiConfig {
    /// The key, where the endpoint wants one.
    pub api_key: Option<Secret>,
    /// The address that `/chat/completions` is appended to.
    pub base_url: String,
    /// The longest time to connect.
    pub connect_timeout: Duration,
    /// The most bytes of one frame of a stream.
    pub max_event_bytes: usize,
    /// The most bytes of a whole answer.
    pub max_stream_bytes: usize,
    /// Whether the most tokens of output are called `max_tokens`, as older servers want it.
    pub legacy_max_tokens: bool,
}

impl OpenAiConfig {
    /// OpenAI itself, with 10 s to connect, 1 MiB a frame and 64 MiB an answer.
    #[must_use]
    pub fn new(api_key: Option<Secret>) -> Self {
        Self {
            api_key,
            base_url: OPENAI.to_owned(),
            connect_timeout: Duration::from_secs(10),
            max_event_bytes: 1024 * 1024,
            max_stream_bytes: 64 * 1024 * 1024,
            legacy_max_tokens: false,
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

    /// Calls the most tokens of output `max_tokens` instead of `max_completion_tokens`.
    #[must_use]
    pub fn with_legacy_max_tokens(mut self) -> Self {
        self.legacy_max_tokens = true;
        self
    }
}

impl fmt::Debug for OpenAiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiConfig")
            .field("host", &host(&self.base_url))
            .field("api_key", &self.api_key.as_ref().map(|_key| "…"))
            .finish_non_exhaustive()
    }
}

//! What a connection needs to know.

use std::fmt;
use std::time::Duration;

use seaworthy_http::client::host;
use seaworthy_ports::Secret;

/// The address of Gemini itself.
const GEMINI: &str = "https://generativelanguage.googleapis.com/v1beta";

/// How to reach the provider, and what every call asks for. `Debug` shows neither the key nor more of the address than
/// its host.
#[derive(Clone)]
#[non_exhaustive]
pub struct GeminiConfig {
    /// The key.
    pub api_key: Secret,
    /// The address that `/models/…` is appended to.
    pub base_url: String,
    /// The longest time to connect.
    pub connect_timeout: Duration,
    /// The most bytes of one frame of a stream.
    pub max_event_bytes: usize,
    /// The most bytes of a whole answer.
    pub max_stream_bytes: usize,
    /// How much the model thinks where a request does not say; `None` leaves it to the provider.
    pub thinking: Option<Thinking>,
}

/// How much a model thinks before it answers. What it thinks is shown as a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// As models from Gemini 3 on take it.
    Level(ThinkingLevel),
    /// At most so many tokens, as models before Gemini 3 take it; 0 is not at all.
    Budget(u32),
}

/// How much, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingLevel {
    /// As little as the model can.
    Minimal,
    /// A little.
    Low,
    /// More.
    Medium,
    /// Much.
    High,
    /// Very much.
    XHigh,
}

impl GeminiConfig {
    /// Gemini itself, with 10 s to connect, 4 MiB a frame and 64 MiB an answer.
    #[must_use]
    pub fn new(api_key: Secret) -> Self {
        Self {
            api_key,
            base_url: GEMINI.to_owned(),
            connect_timeout: Duration::from_secs(10),
            max_event_bytes: 4 * 1024 * 1024,
            max_stream_bytes: 64 * 1024 * 1024,
            thinking: None,
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

    /// How much the model thinks.
    #[must_use]
    pub fn with_thinking(mut self, thinking: Thinking) -> Self {
        self.thinking = Some(thinking);
        self
    }
}

impl fmt::Debug for GeminiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeminiConfig")
            .field("host", &host(&self.base_url))
            .field("api_key", &"…")
            .finish_non_exhaustive()
    }
}

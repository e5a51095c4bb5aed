//! What a connection needs to know.

use std::fmt;
use std::time::Duration;

use seaworthy_http::client::host;
use seaworthy_ports::Secret;

/// The address of Anthropic itself.
const ANTHROPIC: &str = "https://api.anthropic.com";

/// How to reach the provider, and what every call asks for. `Debug` shows neither the key nor more of the address than
/// its host.
#[derive(Clone)]
#[non_exhaustive]
pub struct AnthropicConfig {
    /// The key.
    pub api_key: Secret,
    /// The address that `/v1/messages` is appended to.
    pub base_url: String,
    /// The longest time to connect.
    pub connect_timeout: Duration,
    /// The most bytes of one frame of a stream.
    pub max_event_bytes: usize,
    /// The most bytes of a whole answer.
    pub max_stream_bytes: usize,
    /// The most tokens of output where a call does not say, because the provider wants a number.
    pub max_output_tokens: u32,
    /// What of a request may be kept for the next where it does not say.
    pub cache: Cache,
    /// Whether the model thinks where a request does not say; `None` leaves it to the provider.
    pub thinking: Option<Thinking>,
}

/// What of a request the provider keeps for the next one that begins with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Nothing is marked.
    Off,
    /// For five minutes, from its last use.
    FiveMinutes,
    /// For an hour, from its last use; writing it costs more.
    OneHour,
}

/// Whether a model thinks before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// As much as it sees fit, shown as a summary.
    Adaptive,
    /// At most so many tokens; for models that do not take [`Adaptive`](Self::Adaptive).
    Budget(u32),
    /// It does not.
    Disabled,
}

impl AnthropicConfig {
    /// Anthropic itself, with 10 s to connect, 1 MiB a frame, 64 MiB and 32,000 tokens an answer, and a cache of five
    /// minutes.
    #[must_use]
    pub fn new(api_key: Secret) -> Self {
        Self {
            api_key,
            base_url: ANTHROPIC.to_owned(),
            connect_timeout: Duration::from_secs(10),
            max_event_bytes: 1024 * 1024,
            max_stream_bytes: 64 * 1024 * 1024,
            max_output_tokens: 32_000,
            cache: Cache::FiveMinutes,
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

    /// Another most tokens of output where a call does not say.
    #[must_use]
    pub fn with_max_output_tokens(mut self, max_output_tokens: u32) -> Self {
        self.max_output_tokens = max_output_tokens;
        self
    }

    /// What of a request may be kept for the next.
    #[must_use]
    pub fn with_cache(mut self, cache: Cache) -> Self {
        self.cache = cache;
        self
    }

    /// Whether the model thinks.
    #[must_use]
    pub fn with_thinking(mut self, thinking: Thinking) -> Self {
        self.thinking = Some(thinking);
        self
    }
}

impl fmt::Debug for AnthropicConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicConfig")
            .field("host", &host(&self.base_url))
            .field("api_key", &"…")
            .finish_non_exhaustive()
    }
}

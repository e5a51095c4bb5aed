//! What a connection needs to know.

use std::fmt;
use std::time::Duration;

use seaworthy_http::client::host;
use seaworthy_ports::Secret;
use seaworthy_ports::model_provider::Effort;

/// The address of OpenAI itself.
const OPENAI: &str = "https://api.openai.com/v1";

/// How to reach an endpoint. `Debug` shows neither the key nor more of the address than its host.
#[derive(Clone)]
#[non_exhaustive]
pub struct OpenAiConfig {
    /// The key, where the endpoint wants one.
    pub api_key: Option<Secret>,
    /// The address that `/chat/completions` or `/responses` is appended to.
    pub base_url: String,
    /// Which of its interfaces the endpoint is spoken to in.
    pub api: Api,
    /// The longest time to connect.
    pub connect_timeout: Duration,
    /// The most bytes of one frame of a stream.
    pub max_event_bytes: usize,
    /// The most bytes of a whole answer.
    pub max_stream_bytes: usize,
    /// Whether the most tokens of output are called `max_tokens`, as older servers want it.
    pub legacy_max_tokens: bool,
    /// The address that `/rerank` is appended to, where the endpoint orders documents as Cohere does. OpenAI does not.
    pub rerank_base_url: Option<String>,
    /// How much the model reasons where a request does not say; `None` leaves it to the model.
    pub reasoning_effort: Option<Effort>,
    /// Whether Responses shows a summary of the reasoning.
    pub reasoning_summaries: bool,
    /// Whether Responses is asked for reasoning that can be sent back; `None` tells by the model's name.
    pub encrypted_reasoning: Option<bool>,
}

/// An interface of OpenAI's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Api {
    /// Chat Completions, which every compatible endpoint has.
    #[default]
    ChatCompletions,
    /// Responses. Nothing is kept at the provider: reasoning returns encrypted with the conversation.
    Responses,
}

impl OpenAiConfig {
    /// OpenAI itself, with 10 s to connect, 1 MiB a frame and 64 MiB an answer.
    #[must_use]
    pub fn new(api_key: Option<Secret>) -> Self {
        Self {
            api_key,
            base_url: OPENAI.to_owned(),
            api: Api::ChatCompletions,
            connect_timeout: Duration::from_secs(10),
            max_event_bytes: 1024 * 1024,
            max_stream_bytes: 64 * 1024 * 1024,
            legacy_max_tokens: false,
            rerank_base_url: None,
            reasoning_effort: None,
            reasoning_summaries: false,
            encrypted_reasoning: None,
        }
    }

    /// Another interface.
    #[must_use]
    pub fn with_api(mut self, api: Api) -> Self {
        self.api = api;
        self
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

    /// An address that orders documents as Cohere does, such as `https://api.cohere.com/v2`, or that of a compatible
    /// server. It gets the same key.
    #[must_use]
    pub fn with_rerank_base_url(mut self, base_url: impl Into<String>) -> Self {
        self.rerank_base_url = Some(base_url.into());
        self
    }

    /// How much the model reasons where a request does not say; a model that does not refuses the call.
    #[must_use]
    pub fn with_reasoning_effort(mut self, effort: Effort) -> Self {
        self.reasoning_effort = Some(effort);
        self
    }

    /// Has Responses show a summary of the reasoning.
    #[must_use]
    pub fn with_reasoning_summaries(mut self) -> Self {
        self.reasoning_summaries = true;
        self
    }

    /// Whether Responses is asked for reasoning that can be sent back. Without it the model begins to think anew after
    /// each result of a tool; asked for it, a model that does not reason refuses the call.
    #[must_use]
    pub fn with_encrypted_reasoning(mut self, is_asked_for: bool) -> Self {
        self.encrypted_reasoning = Some(is_asked_for);
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

//! One streamed model call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::capability::flags;
use crate::{AdapterInfo, ErrorKind, Latch, PortError, Retry, ToolName};

mod assemble;
mod count;
mod directory;
mod history;
mod message;
mod parameters;
mod vectors;

pub use assemble::{ModelProviderExt, ModelReply, assemble};
pub use count::{CountTokens, Tokens};
pub use directory::{Directory, ListModels, ListedModel, LookUpModel, MOST_LISTED, ModelPage};
pub use history::{HistoryFault, check_history};
pub use message::{Block, FileBlock, Message, OpaqueItem, Role, ToolCallBlock, ToolResultBlock};
pub use parameters::{
    Effort, ParameterFault, Parameters, PromptCache, ToolChoice, check_parameters,
};
pub use vectors::{EmbedRequest, Embedded, Embeddings, Rerank, RerankRequest, Reranked};

/// Calls a model once, as a stream.
///
/// # Contract
///
/// * **MP-1** A stream that does not fail has exactly one [`ModelEvent::Finish`], last; one that ends without its
///   provider's terminal frame finishes as [`FinishReason::Interrupted`], never as `Stop`.
/// * **MP-2** Finish reasons are mapped and the raw value is kept; usage is normalised (input = uncached + cache read +
///   cache write; output includes reasoning; what is missing is `None`, never 0).
/// * **MP-3** Interleaved parallel tool calls assemble by index or id; fragments may be split anywhere, inside a UTF-8
///   sequence too; a call without arguments has `{}`; arguments that are no JSON finish as [`FinishReason::Malformed`].
/// * **MP-4** Opaque items return to the same provider byte for byte, in place, and never to another.
/// * **MP-5** Errors are classified into [`Kind`], each with status, provider code, request id, and whether the response
///   had started.
/// * **MP-6** Rate-limit headers and both forms of `Retry-After` are parsed; error frames after HTTP 200 are errors.
/// * **MP-7** Byte caps and an idle timeout bound every stream; unknown events are skipped and counted; a malformed known
///   event is an error.
/// * **MP-8** With an output schema the result validates or the call fails as malformed.
/// * **MP-9** Cancelling closes the connection. No retry happens inside a provider.
/// * **MP-10** No key, header or prompt in an error, a log or `Debug`.
/// * **MP-11** A history that a real provider would refuse (a tool call without its result, a result without its call,
///   two answers in a row to one call; all of [`check_history`]) is refused with [`Kind::InvalidRequest`] by every
///   provider, and never sent.
/// * **MP-12** *(declares `embeddings`)* Every text gets its vector, in the texts' order however many calls that takes, all
///   of one length, and of the length that was asked for; an answer that is anything else is [`Kind::Decode`].
/// * **MP-13** *(declares `rerank`)* Every document gets its score, in the documents' order, whatever order the provider
///   answers in; an answer that leaves one out or names another is [`Kind::Decode`].
/// * **MP-14** Counting tokens, where a provider does it, counts all of the request: instructions, messages and tools. A
///   longer request never has fewer tokens, nothing is generated, and a guess is called one ([`Tokens::estimated`]).
/// * **MP-15** A parameter is asked for or refused, never dropped: values that do not exist or do not fit the request's
///   tools (all of [`check_parameters`]) are [`Kind::InvalidRequest`], those that the provider has no way to ask for are
///   [`Kind::Unsupported`], both before anything is sent. A call that must be made ([`ToolChoice::Required`],
///   [`ToolChoice::Tool`]), and no other parameter, is asked for where `forced_calls` is declared, and refused where it is
///   not.
/// * **MP-16** A directory, where a provider has one, lists every model once, over pages of at most as many as were asked
///   for, and tells of one what the provider says: what it does not say is unknown, never 0 and never missing. A model that
///   is not there is [`Kind::NotFound`]. No model is asked anything.
/// * **MP-17** The media of a tool's result reach the provider's backend whole, once, in order, and not before the text of
///   their result: in the result itself, or beside it in what the user says. A provider that has no way to send one refuses
///   the call with [`Kind::Unsupported`] before anything is sent; none is dropped.
///
/// MP-5, MP-6, MP-9 and MP-10 hold for vectors, scores, counts and directories too.
///
/// # Cancellation
///
/// Dropping the stream closes the connection; the provider may still charge for the call.
#[async_trait]
pub trait ModelProvider: fmt::Debug + Send + Sync + 'static {
    /// Who this is. No I/O.
    fn info(&self) -> AdapterInfo;

    /// What `model` can do, as far as the provider knows. No I/O.
    fn capabilities(&self, model: &str) -> ModelCapabilities;

    /// Starts the call. A failed call is an `Err` item, which ends the stream.
    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>>;

    /// Vectors for texts, where the provider has them.
    fn embeddings(&self) -> Option<&dyn Embeddings>;

    /// Ordering of documents by a query, where the provider has it.
    fn rerank(&self) -> Option<&dyn Rerank>;

    /// Counting the tokens of a request before it is sent, where the provider does it.
    fn tokens(&self) -> Option<&dyn CountTokens>;

    /// The models that the provider has, where it tells.
    fn directory(&self) -> Option<&dyn Directory>;
}

flags! {
    /// What a model can do beyond answering text with text.
    ModelCapabilities {
        /// It calls tools.
        tool_use / with_tool_use,
        /// It keeps to an output schema.
        structured_output / with_structured_output,
        /// It reads images.
        vision_input / with_vision_input,
        /// It hears audio.
        audio_input / with_audio_input,
        /// It reads files.
        file_input / with_file_input,
        /// `embeddings` is there.
        embeddings / with_embeddings,
        /// `rerank` is there.
        rerank / with_rerank,
        /// It takes only calls that it has signed: those of other models must reach it as text.
        signed_calls / with_signed_calls,
        /// It keeps to an output schema in a call that may also call tools.
        schema_with_tools / with_schema_with_tools,
        /// It can be made to call one of its tools, or a certain one.
        forced_calls / with_forced_calls,
    }
}

/// One call.
#[derive(Clone)]
pub struct ModelRequest {
    /// The provider's name of the model.
    pub model: String,
    /// What the model is told before everything else; empty: nothing.
    pub instructions: Arc<str>,
    /// The conversation, oldest first. Shared, because it is long and every call needs it.
    pub messages: Arc<Vec<Message>>,
    /// The tools it may call.
    pub tools: Arc<Vec<ToolSpec>>,
    /// The JSON schema that the answer must have.
    pub output_schema: Option<Arc<Value>>,
    /// The most tokens of output.
    pub max_output_tokens: Option<u32>,
    /// How it is to answer.
    pub parameters: Arc<Parameters>,
    /// The longest silence of the stream.
    pub idle_timeout: Duration,
    /// Ends the call.
    pub cancel: Latch,
}

impl fmt::Debug for ModelRequest {
    /// Without instructions and messages: they are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelRequest")
            .field("model", &self.model)
            .field("messages", &self.messages.len())
            .field("tools", &self.tools.len())
            .finish_non_exhaustive()
    }
}

/// A tool as a model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolSpec {
    /// Its name.
    pub name: ToolName,
    /// What it does.
    pub description: String,
    /// The JSON schema of its arguments.
    pub input_schema: Value,
}

/// What a stream brings.
#[derive(Clone, PartialEq)]
pub enum ModelEvent {
    /// The provider answered and names the response.
    Started {
        /// The provider's id of the request, for support.
        request_id: Option<String>,
        /// The model that answers, as the provider names it.
        model: Option<String>,
    },
    /// What is left of the provider's limits.
    RateLimits(RateLimits),
    /// A block begins. Ids are unique in a stream; blocks may interleave.
    BlockStarted {
        /// Its id.
        block: u32,
        /// What it holds.
        kind: BlockKind,
    },
    /// More of a block: text, or a fragment of a call's JSON arguments.
    BlockDelta {
        /// Its id.
        block: u32,
        /// The fragment.
        delta: String,
    },
    /// Data that must return with the block to the same provider, replacing what came before.
    BlockOpaque {
        /// Its id.
        block: u32,
        /// The data.
        item: OpaqueItem,
    },
    /// The block is complete.
    BlockEnded {
        /// Its id.
        block: u32,
    },
    /// What the call used; replaces what came before.
    Usage(Usage),
    /// The end.
    Finish(Finish),
}

impl fmt::Debug for ModelEvent {
    /// Without content: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { .. } => f.write_str("Started"),
            Self::RateLimits(limits) => fmt::Debug::fmt(limits, f),
            Self::BlockStarted { block, .. } => write!(f, "BlockStarted({block})"),
            Self::BlockDelta { block, delta } => {
                write!(f, "BlockDelta({block}, {} bytes)", delta.len())
            }
            Self::BlockOpaque { block, .. } => write!(f, "BlockOpaque({block})"),
            Self::BlockEnded { block } => write!(f, "BlockEnded({block})"),
            Self::Usage(usage) => fmt::Debug::fmt(usage, f),
            Self::Finish(finish) => fmt::Debug::fmt(finish, f),
        }
    }
}

/// What a block holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Text for the user.
    Text,
    /// The model's reasoning, as far as it is shown.
    Reasoning,
    /// A call of a tool.
    ToolCall {
        /// The provider's id of the call.
        id: String,
        /// The tool, as the model wrote it.
        name: String,
    },
    /// The model declines.
    Refusal,
}

/// Tokens that a call used. `None`: the provider did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// All input: uncached, read from a cache and written to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// The part of the input read from a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read_tokens: Option<u64>,
    /// The part of the input written to a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// All output, reasoning included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// The part of the output that was reasoning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
}

/// What is left of a provider's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests left.
    pub requests_remaining: Option<u64>,
    /// Until the requests are back.
    pub requests_reset: Option<Duration>,
    /// Tokens left.
    pub tokens_remaining: Option<u64>,
    /// Until the tokens are back.
    pub tokens_reset: Option<Duration>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finish {
    /// Why, in this project's terms.
    pub reason: FinishReason,
    /// Why, in the provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_reason: Option<String>,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was done.
    Stop,
    /// It reached the most tokens of output.
    Length,
    /// The context was full.
    ContextLimit,
    /// It wants tools called.
    ToolCalls,
    /// The provider filtered the answer.
    ContentFilter,
    /// It declined.
    Refusal,
    /// It paused and wants to be called again.
    Pause,
    /// Arguments or output are not what they must be.
    Malformed,
    /// The caller ended it.
    Cancelled,
    /// The stream ended without its provider's terminal frame.
    Interrupted,
    /// The provider gave a reason that is not known here.
    Other,
}

/// Why a model call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The key is missing or wrong.
    #[error("authentication")]
    Authentication,
    /// The key may not do this.
    #[error("permission")]
    Permission,
    /// There is no such model or endpoint.
    #[error("not found")]
    NotFound,
    /// The provider refuses the request as it is.
    #[error("invalid request")]
    InvalidRequest,
    /// The conversation is too long.
    #[error("context length")]
    ContextLength,
    /// Too many requests for now.
    #[error("rate limited")]
    RateLimited,
    /// Nothing is left of the quota.
    #[error("quota exhausted")]
    QuotaExhausted,
    /// The provider has no capacity for now.
    #[error("overloaded")]
    Overloaded,
    /// The provider failed.
    #[error("server")]
    Server,
    /// The provider was silent for too long.
    #[error("timeout")]
    Timeout,
    /// The connection could not be made or broke.
    #[error("network")]
    Network,
    /// The model declined.
    #[error("refusal")]
    Refusal,
    /// The provider filtered the request.
    #[error("content filter")]
    ContentFilter,
    /// The response exceeds a cap.
    #[error("truncated")]
    Truncated,
    /// The response cannot be understood.
    #[error("decode")]
    Decode,
    /// The model or provider cannot do this.
    #[error("unsupported")]
    Unsupported,
    /// The caller ended the call.
    #[error("cancelled")]
    Cancelled,
}

impl Kind {
    /// Its stable name, as records and spans have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::InvalidRequest => "invalid_request",
            Self::ContextLength => "context_length",
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Overloaded => "overloaded",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::Refusal => "refusal",
            Self::ContentFilter => "content_filter",
            Self::Truncated => "truncated",
            Self::Decode => "decode",
            Self::Unsupported => "unsupported",
            Self::Cancelled => "cancelled",
        }
    }
}

impl ErrorKind for Kind {
    fn default_retry(self) -> Retry {
        match self {
            Self::RateLimited | Self::Overloaded | Self::Server | Self::Timeout | Self::Network => {
                Retry::Backoff
            }
            Self::Authentication
            | Self::Permission
            | Self::NotFound
            | Self::InvalidRequest
            | Self::ContextLength
            | Self::QuotaExhausted
            | Self::Refusal
            | Self::ContentFilter
            | Self::Truncated
            | Self::Decode
            | Self::Unsupported
            | Self::Cancelled => Retry::No,
        }
    }
}

/// Why a model call failed, with what the provider said about it.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct ModelError {
    /// The common envelope.
    #[source]
    pub error: PortError<Kind>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The provider's error code.
    pub code: Option<String>,
    /// The provider's id of the request.
    pub request_id: Option<String>,
    /// Whether any of the response had been streamed: then the call is not retried.
    pub response_started: bool,
}

impl ModelError {
    /// What to decide on.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.error.kind()
    }

    /// Whether repeating helps.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.error.retry()
    }
}

impl From<PortError<Kind>> for ModelError {
    /// An error that no response belongs to.
    fn from(error: PortError<Kind>) -> Self {
        Self {
            error,
            status: None,
            code: None,
            request_id: None,
            response_started: false,
        }
    }
}

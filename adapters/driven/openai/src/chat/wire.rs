//! The shapes of answers. Everything is optional: compatible servers leave out what they like.

use seaworthy_http::Lent;
use serde::Deserialize;
use serde_json::Value;

/// A frame of a stream, or a whole answer of a server that does not stream.
#[derive(Deserialize)]
pub(crate) struct Chunk<'a> {
    /// `error` where the whole frame is one.
    #[serde(borrow)]
    pub(crate) object: Option<Lent<'a>>,
    #[serde(borrow)]
    pub(crate) model: Option<Lent<'a>>,
    #[serde(borrow)]
    pub(crate) choices: Option<Vec<Choice<'a>>>,
    pub(crate) usage: Option<WireUsage>,
    pub(crate) error: Option<Value>,
}

/// What nearly every frame is: more text of the only choice, and nothing else that is looked at. It is read in one go,
/// without a place in memory for what it might have been; a frame with more in it is not one.
#[derive(Deserialize)]
pub(crate) struct UsualChunk<'a> {
    #[serde(borrow)]
    pub(crate) object: Option<Lent<'a>>,
    #[serde(borrow)]
    pub(crate) model: Option<Lent<'a>>,
    pub(crate) choices: [UsualChoice; 1],
    #[serde(rename = "usage")]
    _usage: Nothing,
    #[serde(rename = "error")]
    _error: Nothing,
}

/// `null`, or not there.
type Nothing = Option<()>;

#[derive(Deserialize)]
pub(crate) struct UsualChoice {
    #[serde(default)]
    pub(crate) index: u32,
    #[serde(alias = "message")]
    pub(crate) delta: UsualDelta,
    #[serde(rename = "finish_reason")]
    _finish_reason: Nothing,
}

#[derive(Deserialize)]
pub(crate) struct UsualDelta {
    pub(crate) content: String,
    #[serde(rename = "refusal")]
    _refusal: Nothing,
    #[serde(rename = "reasoning_content")]
    _reasoning_content: Nothing,
    #[serde(rename = "reasoning")]
    _reasoning: Nothing,
    #[serde(rename = "tool_calls")]
    _tool_calls: Nothing,
}

#[derive(Deserialize)]
pub(crate) struct Choice<'a> {
    #[serde(default)]
    pub(crate) index: u32,
    /// `message` is what a server that does not stream calls it.
    #[serde(alias = "message")]
    pub(crate) delta: Option<Delta>,
    #[serde(borrow)]
    pub(crate) finish_reason: Option<Lent<'a>>,
}

#[derive(Deserialize)]
pub(crate) struct Delta {
    pub(crate) content: Option<String>,
    pub(crate) refusal: Option<String>,
    /// As DeepSeek and vLLM call it.
    pub(crate) reasoning_content: Option<String>,
    /// As OpenRouter calls it.
    pub(crate) reasoning: Option<String>,
    pub(crate) tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
pub(crate) struct CallDelta {
    pub(crate) index: Option<u32>,
    pub(crate) id: Option<String>,
    pub(crate) function: Option<FunctionDelta>,
    /// What Gemini's compatible endpoint wants back with the call.
    pub(crate) extra_content: Option<Value>,
}

#[derive(Deserialize)]
pub(crate) struct FunctionDelta {
    pub(crate) name: Option<String>,
    pub(crate) arguments: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct WireUsage {
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) completion_tokens: Option<u64>,
    pub(crate) prompt_tokens_details: Option<PromptDetails>,
    pub(crate) completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
pub(crate) struct PromptDetails {
    pub(crate) cached_tokens: Option<u64>,
    pub(crate) cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
pub(crate) struct CompletionDetails {
    pub(crate) reasoning_tokens: Option<u64>,
}

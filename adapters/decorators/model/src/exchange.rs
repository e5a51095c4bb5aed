//! What a model said, as JSON.

use std::time::Duration;

use seaworthy_ports::model_provider::{
    BlockKind, Finish, Kind, ModelError, ModelEvent, OpaqueItem, RateLimits, Usage,
};
use seaworthy_ports::{Digest, Effect, PortError, Retry};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A question and the answer to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    /// The hash of the question.
    pub(crate) hash: Digest,
    /// The question, for whoever wonders why another one does not match.
    pub(crate) question: Value,
    /// The answer.
    pub(crate) said: Vec<Said>,
}

/// One item of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Said {
    Started {
        request_id: Option<String>,
        model: Option<String>,
    },
    RateLimits {
        requests_remaining: Option<u64>,
        requests_reset_ms: Option<u64>,
        tokens_remaining: Option<u64>,
        tokens_reset_ms: Option<u64>,
    },
    BlockStarted {
        block: u32,
        kind: Sort,
    },
    BlockDelta {
        block: u32,
        delta: String,
    },
    BlockOpaque {
        block: u32,
        item: OpaqueItem,
    },
    BlockEnded {
        block: u32,
    },
    Usage {
        usage: Usage,
    },
    Finish {
        finish: Finish,
    },
    Failed {
        kind: Kind,
        message: String,
        retry: Again,
        effect_unknown: bool,
        status: Option<u16>,
        code: Option<String>,
        request_id: Option<String>,
        response_started: bool,
    },
}

/// What a block holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "sort", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Sort {
    Text,
    Reasoning,
    ToolCall { id: String, name: String },
    Refusal,
}

/// Whether repeating helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Again {
    No,
    Backoff,
    AfterMs(u64),
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Said {
    pub(crate) fn of(item: &Result<ModelEvent, ModelError>) -> Self {
        match item {
            Ok(event) => Self::of_event(event),
            Err(error) => Self::Failed {
                kind: error.kind(),
                message: error.error.message().to_owned(),
                retry: match error.retry() {
                    Retry::No => Again::No,
                    Retry::Backoff => Again::Backoff,
                    Retry::After(delay) => Again::AfterMs(millis(delay)),
                },
                effect_unknown: error.error.effect() == Effect::Unknown,
                status: error.status,
                code: error.code.clone(),
                request_id: error.request_id.clone(),
                response_started: error.response_started,
            },
        }
    }

    fn of_event(event: &ModelEvent) -> Self {
        match event {
            ModelEvent::Started { request_id, model } => Self::Started {
                request_id: request_id.clone(),
                model: model.clone(),
            },
            ModelEvent::RateLimits(limits) => Self::RateLimits {
                requests_remaining: limits.requests_remaining,
                requests_reset_ms: limits.requests_reset.map(millis),
                tokens_remaining: limits.tokens_remaining,
                tokens_reset_ms: limits.tokens_reset.map(millis),
            },
            ModelEvent::BlockStarted { block, kind } => Self::BlockStarted {
                block: *block,
                kind: match kind {
                    BlockKind::Text => Sort::Text,
                    BlockKind::Reasoning => Sort::Reasoning,
                    BlockKind::Refusal => Sort::Refusal,
                    BlockKind::ToolCall { id, name } => Sort::ToolCall {
                        id: id.clone(),
                        name: name.clone(),
                    },
                },
            },
            ModelEvent::BlockDelta { block, delta } => Self::BlockDelta {
                block: *block,
                delta: delta.clone(),
            },
            ModelEvent::BlockOpaque { block, item } => Self::BlockOpaque {
                block: *block,
                item: item.clone(),
            },
            ModelEvent::BlockEnded { block } => Self::BlockEnded { block: *block },
            ModelEvent::Usage(usage) => Self::Usage { usage: *usage },
            ModelEvent::Finish(finish) => Self::Finish {
                finish: finish.clone(),
            },
        }
    }

    /// Says it again, as `adapter`.
    pub(crate) fn again(self, adapter: &'static str) -> Result<ModelEvent, ModelError> {
        Ok(match self {
            Self::Started { request_id, model } => ModelEvent::Started { request_id, model },
            Self::RateLimits {
                requests_remaining,
                requests_reset_ms,
                tokens_remaining,
                tokens_reset_ms,
            } => ModelEvent::RateLimits(RateLimits {
                requests_remaining,
                requests_reset: requests_reset_ms.map(Duration::from_millis),
                tokens_remaining,
                tokens_reset: tokens_reset_ms.map(Duration::from_millis),
            }),
            Self::BlockStarted { block, kind } => ModelEvent::BlockStarted {
                block,
                kind: match kind {
                    Sort::Text => BlockKind::Text,
                    Sort::Reasoning => BlockKind::Reasoning,
                    Sort::Refusal => BlockKind::Refusal,
                    Sort::ToolCall { id, name } => BlockKind::ToolCall { id, name },
                },
            },
            Self::BlockDelta { block, delta } => ModelEvent::BlockDelta { block, delta },
            Self::BlockOpaque { block, item } => ModelEvent::BlockOpaque { block, item },
            Self::BlockEnded { block } => ModelEvent::BlockEnded { block },
            Self::Usage { usage } => ModelEvent::Usage(usage),
            Self::Finish { finish } => ModelEvent::Finish(finish),
            Self::Failed {
                kind,
                message,
                retry,
                effect_unknown,
                status,
                code,
                request_id,
                response_started,
            } => {
                let mut error = PortError::new(kind, adapter, "stream", message);
                error = error.with_retry(match retry {
                    Again::No => Retry::No,
                    Again::Backoff => Retry::Backoff,
                    Again::AfterMs(delay) => Retry::After(Duration::from_millis(delay)),
                });
                if effect_unknown {
                    error = error.with_unknown_effect();
                }
                return Err(ModelError {
                    error,
                    status,
                    code,
                    request_id,
                    response_started,
                });
            }
        })
    }

    /// Whether nothing follows it.
    pub(crate) const fn is_last(&self) -> bool {
        matches!(self, Self::Finish { .. } | Self::Failed { .. })
    }
}

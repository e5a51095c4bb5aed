//! What of its conversation a run shows to its model: all of it, or a summary and the rest.
//!
//! The run's own messages stay in its state and in its log, whole. A summary only says how many of them, and of its
//! session's, it stands for. So it takes nothing away that a person, another run or a replay may want to see.

use seaworthy_ports::Digest;
use seaworthy_ports::model_provider::{Message, Usage, check_history};
use seaworthy_ports::state_store::Seq;
use serde::{Deserialize, Serialize};

use crate::descriptor::Cost;
use crate::event::FailedTry;
use crate::history;
use crate::state::RunState;

/// Why a conversation is to be shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It has more tokens than the agent allows.
    Limit,
    /// The model said that it is too long.
    Refused,
}

/// How much of a conversation a summary stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Through {
    /// The first so many of the run's own messages.
    pub own: u64,
    /// The first so many of the session's messages that the agent sees.
    pub session: u64,
}

/// The checkpoint that keeps a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRef {
    /// The digest of its content.
    pub digest: Digest,
    /// Its position.
    pub seq: Seq,
}

/// The older part of a conversation was replaced by a summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compacted {
    /// Why.
    pub cause: Cause,
    /// Where the summary is kept beside the log. It was written first, so it was there.
    pub checkpoint: CheckpointRef,
    /// What the summary cost, where its model's alias has a price and the provider said what was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// How long it took, tries that failed and delays included.
    pub duration_ms: u64,
    /// Whether the tokens are guessed, and not counted by the provider.
    pub estimated: bool,
    /// The tries that failed before, oldest first: of the call that was refused, and of the summary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_tries: Vec<FailedTry>,
    /// The model that wrote the summary, as asked for.
    pub model: String,
    /// The adapter that was asked.
    pub provider: String,
    /// The provider's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What the model is told instead of the older part.
    pub summary: String,
    /// What the summary stands for.
    pub through: Through,
    /// The tokens of a call after it.
    pub tokens_after: u64,
    /// The tokens of a call before it.
    pub tokens_before: u64,
    /// What the summary used.
    pub usage: Usage,
}

/// A conversation was to be shortened, and stays as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotCompacted {
    /// Why it was to be.
    pub cause: Cause,
    /// A stable name of why it is not: the kind of the model's error, `empty`, `no_reduction`, `invalid`, or
    /// `checkpoint`.
    pub code: String,
    /// What the try cost, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// The tries that failed, oldest first: of the call that was refused, and of the summary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_tries: Vec<FailedTry>,
    /// For a person.
    pub message: String,
    /// The tokens of a call.
    pub tokens: u64,
    /// What the try used.
    pub usage: Usage,
}

/// How the conversation of a run is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// What stands for the older part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// The newest try to shorten it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
}

/// What stands for the older part of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The summary.
    pub text: String,
    /// What it stands for.
    pub through: Through,
}

/// A try to shorten a conversation, whatever came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// Why.
    pub cause: Cause,
    /// How many messages of its own the run had.
    pub messages: u64,
    /// The tokens of a call afterwards.
    pub tokens: u64,
}

impl Context {
    /// Whether nobody has tried to shorten the conversation.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a call of `tokens` is to be shortened for an agent that allows `at_tokens`. After a try, whatever came of
    /// it, the conversation must first have grown by a quarter: tries stay few, however long it gets.
    #[must_use]
    pub fn is_due(&self, at_tokens: u64, tokens: u64) -> bool {
        let grown = self
            .tried
            .map_or(0, |tried| tried.tokens.saturating_add(tried.tokens / 4));
        tokens > at_tokens && tokens > grown
    }

    /// Whether a conversation that the model refused as too long was not shortened for that reason already.
    #[must_use]
    pub fn may_be_refused(&self, messages: usize) -> bool {
        self.tried
            .is_none_or(|tried| tried.cause != Cause::Refused || tried.messages != count(messages))
    }

    /// What the summary stands for, if there is one.
    #[must_use]
    pub fn through(&self) -> Through {
        self.summary
            .as_ref()
            .map_or_else(Through::default, |summary| summary.through)
    }

    pub(crate) fn compacted(
        &mut self,
        event: Compacted,
        input: &str,
        messages: &[Message],
    ) -> Result<(), String> {
        let (before, through) = (self.through(), event.through);
        let goes_back = through.own < before.own || through.session < before.session;
        if goes_back || through == before {
            return Err("a summary stands for more than the one before it".to_owned());
        }
        let summary = Summary {
            text: event.summary,
            through,
        };
        let head = summary.message(input);
        let tail = usize::try_from(through.own)
            .ok()
            .and_then(|own| messages.get(own..))
            .ok_or("the summary stands for messages that there are not")?;
        let shown: Vec<Message> = std::iter::once(head).chain(tail.iter().cloned()).collect();
        check_history(&shown)
            .map_err(|fault| format!("the summary parts what belongs: {fault}"))?;
        self.summary = Some(summary);
        self.tried = Some(Tried {
            cause: event.cause,
            messages: count(messages.len()),
            tokens: event.tokens_after,
        });
        Ok(())
    }

    pub(crate) fn not_compacted(&mut self, event: &NotCompacted, messages: &[Message]) {
        self.tried = Some(Tried {
            cause: event.cause,
            messages: count(messages.len()),
            tokens: event.tokens,
        });
    }
}

impl Summary {
    /// The message that stands for the older part. It has the task word for word where the task is in that part.
    #[must_use]
    pub fn message(&self, input: &str) -> Message {
        history::summary_message(&self.text, (self.through.own > 0).then_some(input))
    }
}

impl RunState {
    /// What the model is shown of the run, which sees `session` of its session: the summary, if there is one, and every
    /// message that it does not stand for.
    #[must_use]
    pub fn conversation(&self, session: &[Message]) -> Vec<Message> {
        let through = self.context.through();
        let rest = |messages: &[Message], from: u64| {
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            messages.get(from..).unwrap_or_default().to_vec()
        };
        let mut shown = Vec::new();
        if let Some(summary) = &self.context.summary {
            shown.push(summary.message(&self.submitted.input));
        }
        shown.extend(rest(session, through.session));
        shown.extend(rest(&self.messages, through.own));
        shown
    }
}

fn count(messages: usize) -> u64 {
    u64::try_from(messages).unwrap_or(u64::MAX)
}

//! What-if replay: a new run that begins with what another one recorded, and goes on another way.
//!
//! A replay is a run like any other, with an id and a log of its own. Its first record says where it comes from
//! ([`Origin`]); what it takes from there is recorded as taken ([`ModelReplayed`], [`ToolReplayed`]) and never as done. The
//! source is only read. Nothing is taken twice and nothing taken is done again, whatever crashes: what was taken is in the
//! replay's own log, and what comes next follows from that.
//!
//! ```
//! use seaworthy_core::descriptor::ModelOverride;
//! use seaworthy_core::harness::{Harness, HarnessError};
//! use seaworthy_core::replay::{Mode, Replay};
//! use seaworthy_ports::RunId;
//! use seaworthy_ports::state_store::Seq;
//!
//! /// Asks another model from record 12 on. What is not on record and may change something is refused.
//! async fn what_if(
//!     harness: &Harness,
//!     source: RunId,
//!     other: ModelOverride,
//! ) -> Result<RunId, HarnessError> {
//!     let replay = Replay {
//!         mode: Mode::Hybrid,
//!         from: Seq(12),
//!         models: vec![other],
//!         ..Replay::new(source)
//!     };
//!     // A worker runs it like any run; `Harness::compare` then holds it against its source.
//!     Ok(harness.replay(replay).await?.run)
//! }
//! ```

use std::collections::BTreeMap;

use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{CallId, Digest, RunId, SessionId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::ModelCalled;
use crate::files::AttachedFile;
use crate::record::Link;

mod excerpt;
mod recording;
mod start;

pub(crate) use excerpt::{excerpt, parting};
pub(crate) use recording::{Answer, Recorded, Recording, Unreadable, Verdict};
pub use start::{Replay, ReplayError};

/// The code of a run that failed because it deviated from the record it was to reproduce.
pub const DEVIATED: &str = "replay_deviated";
/// The code of a replay whose source cannot be read any more, or is not what it was.
pub const SOURCE: &str = "replay_source";

/// What happens from the step on where the replay begins to go its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing is done: every request and every call must be the recorded one, and gets the recorded answer.
    Strict,
    /// The model is asked; a call that is on record gets the recorded result, others are held to [`Unmatched`].
    Hybrid,
    /// The model is asked and tools are called, as in any run.
    Live,
}

impl Mode {
    /// The mode's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Hybrid => "hybrid",
            Self::Live => "live",
        }
    }
}

/// What becomes of a hybrid replay's call that is not on record and may change something. One that only reads is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// It is denied, and the model is told.
    #[default]
    Refuse,
    /// A person is asked, whatever the tool's own rule; nobody grants it in advance.
    Ask,
}

impl Unmatched {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Ask => "ask",
        }
    }
}

/// Where a replay comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The digest of the source's record before `from`; `None`: `from` is its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    /// The digest of the source's descriptor.
    pub descriptor: Digest,
    /// The source's first record that is not taken as it is.
    pub from: Seq,
    /// The source's newest record when the replay was started. Later ones do not count.
    pub head: Link,
    /// What happens from there on.
    pub mode: Mode,
    /// The models that answer instead of the source's, by alias.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, String>,
    /// What the source saw of its session. The replay sees the same and adds nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Seen>,
    /// The run that is replayed.
    pub source: RunId,
    /// What becomes of calls that are not on record.
    pub unmatched: Unmatched,
}

impl Origin {
    /// Whether what the source's record `seq` says is taken as it is.
    #[must_use]
    pub fn takes(&self, seq: Seq) -> bool {
        self.mode == Mode::Strict || seq < self.from
    }
}

/// What of a session a run saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The session.
    pub session: SessionId,
    /// The last record of its log that counts.
    pub through: Seq,
}

/// The model's answer was taken from the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelReplayed {
    /// What the source recorded. Nothing of it was used or paid for again.
    pub called: ModelCalled,
    /// The source's record.
    pub from: Seq,
}

/// What became of a call was taken from the source; the call was not made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolReplayed {
    /// The replay's call.
    pub call: CallId,
    /// The source's record that ended its call.
    pub from: Seq,
    /// What it says.
    pub result: Recall,
}

/// What became of a recorded call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
pub enum Recall {
    /// It did what it should.
    Succeeded {
        /// What it showed beside its answer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        media: Vec<AttachedFile>,
        /// Its answer.
        output: Value,
    },
    /// It did not.
    Failed {
        /// A stable name of the reason.
        code: String,
        /// For the model and a person.
        message: String,
        /// Whether it certainly did nothing.
        no_effect: bool,
    },
}

/// Where a strict replay and its source part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviated {
    /// The source's record that is not reproduced.
    pub at: Seq,
    /// What the record has, in short.
    pub expected: String,
    /// What there is instead, in short.
    pub found: String,
    /// What of it deviates.
    pub part: Part,
}

/// What a run deviates in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The descriptor makes no agent.
    Agent,
    /// The model that is asked.
    Model,
    /// What the model is told first.
    Instructions,
    /// The tools the model may call.
    Tools,
    /// The conversation that the model is shown.
    Messages,
    /// The request's fingerprint, though all the parts above are the same.
    Request,
    /// A call: its arguments, or the definition of its tool.
    Call,
    /// What validation or policy says to a call.
    Decision,
    /// How many turns the run takes.
    Turns,
    /// How the run ends.
    End,
}

impl Part {
    /// The part's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Model => "model",
            Self::Instructions => "instructions",
            Self::Tools => "tools",
            Self::Messages => "messages",
            Self::Request => "request",
            Self::Call => "call",
            Self::Decision => "decision",
            Self::Turns => "turns",
            Self::End => "end",
        }
    }
}

impl std::fmt::Display for Deviated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "at record {} of the source the {} deviates: recorded {}, now {}",
            self.at,
            self.part.as_str(),
            self.expected,
            self.found
        )
    }
}

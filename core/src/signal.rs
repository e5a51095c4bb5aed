//! What a run is told from outside.

use seaworthy_ports::durable_runtime::Signal;
use seaworthy_ports::{CallId, Digest, InvalidId, SignalId};
use serde::{Deserialize, Serialize};

use crate::event::Resolution;
use crate::servers::Reply;

/// A message to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Told {
    /// A person answered an approval.
    Approval {
        /// Which.
        approval: CallId,
        /// The proposal the answer is for.
        proposal: Digest,
        /// The answer.
        granted: bool,
        /// Who answered.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A person knows what became of a call in doubt.
    Resolved {
        /// Which.
        call: CallId,
        /// What became of it.
        resolution: Resolution,
        /// Who knows.
        by: String,
    },
    /// A person answered a question of a server.
    Answer {
        /// The call that it was asked for.
        call: CallId,
        /// The question that the answer is for.
        question: Digest,
        /// The answer.
        reply: Reply,
        /// Who answered.
        by: String,
    },
    /// The log was ended by somebody else: look at it.
    Look,
}

impl Told {
    /// The signal that carries this. Its id makes the first answer the only one. `round` tells apart the times one call
    /// was in doubt, its questions, or the times a run was reopened.
    ///
    /// # Errors
    ///
    /// An id that would be too long.
    pub fn signal(&self, round: u32) -> Result<Signal, InvalidId> {
        let id = match self {
            Self::Approval { approval, .. } => format!("approval:{approval}"),
            Self::Resolved { call, .. } => format!("resolved:{call}:{round}"),
            Self::Answer { call, .. } => format!("answer:{call}:{round}"),
            Self::Look => format!("look:{round}"),
        };
        let payload = serde_json::to_vec(self).unwrap_or_default().into();
        Ok(Signal {
            id: SignalId::new(id)?,
            payload,
        })
    }

    /// What a signal says, if this program understands it.
    #[must_use]
    pub fn read(signal: &Signal) -> Option<Self> {
        serde_json::from_slice(&signal.payload).ok()
    }
}

//! What a server may ask of its host while it works on a call.

use std::fmt;

use async_trait::async_trait;
use serde_json::Value;

use super::{McpContent, TaskId};
use crate::ServerAlias;
use crate::model_provider::Role;

/// The most bytes of what a server calls a question.
pub const MAX_KEY_BYTES: usize = 256;

/// Which questions a host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostTakes {
    /// Those to the user.
    pub elicitation: bool,
    /// Those to a model.
    pub sampling: bool,
}

impl HostTakes {
    /// All of them.
    pub const ALL: Self = Self {
        elicitation: true,
        sampling: true,
    };
}

/// Answers the questions of servers: a person through an approval, or a policy.
///
/// The adapter waits for an answer no longer than the call's timeout, and refuses on behalf of a host that takes longer. A
/// question about a task is left unanswered then: a refusal would be an answer, and the task lives on.
/// Questions are the server's words and not to be trusted.
#[async_trait]
pub trait McpHost: fmt::Debug + Send + Sync + 'static {
    /// Which questions it takes; it always says the same. The server is told when a connection begins, and any other is
    /// refused without asking the host.
    fn takes(&self) -> HostTakes {
        HostTakes::ALL
    }

    /// The server wants to know something from the user. Dropping the future withdraws the question.
    async fn elicit(&self, question: Elicitation) -> Elicited;

    /// The server wants a model called on the host's account. Dropping the future ends the call.
    async fn sample(&self, question: Sampling) -> Sampled;
}

/// A question to the user.
#[derive(Clone, PartialEq)]
pub struct Elicitation {
    /// Who asks.
    pub server: ServerAlias,
    /// The question.
    pub message: String,
    /// The JSON schema that the answer must have.
    pub schema: Value,
    /// The task that it is about, if the server says so.
    pub task: Option<TaskId>,
    /// What the server calls it, in at most [`MAX_KEY_BYTES`], where no other question of the task is ever called so.
    pub key: Option<String>,
}

impl fmt::Debug for Elicitation {
    /// Without the question: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Elicitation({})", self.server)
    }
}

/// What the user answered.
#[derive(Clone, PartialEq)]
pub enum Elicited {
    /// This. What does not have the schema is sent as a refusal.
    Accepted(Value),
    /// Not to answer.
    Declined,
    /// Nothing: the question was dismissed, or nobody was there.
    Cancelled,
}

impl fmt::Debug for Elicited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted(_) => "Accepted",
            Self::Declined => "Declined",
            Self::Cancelled => "Cancelled",
        })
    }
}

/// A model call that a server wants made.
#[derive(Clone, PartialEq)]
pub struct Sampling {
    /// Who asks.
    pub server: ServerAlias,
    /// What the model is told before everything else.
    pub instructions: Option<String>,
    /// The conversation, oldest first.
    pub messages: Vec<(Role, McpContent)>,
    /// The most tokens of output.
    pub max_tokens: u32,
    /// The task that it is about, if the server says so.
    pub task: Option<TaskId>,
    /// What the server calls it, in at most [`MAX_KEY_BYTES`], where no other question of the task is ever called so.
    pub key: Option<String>,
}

impl fmt::Debug for Sampling {
    /// Without the conversation: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Sampling({}, {} messages)",
            self.server,
            self.messages.len()
        )
    }
}

/// What became of it.
#[derive(Clone, PartialEq)]
pub enum Sampled {
    /// The model answered.
    Answered {
        /// The model.
        model: String,
        /// The answer.
        content: McpContent,
    },
    /// The host does not make the call.
    Refused,
}

impl fmt::Debug for Sampled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered { .. } => "Answered",
            Self::Refused => "Refused",
        })
    }
}

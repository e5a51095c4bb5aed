//! Calls that a server works on after it has answered: it names a task, and is asked how that is going.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{McpCall, McpCallResult, McpError};

/// The most bytes of a task's name.
pub const MAX_TASK_ID_BYTES: usize = 512;
/// The most bytes of what a server says of a task.
pub const MAX_TASK_MESSAGE_BYTES: usize = 2 * 1024;

/// Calls that become tasks (MC-8).
///
/// # Cancellation
///
/// Dropping `start_task` tells the server that the call is cancelled; it may have begun the task. Dropping `task_input` does
/// not end the task, and refuses nothing: what the server has asked may still be answered, or is asked again. Dropping any
/// other method leaves nothing behind, but for `cancel_task`, which may have taken effect.
#[async_trait]
pub trait McpTasks: fmt::Debug + Send + Sync {
    /// Calls a tool once and lets the server keep the call as a task, for `ttl` at least where the protocol version has a
    /// word for that. A server may answer at once instead.
    async fn start_task(&self, call: McpCall, ttl: Duration) -> Result<McpStarted, McpError>;

    /// How the task is going. One that the server does not know, or no longer, is [`Kind::NotFound`](super::Kind::NotFound).
    async fn task(&self, id: &TaskId) -> Result<McpTask, McpError>;

    /// What the call of `tool` came to that `id` stands for. Servers let this wait for the task's end, so it is asked of
    /// one that has ended. A task that ended with an error of the server's is [`Kind::Server`](super::Kind::Server).
    async fn task_result(&self, id: &TaskId, tool: &str) -> Result<McpCallResult, McpError>;

    /// Lets the server ask what it must know before it goes on with the task ([`TaskStatus::InputRequired`]): its questions
    /// reach the host (MC-5). It ends with the task or with what was asked, or fails, or is late after `within`; where the
    /// task stands then, and what it came to, is asked as always. A question that the host refuses where the server cannot
    /// be told so is [`Kind::Unsupported`](super::Kind::Unsupported): the task waits for what it will never get.
    async fn task_input(&self, id: &TaskId, within: Duration) -> Result<(), McpError>;

    /// Ends the task, and says what became of it: a server may take its time, or finish it all the same. One that has ended
    /// cannot be ended again.
    async fn cancel_task(&self, id: &TaskId) -> Result<McpTask, McpError>;
}

/// What a call came to that may become a task.
#[derive(Clone, Debug, PartialEq)]
pub enum McpStarted {
    /// The server works on it.
    Task(McpTask),
    /// The server did it at once.
    Answered(McpCallResult),
}

/// Whether calls of a tool become tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskSupport {
    /// They do not.
    #[default]
    Forbidden,
    /// They do if the caller wants it.
    Optional,
    /// Others are refused.
    Required,
    /// The server decides, each time that the caller leaves it to decide.
    ServerDecides,
}

/// What a server calls a task: 1 to [`MAX_TASK_ID_BYTES`] bytes without control characters. It is the server's word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

/// No name of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task's name has 1 to {MAX_TASK_ID_BYTES} bytes and no control characters")]
pub struct InvalidTaskId;

impl TaskId {
    /// Checks the name.
    ///
    /// # Errors
    ///
    /// [`InvalidTaskId`].
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidTaskId> {
        let id = id.into();
        let is_one = !id.is_empty()
            && id.len() <= MAX_TASK_ID_BYTES
            && !id.contains(|letter: char| letter.is_control());
        is_one.then_some(Self(id)).ok_or(InvalidTaskId)
    }

    /// As the server writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidTaskId;

    fn try_from(id: String) -> Result<Self, InvalidTaskId> {
        Self::new(id)
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

/// A task, as its server tells of it.
#[derive(Clone, PartialEq, Eq)]
pub struct McpTask {
    /// Which.
    pub id: TaskId,
    /// Where it stands.
    pub status: TaskStatus,
    /// What the server says of it, in at most [`MAX_TASK_MESSAGE_BYTES`].
    pub message: Option<String>,
    /// How long the server wants to be left alone before it is asked again. It may be any time at all.
    pub poll_interval: Option<Duration>,
    /// For how long from its beginning the server keeps it; `None`: it does not say, or for ever.
    pub ttl: Option<Duration>,
}

impl fmt::Debug for McpTask {
    /// Without its name, by which it may be ended, and the message: they are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpTask")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// The server works on it.
    Working,
    /// The server asks something before it goes on.
    InputRequired,
    /// It has ended, and the tool did not fail.
    Completed,
    /// It has ended, and the tool or the server failed.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl TaskStatus {
    /// Whether nothing more happens to the task.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// As much of `message` as a task's may have.
#[must_use]
pub fn task_message(message: &str) -> String {
    let mut end = message.len().min(MAX_TASK_MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    message.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_bounded_and_says_something() {
        assert!(TaskId::new("786512e2-9e0d-44bd-8f29-789f320fe840").is_ok());
        assert!(TaskId::new("x".repeat(MAX_TASK_ID_BYTES)).is_ok());
        for none in ["", "a\nb", &"x".repeat(MAX_TASK_ID_BYTES + 1)] {
            assert_eq!(TaskId::new(none), Err(InvalidTaskId));
        }
        assert!(serde_json::from_str::<TaskId>("\"\"").is_err());
    }

    #[test]
    fn a_message_is_cut_between_letters() {
        assert_eq!(task_message("working"), "working");
        let cut = task_message(&"é".repeat(MAX_TASK_MESSAGE_BYTES));
        assert_eq!(cut.len(), MAX_TASK_MESSAGE_BYTES);
        let cut = task_message(&format!("a{}", "é".repeat(MAX_TASK_MESSAGE_BYTES)));
        assert_eq!(cut.len(), MAX_TASK_MESSAGE_BYTES - 1);
    }

    #[test]
    fn neither_name_nor_message_is_shown() {
        let task = McpTask {
            id: TaskId::new("canary").unwrap(),
            status: TaskStatus::Working,
            message: Some("canary".to_owned()),
            poll_interval: None,
            ttl: None,
        };
        assert!(!format!("{task:?}").contains("canary"));
    }
}

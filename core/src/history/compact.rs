//! A summary in the place of the older part of a conversation.

use seaworthy_ports::model_provider::{HistoryFault, Message, Role, check_history};

use super::{estimate, text};

/// Why a conversation is not compacted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCompacted {
    /// The summary says nothing.
    #[error("the summary is empty")]
    Empty,
    /// The summary and the tail are as long as what they stand for, or longer.
    #[error("the summary saves nothing: {after} tokens instead of {before}, as estimated")]
    NoReduction {
        /// As it was.
        before: u64,
        /// As it would be.
        after: u64,
    },
    /// The tail cannot follow a summary.
    #[error("the conversation cannot be cut there: {0}")]
    Fault(#[from] HistoryFault),
}

/// Where the tail begins that holds the newest `turns` answers of the model; `None` where nothing worth a summary is
/// before it. The tail begins with an answer, so no call is parted from its result.
#[must_use]
pub fn cut(messages: &[Message], turns: u32) -> Option<usize> {
    let nth = usize::try_from(turns.checked_sub(1)?).ok()?;
    let at = messages
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, message)| message.role == Role::Assistant)
        .nth(nth)
        .map(|(index, _)| index)?;
    // One message of the user alone is not an older part.
    (at > 1).then_some(at)
}

/// What stands for the older part: the summary and, word for word, the task if the older part had it.
#[must_use]
pub fn summary_message(summary: &str, task: Option<&str>) -> Message {
    let mut blocks = vec![text(format!(
        "This conversation was longer; its older part was replaced by a summary:\n\n{summary}"
    ))];
    if let Some(task) = task {
        blocks.push(text(format!("The task, word for word:\n\n{task}")));
    }
    Message {
        role: Role::User,
        blocks,
    }
}

/// `messages` with a summary in the place of those before `at`; the others follow as they are.
///
/// # Errors
///
/// [`NotCompacted`] where that would be no conversation, or none that is shorter.
pub fn compact(
    messages: &[Message],
    at: usize,
    summary: &str,
    task: Option<&str>,
) -> Result<Vec<Message>, NotCompacted> {
    if summary.trim().is_empty() {
        return Err(NotCompacted::Empty);
    }
    let (older, tail) = messages.split_at_checked(at).unwrap_or((messages, &[]));
    let head = summary_message(summary, task);
    let (before, after) = (estimate(older), estimate(std::slice::from_ref(&head)));
    if after >= before {
        return Err(NotCompacted::NoReduction { before, after });
    }
    let mut compacted = Vec::with_capacity(tail.len().saturating_add(1));
    compacted.push(head);
    compacted.extend_from_slice(tail);
    check_history(&compacted)?;
    Ok(compacted)
}

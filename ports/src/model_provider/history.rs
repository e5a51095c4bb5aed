//! What every provider refuses: conversations in which calls and results do not match.

use std::collections::BTreeSet;

use super::{Block, Message, Role};

/// Why no provider would accept a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryFault {
    /// There is nothing to answer.
    #[error("the conversation is empty")]
    Empty,
    /// The model speaks first.
    #[error("the conversation does not begin with the user")]
    BeginsWithAssistant,
    /// The model has had the last word.
    #[error("the conversation does not end with the user")]
    EndsWithAssistant,
    /// Message number `message` (from 0) leaves a call of the message before it without a result.
    #[error("message {message} leaves a tool call of the message before it unanswered")]
    Unanswered {
        /// Which message.
        message: usize,
    },
    /// Message number `message` (from 0) has a result without a call right before it, or a second one.
    #[error("message {message} answers a tool call that the message before it does not make, or answers it twice")]
    Orphan {
        /// Which message.
        message: usize,
    },
    /// Message number `message` (from 0) makes two calls with one id.
    #[error("message {message} makes two tool calls with one id")]
    DuplicateCall {
        /// Which message.
        message: usize,
    },
    /// Message number `message` (from 0) holds a block that its side cannot say.
    #[error("message {message} holds a block that its side cannot say")]
    WrongSide {
        /// Which message.
        message: usize,
    },
}

/// Checks what every provider checks: each tool call is answered exactly once, in the very next message, and nothing else
/// is. The cost is one pass.
///
/// # Errors
///
/// The first [`HistoryFault`].
pub fn check_history(messages: &[Message]) -> Result<(), HistoryFault> {
    match (messages.first(), messages.last()) {
        (None, _) | (_, None) => return Err(HistoryFault::Empty),
        (Some(first), _) if first.role == Role::Assistant => return Err(HistoryFault::BeginsWithAssistant),
        (_, Some(last)) if last.role == Role::Assistant => return Err(HistoryFault::EndsWithAssistant),
        _ => {}
    }
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for (index, message) in messages.iter().enumerate() {
        let mut calls = BTreeSet::new();
        for block in &message.blocks {
            match (message.role, block) {
                (Role::User, Block::ToolResult(result)) => {
                    if !open.remove(result.id.as_str()) {
                        return Err(HistoryFault::Orphan { message: index });
                    }
                }
                (Role::Assistant, Block::ToolCall(call)) => {
                    if !calls.insert(call.id.as_str()) {
                        return Err(HistoryFault::DuplicateCall { message: index });
                    }
                }
                (Role::User, Block::Text { .. })
                | (Role::Assistant, Block::Text { .. } | Block::Reasoning { .. } | Block::Refusal { .. }) => {}
                _ => return Err(HistoryFault::WrongSide { message: index }),
            }
        }
        if !open.is_empty() {
            return Err(HistoryFault::Unanswered { message: index });
        }
        open = calls;
    }
    Ok(())
}

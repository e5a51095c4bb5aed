//! The newest part of a conversation.

use seaworthy_ports::model_provider::{Block, Message, Role};
use serde::{Deserialize, Serialize};

/// How much of a conversation is seen. An exchange is what the user says and everything until the user speaks again,
/// calls and results included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// All of it.
    #[default]
    All,
    /// Nothing.
    None,
    /// The newest exchanges, at most so many.
    Newest(u32),
    /// The newest exchanges that have at most so many messages together.
    NewestMessages(u32),
}

impl Window {
    /// Whether it is what an agent has unless its descriptor says otherwise.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// The end of `messages` that is in the window. It begins where an exchange begins, so a call is never without its
/// result, and a message of the user can follow it.
#[must_use]
pub fn window(messages: &[Message], window: Window) -> &[Message] {
    let from = match window {
        Window::All => 0,
        Window::None => messages.len(),
        Window::Newest(exchanges) => newest(messages, exchanges),
        Window::NewestMessages(most) => {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let first = messages.len().saturating_sub(most);
            (first..messages.len())
                .find(|index| first == 0 || begins_exchange(messages, *index))
                .unwrap_or(messages.len())
        }
    };
    messages.get(from..).unwrap_or_default()
}

/// Where the newest exchanges begin; 0 where there are no more of them.
fn newest(messages: &[Message], exchanges: u32) -> usize {
    let mut left = exchanges;
    let mut from = messages.len();
    for index in (0..messages.len()).rev() {
        if left == 0 {
            return from;
        }
        if begins_exchange(messages, index) {
            from = index;
            left -= 1;
        }
    }
    if left == 0 { from } else { 0 }
}

/// Whether the user begins to speak here, answering no call.
fn begins_exchange(messages: &[Message], index: usize) -> bool {
    let before = index.checked_sub(1).and_then(|before| messages.get(before));
    let follows_user = before.is_some_and(|before| before.role == Role::User);
    !follows_user
        && messages.get(index).is_some_and(|message| {
            let answers = |block: &Block| matches!(block, Block::ToolResult(_));
            message.role == Role::User && !message.blocks.iter().any(answers)
        })
}

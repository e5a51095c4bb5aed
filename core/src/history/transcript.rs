//! A conversation as text, for a model that is to sum it up.

use std::fmt::Write as _;

use seaworthy_ports::model_provider::{Block, Message, Role};

use super::{call_note, file_note, result_note};

/// How many bytes of one block are shown; of a longer one the middle is left out.
pub const MAX_SHOWN_BYTES: usize = 8 * 1024;

/// The conversation as text. It has no calls, so that every model takes it, whichever tools it knows; reasoning is left
/// out, and of long blocks the middle.
#[must_use]
pub fn transcript(messages: &[Message]) -> String {
    let mut shown = String::new();
    for message in messages {
        let who = match message.role {
            Role::User => "User",
            Role::Assistant => "Assistant",
        };
        for block in &message.blocks {
            let said = match block {
                Block::Text { text, .. } | Block::Refusal { text } => shortened(text),
                Block::Reasoning { .. } => continue,
                Block::ToolCall(call) => call_note(&call.name, &shortened(&call.arguments)),
                Block::ToolResult(result) => {
                    let mut note =
                        result_note(&result.name, &shortened(&result.content), result.is_error);
                    for file in &result.media {
                        note.push(' ');
                        note.push_str(&file_note(file));
                    }
                    note
                }
                Block::File(file) => file_note(file),
            };
            if !said.trim().is_empty() {
                // Writing to a text cannot fail.
                let _written = writeln!(shown, "{who}: {said}\n");
            }
        }
    }
    shown
}

/// The text without its middle, if it is long.
fn shortened(text: &str) -> String {
    if text.len() <= MAX_SHOWN_BYTES {
        return text.to_owned();
    }
    let start = text.floor_char_boundary(MAX_SHOWN_BYTES / 2);
    let end = text.ceil_char_boundary(text.len().saturating_sub(MAX_SHOWN_BYTES / 2));
    let left_out = end.saturating_sub(start);
    let (start, end) = (
        text.get(..start).unwrap_or_default(),
        text.get(end..).unwrap_or_default(),
    );
    format!("{start} [… {left_out} bytes left out …] {end}")
}

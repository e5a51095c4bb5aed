//! The algebra of conversations: pure functions from messages to messages.
//!
//! * [`repair`] makes any list of messages one that a provider continues.
//! * [`project`] makes a conversation one that a certain model takes.
//! * [`window`] shows the newest part.
//! * [`compact`] puts a summary in the place of the older part.
//! * [`estimate`] says how long it is, and says that it only guesses.
//!
//! Each keeps a history that [`check_history`](seaworthy_ports::model_provider::check_history) accepts one that it
//! accepts. None has I/O, and what need not change is not copied.

mod compact;
mod project;
mod repair;
mod tokens;
mod transcript;
mod window;

pub use compact::{NotCompacted, compact, cut, summary_message};
pub use project::{Answers, Calls, Files, Projection, Target, project};
pub use repair::{BEGINNING_MISSING, NEVER_ANSWERED, repair};
pub use tokens::{estimate, estimate_request, estimate_text};
pub use transcript::{MAX_SHOWN_BYTES, transcript};
pub use window::{Window, window};

use seaworthy_ports::model_provider::{Block, FileBlock};

/// Text that no provider has marked.
pub(crate) fn text(text: impl Into<String>) -> Block {
    Block::Text {
        text: text.into(),
        opaque: None,
    }
}

/// What stands for a file where there cannot be one.
pub(crate) fn file_note(file: &FileBlock) -> String {
    match &file.name {
        Some(name) => format!("[file {name}, {}: not shown]", file.media_type),
        None => format!("[file, {}: not shown]", file.media_type),
    }
}

/// What stands for a call where there cannot be one.
fn call_note(name: &str, arguments: &str) -> String {
    if arguments.trim().is_empty() {
        format!("[called {name}]")
    } else {
        format!("[called {name} with {arguments}]")
    }
}

/// What stands for a result where there cannot be one.
fn result_note(name: &str, content: &str, is_error: bool) -> String {
    let did = if is_error { "failed" } else { "answered" };
    format!("[{name} {did}: {content}]")
}

//! Servers of the Model Context Protocol, as runs use them: which tools they had when the run began, whether they still
//! have them, and what a call of one comes to.
//!
//! What a server says is not trusted. Its tools get into a run by its descriptor's leave, each as it was when the run first
//! saw it ([`Catalogue`]); a tool that is another one later is not called before a person has agreed.

mod catalogue;
mod connections;
mod hearing;
mod logs;
pub mod media;
mod question;
mod reach;
mod result;
mod tool;

pub use catalogue::{
    Catalogue, LeftOut, MAX_CATALOGUE_BYTES, MAX_DESCRIPTION_BYTES, MAX_SCHEMA_BYTES, MAX_TOOLS,
    ServedHints, ServedTool, ToolsListed,
};
pub use connections::{ConnectError, Connections, ListError};
pub(crate) use hearing::{Ask, Heard, Hearing, Known};
pub use logs::LogSink;
pub use question::{
    InvalidReply, MAX_ANSWER_SCHEMA_BYTES, MAX_CONVERSATION_BYTES, MAX_MESSAGE_BYTES,
    MAX_QUESTIONS, MAX_REPLY_BYTES, Question, Reply, Said, Sample, Wants,
};
pub use reach::{MissingLogin, MissingSecret, Place, Unreachable, check_login, server};
pub use result::told;
pub(crate) use tool::Served;

//! A server as data: what it offers and how it behaves.

use seaworthy_ports::mcp::{
    Hints, McpCallResult, McpPrompt, McpPromptResult, McpResource, McpResourceContents,
    McpResourceTemplate,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::outcome::Outcome;
use crate::process;

/// The name of the server's first protocol version: the newest that begins with `initialize`.
pub const NEWEST_PROTOCOL: &str = "2025-11-25";
/// The protocol version before it.
pub const PREVIOUS_PROTOCOL: &str = "2025-06-18";

/// A server of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The scenario's name for it, and the server's own.
    pub name: String,
    /// The one protocol version it speaks; `None`: the newest and the previous.
    pub protocol: Option<String>,
    /// How it wants to be used.
    pub instructions: Option<String>,
    /// Its tools, in order.
    pub tools: Vec<Tool>,
    /// Its tools once a tool that [`Does::ChangesTools`] was called.
    pub later_tools: Vec<Tool>,
    /// Its resources and what they read as, in order. [`SILENT_URI`] is there beside them, and never read.
    pub resources: Vec<(McpResource, Vec<McpResourceContents>)>,
    /// Its templates, in order.
    pub templates: Vec<McpResourceTemplate>,
    /// Its prompts and what they are filled in as, whatever the arguments, in order.
    pub prompts: Vec<(McpPrompt, McpPromptResult)>,
    /// How many entries a page of a list has; 0: all.
    pub page: usize,
    /// Whether every page has a successor: the first page again.
    pub is_endless: bool,
    /// How it begins.
    pub start: Start,
    /// What a process does when it is to go; nothing, where servers are no processes.
    pub stubborn: Stubborn,
    /// Whom it lets in; everybody, where there are no credentials.
    pub access: Access,
}

/// Reading this resource never ends.
pub const SILENT_URI: &str = "contract:silent";

/// How a server begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With an answer.
    #[default]
    Answers,
    /// Not at all: its process ends at once.
    Exits,
    /// It never says a word.
    Silent,
}

/// What a server's process does besides serving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stubborn {
    /// It ends when it is asked to.
    #[default]
    No,
    /// It goes on after its input was closed and after SIGTERM.
    Stays,
    /// It ends when it is asked to, but starts a process of its own which does not.
    LeavesChild,
    /// It writes more to its standard error than a pipe holds, credentials included.
    Complains,
}

/// A token that a server takes which another process got.
pub const RENEWED_TOKEN: &str = "renewed-elsewhere";

/// Whom a server lets in after `initialize`. New tokens are given for the refresh token that was given last, and to clients
/// for themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Whoever shows the last token that was given, or [`RENEWED_TOKEN`].
    Expired,
    /// Whoever shows the last token that was given, once.
    ShortLived,
    /// Nobody, and no tokens are given either.
    Revoked,
    /// Every request is answered with 401.
    NeverAllowed,
    /// Its next request is told that there is no such session.
    ForgetsOnce,
    /// Every request is told so.
    AlwaysForgets,
}

/// A tool of a server.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: Option<String>,
    /// The JSON schema of its arguments.
    pub input_schema: Value,
    /// The JSON schema of its data.
    pub output_schema: Option<Value>,
    /// What the server says of its effects.
    pub hints: Hints,
    /// What a call does.
    pub does: Does,
}

impl Tool {
    pub(crate) fn new(name: impl Into<String>, does: Does) -> Self {
        Self {
            name: name.into(),
            title: None,
            input_schema: json!({"type": "object"}),
            output_schema: None,
            hints: Hints::default(),
            does,
        }
    }

    /// What the server says that it does.
    #[must_use]
    pub fn description(&self) -> String {
        format!("Does what {:?} does.", self.name)
    }
}

/// What a call of a tool does.
#[derive(Clone, Debug)]
pub enum Does {
    /// Answers this.
    Answers(McpCallResult),
    /// Answers data: its `arguments`, and its `meta` without what the protocol itself puts there.
    Echoes,
    /// The server dies before it answers.
    Dies,
    /// Nothing, ever.
    NeverAnswers,
    /// Nothing until it is cancelled; then it answers after all.
    AnswersTooLate,
    /// Answers somebody who never asked, then as [`Self::Echoes`], then again with other data.
    AnswersTooOften,
    /// Nothing until so many calls of it wait; then it answers them as [`Self::Echoes`], the last one first.
    AnswersInReverse(usize),
    /// Answers with something that is no result of a tool.
    AnswersWrongly,
    /// Writes something that is no message, then answers as [`Self::Echoes`].
    WritesNoise,
    /// Answers with a text of so many bytes.
    AnswersAtLength(usize),
    /// Reports these steps of so many, in order, then answers as [`Self::Echoes`].
    ReportsProgress {
        /// How far it is, each time.
        steps: Vec<f64>,
        /// How far it will be.
        total: f64,
    },
    /// Offers [`Script::later_tools`] from now on, says so, and answers as [`Self::Echoes`].
    ChangesTools,
    /// Asks the user, and answers with what became of it: an [`Answered`] as data.
    Elicits {
        /// The question.
        message: String,
        /// The JSON schema of the answer.
        schema: Value,
    },
    /// Wants a model called with this text of the user's, and answers with what became of it: an [`Answered`] as data.
    Samples {
        /// What the model is told first.
        instructions: String,
        /// What the user says.
        text: String,
        /// The most tokens of output.
        max_tokens: u32,
    },
    /// Answers with the JSON-RPC error of this code, whose message quotes the arguments.
    Refuses(i64),
}

/// What became of a server's own question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// The user answered this.
    Accepted(Value),
    /// A model answered this.
    Sampled {
        /// Which.
        model: String,
        /// The text of its answer.
        text: String,
    },
    /// Nobody answered, or did not want to.
    Refused,
}

/// What happened at a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It was started or reached, again or for the first time; with the id of its process if it has one of its own.
    Started(Option<u32>),
    /// It started a process of its own.
    Child(u32),
    /// It was asked for a page of `tools`, `resources`, `templates` or `prompts`.
    Listed(String),
    /// This tool was called.
    Called(String),
    /// It was told that nobody waits for this tool any longer.
    Cancelled(String),
    /// It was asked for new tokens.
    Refreshed,
    /// It was let go. A process that is killed cannot tell.
    Ended,
}

/// Where a server tells what happens to it, in order and at once.
#[derive(Clone, Debug)]
pub struct Journal(pub(crate) process::Journal);

impl Journal {
    /// Tells of it.
    pub fn note(&self, seen: &Seen) -> Outcome {
        let line = serde_json::to_string(seen)
            .map_err(|error| crate::outcome::broken("wrote into the journal", "JSON", error))?;
        self.0.write(&line)
    }
}

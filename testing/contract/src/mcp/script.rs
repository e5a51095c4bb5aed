//! A server as data: what it offers and how it behaves.

use seaworthy_ports::mcp::{
    Hints, McpCallResult, McpLogLevel, McpPrompt, McpPromptResult, McpResource,
    McpResourceContents, McpResourceTemplate, TaskStatus, TaskSupport,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::outcome::Outcome;
use crate::process;

/// The name of the server's first protocol version: the newest that begins with `initialize`.
pub const NEWEST_PROTOCOL: &str = "2025-11-25";
/// The protocol version before it.
pub const PREVIOUS_PROTOCOL: &str = "2025-06-18";
/// The protocol version that begins without it.
pub const STATELESS_PROTOCOL: &str = "2026-07-28";

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
    /// Whether it says that it keeps calls as tasks.
    pub keeps_tasks: bool,
    /// What it does when it is asked what could be written for these arguments; none: it says that it completes nothing.
    pub completes: Vec<(String, Completes)>,
    /// What it does when it is told which log messages are wanted; `None`: it says that it does not log.
    pub levels: Option<Levels>,
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

/// What a server suggests for an argument. Of one that it does not know it says that the parameters are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completes {
    /// What [`suggested`](super::suggested) says.
    Echoes,
    /// So many values of so many bytes each.
    With {
        /// How many.
        values: usize,
        /// Of how many bytes.
        bytes: usize,
    },
    /// Something that is no answer.
    Wrongly,
    /// Nothing, ever.
    Never,
}

/// What a server that logs does when it is told which messages are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// It says that it will keep to that.
    Set,
    /// It never answers.
    Unanswered,
}

/// What a server says of its own work.
#[derive(Clone, Debug)]
pub enum Said {
    /// A message.
    Message {
        /// How much it matters.
        level: McpLogLevel,
        /// What in the server says it.
        logger: Option<String>,
        /// What it says.
        data: Value,
    },
    /// Something that is none, in the place of one.
    Noise(Value),
}

/// A letter of two bytes, of which long words are made.
pub(crate) const LONG_WORD: &str = "\u{e9}";

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
    /// What its calls are like as tasks; what one does then, [`Does::Answers`] says, or [`Does::Elicits`] and
    /// [`Does::Samples`]: such a task wants input until what it asks each time that its result is wanted was answered.
    pub task: Option<Task>,
}

/// What the tasks of a tool are like. Each is named [`Task::name`] of its tool, so that any process of the server knows it.
#[derive(Clone, Debug)]
pub struct Task {
    /// Whether calls become tasks.
    pub support: TaskSupport,
    /// How one begins.
    pub begins: Begins,
    /// What is told each time that a task is asked after; the last is told for ever.
    pub polls: Vec<Poll>,
    /// What is said of it.
    pub message: String,
    /// How many milliseconds the server wants to be left alone.
    pub poll_interval: f64,
}

impl Task {
    /// The name of the task of `tool`.
    #[must_use]
    pub fn name(tool: &str) -> String {
        format!("task of {tool}")
    }

    /// The tool whose task is named so.
    pub(crate) fn tool(name: &str) -> &str {
        name.strip_prefix("task of ").unwrap_or_default()
    }
}

/// How a task begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// When it is asked for.
    Asked,
    /// When it is asked for, without a name.
    Nameless,
    /// When it is asked for, with a name that has no end.
    Endless,
    /// Whether or not it is asked for.
    Unasked,
    /// Never: the call is answered at once.
    Never,
}

/// What a server tells of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Where it stands.
    Stands(TaskStatus),
    /// Where another one stands.
    Another,
    /// A status that nobody knows.
    Garbage,
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
            task: None,
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
    /// Asks the user one question after the other, each when the one before is answered.
    Asks {
        /// The questions.
        questions: Vec<String>,
        /// What it does when all are answered.
        then: Then,
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
    /// Says so much of its own work, in order, then answers as [`Self::Echoes`].
    Logs(Vec<Said>),
    /// Asks which folders it is to work in, and answers with what became of it: an [`Answered`] as data.
    AsksRoots,
    /// Answers with which questions it may ask, as the client declared them: `elicitation`, `sampling` and `roots`, as data.
    TellsWhatItMayAsk,
    /// Answers with the JSON-RPC error of this code, whose message quotes the arguments.
    Refuses(i64),
}

/// What a tool does when all its questions are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Answers with what became of each: [`told_all`](super::told_all).
    Answers,
    /// The server dies before it answers.
    Dies,
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
    /// It is to work in these folders.
    Roots(Vec<Root>),
    /// Nobody answered, or did not want to.
    Refused,
}

/// A folder as a server hears of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Root {
    /// Its address.
    pub uri: String,
    /// What it is called.
    pub name: Option<String>,
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
    /// A task of this tool was to end.
    CalledOff(String),
    /// It was asked what could be written for this argument.
    Completed(String),
    /// It was told that log messages of this level are wanted.
    LogLevel(String),
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

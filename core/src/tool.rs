//! What a model can call: the [`Tool`] trait, the set of tools of an agent, and the tools that come with Seaworthy.
//!
//! A tool only acts. When it may act, whether a person must agree and what its answer means after a crash are decided
//! around it, from its [`ToolDefinition`]; nothing here reads the log.

mod arguments;
mod builtin;
mod command;
mod edit;
mod failure;
mod glob;
mod grep;
mod list;
mod read;
mod settings;
mod shell;
mod walk;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_ports::mcp::McpTask;
use seaworthy_ports::model_provider::ToolSpec;
use seaworthy_ports::sandbox::{OutputSink, SandboxSession};
use seaworthy_ports::{CallId, Latch, ToolName, TraceContext, async_trait};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::files::AttachedFile;
use crate::servers::{Connections, ServedTool};

pub use builtin::{Builtin, NoBuiltin};
pub(crate) use command::resolve;
pub use command::{CALL_ID, Command, IDEMPOTENCY_KEY, MAX_RESULT_BYTES};
pub use settings::Settings;

/// What repeating a call does to the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SideEffect {
    /// It changes nothing.
    ReadOnly,
    /// Twice is the same as once, given the same idempotency key.
    Idempotent,
    /// Twice is not the same as once. A call without a known outcome is in doubt and never repeated silently.
    #[default]
    NonIdempotent,
}

impl SideEffect {
    /// Whether a call without a known outcome may simply be repeated.
    #[must_use]
    pub const fn is_repeatable(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Idempotent)
    }

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Idempotent => "idempotent",
            Self::NonIdempotent => "non_idempotent",
        }
    }
}

/// How much harm a call can do, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// None worth naming.
    Low,
    /// It can be undone with some work.
    Medium,
    /// Others see it, or it is hard to undo.
    High,
    /// It loses something for good.
    Destructive,
    /// It moves money or binds someone.
    FinancialOrLegal,
}

/// Whether a person must agree before a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalRule {
    /// Every call waits for a person.
    Required,
    /// No call does.
    None,
}

/// What is known of a tool before it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolDefinition {
    /// What models call it.
    pub name: ToolName,
    /// What it does, for models.
    pub description: String,
    /// The JSON schema of its arguments.
    pub input_schema: Value,
    /// What repeating a call does.
    pub side_effect: SideEffect,
    /// How much harm a call can do.
    pub risk: Risk,
    /// Whether a person must agree.
    pub approval: ApprovalRule,
    /// How long a call may take.
    pub timeout: Duration,
    /// Whether [`Tool::verify`] can tell what became of a call in doubt. Where this is false it only ever answers
    /// [`Verdict::Unknown`].
    pub verifiable: bool,
}

/// Where and how one call runs.
#[derive(Clone)]
pub struct ToolContext {
    /// The only way to files and commands.
    pub session: Arc<dyn SandboxSession>,
    /// Which call this is.
    pub call: CallId,
    /// The same for every repetition of this call.
    pub idempotency_key: String,
    /// The folder of the descriptor, absolute; a command with a slash is relative to it.
    pub base_dir: PathBuf,
    /// How long the call may take.
    pub timeout: Duration,
    /// Ends the call early.
    pub cancel: Latch,
    /// Shows the output of commands as it comes.
    pub on_output: Option<OutputSink>,
    /// The call's place in its trace, for whatever the tool calls in turn.
    pub trace: Option<TraceContext>,
    /// The way to servers, of a run whose agent has some.
    pub servers: Option<Arc<Connections>>,
}

impl fmt::Debug for ToolContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolContext")
            .field("call", &self.call)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// How a call ended.
#[derive(Clone, PartialEq)]
pub enum ToolAnswer {
    /// It did what it should; this is its result.
    Succeeded(Value),
    /// The same, and it shows something: images, sounds, documents, which are kept already.
    Showed(Value, Vec<AttachedFile>),
    /// It failed and certainly did nothing.
    FailedNoEffect(ToolFailure),
    /// It failed and may have done something.
    Failed(ToolFailure),
    /// Nothing was done: its server has changed the tool, which is this now.
    Changed(Box<ServedTool>),
    /// Its server works on it as a task.
    Deferred(Box<TakenTask>),
}

/// A task that a server has made of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct TakenTask {
    /// The task.
    pub task: McpTask,
    /// How long it may take.
    pub lasts: Duration,
}

impl fmt::Debug for ToolAnswer {
    /// Without the result and the message: they are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded(_) => f.write_str("Succeeded"),
            Self::Showed(_, media) => write!(f, "Showed({})", media.len()),
            Self::FailedNoEffect(failure) => write!(f, "FailedNoEffect({})", failure.code),
            Self::Failed(failure) => write!(f, "Failed({})", failure.code),
            Self::Changed(now) => write!(f, "Changed({})", now.digest),
            Self::Deferred(_) => f.write_str("Deferred"),
        }
    }
}

/// Why a call failed. The message is shown to the model and may quote what a command printed, so it is not for logs.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ToolFailure {
    /// A stable word to decide on, one of those in [`code`].
    pub code: &'static str,
    /// What went wrong and what to do instead, for the model.
    pub message: String,
}

impl ToolFailure {
    /// A failure with one of the words in [`code`].
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl fmt::Debug for ToolFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolFailure({})", self.code)
    }
}

/// The words of [`ToolFailure::code`].
pub mod code {
    /// It took too long and was killed.
    pub const TIMEOUT: &str = "timeout";
    /// The command ended with a code other than 0.
    pub const EXIT: &str = "exit";
    /// The command was ended by a signal that nobody here sent.
    pub const SIGNAL: &str = "signal";
    /// The path leads out of the workspace.
    pub const OUTSIDE: &str = "outside";
    /// There is no such file, directory or program.
    pub const NOT_FOUND: &str = "not_found";
    /// The arguments do not fit the tool or the file.
    pub const INVALID: &str = "invalid";
    /// The operating system denies it.
    pub const DENIED: &str = "denied";
    /// There is no room.
    pub const NO_SPACE: &str = "no_space";
    /// There is more output than a result may have.
    pub const OUTPUT_TOO_LARGE: &str = "output_too_large";
    /// Another worker has taken the run over.
    pub const FENCED: &str = "fenced";
    /// The sandbox cannot do it now.
    pub const UNAVAILABLE: &str = "unavailable";
    /// The caller ended it.
    pub const CANCELLED: &str = "cancelled";
    /// The tool says itself that it failed.
    pub const TOOL: &str = "tool";
    /// The answer is none.
    pub const MALFORMED: &str = "malformed";
    /// Its server has changed the tool since the run began.
    pub const CHANGED: &str = "tool_changed";
    /// Its server took it as a task and no longer knows that.
    pub const TASK_LOST: &str = "task_lost";
    /// Its server asks something that nobody answers.
    pub const INPUT_REQUIRED: &str = "input_required";
}

/// What became of a call in doubt.
#[derive(Clone, PartialEq)]
pub enum Verdict {
    /// It happened; this is its result.
    Happened(Value),
    /// It did not happen.
    DidNotHappen,
    /// Nobody can tell but a person; why.
    Unknown(String),
}

impl fmt::Debug for Verdict {
    /// Without result and reason: they are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Happened(_) => "Happened",
            Self::DidNotHappen => "DidNotHappen",
            Self::Unknown(_) => "Unknown",
        })
    }
}

/// Something a model can call.
#[async_trait]
pub trait Tool: fmt::Debug + Send + Sync {
    /// What is known of it. It never changes.
    fn definition(&self) -> &ToolDefinition;

    /// Does it. Arguments have passed the input schema, but an implementation must not panic on others.
    ///
    /// Dropping the future kills what it started; what that did before is unknown.
    async fn call(&self, context: ToolContext, arguments: Value) -> ToolAnswer;

    /// Finds out what became of an earlier call with the same arguments and idempotency key. It changes nothing, so
    /// dropping and repeating it are both fine.
    async fn verify(&self, context: ToolContext, arguments: Value) -> Verdict;
}

/// Two tools of one agent have the same name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two tools are called {0}; give one of them another name")]
pub struct DuplicateTool(pub ToolName);

/// The tools of an agent by name.
#[derive(Clone, Debug, Default)]
pub struct Toolbox(BTreeMap<ToolName, Arc<dyn Tool>>);

impl Toolbox {
    /// The box of these tools.
    ///
    /// # Errors
    ///
    /// [`DuplicateTool`] if two have the same name.
    pub fn new(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Result<Self, DuplicateTool> {
        let mut named = BTreeMap::new();
        for tool in tools {
            let name = tool.definition().name.clone();
            if named.insert(name.clone(), tool).is_some() {
                return Err(DuplicateTool(name));
            }
        }
        Ok(Self(named))
    }

    /// The tool of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.0.get(name)
    }

    /// All definitions, by name.
    pub fn definitions(&self) -> impl Iterator<Item = &ToolDefinition> {
        self.0.values().map(|tool| tool.definition())
    }

    /// What a model is told of the tools, by name.
    #[must_use]
    pub fn specs(&self) -> Vec<ToolSpec> {
        self.definitions()
            .map(|definition| ToolSpec {
                name: definition.name.clone(),
                description: definition.description.clone(),
                input_schema: definition.input_schema.clone(),
            })
            .collect()
    }
}

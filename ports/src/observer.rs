//! What happens, told to whoever measures it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::mcp::{McpLogLevel, McpLogMessage};
use crate::model_provider::{
    self, FinishReason, Message, ModelRequest, Parameters, ToolSpec, Usage,
};
use crate::state_store::Seq;
use crate::{
    AdapterInfo, CallId, RunId, ServerAlias, SessionId, SpanId, Timestamp, ToolName, TraceContext,
    WorkerId,
};

/// Is told the facts that spans, metrics and live views are made of.
///
/// The core does not know what an observer does with a fact, and nothing depends on it: the log is the record, this is a
/// view of the work while it happens. A fact that is lost is lost; one of an attempt that the log later refuses may have
/// been told all the same.
///
/// A fact that ends a piece of work says all that a span of it needs, so that an observer need not remember how it began.
///
/// # Contract
///
/// What an observer promises:
///
/// * **OB-1** `observe` never fails and never panics; an observer that cannot keep up or lost its backend drops facts and
///   counts them.
/// * **OB-2** `observe` never blocks: no I/O, no waiting for a lock that is held during I/O, no unbounded buffer.
/// * **OB-3** It may be called from any thread, by many at once; the facts of one attempt come in the order they happened.
/// * **OB-4** Facts hold names, counts, durations and ids, never a secret, and an observer adds none; content is told only
///   to an observer that asks for it, in facts of its own.
/// * **OB-5** An observer never changes what it observes: a run behaves the same with any observer.
///
/// What whoever tells it promises:
///
/// * **OB-6** An attempt and every call in it that are told to have started are told to have ended, once, the calls before
///   the attempt, however it ends; only the death of the process leaves an end untold.
/// * **OB-7** What is on record is not told again: a run that goes on after a crash, a wait or on another worker tells only
///   of the work that is done anew, under ids that no work before it had.
/// * **OB-8** Calls and attempts are parts of their run's span, all in one trace that stays the run's wherever it goes on: the
///   one it was started in, or its own; the ids are made from the run and the work, so that a fact told twice is one span.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Who this is. No I/O.
    fn info(&self) -> AdapterInfo;

    /// Whether it is to be told content: what models and tools are asked and answer. Always the same answer. No I/O.
    fn wants_content(&self) -> bool;

    /// Takes note of `fact`.
    fn observe(&self, fact: &Fact);
}

/// A piece of work in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its own place: what is handed to whoever works for it.
    pub context: TraceContext,
    /// What it is a part of; `None`: the trace begins with it.
    pub parent: Option<SpanId>,
    /// When it began.
    pub started: Timestamp,
}

/// Something that happened. Facts will be added; an observer ignores those it does not know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fact {
    /// A worker took a run up.
    AttemptStarted {
        /// The run.
        run: RunId,
        /// The attempt, from 1.
        attempt: u32,
        /// The worker.
        worker: WorkerId,
        /// The attempt's span, a part of the run's.
        span: Span,
    },
    /// The worker has let go of the run.
    AttemptEnded {
        /// The run.
        run: RunId,
        /// The attempt.
        attempt: u32,
        /// The worker.
        worker: WorkerId,
        /// Why.
        end: AttemptEnd,
        /// The attempt's span.
        span: Span,
        /// How long it took.
        duration: Duration,
    },
    /// A model is being called. An attempt has one model call at a time.
    ModelCallStarted {
        /// The run.
        run: RunId,
        /// The attempt.
        attempt: u32,
        /// The provider's adapter id.
        provider: Arc<str>,
        /// The provider's name of the model.
        model: Arc<str>,
        /// The call's span, a part of the run's.
        span: Span,
    },
    /// What a model was asked and answered; before the fact that the call has ended. Only for who wants content.
    ModelCallContent {
        /// The run.
        run: RunId,
        /// The call's span.
        span: Span,
        /// The question and the answer.
        content: ModelContent,
    },
    /// The model call is over.
    ModelCallEnded {
        /// The run.
        run: RunId,
        /// The attempt.
        attempt: u32,
        /// The agent that asked.
        agent: Arc<str>,
        /// The session that the run belongs to.
        session: Option<SessionId>,
        /// The provider's adapter id.
        provider: Arc<str>,
        /// The provider's name of the model, as asked for.
        model: Arc<str>,
        /// How it was to answer.
        asked: ModelAsked,
        /// The model that answered, as the provider names it.
        answered_by: Option<Arc<str>>,
        /// The provider's id of the request.
        request_id: Option<Arc<str>>,
        /// What it used, as far as the provider said.
        usage: Usage,
        /// How it ended.
        end: ModelCallEnd,
        /// The call's span.
        span: Span,
        /// How long the first part of the answer took; `None`: there was none.
        first_chunk: Option<Duration>,
        /// How long it took.
        duration: Duration,
    },
    /// A tool is being executed, or asked what became of a call. Calls of one attempt may overlap.
    ToolCallStarted {
        /// The run.
        run: RunId,
        /// The attempt.
        attempt: u32,
        /// The call.
        call: CallId,
        /// The tool.
        tool: ToolName,
        /// What the tool does to the world: `read_only`, `idempotent` or `non_idempotent`.
        side_effect: &'static str,
        /// What is done about the call.
        execution: Execution,
        /// The span of this work on the call, a part of the run's.
        span: Span,
    },
    /// What a tool was asked and answered; before the fact that the call has ended. Only for who wants content.
    ToolCallContent {
        /// The run.
        run: RunId,
        /// The call's span.
        span: Span,
        /// The question and the answer.
        content: ToolContent,
    },
    /// The tool call is over for this attempt.
    ToolCallEnded {
        /// The run.
        run: RunId,
        /// The attempt.
        attempt: u32,
        /// The agent that asked.
        agent: Arc<str>,
        /// The call.
        call: CallId,
        /// The tool.
        tool: ToolName,
        /// What the tool does to the world.
        side_effect: &'static str,
        /// What was done about the call.
        execution: Execution,
        /// The MCP server that the tool is of, if it is of one.
        served_by: Option<ServedBy>,
        /// How it ended.
        outcome: ToolCallOutcome,
        /// The stable name of what went wrong.
        error: Option<Arc<str>>,
        /// The span of this work on the call.
        span: Span,
        /// How long it took.
        duration: Duration,
    },
    /// A server of the run said something of its own work, as its descriptor wants it to.
    ServerLogged {
        /// The run.
        run: RunId,
        /// The server.
        server: ServerAlias,
        /// How much it matters.
        level: McpLogLevel,
        /// How many bytes of words came with it.
        bytes: usize,
        /// How many messages right before it were left out because there were too many.
        dropped: u64,
    },
    /// What the server said; after the fact that it did. Only for who wants content.
    ServerLogContent {
        /// The run.
        run: RunId,
        /// The server.
        server: ServerAlias,
        /// What it said.
        message: McpLogMessage,
    },
    /// The run's log has grown.
    RecordsAppended {
        /// The run.
        run: RunId,
        /// The log's head now.
        head: Seq,
        /// How many records the append had.
        records: u32,
        /// How many bytes they have.
        bytes: u64,
        /// How long the append took.
        duration: Duration,
    },
    /// The run waits and occupies no worker.
    RunParked {
        /// The run.
        run: RunId,
        /// What it waits for.
        reason: ParkReason,
    },
    /// The run cannot go on for now: a port fails, or its log cannot be read.
    RunStalled {
        /// The run.
        run: RunId,
        /// What fails, for a person; without content of the run.
        message: Arc<str>,
    },
    /// The run has ended. It is told where the end was put on record; a reopened run ends again, as another span.
    RunEnded {
        /// The run.
        run: RunId,
        /// The agent.
        agent: Arc<str>,
        /// The session that it belongs to.
        session: Option<SessionId>,
        /// How often a worker took it up.
        attempts: u32,
        /// How.
        status: RunEnd,
        /// The stable name of what went wrong.
        error: Option<Arc<str>>,
        /// What its answers used, all on record.
        usage: Usage,
        /// How many answers of the model are on record since it was submitted or reopened.
        model_calls: u32,
        /// How many tool calls are on record.
        tool_calls: u32,
        /// The run's span.
        span: Span,
        /// How long it took from its submission, waits included.
        duration: Duration,
    },
}

/// How a model was to answer. None of it is content.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelAsked {
    /// The most tokens of output.
    pub max_output_tokens: Option<u32>,
    /// Whether the answer had to fit a schema.
    pub is_structured: bool,
    /// The rest.
    pub parameters: Arc<Parameters>,
}

impl ModelAsked {
    /// What `request` says of it.
    #[must_use]
    pub fn of(request: &ModelRequest) -> Self {
        Self {
            max_output_tokens: request.max_output_tokens,
            is_structured: request.output_schema.is_some(),
            parameters: Arc::clone(&request.parameters),
        }
    }
}

/// A question to a model and its answer.
#[derive(Clone, PartialEq)]
pub struct ModelContent {
    /// What the model was told before everything else.
    pub instructions: Arc<str>,
    /// The conversation.
    pub input: Arc<Vec<Message>>,
    /// What the model might call.
    pub tools: Arc<Vec<ToolSpec>>,
    /// What it said, if it did.
    pub output: Option<Arc<Message>>,
}

impl fmt::Debug for ModelContent {
    /// Without content: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelContent")
            .field("input", &self.input.len())
            .field("tools", &self.tools.len())
            .finish_non_exhaustive()
    }
}

/// A question to a tool and its answer.
#[derive(Clone, PartialEq)]
pub struct ToolContent {
    /// The arguments.
    pub arguments: Arc<Value>,
    /// What it answered, if it did.
    pub result: Option<Arc<Value>>,
}

impl fmt::Debug for ToolContent {
    /// Without content: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolContent").finish_non_exhaustive()
    }
}

impl Fact {
    /// The run it is about.
    #[must_use]
    pub const fn run(&self) -> &RunId {
        match self {
            Self::AttemptStarted { run, .. }
            | Self::AttemptEnded { run, .. }
            | Self::ModelCallStarted { run, .. }
            | Self::ModelCallContent { run, .. }
            | Self::ModelCallEnded { run, .. }
            | Self::ToolCallStarted { run, .. }
            | Self::ToolCallContent { run, .. }
            | Self::ToolCallEnded { run, .. }
            | Self::ServerLogged { run, .. }
            | Self::ServerLogContent { run, .. }
            | Self::RecordsAppended { run, .. }
            | Self::RunParked { run, .. }
            | Self::RunStalled { run, .. }
            | Self::RunEnded { run, .. } => run,
        }
    }

    /// The span it is about, where it is about one.
    #[must_use]
    pub const fn span(&self) -> Option<&Span> {
        match self {
            Self::AttemptStarted { span, .. }
            | Self::AttemptEnded { span, .. }
            | Self::ModelCallStarted { span, .. }
            | Self::ModelCallContent { span, .. }
            | Self::ModelCallEnded { span, .. }
            | Self::ToolCallStarted { span, .. }
            | Self::ToolCallContent { span, .. }
            | Self::ToolCallEnded { span, .. }
            | Self::RunEnded { span, .. } => Some(span),
            Self::ServerLogged { .. }
            | Self::ServerLogContent { .. }
            | Self::RecordsAppended { .. }
            | Self::RunParked { .. }
            | Self::RunStalled { .. } => None,
        }
    }
}

/// Why a worker let go of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// The run has ended.
    Ended,
    /// The run waits.
    Parked,
    /// A port fails, or the log cannot be read.
    Stalled,
    /// Somebody else has the run, or ended it; or the worker stops.
    Abandoned,
}

impl AttemptEnd {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Parked => "parked",
            Self::Stalled => "stalled",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What is done about a tool call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Execution {
    /// It is executed: for the first time, or after its tool said that it had not happened.
    First,
    /// It is executed again, because an attempt before this one did not live to see its outcome.
    Again,
    /// It is not executed: its tool is asked what became of it.
    Verify,
    /// It is not executed: the server that has it as a task is asked how that is going.
    Poll,
}

impl Execution {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Again => "again",
            Self::Verify => "verify",
            Self::Poll => "poll",
        }
    }
}

/// The MCP server that a tool is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedBy {
    /// What the run calls the server.
    pub server: ServerAlias,
    /// How it is reached.
    pub link: ServerLink,
}

/// How an MCP server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerLink {
    /// On the standard input and output of a process.
    Stdio,
    /// Over HTTP.
    Http,
}

impl ServerLink {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
        }
    }
}

/// How a model call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelCallEnd {
    /// With an answer, for this reason.
    Finished(FinishReason),
    /// With an error of this kind.
    Failed(model_provider::Kind),
}

/// How a tool call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolCallOutcome {
    /// With a result.
    Succeeded,
    /// With an error that the model is told of.
    Failed,
    /// It was never executed: invalid, denied or over the budget.
    Refused,
    /// It was ended because the run was.
    Cancelled,
    /// Nobody knows whether it took effect.
    InDoubt,
    /// Not yet: its server works on it as a task, and is asked later.
    Deferred,
}

impl ToolCallOutcome {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::InDoubt => "in_doubt",
            Self::Deferred => "deferred",
        }
    }
}

/// What a parked run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkReason {
    /// A person's decision on a proposed call.
    Approval,
    /// A person's word on a call in doubt.
    InDoubt,
    /// A time.
    Timer,
    /// A message.
    Signal,
    /// Another run.
    Child,
    /// A provider that said to come back later.
    Provider,
    /// Its share of what may be asked of a model.
    Limit,
    /// A person's answer to a question of a server.
    Question,
    /// The end of a task that a server works on.
    Task,
}

impl ParkReason {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::InDoubt => "in_doubt",
            Self::Timer => "timer",
            Self::Signal => "signal",
            Self::Child => "child",
            Self::Provider => "provider",
            Self::Limit => "limit",
            Self::Question => "question",
            Self::Task => "task",
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// With its result.
    Succeeded,
    /// With an error.
    Failed,
    /// Because somebody said so.
    Cancelled,
}

impl RunEnd {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::TraceId;

    fn span() -> Span {
        Span {
            context: TraceContext::new(TraceId::of(b"t"), SpanId::of(b"s")),
            parent: None,
            started: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn every_fact_names_its_run() {
        let run = RunId::new("run_1").unwrap();
        let facts = [
            Fact::AttemptStarted {
                run: run.clone(),
                attempt: 1,
                worker: WorkerId::new("w").unwrap(),
                span: span(),
            },
            Fact::RunParked {
                run: run.clone(),
                reason: ParkReason::Approval,
            },
            Fact::ToolCallContent {
                run: run.clone(),
                span: span(),
                content: ToolContent {
                    arguments: Arc::new(json!({"key": "quiet"})),
                    result: None,
                },
            },
        ];
        assert!(facts.iter().all(|fact| fact.run() == &run));
        assert!(!format!("{facts:?}").contains("quiet"));
    }

    #[test]
    fn a_name_is_the_one_that_is_serialised() {
        assert_eq!(json!(AttemptEnd::Abandoned), AttemptEnd::Abandoned.as_str());
        assert_eq!(json!(Execution::Again), Execution::Again.as_str());
        assert_eq!(
            json!(ToolCallOutcome::InDoubt),
            ToolCallOutcome::InDoubt.as_str()
        );
        assert_eq!(json!(ParkReason::InDoubt), ParkReason::InDoubt.as_str());
        assert_eq!(json!(RunEnd::Cancelled), RunEnd::Cancelled.as_str());
    }
}

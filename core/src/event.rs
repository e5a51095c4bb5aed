//! What can happen in a run: the typed content of its records.

use seaworthy_ports::model_provider::{Finish, Message, Usage};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{
    CallId, Digest, QueueName, RunId, SessionId, SignalId, Timestamp, TraceContext, WorkerId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::{Compacted, NotCompacted};
use crate::descriptor::Cost;
use crate::files::AttachedFile;
use crate::replay::{Deviated, ModelReplayed, Origin, ToolReplayed};
use crate::servers::{Question, Reply, Sample, ServedTool, ToolsListed};
use crate::state::ToolDeferred;
use crate::tool::{Risk, SideEffect};

/// One thing that happened. Names are past tense; every released shape stays readable.
///
/// Members are in the order in which canonical JSON has them, here and below, so that none has to be moved there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// The run exists: everything it needs to go on anywhere.
    RunSubmitted(Box<RunSubmitted>),
    /// A worker took the run up; appends of earlier holders fail from here on.
    AttemptStarted {
        /// Tells two takers of the same attempt apart.
        nonce: String,
        /// Which worker.
        worker: WorkerId,
    },
    /// The run reads its session's messages up to here.
    SessionLoaded {
        /// The last record of the session's log that counts.
        through: Seq,
    },
    /// The servers of the agent said which tools they have: this is what the run has of them.
    ToolsListed(Box<ToolsListed>),
    /// A server has changed a tool of the run, which is this now. It is not called before a person has agreed.
    ToolChanged(Box<ServedTool>),
    /// The model answered.
    ModelCalled(Box<ModelCalled>),
    /// The model's answer was taken from the run that is replayed.
    ModelReplayed(Box<ModelReplayed>),
    /// The older part of the conversation was replaced by a summary.
    ContextCompacted(Box<Compacted>),
    /// The conversation was to be shortened, and stays as it is.
    ContextNotCompacted(Box<NotCompacted>),
    /// The model could not be asked.
    ModelFailed {
        /// The stable name of the error's kind.
        code: String,
        /// The tries, oldest first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        failed_tries: Vec<FailedTry>,
        /// For a person.
        message: String,
        /// How many tries there were.
        tries: u32,
    },
    /// The model's answer does not fit the schema that it must have: the model is told why, and answers again.
    AnswerRejected {
        /// What does not fit, each with its place.
        faults: Vec<String>,
        /// What the model is told.
        message: String,
    },
    /// The model wants a tool called; this is the call as validated, normalised and hashed.
    ToolProposed(Box<ToolProposed>),
    /// Policy answered.
    ToolDecided {
        /// Which call.
        call: CallId,
        /// What policy says.
        decision: Decision,
        /// Why.
        reason: String,
    },
    /// A person is asked.
    ApprovalRequested {
        /// The change of the tool, by the digest of what it is now, that granting it agrees to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accepts: Option<Digest>,
        /// Names the question.
        approval: CallId,
        /// Which call.
        call: CallId,
        /// Exactly which proposal.
        proposal: Digest,
    },
    /// A person answered, once.
    ApprovalDecided {
        /// Which question.
        approval: CallId,
        /// Who answered.
        by: String,
        /// The answer.
        granted: bool,
        /// The proposal the answer is for.
        proposal: Digest,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The call is about to run.
    ToolStarted {
        /// Which call.
        call: CallId,
    },
    /// The call is a task of its server's, which is asked later what became of it.
    ToolDeferred(Box<ToolDeferred>),
    /// The call did what it should.
    ToolSucceeded {
        /// Which call.
        call: CallId,
        /// How long it took.
        duration_ms: u64,
        /// What it showed beside that: images, sounds, documents.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        media: Vec<AttachedFile>,
        /// What it answered.
        output: Value,
    },
    /// The call did not do what it should, and the tool says so itself.
    ToolFailed {
        /// Which call.
        call: CallId,
        /// A stable name of the reason.
        code: String,
        /// For the model and a person.
        message: String,
        /// Whether it certainly did nothing.
        no_effect: bool,
    },
    /// What became of the call was taken from the run that is replayed; it was not made.
    ToolReplayed(Box<ToolReplayed>),
    /// The call's server wants to know something before it goes on. A call that may be repeated is called off for that, and
    /// made again with the answer; another one goes on meanwhile.
    QuestionAsked {
        /// Which call.
        call: CallId,
        /// What it wants to know.
        question: Box<Question>,
    },
    /// Somebody answered a question, once.
    QuestionAnswered {
        /// Who answered.
        by: String,
        /// Which call.
        call: CallId,
        /// The question, by its digest.
        question: Digest,
        /// The answer.
        reply: Reply,
    },
    /// The model was called for a server.
    QuestionSampled(Box<QuestionSampled>),
    /// Nobody knows whether the call happened.
    ToolInDoubt {
        /// Which call.
        call: CallId,
        /// Why nobody knows.
        reason: String,
    },
    /// Now it is known.
    ToolResolved {
        /// Who knows: `verifier`, or a person.
        by: String,
        /// Which call.
        call: CallId,
        /// Whether it happened, and with which answer.
        resolution: Resolution,
    },
    /// The run does not do what the run did that it is to reproduce.
    ReplayDeviated(Box<Deviated>),
    /// A signal reached the run.
    SignalReceived {
        /// Why it changes nothing.
        note: String,
        /// Which.
        signal: SignalId,
    },
    /// The run waits and occupies no worker.
    RunWaiting {
        /// For what.
        reason: WaitReason,
        /// Until when at the latest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// A failed run goes on.
    RunReopened {
        /// Who wants it.
        by: String,
    },
    /// The run did its job.
    RunSucceeded {
        /// Its answer.
        output: String,
    },
    /// The run could not do its job.
    RunFailed {
        /// A stable name of the reason.
        code: String,
        /// For a person.
        message: String,
    },
    /// Somebody ended the run.
    RunCancelled {
        /// Who.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// Everything a run needs to go on anywhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSubmitted {
    /// The name of the agent graph.
    pub agent: String,
    /// The directory of the descriptor, for the commands it names.
    pub base_dir: String,
    /// The materialised descriptor.
    pub descriptor: Value,
    /// The digest of the descriptor.
    pub descriptor_digest: Digest,
    /// The files that are given to it, before what it is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<AttachedFile>,
    /// Who grants every approval the run asks for, if anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants_all: Option<String>,
    /// What it is asked.
    pub input: String,
    /// The digest of the input.
    pub input_digest: Digest,
    /// Model turns it may take.
    pub max_turns: u32,
    /// The queue it waits in; `None`: the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// The run it begins with, where it is a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Box<Origin>>,
    /// The run.
    pub run: RunId,
    /// The session it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The span that started it, where there was one: the run belongs to its trace, wherever it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// The directory it works in.
    pub workspace: String,
}

/// The model's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCalled {
    /// What it cost, where the model's alias has a price and the provider said what was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// How long it took, tries that failed and delays included.
    pub duration_ms: u64,
    /// The tries that failed before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_tries: Vec<FailedTry>,
    /// How it ended.
    pub finish: Finish,
    /// What it said.
    pub message: Message,
    /// The model, as asked for.
    pub model: String,
    /// The adapter that was asked.
    pub provider: String,
    /// The digest of the request: instructions, messages, tools.
    pub request_digest: Digest,
    /// The provider's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// How many tries it took.
    pub tries: u32,
    /// What it used.
    pub usage: Usage,
}

/// A try of a model call that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedTry {
    /// The stable name of the error's kind.
    pub code: String,
    /// How long the try took.
    pub duration_ms: u64,
    /// The model, as asked for.
    pub model: String,
    /// The adapter that was asked.
    pub provider: String,
    /// Whether the provider certainly did nothing, so that trying again cost nothing twice.
    pub replay_safe: bool,
    /// The provider's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long was waited before the next try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
}

/// A call as validated, normalised and hashed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolProposed {
    /// The arguments.
    pub arguments: Value,
    /// The call.
    pub call: CallId,
    /// Makes repeating the call harmless where the tool knows how.
    pub idempotency_key: String,
    /// The digest of run, call, tool, its definition and the arguments.
    pub proposal: Digest,
    /// The provider's id of it.
    pub provider_call: String,
    /// How dangerous it is.
    pub risk: Risk,
    /// What the tool does to the world.
    pub side_effect: SideEffect,
    /// The tool, as the model wrote it.
    pub tool: String,
}

/// What the model answered for a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionSampled {
    /// Which call.
    pub call: CallId,
    /// What it cost, where the model's alias has a price and the provider said what was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// How long it took, tries that failed and delays included.
    pub duration_ms: u64,
    /// The adapter that was asked.
    pub provider: String,
    /// The question, by its digest.
    pub question: Digest,
    /// The answer.
    pub sample: Sample,
    /// What it used.
    pub usage: Usage,
}

/// What policy says to a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Go on.
    Allow,
    /// Ask a person.
    RequireApproval,
    /// Never.
    Deny,
}

/// What became of a call in doubt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
pub enum Resolution {
    /// It happened.
    Happened {
        /// Its answer.
        output: Value,
    },
    /// It did not: it may run.
    DidNotHappen,
}

/// What a run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// A person's approval.
    Approval,
    /// Somebody who knows what became of a call.
    InDoubt,
    /// A person's answer to a question of a server.
    Question,
    /// A time the model's provider named.
    ModelDeferred,
    /// A place among those that may call the model at once, or in the next minute.
    ModelLimit,
    /// The end of a task that a server works on.
    Task,
}

impl RunSubmitted {
    /// The agent that the run starts with, as the descriptor has it.
    fn entry(&self) -> Option<&Value> {
        let runtime = self.descriptor.get("runtime")?;
        let entry = runtime.get("entry_agent")?.as_str()?;
        self.descriptor.get("agents")?.get(entry)
    }

    /// Whether its agent lists tools of servers, so that these must be asked which they have.
    #[must_use]
    pub fn lists_server_tools(&self) -> bool {
        let picks = || self.entry()?.get("server_tools")?.as_array();
        picks().is_some_and(|picks| !picks.is_empty())
    }

    /// The schema that the run's answer must fit, if there is one.
    #[must_use]
    pub fn output_schema(&self) -> Option<&Value> {
        self.entry()?.get("output_schema")
    }
}

impl WaitReason {
    /// The reason's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::InDoubt => "in_doubt",
            Self::Question => "question",
            Self::ModelDeferred => "model_deferred",
            Self::ModelLimit => "model_limit",
            Self::Task => "task",
        }
    }
}

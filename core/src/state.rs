//! The fold: what a run is, computed from its events and from nothing else.

mod call;
mod deferred;

use std::collections::BTreeMap;
use std::sync::Arc;

use seaworthy_ports::model_provider::{Block, Message, Role, ToolResultBlock, Usage};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{CallId, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::Context;
use crate::event::{Event, RunSubmitted, ToolProposed, WaitReason};
use crate::files::AttachedFile;
use crate::record::Link;
use crate::servers::Catalogue;
use crate::tool::SideEffect;

pub use call::{
    Approval, ApprovalAnswer, AskedQuestion, Call, CallNumber, CallStatus, QuestionAnswer,
    call_number, call_run,
};
pub use deferred::{
    Deferred, LONGEST_POLL, MAX_LOST_TASKS, SHORTEST_POLL, ToolDeferred, next_poll,
};

/// What a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// How it began.
    pub submitted: Box<RunSubmitted>,
    /// When it began.
    pub created_at: Timestamp,
    /// When its newest record was written.
    pub updated_at: Timestamp,
    /// Where its log stands.
    pub link: Link,
    /// How often a worker took it up.
    pub attempt: u32,
    /// How many attempts in a row left nothing behind.
    pub barren: u32,
    /// Up to where it reads its session.
    pub session_through: Option<Seq>,
    /// The tools of servers that it has, once these were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<Arc<Catalogue>>,
    /// Its own conversation: always one that a provider accepts, once the [files](crate::files) in it are fetched.
    pub messages: Arc<Vec<Message>>,
    /// What of the conversation the model is shown.
    #[serde(default, skip_serializing_if = "Context::is_untouched")]
    pub context: Context,
    /// Model turns since it was submitted or reopened.
    pub turns: u32,
    /// How often in a row its model call was put off to a later time.
    #[serde(default)]
    pub deferrals: u32,
    /// How many answers did not fit the schema they must have, since it was submitted or reopened.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rejected: u32,
    /// How often it was reopened.
    pub reopened: u32,
    /// Every call, by number. Finished calls keep what a person may ask for.
    pub calls: BTreeMap<CallNumber, Call>,
    /// Where it stands.
    pub phase: Phase,
    /// What it waits for, while it does.
    pub waiting: Option<Waiting>,
    /// How it ended, once it has.
    pub outcome: Option<Outcome>,
    /// What it used.
    pub usage: Usage,
}

/// Where a run stands between two records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The model has the word.
    Thinking,
    /// The calls of the newest answer have it, in the order they were asked for.
    Acting {
        /// The answer's calls.
        calls: Vec<CallNumber>,
    },
}

/// What a run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// For what.
    pub reason: WaitReason,
    /// Until when at the latest.
    pub until: Option<Timestamp>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did its job.
    Succeeded {
        /// Its answer.
        output: String,
    },
    /// It could not.
    Failed {
        /// A stable name of the reason.
        code: String,
        /// For a person.
        message: String,
    },
    /// Somebody ended it.
    Cancelled {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
}

impl Outcome {
    /// The answer, if it did its job.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Succeeded { output } => Some(output),
            Self::Failed { .. } | Self::Cancelled { .. } => None,
        }
    }

    /// Why it could not, if so.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::Failed { code, message } => Some(Failure {
                code: code.clone(),
                message: message.clone(),
            }),
            Self::Succeeded { .. } | Self::Cancelled { .. } => None,
        }
    }

    /// Who ended it, if somebody did.
    #[must_use]
    pub fn cancellation(&self) -> Option<Cancellation> {
        match self {
            Self::Cancelled { by, reason } => Some(Cancellation {
                by: by.clone(),
                reason: reason.clone(),
            }),
            Self::Succeeded { .. } | Self::Failed { .. } => None,
        }
    }
}

/// Why a run could not do its job, as reports tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// A stable name of the reason.
    pub code: String,
    /// For a person.
    pub message: String,
}

/// Who ended a run, as reports tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cancellation {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// The run's life as reports see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// It waits for a time or a signal.
    Waiting,
    /// It did its job; sealed.
    Succeeded,
    /// It could not; may be reopened.
    Failed,
    /// Somebody ended it; sealed.
    Cancelled,
}

impl Status {
    /// The status's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens by itself.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// An event that cannot follow the ones before it: the log was not written by this program's rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} cannot follow the records before it: {why}")]
pub struct FoldError {
    /// The record.
    pub seq: Seq,
    /// What is wrong.
    pub why: String,
}

/// When, where and by which attempt an event was recorded.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The link behind the record.
    pub link: Link,
    /// When it was written.
    pub at: Timestamp,
    /// The attempt that wrote it.
    pub attempt: u32,
}

impl RunState {
    /// The state after the first event of a log.
    ///
    /// # Errors
    ///
    /// A first event that is not [`Event::RunSubmitted`].
    pub fn begin(event: Event, stamp: Stamp) -> Result<Self, FoldError> {
        let Event::RunSubmitted(submitted) = event else {
            return Err(FoldError {
                seq: stamp.link.seq,
                why: "a log begins with run_submitted".to_owned(),
            });
        };
        let mut input = Message::user(submitted.input.clone());
        let files = submitted.files.iter().map(AttachedFile::block);
        input.blocks.splice(0..0, files);
        Ok(Self {
            submitted,
            created_at: stamp.at,
            updated_at: stamp.at,
            link: stamp.link,
            attempt: 0,
            barren: 0,
            session_through: None,
            catalogue: None,
            messages: Arc::new(vec![input]),
            context: Context::default(),
            turns: 0,
            deferrals: 0,
            rejected: 0,
            reopened: 0,
            calls: BTreeMap::new(),
            phase: Phase::Thinking,
            waiting: None,
            outcome: None,
            usage: Usage::default(),
        })
    }

    /// The state after one more event. On an error the state is as it was.
    ///
    /// # Errors
    ///
    /// An event that cannot follow.
    pub fn apply(&mut self, event: Event, stamp: Stamp) -> Result<(), FoldError> {
        let refuse = |why: &str| FoldError {
            seq: stamp.link.seq,
            why: why.to_owned(),
        };
        if self.outcome.is_some() && !matches!(event, Event::RunReopened { .. }) {
            return Err(refuse("the run has ended"));
        }
        match event {
            Event::RunSubmitted(_) => return Err(refuse("the run was submitted before")),
            Event::AttemptStarted { .. } => {
                if stamp.attempt != self.attempt.saturating_add(1) {
                    return Err(refuse("attempts are numbered without gaps"));
                }
                self.attempt = stamp.attempt;
                self.barren = self.barren.saturating_add(1);
                self.waiting = None;
            }
            Event::SessionLoaded { through } => self.session_through = Some(through),
            Event::ToolsListed(listed) => {
                self.thinks()
                    .map_err(|_why| refuse("tools were listed while calls were open"))?;
                self.catalogue = Some(Arc::new(listed.catalogue));
                self.barren = 0;
            }
            Event::ToolChanged(now) => {
                let catalogue = self.catalogue.as_deref().cloned();
                let catalogue =
                    catalogue.ok_or_else(|| refuse("the run has no tools of servers"))?;
                self.catalogue = Some(Arc::new(catalogue.with_change(*now).map_err(refuse)?));
                self.barren = 0;
            }
            Event::ModelCalled(called) => {
                let usage = called.usage;
                self.answered(called.message).map_err(|why| refuse(&why))?;
                add_usage(&mut self.usage, usage);
            }
            Event::ModelReplayed(replayed) => self
                .answered(replayed.called.message)
                .map_err(|why| refuse(&why))?,
            Event::ContextCompacted(compacted) => {
                self.thinks().map_err(refuse)?;
                let input = &self.submitted.input;
                let usage = compacted.usage;
                self.context
                    .compacted(*compacted, input, &self.messages)
                    .map_err(|why| refuse(&why))?;
                add_usage(&mut self.usage, usage);
                self.barren = 0;
            }
            Event::ContextNotCompacted(event) => {
                self.thinks().map_err(refuse)?;
                self.context.not_compacted(&event, &self.messages);
                add_usage(&mut self.usage, event.usage);
                self.barren = 0;
            }
            Event::ModelFailed { .. } | Event::ReplayDeviated(_) | Event::SignalReceived { .. } => {
                self.barren = 0;
            }
            Event::AnswerRejected { message, .. } => {
                self.answer_rejected(&message).map_err(refuse)?;
            }
            Event::ToolProposed(proposed) => self.proposed(proposed).map_err(|why| refuse(&why))?,
            Event::RunWaiting { reason, until } => {
                if reason == WaitReason::ModelDeferred {
                    self.deferrals = self.deferrals.saturating_add(1);
                }
                self.waiting = Some(Waiting { reason, until });
                self.barren = 0;
            }
            Event::RunReopened { .. } => {
                if !matches!(self.outcome, Some(Outcome::Failed { .. })) {
                    return Err(refuse("only a failed run is reopened"));
                }
                self.outcome = None;
                self.turns = 0;
                self.context.tried = None;
                self.deferrals = 0;
                self.rejected = 0;
                self.barren = 0;
                self.reopened = self.reopened.saturating_add(1);
            }
            Event::RunSucceeded { output } => self.end(Outcome::Succeeded { output }),
            Event::RunFailed { code, message } => self.end(Outcome::Failed { code, message }),
            Event::RunCancelled { by, reason } => self.end(Outcome::Cancelled { by, reason }),
            Event::ToolDecided { .. }
            | Event::ApprovalRequested { .. }
            | Event::ApprovalDecided { .. }
            | Event::ToolStarted { .. }
            | Event::ToolDeferred(_)
            | Event::ToolSucceeded { .. }
            | Event::ToolFailed { .. }
            | Event::ToolReplayed(_)
            | Event::ToolInDoubt { .. }
            | Event::ToolResolved { .. }
            | Event::QuestionAsked { .. }
            | Event::QuestionAnswered { .. }
            | Event::QuestionSampled(_) => self
                .call_changed(event, stamp.attempt)
                .map_err(|why| refuse(&why))?,
        }
        self.link = stamp.link;
        self.updated_at = stamp.at;
        Ok(())
    }

    /// A conversation is only shortened while the model has the word.
    fn thinks(&self) -> Result<(), &'static str> {
        if self.phase == Phase::Thinking {
            Ok(())
        } else {
            Err("the conversation was shortened while calls were open")
        }
    }

    fn answered(&mut self, answer: Message) -> Result<(), String> {
        if self.phase != Phase::Thinking {
            return Err("the model answered while calls were open".to_owned());
        }
        self.barren = 0;
        self.turns = self.turns.saturating_add(1);
        self.deferrals = 0;
        let asks = answer.tool_calls().next().is_some();
        if asks {
            self.phase = Phase::Acting { calls: Vec::new() };
        }
        Arc::make_mut(&mut self.messages).push(answer);
        Ok(())
    }

    /// The model is told in the results of its calls, where it answered by calls.
    fn answer_rejected(&mut self, message: &str) -> Result<(), &'static str> {
        let has_word = match &self.phase {
            Phase::Thinking => true,
            Phase::Acting { calls } => calls.is_empty(),
        };
        let answer = self
            .messages
            .last()
            .filter(|last| has_word && last.role == Role::Assistant)
            .ok_or("there is no answer to be rejected")?;
        let results: Vec<Block> = answer
            .tool_calls()
            .map(|call| {
                Block::ToolResult(ToolResultBlock {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    content: message.to_owned(),
                    is_error: true,
                    media: Vec::new(),
                })
            })
            .collect();
        let told = if results.is_empty() {
            Message::user(message)
        } else {
            Message {
                role: Role::User,
                blocks: results,
            }
        };
        Arc::make_mut(&mut self.messages).push(told);
        self.phase = Phase::Thinking;
        self.rejected = self.rejected.saturating_add(1);
        self.barren = 0;
        Ok(())
    }

    fn proposed(&mut self, proposal: Box<ToolProposed>) -> Result<(), String> {
        let number = call_number(&proposal.call).ok_or("the call has no number")?;
        let Phase::Acting { calls } = &mut self.phase else {
            return Err("no answer of the model asks for a call".to_owned());
        };
        let wishes = self.messages.last().map(Message::tool_calls);
        let wish = wishes.and_then(|mut wishes| wishes.nth(calls.len()));
        if wish.is_none_or(|wish| wish.id != proposal.provider_call) {
            return Err(
                "the answer of the model asks for another call, or for none more".to_owned(),
            );
        }
        if self
            .calls
            .last_key_value()
            .is_some_and(|(last, _call)| *last >= number)
        {
            return Err("calls are numbered in order".to_owned());
        }
        calls.push(number);
        self.calls.insert(
            number,
            Call {
                proposal,
                status: CallStatus::Proposed,
                approval: None,
                doubts: 0,
                questions: Vec::new(),
                replayed: None,
            },
        );
        Ok(())
    }

    fn call_changed(&mut self, event: Event, attempt: u32) -> Result<(), String> {
        let id = match &event {
            Event::ToolDecided { call, .. }
            | Event::ApprovalRequested { call, .. }
            | Event::ToolStarted { call }
            | Event::ToolSucceeded { call, .. }
            | Event::ToolFailed { call, .. }
            | Event::ToolInDoubt { call, .. }
            | Event::ToolResolved { call, .. }
            | Event::QuestionAsked { call, .. }
            | Event::QuestionAnswered { call, .. } => call,
            Event::QuestionSampled(sampled) => &sampled.call,
            Event::ToolReplayed(replayed) => &replayed.call,
            Event::ToolDeferred(deferred) => &deferred.call,
            // An approval has the id of its call.
            Event::ApprovalDecided { approval, .. } => approval,
            _ => return Err("not about a call".to_owned()),
        };
        let call = call_number(id)
            .and_then(|number| self.calls.get_mut(&number))
            .filter(|call| call.proposal.call == *id)
            .ok_or_else(|| format!("there is no call {id}"))?;
        let is_granted = matches!(event, Event::ApprovalDecided { granted: true, .. });
        let is_start = matches!(event, Event::ToolStarted { .. });
        let usage = match &event {
            Event::QuestionSampled(sampled) => Some(sampled.usage),
            _ => None,
        };
        call.change(event, attempt)?;
        let accepted = call.approval.as_ref().and_then(|asked| asked.accepts);
        if let (true, Some(digest), Some(catalogue)) = (is_granted, accepted, &self.catalogue) {
            let name = &call.proposal.tool;
            let accepted = Catalogue::clone(catalogue).with_accepted(name, digest);
            self.catalogue = Some(Arc::new(accepted));
        }
        // A start alone is no progress: a call that kills its worker every time must be noticed.
        if !is_start {
            self.barren = 0;
        }
        if let Some(usage) = usage {
            add_usage(&mut self.usage, usage);
        }
        self.answer_model();
        Ok(())
    }

    /// Once every call of the newest answer has ended, the results become one message, in the order of the calls.
    fn answer_model(&mut self) {
        let Phase::Acting { calls } = &self.phase else {
            return;
        };
        let is_open = |number| self.calls.get(number).is_none_or(|call| !call.has_ended());
        if self.lacks_proposals() || calls.iter().any(is_open) {
            return;
        }
        let results: Option<Vec<Block>> = calls
            .iter()
            .map(|number| {
                self.calls
                    .get(number)
                    .and_then(Call::result)
                    .map(Block::ToolResult)
            })
            .collect();
        if let Some(blocks) = results {
            Arc::make_mut(&mut self.messages).push(Message {
                role: Role::User,
                blocks,
            });
            self.phase = Phase::Thinking;
        }
    }

    /// Whether the newest answer asks for calls that were not proposed yet.
    #[must_use]
    pub fn lacks_proposals(&self) -> bool {
        let Phase::Acting { calls } = &self.phase else {
            return false;
        };
        let last = self.messages.last();
        last.is_some_and(|answer| answer.tool_calls().nth(calls.len()).is_some())
    }

    fn end(&mut self, outcome: Outcome) {
        self.waiting = None;
        if matches!(outcome, Outcome::Cancelled { .. })
            && let Phase::Acting { calls } = &self.phase
        {
            for number in calls {
                if let Some(call) = self.calls.get_mut(number)
                    && matches!(call.status, CallStatus::Running { .. })
                    && call.proposal.side_effect == SideEffect::NonIdempotent
                {
                    let reason = "the run was cancelled while the call ran".to_owned();
                    call.status = CallStatus::InDoubt { reason };
                }
            }
        }
        self.outcome = Some(outcome);
    }

    /// The answer as a value, of a run that has one and whose answer must fit a schema.
    #[must_use]
    pub fn output_value(&self) -> Option<Value> {
        self.submitted.output_schema()?;
        match &self.outcome {
            Some(Outcome::Succeeded { output }) => serde_json::from_str(output).ok(),
            _ => None,
        }
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.submitted.run
    }

    /// Whether the agent's servers must still be asked which tools they have.
    #[must_use]
    pub fn lacks_catalogue(&self) -> bool {
        self.catalogue.is_none() && self.submitted.lists_server_tools()
    }

    /// The run's life as its log knows it. Whether a worker that has it is alive, only the runtime knows.
    #[must_use]
    pub fn status(&self) -> Status {
        match (&self.outcome, &self.waiting) {
            (Some(Outcome::Succeeded { .. }), _) => Status::Succeeded,
            (Some(Outcome::Failed { .. }), _) => Status::Failed,
            (Some(Outcome::Cancelled { .. }), _) => Status::Cancelled,
            (None, Some(_)) => Status::Waiting,
            (None, None) if self.attempt == 0 => Status::Queued,
            (None, None) => Status::Running,
        }
    }

    /// The calls of the newest answer that have not ended.
    pub fn open_calls(&self) -> impl Iterator<Item = &Call> {
        let numbers: &[CallNumber] = match &self.phase {
            Phase::Acting { calls } => calls,
            Phase::Thinking => &[],
        };
        numbers
            .iter()
            .filter_map(|number| self.calls.get(number))
            .filter(|call| !call.has_ended())
    }

    /// When a server is to be asked after a task, earliest.
    #[must_use]
    pub fn next_poll(&self) -> Option<Timestamp> {
        let polls = self.open_calls().filter_map(|call| match &call.status {
            CallStatus::Deferred(task) => Some(task.poll_at),
            _ => None,
        });
        polls.min()
    }

    /// The call `id`.
    #[must_use]
    pub fn call(&self, id: &CallId) -> Option<&Call> {
        self.calls
            .get(&call_number(id)?)
            .filter(|call| call.proposal.call == *id)
    }

    /// How many answers the model has given.
    #[must_use]
    pub fn answers(&self) -> usize {
        let is_answer = |message: &&Message| message.role == Role::Assistant;
        self.messages.iter().filter(is_answer).count()
    }

    /// The number that the next call gets.
    #[must_use]
    pub fn next_call(&self) -> CallNumber {
        self.calls
            .last_key_value()
            .map_or(1, |(last, _call)| last.saturating_add(1))
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde asks with a reference"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn add_usage(total: &mut Usage, more: Usage) {
    let add = |total: &mut Option<u64>, more: Option<u64>| {
        if let Some(more) = more {
            *total = Some(total.unwrap_or(0).saturating_add(more));
        }
    };
    add(&mut total.input_tokens, more.input_tokens);
    add(&mut total.cache_read_tokens, more.cache_read_tokens);
    add(&mut total.cache_write_tokens, more.cache_write_tokens);
    add(&mut total.output_tokens, more.output_tokens);
    add(&mut total.reasoning_tokens, more.reasoning_tokens);
}

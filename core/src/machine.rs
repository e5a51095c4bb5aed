//! The pure agent machine: given what a run is, what comes next.

use seaworthy_ports::CallId;

use crate::event::WaitReason;
use crate::output::{self, Contract};
use crate::state::{Call, CallStatus, Phase, RunState};
use crate::tool::SideEffect;

/// How many attempts in a row may leave nothing behind before the run is stopped.
pub const MAX_BARREN_ATTEMPTS: u32 = 20;

/// The code of a run whose attempts leave nothing behind.
pub const CRASH_LOOP: &str = "crash_loop";

/// What the driver does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing: the run has ended.
    Ended,
    /// Ends the run as failed.
    Fail {
        /// A stable name of the reason.
        code: &'static str,
        /// For a person.
        message: String,
    },
    /// Asks the agent's servers which tools they have.
    ListTools,
    /// Calls the model.
    CallModel,
    /// Proposes what the newest answer asks for.
    Propose,
    /// Works on calls, all at once.
    Work(Vec<Work>),
    /// Parks until somebody answers.
    Wait(WaitReason),
    /// Ends the run with the newest answer.
    Answer(String),
    /// Gives the newest answer back to the model, because it does not fit the schema that it must have.
    Reject(Vec<String>),
}

/// What is done about one call.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Puts the intent on record, then runs it.
    Start(CallId),
    /// Runs it again: its intent is on record, and twice is as good as once.
    Repeat(CallId),
    /// Asks its tool what became of it.
    Verify(CallId),
    /// Asks its server how its task is going.
    Poll(CallId),
}

impl Work {
    /// Which call.
    #[must_use]
    pub fn call(&self) -> &CallId {
        match self {
            Self::Start(call) | Self::Repeat(call) | Self::Verify(call) | Self::Poll(call) => call,
        }
    }
}

/// What comes next for a run that the current attempt holds and that has nothing under way.
#[must_use]
pub fn next(state: &RunState) -> Step {
    if state.outcome.is_some() {
        return Step::Ended;
    }
    if state.barren > MAX_BARREN_ATTEMPTS {
        let message = format!(
            "{} attempts in a row ended without a record: whatever the run does next kills its worker. Look into it, \
             then reopen the run",
            state.barren
        );
        return Step::Fail {
            code: CRASH_LOOP,
            message,
        };
    }
    match &state.phase {
        Phase::Thinking if state.lacks_catalogue() => Step::ListTools,
        Phase::Thinking => think(state),
        Phase::Acting { calls } if calls.is_empty() => judged(state, Step::Propose),
        Phase::Acting { .. } if state.lacks_proposals() => Step::Propose,
        Phase::Acting { .. } => act(state),
    }
}

fn think(state: &RunState) -> Step {
    if let Some(last) = state.messages.last()
        && last.role == seaworthy_ports::model_provider::Role::Assistant
    {
        return judged(state, Step::Answer(last.text()));
    }
    if state.turns >= state.submitted.max_turns {
        let message = format!(
            "the model has had its {} turns and is not done; raise max_turns, or reopen the run for as many again",
            state.turns
        );
        return Step::Fail {
            code: "max_turns",
            message,
        };
    }
    Step::CallModel
}

/// Holds the newest answer of the model against the schema that it must fit: the run ends with it, or it goes back to the
/// model, or it was given back before and the run fails. `step`: what comes next where there is no schema, or where the
/// model wants tools called.
fn judged(state: &RunState, step: Step) -> Step {
    let answer = state.messages.last().filter(|last| output::is_answer(last));
    let (Some(schema), Some(answer)) = (state.submitted.output_schema(), answer) else {
        return step;
    };
    match Contract::compile(schema).map(|contract| contract.read(answer)) {
        Ok(Ok(value)) => Step::Answer(value.to_string()),
        Ok(Err(faults)) if state.rejected < output::MAX_REPAIRS => Step::Reject(faults),
        Ok(Err(faults)) => Step::Fail {
            code: "invalid_answer",
            message: format!(
                "the model's answer does not fit the output schema, although it was given back before: {}",
                faults.join("; ")
            ),
        },
        Err(message) => Step::Fail {
            code: "no_agent",
            message,
        },
    }
}

fn act(state: &RunState) -> Step {
    let mut work = Vec::new();
    let mut wait = None;
    for call in state.open_calls() {
        match wanted(call, state.attempt) {
            Wanted::Work(one) => work.push(one),
            // A time comes by itself; what only a person can end is named first.
            Wanted::Wait(WaitReason::Task) if wait.is_some() => {}
            Wanted::Wait(reason) => wait = Some(reason),
        }
    }
    match (work.is_empty(), wait) {
        (false, _) => Step::Work(work),
        (true, Some(reason)) => Step::Wait(reason),
        // Every call has ended, so the fold has given the word back to the model.
        (true, None) => Step::CallModel,
    }
}

enum Wanted {
    Work(Work),
    Wait(WaitReason),
}

fn wanted(call: &Call, attempt: u32) -> Wanted {
    let id = call.proposal.call.clone();
    match &call.status {
        CallStatus::Reserved => Wanted::Work(Work::Start(id)),
        CallStatus::Running { .. } => match call.proposal.side_effect {
            SideEffect::ReadOnly | SideEffect::Idempotent => Wanted::Work(Work::Repeat(id)),
            SideEffect::NonIdempotent => Wanted::Work(Work::Verify(id)),
        },
        CallStatus::Deferred(task) if task.polled_in == attempt => {
            Wanted::Wait(match call.open_question() {
                Some(_) => WaitReason::Question,
                None => WaitReason::Task,
            })
        }
        CallStatus::Deferred(_) => Wanted::Work(Work::Poll(id)),
        CallStatus::InDoubt { .. } => Wanted::Wait(WaitReason::InDoubt),
        CallStatus::AwaitingAnswer => Wanted::Wait(WaitReason::Question),
        CallStatus::Proposed
        | CallStatus::AwaitingApproval
        | CallStatus::Succeeded { .. }
        | CallStatus::Failed { .. } => Wanted::Wait(WaitReason::Approval),
    }
}

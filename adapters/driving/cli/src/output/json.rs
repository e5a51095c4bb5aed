//! The JSON that programs read. Fields are added, never renamed or removed.

use seaworthy::event::ToolProposed;
use seaworthy::harness::{Asked, DEFAULT_QUEUE, Verified, View};
use seaworthy::live::Live;
use seaworthy::log::Loaded;
use seaworthy::ports::model_provider::Usage;
use seaworthy::ports::sandbox::OutputStream;
use seaworthy::ports::state_store::Head;
use seaworthy::ports::{Digest, QueueName, Timestamp};
use seaworthy::replay::Origin;
use seaworthy::state::{Call, CallStatus, Cancellation, Failure, Outcome};
use seaworthy::tool::SideEffect;
use seaworthy::tool::code;
use serde::Serialize;
use serde_json::{Value, json};

use super::question::OpenQuestion;
use crate::models::{Chosen, chosen};

/// `show RUN --json`, and the last line of `run --json`.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) run_id: String,
    pub(crate) status: &'static str,
    pub(crate) agent: String,
    pub(crate) model: Option<Chosen>,
    pub(crate) session: Option<String>,
    pub(crate) queue: String,
    pub(crate) workspace: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) attempt: u32,
    pub(crate) turns: u32,
    pub(crate) records: u64,
    pub(crate) output: Option<String>,
    /// The output as JSON, where it must fit the agent's output schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Value>,
    pub(crate) error: Option<Failure>,
    pub(crate) cancelled: Option<Cancellation>,
    pub(crate) usage: Usage,
    /// `approval`, `question`, `in_doubt`, `model_deferred`, `model_limit` or `task`.
    pub(crate) waiting_for: Option<&'static str>,
    pub(crate) waiting_until: Option<Timestamp>,
    /// What the servers of its calls ask.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) questions: Vec<OpenQuestion>,
    /// The calls with side effects that the gateway let pass.
    pub(crate) ledger: Vec<Entry>,
    /// Every call.
    pub(crate) calls: Vec<Entry>,
    /// Where it comes from, if it is a replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<Origin>,
}

/// A call.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) call_id: String,
    pub(crate) tool: String,
    pub(crate) status: &'static str,
    pub(crate) idempotency_key: String,
    pub(crate) side_effect: &'static str,
    /// Why it failed or is in doubt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The record of the replayed run that says what became of it; the call was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replayed_from: Option<u64>,
}

impl Run {
    pub(crate) fn of(view: &View) -> Self {
        let state = &view.state;
        let outcome = state.outcome.as_ref();
        Self {
            run_id: state.run().to_string(),
            status: view.status().as_str(),
            agent: state.submitted.agent.clone(),
            model: chosen(&state.submitted.descriptor),
            session: state.submitted.session.as_ref().map(ToString::to_string),
            queue: state
                .submitted
                .queue
                .as_ref()
                .map_or(DEFAULT_QUEUE, QueueName::as_str)
                .to_owned(),
            workspace: state.submitted.workspace.clone(),
            created_at: state.created_at,
            updated_at: state.updated_at,
            attempt: state.attempt,
            turns: state.turns,
            records: state.link.seq.0,
            output: outcome.and_then(Outcome::output).map(str::to_owned),
            value: state.output_value(),
            error: outcome.and_then(Outcome::failure),
            cancelled: outcome.and_then(Outcome::cancellation),
            usage: state.usage,
            waiting_for: state.waiting.map(|waiting| waiting.reason.as_str()),
            waiting_until: state.waiting.and_then(|waiting| waiting.until),
            questions: state
                .open_calls()
                .filter_map(|call| OpenQuestion::of(state.run(), call))
                .collect(),
            ledger: state
                .calls
                .values()
                .filter(|call| is_in_ledger(call))
                .map(Entry::of)
                .collect(),
            calls: state.calls.values().map(Entry::of).collect(),
            replay: state.submitted.replay.as_deref().cloned(),
        }
    }
}

/// Whether the call can have changed something: it has side effects, and was neither refused as invalid nor is undecided.
fn is_in_ledger(call: &Call) -> bool {
    let refused = match &call.status {
        CallStatus::Proposed => true,
        CallStatus::Failed {
            code,
            no_effect: true,
            ..
        } => code == code::INVALID,
        _ => false,
    };
    call.proposal.side_effect != SideEffect::ReadOnly && !refused
}

impl Entry {
    fn of(call: &Call) -> Self {
        let ToolProposed {
            call: id,
            tool,
            side_effect,
            idempotency_key,
            ..
        } = &*call.proposal;
        let reason = match &call.status {
            CallStatus::Failed { message, .. } => Some(message.clone()),
            CallStatus::InDoubt { reason } => Some(reason.clone()),
            CallStatus::Deferred(task) => task.message.clone(),
            _ => None,
        };
        Self {
            call_id: id.to_string(),
            tool: tool.clone(),
            status: call.status.as_str(),
            idempotency_key: idempotency_key.clone(),
            side_effect: side_effect.as_str(),
            reason,
            replayed_from: call.replayed.map(|seq| seq.0),
        }
    }
}

/// An item of `runs --json`.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    pub(crate) run_id: String,
    pub(crate) status: String,
    pub(crate) agent: Option<String>,
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<Timestamp>,
    pub(crate) session: Option<String>,
    pub(crate) waiting_for: Option<String>,
}

impl Listed {
    /// What the store's listing knows of a run.
    pub(crate) fn of(head: &Head, status: String, updated_at: Option<Timestamp>) -> Self {
        let label = |name: &str| head.labels.get(name).cloned();
        Self {
            run_id: head.log.name.to_string(),
            status,
            agent: label("agent"),
            created_at: label("created_at"),
            updated_at,
            session: label("session"),
            waiting_for: label("waiting"),
        }
    }
}

/// An item of `approvals --json`.
#[derive(Debug, Serialize)]
pub(crate) struct Open {
    pub(crate) approval_id: String,
    pub(crate) run_id: String,
    pub(crate) tool: String,
    pub(crate) arguments: Value,
    pub(crate) status: &'static str,
    pub(crate) risk: Value,
    pub(crate) side_effect: &'static str,
}

impl Open {
    pub(crate) fn of(asked: &Asked) -> Self {
        let proposal = &asked.call.proposal;
        Self {
            approval_id: asked.call.approval_id().to_string(),
            run_id: asked.run.to_string(),
            tool: proposal.tool.clone(),
            arguments: proposal.arguments.clone(),
            status: "pending",
            risk: json!(proposal.risk),
            side_effect: proposal.side_effect.as_str(),
        }
    }
}

/// A line of `events --json` and of `run --json`.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'a> {
    pub(crate) seq: u64,
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    pub(crate) at: Timestamp,
    pub(crate) attempt: u32,
    pub(crate) data: &'a Value,
}

impl<'a> Record<'a> {
    pub(crate) fn of(loaded: &'a Loaded) -> Self {
        let envelope = &loaded.envelope;
        Self {
            seq: envelope.seq.0,
            kind: &envelope.kind,
            at: envelope.at,
            attempt: envelope.attempt,
            data: &envelope.data,
        }
    }
}

/// A live line of `run --json`: not on record.
pub(crate) fn live(event: &Live) -> Value {
    match event {
        Live::Text { delta } => json!({ "type": "text_delta", "data": { "delta": delta } }),
        Live::Reasoning { delta } => {
            json!({ "type": "reasoning_delta", "data": { "delta": delta } })
        }
        Live::Output { call, stream, text } => {
            let stream = match stream {
                OutputStream::Stdout => "stdout",
                OutputStream::Stderr => "stderr",
            };
            json!({ "type": "tool_output", "data": { "call": call, "stream": stream, "text": text } })
        }
        Live::Trouble { message } => json!({ "type": "trouble", "data": { "message": message } }),
        Live::Missed { events } => json!({ "type": "missed", "data": { "events": events } }),
        Live::Ended { status } => json!({ "type": "ended", "data": { "status": status } }),
    }
}

/// `verify RUN --json`.
#[derive(Debug, Serialize)]
pub(crate) struct Checked<'a> {
    pub(crate) run_id: &'a str,
    pub(crate) ok: bool,
    pub(crate) records: u64,
    pub(crate) head: Option<Digest>,
    pub(crate) status: &'static str,
    pub(crate) faults: &'a [String],
}

impl<'a> Checked<'a> {
    pub(crate) fn of(run_id: &'a str, verified: &'a Verified) -> Self {
        Self {
            run_id,
            ok: verified.faults.is_empty(),
            records: verified.records,
            head: verified.head,
            status: verified.status.as_str(),
            faults: &verified.faults,
        }
    }
}

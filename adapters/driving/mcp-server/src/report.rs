//! What clients are told of a run.

use seaworthy_core::event::WaitReason;
use seaworthy_core::harness::View;
use seaworthy_core::servers::Wants;
use seaworthy_core::state::{Call, CallStatus, Cancellation, Failure, Outcome, Status};
use seaworthy_core::tool::Risk;
use seaworthy_ports::Timestamp;
use seaworthy_ports::model_provider::Usage;
use serde::Serialize;
use serde_json::{Value, json};

use crate::wait::rests;

/// The most bytes of an answer in a report; the run's records have all of it.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// The most bytes of the arguments of all approvals of a report together.
const MAX_ARGUMENTS_BYTES: usize = 256 * 1024;

/// How a run stands.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    run_id: String,
    agent: String,
    status: &'static str,
    /// What whoever asks can do now, in words.
    next: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    /// The answer as JSON, where it must fit the agent's output schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled: Option<Cancellation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    approvals: Vec<Open>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    questions: Vec<OpenQuestion>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    in_doubt: Vec<Doubt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    turns: u32,
    attempt: u32,
    records: u64,
    usage: Usage,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// Where the run's records are.
    records_uri: String,
}

/// An approval that the run waits for.
#[derive(Debug, Serialize)]
struct Open {
    approval_id: String,
    tool: String,
    /// `None`: too large to be shown here.
    arguments: Option<Value>,
    risk: Risk,
    side_effect: &'static str,
}

/// A question of a server that the run waits for an answer to.
#[derive(Debug, Serialize)]
struct OpenQuestion {
    question_id: String,
    tool: String,
    server: String,
    /// `input`, with a message and the schema of the answer, or `model`, with a conversation.
    wants: Wants,
}

/// A call of which nobody knows whether it happened.
#[derive(Debug, Serialize)]
struct Doubt {
    call_id: String,
    tool: String,
    reason: String,
}

impl Report {
    pub(crate) fn of(view: &View) -> Self {
        let state = &view.state;
        let run = state.run();
        let outcome = state.outcome.as_ref();
        let answer = outcome.and_then(Outcome::output);
        let answer = answer.map(|output| cut(output, MAX_ANSWER_BYTES));
        let is_whole = answer
            .as_ref()
            .is_some_and(|answer| answer.len() <= MAX_ANSWER_BYTES);
        Self {
            run_id: run.to_string(),
            agent: state.submitted.agent.clone(),
            status: view.status().as_str(),
            next: next(view),
            value: state.output_value().filter(|_| is_whole),
            answer,
            error: outcome.and_then(Outcome::failure),
            cancelled: outcome.and_then(Outcome::cancellation),
            waiting_for: state.waiting.map(|waiting| waiting.reason.as_str()),
            waiting_until: state.waiting.and_then(|waiting| waiting.until),
            approvals: open(view),
            questions: state.open_calls().filter_map(question).collect(),
            in_doubt: state.open_calls().filter_map(doubt).collect(),
            session: state.submitted.session.as_ref().map(ToString::to_string),
            turns: state.turns,
            attempt: state.attempt,
            records: state.link.seq.0,
            usage: state.usage,
            created_at: state.created_at,
            updated_at: state.updated_at,
            records_uri: crate::resources::records_uri(run, None),
        }
    }

    /// The schema of a report, as tools declare it.
    pub(crate) fn schema() -> Value {
        let text = json!({ "type": "string" });
        let number = json!({ "type": "integer", "minimum": 0 });
        json!({
            "type": "object",
            "required": ["run_id", "agent", "status", "next"],
            "properties": {
                "run_id": text,
                "agent": text,
                "status": {
                    "type": "string",
                    "enum": ["queued", "running", "waiting", "succeeded", "failed", "cancelled"],
                },
                "next": { "type": "string", "description": "What can be done now" },
                "answer": { "type": "string", "description": "The agent's answer, once the run has succeeded" },
                "value": { "description": "The answer as JSON, where it must fit the agent's output schema" },
                "error": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": { "code": text, "message": text },
                },
                "cancelled": {
                    "type": "object",
                    "required": ["by"],
                    "properties": { "by": text, "reason": { "type": ["string", "null"] } },
                },
                "waiting_for": { "type": "string", "enum": ["approval", "question", "in_doubt", "model_deferred", "model_limit", "task"] },
                "waiting_until": text,
                "approvals": {
                    "type": "array",
                    "description": "The calls that wait for a person's approval",
                    "items": {
                        "type": "object",
                        "required": ["approval_id", "tool", "arguments", "risk", "side_effect"],
                        "properties": {
                            "approval_id": text, "tool": text, "arguments": {}, "risk": text, "side_effect": text,
                        },
                    },
                },
                "questions": {
                    "type": "array",
                    "description": "What the servers of the agent's tools want to know",
                    "items": {
                        "type": "object",
                        "required": ["question_id", "tool", "server", "wants"],
                        "properties": { "question_id": text, "tool": text, "server": text, "wants": { "type": "object" } },
                    },
                },
                "in_doubt": {
                    "type": "array",
                    "description": "The calls of which nobody knows whether they happened",
                    "items": {
                        "type": "object",
                        "required": ["call_id", "tool", "reason"],
                        "properties": { "call_id": text, "tool": text, "reason": text },
                    },
                },
                "session": text,
                "turns": number,
                "attempt": number,
                "records": number,
                "usage": { "type": "object" },
                "created_at": text,
                "updated_at": text,
                "records_uri": text,
            },
        })
    }
}

/// What whoever asks can do now.
fn next(view: &View) -> String {
    let run = view.state.run();
    match view.state.status() {
        Status::Succeeded => "The run has ended; `answer` is what the agent says.".to_owned(),
        Status::Failed => format!(
            "The run has failed, and its log is kept: `seaworthy reopen {run}` in a terminal queues it again where it stopped."
        ),
        Status::Cancelled => "The run was cancelled.".to_owned(),
        Status::Queued | Status::Running | Status::Waiting if !rests(view) => format!(
            "The run goes on, whether or not anybody waits for it; `run_wait` with run_id {run:?} waits for it.",
            run = run.as_str()
        ),
        Status::Queued | Status::Running | Status::Waiting => {
            match view.state.waiting.map(|waiting| waiting.reason) {
                Some(WaitReason::Question) => {
                    "A person must answer the questions in `questions`: `run_answer` with a question_id tells the server."
                        .to_owned()
                }
                Some(WaitReason::InDoubt) => {
                    "Nobody knows whether the calls in `in_doubt` happened. A person who finds out says so in a terminal: `seaworthy resolve CALL`."
                        .to_owned()
                }
                _ => "A person must decide on the calls in `approvals`: `run_approve` or `run_deny` with an approval_id says how."
                    .to_owned(),
            }
        }
    }
}

fn open(view: &View) -> Vec<Open> {
    let mut room = MAX_ARGUMENTS_BYTES;
    view.state
        .open_calls()
        .filter(|call| call.status == CallStatus::AwaitingApproval)
        .map(|call| {
            let proposal = &call.proposal;
            let size = proposal.arguments.to_string().len();
            let arguments = (size <= room).then(|| proposal.arguments.clone());
            if arguments.is_some() {
                room = room.saturating_sub(size);
            }
            Open {
                approval_id: call.approval_id().to_string(),
                tool: proposal.tool.clone(),
                arguments,
                risk: proposal.risk,
                side_effect: proposal.side_effect.as_str(),
            }
        })
        .collect()
}

fn question(call: &Call) -> Option<OpenQuestion> {
    let asked = call.open_question()?;
    Some(OpenQuestion {
        question_id: call.proposal.call.to_string(),
        tool: call.proposal.tool.clone(),
        server: asked.server.to_string(),
        wants: asked.wants.clone(),
    })
}

fn doubt(call: &Call) -> Option<Doubt> {
    let CallStatus::InDoubt { reason } = &call.status else {
        return None;
    };
    Some(Doubt {
        call_id: call.proposal.call.to_string(),
        tool: call.proposal.tool.clone(),
        reason: reason.clone(),
    })
}

/// `text`, or the beginning of it and that there is more.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    format!(
        "{}… (cut: {} bytes in all)",
        text.get(..end).unwrap_or_default(),
        text.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("öö", 4), "öö");
        assert_eq!(cut("ööö", 3), "ö… (cut: 6 bytes in all)");
    }
}

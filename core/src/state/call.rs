//! One tool call of a run: where it stands, and what an event makes of it.

use seaworthy_ports::model_provider::ToolResultBlock;
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{CallId, Digest, RunId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{Decision, Event, Resolution, ToolProposed};
use crate::files::AttachedFile;
use crate::replay::Recall;
use crate::servers::{MAX_QUESTIONS, Question, Reply, Sample};
use crate::state::Deferred;

/// The how-many-th call of its run, from 1.
pub type CallNumber = u32;

/// One tool call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// What was asked for.
    pub proposal: Box<ToolProposed>,
    /// Where it stands.
    pub status: CallStatus,
    /// The question to a person and its answer, where there is one.
    pub approval: Option<Approval>,
    /// How often it was in doubt.
    pub doubts: u32,
    /// What its server asked while it worked on the call, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<AskedQuestion>,
    /// The record of another run that says what became of it, where it was not made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Seq>,
}

/// Where a call stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallStatus {
    /// Validated and hashed; policy has not answered.
    Proposed,
    /// Policy wants a person's approval.
    AwaitingApproval,
    /// It may start.
    Reserved,
    /// It was started by this attempt; what became of it is not on record.
    Running {
        /// The attempt that started it.
        attempt: u32,
    },
    /// It was called off because its server wants an answer first; with that it is made again.
    AwaitingAnswer,
    /// It is a task that its server works on.
    Deferred(Box<Deferred>),
    /// It did what it should.
    Succeeded {
        /// What it showed beside its answer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        media: Vec<AttachedFile>,
        /// Its answer.
        output: Value,
    },
    /// It failed and said so.
    Failed {
        /// A stable name of the reason.
        code: String,
        /// For the model and a person.
        message: String,
        /// Whether it certainly did nothing.
        no_effect: bool,
    },
    /// Nobody knows.
    InDoubt {
        /// Why.
        reason: String,
    },
}

/// The question to a person, and its single-use answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Names the question.
    pub id: CallId,
    /// Exactly which proposal.
    pub proposal: Digest,
    /// The answer.
    pub answer: Option<ApprovalAnswer>,
    /// Whether the call it allows has started.
    pub used: bool,
    /// The change of the tool that granting it agrees to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts: Option<Digest>,
}

/// A person's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalAnswer {
    /// The answer.
    pub granted: bool,
    /// Who answered.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// A question of the call's server, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedQuestion {
    /// The question.
    pub question: Box<Question>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<QuestionAnswer>,
    /// What the model said, where it was called for this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

/// An answer to a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionAnswer {
    /// Who answered.
    pub by: String,
    /// The answer.
    pub reply: Reply,
}

impl Call {
    /// What its approval goes by: an id of its own once it is asked for, else the call's.
    #[must_use]
    pub fn approval_id(&self) -> &CallId {
        let asked = self.approval.as_ref();
        asked.map_or(&self.proposal.call, |asked| &asked.id)
    }

    /// What an event about the call makes of it, in `attempt`.
    pub(super) fn change(&mut self, event: Event, attempt: u32) -> Result<(), String> {
        let asked = self.questions.len();
        let status = match (event, &self.status) {
            (
                Event::ToolDecided {
                    decision, reason, ..
                },
                CallStatus::Proposed,
            ) => match decision {
                Decision::Allow => CallStatus::Reserved,
                Decision::RequireApproval => CallStatus::AwaitingApproval,
                Decision::Deny => failed("denied", &format!("denied by policy: {reason}")),
            },
            (
                Event::ApprovalRequested {
                    accepts,
                    approval,
                    proposal,
                    ..
                },
                CallStatus::AwaitingApproval,
            ) => {
                self.approval = Some(Approval {
                    id: approval,
                    proposal,
                    answer: None,
                    used: false,
                    accepts,
                });
                CallStatus::AwaitingApproval
            }
            (
                Event::ApprovalDecided {
                    proposal,
                    granted,
                    by,
                    reason,
                    ..
                },
                CallStatus::AwaitingApproval,
            ) => self.approved(
                proposal,
                ApprovalAnswer {
                    granted,
                    by,
                    reason,
                },
            )?,
            (Event::ToolStarted { .. }, CallStatus::Reserved) => {
                if let Some(approval) = &mut self.approval {
                    approval.used = true;
                }
                CallStatus::Running { attempt }
            }
            // Its task is lost, and twice is as good as once.
            (Event::ToolStarted { .. }, CallStatus::Deferred(_))
                if self.proposal.side_effect.is_repeatable() =>
            {
                self.doubts = self.doubts.saturating_add(1);
                CallStatus::Running { attempt }
            }
            (Event::ToolDeferred(deferred), CallStatus::Running { .. }) => {
                CallStatus::Deferred(Box::new(Deferred::begun(*deferred, attempt, asked)))
            }
            (Event::ToolDeferred(deferred), CallStatus::Deferred(task)) => {
                let polled = task.polled(*deferred, attempt, asked);
                CallStatus::Deferred(Box::new(polled.ok_or("the call is another task")?))
            }
            (
                Event::ToolSucceeded { media, output, .. },
                CallStatus::Running { .. } | CallStatus::Deferred(_),
            ) => CallStatus::Succeeded { media, output },
            (
                Event::ToolFailed {
                    code,
                    message,
                    no_effect,
                    ..
                },
                CallStatus::Running { .. }
                | CallStatus::Deferred(_)
                | CallStatus::Proposed
                | CallStatus::Reserved,
            ) => CallStatus::Failed {
                code,
                message,
                no_effect,
            },
            // What is not made needs neither a decision nor an approval.
            (
                Event::ToolReplayed(replayed),
                CallStatus::Proposed | CallStatus::AwaitingApproval | CallStatus::Reserved,
            ) => {
                self.replayed = Some(replayed.from);
                match replayed.result {
                    Recall::Succeeded { media, output } => CallStatus::Succeeded { media, output },
                    Recall::Failed {
                        code,
                        message,
                        no_effect,
                    } => CallStatus::Failed {
                        code,
                        message,
                        no_effect,
                    },
                }
            }
            (
                Event::QuestionAsked { question, .. },
                CallStatus::Running { .. } | CallStatus::Deferred(_),
            ) => self.asked(question)?,
            (
                Event::QuestionAnswered {
                    by,
                    question,
                    reply,
                    ..
                },
                CallStatus::AwaitingAnswer | CallStatus::Running { .. } | CallStatus::Deferred(_),
            ) => self.answered(question, QuestionAnswer { by, reply }, attempt)?,
            (
                Event::QuestionSampled(sampled),
                CallStatus::Running { .. } | CallStatus::Deferred(_),
            ) => self.sampled(sampled.question, sampled.sample)?,
            (
                Event::ToolInDoubt { reason, .. },
                CallStatus::Running { .. } | CallStatus::Deferred(_),
            ) => {
                self.doubts = self.doubts.saturating_add(1);
                CallStatus::InDoubt { reason }
            }
            (
                Event::ToolResolved { resolution, .. },
                CallStatus::InDoubt { .. } | CallStatus::Running { .. },
            ) => match resolution {
                Resolution::Happened { output } => CallStatus::Succeeded {
                    media: Vec::new(),
                    output,
                },
                Resolution::DidNotHappen => CallStatus::Reserved,
            },
            (event, status) => {
                return Err(format!(
                    "{} is {}, which {} cannot follow",
                    self.proposal.call,
                    status.as_str(),
                    name(&event)
                ));
            }
        };
        self.status = status;
        Ok(())
    }

    fn approved(&mut self, proposal: Digest, answer: ApprovalAnswer) -> Result<CallStatus, String> {
        let asked = self
            .approval
            .as_mut()
            .filter(|asked| asked.answer.is_none());
        let asked = asked.ok_or("no approval is open for the call")?;
        if asked.proposal != proposal || proposal != self.proposal.proposal {
            return Err("the approval is for another proposal".to_owned());
        }
        let status = if answer.granted {
            CallStatus::Reserved
        } else {
            let why = answer.reason.as_deref().unwrap_or("no reason given");
            failed("denied", &format!("denied by {}: {why}", answer.by))
        };
        asked.answer = Some(answer);
        Ok(status)
    }

    /// A call that may be repeated is called off: the worker waits for nobody. A task stays one, and whatever its server asked
    /// before is done with.
    fn asked(&mut self, question: Box<Question>) -> Result<CallStatus, String> {
        if self.questions.len() >= MAX_QUESTIONS {
            return Err("the call's server has asked too often".to_owned());
        }
        let before = self.questions.len();
        self.questions.push(AskedQuestion {
            question,
            answer: None,
            sample: None,
        });
        Ok(match &self.status {
            CallStatus::Deferred(task) => CallStatus::Deferred(Box::new(Deferred {
                settled: before,
                ..Deferred::clone(task)
            })),
            _ if self.proposal.side_effect.is_repeatable() => CallStatus::AwaitingAnswer,
            status => status.clone(),
        })
    }

    fn answered(
        &mut self,
        question: Digest,
        answer: QuestionAnswer,
        attempt: u32,
    ) -> Result<CallStatus, String> {
        let is_open = self.open_question();
        if is_open.is_none_or(|open| open.digest != question) {
            return Err("no such question is open".to_owned());
        }
        if let Some(asked) = self.questions.last_mut() {
            asked.answer = Some(answer);
        }
        Ok(match &self.status {
            CallStatus::AwaitingAnswer => CallStatus::Running { attempt },
            // No attempt has heard of the task since: the present one asks after it.
            CallStatus::Deferred(task) => CallStatus::Deferred(Box::new(Deferred {
                polled_in: 0,
                ..Deferred::clone(task)
            })),
            status => status.clone(),
        })
    }

    fn sampled(&mut self, question: Digest, sample: Sample) -> Result<CallStatus, String> {
        let asked = self
            .questions
            .iter_mut()
            .find(|asked| asked.question.digest == question && asked.lacks_sample())
            .ok_or("no model was to be called for such a question")?;
        asked.sample = Some(sample);
        Ok(self.status.clone())
    }

    /// The question that waits for a person's answer, if there is one.
    #[must_use]
    pub fn open_question(&self) -> Option<&Question> {
        let may_be_open = matches!(
            self.status,
            CallStatus::AwaitingAnswer | CallStatus::Running { .. } | CallStatus::Deferred(_)
        );
        self.live_questions()
            .last()
            .filter(|asked| may_be_open && asked.answer.is_none())
            .map(|asked| &*asked.question)
    }

    /// Whether a person's approval or answer is wanted.
    pub(crate) fn asks_person(&self) -> bool {
        self.status == CallStatus::AwaitingApproval || self.open_question().is_some()
    }

    /// The questions whose answers the server may still want.
    #[must_use]
    pub fn live_questions(&self) -> &[AskedQuestion] {
        let settled = match &self.status {
            CallStatus::Deferred(task) => task.settled,
            _ => 0,
        };
        self.questions.get(settled..).unwrap_or_default()
    }

    /// The questions whose answers the server may ask for again: the live ones, and those that it calls by a key, which never
    /// stands for another.
    pub fn questions_to_recall(&self) -> impl Iterator<Item = &AskedQuestion> + Clone {
        let settled = self
            .questions
            .len()
            .saturating_sub(self.live_questions().len());
        let questions = self.questions.iter().enumerate();
        questions
            .filter(move |(at, asked)| *at >= settled || asked.question.key.is_some())
            .map(|(_at, asked)| asked)
    }

    /// Whether nothing more happens to the call.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(
            self.status,
            CallStatus::Succeeded { .. } | CallStatus::Failed { .. }
        )
    }

    /// What the tool showed beside its answer.
    #[must_use]
    pub fn media(&self) -> &[AttachedFile] {
        match &self.status {
            CallStatus::Succeeded { media, .. } => media,
            _ => &[],
        }
    }

    /// What the model is told of a call that has ended.
    pub(super) fn result(&self) -> Option<ToolResultBlock> {
        let (content, is_error) = match &self.status {
            CallStatus::Succeeded {
                output: Value::String(text),
                ..
            } => (text.clone(), false),
            CallStatus::Succeeded { output, .. } => {
                (serde_json::to_string(output).unwrap_or_default(), false)
            }
            CallStatus::Failed { message, .. } => (message.clone(), true),
            CallStatus::Proposed
            | CallStatus::AwaitingApproval
            | CallStatus::Reserved
            | CallStatus::Running { .. }
            | CallStatus::AwaitingAnswer
            | CallStatus::Deferred(_)
            | CallStatus::InDoubt { .. } => return None,
        };
        let ToolProposed {
            provider_call,
            tool,
            ..
        } = &*self.proposal;
        Some(ToolResultBlock {
            id: provider_call.clone(),
            name: tool.clone(),
            content,
            is_error,
            media: self.media().iter().map(AttachedFile::file).collect(),
        })
    }
}

impl CallStatus {
    /// The status's stable name, as the ledger shows it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Reserved => "reserved",
            Self::Running { .. } => "running",
            Self::AwaitingAnswer => "awaiting_answer",
            Self::Deferred(_) => "deferred",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed {
                no_effect: true, ..
            } => "failed_no_effect",
            Self::Failed {
                no_effect: false, ..
            } => "failed",
            Self::InDoubt { .. } => "in_doubt",
        }
    }
}

impl AskedQuestion {
    /// Whether a person has let the model be called, and it has not been.
    pub(crate) fn lacks_sample(&self) -> bool {
        let reply = self.answer.as_ref().map(|answer| &answer.reply);
        reply == Some(&Reply::Granted) && self.sample.is_none()
    }
}

fn failed(code: &str, message: &str) -> CallStatus {
    CallStatus::Failed {
        code: code.to_owned(),
        message: message.to_owned(),
        no_effect: true,
    }
}

fn name(event: &Event) -> String {
    crate::record::data_of(event)
        .map(|(name, _data)| name)
        .unwrap_or_default()
}

/// The number in a call's id: what follows the last `.c`.
#[must_use]
pub fn call_number(id: &CallId) -> Option<CallNumber> {
    let (_run, last) = id.as_str().rsplit_once('.')?;
    last.strip_prefix('c')?.parse().ok()
}

/// The run in a call's id: what comes before the last `.c`.
#[must_use]
pub fn call_run(id: &CallId) -> Option<RunId> {
    id.as_str()
        .rsplit_once(".c")
        .and_then(|(run, _number)| RunId::new(run).ok())
}

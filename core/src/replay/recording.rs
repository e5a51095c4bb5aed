//! What a run recorded, in the order in which a replay asks for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use seaworthy_ports::CallId;
use seaworthy_ports::state_store::Seq;

use super::{Origin, Recall};
use crate::event::{Decision, Event, ModelCalled, ToolProposed};
use crate::harness::is_damage;
use crate::log::{self, Loaded, LogError};
use crate::record::Link;
use crate::servers::{Catalogue, ToolsListed};
use crate::stack::Ports;
use crate::state::{Call, CallNumber, CallStatus, Outcome, RunState, Stamp, call_number};

/// The source of a replay, as far as it counts.
#[derive(Debug)]
pub(crate) struct Recording {
    /// The model's answers, oldest first.
    pub(crate) answers: Vec<Answer>,
    /// Its calls.
    pub(crate) calls: BTreeMap<CallNumber, Recorded>,
    /// Which tools its servers had when it asked them, and the record that says so.
    pub(crate) listed: Option<(Seq, Arc<Catalogue>)>,
    /// When it had failed and went on, oldest first.
    pub(crate) reopenings: Vec<Reopening>,
    /// What it was in the end.
    pub(crate) state: RunState,
}

/// An answer of the model.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its record.
    pub(crate) seq: Seq,
    /// What the record continues.
    pub(crate) before: Link,
    /// How many messages the run had.
    pub(crate) messages: usize,
    /// Whether the model was asked; if not, the answer was taken from yet another run.
    pub(crate) is_first_hand: bool,
    /// The answer.
    pub(crate) called: ModelCalled,
    /// What was done to the conversation and to the tools of servers just before.
    pub(crate) context: Vec<Event>,
    /// The calls it asks for, as far as they were proposed, in order.
    pub(crate) calls: Vec<CallNumber>,
}

/// A call.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Where it was proposed.
    pub(crate) seq: Seq,
    /// As it was proposed.
    pub(crate) proposal: ToolProposed,
    /// What validation or policy said; `None`: nobody asked them.
    pub(crate) verdict: Option<Verdict>,
    /// The record that ended it, and how.
    pub(crate) ended: Option<(Seq, Recall)>,
}

/// What was said to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Validation refused it.
    Refused {
        /// The reason's stable name.
        code: String,
        /// The reason.
        message: String,
    },
    /// Policy answered.
    Decided(Decision),
}

/// A run that had failed went on.
#[derive(Debug)]
pub(crate) struct Reopening {
    /// Where.
    pub(crate) seq: Seq,
    /// How many answers the model had given.
    pub(crate) answers: usize,
    /// Why it had failed.
    pub(crate) code: String,
    /// The same for a person.
    pub(crate) message: String,
    /// Who wanted it to go on.
    pub(crate) by: String,
}

/// Why there is no recording.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// The store fails; it may not fail later.
    Now(LogError),
    /// It will never be read.
    Forever(String),
}

impl From<LogError> for Unreadable {
    fn from(error: LogError) -> Self {
        if is_damage(&error) {
            Self::Forever(error.to_string())
        } else {
            Self::Now(error)
        }
    }
}

impl Recording {
    /// Reads the source of `origin` up to where it counts, and makes sure that it is still the one it was.
    ///
    /// # Errors
    ///
    /// A source that is not there, damaged, or another one; a failing store.
    pub(crate) async fn read(ports: &Ports, origin: &Origin) -> Result<Self, Unreadable> {
        let source = &origin.source;
        let mut records = log::records(ports, source, Link::default());
        let mut reader: Option<Reader> = None;
        let mut at = Link::default();
        while at.seq < origin.head.seq {
            let Some(loaded) = records.next().await else {
                break;
            };
            let Loaded { envelope, link } = loaded?;
            if link.seq.next() == origin.from && link.digest != origin.before {
                return Err(another(origin, link.seq));
            }
            let stamp = Stamp {
                link,
                at: envelope.at,
                attempt: envelope.attempt,
            };
            let event = envelope
                .into_event()
                .map_err(|error| Unreadable::Forever(error.to_string()))?;
            let read = match &mut reader {
                None => RunState::begin(event, stamp).map(|state| {
                    reader = Some(Reader::new(state));
                }),
                Some(reader) => reader.event(event, stamp),
            };
            read.map_err(|error| Unreadable::Forever(error.to_string()))?;
            at = link;
        }
        match reader {
            Some(reader) if at == origin.head => Ok(reader.recording),
            Some(_) => Err(another(origin, at.seq)),
            None => Err(Unreadable::Forever(format!("there is no run {source}"))),
        }
    }
}

fn another(origin: &Origin, seq: Seq) -> Unreadable {
    Unreadable::Forever(format!(
        "record {seq} of {} is not the one that was replayed",
        origin.source
    ))
}

struct Reader {
    recording: Recording,
    /// What was done to the conversation since the newest answer.
    context: Vec<Event>,
}

impl Reader {
    fn new(state: RunState) -> Self {
        Self {
            recording: Recording {
                answers: Vec::new(),
                calls: BTreeMap::new(),
                listed: None,
                reopenings: Vec::new(),
                state,
            },
            context: Vec::new(),
        }
    }

    fn event(&mut self, event: Event, stamp: Stamp) -> Result<(), crate::state::FoldError> {
        let recording = &mut self.recording;
        let seq = stamp.link.seq;
        let mut about = None;
        match &event {
            Event::ModelCalled(called) => self.answered(called, seq, true),
            Event::ModelReplayed(replayed) => self.answered(&replayed.called, seq, false),
            Event::ContextCompacted(_) | Event::ContextNotCompacted(_) => {
                self.context.push(event.clone());
            }
            Event::ToolProposed(proposal) => {
                if let Some(number) = call_number(&proposal.call) {
                    let recorded = Recorded {
                        seq,
                        proposal: (**proposal).clone(),
                        verdict: None,
                        ended: None,
                    };
                    recording.calls.insert(number, recorded);
                    if let Some(answer) = recording.answers.last_mut() {
                        answer.calls.push(number);
                    }
                }
            }
            Event::ToolDecided { call, decision, .. } => {
                self.said(call, Verdict::Decided(*decision));
                about = Some(call.clone());
            }
            Event::ToolFailed {
                call,
                code,
                message,
                ..
            } => {
                let proposed = recording.state.call(call);
                if proposed.is_some_and(|call| call.status == CallStatus::Proposed) {
                    let refused = Verdict::Refused {
                        code: code.clone(),
                        message: message.clone(),
                    };
                    self.said(call, refused);
                }
                about = Some(call.clone());
            }
            Event::ToolSucceeded { call, .. } | Event::ToolResolved { call, .. } => {
                about = Some(call.clone());
            }
            Event::ToolReplayed(replayed) => about = Some(replayed.call.clone()),
            // An approval has the id of its call.
            Event::ApprovalDecided { approval, .. } => about = Some(approval.clone()),
            Event::RunReopened { by } => {
                if let Some(Outcome::Failed { code, message }) = &recording.state.outcome {
                    recording.reopenings.push(Reopening {
                        seq,
                        answers: recording.answers.len(),
                        code: code.clone(),
                        message: message.clone(),
                        by: by.clone(),
                    });
                }
            }
            _ => {}
        }
        let before = self.recording.state.catalogue.clone();
        self.recording.state.apply(event, stamp)?;
        self.catalogue_changed(before.as_deref(), seq);
        if let Some(call) = about {
            self.ended(&call, seq);
        }
        Ok(())
    }

    /// What a replay takes of a change is what it comes to: nobody notices it there, or agrees to it.
    fn catalogue_changed(&mut self, before: Option<&Catalogue>, seq: Seq) {
        let Some(now) = &self.recording.state.catalogue else {
            return;
        };
        match before {
            Some(before) if before.digest == now.digest => {}
            Some(_) => {
                let listed = ToolsListed {
                    catalogue: Catalogue::clone(now),
                    from: Some(seq),
                };
                self.context.push(Event::ToolsListed(Box::new(listed)));
            }
            None => self.recording.listed = Some((seq, Arc::clone(now))),
        }
    }

    fn answered(&mut self, called: &ModelCalled, seq: Seq, is_first_hand: bool) {
        let state = &self.recording.state;
        let answer = Answer {
            seq,
            before: state.link,
            messages: state.messages.len(),
            is_first_hand,
            called: called.clone(),
            context: std::mem::take(&mut self.context),
            calls: Vec::new(),
        };
        self.recording.answers.push(answer);
    }

    fn said(&mut self, call: &CallId, verdict: Verdict) {
        let number = call_number(call);
        if let Some(recorded) = number.and_then(|number| self.recording.calls.get_mut(&number)) {
            recorded.verdict = Some(verdict);
        }
    }

    fn ended(&mut self, id: &CallId, seq: Seq) {
        let result = self.recording.state.call(id).and_then(recall);
        let number = call_number(id);
        if let Some(result) = result
            && let Some(recorded) = number.and_then(|number| self.recording.calls.get_mut(&number))
            && recorded.ended.is_none()
        {
            recorded.ended = Some((seq, result));
        }
    }
}

fn recall(call: &Call) -> Option<Recall> {
    match &call.status {
        CallStatus::Succeeded { media, output } => Some(Recall::Succeeded {
            media: media.clone(),
            output: output.clone(),
        }),
        CallStatus::Failed {
            code,
            message,
            no_effect,
        } => Some(Recall::Failed {
            code: code.clone(),
            message: message.clone(),
            no_effect: *no_effect,
        }),
        CallStatus::Proposed
        | CallStatus::AwaitingApproval
        | CallStatus::Reserved
        | CallStatus::Running { .. }
        | CallStatus::AwaitingAnswer
        | CallStatus::Deferred(_)
        | CallStatus::InDoubt { .. } => None,
    }
}

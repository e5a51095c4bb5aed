//! What a replay takes from its source instead of doing it. All of it goes into the replay's own log before anything that
//! follows from it, so a crash at any point neither loses nor repeats it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_ports::model_provider::{ToolCallBlock, Usage};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{CallId, Digest};

use super::{Held, Stop, reproduce};
use crate::agent::Agent;
use crate::event::{Decision, Event, ToolProposed};
use crate::machine::{CRASH_LOOP, Step};
use crate::replay::{
    Answer, Deviated, Mode, ModelReplayed, Origin, Part, Recorded, Recording, SOURCE, ToolReplayed,
    Unmatched, Unreadable, excerpt,
};
use crate::servers::{Catalogue, ToolsListed};
use crate::state::{CallNumber, Outcome};
use crate::tool::{SideEffect, code};

/// The source of a replay while a turn holds the replay.
#[derive(Debug)]
pub(super) struct Replaying {
    pub(super) origin: Origin,
    pub(super) recording: Arc<Recording>,
    /// The agent of a strict replay, whose models are never asked, or why there is none.
    pub(super) agent: Option<Result<Arc<Agent>, String>>,
    /// The tools of servers that this agent has.
    catalogue: Option<Digest>,
}

impl Held<'_> {
    /// What is left to do of what comes next, once a replay has taken what its source has. `None`: something was taken,
    /// so another thing comes next.
    pub(super) async fn replay(&mut self, step: Step) -> Result<Option<Step>, Stop> {
        if self.state().submitted.replay.is_none() || step == Step::Ended {
            return Ok(Some(step));
        }
        let Some(replaying) = self.replaying().await? else {
            return Ok(None);
        };
        let is_strict = replaying.origin.mode == Mode::Strict;
        match step {
            Step::ListTools => self.take_tools(&replaying, step).await,
            Step::CallModel => self.take_answer(&replaying, step).await,
            Step::Propose => self.take_calls(&replaying, step).await,
            // Why workers die is no matter of the record.
            Step::Fail {
                code: CRASH_LOOP, ..
            } => Ok(Some(step)),
            Step::Fail { .. } => {
                if self.reopen_as_recorded(&replaying).await? {
                    Ok(None)
                } else if is_strict {
                    self.end_as_recorded(&replaying.recording, step).await
                } else {
                    Ok(Some(step))
                }
            }
            Step::Answer(_) | Step::Work(_) | Step::Wait(_) if is_strict => {
                self.end_as_recorded(&replaying.recording, step).await
            }
            // Judging an answer is done anew: it comes to the same unless something has changed, which shows next.
            Step::Reject(_) => Ok(Some(step)),
            Step::Ended | Step::Answer(_) | Step::Work(_) | Step::Wait(_) => Ok(Some(step)),
        }
    }

    /// What the source recorded, or the replay's end.
    async fn replaying(&mut self) -> Result<Option<Arc<Replaying>>, Stop> {
        let state = &self.writer.state;
        let submitted = &state.submitted;
        let catalogue = state.catalogue.as_deref();
        let digest = catalogue.map(|catalogue| catalogue.digest);
        if let Some(replaying) = &self.replaying {
            if replaying.agent.is_none() || replaying.catalogue == digest {
                return Ok(Some(Arc::clone(replaying)));
            }
            let replaying = Arc::new(Replaying {
                origin: replaying.origin.clone(),
                recording: Arc::clone(&replaying.recording),
                agent: Some(reproduce::agent(submitted, catalogue)),
                catalogue: digest,
            });
            self.replaying = Some(Arc::clone(&replaying));
            return Ok(Some(replaying));
        }
        let Some(origin) = submitted.replay.as_deref().cloned() else {
            return Ok(None);
        };
        let agent = (origin.mode == Mode::Strict).then(|| reproduce::agent(submitted, catalogue));
        let recording = match Recording::read(&self.driver.ports, &origin).await {
            Ok(recording) => recording,
            // Nobody has taken this run over: it is another one that cannot be read.
            Err(Unreadable::Now(error)) => {
                return Err(Stop::Later {
                    after: Duration::from_secs(1),
                    why: error.to_string(),
                });
            }
            Err(Unreadable::Forever(why)) => {
                let message = format!("the run that is replayed cannot be read: {why}");
                self.fail(SOURCE, message).await?;
                return Ok(None);
            }
        };
        let replaying = Arc::new(Replaying {
            origin,
            recording: Arc::new(recording),
            agent,
            catalogue: digest,
        });
        self.replaying = Some(Arc::clone(&replaying));
        Ok(Some(replaying))
    }

    /// Takes what the source's servers said. A strict replay asks none.
    async fn take_tools(
        &mut self,
        replaying: &Replaying,
        step: Step,
    ) -> Result<Option<Step>, Stop> {
        let Replaying {
            origin, recording, ..
        } = replaying;
        match &recording.listed {
            Some((seq, catalogue)) if origin.takes(*seq) => {
                let listed = ToolsListed {
                    catalogue: Catalogue::clone(catalogue),
                    from: Some(*seq),
                };
                self.writer
                    .record(Event::ToolsListed(Box::new(listed)))
                    .await?;
                Ok(None)
            }
            Some(_) | None if origin.mode != Mode::Strict => Ok(Some(step)),
            Some(_) | None if recording.answers.is_empty() => {
                self.end_as_recorded(recording, step).await
            }
            Some(_) | None => {
                let found = "tools of servers, which nobody asked for them";
                let deviated =
                    reproduce::deviated(origin.from, Part::Tools, "no tools of servers", found);
                self.deviate(deviated).await
            }
        }
    }

    async fn take_answer(
        &mut self,
        replaying: &Replaying,
        step: Step,
    ) -> Result<Option<Step>, Stop> {
        let Replaying {
            origin, recording, ..
        } = replaying;
        if self.reopen_as_recorded(replaying).await? {
            return Ok(None);
        }
        // All answers so far are the source's, or this one lies behind what is taken.
        let next = recording.answers.get(self.state().answers());
        let Some(answer) = next.filter(|answer| origin.takes(answer.seq)) else {
            return match origin.mode {
                Mode::Strict => self.end_as_recorded(recording, step).await,
                Mode::Hybrid | Mode::Live => Ok(Some(step)),
            };
        };
        if answer.seq >= origin.from
            && let Some(deviated) = reproduce::request(replaying, answer, self.state())?
        {
            return self.deviate(deviated).await;
        }
        // One append for a turn: the answer, and then what became of its calls.
        self.commit().await?;
        for event in &answer.context {
            self.writer.record(unpaid(event)).await?;
        }
        let replayed = ModelReplayed {
            called: answer.called.clone(),
            from: answer.seq,
        };
        self.writer
            .record(Event::ModelReplayed(Box::new(replayed)))
            .await?;
        Ok(None)
    }

    /// Fails and goes on where the source did: it had its turns anew from there.
    async fn reopen_as_recorded(&mut self, replaying: &Replaying) -> Result<bool, Stop> {
        let state = self.state();
        let index = usize::try_from(state.reopened).unwrap_or(usize::MAX);
        let reopening =
            replaying.recording.reopenings.get(index).filter(|known| {
                replaying.origin.takes(known.seq) && known.answers == state.answers()
            });
        let Some(reopening) = reopening else {
            return Ok(false);
        };
        self.fail(&reopening.code, reopening.message.clone())
            .await?;
        let by = reopening.by.clone();
        self.writer.record(Event::RunReopened { by }).await?;
        Ok(true)
    }

    async fn take_calls(
        &mut self,
        replaying: &Replaying,
        step: Step,
    ) -> Result<Option<Step>, Stop> {
        let Replaying {
            origin,
            recording,
            agent,
            ..
        } = replaying;
        let answer = self
            .state()
            .answers()
            .checked_sub(1)
            .and_then(|newest| recording.answers.get(newest))
            .filter(|answer| origin.takes(answer.seq));
        if answer.is_none() && origin.mode == Mode::Live {
            return Ok(Some(step));
        }
        let agent = match agent {
            Some(Ok(agent)) => Arc::clone(agent),
            Some(Err(why)) => {
                let at = answer.map_or(origin.from, |answer| answer.seq);
                return self.deviate(reproduce::no_agent(at, why)).await;
            }
            None => match self.agent().await? {
                Some(agent) => agent,
                None => return Ok(None),
            },
        };
        let mut taking = Taking {
            replaying,
            answer,
            agent: &agent,
            used: self
                .state()
                .calls
                .values()
                .filter_map(|call| call.replayed)
                .collect(),
        };
        let mut number = self.state().next_call();
        let newest = self.state().messages.last();
        let wishes: Vec<ToolCallBlock> = newest
            .map(|message| message.tool_calls().cloned().collect())
            .unwrap_or_default();
        let mut events = Vec::new();
        for (index, wish) in wishes.iter().enumerate() {
            match taking.call(self, index, number, wish)? {
                Ok(more) => events.extend(more),
                Err(deviated) => return self.deviate(*deviated).await,
            }
            number = number.saturating_add(1);
        }
        for event in events {
            self.writer.record(event).await?;
        }
        Ok(None)
    }

    /// Ends a strict replay as its source ended, if that is what the record has now.
    async fn end_as_recorded(
        &mut self,
        recording: &Recording,
        step: Step,
    ) -> Result<Option<Step>, Stop> {
        let at = recording.state.link.seq;
        if let (Step::Fail { .. } | Step::Answer(_), Some(next)) =
            (&step, recording.answers.get(self.state().answers()))
        {
            let expected = format!("another answer of {}", next.called.model);
            return self
                .deviate(reproduce::deviated(
                    next.seq,
                    Part::Turns,
                    &expected,
                    &shown(&step),
                ))
                .await;
        }
        match (recording.state.outcome.clone(), step) {
            (Some(Outcome::Succeeded { output }), Step::Answer(answer)) if output == answer => {
                Ok(Some(Step::Answer(answer)))
            }
            (Some(Outcome::Failed { code: recorded, .. }), Step::Fail { code, message })
                if recorded == code =>
            {
                Ok(Some(Step::Fail { code, message }))
            }
            (Some(Outcome::Succeeded { output }), step) => {
                let expected = format!("the answer {}", excerpt(&output));
                let deviated = reproduce::deviated(at, Part::End, &expected, &shown(&step));
                self.deviate(deviated).await
            }
            (Some(Outcome::Failed { code, message }), _) => {
                self.fail(&code, message).await?;
                Ok(None)
            }
            (Some(Outcome::Cancelled { by, reason }), _) => {
                let event = Event::RunCancelled { by, reason };
                self.writer.record(event).await?;
                Ok(None)
            }
            (None, step) => {
                let deviated =
                    reproduce::deviated(at, Part::End, "no end of the run", &shown(&step));
                self.deviate(deviated).await
            }
        }
    }

    async fn deviate(&mut self, deviated: Deviated) -> Result<Option<Step>, Stop> {
        let message = deviated.to_string();
        self.writer
            .record(Event::ReplayDeviated(Box::new(deviated)))
            .await?;
        self.fail(crate::replay::DEVIATED, message).await?;
        Ok(None)
    }

    async fn fail(&mut self, code: &str, message: String) -> Result<(), Stop> {
        let code = code.to_owned();
        self.writer
            .record(Event::RunFailed { code, message })
            .await?;
        Ok(())
    }
}

/// The calls of one answer, one after the other.
struct Taking<'a> {
    replaying: &'a Replaying,
    /// The answer, where it is the source's.
    answer: Option<&'a Answer>,
    agent: &'a Agent,
    /// The records whose result a call has got. Each gives its result once.
    used: BTreeSet<Seq>,
}

type Events = Result<Vec<Event>, Box<Deviated>>;

impl<'a> Taking<'a> {
    /// What becomes of the `index`-th call of the answer.
    fn call(
        &mut self,
        held: &Held<'_>,
        index: usize,
        number: CallNumber,
        wish: &ToolCallBlock,
    ) -> Result<Events, Stop> {
        let Replaying {
            origin, recording, ..
        } = self.replaying;
        let of_source = self.answer.and_then(|answer| answer.calls.get(index));
        let recorded = of_source.and_then(|number| Some((*number, recording.calls.get(number)?)));
        let is_strict = origin.mode == Mode::Strict;
        if is_strict
            && let Some((number, recorded)) = recorded
            && recorded.seq >= origin.from
            && let Some(deviated) =
                reproduce::call(self.agent, &origin.source, number, wish, recorded)?
        {
            return Ok(Err(Box::new(deviated)));
        }
        let submitted = &held.state().submitted;
        let grants_all = submitted.grants_all.as_deref().filter(|_by| !is_strict);
        let events = self
            .agent
            .gateway
            .propose(&submitted.run, number, wish, grants_all)
            .map_err(reproduce::unwritable)?;
        if let Some((_number, recorded)) = recorded
            && let Some((seq, _result)) = &recorded.ended
            && origin.takes(*seq)
        {
            return Ok(Ok(self.taken(events, recorded)));
        }
        if origin.mode == Mode::Hybrid && !is_refused(&events) {
            let Some(proposal) = proposal(&events) else {
                return Ok(Ok(events));
            };
            if let Some(recorded) = self.same_call(proposal) {
                return Ok(Ok(self.taken(events, recorded)));
            }
            return Ok(Ok(unmatched(events, origin.unmatched)));
        }
        Ok(Ok(events))
    }

    /// The first recorded call of that tool with those arguments whose result nobody has got yet.
    fn same_call(&self, proposal: &ToolProposed) -> Option<&'a Recorded> {
        let recording: &'a Recording = &self.replaying.recording;
        recording.calls.values().find(|recorded| {
            recorded.proposal.tool == proposal.tool
                && recorded.proposal.arguments == proposal.arguments
                && recorded
                    .ended
                    .as_ref()
                    .is_some_and(|(seq, _result)| !self.used.contains(seq))
        })
    }

    /// The proposal without what policy says of it, since the call is not made, and the recorded result.
    fn taken(&mut self, events: Vec<Event>, recorded: &Recorded) -> Vec<Event> {
        let Some((from, result)) = recorded.ended.clone() else {
            return events;
        };
        let Some(Event::ToolProposed(mut proposal)) = events.into_iter().next() else {
            return Vec::new();
        };
        // The agent may have no such tool any more; what was done is what it was.
        proposal.side_effect = recorded.proposal.side_effect;
        proposal.risk = recorded.proposal.risk;
        let call = proposal.call.clone();
        self.used.insert(from);
        let replayed = ToolReplayed { call, from, result };
        vec![
            Event::ToolProposed(proposal),
            Event::ToolReplayed(Box::new(replayed)),
        ]
    }
}

fn proposal(events: &[Event]) -> Option<&ToolProposed> {
    match events.first() {
        Some(Event::ToolProposed(proposal)) => Some(proposal),
        _ => None,
    }
}

fn is_refused(events: &[Event]) -> bool {
    let is_refusal =
        |event: &Event| matches!(event, Event::ToolFailed { code, .. } if code == code::INVALID);
    events.iter().any(is_refusal)
}

/// A call that is not on record: made where it only reads, else held to `rule`, whatever the tool's own.
fn unmatched(events: Vec<Event>, rule: Unmatched) -> Vec<Event> {
    let Some(proposal) = proposal(&events) else {
        return events;
    };
    if proposal.side_effect == SideEffect::ReadOnly {
        return events;
    }
    let (call, digest): (CallId, _) = (proposal.call.clone(), proposal.proposal);
    let accepts = events.iter().find_map(|event| match event {
        Event::ApprovalRequested { accepts, .. } => *accepts,
        _ => None,
    });
    let (decision, reason) = match rule {
        Unmatched::Refuse => (
            Decision::Deny,
            "the run that is replayed made no such call, and this replay changes nothing",
        ),
        Unmatched::Ask => (
            Decision::RequireApproval,
            "the run that is replayed made no such call",
        ),
    };
    let mut held: Vec<Event> = events.into_iter().take(1).collect();
    held.push(Event::ToolDecided {
        call: call.clone(),
        decision,
        reason: reason.to_owned(),
    });
    if decision == Decision::RequireApproval {
        held.push(Event::ApprovalRequested {
            accepts,
            approval: call.clone(),
            call,
            proposal: digest,
        });
    }
    held
}

/// What was done to the conversation, without what the source used and paid for it.
fn unpaid(event: &Event) -> Event {
    let mut event = event.clone();
    match &mut event {
        Event::ContextCompacted(compacted) => {
            compacted.usage = Usage::default();
            compacted.cost = None;
        }
        Event::ContextNotCompacted(kept) => {
            kept.usage = Usage::default();
            kept.cost = None;
        }
        _ => {}
    }
    event
}

/// What comes next, in short.
fn shown(step: &Step) -> String {
    match step {
        Step::Ended => "the end".to_owned(),
        Step::Fail { code, message } => excerpt(&format!("the failure {code}: {message}")),
        Step::ListTools => "a question to the agent's servers".to_owned(),
        Step::CallModel => "a request to the model".to_owned(),
        Step::Propose => "calls of the newest answer".to_owned(),
        Step::Work(work) => {
            let calls: Vec<&str> = work.iter().map(|one| one.call().as_str()).collect();
            excerpt(&format!("the work on {}", calls.join(", ")))
        }
        Step::Wait(reason) => format!("a wait for {}", reason.as_str()),
        Step::Answer(output) => format!("the answer {}", excerpt(output)),
        Step::Reject(faults) => excerpt(&format!(
            "an answer that does not fit: {}",
            faults.join("; ")
        )),
    }
}

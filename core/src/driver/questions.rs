//! What servers ask while their calls are made: put on record, answered by a person or by the run's model.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_channel::{mpsc, oneshot};
use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt as _};
use seaworthy_ports::model_provider::{Block, Message};
use seaworthy_ports::{CallId, Digest, Latch, LatchSetter, ServerAlias, SignalId};

use super::model_call::Answer;
use super::model_try::Asking;
use super::tool_call::Finished;
use super::{Held, Stop};
use crate::agent::Agent;
use crate::descriptor::ServerSpec;
use crate::event::{Event, QuestionSampled};
use crate::machine::Work;
use crate::millis;
use crate::servers::{
    Ask, Connections, Heard, Hearing, Known, MAX_CONVERSATION_BYTES, MAX_QUESTIONS, Question,
    Reply, Sample, Wants,
};
use crate::state::{AskedQuestion, Call, CallStatus};

/// The way of questions from the calls that are being made to whoever holds the run.
#[derive(Debug)]
pub(super) struct Questions {
    asks: mpsc::UnboundedSender<Ask>,
    /// Bounded by what the adapter lets a server ask at once.
    asked: mpsc::UnboundedReceiver<Ask>,
    /// What calls each call off.
    stops: BTreeMap<CallId, LatchSetter>,
    /// Where answers are waited for. One whose call was called off stays until the next: dropping it would answer the
    /// server, which is to learn first that nobody waits for its result.
    replies: BTreeMap<CallId, oneshot::Sender<Reply>>,
}

impl Default for Questions {
    fn default() -> Self {
        let (asks, asked) = mpsc::unbounded();
        Self {
            asks,
            asked,
            stops: BTreeMap::new(),
            replies: BTreeMap::new(),
        }
    }
}

impl Questions {
    /// The next one.
    pub(super) async fn next(&mut self) -> Ask {
        match self.asked.next().await {
            Some(ask) => ask,
            // It holds a sender itself.
            None => std::future::pending().await,
        }
    }

    /// Hears what `server` asks while it works on `call`, if it may ask anything; the latch calls the call off.
    pub(super) fn hear(
        &mut self,
        call: &Call,
        server: &ServerAlias,
        servers: &Connections,
    ) -> Option<(Heard, Latch)> {
        let desk = servers.desk(server)?;
        let id = &call.proposal.call;
        let (stop, stopped) = Latch::new();
        self.stops.insert(id.clone(), stop);
        let task = match &call.status {
            CallStatus::Deferred(task) => Some(task.task.clone()),
            _ => None,
        };
        let asked = call.questions.len();
        let hearing = Hearing::new(id.clone(), task, asked, known(call), self.asks.clone());
        Some((desk.hear(hearing), stopped))
    }

    /// No call is being made any more.
    pub(super) fn rest(&mut self) {
        self.stops.clear();
    }

    /// A person has answered the open question of `call`.
    pub(super) fn answer(&mut self, call: &CallId, reply: Reply) {
        if let Some(waiting) = self.replies.remove(call) {
            // Nobody waits any more where the call has ended meanwhile.
            let _gone = waiting.send(reply);
        }
    }
}

/// What the record says of the questions that the call's server may ask again.
fn known(call: &Call) -> Vec<Known> {
    let answered = call.questions_to_recall().filter_map(|asked| {
        Some(Known {
            question: asked.question.digest,
            reply: asked.answer.as_ref()?.reply.clone(),
            sample: asked.sample.clone(),
        })
    });
    answered.collect()
}

impl Held<'_> {
    /// The server of the tool that this work calls, if it is a server's.
    pub(super) fn server_of(&self, work: &Work) -> Option<&ServerAlias> {
        let state = self.state();
        let call = state.call(work.call())?;
        let tools = &state.catalogue.as_deref()?.tools;
        tools
            .get(call.proposal.tool.as_str())
            .map(|tool| &tool.server)
    }

    /// Of the calls of a server that may ask something, the first: whose question it is must be certain.
    pub(super) fn one_by_one(&self, agent: &Agent, work: Vec<Work>) -> Vec<Work> {
        let mut taken = Vec::new();
        work.into_iter()
            .filter(|one| {
                let asks = |alias: &&ServerAlias| {
                    let server = agent.servers.get(*alias);
                    server.is_some_and(ServerSpec::may_ask)
                };
                let Some(server) = self.server_of(one).filter(asks) else {
                    return true;
                };
                let is_first = !taken.contains(server);
                taken.push(server.clone());
                is_first
            })
            .collect()
    }

    /// Does what a server asks for. Calls go on meanwhile; those that end are put into `ended`.
    pub(super) async fn hear_server(
        &mut self,
        agent: &Agent,
        ask: Ask,
        running: &mut (impl Stream<Item = Finished> + Unpin),
        ended: &mut Vec<Finished>,
    ) -> Result<(), Stop> {
        let call = match &ask {
            Ask::Person { call, .. } | Ask::Model { call, .. } => call.clone(),
        };
        let is_made = |call: &Call| {
            matches!(
                call.status,
                CallStatus::Running { .. } | CallStatus::Deferred(_)
            )
        };
        // Dropping what it sent tells it that nobody answers.
        if !self.state().call(&call).is_some_and(is_made) {
            return Ok(());
        }
        match ask {
            Ask::Person {
                question, reply, ..
            } => self.ask_person(call, question, reply).await,
            Ask::Model {
                question, sample, ..
            } => {
                // The server of a task may have asked twice, over two connections.
                if let Some(known) = self.sampled(&call, question.digest) {
                    let _gone = sample.send(known);
                    return Ok(());
                }
                let sampled = {
                    let others = std::pin::pin!(async {
                        while let Some(one) = running.next().await {
                            ended.push(one);
                        }
                    });
                    let asked = std::pin::pin!(self.ask_model_for(agent, call, question));
                    match select(asked, others).await {
                        Either::Left((sampled, _others)) => sampled,
                        Either::Right(((), asked)) => asked.await,
                    }
                };
                // Nobody waits any more where the call has ended meanwhile.
                let _gone = sample.send(sampled?);
                Ok(())
            }
        }
    }

    /// What is told a server whose question no model is to be called for: what one said before, or nothing.
    fn sampled(&self, call: &CallId, question: Digest) -> Option<Option<Sample>> {
        let asked = self.state().call(call)?.questions_to_recall();
        let mut asked = asked.filter(|asked| asked.question.digest == question);
        let is_due = asked.clone().any(AskedQuestion::lacks_sample);
        (!is_due).then(|| asked.find_map(|asked| asked.sample.clone()))
    }

    /// Puts a person's answer on record, and lets the call have it that waits for it.
    pub(super) async fn hear_answer(
        &mut self,
        signal: SignalId,
        call: CallId,
        question: Digest,
        reply: Reply,
        by: String,
    ) -> Result<(), Stop> {
        let open = self.state().call(&call).and_then(Call::open_question);
        let is_open =
            open.is_some_and(|open| open.digest == question && open.check(&reply).is_ok());
        if !is_open {
            let note = "no such question is open".to_owned();
            self.writer
                .record(Event::SignalReceived {
                    note,
                    signal: signal.clone(),
                })
                .await?;
            self.heard.push(signal);
            return Ok(());
        }
        self.writer
            .record(Event::QuestionAnswered {
                by,
                call: call.clone(),
                question,
                reply: reply.clone(),
            })
            .await?;
        self.heard.push(signal);
        // The server gets nothing that is not on record.
        self.commit().await?;
        self.questions.answer(&call, reply);
        Ok(())
    }

    /// Puts a question on record. Whoever waits for the answer of a call that may be repeated occupies no worker: the call
    /// is called off. So is the listening to the server of a task, which goes on by itself.
    async fn ask_person(
        &mut self,
        call: CallId,
        question: Question,
        reply: oneshot::Sender<Reply>,
    ) -> Result<(), Stop> {
        let state = self.state();
        let Some(known) = state.call(&call) else {
            return Ok(());
        };
        if known.questions.len() >= MAX_QUESTIONS {
            return Ok(());
        }
        let may_be_called_off = matches!(known.status, CallStatus::Deferred(_))
            || known.proposal.side_effect.is_repeatable();
        let granted = state
            .submitted
            .grants_all
            .clone()
            .filter(|_by| matches!(question.wants, Wants::Model { .. }));
        let digest = question.digest;
        let is_open = known.open_question().map(|open| open.digest) == Some(digest);
        // A person has it already, if a call was made again before it was answered.
        if !is_open {
            self.writer
                .record(Event::QuestionAsked {
                    call: call.clone(),
                    question: Box::new(question),
                })
                .await?;
        }
        if let Some(by) = granted {
            self.writer
                .record(Event::QuestionAnswered {
                    by,
                    call,
                    question: digest,
                    reply: Reply::Granted,
                })
                .await?;
            self.commit().await?;
            let _gone = reply.send(Reply::Granted);
            return Ok(());
        }
        self.commit().await?;
        self.questions.replies.insert(call.clone(), reply);
        if may_be_called_off && let Some(stop) = self.questions.stops.get(&call) {
            stop.set();
        }
        Ok(())
    }

    /// Calls the model for a server, as often as its policy says, and puts its answer on record before the server gets it.
    /// `None`: nobody answered, and the server is refused.
    async fn ask_model_for(
        &mut self,
        agent: &Agent,
        call: CallId,
        question: Question,
    ) -> Result<Option<Sample>, Stop> {
        let Wants::Model {
            instructions,
            max_tokens,
            messages,
        } = &question.wants
        else {
            return Ok(None);
        };
        let asking = Asking::Sample {
            instructions: &instructions.as_deref().unwrap_or_default().into(),
            messages: &Arc::new(
                messages
                    .iter()
                    .map(|said| Message {
                        role: said.role,
                        blocks: vec![Block::Text {
                            text: said.text.clone(),
                            opaque: None,
                        }],
                    })
                    .collect(),
            ),
            max_tokens: *max_tokens,
        };
        let clock = Arc::clone(&self.driver.ports.clock);
        let begun = clock.now();
        let mut failed = Vec::new();
        for candidate in agent.candidates() {
            let Answer::Given(reply) = self.ask(agent, candidate, asking, &mut failed).await?
            else {
                continue;
            };
            let mut text = reply.message.text();
            if text.len() > MAX_CONVERSATION_BYTES {
                let end = text.floor_char_boundary(MAX_CONVERSATION_BYTES);
                text.truncate(end);
            }
            let sample = Sample {
                model: candidate.model.name.clone(),
                text,
            };
            let price = candidate.settings.price.as_ref();
            let sampled = QuestionSampled {
                call,
                cost: price.and_then(|price| price.of(reply.usage)),
                duration_ms: millis::of(clock.now().since(begun)),
                provider: candidate.provider().to_owned(),
                question: question.digest,
                sample: sample.clone(),
                usage: reply.usage,
            };
            self.writer
                .record(Event::QuestionSampled(Box::new(sampled)))
                .await?;
            self.commit().await?;
            return Ok(Some(sample));
        }
        Ok(None)
    }
}

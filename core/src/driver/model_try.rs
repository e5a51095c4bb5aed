//! One try of a model call: streamed, shown, watched for silence, heard over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{Either, select};
use seaworthy_ports::model_provider::{
    BlockKind, Kind, Message, ModelError, ModelEvent, ModelReply, ModelRequest, assemble,
};
use seaworthy_ports::{Latch, PortError};

use super::context::summary_instructions;
use super::{Held, Stop};
use crate::agent::{Agent, Candidate};
use crate::live::Live;
use crate::parameters;

/// What a model is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asking<'a> {
    /// What comes next in the conversation. It is shown live.
    Answer,
    /// A summary of what is told in these messages.
    Summary(&'a Arc<Vec<Message>>),
    /// What comes next in a conversation of a server, in the place of its user.
    Sample {
        /// What the server has the model told first.
        instructions: &'a Arc<str>,
        /// The conversation.
        messages: &'a Arc<Vec<Message>>,
        /// The most tokens of the answer.
        max_tokens: u32,
    },
}

impl Held<'_> {
    /// One try; mail that arrives meanwhile is heard, and ends the turn where it ends the run.
    pub(super) async fn try_model(
        &mut self,
        agent: &Agent,
        candidate: &Candidate,
        asking: Asking<'_>,
    ) -> Result<Result<ModelReply, ModelError>, Stop> {
        // Told to be given up where the turn ends before the call does.
        self.model_call = Some(self.observed.model_call(candidate));
        let tried = self.stream_model(agent, candidate, asking).await?;
        if let Some(call) = self.model_call.take() {
            call.end(&tried);
        }
        Ok(tried)
    }

    async fn stream_model(
        &mut self,
        agent: &Agent,
        candidate: &Candidate,
        asking: Asking<'_>,
    ) -> Result<Result<ModelReply, ModelError>, Stop> {
        let timeout = self.driver.settings.model.timeout;
        let clock = Arc::clone(&self.driver.ports.clock);
        let (stop, cancel) = Latch::new();
        let request = self.request(agent, candidate, asking, cancel);
        let chunks = self.model_call.as_mut().map(|call| {
            call.asks(&request);
            (call.chunks(), Arc::clone(&clock))
        });
        let relay = self.driver.relay.clone();
        let run = self.state().run().clone();
        let stream = candidate.model.provider.stream(request);
        let streamed = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&streamed);
        let is_shown = matches!(asking, Asking::Answer);
        let mut shown = BTreeMap::new();
        let mut call = Box::pin(assemble(stream, move |event| match event {
            ModelEvent::BlockStarted { block, kind } => {
                shown.insert(*block, kind.clone());
            }
            ModelEvent::BlockDelta { block, delta } => {
                seen.store(true, Ordering::Relaxed);
                if let Some((chunks, clock)) = &chunks {
                    chunks.came(&**clock);
                }
                if !is_shown {
                    return;
                }
                let delta = delta.clone();
                match shown.get(block) {
                    Some(BlockKind::Text | BlockKind::Refusal) => {
                        relay.show(&run, &Live::Text { delta });
                    }
                    Some(BlockKind::Reasoning) => relay.show(&run, &Live::Reasoning { delta }),
                    Some(BlockKind::ToolCall { .. }) | None => {}
                }
            }
            _ => {}
        }));
        let mut late = clock.sleep_until(clock.now().plus(timeout));
        loop {
            let signal = {
                let mail = std::pin::pin!(self.mail());
                match select(select(&mut call, &mut late), mail).await {
                    Either::Left((Either::Left((outcome, _late)), _mail)) => return Ok(outcome),
                    Either::Left((Either::Right(((), _call)), _mail)) => {
                        stop.set();
                        let why = format!("no complete answer within {} s", timeout.as_secs());
                        let mut error: ModelError =
                            PortError::new(Kind::Timeout, candidate.provider(), "stream", why)
                                .with_unknown_effect()
                                .into();
                        error.response_started = streamed.load(Ordering::Relaxed);
                        return Ok(Err(error));
                    }
                    Either::Right((signal, _call)) => signal,
                }
            };
            self.hear(signal).await?;
        }
    }

    fn request(
        &mut self,
        agent: &Agent,
        candidate: &Candidate,
        asking: Asking<'_>,
        cancel: Latch,
    ) -> ModelRequest {
        let brief = agent.brief(candidate);
        let request = ModelRequest {
            model: candidate.model.name.clone(),
            instructions: brief.instructions,
            messages: Arc::default(),
            tools: brief.tools,
            output_schema: brief.output_schema,
            max_output_tokens: candidate.settings.max_output_tokens,
            parameters: Arc::new(match asking {
                Asking::Answer => parameters::as_asked(agent, candidate, &self.state().messages),
                Asking::Summary(_) | Asking::Sample { .. } => {
                    parameters::for_summary(&candidate.settings.parameters)
                }
            }),
            idle_timeout: self.driver.settings.model.idle_timeout,
            cancel,
        };
        match asking {
            Asking::Answer => ModelRequest {
                messages: self.conversation_for(agent, candidate),
                ..request
            },
            Asking::Sample {
                instructions,
                messages,
                max_tokens,
            } => ModelRequest {
                instructions: Arc::clone(instructions),
                messages: Arc::clone(messages),
                tools: Arc::default(),
                output_schema: None,
                max_output_tokens: Some(
                    request
                        .max_output_tokens
                        .map_or(max_tokens, |most| most.min(max_tokens)),
                ),
                ..request
            },
            Asking::Summary(transcript) => ModelRequest {
                instructions: summary_instructions(),
                messages: Arc::clone(transcript),
                tools: Arc::default(),
                output_schema: None,
                ..request
            },
        }
    }
}

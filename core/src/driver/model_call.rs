//! One model call of a turn: tried, waited for, recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use seaworthy_ports::durable_runtime::{Signal, Then};
use seaworthy_ports::model_provider::{
    BlockKind, FinishReason, Kind, ModelError, ModelEvent, ModelReply, ModelRequest, assemble,
};
use seaworthy_ports::observer::{Fact, ModelCallEnd};
use seaworthy_ports::{Digest, Latch, PortError, Retry};
use serde::Serialize;

use super::{Held, Stop};
use crate::agent::Agent;
use crate::canonical_json;
use crate::event::{Event, ModelCalled, WaitReason};
use crate::live::Live;
use crate::record::Link;

/// How often a model is tried and how long it is waited for.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// Tries of one call.
    pub tries: u32,
    /// The first delay between two tries; each further one is twice as long.
    pub first_delay: Duration,
    /// The longest delay between two tries; a provider that asks for more is left alone until then, without a worker.
    pub longest_delay: Duration,
    /// How long one try may take.
    pub timeout: Duration,
    /// How long a stream may be silent.
    pub idle_timeout: Duration,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            tries: 3,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(20),
            timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(120),
        }
    }
}

/// What the digest of a request is made of.
#[derive(Serialize)]
struct Asked<'a> {
    instructions: &'a str,
    log: Link,
    messages: usize,
    model: &'a str,
}

/// What one try came to.
enum Tried {
    Reply(ModelReply),
    Failed(ModelError),
    Mail(Signal),
}

impl Held<'_> {
    /// Calls the model and records its answer. Returns when to come back if the provider wants to be left alone.
    pub(super) async fn call_model(&mut self) -> Result<Option<Then>, Stop> {
        let Some(agent) = self.agent().await? else {
            return Ok(None);
        };
        // From here on the attempt must be on record: a crash in the call counts.
        self.commit().await?;
        self.fit_context(&agent).await?;
        let started = self.driver.ports.clock.now();
        let mut tries = 0_u32;
        loop {
            tries = tries.saturating_add(1);
            self.observe_model_started(&agent);
            let tried = self.try_model(&agent).await?;
            let duration = self.driver.ports.clock.now().since(started);
            self.observe_model_ended(&agent, &tried, duration);
            let error = match tried {
                Tried::Mail(_) => return Ok(None),
                Tried::Reply(reply) => match unusable(&reply) {
                    None => {
                        self.record_reply(&agent, reply, duration, tries).await?;
                        return Ok(None);
                    }
                    Some(error) => error,
                },
                Tried::Failed(error) => error,
            };
            match self.delay(&error, tries) {
                Some(delay) if delay <= self.driver.settings.model.longest_delay => {
                    let until = self.driver.ports.clock.now().plus(delay);
                    self.wait_until(until).await?;
                    self.look().await?;
                }
                Some(delay) => {
                    let until = self.driver.ports.clock.now().plus(delay);
                    self.record_failure(&error, tries).await?;
                    return self
                        .park(WaitReason::ModelDeferred, Some(until))
                        .await
                        .map(Some);
                }
                None if error.kind() == Kind::ContextLength
                    && self.fit_refused_context(&agent).await? =>
                {
                    return Ok(None);
                }
                None => {
                    self.record_failure(&error, tries).await?;
                    let code = format!("model_{}", code(error.kind()));
                    self.writer
                        .record(Event::RunFailed {
                            code,
                            message: error.to_string(),
                        })
                        .await?;
                    return Ok(None);
                }
            }
        }
    }

    /// One try; mail that arrives meanwhile is heard, and ends the call where it ends the run.
    async fn try_model(&mut self, agent: &Agent) -> Result<Tried, Stop> {
        let settings = &self.driver.settings.model;
        let clock = Arc::clone(&self.driver.ports.clock);
        let (stop, cancel) = Latch::new();
        let request = self.request(agent, cancel);
        let relay = self.driver.relay.clone();
        let run = self.state().run().clone();
        let stream = agent.model.provider.stream(request);
        let mut shown = BTreeMap::new();
        let mut call = Box::pin(assemble(stream, move |event| match event {
            ModelEvent::BlockStarted { block, kind } => {
                shown.insert(*block, kind.clone());
            }
            ModelEvent::BlockDelta { block, delta } => {
                let delta = delta.clone();
                match shown.get(block) {
                    Some(BlockKind::Text | BlockKind::Refusal) => {
                        relay.show(&run, &Live::Text { delta })
                    }
                    Some(BlockKind::Reasoning) => relay.show(&run, &Live::Reasoning { delta }),
                    Some(BlockKind::ToolCall { .. }) | None => {}
                }
            }
            _ => {}
        }));
        let mut late = clock.sleep_until(clock.now().plus(settings.timeout));
        loop {
            let step = {
                let mail = std::pin::pin!(self.mail());
                match select(select(&mut call, &mut late), mail).await {
                    Either::Left((Either::Left((outcome, _late)), _mail)) => match outcome {
                        Ok(reply) => Tried::Reply(reply),
                        Err(error) => Tried::Failed(error),
                    },
                    Either::Left((Either::Right(((), _call)), _mail)) => {
                        stop.set();
                        let why =
                            format!("no complete answer within {} s", settings.timeout.as_secs());
                        let adapter = agent.model.provider.info().id;
                        Tried::Failed(PortError::new(Kind::Timeout, adapter, "stream", why).into())
                    }
                    Either::Right((signal, _call)) => Tried::Mail(signal),
                }
            };
            match step {
                Tried::Mail(signal) => self.hear(signal).await?,
                done => return Ok(done),
            }
        }
    }

    fn request(&mut self, agent: &Agent, cancel: Latch) -> ModelRequest {
        ModelRequest {
            model: agent.model.name.clone(),
            instructions: Arc::clone(&agent.instructions),
            messages: self.conversation_for(agent, &agent.model),
            tools: Arc::clone(&agent.tools),
            output_schema: None,
            max_output_tokens: None,
            idle_timeout: self.driver.settings.model.idle_timeout,
            cancel,
        }
    }

    async fn record_reply(
        &mut self,
        agent: &Agent,
        reply: ModelReply,
        duration: Duration,
        tries: u32,
    ) -> Result<(), Stop> {
        // The conversation is on record already: its place in the log stands for it.
        let request = Asked {
            instructions: &agent.instructions,
            log: self.state().link,
            messages: self.state().messages.len(),
            model: &agent.model.name,
        };
        let request_digest =
            Digest::of(&canonical_json::to_vec(&request).map_err(crate::log::LogError::from)?);
        let called = ModelCalled {
            provider: agent.model.provider.info().id.to_owned(),
            model: agent.model.name.clone(),
            request_digest,
            message: reply.message,
            finish: reply.finish,
            usage: reply.usage,
            request_id: reply.request_id,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            tries,
        };
        self.writer
            .record(Event::ModelCalled(Box::new(called)))
            .await?;
        Ok(())
    }

    async fn record_failure(&mut self, error: &ModelError, tries: u32) -> Result<(), Stop> {
        let event = Event::ModelFailed {
            code: code(error.kind()).to_owned(),
            message: error.to_string(),
            tries,
        };
        self.writer.record(event).await?;
        Ok(())
    }

    /// How long to wait before the next try; `None`: trying again does not help.
    fn delay(&self, error: &ModelError, tries: u32) -> Option<Duration> {
        let settings = &self.driver.settings.model;
        match error.retry() {
            Retry::No => None,
            Retry::After(delay) if delay > settings.longest_delay => Some(delay),
            _ if error.response_started || tries >= settings.tries => None,
            Retry::After(delay) => Some(delay),
            Retry::Backoff => {
                let factor = 1_u32
                    .checked_shl(tries.saturating_sub(1))
                    .unwrap_or(u32::MAX);
                let full = settings
                    .first_delay
                    .saturating_mul(factor)
                    .min(settings.longest_delay);
                // Between half and all of it, so that many runs do not come back at once.
                let jitter = u32::try_from(self.driver.ports.entropy.bits() % 512).unwrap_or(0);
                Some(full / 2 + full * jitter / 1024)
            }
        }
    }

    fn observe_model_started(&self, agent: &Agent) {
        self.driver.ports.observer.observe(&Fact::ModelCallStarted {
            run: self.state().run().clone(),
            attempt: self.state().attempt,
            provider: agent.model.provider.info().id.into(),
            model: agent.model.name.as_str().into(),
        });
    }

    fn observe_model_ended(&self, agent: &Agent, tried: &Tried, duration: Duration) {
        let (end, usage) = match tried {
            Tried::Reply(reply) => (ModelCallEnd::Finished(reply.finish.reason), reply.usage),
            Tried::Failed(error) => (ModelCallEnd::Failed(error.kind()), Default::default()),
            Tried::Mail(_) => (ModelCallEnd::Failed(Kind::Cancelled), Default::default()),
        };
        self.driver.ports.observer.observe(&Fact::ModelCallEnded {
            run: self.state().run().clone(),
            attempt: self.state().attempt,
            provider: agent.model.provider.info().id.into(),
            model: agent.model.name.as_str().into(),
            usage,
            end,
            duration,
        });
    }
}

/// The error that a reply amounts to, if it cannot be put on record as an answer.
fn unusable(reply: &ModelReply) -> Option<ModelError> {
    let asks = reply.message.tool_calls().next().is_some();
    let (kind, why) = match reply.finish.reason {
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Other => return None,
        // The model is told which of its arguments are no JSON.
        FinishReason::Malformed if asks => return None,
        FinishReason::Malformed => (
            Kind::Decode,
            "the answer does not have the form it was asked for",
        ),
        FinishReason::Length => (
            Kind::Truncated,
            "the answer reached the most tokens of output and is cut off",
        ),
        FinishReason::ContextLimit => (
            Kind::ContextLength,
            "the conversation fills the model's context",
        ),
        FinishReason::ContentFilter => (Kind::ContentFilter, "the provider filtered the answer"),
        FinishReason::Refusal => (Kind::Refusal, "the model declined"),
        FinishReason::Pause => (
            Kind::Unsupported,
            "the model paused, which this agent has no use for",
        ),
        FinishReason::Cancelled => (Kind::Cancelled, "the call was cancelled"),
        FinishReason::Interrupted => (Kind::Network, "the answer broke off before its end"),
    };
    let mut error: ModelError = PortError::new(kind, "model", "stream", why).into();
    error.request_id.clone_from(&reply.request_id);
    Some(error)
}

/// The stable name of a kind.
pub(super) fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::Authentication => "authentication",
        Kind::Permission => "permission",
        Kind::NotFound => "not_found",
        Kind::InvalidRequest => "invalid_request",
        Kind::ContextLength => "context_length",
        Kind::RateLimited => "rate_limited",
        Kind::QuotaExhausted => "quota_exhausted",
        Kind::Overloaded => "overloaded",
        Kind::Server => "server",
        Kind::Timeout => "timeout",
        Kind::Network => "network",
        Kind::Refusal => "refusal",
        Kind::ContentFilter => "content_filter",
        Kind::Truncated => "truncated",
        Kind::Decode => "decode",
        Kind::Unsupported => "unsupported",
        Kind::Cancelled => "cancelled",
    }
}

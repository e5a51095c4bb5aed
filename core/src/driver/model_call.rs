//! One model call of a turn: by the model or those that stand in for it, tried as often as their policies say, recorded.

use std::time::Duration;

use seaworthy_ports::durable_runtime::Then;
use seaworthy_ports::model_provider::{
    FinishReason, Kind, ModelError, ModelReply, Parameters, Usage,
};
use seaworthy_ports::{Digest, PortError, Timestamp};
use serde::Serialize;

use super::model_try::Asking;
use super::{Held, Stop};
use crate::agent::{Agent, Candidate};
use crate::canonical_json;
use crate::event::{Event, FailedTry, ModelCalled, WaitReason};
use crate::limits::{self, Leave, LimitError};
use crate::log::LogError;
use crate::millis;
use crate::parameters;
use crate::record::Link;
use crate::retry::{self, Final, RetryPolicy, Spent, Verdict};

/// How patient runs are with models, and how long they wait for one.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// What happens after a failed try, for aliases that do not say themselves.
    pub retry: RetryPolicy,
    /// How long one try may take.
    pub timeout: Duration,
    /// How long a stream may be silent.
    pub idle_timeout: Duration,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(120),
        }
    }
}

/// How much longer than a try can take its place among the calls at once is held for a worker that died.
const PLACE_MARGIN: Duration = Duration::from_secs(30);

/// What the digest of a request is made of.
#[derive(Serialize)]
struct Asked<'a> {
    instructions: &'a str,
    log: Link,
    messages: usize,
    model: &'a str,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    parameters: Parameters,
}

/// What one candidate came to.
pub(super) enum Answer {
    Given(ModelReply),
    Later(Later),
    Failed(Failure),
}

/// A call that is made again later.
pub(super) struct Later {
    until: Timestamp,
    reason: WaitReason,
    error: Option<ModelError>,
}

/// A call that is not made again.
pub(super) struct Failure {
    pub(super) error: ModelError,
    why: Final,
}

impl Failure {
    /// Whether the candidates behind this one are asked.
    fn lets_others_answer(&self, agent: &Agent) -> bool {
        retry::another_may_help(self.error.kind())
            && (!self.error.response_started || agent.model.settings.fallback.after_first_chunk)
    }

    pub(super) fn message(&self) -> String {
        match self.why {
            Final::Permanent => self.error.to_string(),
            why => format!("{}; {why}", self.error),
        }
    }
}

impl Held<'_> {
    /// Calls the model and records its answer. Returns when to come back if it has to be called later.
    pub(super) async fn call_model(&mut self) -> Result<Option<Then>, Stop> {
        let Some(agent) = self.agent().await? else {
            return Ok(None);
        };
        // From here on the attempt must be on record: a crash in the call counts.
        self.commit().await?;
        self.fetch_files(&agent).await?;
        self.fit_context(&agent).await?;
        let begun = self.driver.ports.clock.now();
        let mut failed = Vec::new();
        let mut soonest: Option<Later> = None;
        let mut first: Option<Failure> = None;
        for candidate in agent.candidates() {
            match self
                .ask(&agent, candidate, Asking::Answer, &mut failed)
                .await?
            {
                Answer::Given(reply) => {
                    let duration = self.driver.ports.clock.now().since(begun);
                    self.record_reply(&agent, candidate, reply, duration, failed)
                        .await?;
                    return Ok(None);
                }
                Answer::Later(later) => {
                    if soonest
                        .as_ref()
                        .is_none_or(|soonest| later.until < soonest.until)
                    {
                        soonest = Some(later);
                    }
                }
                Answer::Failed(failure) => {
                    let goes_on = failure.lets_others_answer(&agent);
                    // Those who stand in matter less than the model itself.
                    first.get_or_insert(failure);
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        if let Some(later) = soonest {
            if let Some(error) = &later.error {
                self.record_failure(error, error.to_string(), failed)
                    .await?;
            }
            return self.park(later.reason, Some(later.until)).await.map(Some);
        }
        if let Some(failure) = first {
            if failure.error.kind() == Kind::ContextLength
                && self.fit_refused_context(&agent, &failed).await?
            {
                return Ok(None);
            }
            let message = failure.message();
            self.record_failure(&failure.error, message.clone(), failed)
                .await?;
            let code = format!("model_{}", failure.error.kind().as_str());
            self.writer
                .record(Event::RunFailed { code, message })
                .await?;
        }
        Ok(None)
    }

    /// Asks one candidate, as often as its policy says.
    pub(super) async fn ask(
        &mut self,
        agent: &Agent,
        candidate: &Candidate,
        asking: Asking<'_>,
        failed: &mut Vec<FailedTry>,
    ) -> Result<Answer, Stop> {
        // An answer that must fit a schema is put on record as it is, and judged there.
        let is_judged = agent.output.is_some() && matches!(asking, Asking::Answer);
        let policy = candidate
            .settings
            .retry
            .unwrap_or(self.driver.settings.model.retry);
        let begun = self.driver.ports.clock.now();
        let mut tries = 0_u32;
        loop {
            let permit = match self.leave(candidate).await? {
                Leave::Granted(permit) => permit,
                Leave::Wait(after) => {
                    let spent = self.driver.ports.clock.now().since(begun);
                    if after > policy.longest_delay || spent.saturating_add(after) > policy.elapsed
                    {
                        return Ok(Answer::Later(self.out_of_turn(after)));
                    }
                    self.pause(after).await?;
                    continue;
                }
            };
            tries = tries.saturating_add(1);
            let started = self.driver.ports.clock.now();
            let tried = self.try_model(agent, candidate, asking).await;
            if let Some(permit) = permit {
                let usage = match &tried {
                    Ok(Ok(reply)) => reply.usage,
                    Ok(Err(_)) | Err(_) => Usage::default(),
                };
                permit.give_back(&self.driver.ports, usage).await;
            }
            let error = match tried? {
                Ok(reply) => match unusable(&reply, is_judged) {
                    None => return Ok(Answer::Given(reply)),
                    Some(error) => error,
                },
                Err(error) => error,
            };
            let now = self.driver.ports.clock.now();
            let spent = Spent {
                tries,
                elapsed: now.since(begun),
                deferrals: self.state().deferrals,
            };
            let verdict = policy.decide(&error, spent, self.driver.ports.entropy.bits());
            let waits = match verdict {
                Verdict::Again { after } => Some(after),
                Verdict::Defer { .. } | Verdict::Final(_) => None,
            };
            failed.push(FailedTry {
                code: error.kind().as_str().to_owned(),
                duration_ms: millis::of(now.since(started)),
                model: candidate.model.name.clone(),
                provider: candidate.provider().to_owned(),
                replay_safe: retry::is_replay_safe(&error),
                request_id: error.request_id.clone(),
                status: error.status,
                waited_ms: waits.map(millis::of),
            });
            match verdict {
                Verdict::Again { after } => self.pause(after).await?,
                Verdict::Defer { after } => {
                    return Ok(Answer::Later(Later {
                        until: now.plus(after),
                        reason: WaitReason::ModelDeferred,
                        error: Some(error),
                    }));
                }
                Verdict::Final(why) => return Ok(Answer::Failed(Failure { error, why })),
            }
        }
    }

    /// Whether the limits of the candidate's alias let it be called now.
    async fn leave(&mut self, candidate: &Candidate) -> Result<Leave, Stop> {
        let longest = self
            .driver
            .settings
            .model
            .timeout
            .saturating_add(PLACE_MARGIN);
        limits::ask(&self.driver.ports, candidate, longest)
            .await
            .map_err(|error| match error {
                LimitError::Store(error) => LogError::from(error).into(),
                LimitError::Id(error) => Stop::Corrupt {
                    why: error.to_string(),
                },
            })
    }

    /// Comes back when its turn may have come: a little later than that, each run by another while.
    fn out_of_turn(&self, after: Duration) -> Later {
        let part = u32::try_from(self.driver.ports.entropy.bits() % 256).unwrap_or(0);
        let after = after.saturating_add(after.saturating_mul(part) / 1024);
        Later {
            until: self.driver.ports.clock.now().plus(after),
            reason: WaitReason::ModelLimit,
            error: None,
        }
    }

    /// Waits in the turn, hearing what arrives, and makes sure afterwards that the run is still held.
    pub(super) async fn pause(&mut self, time: Duration) -> Result<(), Stop> {
        let until = self.driver.ports.clock.now().plus(time);
        self.wait_until(until).await?;
        self.look().await
    }

    async fn record_reply(
        &mut self,
        agent: &Agent,
        candidate: &Candidate,
        reply: ModelReply,
        duration: Duration,
        failed_tries: Vec<FailedTry>,
    ) -> Result<(), Stop> {
        let state = self.state();
        let request_digest = request_digest(
            agent,
            candidate,
            state.link,
            state.messages.len(),
            parameters::of_answer(agent, candidate, &state.messages),
        )?;
        let price = candidate.settings.price.as_ref();
        let called = ModelCalled {
            cost: price.and_then(|price| price.of(reply.usage)),
            duration_ms: millis::of(duration),
            tries: counted(&failed_tries).saturating_add(1),
            failed_tries,
            finish: reply.finish,
            message: reply.message,
            model: candidate.model.name.clone(),
            provider: candidate.provider().to_owned(),
            request_digest,
            request_id: reply.request_id,
            usage: reply.usage,
        };
        self.writer
            .record(Event::ModelCalled(Box::new(called)))
            .await?;
        Ok(())
    }

    async fn record_failure(
        &mut self,
        error: &ModelError,
        message: String,
        failed_tries: Vec<FailedTry>,
    ) -> Result<(), Stop> {
        let event = Event::ModelFailed {
            code: error.kind().as_str().to_owned(),
            message,
            tries: counted(&failed_tries),
            failed_tries,
        };
        self.writer.record(event).await?;
        Ok(())
    }
}

/// The fingerprint of a request. The conversation is on record already: its place in the log stands for it.
pub(super) fn request_digest(
    agent: &Agent,
    candidate: &Candidate,
    log: Link,
    messages: usize,
    parameters: Parameters,
) -> Result<Digest, LogError> {
    let request = Asked {
        // How it is asked for an answer that fits its schema follows from the descriptor and the model.
        instructions: &agent.instructions,
        log,
        messages,
        model: &candidate.model.name,
        parameters,
    };
    Ok(Digest::of(&canonical_json::to_vec(&request)?))
}

fn counted(tries: &[FailedTry]) -> u32 {
    u32::try_from(tries.len()).unwrap_or(u32::MAX)
}

/// The error that a reply amounts to, if it cannot be put on record as an answer. `is_judged`: whether it fits a schema is
/// found out afterwards.
fn unusable(reply: &ModelReply, is_judged: bool) -> Option<ModelError> {
    let asks = reply.message.tool_calls().next().is_some();
    let says = asks || !reply.message.text().trim().is_empty();
    let (kind, why) = match reply.finish.reason {
        FinishReason::Stop | FinishReason::Other | FinishReason::Malformed
            if is_judged && !says =>
        {
            // No provider continues a conversation in which the model said nothing, so it cannot be given back.
            (Kind::Decode, "the answer is empty")
        }
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Other => return None,
        // The model is told which of its arguments are no JSON.
        FinishReason::Malformed if asks || is_judged => return None,
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
    error.response_started = !reply.message.blocks.is_empty();
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parameters: Parameters) -> String {
        let asked = Asked {
            instructions: "Go.",
            log: Link::default(),
            messages: 1,
            model: "m",
            parameters,
        };
        String::from_utf8(canonical_json::to_vec(&asked).unwrap()).unwrap()
    }

    #[test]
    fn a_request_without_parameters_has_the_digest_that_it_always_had() {
        assert!(!written(Parameters::default()).contains("parameters"));
    }

    #[test]
    fn other_parameters_are_another_request() {
        let warm = |temperature| {
            written(Parameters {
                temperature: Some(temperature),
                ..Parameters::default()
            })
        };
        assert_ne!(warm(0.5), warm(0.25));
        assert_ne!(warm(0.5), written(Parameters::default()));
    }
}

//! Moves a run forward: reads its log, asks the machine what comes next, does it through ports, and records it.
//!
//! Every effect is bracketed by the log: an intent before it where repeating it would matter, an outcome after it. All
//! that a turn records between two effects goes into one append, so a model turn with any number of parallel calls costs
//! two: the answer with its intents, and the outcomes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{FutureExt as _, StreamExt as _};
use seaworthy_ports::durable_runtime::{Advance, Next, Signal, Then, Turn};
use seaworthy_ports::observer::{AttemptEnd, Fact, ParkReason};
use seaworthy_ports::sandbox::{Kind as SandboxKind, Owner, Policy, SandboxSession, SandboxSpec};
use seaworthy_ports::{BoxStream, Effect, Latch, Retry, RunId, SignalId, Timestamp, async_trait};

use self::context::Conversation;
use self::questions::Questions;
use self::replayed::Replaying;
use crate::agent::{Agent, Agents, NoAgent};
use crate::event::{Event, WaitReason};
use crate::live::{Live, Relay};
use crate::log::{self, Covered, LogError, Writer};
use crate::machine::{self, Step};
use crate::output;
use crate::servers::Connections;
use crate::session;
use crate::signal::Told;
use crate::stack::Ports;
use crate::state::{CallStatus, Phase, RunState, Status};
use crate::trace;

mod context;
mod listing;
mod model_call;
mod model_try;
mod observed;
mod questions;
mod replayed;
mod reproduce;
mod task;
mod tool_call;

pub use model_call::ModelSettings;

/// What every run of a driver is held to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tool calls at once.
    pub parallel_calls: usize,
    /// How long finished calls of an answer wait for the others before their outcomes are committed.
    pub outcome_delay: Duration,
    /// Trying and waiting for models.
    pub model: ModelSettings,
    /// The whole environment of commands.
    pub environment: std::collections::BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            parallel_calls: 8,
            outcome_delay: Duration::from_secs(1),
            model: ModelSettings::default(),
            environment: std::collections::BTreeMap::new(),
        }
    }
}

/// Advances runs; the durable runtime calls it.
#[derive(Debug)]
pub struct Driver {
    ports: Ports,
    settings: Settings,
    relay: Relay,
    agents: Agents,
    worker: seaworthy_ports::WorkerId,
}

impl Driver {
    /// A driver for `worker` on `ports`. What happens live is shown on `relay`.
    #[must_use]
    pub fn new(
        ports: Ports,
        settings: Settings,
        relay: Relay,
        worker: seaworthy_ports::WorkerId,
    ) -> Self {
        Self {
            ports,
            settings,
            relay,
            agents: Agents::default(),
            worker,
        }
    }
}

/// How long a run that needs a model this worker does not have is left alone.
const NO_MODEL_DELAY: Duration = Duration::from_secs(30);

/// Why a turn ended before its run did.
#[derive(Debug)]
enum Stop {
    /// Somebody else has the run, or has ended it: look at the log again.
    TakenOver,
    /// The lease is gone.
    Revoked,
    /// A port failed; try again later.
    Later { after: Duration, why: String },
    /// The log cannot be read: nothing but a person helps.
    Corrupt { why: String },
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        if log::is_taken_over(&error) {
            return Self::TakenOver;
        }
        let why = error.to_string();
        let patience = |retry: Retry| match retry {
            Retry::After(delay) => delay,
            Retry::Backoff => Duration::from_secs(1),
            Retry::No => Duration::from_secs(30),
        };
        match error {
            LogError::Store(error)
                if error.kind() != seaworthy_ports::state_store::Kind::Corrupt =>
            {
                let known = error.effect() == Effect::None;
                let after = if known {
                    patience(error.retry())
                } else {
                    Duration::from_secs(1)
                };
                Self::Later { after, why }
            }
            LogError::Blob(error)
                if error.kind() == seaworthy_ports::blob_store::Kind::Unavailable =>
            {
                Self::Later {
                    after: patience(error.retry()),
                    why,
                }
            }
            LogError::Record { .. }
            | LogError::Fold { .. }
            | LogError::Json(_)
            | LogError::Store(_)
            | LogError::Blob(_) => Self::Corrupt { why },
        }
    }
}

#[async_trait]
impl Advance for Driver {
    async fn advance(&self, turn: Turn) -> Next {
        let revoked = turn.revoked.clone();
        let run = turn.run.clone();
        let mut consumed = Vec::new();
        let outcome = {
            let work = std::pin::pin!(self.work(turn, &mut consumed));
            let lost = std::pin::pin!(revoked.wait());
            match select(work, lost).await {
                Either::Left((outcome, _lost)) => outcome,
                Either::Right(((), _work)) => Err(Stop::Revoked),
            }
        };
        let then = match outcome {
            Ok(then) => then,
            Err(Stop::TakenOver | Stop::Revoked) => Then::Again {
                after: Duration::ZERO,
            },
            Err(Stop::Later { after, why }) => {
                self.stalled(&run, &why);
                self.relay.show(&run, &Live::Trouble { message: why });
                Then::Again { after }
            }
            Err(Stop::Corrupt { why }) => {
                // Why may quote the log, which is for whoever watches the run and not for the worker's log.
                self.stalled(&run, "its log cannot be read");
                self.relay.show(&run, &Live::Trouble { message: why });
                Then::Park { wake_at: None }
            }
        };
        Next { consumed, then }
    }
}

impl Driver {
    fn stalled(&self, run: &RunId, why: &str) {
        self.ports.observer.observe(&Fact::RunStalled {
            run: run.clone(),
            message: why.into(),
        });
    }

    async fn work(&self, turn: Turn, consumed: &mut Vec<SignalId>) -> Result<Then, Stop> {
        let Some((state, covered)) = log::load_to_write(&self.ports, &turn.run).await? else {
            return Ok(Then::Done);
        };
        if state.outcome.is_some() {
            self.call_off_tasks(&state).await;
            consumed.extend(turn.signals.into_iter().map(|signal| signal.id));
            return Ok(Then::Done);
        }
        let mut held = Held::take(self, state, covered, turn, consumed).await?;
        let ended = held.run().await;
        held.observed.ends(match &ended {
            Ok(Then::Done) => AttemptEnd::Ended,
            Ok(Then::Park { .. } | Then::Again { .. }) => AttemptEnd::Parked,
            Err(Stop::TakenOver | Stop::Revoked) => AttemptEnd::Abandoned,
            Err(Stop::Later { .. } | Stop::Corrupt { .. }) => AttemptEnd::Stalled,
        });
        ended
    }
}

/// A run while a turn holds it.
struct Held<'a> {
    driver: &'a Driver,
    writer: Writer<'a>,
    nonce: String,
    mail: BoxStream<'static, Signal>,
    mail_open: bool,
    /// Signals whose events are recorded and not committed yet.
    heard: Vec<SignalId>,
    consumed: &'a mut Vec<SignalId>,
    conversation: Conversation,
    sandbox: Option<Arc<dyn SandboxSession>>,
    /// The way to the agent's servers, once one is needed.
    servers: Option<Arc<Connections>>,
    /// What the servers ask.
    questions: Questions,
    /// Set when the turn ends, however it ends: what it started stops.
    cancel: Latch,
    _cancel_on_drop: CancelOnDrop,
    /// What another run recorded, once a replay asks for it.
    replaying: Option<Arc<Replaying>>,
    /// The model call under way.
    model_call: Option<observed::ModelCall>,
    /// The last member: that the attempt is over is told last.
    observed: observed::Attempt,
}

struct CancelOnDrop(seaworthy_ports::LatchSetter);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl<'a> Held<'a> {
    /// Takes the run up: the next attempt, and what the waiting signals say.
    async fn take(
        driver: &'a Driver,
        state: RunState,
        covered: Covered,
        turn: Turn,
        consumed: &'a mut Vec<SignalId>,
    ) -> Result<Self, Stop> {
        let nonce = format!("{:032x}", driver.ports.entropy.bits());
        let attempt = state.attempt.saturating_add(1);
        let fresh = state.attempt == 0;
        let loaded = match &state.submitted.session {
            Some(id) => Some(session::load(&driver.ports, id, state.session_through).await?),
            None => None,
        };
        // A replay sees the session of its source as the source saw it, and is no part of it.
        let seen = match state
            .submitted
            .replay
            .as_ref()
            .and_then(|origin| origin.session.as_ref())
        {
            Some(seen) => session::load(&driver.ports, &seen.session, Some(seen.through)).await?,
            None => session::Session::default(),
        };
        let mut writer =
            Writer::new(&driver.ports, state, attempt, nonce.clone()).with_snapshots(covered);
        writer
            .record(Event::AttemptStarted {
                worker: driver.worker.clone(),
                nonce: nonce.clone(),
            })
            .await?;
        let mut before = seen.messages;
        if let Some(session) = loaded {
            if fresh {
                writer
                    .record(Event::SessionLoaded {
                        through: session.head(),
                    })
                    .await?;
            }
            before = session.messages;
        }
        let observed = observed::Attempt::start(driver, &writer.state, &nonce);
        let (setter, cancel) = Latch::new();
        let mut held = Self {
            driver,
            writer,
            nonce,
            mail: turn.mail,
            mail_open: true,
            heard: Vec::new(),
            consumed,
            conversation: Conversation::after(before),
            sandbox: None,
            servers: None,
            questions: Questions::default(),
            replaying: None,
            cancel,
            _cancel_on_drop: CancelOnDrop(setter),
            model_call: None,
            observed,
        };
        for signal in turn.signals {
            held.hear(signal).await?;
        }
        Ok(held)
    }

    fn state(&self) -> &RunState {
        &self.writer.state
    }

    async fn commit(&mut self) -> Result<(), Stop> {
        self.writer.commit().await?;
        self.consumed.append(&mut self.heard);
        Ok(())
    }

    async fn run(&mut self) -> Result<Then, Stop> {
        loop {
            while let Some(signal) = self.waiting_mail() {
                self.hear(signal).await?;
            }
            let next = machine::next(self.state());
            let Some(step) = self.replay(next).await? else {
                continue;
            };
            match step {
                Step::Ended => return self.end().await,
                Step::Fail { code, message } => {
                    self.writer
                        .record(Event::RunFailed {
                            code: code.to_owned(),
                            message,
                        })
                        .await?;
                }
                Step::Answer(output) => self.answer(output).await?,
                Step::Reject(faults) => {
                    let message = output::repair(&faults);
                    self.writer
                        .record(Event::AnswerRejected { faults, message })
                        .await?;
                }
                Step::ListTools => self.list_tools().await?,
                Step::Propose => self.propose().await?,
                Step::CallModel => {
                    if let Some(then) = self.call_model().await? {
                        return Ok(then);
                    }
                }
                Step::Work(work) => self.work_on(work).await?,
                Step::Wait(reason) => {
                    if let Some(then) = self.rest(reason).await? {
                        return Ok(then);
                    }
                }
            }
        }
    }

    /// The agent of the run, or the run's end.
    async fn agent(&mut self) -> Result<Option<Arc<Agent>>, Stop> {
        let made = self.driver.agents.of(
            &self.state().submitted,
            self.state().catalogue.as_deref(),
            &*self.driver.ports.models,
        );
        match made {
            Ok(agent) => Ok(Some(agent)),
            // Another worker may have the model: this one leaves the run as it is.
            Err(NoAgent::NoModel(error)) => Err(Stop::Later {
                after: NO_MODEL_DELAY,
                why: error.to_string(),
            }),
            Err(error) => {
                let message = error.to_string();
                self.writer
                    .record(Event::RunFailed {
                        code: "no_agent".to_owned(),
                        message,
                    })
                    .await?;
                Ok(None)
            }
        }
    }

    async fn propose(&mut self) -> Result<(), Stop> {
        let Some(agent) = self.agent().await? else {
            return Ok(());
        };
        let state = self.state();
        let run = state.run().clone();
        let grants_all = state.submitted.grants_all.clone();
        let mut number = state.next_call();
        let wishes: Vec<_> = state
            .messages
            .last()
            .map(|message| message.tool_calls().cloned().collect())
            .unwrap_or_default();
        let proposed = match &state.phase {
            Phase::Acting { calls } => calls.len(),
            Phase::Thinking => 0,
        };
        for wish in wishes.iter().skip(proposed) {
            let events = agent
                .gateway
                .propose(&run, number, wish, grants_all.as_deref())
                .map_err(|error| Stop::Corrupt {
                    why: error.to_string(),
                })?;
            for event in events {
                self.writer.record(event).await?;
            }
            number = number.saturating_add(1);
        }
        Ok(())
    }

    /// The session learns of the answer before the log is sealed: a crash in between only adds it again, to no effect.
    async fn answer(&mut self, output: String) -> Result<(), Stop> {
        let state = &self.writer.state;
        if let Some(id) = &state.submitted.session {
            // Another agent of the session does not know the tool that this one answers by.
            let messages = match state.submitted.output_schema() {
                Some(_) => output::as_text(&state.messages),
                None => Cow::Borrowed(state.messages.as_slice()),
            };
            session::add(&self.driver.ports, id, state.run(), &messages, &self.nonce).await?;
        }
        self.writer.record(Event::RunSucceeded { output }).await?;
        Ok(())
    }

    async fn end(&mut self) -> Result<Then, Stop> {
        self.commit().await?;
        // Some may run inside the sandbox, and are asked to go before they are made to.
        self.close_servers().await;
        if let Some(sandbox) = self.sandbox.take() {
            // The run is over either way; what is left is swept by the sandbox.
            let _closed = sandbox.close(true).await;
        }
        if let Some(ended) = trace::run_ended(self.state()) {
            if let Fact::RunEnded { run, status, .. } = &ended {
                let status = *status;
                self.driver.relay.show(run, &Live::Ended { status });
            }
            self.driver.ports.observer.observe(&ended);
        }
        if self.may_go_on().await {
            let after = Duration::ZERO;
            return Ok(Then::Again { after });
        }
        Ok(Then::Done)
    }

    /// Whether a run that failed was reopened while this turn took leave of its servers: to the runtime it was this worker's,
    /// so nobody else has it. One of which nothing is known is looked at once more.
    async fn may_go_on(&mut self) -> bool {
        if self.state().status() != Status::Failed {
            return false;
        }
        let log = log::run_log(self.state().run());
        match self.driver.ports.state_store.head(&log).await {
            Ok(head) => head.is_some_and(|head| head.seq > self.writer.committed()),
            Err(_unknown) => true,
        }
    }

    async fn park(&mut self, reason: WaitReason, until: Option<Timestamp>) -> Result<Then, Stop> {
        self.writer
            .record(Event::RunWaiting { reason, until })
            .await?;
        self.commit().await?;
        self.close_servers().await;
        if let Some(sandbox) = self.sandbox.take() {
            let _closed = sandbox.close(false).await;
        }
        let waits = match reason {
            WaitReason::Approval => ParkReason::Approval,
            WaitReason::InDoubt => ParkReason::InDoubt,
            WaitReason::Question => ParkReason::Question,
            WaitReason::ModelDeferred => ParkReason::Provider,
            WaitReason::ModelLimit => ParkReason::Limit,
            WaitReason::Task => ParkReason::Task,
        };
        self.driver.ports.observer.observe(&Fact::RunParked {
            run: self.state().run().clone(),
            reason: waits,
        });
        Ok(Then::Park { wake_at: until })
    }

    /// A signal that has arrived, without waiting for one.
    fn waiting_mail(&mut self) -> Option<Signal> {
        if !self.mail_open {
            return None;
        }
        match self.mail.next().now_or_never() {
            Some(Some(signal)) => Some(signal),
            Some(None) => {
                self.mail_open = false;
                None
            }
            None => None,
        }
    }

    /// The next signal; never, once there can be none.
    async fn mail(&mut self) -> Signal {
        mail(&mut self.mail, &mut self.mail_open).await
    }

    /// Waits until then, and hears what arrives meanwhile.
    async fn wait_until(&mut self, until: Timestamp) -> Result<(), Stop> {
        let clock = Arc::clone(&self.driver.ports.clock);
        let mut due = clock.sleep_until(until);
        loop {
            let signal = {
                let mail = std::pin::pin!(self.mail());
                match select(&mut due, mail).await {
                    Either::Left(((), _mail)) => return Ok(()),
                    Either::Right((signal, _due)) => signal,
                }
            };
            self.hear(signal).await?;
        }
    }

    /// Turns a signal into what it means for the run. One that means nothing any more is recorded as such.
    async fn hear(&mut self, signal: Signal) -> Result<(), Stop> {
        let told = Told::read(&signal);
        let event = match told {
            Some(Told::Approval {
                approval,
                proposal,
                granted,
                by,
                reason,
            }) => {
                let open = self.state().call(&approval).is_some_and(|call| {
                    call.status == CallStatus::AwaitingApproval
                        && call
                            .approval
                            .as_ref()
                            .is_some_and(|asked| asked.proposal == proposal)
                });
                open.then_some(Event::ApprovalDecided {
                    approval,
                    proposal,
                    granted,
                    by,
                    reason,
                })
                .ok_or("no such approval is open")
            }
            Some(Told::Resolved {
                call,
                resolution,
                by,
            }) => {
                let open = self
                    .state()
                    .call(&call)
                    .is_some_and(|call| matches!(call.status, CallStatus::InDoubt { .. }));
                open.then_some(Event::ToolResolved {
                    call,
                    resolution,
                    by,
                })
                .ok_or("the call is not in doubt")
            }
            Some(Told::Answer {
                call,
                question,
                reply,
                by,
            }) => return self.hear_answer(signal.id, call, question, reply, by).await,
            Some(Told::Look) => {
                self.look().await?;
                self.heard.push(signal.id);
                return Ok(());
            }
            None => Err("its content cannot be understood"),
        };
        let event = event.unwrap_or_else(|note| Event::SignalReceived {
            signal: signal.id.clone(),
            note: note.to_owned(),
        });
        self.writer.record(event).await?;
        self.heard.push(signal.id);
        Ok(())
    }

    /// Whether the log is still ours; the next append would find out, but a long call may be under way.
    async fn look(&mut self) -> Result<(), Stop> {
        let log = log::run_log(self.state().run());
        match self.driver.ports.state_store.head(&log).await {
            Ok(Some(head)) if !head.sealed && head.seq == self.writer.committed() => Ok(()),
            Ok(_) => Err(Stop::TakenOver),
            Err(error) => Err(LogError::from(error).into()),
        }
    }

    /// The session on the run's workspace, opened once the attempt is on record: the log fences first.
    async fn sandbox(&mut self) -> Result<Option<Arc<dyn SandboxSession>>, Stop> {
        if let Some(open) = &self.sandbox {
            return Ok(Some(Arc::clone(open)));
        }
        self.commit().await?;
        let state = self.state();
        let spec = SandboxSpec {
            policy: Policy::UNCONFINED,
            workspace: state.submitted.workspace.clone().into(),
            limits: seaworthy_ports::sandbox::Limits::default(),
            env: self.driver.settings.environment.clone(),
            owner: Owner {
                run: state.run().clone(),
                attempt: state.attempt,
            },
        };
        match self.driver.ports.sandbox.open(spec).await {
            Ok(session) => {
                self.sandbox = Some(Arc::clone(&session));
                Ok(Some(session))
            }
            Err(error) if error.kind() == SandboxKind::Fenced => Err(Stop::TakenOver),
            Err(error) => {
                let message = error.to_string();
                self.writer
                    .record(Event::RunFailed {
                        code: "sandbox".to_owned(),
                        message,
                    })
                    .await?;
                Ok(None)
            }
        }
    }
}

/// The next signal; never, once there can be none.
async fn mail(mail: &mut BoxStream<'static, Signal>, is_open: &mut bool) -> Signal {
    if *is_open {
        if let Some(signal) = mail.next().await {
            return signal;
        }
        *is_open = false;
    }
    std::future::pending().await
}

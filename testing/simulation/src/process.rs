//! A process in front of a world: what a crash takes away.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use seaworthy_core::driver::Driver;
use seaworthy_core::event::{Resolution, WaitReason};
use seaworthy_core::harness::{Harness, HarnessError, Verified, View};
use seaworthy_core::state::{CallStatus, RunState};
use seaworthy_ports::durable_runtime::{DurableRuntime as _, ScheduleState, Then};
use seaworthy_ports::state_store::{Seq, StateStore as _};
use seaworthy_ports::{Latch, RunId, WorkerId};
use serde_json::{Value, json};

use crate::asking;
use crate::ending::Ending;
use crate::outside::{Effects, is_once};
use crate::world::World;

/// What does not survive a crash.
#[derive(Clone, Debug)]
pub struct Process {
    pub(crate) world: World,
    pub(crate) harness: Harness,
    pub(crate) driver: Arc<Driver>,
    pub(crate) worker: WorkerId,
    pub(crate) dead: Latch,
}

impl Process {
    /// Does one thing for the run: starts it, delivers it, or answers it. Returns whether the run has ended; a process that
    /// dies on the way returns `false`.
    ///
    /// # Errors
    ///
    /// In words: what failed that no fault explains.
    pub async fn live_once(&self) -> Result<bool, String> {
        let life = std::pin::pin!(self.life());
        let death = std::pin::pin!(self.dead.wait());
        match select(life, death).await {
            Either::Left((ended, _death)) => ended,
            Either::Right(((), _life)) => Ok(false),
        }
    }

    async fn life(&self) -> Result<bool, String> {
        self.start()
            .await
            .map_err(|error| format!("start: {error}"))?;
        let then = self.deliver().await;
        let view = self
            .view()
            .await
            .map_err(|error| format!("view: {error}"))?;
        if view.state.status().is_terminal() {
            return Ok(then.is_none() || then == Some(Then::Done));
        }
        if view.state.waiting.is_some() {
            self.answer(&view.state)
                .await
                .map_err(|error| format!("answer: {error}"))?;
        }
        Ok(false)
    }

    /// Delivers the run once.
    pub async fn deliver(&self) -> Option<Then> {
        self.deliver_run(&self.world.run).await
    }

    /// Delivers `run` once.
    pub async fn deliver_run(&self, run: &RunId) -> Option<Then> {
        self.world
            .runtime
            .deliver_to(&self.worker, run, &*self.driver)
            .await
    }

    /// Whose leases its deliveries are.
    #[must_use]
    pub fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// Starts the run.
    ///
    /// # Errors
    ///
    /// The harness's.
    pub async fn start(&self) -> Result<(), HarnessError> {
        let start = self.world.start("go")?;
        self.harness.start(start).await.map(|_started| ())
    }

    /// The run as it stands.
    ///
    /// # Errors
    ///
    /// The harness's.
    pub async fn view(&self) -> Result<View, HarnessError> {
        self.harness.view(&self.world.run).await
    }

    /// Grants and denies payments as their arguments say, and tells the truth about calls in doubt.
    ///
    /// # Errors
    ///
    /// The harness's, but for what was answered before.
    pub async fn answer(&self, state: &RunState) -> Result<(), HarnessError> {
        for call in state.open_calls() {
            let id = &call.proposal.call;
            let answered = match call.status {
                CallStatus::AwaitingApproval => {
                    let granted = call.proposal.arguments.get("granted") == Some(&json!(true));
                    self.harness.decide(id, granted, "tester", None).await
                }
                CallStatus::InDoubt { .. } => {
                    let acted = format!("{} {}", call.proposal.tool, call.proposal.idempotency_key);
                    let happened = self.world.acted().contains_key(&acted);
                    let output = json!({ "command": call.proposal.tool, "padding": "" });
                    let resolution = if happened {
                        Resolution::Happened { output }
                    } else {
                        Resolution::DidNotHappen
                    };
                    self.harness.resolve(id, resolution, "tester").await
                }
                CallStatus::AwaitingAnswer | CallStatus::Deferred(_)
                    if call.open_question().is_some() =>
                {
                    let reply = asking::reply(call);
                    self.harness.answer(id, reply, "tester").await
                }
                _ => continue,
            };
            match answered {
                Ok(_) | Err(HarnessError::Answered(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The harness, to call what an application calls.
    #[must_use]
    pub fn harness(&self) -> &Harness {
        &self.harness
    }

    /// What the run waits for, if it does.
    ///
    /// # Errors
    ///
    /// In words.
    pub async fn waits_for(&self) -> Result<Option<WaitReason>, String> {
        let view = self.view().await.map_err(|error| error.to_string())?;
        Ok(view.state.waiting.map(|waiting| waiting.reason))
    }

    /// How the run ended; its log is verified on the way.
    ///
    /// # Errors
    ///
    /// In words: a log that does not verify, or a port that failed.
    pub async fn ending(&self) -> Result<Ending, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let verified: Verified = self
            .harness
            .verify(&self.world.run)
            .await
            .map_err(|error| words(&error))?;
        if !verified.faults.is_empty() {
            return Err(format!("the log does not verify: {:?}", verified.faults));
        }
        let state = self.view().await.map_err(|error| words(&error))?.state;
        let acted = self.world.acted();
        let mut once = Effects::new();
        let mut calls = Vec::new();
        for (number, call) in &state.calls {
            let output = match &call.status {
                CallStatus::Succeeded { output, .. } => output.clone(),
                _ => Value::Null,
            };
            calls.push((*number, call.status.as_str().to_owned(), output));
            let tool = &call.proposal.tool;
            let times = acted.get(&format!("{tool} {}", call.proposal.idempotency_key));
            if let Some(times) = times
                && is_once(tool)
            {
                once.insert(format!("{tool} {number}"), *times);
            }
        }
        let session = self.session().await?;
        Ok(Ending {
            status: state.status(),
            messages: state.messages.to_vec(),
            calls,
            once,
            session,
        })
    }

    async fn session(&self) -> Result<usize, String> {
        let session = self.world.session().map_err(|error| error.to_string())?;
        let records = self
            .world
            .logs
            .read(&seaworthy_ports::LogId::session(&session), Seq::ZERO);
        Ok(records.count().await)
    }

    /// Whether the runtime has forgotten nothing it must know: the run is finished for it too.
    ///
    /// # Errors
    ///
    /// In words.
    pub async fn is_finished(&self) -> Result<bool, String> {
        Ok(self.schedule().await? == Some(ScheduleState::Finished))
    }

    /// What the runtime knows of the run; `None`: nothing.
    ///
    /// # Errors
    ///
    /// In words.
    pub async fn schedule(&self) -> Result<Option<ScheduleState>, String> {
        let known = self
            .world
            .runtime
            .describe(&self.world.run)
            .await
            .map_err(|error| error.to_string())?;
        Ok(known.map(|known| known.state))
    }
}

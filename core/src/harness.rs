//! What applications call: start runs, look at them, answer them, end them.

mod answer;
mod serve;
mod start;
mod verify;

use std::num::NonZeroU32;

use futures_util::StreamExt as _;
use seaworthy_ports::durable_runtime::{
    RuntimeError, Schedule, ScheduleState, Signalled, Submit, Submitted,
};
use seaworthy_ports::state_store::{
    Head, HeadQuery, Labels, Order, Page, PageToken, Seq, StateStoreError,
};
use seaworthy_ports::{BoxStream, CallId, InvalidId, LogKind, RunId, Timestamp};

use crate::driver::Settings;
use crate::event::{Event, Resolution};
use crate::files::InvalidFile;
use crate::live::{OnDrop, Relay, Watch};
use crate::log::{self, Loaded, LogError, Writer};
use crate::record::{self, Link};
use crate::replay::ReplayError;
use crate::servers::InvalidReply;
use crate::signal::Told;
use crate::stack::Ports;
use crate::state::{Call, CallStatus, Outcome, RunState, Status, call_run};
use crate::trace;

use start::queue_of;

pub use serve::worker;
pub(crate) use start::run_id;
pub use start::{DEFAULT_QUEUE, Start, Started};
pub use verify::Verified;
pub(crate) use verify::is_damage;

/// How often a write is tried again when another writer was first.
const TRIES: u32 = 32;
/// How long to wait for the turn that holds a run to settle.
const REQUEUE_DELAY: std::time::Duration = std::time::Duration::from_millis(50);
/// A durable agent harness on one stack of ports. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Harness {
    ports: Ports,
    settings: Settings,
    relay: Relay,
}

/// Why a call of the harness failed.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// There is no such run.
    #[error("there is no run {0}; `seaworthy runs` lists those there are")]
    UnknownRun(RunId),
    /// There is no such call or approval.
    #[error("there is no {what} {id}")]
    UnknownCall {
        /// What was looked for.
        what: &'static str,
        /// Its id.
        id: CallId,
    },
    /// The run exists and is another one.
    #[error(
        "run {run} exists with another {what}; continue it with what it was started with, or choose another id"
    )]
    Mismatch {
        /// The run.
        run: RunId,
        /// What differs.
        what: &'static str,
    },
    /// The run is not in the state the call needs.
    #[error("run {run} is {status}: {why}")]
    WrongStatus {
        /// The run.
        run: RunId,
        /// Where it stands.
        status: &'static str,
        /// What follows.
        why: &'static str,
    },
    /// The approval or call was answered before.
    #[error("{0} was answered before; the first answer counts")]
    Answered(CallId),
    /// Others kept writing to the run.
    #[error("run {0} is being written to by others all the time; try again")]
    Contended(RunId),
    /// What was said is no answer to the question.
    #[error(transparent)]
    Reply(#[from] InvalidReply),
    /// A file cannot be given to a run.
    #[error(transparent)]
    File(#[from] InvalidFile),
    /// An id cannot be made.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The run cannot be replayed like that.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The durable runtime failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl From<StateStoreError> for HarnessError {
    fn from(error: StateStoreError) -> Self {
        Self::Log(error.into())
    }
}

/// A run with what its runtime knows of it.
#[derive(Clone, Debug)]
pub struct View {
    /// What it is.
    pub state: RunState,
    /// When and where it goes on.
    pub schedule: Option<Schedule>,
}

impl View {
    /// Where it stands. A run whose worker died is queued.
    #[must_use]
    pub fn status(&self) -> Status {
        match (
            self.state.status(),
            self.schedule.as_ref().map(|schedule| &schedule.state),
        ) {
            (Status::Running, Some(ScheduleState::Due { .. })) | (Status::Running, None) => {
                Status::Queued
            }
            (status, _) => status,
        }
    }
}

/// A call that waits for a person: for an approval, or for the answer to a question.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The run that asks.
    pub run: RunId,
    /// The call it is about.
    pub call: Call,
}

impl Harness {
    /// A harness on `ports`.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings) -> Self {
        Self {
            ports,
            settings,
            relay: Relay::default(),
        }
    }

    /// The ports it stands on.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Shows what happens in `run` while this process advances it. Dropping it leaves the run alone, unless
    /// [`Watch::on_drop`] says otherwise.
    #[must_use]
    pub fn watch(&self, run: &RunId) -> Watch {
        self.relay.watch(run).on_drop(OnDrop::Detach)
    }

    /// The run as it stands.
    ///
    /// # Errors
    ///
    /// [`HarnessError::UnknownRun`]; a failing store or runtime; a corrupt log.
    pub async fn view(&self, run: &RunId) -> Result<View, HarnessError> {
        let state = self.state(run).await?;
        let schedule = self.ports.durable_runtime.describe(run).await?;
        Ok(View { state, schedule })
    }

    /// The run's records behind `after`, checked against the chain ([`Link::default`]: all); the stream ends at the head.
    pub fn records(
        &self,
        run: &RunId,
        after: Link,
    ) -> BoxStream<'static, Result<Loaded, LogError>> {
        log::records(&self.ports, run, after)
    }

    /// One page of runs, the newest first, as their heads describe them.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn runs(
        &self,
        labels: Labels,
        limit: NonZeroU32,
        page: Option<PageToken>,
    ) -> Result<Page<Head>, HarnessError> {
        let kind = LogKind::new("run")?;
        let query = HeadQuery {
            kind,
            labels,
            order: Order::NewestFirst,
            limit,
            page,
        };
        Ok(self.ports.state_store.list(query).await?)
    }

    /// When the newest record of a listed run was written.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn updated_at(&self, head: &Head) -> Result<Option<Timestamp>, HarnessError> {
        let before = Seq(head.seq.0.saturating_sub(1));
        let newest = self.ports.state_store.read(&head.log, before).next().await;
        Ok(newest
            .transpose()?
            .and_then(|newest| record::written_at(&newest.body)))
    }

    /// One page of the approvals that runs wait for, whether they have parked or a worker has them.
    ///
    /// # Errors
    ///
    /// The store's, or a corrupt log.
    pub async fn approvals(
        &self,
        limit: NonZeroU32,
        page: Option<PageToken>,
    ) -> Result<Page<Asked>, HarnessError> {
        let is_open = |call: &Call| call.status == CallStatus::AwaitingApproval;
        self.asked(limit, page, is_open).await
    }

    /// One page of the calls of runs that ask a person something, as far as `is_wanted`. Of `limit` runs at most the
    /// logs are read; others are passed over by their heads.
    async fn asked(
        &self,
        limit: NonZeroU32,
        page: Option<PageToken>,
        is_wanted: impl Fn(&Call) -> bool,
    ) -> Result<Page<Asked>, HarnessError> {
        let (name, value) = log::ASKS;
        let asks = Labels::from([(name.to_owned(), value.to_owned())]);
        let heads = self.runs(asks, limit, page).await?;
        let mut items = Vec::new();
        for head in heads.items {
            let run = RunId::new(head.log.name.as_str())?;
            let Some(state) = log::load(&self.ports, &run).await? else {
                continue;
            };
            let open = state.open_calls().filter(|call| is_wanted(call));
            items.extend(open.map(|call| Asked {
                run: run.clone(),
                call: call.clone(),
            }));
        }
        Ok(Page {
            items,
            next: heads.next,
        })
    }

    /// Answers an approval, once. The run resumes by itself where a worker serves it.
    ///
    /// # Errors
    ///
    /// [`HarnessError::UnknownCall`], [`HarnessError::Answered`], [`HarnessError::WrongStatus`], or a failing store or
    /// runtime.
    pub async fn decide(
        &self,
        approval: &CallId,
        granted: bool,
        by: &str,
        reason: Option<String>,
    ) -> Result<RunId, HarnessError> {
        let (state, call) = self.call("approval", approval).await?;
        let unknown = || HarnessError::UnknownCall {
            what: "approval",
            id: approval.clone(),
        };
        let asked = call.approval.ok_or_else(unknown)?;
        if call.status != CallStatus::AwaitingApproval || asked.answer.is_some() {
            return Err(HarnessError::Answered(approval.clone()));
        }
        if state.outcome.is_some() {
            return Err(wrong(&state, "it has ended, and asks for nothing any more"));
        }
        let told = Told::Approval {
            approval: approval.clone(),
            proposal: asked.proposal,
            granted,
            by: by.to_owned(),
            reason,
        };
        self.tell(state.run(), &told, 0, approval).await
    }

    /// Says what became of a call in doubt, once. The run resumes by itself where a worker serves it.
    ///
    /// # Errors
    ///
    /// [`HarnessError::UnknownCall`], [`HarnessError::Answered`], [`HarnessError::WrongStatus`], or a failing store or
    /// runtime.
    pub async fn resolve(
        &self,
        call: &CallId,
        resolution: Resolution,
        by: &str,
    ) -> Result<RunId, HarnessError> {
        let (state, found) = self.call("call", call).await?;
        if !matches!(found.status, CallStatus::InDoubt { .. }) {
            return Err(HarnessError::Answered(call.clone()));
        }
        if state.outcome.is_some() {
            return Err(wrong(&state, "it has ended, and its record is closed"));
        }
        let told = Told::Resolved {
            call: call.clone(),
            resolution,
            by: by.to_owned(),
        };
        self.tell(state.run(), &told, found.doubts, call).await
    }

    /// Ends a run, at once, whoever has it. Cancelling a cancelled run is fine.
    ///
    /// # Errors
    ///
    /// [`HarnessError::UnknownRun`], [`HarnessError::WrongStatus`] for a run that succeeded, or a failing store or runtime.
    pub async fn cancel(
        &self,
        run: &RunId,
        by: &str,
        reason: Option<String>,
    ) -> Result<(), HarnessError> {
        for _try in 0..TRIES {
            let state = self.state(run).await?;
            match &state.outcome {
                Some(Outcome::Cancelled { .. }) => return self.look(run, state.attempt).await,
                Some(Outcome::Succeeded { .. }) => {
                    return Err(wrong(&state, "there is nothing left to cancel"));
                }
                // A failed run is cancelled so that nobody reopens it; its log needs reopening first.
                Some(Outcome::Failed { .. }) | None => {}
            }
            let attempt = state.attempt;
            let failed = state.outcome.is_some();
            let mut writer = Writer::new(&self.ports, state, attempt, self.nonce());
            if failed {
                writer
                    .record(Event::RunReopened { by: by.to_owned() })
                    .await?;
            }
            let event = Event::RunCancelled {
                by: by.to_owned(),
                reason: reason.clone(),
            };
            writer.record(event).await?;
            match writer.commit().await {
                Ok(()) => {
                    if let Some(ended) = trace::run_ended(&writer.state) {
                        self.ports.observer.observe(&ended);
                    }
                    return self.look(run, attempt).await;
                }
                Err(error) if log::is_taken_over(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(HarnessError::Contended(run.clone()))
    }

    /// Queues a failed run again, on the same log.
    ///
    /// # Errors
    ///
    /// [`HarnessError::UnknownRun`], [`HarnessError::WrongStatus`] unless it failed, or a failing store or runtime.
    pub async fn reopen(&self, run: &RunId, by: &str) -> Result<(), HarnessError> {
        for _try in 0..TRIES {
            let state = self.state(run).await?;
            if !matches!(state.outcome, Some(Outcome::Failed { .. })) {
                return Err(wrong(&state, "only a failed run is reopened"));
            }
            let attempt = state.attempt;
            let mut writer = Writer::new(&self.ports, state, attempt, self.nonce());
            writer
                .record(Event::RunReopened { by: by.to_owned() })
                .await?;
            match writer.commit().await {
                Ok(()) => return self.requeue_reopened(&writer.state).await,
                Err(error) if log::is_taken_over(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(HarnessError::Contended(run.clone()))
    }

    /// Makes sure that the runtime will deliver a run that its log says is not over: after a crash between the two, or
    /// when the runtime's memory was lost.
    ///
    /// # Errors
    ///
    /// [`HarnessError::UnknownRun`], or a failing store or runtime.
    pub async fn requeue(&self, run: &RunId) -> Result<(), HarnessError> {
        let state = self.state(run).await?;
        if state.outcome.is_some() {
            return Ok(());
        }
        if state.reopened == 0 {
            return self.submit_again(&state).await;
        }
        self.requeue_reopened(&state).await
    }

    async fn submit_again(&self, state: &RunState) -> Result<(), HarnessError> {
        let run = state.run();
        let submit = Submit {
            run: run.clone(),
            session: state.submitted.session.clone(),
            queue: queue_of(&state.submitted)?,
            not_before: None,
        };
        if self.ports.durable_runtime.submit(submit).await? == Submitted::Existing {
            self.ports.durable_runtime.resubmit(run).await?;
        }
        Ok(())
    }

    /// Queues a run that its log says is not over any more. The turn that ended it before may not have told the runtime
    /// yet; what it says then would undo this, so it is waited for.
    async fn requeue_reopened(&self, state: &RunState) -> Result<(), HarnessError> {
        let run = state.run();
        for _try in 0..TRIES {
            let known = self.ports.durable_runtime.describe(run).await?;
            let is_leased =
                known.is_some_and(|known| matches!(known.state, ScheduleState::Leased { .. }));
            self.submit_again(state).await?;
            if !is_leased {
                return Ok(());
            }
            self.ports
                .clock
                .sleep_until(self.ports.clock.now().plus(REQUEUE_DELAY))
                .await;
        }
        Ok(())
    }

    pub(crate) async fn state(&self, run: &RunId) -> Result<RunState, HarnessError> {
        log::load(&self.ports, run)
            .await?
            .ok_or_else(|| HarnessError::UnknownRun(run.clone()))
    }

    async fn call(
        &self,
        what: &'static str,
        id: &CallId,
    ) -> Result<(RunState, Call), HarnessError> {
        let unknown = || HarnessError::UnknownCall {
            what,
            id: id.clone(),
        };
        let run = call_run(id).ok_or_else(unknown)?;
        let state = log::load(&self.ports, &run).await?.ok_or_else(unknown)?;
        let call = state.call(id).cloned().ok_or_else(unknown)?;
        Ok((state, call))
    }

    /// Sends a signal whose first one counts.
    async fn tell(
        &self,
        run: &RunId,
        told: &Told,
        round: u32,
        about: &CallId,
    ) -> Result<RunId, HarnessError> {
        match self
            .ports
            .durable_runtime
            .signal(run, told.signal(round)?)
            .await?
        {
            Signalled::Accepted => Ok(run.clone()),
            Signalled::Duplicate | Signalled::Finished => {
                Err(HarnessError::Answered(about.clone()))
            }
        }
    }

    /// Makes whoever has the run look at its log.
    async fn look(&self, run: &RunId, round: u32) -> Result<(), HarnessError> {
        match self
            .ports
            .durable_runtime
            .signal(run, Told::Look.signal(round)?)
            .await
        {
            Ok(_) => Ok(()),
            // A run the runtime does not know has nobody to tell.
            Err(error) if error.kind() == seaworthy_ports::durable_runtime::Kind::NotFound => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn nonce(&self) -> String {
        format!("{:032x}", self.ports.entropy.bits())
    }
}

pub(crate) fn wrong(state: &RunState, why: &'static str) -> HarnessError {
    HarnessError::WrongStatus {
        run: state.run().clone(),
        status: state.status().as_str(),
        why,
    }
}

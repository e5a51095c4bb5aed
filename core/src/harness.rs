//! What applications call: start runs, look at them, answer them, end them.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use seaworthy_ports::durable_runtime::{
    RuntimeError, Schedule, ScheduleState, Scope, Served, Signalled, Submit, Submitted, Worker,
};
use seaworthy_ports::observer::Fact;
use seaworthy_ports::state_store::{
    Head, HeadQuery, Labels, Order, Page, PageToken, Seq, StateStoreError,
};
use seaworthy_ports::{
    BoxStream, CallId, Digest, InvalidId, Latch, LogKind, QueueName, RunId, SessionId, Timestamp,
    TraceContext,
};

use crate::descriptor::Materialised;
use crate::driver::{Driver, Settings};
use crate::event::{Event, Resolution, RunSubmitted};
use crate::files::{self, Attachment, InvalidFile};
use crate::live::{Abandoned, OnDrop, Relay, Watch};
use crate::log::{self, Loaded, LogError, Writer};
use crate::record::{self, Link};
use crate::replay::ReplayError;
use crate::signal::Told;
use crate::stack::Ports;
use crate::state::{Call, CallStatus, Outcome, RunState, Status, call_run};
use crate::trace;

/// The queue of runs that name none.
pub const DEFAULT_QUEUE: &str = "default";
/// How often a write is tried again when another writer was first.
const TRIES: u32 = 32;
/// How long to wait for the turn that holds a run to settle.
const REQUEUE_DELAY: std::time::Duration = std::time::Duration::from_millis(50);
/// How often a run that nobody watches any more is tried to be cancelled.
const ABANDONED_TRIES: u32 = 10;
/// How long to wait between two of these tries.
const ABANDONED_DELAY: std::time::Duration = std::time::Duration::from_secs(1);

/// A durable agent harness on one stack of ports. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Harness {
    ports: Ports,
    settings: Settings,
    relay: Relay,
}

/// A run to start.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its id; `None`: a new one.
    pub run: Option<RunId>,
    /// What to run.
    pub descriptor: Materialised,
    /// What to ask it.
    pub input: String,
    /// The files to give to it.
    pub files: Vec<Attachment>,
    /// The session it belongs to.
    pub session: Option<SessionId>,
    /// The directory it works in, absolute.
    pub workspace: String,
    /// The directory that the descriptor's commands are relative to, absolute.
    pub base_dir: String,
    /// Who grants every approval the run asks for, if anybody.
    pub grants_all: Option<String>,
    /// The queue it waits in for a worker, now and whenever it is queued again; `None`: [`DEFAULT_QUEUE`].
    pub queue: Option<QueueName>,
    /// The span that starts it: the run belongs to its trace, wherever it goes on. `None`: the run begins a trace. Not part
    /// of what the run is: of an existing run, the trace it was started in stays.
    pub trace: Option<TraceContext>,
}

/// A run that exists now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub run: RunId,
    /// Whether it existed before.
    pub existing: bool,
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

/// An approval somebody was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The run that asks.
    pub run: RunId,
    /// The call it is about.
    pub call: Call,
}

/// A run's log held against its own rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many records there are.
    pub records: u64,
    /// The digest of the newest.
    pub head: Option<Digest>,
    /// How the run stands by its records.
    pub status: Status,
    /// What is wrong, if anything is.
    pub faults: Vec<String>,
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

    /// Creates a run and makes it due. Repeating it with the same id, descriptor, input, files, session, workspace and
    /// queue is harmless.
    ///
    /// # Errors
    ///
    /// [`HarnessError::Mismatch`] if the run exists and is another one; [`HarnessError::File`] for a file that cannot be
    /// given to a run; a failing store or runtime. After any other error the same call may be repeated.
    pub async fn start(&self, start: Start) -> Result<Started, HarnessError> {
        let nonce = self.nonce();
        let run = run_id(start.run, &nonce)?;
        let submitted = RunSubmitted {
            run: run.clone(),
            agent: start.descriptor.metadata.name.clone(),
            input_digest: Digest::of(start.input.as_bytes()),
            input: start.input,
            files: files::check(&start.files)?,
            descriptor_digest: start.descriptor.digest(),
            max_turns: start.descriptor.runtime.max_turns,
            descriptor: serde_json::to_value(&start.descriptor).map_err(LogError::from)?,
            session: start.session.clone(),
            workspace: start.workspace,
            base_dir: start.base_dir,
            grants_all: start.grants_all,
            queue: start.queue,
            replay: None,
            trace: start.trace,
        };
        self.submit(submitted, &start.files, &nonce).await
    }

    /// Creates the run and makes it due, once.
    pub(crate) async fn submit(
        &self,
        submitted: RunSubmitted,
        files: &[Attachment],
        nonce: &str,
    ) -> Result<Started, HarnessError> {
        let run = submitted.run.clone();
        let existing = match log::load(&self.ports, &run).await? {
            Some(state) => Some(state),
            None => match self.create(&submitted, files, nonce).await {
                Ok(_state) => None,
                Err(error) if log::is_taken_over(&error) => log::load(&self.ports, &run).await?,
                Err(error) => return Err(error.into()),
            },
        };
        if let Some(state) = &existing {
            same(&state.submitted, &submitted)?;
        }
        if existing
            .as_ref()
            .is_none_or(|state| state.outcome.is_none())
        {
            let submit = Submit {
                run: run.clone(),
                session: submitted.session.clone(),
                queue: queue_of(&submitted)?,
                not_before: None,
            };
            let _new_or_existing: Submitted = self.ports.durable_runtime.submit(submit).await?;
        }
        Ok(Started {
            run,
            existing: existing.is_some(),
        })
    }

    /// Writes the first record of a run. Its files come first: a log never names what is not there.
    async fn create(
        &self,
        submitted: &RunSubmitted,
        files: &[Attachment],
        nonce: &str,
    ) -> Result<RunState, LogError> {
        files::keep(&self.ports, files).await?;
        let event = Event::RunSubmitted(Box::new(submitted.clone()));
        log::create(&self.ports, event, nonce).await
    }

    /// Serves runs until `stop` is set, and cancels those whose watchers went away and wanted that ([`OnDrop`]); with [`Scope::Run`], until that run is parked or done.
    ///
    /// # Errors
    ///
    /// The runtime's.
    pub async fn serve(&self, worker: Worker, stop: Latch) -> Result<Served, HarnessError> {
        let driver = Driver::new(
            self.ports.clone(),
            self.settings.clone(),
            self.relay.clone(),
            worker.id.clone(),
        );
        let serving = self
            .ports
            .durable_runtime
            .serve(worker, Arc::new(driver), stop);
        let cancelling = std::pin::pin!(self.cancel_abandoned());
        let served = match select(serving, cancelling).await {
            Either::Left((served, _cancelling)) => served?,
            Either::Right((never, _serving)) => match never {},
        };
        while let Some(abandoned) = self.relay.first_abandoned() {
            self.cancel_for(abandoned).await;
        }
        Ok(served)
    }

    /// Cancels runs whose watchers went away and wanted that.
    async fn cancel_abandoned(&self) -> Infallible {
        loop {
            let abandoned = self.relay.abandoned().await;
            self.cancel_for(abandoned).await;
        }
    }

    async fn cancel_for(&self, abandoned: Abandoned) {
        let mut tries = 0_u32;
        while let Err(error) = self.cancel_unless_ended(&abandoned).await {
            tries = tries.saturating_add(1);
            if tries >= ABANDONED_TRIES {
                self.ports.observer.observe(&Fact::RunStalled {
                    run: abandoned.run.clone(),
                    message: format!("its watcher went away, and it cannot be cancelled: {error}")
                        .into(),
                });
                break;
            }
            let later = self.ports.clock.now().plus(ABANDONED_DELAY);
            self.ports.clock.sleep_until(later).await;
        }
        self.relay.settle(&abandoned);
    }

    async fn cancel_unless_ended(&self, abandoned: &Abandoned) -> Result<(), HarnessError> {
        let why = "nobody watches it any more".to_owned();
        match self.state(&abandoned.run).await {
            Ok(state) if state.outcome.is_none() => {
                match self.cancel(&abandoned.run, &abandoned.by, Some(why)).await {
                    Err(HarnessError::WrongStatus { .. }) => Ok(()),
                    cancelled => cancelled,
                }
            }
            Ok(_) | Err(HarnessError::UnknownRun(_)) => Ok(()),
            Err(error) => Err(error),
        }
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

    /// One page of the approvals that runs wait for.
    ///
    /// # Errors
    ///
    /// The store's, or a corrupt log.
    pub async fn approvals(
        &self,
        limit: NonZeroU32,
        page: Option<PageToken>,
    ) -> Result<Page<Asked>, HarnessError> {
        let waiting = Labels::from([("status".to_owned(), Status::Waiting.as_str().to_owned())]);
        let heads = self.runs(waiting, limit, page).await?;
        let mut items = Vec::new();
        for head in heads.items {
            let run = RunId::new(head.log.name.as_str())?;
            let Some(state) = log::load(&self.ports, &run).await? else {
                continue;
            };
            let open = state
                .open_calls()
                .filter(|call| call.status == CallStatus::AwaitingApproval);
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
                Ok(()) => return self.requeue_reopened(run).await,
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
    async fn requeue_reopened(&self, run: &RunId) -> Result<(), HarnessError> {
        for _try in 0..TRIES {
            let known = self.ports.durable_runtime.describe(run).await?;
            let is_leased =
                known.is_some_and(|known| matches!(known.state, ScheduleState::Leased { .. }));
            self.requeue(run).await?;
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

    /// Reads the whole log without trusting any snapshot and says what is wrong with it.
    ///
    /// # Errors
    ///
    /// [`HarnessError::UnknownRun`], or a failing store. A corrupt log is an answer, not an error.
    pub async fn verify(&self, run: &RunId) -> Result<Verified, HarnessError> {
        let mut faults = Vec::new();
        let (mut records, mut head) = (0_u64, None);
        let mut stored = self.records(run, Link::default());
        while let Some(loaded) = stored.next().await {
            match loaded {
                Ok(loaded) => {
                    records = records.saturating_add(1);
                    head = loaded.link.digest;
                }
                Err(error) if is_damage(&error) => {
                    faults.push(error.to_string());
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if records == 0 && faults.is_empty() {
            return Err(HarnessError::UnknownRun(run.clone()));
        }
        let status = self.verify_fold(run, &mut faults).await?;
        Ok(Verified {
            records,
            head,
            status,
            faults,
        })
    }

    async fn verify_fold(
        &self,
        run: &RunId,
        faults: &mut Vec<String>,
    ) -> Result<Status, HarnessError> {
        let folded = match log::load_without_snapshot(&self.ports, run).await {
            Ok(folded) => folded,
            Err(error) if is_damage(&error) => {
                if faults.is_empty() {
                    faults.push(error.to_string());
                }
                return Ok(Status::Failed);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(state) = folded else {
            return Ok(Status::Failed);
        };
        if log::load(&self.ports, run).await.ok().flatten().as_ref() != Some(&state) {
            faults.push(
                "the state from the newest snapshot is not the state from all records".to_owned(),
            );
        }
        let head = self.ports.state_store.head(&log::run_log(run)).await?;
        let label = head.as_ref().and_then(|head| head.labels.get("status"));
        if label.map(String::as_str) != Some(state.status().as_str()) {
            faults.push(format!(
                "the store lists it as {label:?}, its records say {}",
                state.status().as_str()
            ));
        }
        if head.as_ref().map_or(Seq::ZERO, |head| head.seq) != state.link.seq {
            faults.push("the head is not the last record".to_owned());
        }
        Ok(state.status())
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

/// A worker that serves `scope`, with the usual times.
#[must_use]
pub fn worker(id: seaworthy_ports::WorkerId, scope: Scope, concurrency: usize) -> Worker {
    use std::time::Duration;
    Worker {
        id,
        scope,
        concurrency,
        lease: Duration::from_secs(15),
        poll: Duration::from_millis(500),
        drain: Duration::from_secs(20),
    }
}

/// The id of a run to start.
pub(crate) fn run_id(given: Option<RunId>, nonce: &str) -> Result<RunId, InvalidId> {
    let run = match given {
        Some(run) => run,
        None => RunId::new(format!("run_{}", nonce.get(..20).unwrap_or_default()))?,
    };
    // The ids of its calls must have room behind it.
    CallId::new(format!("{run}.c4294967295"))?;
    Ok(run)
}

/// Which line a run waits in. What its log says stays true when it is queued again, by whomever.
fn queue_of(submitted: &RunSubmitted) -> Result<QueueName, InvalidId> {
    match &submitted.queue {
        Some(queue) => Ok(queue.clone()),
        None => QueueName::new(DEFAULT_QUEUE),
    }
}

fn same(before: &RunSubmitted, now: &RunSubmitted) -> Result<(), HarnessError> {
    let differs = [
        (
            "descriptor",
            before.descriptor_digest != now.descriptor_digest,
        ),
        ("input", before.input_digest != now.input_digest),
        ("files", before.files != now.files),
        ("session", before.session != now.session),
        ("workspace", before.workspace != now.workspace),
        ("queue", before.queue != now.queue),
        ("replay", before.replay != now.replay),
    ];
    match differs.into_iter().find(|(_what, differs)| *differs) {
        Some((what, _)) => Err(HarnessError::Mismatch {
            run: before.run.clone(),
            what,
        }),
        None => Ok(()),
    }
}

pub(crate) fn wrong(state: &RunState, why: &'static str) -> HarnessError {
    HarnessError::WrongStatus {
        run: state.run().clone(),
        status: state.status().as_str(),
        why,
    }
}

pub(crate) fn is_damage(error: &LogError) -> bool {
    use seaworthy_ports::{blob_store, state_store};
    match error {
        LogError::Record { .. } | LogError::Fold { .. } | LogError::Json(_) => true,
        LogError::Store(error) => error.kind() == state_store::Kind::Corrupt,
        LogError::Blob(error) => {
            matches!(
                error.kind(),
                blob_store::Kind::Corrupt | blob_store::Kind::NotFound
            )
        }
    }
}

//! Creating runs.

use seaworthy_ports::durable_runtime::{Submit, Submitted};
use seaworthy_ports::{CallId, Digest, InvalidId, QueueName, RunId, SessionId, TraceContext};

use super::{Harness, HarnessError};
use crate::descriptor::Materialised;
use crate::event::{Event, RunSubmitted};
use crate::files::{self, Attachment};
use crate::log::{self, LogError};
use crate::state::RunState;

/// The queue of runs that name none.
pub const DEFAULT_QUEUE: &str = "default";
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

impl Harness {
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
        match &existing {
            Some(state) if state.outcome.is_some() => {}
            // Whoever reopened it may have died before the runtime knew.
            Some(state) if state.reopened > 0 => self.requeue_reopened(state).await?,
            Some(_) | None => {
                let submit = Submit {
                    run: run.clone(),
                    session: submitted.session.clone(),
                    queue: queue_of(&submitted)?,
                    not_before: None,
                };
                let _new_or_existing: Submitted = self.ports.durable_runtime.submit(submit).await?;
            }
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
        files::keep(&*self.ports.blob_store, files).await?;
        let event = Event::RunSubmitted(Box::new(submitted.clone()));
        log::create(&self.ports, event, nonce).await
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
pub(super) fn queue_of(submitted: &RunSubmitted) -> Result<QueueName, InvalidId> {
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

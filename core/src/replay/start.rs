//! Starting a replay.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{Digest, QueueName, RunId, TraceContext};
use serde::Deserialize as _;

use super::{Mode, Origin, Seen, Unmatched};
use crate::descriptor::{Materialised, ModelOverride, UnknownName};
use crate::event::RunSubmitted;
use crate::harness::{Harness, HarnessError, Started, run_id};
use crate::log::{self, LogError};
use crate::record::Link;
use crate::state::RunState;

/// A replay to start.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Its id; `None`: a new one.
    pub run: Option<RunId>,
    /// The run to replay.
    pub source: RunId,
    /// The source's first record that is not taken as it is: 1 for none, one more than there are for all.
    pub from: Seq,
    /// What happens from there on.
    pub mode: Mode,
    /// The agent, with the directory of its descriptor; `None`: the source's.
    pub agent: Option<(Materialised, String)>,
    /// Models that answer instead of the agent's.
    pub models: Vec<ModelOverride>,
    /// What becomes of a hybrid replay's calls that are not on record and may change something.
    pub unmatched: Unmatched,
    /// The directory it works in, absolute; `None`: the source's.
    pub workspace: Option<String>,
    /// Who grants every approval the replay asks for, if anybody. Nothing of that is taken from the source.
    pub grants_all: Option<String>,
    /// The queue it waits in; `None`: the default one.
    pub queue: Option<QueueName>,
    /// The span that starts it.
    pub trace: Option<TraceContext>,
}

impl Replay {
    /// A strict replay of all of `source`.
    #[must_use]
    pub fn new(source: RunId) -> Self {
        Self {
            run: None,
            source,
            from: Seq(1),
            mode: Mode::Strict,
            agent: None,
            models: Vec::new(),
            unmatched: Unmatched::default(),
            workspace: None,
            grants_all: None,
            queue: None,
            trace: None,
        }
    }
}

/// Why a run cannot be replayed like that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The source has no such place.
    #[error("run {run} has {records} records: a replay begins at one of 1 to {}", .records.saturating_add(1))]
    NoPlace {
        /// The source.
        run: RunId,
        /// How many records it has.
        records: u64,
    },
    /// Only what has ended can be reproduced.
    #[error(
        "run {run} is {status}: what has not ended cannot be reproduced; wait for its end, or replay it in another mode"
    )]
    NotEnded {
        /// The source.
        run: RunId,
        /// Where it stands.
        status: &'static str,
    },
    /// The source's descriptor cannot be read.
    #[error("the descriptor in the log of {run} cannot be read, so name another agent: {why}")]
    Descriptor {
        /// The source.
        run: RunId,
        /// What is wrong.
        why: String,
    },
    /// The agent has no such alias.
    #[error(transparent)]
    Alias(#[from] UnknownName),
}

impl Harness {
    /// Creates a run that begins with what another one recorded, and makes it due. The source is only read. Repeating it
    /// with the same id is harmless, also when the source has gone on meanwhile.
    ///
    /// # Errors
    ///
    /// [`HarnessError::UnknownRun`], [`HarnessError::Replay`]; [`HarnessError::Mismatch`] if the run exists and is another
    /// one; a failing store or runtime. After any error the same call may be repeated.
    pub async fn replay(&self, replay: Replay) -> Result<Started, HarnessError> {
        let nonce = self.nonce();
        let run = run_id(replay.run.clone(), &nonce)?;
        let source = self.state(&replay.source).await?;
        let existing = match &replay.run {
            Some(run) => log::load(self.ports(), run).await?,
            None => None,
        };
        let before = existing.and_then(|state| state.submitted.replay);
        let origin = self.origin(&replay, &source, before.as_deref()).await?;
        let of_source = &source.submitted;
        let (mut descriptor, base_dir) = match replay.agent {
            Some(agent) => agent,
            None => {
                let descriptor = Materialised::deserialize(&of_source.descriptor);
                let descriptor = descriptor.map_err(|error| ReplayError::Descriptor {
                    run: replay.source.clone(),
                    why: error.to_string(),
                })?;
                (descriptor, of_source.base_dir.clone())
            }
        };
        for ModelOverride { alias, spec } in replay.models {
            descriptor = descriptor
                .with_model(&alias, spec)
                .map_err(ReplayError::from)?;
        }
        let submitted = RunSubmitted {
            run,
            agent: descriptor.metadata.name.clone(),
            input_digest: of_source.input_digest,
            input: of_source.input.clone(),
            files: of_source.files.clone(),
            descriptor_digest: descriptor.digest(),
            max_turns: descriptor.runtime.max_turns,
            descriptor: serde_json::to_value(&descriptor).map_err(LogError::from)?,
            session: None,
            workspace: replay
                .workspace
                .unwrap_or_else(|| of_source.workspace.clone()),
            base_dir,
            grants_all: replay.grants_all,
            queue: replay.queue,
            replay: Some(Box::new(origin)),
            trace: replay.trace,
        };
        self.submit(submitted, &[], &nonce).await
    }

    /// `before`: that of the run, where it exists. What the source has recorded since does not make it another one.
    async fn origin(
        &self,
        replay: &Replay,
        source: &RunState,
        before: Option<&Origin>,
    ) -> Result<Origin, HarnessError> {
        let head = before
            .filter(|before| before.source == replay.source)
            .map_or(source.link, |before| before.head);
        if replay.from == Seq::ZERO || replay.from > head.seq.next() {
            let records = head.seq.0;
            let run = replay.source.clone();
            return Err(ReplayError::NoPlace { run, records }.into());
        }
        let status = source.status();
        if replay.mode == Mode::Strict && !status.is_terminal() && before.is_none() {
            let run = replay.source.clone();
            let status = status.as_str();
            return Err(ReplayError::NotEnded { run, status }.into());
        }
        let of_source = &source.submitted;
        let seen = of_source.replay.as_ref().and_then(|of| of.session.clone());
        let session = of_source
            .session
            .clone()
            .zip(source.session_through)
            .map(|(session, through)| Seen { session, through })
            .or(seen);
        let models: BTreeMap<String, String> = replay
            .models
            .iter()
            .map(|ModelOverride { alias, spec }| {
                let name = format!("{}:{}", spec.provider(), spec.name());
                (alias.clone(), name)
            })
            .collect();
        Ok(Origin {
            before: self.digest_before(replay, head).await?,
            descriptor: of_source.descriptor_digest,
            from: replay.from,
            head,
            mode: replay.mode,
            models,
            session,
            source: replay.source.clone(),
            unmatched: replay.unmatched,
        })
    }

    async fn digest_before(
        &self,
        replay: &Replay,
        head: Link,
    ) -> Result<Option<Digest>, HarnessError> {
        let last = Seq(replay.from.0.saturating_sub(1));
        if last == head.seq {
            return Ok(head.digest);
        }
        let mut at = Link::default();
        let mut records = self.records(&replay.source, at);
        while at.seq < last {
            match records.next().await {
                Some(loaded) => at = loaded?.link,
                None => break,
            }
        }
        Ok(at.digest)
    }
}

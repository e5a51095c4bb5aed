//! Reading a run's log into its state, and appending to it.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use seaworthy_ports::blob_store::BlobError;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::observer::Fact;
use seaworthy_ports::state_store::{Append, Expected, Kind, Labels, Seq, StateStoreError};
use seaworthy_ports::{AppendId, BoxStream, Effect, LogId, Retry, RunId, Timestamp};
use serde_json::Value;
use std::time::Duration;

use crate::canonical_json;
use crate::event::{Event, WaitReason};
use crate::record::{self, BlobRef, Envelope, Link, MAX_INLINE_BYTES, RecordError};
use crate::stack::Ports;
use crate::state::{Call, FoldError, RunState, Stamp, Status};

mod snapshot;

pub use snapshot::Covered;

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StateStoreError),
    /// A record cannot be understood.
    #[error("the log of {run} is corrupt: {source}")]
    Record {
        /// Whose log.
        run: String,
        /// What is wrong.
        source: RecordError,
    },
    /// A record cannot follow the ones before it.
    #[error("the log of {run} is corrupt: {source}")]
    Fold {
        /// Whose log.
        run: String,
        /// What is wrong.
        source: FoldError,
    },
    /// Data outside the log cannot be read or written.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Data cannot be written as JSON.
    #[error("an event cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The log of `run`.
#[must_use]
pub fn run_log(run: &RunId) -> LogId {
    LogId::run(run)
}

/// A record with its data at hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The record; its data is never a reference.
    pub envelope: Envelope,
    /// The link behind it.
    pub link: Link,
}

/// The records of `run` behind `after`, checked against the chain, with their data fetched.
pub fn records(
    ports: &Ports,
    run: &RunId,
    after: Link,
) -> BoxStream<'static, Result<Loaded, LogError>> {
    let bodies = ports.state_store.read(&run_log(run), after.seq);
    let (ports, run) = (ports.clone(), run.clone());
    stream::try_unfold((bodies, after), move |(mut bodies, after)| {
        let (ports, run) = (ports.clone(), run.clone());
        async move {
            let Some(stored) = bodies.next().await else {
                return Ok(None);
            };
            let stored = stored?;
            let corrupt = |source| LogError::Record {
                run: run.to_string(),
                source,
            };
            let (envelope, link) =
                record::open(after, stored.seq, &stored.body).map_err(corrupt)?;
            let envelope = resolve(&ports, envelope).await?;
            Ok(Some((Loaded { envelope, link }, (bodies, link))))
        }
    })
    .boxed()
}

/// The same record with its data at hand.
pub(crate) async fn resolve(ports: &Ports, mut envelope: Envelope) -> Result<Envelope, LogError> {
    if let Some(blob) = envelope.blob() {
        envelope.data = fetch(ports, blob).await?;
    }
    Ok(envelope)
}

/// The data as a record holds it: itself, or a reference where it is large.
pub(crate) async fn store_large(ports: &Ports, data: Value) -> Result<Value, LogError> {
    let mut size = Size(0);
    serde_json::to_writer(&mut size, &data)?;
    if size.0 <= MAX_INLINE_BYTES {
        return Ok(data);
    }
    let canonical = canonical_json::to_vec(&data)?;
    let bytes = canonical.len() as u64;
    let digest = ports
        .blob_store
        .put(stream::iter([Ok(Bytes::from(canonical))]).boxed())
        .await?;
    Ok(serde_json::to_value(BlobRef { digest, bytes })?)
}

/// Counts what is written to it.
struct Size(usize);

impl std::io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn fetch(ports: &Ports, blob: BlobRef) -> Result<Value, LogError> {
    let parts = ports.blob_store.get(&blob.digest).await?;
    let bytes = parts
        .try_fold(Vec::new(), |mut all, part| async move {
            all.extend_from_slice(&part);
            Ok(all)
        })
        .await?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// The state of `run`, or `None` where it has no log.
///
/// # Errors
///
/// A log that cannot be read, or is corrupt.
pub async fn load(ports: &Ports, run: &RunId) -> Result<Option<RunState>, LogError> {
    Ok(load_to_write(ports, run)
        .await?
        .map(|(state, _snapshot)| state))
}

/// The state of `run`, and what its snapshots cover of it.
///
/// # Errors
///
/// A log that cannot be read, or is corrupt.
pub async fn load_to_write(
    ports: &Ports,
    run: &RunId,
) -> Result<Option<(RunState, Covered)>, LogError> {
    if let Some((snapshot, covered)) = snapshot::load(ports, run).await {
        // A snapshot the log does not continue is only a lost optimisation.
        if let Ok(Some(state)) = fold(ports, run, Some(snapshot)).await {
            return Ok(Some((state, covered)));
        }
    }
    Ok(fold(ports, run, None)
        .await?
        .map(|state| (state, Covered::default())))
}

/// The state of `run` from its records alone.
///
/// # Errors
///
/// A log that cannot be read, or is corrupt.
pub async fn load_without_snapshot(
    ports: &Ports,
    run: &RunId,
) -> Result<Option<RunState>, LogError> {
    fold(ports, run, None).await
}

async fn fold(
    ports: &Ports,
    run: &RunId,
    from: Option<RunState>,
) -> Result<Option<RunState>, LogError> {
    let after = from.as_ref().map_or_else(Link::default, |state| state.link);
    let mut state = from;
    let mut records = records(ports, run, after);
    while let Some(loaded) = records.next().await {
        let Loaded { envelope, link } = loaded?;
        let stamp = Stamp {
            link,
            at: envelope.at,
            attempt: envelope.attempt,
        };
        let event = envelope.into_event().map_err(|source| LogError::Record {
            run: run.to_string(),
            source,
        })?;
        let corrupt = |source| LogError::Fold {
            run: run.to_string(),
            source,
        };
        match &mut state {
            None => state = Some(RunState::begin(event, stamp).map_err(corrupt)?),
            Some(state) => state.apply(event, stamp).map_err(corrupt)?,
        }
    }
    Ok(state)
}

/// Writes records behind a state. The state runs ahead of the log until `commit` returns; after an error it must be
/// dropped and read again.
#[derive(Debug)]
pub struct Writer<'a> {
    ports: &'a Ports,
    /// What the run is, with everything recorded so far.
    pub state: RunState,
    attempt: u32,
    nonce: String,
    committed: Link,
    unsent: Vec<Bytes>,
    covered: Covered,
    /// Where the next snapshot is counted from.
    snapshot: Seq,
    /// The labels of the newest append, and what they were made for.
    labels: Option<(Labelled, Labels)>,
}

/// What of a run changes its labels: where it stands, what it waits for, and whether it asks a person something.
type Labelled = (Status, Option<WaitReason>, bool);

/// How often an append is tried before the turn gives up.
const APPEND_TRIES: u32 = 6;

impl<'a> Writer<'a> {
    /// A writer behind `state` for `attempt`. `nonce` tells its appends from those of every other writer.
    #[must_use]
    pub fn new(ports: &'a Ports, state: RunState, attempt: u32, nonce: String) -> Self {
        let committed = state.link;
        Self {
            ports,
            state,
            attempt,
            nonce,
            committed,
            unsent: Vec::new(),
            covered: Covered::default(),
            snapshot: committed.seq,
            labels: None,
        }
    }

    fn labels(&mut self) -> Labels {
        let of = (
            self.state.status(),
            self.state.waiting.map(|waiting| waiting.reason),
            asks_person(&self.state),
        );
        match &self.labels {
            Some((made_for, labels)) if *made_for == of => labels.clone(),
            _ => {
                let labels = labels(&self.state);
                self.labels = Some((of, labels.clone()));
                labels
            }
        }
    }

    /// The same writer, which continues the snapshots that there are.
    #[must_use]
    pub fn with_snapshots(mut self, covered: Covered) -> Self {
        self.snapshot = covered.seq();
        self.covered = covered;
        self
    }

    /// The position of the newest record that is durable.
    #[must_use]
    pub fn committed(&self) -> Seq {
        self.committed.seq
    }

    /// Records an event; the next `commit` makes it durable.
    ///
    /// # Errors
    ///
    /// An event that cannot follow, or data that cannot be stored.
    pub async fn record(&mut self, event: Event) -> Result<(), LogError> {
        let at = self.ports.clock.now();
        let (body, link) = encode(self.ports, self.state.link, at, self.attempt, &event).await?;
        let stamp = Stamp {
            link,
            at,
            attempt: self.attempt,
        };
        self.state
            .apply(event, stamp)
            .map_err(|source| LogError::Fold {
                run: self.state.run().to_string(),
                source,
            })?;
        self.unsent.push(body);
        Ok(())
    }

    /// Makes everything recorded durable with one append.
    ///
    /// # Errors
    ///
    /// The store's; a conflict means that somebody else has the run.
    pub async fn commit(&mut self) -> Result<(), LogError> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let status = self.state.status();
        let seal = status.is_terminal() && status != Status::Failed;
        let first = self.committed.seq.next();
        let bytes = self.unsent.iter().map(Bytes::len).sum::<usize>() as u64;
        let count = u32::try_from(self.unsent.len()).unwrap_or(u32::MAX);
        let append = Append {
            log: run_log(self.state.run()),
            id: append_id(&self.nonce, first)?,
            expected: if self.committed.seq == Seq::ZERO {
                Expected::Absent
            } else {
                Expected::Head(self.committed.seq)
            },
            bodies: std::mem::take(&mut self.unsent),
            labels: self.labels(),
            seal,
        };
        let started = self.ports.clock.now();
        append_until_known(self.ports, &append).await?;
        self.committed = self.state.link;
        self.ports.observer.observe(&Fact::RecordsAppended {
            run: self.state.run().clone(),
            head: self.committed.seq,
            records: count,
            bytes,
            duration: self.ports.clock.now().since(started),
        });
        self.snapshot_when_due().await;
        Ok(())
    }

    async fn snapshot_when_due(&mut self) {
        let head = self.committed.seq;
        let behind = head.0.saturating_sub(self.snapshot.0);
        if self.state.outcome.is_some() || behind < snapshot::EVERY {
            return;
        }
        self.snapshot = head;
        if let Some(covered) = snapshot::save(self.ports, &self.state, self.covered).await {
            self.covered = covered;
        }
    }
}

/// Creates a run's log with its first record.
///
/// # Errors
///
/// The store's; a conflict means that the log exists.
pub async fn create(ports: &Ports, event: Event, nonce: &str) -> Result<RunState, LogError> {
    let at = ports.clock.now();
    let (body, link) = encode(ports, Link::default(), at, 0, &event).await?;
    let state = RunState::begin(
        event,
        Stamp {
            link,
            at,
            attempt: 0,
        },
    )
    .map_err(|source| LogError::Fold {
        run: String::new(),
        source,
    })?;
    let append = Append {
        log: run_log(state.run()),
        id: append_id(nonce, link.seq)?,
        expected: Expected::Absent,
        bodies: vec![body],
        labels: labels(&state),
        seal: false,
    };
    append_until_known(ports, &append).await?;
    Ok(state)
}

async fn encode(
    ports: &Ports,
    after: Link,
    at: Timestamp,
    attempt: u32,
    event: &Event,
) -> Result<(Bytes, Link), LogError> {
    let mut sealed = record::seal_event(after, at, attempt, event)?;
    // A body that is small enough cannot hold data that is too large.
    if sealed.body.len() > MAX_INLINE_BYTES {
        let (kind, data) = record::data_of(event)?;
        let data = store_large(ports, data).await?;
        sealed = record::seal(after, at, attempt, &kind, &data)?;
    }
    Ok((sealed.body, sealed.link))
}

fn append_id(nonce: &str, first: Seq) -> Result<AppendId, LogError> {
    AppendId::new(format!("{nonce}.{first}"))
        .map_err(|error| LogError::Json(serde::ser::Error::custom(error)))
}

/// Appends, and repeats the same append while its outcome is unknown or the store is busy.
pub(crate) async fn append_until_known(ports: &Ports, append: &Append) -> Result<(), LogError> {
    let mut tried = 0_u32;
    loop {
        let error = match ports.state_store.append(append.clone()).await {
            Ok(_appended) => return Ok(()),
            Err(error) => error,
        };
        tried = tried.saturating_add(1);
        let again = error.retry() != Retry::No || error.effect() == Effect::Unknown;
        if !again || tried >= APPEND_TRIES {
            return Err(error.into());
        }
        backoff(&*ports.clock, tried).await;
    }
}

/// 50 ms, then twice as long each time.
async fn backoff(clock: &dyn Clock, tried: u32) {
    let delay = Duration::from_millis(25_u64.saturating_mul(1 << tried.min(6)));
    clock.sleep_until(clock.now().plus(delay)).await;
}

/// Whether the error says that somebody else has the run, or has ended it.
#[must_use]
pub fn is_taken_over(error: &LogError) -> bool {
    matches!(error, LogError::Store(error) if matches!(error.kind(), Kind::Conflict { .. } | Kind::Sealed | Kind::Gone))
}

/// The label, and its value, of a run that asks a person something, whether it waits for that or a worker has it.
pub(crate) const ASKS: (&str, &str) = ("asks", "person");

fn asks_person(state: &RunState) -> bool {
    state.outcome.is_none() && state.open_calls().any(Call::asks_person)
}

/// What a run is found by. Nothing here changes with every append: labels are indexed.
fn labels(state: &RunState) -> Labels {
    let mut labels = Labels::new();
    let mut add = |name: &str, value: &str| {
        // Labels are for finding runs; what is too long for one is cut.
        let end = (0..=value.len().min(200))
            .rev()
            .find(|end| value.is_char_boundary(*end))
            .unwrap_or(0);
        labels.insert(
            name.to_owned(),
            value.get(..end).unwrap_or_default().to_owned(),
        );
    };
    add("status", state.status().as_str());
    add("agent", &state.submitted.agent);
    add("created_at", &state.created_at.to_string());
    if let Some(session) = &state.submitted.session {
        add("session", session.as_str());
    }
    if let Some(origin) = &state.submitted.replay {
        add("replay_of", origin.source.as_str());
    }
    if let Some(waiting) = &state.waiting {
        add("waiting", waiting.reason.as_str());
    }
    if asks_person(state) {
        let (name, value) = ASKS;
        add(name, value);
    }
    labels
}

//! Context checkpoints and fold snapshots.

use std::fmt;
use std::num::NonZeroU32;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::state_store::{Page, PageToken, Seq};
use crate::{AdapterInfo, Durability, ErrorKind, PortError, Retry, RunId, SessionId};

/// Keeps checkpoints: what makes resuming fast or a context short. A run can go on without any of them.
///
/// # Contract
///
/// * **CK-1** A checkpoint is bound to its run and session; its size is measured, not trusted; an identical rewrite is
///   fine, other content at the same key is [`Kind::Conflict`].
/// * **CK-2** `latest` and `list` (ascending by sequence, with limit and pages) are exact under concurrency.
/// * **CK-3** Deleting and pruning never break resuming: a fold checkpoint is only ever an optimisation.
/// * **CK-4** Durability as declared; runs and sessions are isolated from each other.
///
/// # Cancellation
///
/// A dropped `write` has stored the whole checkpoint or none of it.
#[async_trait]
pub trait CheckpointStore: fmt::Debug + Send + Sync + 'static {
    /// Who this is. No I/O.
    fn info(&self) -> AdapterInfo;

    /// What this store promises beyond the unconditional clauses. No I/O.
    fn capabilities(&self) -> CheckpointCapabilities;

    /// Stores a checkpoint.
    async fn write(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError>;

    /// The newest checkpoint of the run and kind whose sequence is at most `at_or_before`.
    async fn latest(
        &self,
        run: &RunId,
        kind: CheckpointKind,
        at_or_before: Seq,
    ) -> Result<Option<Checkpoint>, CheckpointError>;

    /// One page of a run's checkpoints, ascending by sequence.
    async fn list(&self, query: CheckpointQuery) -> Result<Page<CheckpointEntry>, CheckpointError>;

    /// Deletes the run's checkpoints that `which` names, and says how many there were.
    async fn delete(&self, which: DeleteCheckpoints) -> Result<u64, CheckpointError>;
}

/// What a checkpoint store promises beyond the unconditional clauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CheckpointCapabilities {
    /// What a written checkpoint survives.
    pub durability: Durability,
    /// The most bytes of one checkpoint; more is [`Kind::TooLarge`].
    pub max_bytes: usize,
}

/// What a checkpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    /// A shortened history.
    Summary,
    /// What one agent hands to another.
    Handoff,
    /// How far a goal is reached.
    GoalState,
    /// A fold, so that resuming need not read the whole log.
    Fold,
}

impl CheckpointKind {
    /// The kind's stable name, as stores keep it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Handoff => "handoff",
            Self::GoalState => "goal_state",
            Self::Fold => "fold",
        }
    }
}

/// One checkpoint. Its key is run, kind and sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose it is.
    pub run: RunId,
    /// The run's session, if it has one.
    pub session: Option<SessionId>,
    /// What it is for.
    pub kind: CheckpointKind,
    /// The position in the run's log that it covers.
    pub seq: Seq,
    /// Its content.
    pub content: Bytes,
}

/// Which checkpoints to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointQuery {
    /// Of this run.
    pub run: RunId,
    /// Of this kind only.
    pub kind: Option<CheckpointKind>,
    /// At most so many.
    pub limit: NonZeroU32,
    /// Continue after an earlier page.
    pub page: Option<PageToken>,
}

/// A checkpoint without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointEntry {
    /// What it is for.
    pub kind: CheckpointKind,
    /// The position it covers.
    pub seq: Seq,
    /// The content's size in bytes, as measured by the store.
    pub size: u64,
}

/// Which checkpoints to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteCheckpoints {
    /// Of this run.
    pub run: RunId,
    /// Of this kind only.
    pub kind: Option<CheckpointKind>,
    /// Only those that cover less than this.
    pub before: Option<Seq>,
}

/// Why a checkpoint store call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// Another content is stored at that key.
    #[error("conflict")]
    Conflict,
    /// More than the store takes.
    #[error("too large")]
    TooLarge,
    /// What is stored cannot be read.
    #[error("corrupt")]
    Corrupt,
    /// The store cannot be reached or has no room.
    #[error("unavailable")]
    Unavailable,
    /// The store refuses the call for good.
    #[error("rejected")]
    Rejected,
}

impl ErrorKind for Kind {
    fn default_retry(self) -> Retry {
        match self {
            Self::Unavailable => Retry::Backoff,
            Self::Conflict | Self::TooLarge | Self::Corrupt | Self::Rejected => Retry::No,
        }
    }
}

/// Why a checkpoint store call failed.
pub type CheckpointError = PortError<Kind>;

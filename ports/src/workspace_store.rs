//! The files a run works on, and immutable copies of them.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    AdapterInfo, Digest, Durability, ErrorKind, PortError, Retry, RunId, SnapshotId, Timestamp,
    WorkspaceId,
};

/// Keeps the file trees that runs work in.
///
/// A workspace is a local directory while a run works in it and a chain of immutable snapshots for the rest of its life.
/// Ids are chosen by the caller and are the idempotency keys: repeating a call with its id is harmless, so that a lost
/// reply is resolved by asking again.
///
/// | state | reached by | `snapshot` | `resume` | `abort` | `cleanup` |
/// |---|---|---|---|---|---|
/// | active | `start`, `resume` | yes | yes | yes | [`Kind::Rejected`] |
/// | paused | `snapshot` with [`AfterSnapshot::Pause`] | a repeated id, else [`Kind::Rejected`] | yes | yes | yes |
/// | aborted | `abort` | [`Kind::Aborted`] | [`Kind::Aborted`] | yes | yes |
/// | cleanup pending | a `cleanup` that did not finish | [`Kind::NotFound`] | [`Kind::NotFound`] | yes | yes |
/// | cleaned | `cleanup` | [`Kind::NotFound`] | [`Kind::NotFound`] | yes | yes |
///
/// # Contract
///
/// * **WS-1** `start` is idempotent by id: the same id with the same run, source and policy gives the same workspace; with
///   another it is [`Kind::IdempotencyConflict`].
/// * **WS-2** `snapshot` is atomic and immutable: one taken while files change is refused or consistent, never torn; the
///   same content costs its blobs once; repeating its id returns the same record, times included.
/// * **WS-3** `resume` from any snapshot restores bytes, modes, empty directories and symbolic links that stay inside. An
///   unknown or cleaned workspace is [`Kind::NotFound`], an aborted one [`Kind::Aborted`], one past its retention
///   [`Kind::Expired`], an unknown snapshot [`Kind::MissingSnapshot`].
/// * **WS-4** No path, link, archive entry or race leads outside the root; case and Unicode normalisation cannot be used to
///   make two names collide.
/// * **WS-5** Quotas (bytes, files, single file, snapshots) are enforced before the damage; a refused operation leaves
///   nothing behind and gives its counters back.
/// * **WS-6** `abort` and `cleanup` are repeatable; a pinned snapshot is not cleaned; a cleanup killed half way finishes
///   next time; orphans are swept.
/// * **WS-7** A crash between a snapshot and its record in the log leaves an orphan, never a dangling reference.
/// * **WS-8** Unchanged files are neither read nor uploaded again, as [`Snapshot::work`] counts.
/// * **WS-9** A policy that the store cannot keep is [`Kind::Rejected`] at `start`; nothing is weakened silently.
/// * **WS-10** An acknowledged snapshot survives what [`WorkspaceCapabilities::durability`] says; the files of an active
///   workspace survive at least the death of the process.
///
/// # Cancellation
///
/// Dropping a returned future leaves the outcome unknown, never half done: a dropped `snapshot` exists whole or not at
/// all, a dropped `resume` or `cleanup` is finished by the next.
#[async_trait]
pub trait WorkspaceStore: fmt::Debug + Send + Sync + 'static {
    /// Who this is. No I/O.
    fn info(&self) -> AdapterInfo;

    /// What this store promises beyond the unconditional clauses. No I/O.
    fn capabilities(&self) -> WorkspaceCapabilities;

    /// Makes a workspace, or finds the one this id was started with: a paused one is resumed from its newest snapshot, one
    /// that has ended fails as `resume` does.
    async fn start(&self, start: StartWorkspace) -> Result<Workspace, WorkspaceError>;

    /// Makes an immutable copy of an active workspace. Files that change meanwhile and cannot be copied consistently are
    /// [`Kind::Unavailable`]: once the run's tools are quiet, it works.
    async fn snapshot(&self, snapshot: TakeSnapshot) -> Result<Snapshot, WorkspaceError>;

    /// Gives a workspace back to work in, with the files of a snapshot or as they are. What the directory held before is
    /// replaced.
    async fn resume(&self, resume: ResumeWorkspace) -> Result<Workspace, WorkspaceError>;

    /// Ends a workspace for good without waiting for its files to go. Aborting an unknown or ended one is fine.
    async fn abort(&self, workspace: &WorkspaceId) -> Result<(), WorkspaceError>;

    /// Keeps a snapshot from being cleaned, or no longer.
    async fn pin(&self, pin: PinSnapshot) -> Result<(), WorkspaceError>;

    /// Removes files that nobody needs. Repeating it removes what is left.
    async fn cleanup(&self, cleanup: Cleanup) -> Result<Cleaned, WorkspaceError>;

    /// What the store knows of a workspace, if it ever knew it.
    async fn inspect(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Option<WorkspaceStatus>, WorkspaceError>;
}

/// What a workspace store promises beyond the unconditional clauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WorkspaceCapabilities {
    /// What an acknowledged snapshot survives (WS-10).
    pub durability: Durability,
    /// A workspace may be resumed on another machine than the one it was started on.
    pub portable: bool,
    /// Snapshots can be encrypted where they lie (WS-9).
    pub encryption: bool,
    /// File modes survive a snapshot; where not, only whether a file is executable does.
    pub modes: bool,
}

/// What a workspace's files may be and for how long they are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkspacePolicy {
    /// How much there may be.
    #[serde(default)]
    pub quotas: Quotas,
    /// How long a paused or aborted workspace is kept, on the store's clock; `None`: until it is cleaned.
    #[serde(default)]
    pub retention: Option<Duration>,
    /// Snapshots must be encrypted where they lie.
    #[serde(default)]
    pub encrypted: bool,
}

/// How much a workspace may hold. `None`: no limit but the store's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quotas {
    /// Bytes of all files of one snapshot together.
    #[serde(default)]
    pub bytes: Option<NonZeroU64>,
    /// Files, directories and links.
    #[serde(default)]
    pub files: Option<NonZeroU64>,
    /// Bytes of one file.
    #[serde(default)]
    pub file_bytes: Option<NonZeroU64>,
    /// Snapshots that are kept at once.
    #[serde(default)]
    pub snapshots: Option<NonZeroU64>,
}

/// The quota that an operation would have exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// [`Quotas::bytes`].
    Bytes,
    /// [`Quotas::files`].
    Files,
    /// [`Quotas::file_bytes`].
    FileBytes,
    /// [`Quotas::snapshots`].
    Snapshots,
}

/// What a new workspace holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing.
    Empty,
    /// A copy of a local directory, made as a snapshot is: links that lead outside are [`Kind::Rejected`].
    Directory(PathBuf),
    /// The files of a snapshot, of this or another workspace.
    Snapshot(SnapshotId),
}

/// A workspace to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartWorkspace {
    /// Its id, which makes repeating this harmless.
    pub id: WorkspaceId,
    /// The run that works in it.
    pub run: RunId,
    /// What it holds at first.
    pub source: Source,
    /// What it may become.
    pub policy: WorkspacePolicy,
}

/// A workspace that a run can work in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// What the log keeps, and every other call takes.
    pub reference: WorkspaceId,
    /// The run that works in it.
    pub run: RunId,
    /// Its local directory; valid until the workspace is paused, aborted or resumed.
    pub path: PathBuf,
    /// The snapshot that its files were last equal to.
    pub base: Option<SnapshotId>,
    /// What it may become.
    pub policy: WorkspacePolicy,
}

impl Workspace {
    /// Its local directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A snapshot to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeSnapshot {
    /// Its id, which makes repeating this harmless. With another workspace it is [`Kind::IdempotencyConflict`].
    pub id: SnapshotId,
    /// Of this workspace.
    pub workspace: WorkspaceId,
    /// What becomes of the workspace.
    pub then: AfterSnapshot,
    /// Whether cleaning leaves it alone until it is unpinned.
    pub pinned: bool,
}

/// What becomes of a workspace after its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterSnapshot {
    /// The run works on in it.
    Continue,
    /// The run waits; the local directory may go.
    Pause,
}

/// An immutable copy of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// The workspace it was taken of.
    pub workspace: WorkspaceId,
    /// The digest of its manifest: equal files, modes, directories and links have equal digests.
    pub manifest: Digest,
    /// Files, directories and links in it.
    pub files: u64,
    /// Bytes of all its files together.
    pub bytes: u64,
    /// When it was taken, on the store's clock.
    pub taken_at: Timestamp,
    /// What taking it cost.
    pub work: SnapshotWork,
}

/// What taking a snapshot cost (WS-8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotWork {
    /// Files that had to be read.
    pub files_read: u64,
    /// Blobs that were not stored before.
    pub blobs_stored: u64,
    /// Bytes of those blobs.
    pub bytes_stored: u64,
}

/// A workspace to work in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeWorkspace {
    /// Which.
    pub workspace: WorkspaceId,
    /// With which files.
    pub from: ResumeFrom,
}

/// The files that a resumed workspace has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumeFrom {
    /// Those of the directory if the workspace is active and its directory is here, else those of the newest snapshot,
    /// else those of its source.
    Latest,
    /// Those of this snapshot.
    Snapshot(SnapshotId),
}

/// Whether cleaning leaves a snapshot alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinSnapshot {
    /// Of this workspace; unknown or cleaned is [`Kind::NotFound`].
    pub workspace: WorkspaceId,
    /// This snapshot; unknown is [`Kind::MissingSnapshot`].
    pub snapshot: SnapshotId,
    /// Whether it is left alone.
    pub pinned: bool,
}

/// What to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// A workspace that is not active, with every snapshot that is not pinned. An unknown one has nothing to remove.
    Workspace(WorkspaceId),
    /// Snapshots of a workspace, active or not, that its run's log does not name: those which a crash left behind (WS-7).
    Orphans {
        /// Of this workspace.
        workspace: WorkspaceId,
        /// The snapshots that the log names; they stay.
        named: BTreeSet<SnapshotId>,
        /// Only those taken before this, so that one on its way into the log is left alone.
        taken_before: Timestamp,
    },
    /// Every workspace past its retention, and whatever earlier cleanups left.
    Expired,
}

/// What a cleanup removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cleaned {
    /// Workspaces that are now cleaned and were not before.
    pub workspaces: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Bytes that are free again.
    pub bytes: u64,
    /// Snapshots that stayed because they are pinned.
    pub pinned: u64,
}

/// Where a workspace stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceState {
    /// A run works in it.
    Active,
    /// A snapshot was taken and the run waits.
    Paused,
    /// Ended for good; its files await cleaning.
    Aborted,
    /// A cleanup began and has not finished.
    CleanupPending,
    /// Nothing is left but pinned snapshots and the fact that it was.
    Cleaned,
}

/// What a store knows of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceStatus {
    /// Its id.
    pub reference: WorkspaceId,
    /// The run that works in it.
    pub run: RunId,
    /// Where it stands.
    pub state: WorkspaceState,
    /// What it may become.
    pub policy: WorkspacePolicy,
    /// When it was started, on the store's clock.
    pub started_at: Timestamp,
    /// When it may be cleaned for its age, on the store's clock.
    pub expires_at: Option<Timestamp>,
    /// Its newest snapshot.
    pub newest: Option<SnapshotId>,
    /// How many snapshots are kept.
    pub snapshots: u64,
    /// How many of them are pinned.
    pub pinned: u64,
    /// Bytes that its snapshots occupy, shared ones counted once.
    pub bytes: u64,
}

/// Why a workspace store call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// There is no such workspace, or it was cleaned.
    #[error("not found")]
    NotFound,
    /// The workspace was ended for good.
    #[error("aborted")]
    Aborted,
    /// The workspace is past its retention.
    #[error("expired")]
    Expired,
    /// The workspace has no such snapshot.
    #[error("missing snapshot")]
    MissingSnapshot,
    /// The id was used for something else.
    #[error("idempotency conflict")]
    IdempotencyConflict,
    /// The operation would exceed a quota of the policy.
    #[error("quota exceeded")]
    QuotaExceeded {
        /// Which.
        quota: Quota,
    },
    /// The store cannot be reached, has no room, or the files are changing.
    #[error("unavailable")]
    Unavailable,
    /// What is stored cannot be read.
    #[error("corrupt")]
    Corrupt,
    /// The call is malformed, or the store refuses it for good.
    #[error("rejected")]
    Rejected,
}

impl ErrorKind for Kind {
    fn default_retry(self) -> Retry {
        match self {
            Self::Unavailable => Retry::Backoff,
            Self::NotFound
            | Self::Aborted
            | Self::Expired
            | Self::MissingSnapshot
            | Self::IdempotencyConflict
            | Self::QuotaExceeded { .. }
            | Self::Corrupt
            | Self::Rejected => Retry::No,
        }
    }
}

/// Why a workspace store call failed.
pub type WorkspaceError = PortError<Kind>;

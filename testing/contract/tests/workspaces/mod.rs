//! A workspace store in a folder, written for clarity: one lock, one file of what is known, blobs by their digests. It keeps
//! its contract, and does one thing wrong where its bug says so.

mod bugs;
mod cleaning;
mod copying;
mod disk;
mod harness;
mod scan;
mod tree;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) use bugs::*;
use copying::{Copied, clear};
use disk::{Cache, Disk, Kept, Known, Origin, State, Works};
pub(crate) use harness::{Broken, OfProcesses, of_process};
use rustix::fs::FlockOperation;
use scan::{Scan, Seen, Trouble};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::workspace_store::{
    AfterSnapshot, Cleaned, Cleanup, Kind, PinSnapshot, Quota, Quotas, ResumeFrom, ResumeWorkspace,
    Snapshot, SnapshotWork, Source, StartWorkspace, TakeSnapshot, Workspace, WorkspaceCapabilities,
    WorkspaceError, WorkspaceStatus, WorkspaceStore,
};
use seaworthy_ports::{
    AdapterInfo, Digest, Durability, SnapshotId, Timestamp, WorkspaceId, async_trait,
};
use tokio::sync::MutexGuard;
use tree::{Manifest, Node};

/// How long a scenario waits for what a bug keeps from coming.
pub(crate) const PATIENCE: Duration = Duration::from_secs(6);
/// Between two looks at the same thing.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// After as many looks every file system's clock has ticked.
const SLOWEST_TICK: usize = 50;

/// A store with a bug.
#[derive(Debug)]
pub(crate) struct Store {
    bug: u8,
    disk: Disk,
    clock: Arc<dyn Clock>,
    lock: tokio::sync::Mutex<()>,
    counted: Mutex<SnapshotWork>,
    breaks: AtomicBool,
}

/// Nobody else has the store, in this process or another.
struct Alone<'a> {
    _here: MutexGuard<'a, ()>,
    _elsewhere: File,
}

fn error(kind: Kind, operation: &'static str, why: impl Into<String>) -> WorkspaceError {
    WorkspaceError::new(kind, "broken", operation, why)
}

fn expires_at(works: &Works) -> Option<Timestamp> {
    Some(works.rests_since?.plus(works.policy.retention?))
}

impl Store {
    fn open(root: &Path, clock: Arc<dyn Clock>, bug: u8) -> Self {
        Self {
            bug,
            disk: Disk::open(root),
            clock,
            lock: tokio::sync::Mutex::default(),
            counted: Mutex::default(),
            breaks: AtomicBool::default(),
        }
    }

    /// An id as this store tells ids apart.
    fn id(&self, id: &WorkspaceId) -> WorkspaceId {
        if self.bug == FOLDS_IDS {
            WorkspaceId::new(id.as_str().to_lowercase()).unwrap()
        } else {
            id.clone()
        }
    }

    async fn alone(&self) -> Alone<'_> {
        let here = self.lock.lock().await;
        let elsewhere = self.disk.lock();
        while rustix::fs::flock(&elsewhere, FlockOperation::NonBlockingLockExclusive).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Alone {
            _here: here,
            _elsewhere: elsewhere,
        }
    }

    fn count(&self, blob: Option<&[u8]>) {
        let mut counted = self.counted.lock().unwrap();
        match blob {
            None => counted.files_read += 1,
            Some(bytes) => {
                counted.blobs_stored += 1;
                counted.bytes_stored += bytes.len() as u64;
            }
        }
    }

    fn workspace(&self, id: &WorkspaceId, works: &Works) -> Workspace {
        let directory = works.directory.as_deref().unwrap_or_default();
        Workspace {
            reference: id.clone(),
            run: works.run.clone(),
            path: self.disk.directory(directory),
            base: works.base.clone(),
            policy: works.policy,
        }
    }

    /// A workspace that can be worked in, or why it cannot.
    fn open_one<'a>(
        &self,
        operation: &'static str,
        known: &'a Known,
        id: &WorkspaceId,
    ) -> Result<&'a Works, WorkspaceError> {
        let missing = || error(Kind::NotFound, operation, "there is no such workspace");
        let works = known.workspaces.get(id).ok_or_else(missing)?;
        match works.state {
            State::Aborted => Err(error(Kind::Aborted, operation, "it was aborted")),
            State::CleanupPending | State::Cleaned => Err(missing()),
            State::Active => Ok(works),
            State::Paused => match expires_at(works) {
                Some(at) if at <= self.clock.now() && self.bug != NEVER_EXPIRES => {
                    Err(error(Kind::Expired, operation, "it is past its retention"))
                }
                _ => Ok(works),
            },
        }
    }

    fn open_again(
        &self,
        operation: &'static str,
        known: &mut Known,
        id: &WorkspaceId,
        from: ResumeFrom,
    ) -> Result<Workspace, WorkspaceError> {
        let works = self.open_one(operation, known, id)?.clone();
        let (manifest, base) = match from {
            ResumeFrom::Snapshot(snapshot) => {
                let kept = known
                    .snapshots
                    .get(&snapshot)
                    .filter(|kept| kept.record.workspace == *id || self.bug == ANY_SNAPSHOT)
                    .ok_or_else(|| error(Kind::MissingSnapshot, operation, "it is not there"))?;
                (kept.record.manifest, Some(snapshot))
            }
            ResumeFrom::Latest => {
                let here = works.directory.as_deref().filter(|name| {
                    fs::symlink_metadata(self.disk.directory(name))
                        .is_ok_and(|metadata| metadata.is_dir())
                });
                let starts_over = self.bug == STARTS_OVER && operation == "start";
                if works.state == State::Active && here.is_some() && !starts_over {
                    return Ok(self.workspace(id, &works));
                }
                match known.snapshots_of(id).last() {
                    Some(newest) => (newest.record.manifest, Some(newest.record.id.clone())),
                    None => {
                        let base = match &works.origin {
                            Origin::Snapshot(snapshot) => Some(snapshot.clone()),
                            Origin::Empty | Origin::Directory(_) => None,
                        };
                        (works.first, base)
                    }
                }
            }
        };
        let manifest = self.disk.manifest(&manifest);
        let directory = self.restore(operation, &manifest, known)?;
        let resumed = Works {
            state: State::Active,
            rests_since: None,
            base,
            directory: Some(directory),
            ..works.clone()
        };
        let workspace = self.workspace(id, &resumed);
        known.workspaces.insert(id.clone(), resumed);
        self.disk.keep(known);
        self.leave(&works);
        Ok(workspace)
    }

    /// Removes the directory of a workspace that has another now, or none.
    fn leave(&self, works: &Works) {
        if let Some(name) = &works.directory {
            if self.bug == CLEARS_THROUGH_LINKS {
                clear(&self.disk.directory(name));
            }
            self.disk.remove_directory(name);
        }
    }

    /// A snapshot that was asked for before.
    fn repeated(
        &self,
        known: &Known,
        take: &TakeSnapshot,
    ) -> Result<Option<Snapshot>, WorkspaceError> {
        match known.snapshots.get(&take.id) {
            Some(kept) if kept.record.workspace != take.workspace => {
                let why = "the id is that of another workspace's snapshot";
                Err(error(Kind::IdempotencyConflict, "snapshot", why))
            }
            Some(kept) if self.bug == NEW_TIMES => Ok(Some(Snapshot {
                taken_at: self.clock.now(),
                ..kept.record.clone()
            })),
            Some(kept) => Ok(Some(kept.record.clone())),
            None => Ok(None),
        }
    }

    async fn take(
        &self,
        known: &mut Known,
        take: &TakeSnapshot,
        alone: Alone<'_>,
    ) -> Result<Snapshot, WorkspaceError> {
        let works = self.open_one("snapshot", known, &take.workspace)?.clone();
        if let Some(record) = self.repeated(known, take)? {
            return Ok(record);
        }
        if works.state == State::Paused && self.bug != TAKES_PAUSED {
            return Err(error(Kind::Rejected, "snapshot", "it is paused"));
        }
        let quotas = works.policy.quotas;
        let count = known.snapshots_of(&take.workspace).len() as u64;
        if quotas
            .snapshots
            .is_some_and(|most| count + works.refused >= most.get())
        {
            self.count_refused(known, &take.workspace);
            let quota = Quota::Snapshots;
            let why = "there are as many as there may be";
            return Err(error(Kind::QuotaExceeded { quota }, "snapshot", why));
        }
        let name = works.directory.clone().unwrap_or_default();
        let mut cache = self.disk.cache(&name);
        let path = self.disk.directory(&name);
        let copied = self.copy("snapshot", &path, &quotas, &mut cache).await;
        let Copied {
            manifest,
            work,
            held_back,
        } = match copied {
            Ok(copied) => copied,
            Err(failed) => {
                if self.bug != LATE_QUOTA {
                    self.disk.sweep(known);
                }
                return Err(failed);
            }
        };
        let _still_alone = if self.bug == UNLOCKED_RECORD {
            drop(alone);
            tokio::time::sleep(Duration::from_millis(4)).await;
            let again = self.alone().await;
            *known = self.disk.known();
            again
        } else {
            alone
        };
        self.disk.keep_cache(&name, &cache);
        let record = Snapshot {
            id: take.id.clone(),
            workspace: take.workspace.clone(),
            manifest: self.disk.keep_manifest(&manifest),
            files: manifest.0.len() as u64,
            bytes: manifest.bytes(),
            taken_at: self.clock.now(),
            work,
        };
        let kept = Kept {
            record: record.clone(),
            pinned: take.pinned,
            order: known.next(),
        };
        known.snapshots.insert(take.id.clone(), kept);
        if let Some(works) = known.workspaces.get_mut(&take.workspace) {
            works.base = Some(take.id.clone());
            if take.then == AfterSnapshot::Pause {
                works.state = State::Paused;
                works.rests_since = Some(record.taken_at);
            }
        }
        self.disk.keep(known);
        for (content, bytes) in held_back {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(3)).await;
            self.disk.keep_blob(&content, &bytes);
        }
        Ok(record)
    }

    fn count_refused(&self, known: &mut Known, id: &WorkspaceId) {
        if self.bug == COUNTS_REFUSED
            && let Some(works) = known.workspaces.get_mut(id)
        {
            works.refused += 1;
            self.disk.keep(known);
        }
    }

    /// What a new workspace begins with.
    async fn source(
        &self,
        known: &Known,
        start: &StartWorkspace,
    ) -> Result<(Manifest, Option<SnapshotId>), WorkspaceError> {
        let mut quotas = start.policy.quotas;
        if self.bug == ANY_SOURCE_SIZE {
            quotas = Quotas::default();
        }
        match &start.source {
            Source::Empty => Ok((Manifest::default(), None)),
            Source::Directory(path) => {
                let mut cache = Cache::default();
                let copied = self.copy("start", path, &quotas, &mut cache).await?;
                for (content, bytes) in &copied.held_back {
                    self.disk.keep_blob(content, bytes);
                }
                Ok((copied.manifest, None))
            }
            Source::Snapshot(id) => {
                let missing = || error(Kind::MissingSnapshot, "start", "it is not there");
                let kept = known.snapshots.get(id).ok_or_else(missing)?;
                let manifest = self.disk.manifest(&kept.record.manifest);
                match tree::exceeded(&quotas, manifest.sizes()) {
                    Some(quota) => {
                        let kind = Kind::QuotaExceeded { quota };
                        Err(error(kind, "start", "there is too much"))
                    }
                    None => Ok((manifest, Some(id.clone()))),
                }
            }
        }
    }

    async fn begin(
        &self,
        known: &mut Known,
        start: StartWorkspace,
    ) -> Result<Workspace, WorkspaceError> {
        let (manifest, base) = self.source(known, &start).await?;
        let directory = self.restore("start", &manifest, known)?;
        let works = Works {
            run: start.run,
            origin: start.source.into(),
            policy: start.policy,
            state: State::Active,
            started_at: self.clock.now(),
            rests_since: None,
            base,
            first: self.disk.keep_manifest(&manifest),
            directory: Some(directory),
            refused: 0,
        };
        let workspace = self.workspace(&start.id, &works);
        known.workspaces.insert(start.id, works);
        self.disk.keep(known);
        Ok(workspace)
    }
}

#[async_trait]
impl WorkspaceStore for Store {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "broken",
            package: "broken",
            version: "0",
        }
    }

    fn capabilities(&self) -> WorkspaceCapabilities {
        WorkspaceCapabilities {
            durability: if self.bug == MODEST {
                Durability::Volatile
            } else {
                Durability::ProcessCrash
            },
            portable: false,
            encryption: self.bug == SHOWS_SECRETS,
            modes: true,
        }
    }

    async fn start(&self, mut start: StartWorkspace) -> Result<Workspace, WorkspaceError> {
        let _alone = self.alone().await;
        let mut known = self.disk.known();
        start.id = self.id(&start.id);
        if let Some(works) = known.workspaces.get(&start.id) {
            let asked = (&start.run, &Origin::from(start.source), &start.policy);
            if asked != (&works.run, &works.origin, &works.policy) && self.bug != ANY_IDENTITY {
                let why = "the id was started with something else";
                return Err(error(Kind::IdempotencyConflict, "start", why));
            }
            return self.open_again("start", &mut known, &start.id, ResumeFrom::Latest);
        }
        if start.policy.encrypted && !matches!(self.bug, WEAKENS | SHOWS_SECRETS) {
            return Err(error(Kind::Rejected, "start", "it cannot encrypt"));
        }
        let begun = self.begin(&mut known, start).await;
        if begun.is_err() {
            self.disk.sweep(&known);
        }
        begun
    }

    async fn snapshot(&self, mut take: TakeSnapshot) -> Result<Snapshot, WorkspaceError> {
        let alone = self.alone().await;
        let mut known = self.disk.known();
        take.workspace = self.id(&take.workspace);
        self.take(&mut known, &take, alone).await
    }

    async fn resume(&self, resume: ResumeWorkspace) -> Result<Workspace, WorkspaceError> {
        let _alone = self.alone().await;
        let mut known = self.disk.known();
        let id = self.id(&resume.workspace);
        self.open_again("resume", &mut known, &id, resume.from)
    }

    async fn abort(&self, workspace: &WorkspaceId) -> Result<(), WorkspaceError> {
        let _alone = self.alone().await;
        let mut known = self.disk.known();
        let now = self.clock.now();
        if let Some(works) = known.workspaces.get_mut(&self.id(workspace))
            && matches!(works.state, State::Active | State::Paused)
        {
            works.state = State::Aborted;
            works.rests_since = Some(now);
            self.disk.keep(&known);
        }
        Ok(())
    }

    async fn pin(&self, pin: PinSnapshot) -> Result<(), WorkspaceError> {
        let _alone = self.alone().await;
        let mut known = self.disk.known();
        match known
            .workspaces
            .get(&pin.workspace)
            .map(|works| &works.state)
        {
            None | Some(State::CleanupPending | State::Cleaned) => {
                return Err(error(Kind::NotFound, "pin", "there is no such workspace"));
            }
            Some(_) => {}
        }
        let kept = known.snapshots.get_mut(&pin.snapshot);
        let kept = kept.filter(|kept| kept.record.workspace == pin.workspace);
        let missing = || error(Kind::MissingSnapshot, "pin", "it is not there");
        kept.ok_or_else(missing)?.pinned = pin.pinned;
        self.disk.keep(&known);
        Ok(())
    }

    async fn cleanup(&self, cleanup: Cleanup) -> Result<Cleaned, WorkspaceError> {
        let _alone = self.alone().await;
        let mut known = self.disk.known();
        let mut cleaned = Cleaned::default();
        match cleanup {
            Cleanup::Workspace(id) => {
                self.clean_one(&mut known, &id, &mut cleaned).await?;
            }
            Cleanup::Orphans {
                workspace,
                named,
                taken_before,
            } => {
                return self
                    .sweep_orphans(&mut known, &workspace, &named, taken_before)
                    .await;
            }
            Cleanup::Expired => {
                let now = self.clock.now();
                let is_due = |works: &Works| match works.state {
                    State::Active | State::Cleaned => false,
                    State::CleanupPending => true,
                    State::Paused | State::Aborted => expires_at(works).is_some_and(|at| at <= now),
                };
                let due: Vec<WorkspaceId> = known
                    .workspaces
                    .iter()
                    .filter(|(_, works)| is_due(works))
                    .map(|(id, _)| id.clone())
                    .collect();
                for id in due {
                    self.clean_one(&mut known, &id, &mut cleaned).await?;
                }
            }
        }
        Ok(cleaned)
    }

    async fn inspect(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Option<WorkspaceStatus>, WorkspaceError> {
        let _alone = self.alone().await;
        let known = self.disk.known();
        let Some(works) = known.workspaces.get(&self.id(workspace)) else {
            return Ok(None);
        };
        let kept = known.snapshots_of(workspace);
        let blobs: BTreeSet<(Digest, u64)> = kept
            .iter()
            .flat_map(|kept| {
                let manifest = self.disk.manifest(&kept.record.manifest);
                manifest.contents().collect::<Vec<_>>()
            })
            .collect();
        Ok(Some(WorkspaceStatus {
            reference: workspace.clone(),
            run: works.run.clone(),
            state: (&works.state).into(),
            policy: works.policy,
            started_at: works.started_at,
            expires_at: expires_at(works),
            newest: kept.last().map(|kept| kept.record.id.clone()),
            snapshots: kept.len() as u64,
            pinned: kept.iter().filter(|kept| kept.pinned).count() as u64,
            bytes: blobs.iter().map(|(_, size)| size).sum(),
        }))
    }
}

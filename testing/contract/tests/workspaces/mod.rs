//! A workspace store in a folder, written for clarity: one lock, one file of what is known, blobs by their digests. It keeps
//! its contract, and does one thing wrong where its bug says so.

mod disk;
mod scan;
mod tree;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::{Cache, Disk, Kept, Known, Origin, State, Works};
use rustix::fs::FlockOperation;
use scan::{Scan, Seen, Trouble};
use seaworthy_contract::process;
use seaworthy_contract::workspace_store::Harness;
use seaworthy_fakes::FakeClock;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::workspace_store::{
    AfterSnapshot, Cleaned, Cleanup, Kind, PinSnapshot, Quota, Quotas, ResumeFrom, ResumeWorkspace,
    Snapshot, SnapshotWork, Source, StartWorkspace, TakeSnapshot, Workspace, WorkspaceCapabilities,
    WorkspaceError, WorkspaceStatus, WorkspaceStore,
};
use seaworthy_ports::{
    AdapterInfo, Digest, Durability, SnapshotId, Timestamp, WorkspaceId, async_trait,
};
use seaworthy_system::SystemClock;
use tempfile::TempDir;
use tokio::sync::MutexGuard;
use tree::{Manifest, Node};

/// How long a scenario waits for what a bug keeps from coming.
pub(crate) const PATIENCE: Duration = Duration::from_secs(6);
/// Between two looks at the same thing.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// After as many looks every file system's clock has ticked.
const SLOWEST_TICK: usize = 50;

pub(crate) const NONE: u8 = 0;
pub(crate) const ANY_IDENTITY: u8 = 1;
pub(crate) const STARTS_OVER: u8 = 2;
pub(crate) const TORN: u8 = 3;
pub(crate) const NEW_TIMES: u8 = 4;
pub(crate) const STORES_AGAIN: u8 = 5;
pub(crate) const TRUSTS_TIME: u8 = 6;
pub(crate) const TAKES_PAUSED: u8 = 7;
pub(crate) const RECORDS_FIRST: u8 = 8;
pub(crate) const HARD_LINKS: u8 = 9;
pub(crate) const MODELESS_MANIFEST: u8 = 10;
pub(crate) const NO_EMPTY_DIRECTORIES: u8 = 11;
pub(crate) const FORGETS_MODES: u8 = 12;
pub(crate) const ANY_SNAPSHOT: u8 = 13;
pub(crate) const NEVER_EXPIRES: u8 = 14;
pub(crate) const UNVERIFIED: u8 = 15;
pub(crate) const FOLLOWS_LINKS: u8 = 16;
pub(crate) const LEXICAL_LINKS: u8 = 17;
pub(crate) const CHECKS_THEN_USES: u8 = 18;
pub(crate) const CLEARS_THROUGH_LINKS: u8 = 19;
pub(crate) const FOLDS_NAMES: u8 = 20;
pub(crate) const FOLDS_IDS: u8 = 21;
pub(crate) const READS_PIPES: u8 = 22;
pub(crate) const LATE_QUOTA: u8 = 23;
pub(crate) const COUNTS_REFUSED: u8 = 24;
pub(crate) const ANY_SOURCE_SIZE: u8 = 25;
pub(crate) const CLEANS_PINNED: u8 = 26;
pub(crate) const CLEANS_SHARED: u8 = 27;
pub(crate) const CLEANS_ACTIVE: u8 = 28;
pub(crate) const FORGETS_PENDING: u8 = 29;
pub(crate) const SWEEPS_YOUNG: u8 = 30;
pub(crate) const SWEEPS_SHARED: u8 = 31;
pub(crate) const UNLOCKED_RECORD: u8 = 32;
pub(crate) const READS_AGAIN: u8 = 33;
pub(crate) const HIDES_WORK: u8 = 34;
pub(crate) const WEAKENS: u8 = 35;
pub(crate) const SHOWS_SECRETS: u8 = 36;
/// It declares less than it holds.
pub(crate) const MODEST: u8 = 37;
/// Its processes have a store of their own, so nobody else sees what they were acknowledged.
pub(crate) const ELSEWHERE: u8 = 38;

thread_local! {
    static BUG: Cell<u8> = const { Cell::new(NONE) };
}

/// Gives this bug to the stores that this thread makes from now on. A harness starts itself, and a harness for each bug would
/// make the compiler build all scenarios for each.
pub(crate) fn make(bug: u8) {
    BUG.set(bug);
}

/// A new folder, in memory where this system has a place for that: stores come and go by the hundred, and disks are slow at
/// removing files. All file systems of a machine go by the same clock.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_no_such_place| tempfile::tempdir())
        .unwrap()
}

/// Makes a store in a folder of its own.
pub(crate) struct Broken {
    folder: TempDir,
    clock: FakeClock,
    store: Arc<Store>,
    /// The one that was opened last.
    newest: Mutex<Arc<Store>>,
}

impl Broken {
    fn new(bug: u8) -> Self {
        let folder = folder();
        let clock = FakeClock::new();
        let store = Arc::new(Store::open(folder.path(), Arc::new(clock.clone()), bug));
        Self {
            folder,
            clock,
            newest: Mutex::new(Arc::clone(&store)),
            store,
        }
    }

    fn newest(&self) -> Arc<Store> {
        Arc::clone(&self.newest.lock().unwrap())
    }
}

#[async_trait]
impl Harness for Broken {
    async fn start() -> Self {
        Self::new(BUG.get())
    }

    fn store(&self) -> Arc<dyn WorkspaceStore> {
        Arc::<Store>::clone(&self.store)
    }

    async fn advance(&self, by: Duration) -> bool {
        self.clock.advance(by);
        true
    }

    async fn reopen(&self) -> Option<Arc<dyn WorkspaceStore>> {
        let clock = Arc::new(self.clock.clone());
        let again = Arc::new(Store::open(self.folder.path(), clock, self.store.bug));
        *self.newest.lock().unwrap() = Arc::clone(&again);
        Some(again)
    }

    async fn counted(&self) -> Option<SnapshotWork> {
        Some(*self.newest().counted.lock().unwrap())
    }

    async fn occupied(&self) -> Option<u64> {
        Some(self.store.disk.occupied())
    }

    async fn corrupt(&self, content: &[u8]) -> bool {
        let digest = Digest::of(content);
        let mut bytes = self.store.disk.blob(&digest).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        self.store.disk.keep_blob(&digest, &bytes);
        true
    }

    async fn shows(&self, content: &[u8]) -> Option<bool> {
        Some(self.store.disk.shows(content))
    }

    async fn break_cleanup(&self) -> bool {
        self.newest().breaks.store(true, Ordering::Relaxed);
        true
    }
}

/// The same with processes.
pub(crate) struct OfProcesses(Broken);

#[async_trait]
impl Harness for OfProcesses {
    async fn start() -> Self {
        let inner = Broken::start().await;
        fs::write(inner.folder.path().join("bug"), [inner.store.bug]).unwrap();
        Self(inner)
    }

    fn store(&self) -> Arc<dyn WorkspaceStore> {
        self.0.store()
    }

    async fn occupied(&self) -> Option<u64> {
        self.0.occupied().await
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_process_with_workspaces", self.0.folder.path())
    }
}

/// The store of a process, with the bug that its folder names.
pub(crate) async fn of_process(place: OsString) -> Arc<dyn WorkspaceStore> {
    let mut folder = PathBuf::from(place);
    let bug = *fs::read(folder.join("bug")).unwrap().first().unwrap();
    if bug == ELSEWHERE {
        folder.push("elsewhere");
    }
    Arc::new(Store::open(&folder, Arc::new(SystemClock::new()), bug))
}

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

    /// Copies a directory that rests. What it has read since `cache` goes into that.
    async fn copy(
        &self,
        operation: &'static str,
        root: &Path,
        quotas: &Quotas,
        cache: &mut Cache,
    ) -> Result<Copied, WorkspaceError> {
        let changing = || error(Kind::Unavailable, operation, "the files are changing");
        let mut work = SnapshotWork::default();
        for _attempt in 0..4 {
            match self.try_copy(root, quotas, cache, &mut work).await {
                Ok(Attempt::Copied(manifest, held_back)) => {
                    return Ok(Copied {
                        manifest,
                        work,
                        held_back,
                    });
                }
                Ok(Attempt::Exceeds(quota)) => {
                    let kind = Kind::QuotaExceeded { quota };
                    return Err(error(kind, operation, "there is too much"));
                }
                Err(Trouble::Refused(why)) => return Err(error(Kind::Rejected, operation, why)),
                // As whoever waits for its writer to open it too.
                Err(Trouble::Silence) => std::future::pending().await,
                Err(Trouble::Changing) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        Err(changing())
    }

    /// Waits until the file system's clock has gone on since the last change of what was seen, so that none can hide behind it.
    async fn settle(&self, seen: &Scan) -> Result<(), Trouble> {
        if matches!(self.bug, TORN | TRUSTS_TIME) {
            return Ok(());
        }
        for _look in 0..SLOWEST_TICK {
            if scan::last_change(seen) < Some(self.disk.now()) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(Trouble::Changing)
    }

    async fn try_copy(
        &self,
        root: &Path,
        quotas: &Quotas,
        cache: &mut Cache,
        work: &mut SnapshotWork,
    ) -> Result<Attempt, Trouble> {
        let mut before = scan::scan(root, self.bug)?;
        if let Some(quota) = tree::exceeded(quotas, tree::sizes(&before))
            && self.bug != LATE_QUOTA
        {
            return Ok(Attempt::Exceeds(quota));
        }
        if self.bug == FOLLOWS_LINKS {
            follow(root, &mut before);
        } else if tree::astray(&before, self.bug).is_some() {
            return Err(Trouble::Refused("a link leads outside"));
        }
        self.settle(&before).await?;
        let mut held_back = Vec::new();
        let mut nodes = Manifest::default().0;
        for (path, seen) in &before {
            let node = match seen {
                Seen::Directory(_) => Node::Directory,
                Seen::Link(target) => Node::Link(target.clone()),
                Seen::File(stamp) => {
                    let known = cache
                        .get(path)
                        .filter(|(known, _)| known.agrees(stamp, self.bug));
                    let content = match known {
                        // A sweep may have taken the blob.
                        Some((_, content))
                            if self.disk.has_blob(content)
                                && !matches!(self.bug, READS_AGAIN | HIDES_WORK) =>
                        {
                            *content
                        }
                        _ => {
                            if self.bug == CHECKS_THEN_USES {
                                scan::dawdle(root, path);
                            }
                            let bytes = scan::read(root, path, stamp, self.bug)?;
                            self.count(None);
                            work.files_read += u64::from(self.bug != HIDES_WORK || known.is_none());
                            let content = Digest::of(&bytes);
                            cache.insert(path.clone(), (*stamp, content));
                            if self.bug == STORES_AGAIN || !self.disk.has_blob(&content) {
                                work.blobs_stored += 1;
                                work.bytes_stored += bytes.len() as u64;
                                self.count(Some(&bytes));
                                if self.bug == RECORDS_FIRST {
                                    held_back.push((content, bytes));
                                } else {
                                    self.disk.keep_blob(&content, &bytes);
                                }
                            }
                            tokio::task::yield_now().await;
                            content
                        }
                    };
                    let mode = if self.bug == MODELESS_MANIFEST {
                        0o644
                    } else {
                        stamp.mode
                    };
                    let size = stamp.size;
                    Node::File {
                        content,
                        size,
                        mode,
                    }
                }
            };
            let folded = path.to_lowercase();
            let collides = || {
                let others = before.keys().filter(|other| *other != path);
                others
                    .into_iter()
                    .any(|other| other.to_lowercase() == folded)
            };
            let path = if self.bug == FOLDS_NAMES && collides() {
                folded
            } else {
                path.clone()
            };
            nodes.insert(path, node);
        }
        cache.retain(|path, _| before.contains_key(path));
        let looks = if self.bug == CHECKS_THEN_USES { 100 } else { 1 };
        let mut after = scan::scan(root, self.bug);
        for _again in 1..looks {
            if after.is_err() {
                after = scan::scan(root, self.bug);
            }
        }
        let mut after = after?;
        if self.bug == FOLLOWS_LINKS {
            follow(root, &mut after);
        }
        if !scan::agree(&before, &after, self.bug) {
            return Err(Trouble::Changing);
        }
        if let Some(quota) = tree::exceeded(quotas, tree::sizes(&before)) {
            return Ok(Attempt::Exceeds(quota));
        }
        Ok(Attempt::Copied(Manifest(nodes), held_back))
    }

    /// Makes a manifest a new directory.
    fn restore(
        &self,
        operation: &'static str,
        manifest: &Manifest,
        known: &mut Known,
    ) -> Result<String, WorkspaceError> {
        let name = format!("{}", known.next());
        // A call that was dropped may have left it behind.
        self.disk.remove_directory(&name);
        let restored = manifest.restore(
            &self.disk.directory(&name),
            |content| {
                let bytes = self.disk.blob(content)?;
                if self.bug != UNVERIFIED && Digest::of(&bytes) != *content {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(bytes)
            },
            |content, path| self.disk.link_blob(content, path),
            // A new workspace has files of its own also with this bug.
            if (self.bug, operation) == (HARD_LINKS, "start") {
                NONE
            } else {
                self.bug
            },
        );
        restored.map(|()| name.clone()).map_err(|failed| {
            self.disk.remove_directory(&name);
            error(Kind::Corrupt, operation, failed.to_string())
        })
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

    /// Removes snapshots, one after the other, with what they alone need.
    async fn remove(
        &self,
        known: &mut Known,
        snapshots: Vec<SnapshotId>,
        takes_shared: bool,
    ) -> Result<u64, WorkspaceError> {
        let mut free = 0;
        let half = snapshots.len() / 2;
        for (place, snapshot) in snapshots.iter().enumerate() {
            if place == half && self.breaks.swap(false, Ordering::Relaxed) {
                return Err(error(
                    Kind::Unavailable,
                    "cleanup",
                    "the connection is lost",
                ));
            }
            if takes_shared {
                let manifest = self
                    .disk
                    .manifest(&known.snapshots.get(snapshot).unwrap().record.manifest);
                free += manifest
                    .contents()
                    .map(|(blob, _)| self.disk.remove_blob(&blob))
                    .sum::<u64>();
            }
            known.snapshots.remove(snapshot);
            self.disk.keep(known);
            if self.bug == FORGETS_PENDING {
                // Long enough for a death.
                tokio::time::sleep(Duration::from_millis(2)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        Ok(free + self.disk.sweep(known))
    }

    async fn clean_one(
        &self,
        known: &mut Known,
        id: &WorkspaceId,
        cleaned: &mut Cleaned,
    ) -> Result<(), WorkspaceError> {
        let Some(works) = known.workspaces.get_mut(id) else {
            return Ok(());
        };
        match works.state {
            State::Active if self.bug != CLEANS_ACTIVE => {
                return Err(error(Kind::Rejected, "cleanup", "it is active"));
            }
            State::Cleaned => return Ok(()),
            _ => {}
        }
        works.state = if self.bug == FORGETS_PENDING {
            State::Cleaned
        } else {
            State::CleanupPending
        };
        let left = works.clone();
        works.directory = None;
        self.disk.keep(known);
        self.leave(&left);
        let (pinned, goes): (Vec<&Kept>, Vec<&Kept>) = known
            .snapshots_of(id)
            .into_iter()
            .partition(|kept| kept.pinned && self.bug != CLEANS_PINNED);
        cleaned.pinned += pinned.len() as u64;
        let goes: Vec<SnapshotId> = goes.iter().map(|kept| kept.record.id.clone()).collect();
        cleaned.snapshots += goes.len() as u64;
        cleaned.bytes += self.remove(known, goes, self.bug == CLEANS_SHARED).await?;
        if let Some(works) = known.workspaces.get_mut(id) {
            works.state = State::Cleaned;
        }
        self.disk.keep(known);
        cleaned.workspaces += 1;
        Ok(())
    }

    async fn sweep_orphans(
        &self,
        known: &mut Known,
        id: &WorkspaceId,
        named: &BTreeSet<SnapshotId>,
        taken_before: Timestamp,
    ) -> Result<Cleaned, WorkspaceError> {
        let (pinned, goes): (Vec<&Kept>, Vec<&Kept>) = known
            .snapshots_of(id)
            .into_iter()
            .filter(|kept| !named.contains(&kept.record.id))
            .filter(|kept| kept.record.taken_at < taken_before || self.bug == SWEEPS_YOUNG)
            .partition(|kept| kept.pinned && self.bug != CLEANS_PINNED);
        let pinned = pinned.len() as u64;
        let goes: Vec<SnapshotId> = goes.iter().map(|kept| kept.record.id.clone()).collect();
        let snapshots = goes.len() as u64;
        let bytes = self.remove(known, goes, self.bug == SWEEPS_SHARED).await?;
        Ok(Cleaned {
            snapshots,
            bytes,
            pinned,
            workspaces: 0,
        })
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

/// A copy of a directory.
struct Copied {
    manifest: Manifest,
    work: SnapshotWork,
    /// Blobs that a store with a bug stores later.
    held_back: Vec<(Digest, Vec<u8>)>,
}

enum Attempt {
    Copied(Manifest, Vec<(Digest, Vec<u8>)>),
    Exceeds(Quota),
}

/// Takes what links that lead outside lead to for what is there.
fn follow(root: &Path, scan: &mut Scan) {
    while let Some(path) = tree::astray(scan, NONE).cloned() {
        match scan::leads_to_a_file(root, &path) {
            Some(stamp) => scan.insert(path, Seen::File(stamp)),
            None => scan.remove(&path),
        };
    }
}

/// Removes all files, wherever links lead.
fn clear(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            clear(&entry.path());
        } else {
            let _gone_is_fine = fs::remove_file(entry.path());
        }
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

//! What the suite runs the store with.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_contract::process;
use seaworthy_contract::workspace_store::Harness;
use seaworthy_fakes::FakeClock;
use seaworthy_ports::workspace_store::{SnapshotWork, WorkspaceStore};
use seaworthy_ports::{Digest, async_trait};
use seaworthy_system::SystemClock;
use tempfile::TempDir;

use super::{ELSEWHERE, Store, bugs};

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
        Self::new(bugs::made())
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

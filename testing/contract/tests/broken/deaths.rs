//! Adapters with a bug that only another process, or its death, shows: SQLite and a folder behind a wrapper.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_contract::{
    blob_store as bl, checkpoint_store as ck, durable_runtime as dr, process, state_store as ss,
};
use seaworthy_fakes::FakeClock;
use seaworthy_local_fs::{LocalFs, LocalFsConfig};
use seaworthy_ports::blob_store::BlobStore;
use seaworthy_ports::checkpoint_store::CheckpointStore;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::DurableRuntime;
use seaworthy_ports::state_store::StateStore;
use seaworthy_ports::{Timestamp, async_trait};
use seaworthy_sqlite::{Sqlite, SqliteConfig};
use seaworthy_system::SystemClock;
use tempfile::TempDir;

use super::{ELSEWHERE, blobs, logs, runs};

/// Stores in a folder, and the bug of its processes.
pub(crate) struct InFolder {
    bug: u8,
    folder: TempDir,
    clock: FakeClock,
    sqlite: Sqlite,
    on_machine_time: Sqlite,
    blobs: Arc<dyn BlobStore>,
}

impl InFolder {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bug = super::chosen();
        fs::write(folder.path().join("bug"), [bug]).unwrap();
        Sqlite::migrate(&config(folder.path())).await.unwrap();
        let clock = FakeClock::new();
        Self {
            bug,
            sqlite: sqlite(folder.path(), Arc::new(clock.clone())).await,
            on_machine_time: sqlite(folder.path(), machine_time()).await,
            blobs: blob_store(folder.path()).await,
            folder,
            clock,
        }
    }

    fn process(&self, test: &str) -> Option<Command> {
        process::this_test(test, self.folder.path())
    }
}

#[async_trait]
impl ss::Harness for InFolder {
    async fn start() -> Self {
        Self::new().await
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::new(logs::Store::over(self.bug, self.sqlite.state_store()))
    }

    fn another_process(&self) -> Option<Command> {
        self.process("a_process_with_logs")
    }

    fn makers(&self) -> Option<Command> {
        let place = self.folder.path().join(self.bug.to_string());
        process::this_test("a_process_that_makes_logs", place)
    }
}

#[async_trait]
impl ck::Harness for InFolder {
    async fn start() -> Self {
        Self::new().await
    }

    fn store(&self) -> Arc<dyn CheckpointStore> {
        self.sqlite.checkpoint_store()
    }

    fn another_process(&self) -> Option<Command> {
        self.process("a_process_with_checkpoints")
    }
}

#[async_trait]
impl bl::Harness for InFolder {
    async fn start() -> Self {
        Self::new().await
    }

    fn store(&self) -> Arc<dyn BlobStore> {
        Arc::new(blobs::Store::over(self.bug, Arc::clone(&self.blobs)))
    }

    fn another_process(&self) -> Option<Command> {
        self.process("a_process_with_blobs")
    }
}

#[async_trait]
impl dr::Harness for InFolder {
    async fn start() -> Self {
        Self::new().await
    }

    fn runtime(&self) -> Arc<dyn DurableRuntime> {
        let inner = self.sqlite.durable_runtime();
        Arc::new(runs::Runtime::over(self.bug, inner, self.clock.clone()))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn handle_on_machine_time(&self) -> Option<Arc<dyn DurableRuntime>> {
        Some(self.on_machine_time.durable_runtime())
    }

    async fn reopen(&self) -> Option<Arc<dyn DurableRuntime>> {
        let folder = if self.bug == ELSEWHERE {
            self.folder.path().join("elsewhere")
        } else {
            self.folder.path().to_path_buf()
        };
        Sqlite::migrate(&config(&folder)).await.unwrap();
        let again = sqlite(&folder, Arc::new(self.clock.clone())).await;
        Some(again.durable_runtime())
    }

    fn another_process(&self) -> Option<Command> {
        self.process("a_process_with_runs")
    }
}

fn config(folder: &Path) -> SqliteConfig {
    SqliteConfig::new(folder.join("state.db"))
}

async fn sqlite(folder: &Path, clock: Arc<dyn Clock>) -> Sqlite {
    Sqlite::connect(config(folder), clock).await.unwrap()
}

/// The folder of a process, and its bug.
async fn of_process(place: OsString) -> (PathBuf, u8) {
    let folder = PathBuf::from(place);
    let bug = *fs::read(folder.join("bug")).unwrap().first().unwrap();
    if bug != ELSEWHERE {
        return (folder, bug);
    }
    let elsewhere = folder.join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    Sqlite::migrate(&config(&elsewhere)).await.unwrap();
    (elsewhere, bug)
}

/// Makes the store in a folder that is named like the bug.
pub(crate) async fn logs_that_are_made(place: OsString) -> Arc<dyn StateStore> {
    let mut folder = PathBuf::from(place);
    if folder.ends_with(ELSEWHERE.to_string()) {
        folder = folder.join(std::process::id().to_string());
    }
    Sqlite::migrate(&config(&folder)).await.unwrap();
    sqlite(&folder, machine_time()).await.state_store()
}

pub(crate) async fn logs_of_process(place: OsString) -> Arc<dyn StateStore> {
    let (folder, bug) = of_process(place).await;
    let store = sqlite(&folder, machine_time()).await.state_store();
    Arc::new(logs::Store::over(bug, store))
}

pub(crate) async fn checkpoints_of_process(place: OsString) -> Arc<dyn CheckpointStore> {
    let (folder, _bug) = of_process(place).await;
    sqlite(&folder, machine_time()).await.checkpoint_store()
}

pub(crate) async fn runs_of_process(place: OsString) -> Arc<dyn DurableRuntime> {
    let (folder, bug) = of_process(place).await;
    let inner = sqlite(&folder, machine_time()).await.durable_runtime();
    Arc::new(runs::Runtime::over(bug, inner, FakeClock::new()))
}

pub(crate) async fn blobs_of_process(place: OsString) -> Arc<dyn BlobStore> {
    let (folder, bug) = of_process(place).await;
    let store = blob_store(&folder).await;
    Arc::new(blobs::Store::over(bug, store))
}

async fn blob_store(folder: &Path) -> Arc<dyn BlobStore> {
    let config = LocalFsConfig::new(folder.join("blobs"));
    LocalFs::connect(config).await.unwrap().blob_store()
}

fn machine_time() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

//! Harnesses of a file and of the folder beside it, as the stack on `sqlite:PATH` uses them.

#![expect(
    clippy::expect_used,
    reason = "a harness cannot fail; the suite counts its panic as a failed scenario"
)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use seaworthy::local_fs::{LocalFs, LocalFsConfig};
use seaworthy::ports::blob_store::{BlobError, BlobStore};
use seaworthy::ports::checkpoint_store::CheckpointStore;
use seaworthy::ports::clock::Clock;
use seaworthy::ports::durable_runtime::DurableRuntime;
use seaworthy::ports::state_store::{StateStore, StateStoreError};
use seaworthy::ports::{Timestamp, async_trait};
use seaworthy::sqlite::{Sqlite, SqliteConfig};
use seaworthy::system::SystemClock;
use seaworthy_contract::{
    blob_store as bl, checkpoint_store as ck, durable_runtime as dr, process, state_store as ss,
};
use seaworthy_fakes::FakeClock;
use tempfile::TempDir;

use crate::args::ConformPort;
use crate::error::CliError;

/// Where folders of scenarios are made. A harness starts itself, so it cannot be handed to it.
static PLACE: OnceLock<PathBuf> = OnceLock::new();

/// Lets scenarios make their folders in `place`, if stores can be made there.
pub(super) async fn prepare(place: &Path) -> Result<(), CliError> {
    let trial = place.join("trial");
    let cannot = |why: String| CliError::Stack {
        part: "a store beside the one that was named",
        why,
    };
    std::fs::create_dir(&trial)
        .map_err(|source| CliError::io(format!("make the folder {}", trial.display()), source))?;
    let sqlite = created(&trial, machine_time()).await;
    sqlite
        .map_err(|error| cannot(error.to_string()))?
        .close()
        .await;
    let folder = connected(&trial).await;
    folder.map_err(|error| cannot(error.to_string()))?;
    let _first = PLACE.set(place.to_path_buf());
    Ok(())
}

/// A folder for one scenario: in the place that was prepared, or where the system has its temporary files.
pub(super) fn folder() -> TempDir {
    let folder = match PLACE.get() {
        Some(place) => TempDir::new_in(place),
        None => TempDir::new(),
    };
    folder.expect("a folder")
}

fn machine_time() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn file(folder: &Path) -> SqliteConfig {
    SqliteConfig::new(folder.join("state.db"))
}

async fn created(folder: &Path, clock: Arc<dyn Clock>) -> Result<Sqlite, StateStoreError> {
    Sqlite::migrate(&file(folder)).await?;
    Sqlite::connect(file(folder), clock).await
}

async fn opened(folder: &Path, clock: Arc<dyn Clock>) -> Sqlite {
    let sqlite = Sqlite::connect(file(folder), clock).await;
    sqlite.expect("a migrated database")
}

async fn connected(folder: &Path) -> Result<Arc<dyn BlobStore>, BlobError> {
    let config = LocalFsConfig::new(folder.join("state.db-blobs"));
    Ok(LocalFs::connect(config).await?.blob_store())
}

/// What another process opens in the place that it is told.
pub(super) async fn logs(place: OsString) -> Arc<dyn StateStore> {
    opened(Path::new(&place), machine_time())
        .await
        .state_store()
}

/// The same, for runs.
pub(super) async fn runs(place: OsString) -> Arc<dyn DurableRuntime> {
    opened(Path::new(&place), machine_time())
        .await
        .durable_runtime()
}

/// The same, for checkpoints.
pub(super) async fn checkpoints(place: OsString) -> Arc<dyn CheckpointStore> {
    opened(Path::new(&place), machine_time())
        .await
        .checkpoint_store()
}

/// The same, for blobs.
pub(super) async fn blobs(place: OsString) -> Arc<dyn BlobStore> {
    connected(Path::new(&place)).await.expect("a folder")
}

pub(super) fn another_process(port: ConformPort, folder: &TempDir) -> Option<Command> {
    process::this_program(["conform-process", port.name()], folder.path())
}

/// A database in a folder of its own, with every handle on it.
struct Database {
    // Dropped before the folder is.
    handles: Mutex<Vec<Sqlite>>,
    folder: TempDir,
}

impl Database {
    async fn new(clock: Arc<dyn Clock>) -> Self {
        let folder = folder();
        let sqlite = created(folder.path(), clock).await;
        Self {
            handles: Mutex::new(vec![sqlite.expect("a fresh database")]),
            folder,
        }
    }

    /// Another handle, of which `part` is wanted.
    async fn another<T>(&self, clock: Arc<dyn Clock>, part: impl FnOnce(&Sqlite) -> T) -> T {
        let sqlite = opened(self.folder.path(), clock).await;
        let wanted = part(&sqlite);
        self.with(|handles| handles.push(sqlite));
        wanted
    }

    /// The newest handle.
    fn newest<T>(&self, part: impl FnOnce(&Sqlite) -> T) -> T {
        self.with(|handles| part(handles.last().expect("a handle")))
    }

    /// Drops all handles, and closes none in order.
    fn forget(&self) {
        self.with(Vec::clear);
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Sqlite>) -> T) -> T {
        act(&mut self.handles.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) struct Logs {
    database: Database,
    store: Arc<dyn StateStore>,
}

#[async_trait]
impl ss::Harness for Logs {
    async fn start() -> Self {
        let database = Database::new(machine_time()).await;
        let store = database.newest(Sqlite::state_store);
        Self { database, store }
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::clone(&self.store)
    }

    async fn reopen(&self) -> Option<Arc<dyn StateStore>> {
        self.database.forget();
        self.second_handle().await
    }

    async fn second_handle(&self) -> Option<Arc<dyn StateStore>> {
        let another = self.database.another(machine_time(), Sqlite::state_store);
        Some(another.await)
    }

    fn another_process(&self) -> Option<Command> {
        another_process(ConformPort::StateStore, &self.database.folder)
    }
}

pub(super) struct Checkpoints(Database);

#[async_trait]
impl ck::Harness for Checkpoints {
    async fn start() -> Self {
        Self(Database::new(machine_time()).await)
    }

    fn store(&self) -> Arc<dyn CheckpointStore> {
        self.0.newest(Sqlite::checkpoint_store)
    }

    async fn reopen(&self) -> Option<Arc<dyn CheckpointStore>> {
        self.0.forget();
        let another = self.0.another(machine_time(), Sqlite::checkpoint_store);
        Some(another.await)
    }

    fn another_process(&self) -> Option<Command> {
        another_process(ConformPort::CheckpointStore, &self.0.folder)
    }
}

pub(super) struct Runs {
    database: Database,
    clock: FakeClock,
    runtime: Mutex<Arc<dyn DurableRuntime>>,
}

#[async_trait]
impl dr::Harness for Runs {
    async fn start() -> Self {
        let clock = FakeClock::new();
        let database = Database::new(Arc::new(clock.clone())).await;
        let runtime = Mutex::new(database.newest(Sqlite::durable_runtime));
        Self {
            database,
            clock,
            runtime,
        }
    }

    fn runtime(&self) -> Arc<dyn DurableRuntime> {
        Arc::clone(&self.runtime.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn second_handle(&self) -> Option<Arc<dyn DurableRuntime>> {
        let clock = Arc::new(self.clock.clone());
        let another = self.database.another(clock, Sqlite::durable_runtime);
        Some(another.await)
    }

    async fn reopen(&self) -> Option<Arc<dyn DurableRuntime>> {
        self.database.forget();
        let runtime = self.second_handle().await?;
        *self.runtime.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&runtime);
        Some(runtime)
    }

    async fn handle_on_machine_time(&self) -> Option<Arc<dyn DurableRuntime>> {
        let another = self
            .database
            .another(machine_time(), Sqlite::durable_runtime);
        Some(another.await)
    }

    fn another_process(&self) -> Option<Command> {
        another_process(ConformPort::DurableRuntime, &self.database.folder)
    }
}

pub(super) struct Blobs {
    folder: TempDir,
    store: Arc<dyn BlobStore>,
}

#[async_trait]
impl bl::Harness for Blobs {
    async fn start() -> Self {
        let folder = folder();
        let store = connected(folder.path()).await.expect("a folder");
        Self { folder, store }
    }

    fn store(&self) -> Arc<dyn BlobStore> {
        Arc::clone(&self.store)
    }

    async fn reopen(&self) -> Option<Arc<dyn BlobStore>> {
        Some(connected(self.folder.path()).await.expect("a folder"))
    }

    fn another_process(&self) -> Option<Command> {
        another_process(ConformPort::BlobStore, &self.folder)
    }
}

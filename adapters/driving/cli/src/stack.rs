//! The composition root: every adapter is chosen here and nowhere else.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy::driver::Settings;
use seaworthy::harness::worker;
use seaworthy::local_fs::{LocalFs, LocalFsConfig};
use seaworthy::memory::{MemoryBlobStore, MemoryCheckpointStore, MemoryRuntime, MemoryStateStore};
use seaworthy::ports::WorkerId;
use seaworthy::ports::blob_store::BlobStore;
use seaworthy::ports::checkpoint_store::CheckpointStore;
use seaworthy::ports::clock::Clock;
use seaworthy::ports::durable_runtime::{DurableRuntime, Scope, Worker};
use seaworthy::ports::entropy::Entropy;
use seaworthy::ports::state_store::{Kind, StateStore, StateStoreError};
use seaworthy::process::{ProcessConfig, ProcessSandbox, Supervisor};
use seaworthy::sqlite::{Sqlite, SqliteConfig};
use seaworthy::system::{SystemClock, SystemEntropy};
use seaworthy::{Harness, Ports};

use crate::environment::Environment;
use crate::error::CliError;
use crate::models::CliModels;
use crate::observer::CliObserver;
use crate::store::Store;

/// A harness on adapters that are open.
pub(crate) struct Stack {
    pub(crate) harness: Harness,
    pub(crate) observer: Arc<CliObserver>,
    pub(crate) store: Store,
    sqlite: Option<Sqlite>,
    /// Removed at the end.
    temporary: Option<PathBuf>,
}

/// What keeps runs.
struct Kept {
    state_store: Arc<dyn StateStore>,
    durable_runtime: Arc<dyn DurableRuntime>,
    checkpoint_store: Arc<dyn CheckpointStore>,
    blob_store: Arc<dyn BlobStore>,
    sandbox_dir: PathBuf,
    sqlite: Option<Sqlite>,
    temporary: Option<PathBuf>,
}

impl Stack {
    /// Opens `store`, which must exist unless `create` says otherwise.
    pub(crate) async fn open(
        store: Store,
        environment: &Environment,
        create: bool,
    ) -> Result<Self, CliError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy = SystemEntropy::new().map_err(|error| CliError::Stack {
            part: "randomness",
            why: error.to_string(),
        })?;
        let entropy: Arc<dyn Entropy> = Arc::new(entropy);
        let kept = match &store {
            Store::Memory => in_memory(&clock, &*entropy),
            Store::Sqlite { path, .. } => {
                if create {
                    store.prepare()?;
                } else if !path.exists() {
                    return Err(CliError::NoStore(store.url()));
                }
                in_sqlite(path, &clock).await?
            }
        };
        let observer = Arc::new(CliObserver::default());
        let ports = Ports {
            state_store: kept.state_store,
            durable_runtime: kept.durable_runtime,
            blob_store: kept.blob_store,
            checkpoint_store: kept.checkpoint_store,
            sandbox: Arc::new(sandbox(&kept.sandbox_dir).await?),
            models: Arc::new(CliModels::new(Arc::clone(&clock), environment)),
            clock,
            entropy,
            observer: Arc::<CliObserver>::clone(&observer),
        };
        let settings = Settings {
            environment: environment.for_commands.clone(),
            ..Settings::default()
        };
        let harness = Harness::new(ports, settings);
        Ok(Self {
            harness,
            observer,
            store,
            sqlite: kept.sqlite,
            temporary: kept.temporary,
        })
    }

    /// A worker with a name of its own.
    pub(crate) fn worker(&self, scope: Scope, concurrency: usize) -> Result<Worker, CliError> {
        let id = format!(
            "cli.{}.{:032x}",
            std::process::id(),
            self.harness.ports().entropy.bits()
        );
        let id = WorkerId::new(id).map_err(|error| CliError::Usage(error.to_string()))?;
        Ok(worker(id, scope, concurrency))
    }

    /// Commits what waits and leaves nothing temporary behind.
    pub(crate) async fn close(self) {
        if let Some(sqlite) = self.sqlite {
            sqlite.close().await;
        }
        if let Some(folder) = self.temporary {
            // The operating system clears what could not be removed.
            let _left = std::fs::remove_dir_all(folder);
        }
    }
}

fn in_memory(clock: &Arc<dyn Clock>, entropy: &dyn Entropy) -> Kept {
    let folder = std::env::temp_dir().join(format!("seaworthy-{:032x}", entropy.bits()));
    Kept {
        state_store: Arc::new(MemoryStateStore::default()),
        durable_runtime: Arc::new(MemoryRuntime::new(Arc::clone(clock))),
        checkpoint_store: Arc::new(MemoryCheckpointStore::default()),
        blob_store: Arc::new(MemoryBlobStore::default()),
        sandbox_dir: folder.clone(),
        sqlite: None,
        temporary: Some(folder),
    }
}

async fn in_sqlite(path: &Path, clock: &Arc<dyn Clock>) -> Result<Kept, CliError> {
    let unusable = |source: StateStoreError| CliError::Store {
        path: path.display().to_string(),
        advice: advice(source.kind()),
        source,
    };
    let config = SqliteConfig::new(path);
    Sqlite::migrate(&config).await.map_err(unusable)?;
    let sqlite = Sqlite::connect(config, Arc::clone(clock))
        .await
        .map_err(unusable)?;
    let blobs = LocalFs::connect(LocalFsConfig::new(beside(path, "-blobs")))
        .await
        .map_err(|error| CliError::Stack {
            part: "the folder for large data beside the store",
            why: error.to_string(),
        })?;
    Ok(Kept {
        state_store: sqlite.state_store(),
        durable_runtime: sqlite.durable_runtime(),
        checkpoint_store: sqlite.checkpoint_store(),
        blob_store: blobs.blob_store(),
        sandbox_dir: beside(path, "-sandbox"),
        sqlite: Some(sqlite),
        temporary: None,
    })
}

const fn advice(kind: Kind) -> &'static str {
    match kind {
        Kind::Corrupt => {
            "restore it from a backup, or name another with --store; the file was not changed"
        }
        Kind::Unavailable => {
            "make room on the disk or wait for the other process, then try again; nothing is lost"
        }
        _ => "name another with --store sqlite:PATH, or mend what it says",
    }
}

async fn sandbox(folder: &Path) -> Result<ProcessSandbox, CliError> {
    let cannot = |why: String| CliError::Stack {
        part: "the sandbox for commands",
        why,
    };
    let supervisor = Supervisor::this_program().map_err(|error| cannot(error.to_string()))?;
    ProcessSandbox::connect(ProcessConfig::new(folder, supervisor))
        .await
        .map_err(|error| cannot(error.to_string()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

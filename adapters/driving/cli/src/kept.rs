//! What keeps runs: the adapters of each kind of store.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy::local_fs::{LocalFs, LocalFsConfig};
use seaworthy::memory::{MemoryBlobStore, MemoryCheckpointStore, MemoryRuntime, MemoryStateStore};
use seaworthy::ports::blob_store::BlobStore;
use seaworthy::ports::checkpoint_store::CheckpointStore;
use seaworthy::ports::clock::Clock;
use seaworthy::ports::durable_runtime::DurableRuntime;
use seaworthy::ports::entropy::Entropy;
use seaworthy::ports::state_store::{Kind, StateStore, StateStoreError};
use seaworthy::postgres::{Postgres, PostgresConfig};
use seaworthy::sqlite::{Sqlite, SqliteConfig};

use crate::error::CliError;
use crate::postgres_url::PostgresUrl;
use crate::store::Store;

/// The ports that keep runs, open.
pub(crate) struct Kept {
    pub(crate) state_store: Arc<dyn StateStore>,
    pub(crate) durable_runtime: Arc<dyn DurableRuntime>,
    pub(crate) checkpoint_store: Arc<dyn CheckpointStore>,
    pub(crate) blob_store: Arc<dyn BlobStore>,
    /// Where it is kept which attempt of a run may act on this host.
    pub(crate) sandbox_dir: PathBuf,
    pub(crate) database: Database,
}

/// What has to be closed.
pub(crate) enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
    /// Nothing but a folder that goes with the process.
    Temporary(PathBuf),
}

impl Database {
    /// Commits what waits and leaves nothing temporary behind.
    pub(crate) async fn close(self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(postgres) => postgres.close().await,
            Self::Temporary(folder) => {
                // The operating system clears what could not be removed.
                let _left = std::fs::remove_dir_all(folder);
            }
        }
    }
}

impl Kept {
    /// Opens `store`. One that is not there is made only if `create` says so.
    ///
    /// A file is brought to this version's schema as it is opened: it belongs to one machine. A server may be shared with
    /// programs of other versions, so there only what does not exist at all is made; the rest is up to `migrate`.
    pub(crate) async fn open(
        store: &Store,
        clock: &Arc<dyn Clock>,
        entropy: &dyn Entropy,
        create: bool,
    ) -> Result<Self, CliError> {
        match store {
            Store::Memory => Ok(in_memory(clock, entropy)),
            Store::Sqlite { path, .. } => {
                if create {
                    store.prepare()?;
                } else if !path.exists() {
                    return Err(CliError::NoStore(store.url()));
                }
                in_sqlite(path, clock).await
            }
            Store::Postgres { url, data, .. } => in_postgres(url, data, clock, create).await,
        }
    }
}

/// Which version of the schema a store had before, if there was one, and has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Migrated {
    pub(crate) from: Option<u32>,
    pub(crate) to: u32,
}

/// Brings `store` to the schema of this version, making it where it is not there.
pub(crate) async fn migrate(store: &Store) -> Result<Migrated, CliError> {
    match store {
        Store::Memory => Err(CliError::Usage(
            "--store memory: has no schema; name a file or a server".to_owned(),
        )),
        Store::Sqlite { path, .. } => {
            store.prepare()?;
            let config = SqliteConfig::new(path);
            let unusable = |error| of_file(path, error);
            let from = Sqlite::schema_version(&config).await.map_err(unusable)?;
            Sqlite::migrate(&config).await.map_err(unusable)?;
            let to = Sqlite::newest_schema();
            Ok(Migrated { from, to })
        }
        Store::Postgres { url, .. } => {
            let config = server(url);
            let unusable = |error| of_server(url, error);
            let from = Postgres::schema_version(&config).await.map_err(unusable)?;
            Postgres::migrate(&config).await.map_err(unusable)?;
            let to = Postgres::newest_schema();
            Ok(Migrated { from, to })
        }
    }
}

/// Whether there is something at `store`, found out without making it.
pub(crate) async fn exists(store: &Store) -> Result<bool, CliError> {
    match store {
        Store::Memory => Ok(true),
        Store::Sqlite { path, .. } => Ok(path.exists()),
        Store::Postgres { url, .. } => Postgres::schema_version(&server(url))
            .await
            .map(|version| version.is_some())
            .map_err(|error| of_server(url, error)),
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
        database: Database::Temporary(folder),
    }
}

async fn in_sqlite(path: &Path, clock: &Arc<dyn Clock>) -> Result<Kept, CliError> {
    let unusable = |error| of_file(path, error);
    let config = SqliteConfig::new(path);
    Sqlite::migrate(&config).await.map_err(unusable)?;
    let sqlite = Sqlite::connect(config, Arc::clone(clock))
        .await
        .map_err(unusable)?;
    Ok(Kept {
        state_store: sqlite.state_store(),
        durable_runtime: sqlite.durable_runtime(),
        checkpoint_store: sqlite.checkpoint_store(),
        blob_store: blobs(beside(path, "-blobs")).await?,
        sandbox_dir: beside(path, "-sandbox"),
        database: Database::Sqlite(sqlite),
    })
}

async fn in_postgres(
    url: &PostgresUrl,
    data: &Path,
    clock: &Arc<dyn Clock>,
    create: bool,
) -> Result<Kept, CliError> {
    let unusable = |error| of_server(url, error);
    let config = server(url);
    let found = Postgres::schema_version(&config).await.map_err(unusable)?;
    match found {
        None if create => Postgres::migrate(&config).await.map_err(unusable)?,
        None => return Err(CliError::NoStore(url.to_string())),
        Some(version) if version < Postgres::newest_schema() => {
            return Err(CliError::OldSchema {
                url: url.to_string(),
                version,
                newest: Postgres::newest_schema(),
            });
        }
        Some(_) => {}
    }
    let postgres = Postgres::connect(config, Arc::clone(clock))
        .await
        .map_err(unusable)?;
    Ok(Kept {
        state_store: postgres.state_store(),
        durable_runtime: postgres.durable_runtime(),
        checkpoint_store: postgres.checkpoint_store(),
        blob_store: blobs(data.join("blobs")).await?,
        sandbox_dir: of_this_host(data),
        database: Database::Postgres(postgres),
    })
}

/// How a server is used.
pub(crate) fn server(url: &PostgresUrl) -> PostgresConfig {
    PostgresConfig::new(url.for_driver().expose()).with_schema(url.schema())
}

async fn blobs(folder: PathBuf) -> Result<Arc<dyn BlobStore>, CliError> {
    let shown = folder.display().to_string();
    let blobs = LocalFs::connect(LocalFsConfig::new(folder)).await;
    blobs
        .map(|blobs| blobs.blob_store())
        .map_err(|error| CliError::Stack {
            part: "the folder for large data",
            why: format!("{shown}: {error}"),
        })
}

/// Which attempt may act is a matter of one host, whose workers share the folder whatever others do in `data`.
fn of_this_host(data: &Path) -> PathBuf {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    data.join("sandbox").join(if name.is_empty() {
        "host"
    } else {
        name.as_str()
    })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn of_file(path: &Path, source: StateStoreError) -> CliError {
    let advice = match source.kind() {
        Kind::Corrupt => {
            "restore it from a backup, or name another with --store; the file was not changed"
        }
        Kind::Unavailable => {
            "make room on the disk or wait for the other process, then try again; nothing is lost"
        }
        _ => "name another with --store sqlite:PATH, or mend what it says",
    };
    CliError::Store {
        path: path.display().to_string(),
        advice,
        source,
    }
}

fn of_server(url: &PostgresUrl, source: StateStoreError) -> CliError {
    let advice = match source.kind() {
        Kind::Corrupt => "restore it from a backup, or name another with --store",
        Kind::Unavailable => {
            "see that the server runs and can be reached from here, then try again; nothing is lost"
        }
        _ => {
            "mend what it says, or name another with --store postgres://USER@HOST/DATABASE; who makes the store needs the right to create a schema in the database"
        }
    };
    CliError::Store {
        path: url.to_string(),
        advice,
        source,
    }
}

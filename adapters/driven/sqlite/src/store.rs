//! Opening a database and handing out the ports that are kept in it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy_polling::Hints;
use seaworthy_ports::checkpoint_store::CheckpointStore;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::DurableRuntime;
use seaworthy_ports::state_store::{Kind, StateStore, StateStoreError};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool};

use crate::SqliteConfig;
use crate::checkpoint_store::SqliteCheckpointStore;
use crate::durable_runtime::SqliteRuntime;
use crate::error::{ADAPTER, classify, state_store_kind};
use crate::liveness::Liveness;
use crate::schema::{self, Unusable};
use crate::state_store::SqliteStateStore;
use crate::writer::Writer;

/// One open database. Clones, and the ports it hands out, share its connections and its group commit.
#[derive(Clone, Debug)]
pub struct Sqlite {
    shared: Arc<Shared>,
}

/// What the ports share.
pub(crate) struct Shared {
    pub(crate) writer: Writer,
    pub(crate) readers: SqlitePool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) hints: Hints,
    pub(crate) liveness: Liveness,
    path: PathBuf,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Creates the file, and its folder, where they are missing, and brings it to the schema of this version. Several
    /// processes may do so at once.
    ///
    /// # Errors
    ///
    /// `Rejected` where the file belongs to something else, comes from a newer version or cannot be written; `Corrupt`
    /// where it is no database; `Unavailable` where there is no room, or where another process writes for too long.
    ///
    /// # Cancellation
    ///
    /// A dropped migration has happened or not; repeating it is harmless.
    pub async fn migrate(config: &SqliteConfig) -> Result<(), StateStoreError> {
        const OPERATION: &str = "migrate";
        let path = absolute(config, OPERATION)?;
        if !path.exists() && create_whole(config, &path).await {
            return Ok(());
        }
        let file = path.clone();
        tokio::task::spawn_blocking(move || create_private(&file))
            .await
            .map_err(std::io::Error::other)
            .and_then(|created| created)
            .map_err(|error| {
                refusal(
                    Kind::Rejected,
                    OPERATION,
                    &path,
                    "the file cannot be created",
                )
                .with_source(error)
            })?;
        let unusable = |error: Unusable| explain(error, OPERATION, &path);
        let mut connection = options(config, &path)
            .connect()
            .await
            .map_err(|error| unusable(error.into()))?;
        schema::migrate(&mut connection, config.busy_timeout)
            .await
            .map_err(unusable)?;
        connection
            .close()
            .await
            .map_err(|error| unusable(error.into()))
    }

    /// The version of the schema that [`migrate`](Self::migrate) brings a file to.
    #[must_use]
    pub fn newest_schema() -> u32 {
        schema::current()
    }

    /// The version of the schema that the file has; `None` where there is no file, or an empty one. Nothing is created.
    ///
    /// # Errors
    ///
    /// Those of [`migrate`](Self::migrate).
    ///
    /// # Cancellation
    ///
    /// A dropped question leaves nothing behind.
    pub async fn schema_version(config: &SqliteConfig) -> Result<Option<u32>, StateStoreError> {
        const OPERATION: &str = "schema_version";
        let path = absolute(config, OPERATION)?;
        if !path.exists() {
            return Ok(None);
        }
        let unusable = |error: Unusable| explain(error, OPERATION, &path);
        let mut connection = options(config, &path)
            .connect()
            .await
            .map_err(|error| unusable(error.into()))?;
        let found = schema::found(&mut connection).await.map_err(unusable)?;
        connection
            .close()
            .await
            .map_err(|error| unusable(error.into()))?;
        Ok(found)
    }

    /// Opens a migrated database. `clock` is the runtime's: due times, leases and polls follow it, so all processes that
    /// share the file must tell the same time.
    ///
    /// Must be called within a Tokio runtime. Writes have a thread of their own, which ends with the last port.
    ///
    /// # Errors
    ///
    /// `Rejected` where the file is missing, not migrated, from a newer version, foreign or read-only, or where the
    /// settings that durability relies on are not in force; `Corrupt` where it is no database; `Unavailable` where it
    /// cannot be opened for now.
    ///
    /// # Cancellation
    ///
    /// A dropped `connect` leaves nothing behind.
    pub async fn connect(
        config: SqliteConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StateStoreError> {
        const OPERATION: &str = "connect";
        let path = absolute(&config, OPERATION)?;
        if !path.exists() {
            return Err(refusal(
                Kind::Rejected,
                OPERATION,
                &path,
                "there is no such file; migrate creates it",
            ));
        }
        let unusable = |error: Unusable| explain(error, OPERATION, &path);
        let failed = |error: sqlx::Error| explain(error.into(), OPERATION, &path);
        let write_options = writing(&config, &path);
        let mut connection = write_options.connect().await.map_err(failed)?;
        schema::verify(&mut connection).await.map_err(unusable)?;
        prove_writable(&mut connection).await.map_err(failed)?;
        let readers = SqlitePoolOptions::new()
            .min_connections(0)
            .max_connections(config.readers.max(1))
            .test_before_acquire(false)
            .connect_lazy_with(
                options(&config, &path)
                    .row_buffer_size(8)
                    .pragma("query_only", "ON"),
            );
        let writer = Writer::start(connection, write_options, &config).map_err(|error| {
            let why = "no thread can be started for writing";
            StateStoreError::new(Kind::Unavailable, ADAPTER, OPERATION, why).with_source(error)
        })?;
        Ok(Self {
            shared: Arc::new(Shared {
                writer,
                readers,
                clock,
                hints: Hints::default(),
                liveness: Liveness::new(beside(&path, "-workers")),
                path,
            }),
        })
    }

    /// The state store in this database.
    #[must_use]
    pub fn state_store(&self) -> Arc<dyn StateStore> {
        Arc::new(SqliteStateStore(Arc::clone(&self.shared)))
    }

    /// The durable runtime in this database.
    #[must_use]
    pub fn durable_runtime(&self) -> Arc<dyn DurableRuntime> {
        Arc::new(SqliteRuntime::new(Arc::clone(&self.shared)))
    }

    /// The checkpoint store in this database.
    #[must_use]
    pub fn checkpoint_store(&self) -> Arc<dyn CheckpointStore> {
        Arc::new(SqliteCheckpointStore(Arc::clone(&self.shared)))
    }

    /// Commits the writes that wait and closes every connection. Calls on ports of this database fail from then on.
    /// Dropping all of them instead does the same in the background.
    pub async fn close(&self) {
        self.shared.writer.close().await;
        self.shared.readers.close().await;
    }
}

/// An absolute path is never taken for `:memory:` or a `file:` address.
fn absolute(config: &SqliteConfig, operation: &'static str) -> Result<PathBuf, StateStoreError> {
    std::path::absolute(&config.path).map_err(|error| {
        refusal(
            Kind::Rejected,
            operation,
            &config.path,
            "this is no path of a file",
        )
        .with_source(error)
    })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// What runs say is nobody else's business: SQLite gives its other files the rights of this one.
fn create_private(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_created) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a new database beside its place, without a sync, and puts it there once it is whole and synced: a crash leaves
/// no half of one, and the device is asked twice instead of nine times. Returns whether it did; where it did not, the
/// usual way either does or says why not.
async fn create_whole(config: &SqliteConfig, path: &Path) -> bool {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let unique = nanos.map_or(0, |nanos| nanos.as_nanos());
    let new = beside(path, &format!("-new-{}-{unique}", std::process::id()));
    let is_made = make_unsynced(config, &new).await.is_ok();
    let path = path.to_path_buf();
    let put = move || {
        let put = if is_made {
            put_in_place(&new, &path)
        } else {
            Err(std::io::ErrorKind::Other.into())
        };
        // It has another name by now, or is of no use.
        let _left_behind = std::fs::remove_file(&new);
        put.is_ok()
    };
    tokio::task::spawn_blocking(put).await.unwrap_or(false)
}

async fn make_unsynced(config: &SqliteConfig, new: &Path) -> Result<(), Unusable> {
    let file = new.to_path_buf();
    tokio::task::spawn_blocking(move || create_private(&file))
        .await
        .map_err(std::io::Error::other)
        .and_then(|created| created)
        .map_err(sqlx::Error::Io)?;
    let mut connection = options(config, new)
        .synchronous(SqliteSynchronous::Off)
        .connect()
        .await?;
    schema::migrate(&mut connection, config.busy_timeout).await?;
    // This moves everything from the write-ahead log to the file.
    connection.close().await?;
    Ok(())
}

/// Gives the file its name, unless there is a file of that name by now.
fn put_in_place(new: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::File::open(new)?.sync_all()?;
    std::fs::hard_link(new, path)?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn options(config: &SqliteConfig, path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(config.busy_timeout)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
}

fn writing(config: &SqliteConfig, path: &Path) -> SqliteConnectOptions {
    let options = options(config, path)
        .row_buffer_size(512)
        // The newest pages of some thousand live logs, in KiB.
        .pragma("cache_size", "-16384")
        // In pages: what is written again soon is copied to the database once. The log grows to some 16 MiB.
        .pragma("wal_autocheckpoint", "4096");
    match config.max_size {
        // Pages are of SQLite's default size: nothing here changes it.
        Some(bytes) => options.pragma("max_page_count", (bytes / 4096).max(1).to_string()),
        None => options,
    }
}

/// SQLite opens a file that it may not write without a word, and even begins to write it.
async fn prove_writable(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("UPDATE counters SET value = value")
        .execute(&mut *transaction)
        .await?;
    transaction.rollback().await
}

fn refusal(kind: Kind, operation: &'static str, path: &Path, why: &'static str) -> StateStoreError {
    StateStoreError::new(
        kind,
        ADAPTER,
        operation,
        format!("{}: {why}", path.display()),
    )
}

fn explain(error: Unusable, operation: &'static str, path: &Path) -> StateStoreError {
    let why = match error {
        Unusable::Foreign => "the file is a database of something else",
        Unusable::Newer => "the file comes from a newer version of this program",
        Unusable::NotMigrated => "the file has not been migrated to this version",
        Unusable::NoWriteAheadLog => "the database is not in write-ahead mode",
        Unusable::NotDurable => "commits would not be synced to the disk",
        Unusable::Failed(error) => {
            let class = classify(&error);
            return refusal(state_store_kind(class), operation, path, class.words())
                .with_source(error);
        }
    };
    refusal(Kind::Rejected, operation, path, why)
}

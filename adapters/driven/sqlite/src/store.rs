//! Opening a database and handing out the ports that are kept in it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, TransactionBehavior};
use seaworthy_polling::Hints;
use seaworthy_ports::checkpoint_store::CheckpointStore;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::DurableRuntime;
use seaworthy_ports::state_store::{Kind, StateStore, StateStoreError};

use crate::SqliteConfig;
use crate::checkpoint_store::SqliteCheckpointStore;
use crate::connection::Opener;
use crate::durable_runtime::SqliteRuntime;
use crate::error::{ADAPTER, classify, state_store_kind};
use crate::liveness::Liveness;
use crate::readers::Readers;
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
    pub(crate) readers: Readers,
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
        let config = config.clone();
        blocking(OPERATION, move || migrate(&config, &path, OPERATION)).await
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
        let opener = Opener::new(&path, config);
        blocking(OPERATION, move || {
            let found = opener.open().map_err(Unusable::from);
            let found = found.and_then(|mut connection| schema::found(&mut connection));
            found.map_err(|error| explain(error, OPERATION, &path))
        })
        .await
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
        let opener = Opener::new(&path, &config);
        let (file, opens) = (path.clone(), opener.clone());
        let connection = blocking(OPERATION, move || {
            open_checked(&opens).map_err(|error| explain(error, OPERATION, &file))
        })
        .await?;
        let readers = Readers::new(opener.clone(), config.readers);
        let writer = Writer::start(connection, opener, &config).map_err(|error| {
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

/// Does what may block on a thread of its own.
async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, StateStoreError> + Send + 'static,
) -> Result<T, StateStoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|gone| {
            let why = "the program is ending";
            Err(StateStoreError::new(Kind::Unavailable, ADAPTER, operation, why).with_source(gone))
        })
}

fn migrate(
    config: &SqliteConfig,
    path: &Path,
    operation: &'static str,
) -> Result<(), StateStoreError> {
    if !path.exists() && create_whole(config, path) {
        return Ok(());
    }
    create_private(path).map_err(|error| {
        let why = "the file cannot be created";
        refusal(Kind::Rejected, operation, path, why).with_source(error)
    })?;
    let migrated = Opener::new(path, config).open().map_err(Unusable::from);
    migrated
        .and_then(|mut connection| schema::migrate(&mut connection, config.busy_timeout))
        .map_err(|error| explain(error, operation, path))
}

/// Makes a new database beside its place, without a sync, and puts it there once it is whole and synced: a crash leaves
/// no half of one, and the device is asked twice instead of nine times. Returns whether it did; where it did not, the
/// usual way either does or says why not.
fn create_whole(config: &SqliteConfig, path: &Path) -> bool {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let unique = nanos.map_or(0, |nanos| nanos.as_nanos());
    let new = beside(path, &format!("-new-{}-{unique}", std::process::id()));
    let is_put = create_private(&new).is_ok()
        && make_unsynced(config, &new).is_ok()
        && put_in_place(&new, path).is_ok();
    // It has another name by now, or is of no use.
    let _left_behind = std::fs::remove_file(&new);
    is_put
}

fn make_unsynced(config: &SqliteConfig, new: &Path) -> Result<(), Unusable> {
    let mut connection = Opener::new(new, config).open()?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    schema::migrate(&mut connection, config.busy_timeout)?;
    // This moves everything from the write-ahead log to the file.
    connection
        .close()
        .map_err(|(_connection, error)| Unusable::Failed(error))
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

/// The connection that writes, once it is known that it can.
fn open_checked(opener: &Opener) -> Result<Connection, Unusable> {
    let mut connection = opener.open_writing()?;
    schema::verify(&mut connection)?;
    prove_writable(&mut connection)?;
    Ok(connection)
}

/// SQLite opens a file that it may not write without a word, and even begins to write it.
fn prove_writable(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("UPDATE counters SET value = value", [])?;
    transaction.rollback()
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

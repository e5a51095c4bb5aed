//! Opening connections with the settings that durability relies on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, Result};

use crate::SqliteConfig;

/// More than the statements that there are, so that each is prepared once.
const STATEMENTS: usize = 128;

/// Opens connections to one file.
#[derive(Clone, Debug)]
pub(crate) struct Opener {
    path: Arc<PathBuf>,
    config: Arc<SqliteConfig>,
}

impl Opener {
    pub(crate) fn new(path: &Path, config: &SqliteConfig) -> Self {
        Self {
            path: Arc::new(path.to_path_buf()),
            config: Arc::new(config.clone()),
        }
    }

    /// A connection to a file that is there.
    pub(crate) fn open(&self) -> Result<Connection> {
        // A connection is used by one thread at a time. Names that are addresses mean nothing here.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.path.as_path(), flags)?;
        connection.busy_timeout(self.config.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    }

    /// A connection that reads only.
    pub(crate) fn open_reading(&self) -> Result<Connection> {
        let connection = self.open()?;
        connection.pragma_update(None, "query_only", "ON")?;
        Ok(connection)
    }

    /// The connection that writes.
    pub(crate) fn open_writing(&self) -> Result<Connection> {
        let connection = self.open()?;
        // The newest pages of some thousand live logs, in KiB.
        connection.pragma_update(None, "cache_size", -16_384)?;
        // In pages: what is written again soon is copied to the database once. The log grows to some 16 MiB.
        connection.pragma_update(None, "wal_autocheckpoint", 4_096)?;
        if let Some(bytes) = self.config.max_size {
            // Pages are of SQLite's default size: nothing here changes it.
            let pages = i64::try_from((bytes / 4_096).max(1)).unwrap_or(i64::MAX);
            connection.pragma_update(None, "max_page_count", pages)?;
        }
        Ok(connection)
    }
}

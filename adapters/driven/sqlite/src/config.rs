//! Where the database is and how it is used.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names a database file and how to use it. Plain values; nothing is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteConfig {
    /// The database file. Beside it lie `-wal` and `-shm`, which belong to SQLite, and the folder `-workers`, where each
    /// serving process keeps a locked file.
    pub path: PathBuf,
    /// How long to wait for another process's write; ten seconds unless told otherwise.
    pub busy_timeout: Duration,
    /// How many connections read at once; four unless told otherwise.
    pub readers: u32,
    /// How many writes one transaction takes; 512 unless told otherwise.
    pub max_group: usize,
    /// How many heads of logs are kept in memory between transactions; 4,096 unless told otherwise.
    pub max_heads: usize,
    /// How large the database may grow, in bytes; unless told otherwise the disk decides. A write beyond it fails as on
    /// a full disk.
    pub max_size: Option<u64>,
}

impl SqliteConfig {
    /// The database at `path`, with the defaults of each field.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
            busy_timeout: Duration::from_secs(10),
            readers: 4,
            max_group: 512,
            max_heads: 4_096,
            max_size: None,
        }
    }

    /// Waits so long for another process's write.
    #[must_use]
    pub fn with_busy_timeout(mut self, busy_timeout: Duration) -> Self {
        self.busy_timeout = busy_timeout;
        self
    }

    /// Reads on so many connections; at least one.
    #[must_use]
    pub fn with_readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// Commits at most so many writes in one transaction; at least one.
    #[must_use]
    pub fn with_max_group(mut self, writes: usize) -> Self {
        self.max_group = writes.max(1);
        self
    }

    /// Keeps so many heads of logs in memory between transactions.
    #[must_use]
    pub fn with_max_heads(mut self, heads: usize) -> Self {
        self.max_heads = heads;
        self
    }

    /// Refuses to grow beyond so many bytes.
    #[must_use]
    pub fn with_max_size(mut self, bytes: u64) -> Self {
        self.max_size = Some(bytes);
        self
    }
}

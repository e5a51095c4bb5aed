//! The schema: how it came to be, and the check that a file has it.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::{Class, classify};

/// "SWTY", in the file's header: this is ours.
const APPLICATION_ID: i64 = 0x5357_5459;

/// Each step makes the schema of the next version; the first makes version 1. A released step is never changed.
const STEPS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4];

const VERSION_1: &str = "
-- A log's head. Deleted logs keep their row as a tombstone. Ids rise in the order of creation.
CREATE TABLE logs (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    seq INTEGER NOT NULL,
    sealed INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    labels TEXT NOT NULL,
    append_id TEXT,
    append_digest BLOB,
    UNIQUE (kind, name)
) STRICT;
CREATE INDEX logs_by_kind ON logs (kind, id) WHERE deleted = 0;

-- The key is the log's id in the upper 31 bits and the sequence in the lower 32: clustered by log and position.
CREATE TABLE records (
    key INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

-- The labels of every head once more, to find heads by them.
CREATE TABLE labels (
    kind TEXT NOT NULL,
    name BLOB NOT NULL,
    value BLOB NOT NULL,
    log INTEGER NOT NULL,
    PRIMARY KEY (kind, name, value, log)
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    version INTEGER NOT NULL,
    writer TEXT NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (kind, name, path)
) STRICT;

-- state: 0 due, 1 leased, 2 parked, 3 finished. at: when time alone makes it claimable, in milliseconds since the
-- epoch: the due time, the lease's expiry, the wake time.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL UNIQUE,
    session TEXT,
    queue TEXT NOT NULL,
    state INTEGER NOT NULL,
    at INTEGER,
    worker TEXT,
    fence INTEGER,
    deliveries INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    waiting INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_by_time ON runs (at, id) WHERE at IS NOT NULL;
CREATE INDEX runs_by_queue ON runs (queue, at, id) WHERE at IS NOT NULL;
CREATE INDEX runs_leased ON runs (session, at, worker) WHERE state = 1;

-- A consumed signal keeps its row, without payload, so that sending it again is a duplicate.
CREATE TABLE signals (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL,
    signal TEXT NOT NULL,
    payload BLOB,
    UNIQUE (run_id, signal)
) STRICT;
CREATE INDEX signals_waiting ON signals (run_id, id) WHERE payload IS NOT NULL;

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('fence', 0);

CREATE TABLE checkpoints (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    session TEXT,
    kind TEXT NOT NULL,
    seq INTEGER NOT NULL,
    size INTEGER NOT NULL,
    content BLOB NOT NULL,
    UNIQUE (run, kind, seq)
) STRICT;
CREATE INDEX checkpoints_by_seq ON checkpoints (run, seq, kind);
";

const VERSION_2: &str = "
-- The bodies of one append, end to end: what is written together lies together, in the order of writing, so that a
-- commit changes few pages however many logs it is about. `last` is the sequence of the append's last body; `lengths`,
-- 4 bytes each, is null where there is one body. The appends of version 1 become one for each record.
CREATE TABLE appends (
    id INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    last INTEGER NOT NULL,
    lengths BLOB,
    bodies BLOB NOT NULL
) STRICT;
INSERT INTO appends (log, last, bodies) SELECT key >> 32, key & 4294967295, body FROM records ORDER BY key;
CREATE UNIQUE INDEX appends_by_log ON appends (log, last);
DROP TABLE records;
-- A repeated append is compared with its row, so nothing has to be hashed; what version 1 appended has no such row.
ALTER TABLE logs DROP COLUMN append_digest;
UPDATE logs SET append_id = NULL;
";

const VERSION_3: &str = "
-- How many runs of a queue may be leased at once; a queue without a row has no limit.
CREATE TABLE queue_limits (
    queue TEXT PRIMARY KEY,
    most INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

const VERSION_4: &str = "
-- What an append changes of a head, in rows so narrow that those of many logs share a page. A deleted log has none.
-- `newest` is the row of the newest append.
CREATE TABLE heads (
    log INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    newest INTEGER NOT NULL,
    sealed INTEGER NOT NULL,
    append_id TEXT
) STRICT;
INSERT INTO heads (log, seq, newest, sealed, append_id)
SELECT id, seq, coalesce((SELECT a.id FROM appends a WHERE a.log = logs.id ORDER BY a.last DESC LIMIT 1), 0), sealed,
    append_id
FROM logs WHERE deleted = 0;

-- Some appends of each log, to begin reading at: those whose records reach into another block of 64 sequences than the one
-- before. The others are found from the next of them, or from the head, by following `previous`. An index of all would be
-- a page to write for every append.
CREATE TABLE marks (
    log INTEGER NOT NULL,
    last INTEGER NOT NULL,
    append INTEGER NOT NULL,
    PRIMARY KEY (log, last)
) STRICT, WITHOUT ROWID;
INSERT INTO marks (log, last, append)
SELECT log, last, id FROM appends WHERE last >> 6 > coalesce(
    (SELECT p.last FROM appends p WHERE p.log = appends.log AND p.last < appends.last ORDER BY p.last DESC LIMIT 1), 0) >> 6;

-- `previous` is the row of the log's append before this one. It lies before the bodies, so that it is found without them.
CREATE TABLE chained (
    id INTEGER PRIMARY KEY,
    log INTEGER NOT NULL,
    last INTEGER NOT NULL,
    previous INTEGER,
    lengths BLOB,
    bodies BLOB NOT NULL
) STRICT;
INSERT INTO chained (id, log, last, previous, lengths, bodies)
SELECT id, log, last,
    (SELECT p.id FROM appends p WHERE p.log = appends.log AND p.last < appends.last ORDER BY p.last DESC LIMIT 1),
    lengths, bodies
FROM appends ORDER BY id;
DROP TABLE appends;
ALTER TABLE chained RENAME TO appends;
ALTER TABLE logs DROP COLUMN seq;
ALTER TABLE logs DROP COLUMN sealed;
ALTER TABLE logs DROP COLUMN append_id;
";

/// Why a file is not a store that this version can use.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It holds something else.
    Foreign,
    /// A newer version of this package made it.
    Newer,
    /// It was never migrated, or by an older version.
    NotMigrated,
    /// The file system does not let SQLite use a write-ahead log.
    NoWriteAheadLog,
    /// Another setting that writes rely on is not in force.
    NotDurable,
    /// SQLite failed.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// Brings the file to this version's schema, creating it in an empty file. Any number of processes may do so at once.
pub(crate) fn migrate(connection: &mut Connection, patience: Duration) -> Result<(), Unusable> {
    // Before anything is written: a foreign file must stay as it is.
    match version_alone(connection) {
        Err(Unusable::NotMigrated) | Ok(()) => {}
        Err(other) => return Err(other),
    }
    use_write_ahead_log(connection, patience)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Again, now that nobody else can change it.
    match version(&transaction) {
        Ok(()) => return Ok(transaction.rollback()?),
        Err(Unusable::NotMigrated) => {}
        Err(other) => return Err(other),
    }
    let from = number(&transaction, "PRAGMA user_version")?;
    let done = usize::try_from(from).unwrap_or(0);
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", current())?;
    Ok(transaction.commit()?)
}

/// The version that this program makes.
pub(crate) fn current() -> u32 {
    u32::try_from(STEPS.len()).unwrap_or(u32::MAX)
}

/// The version that the file has; `None`: it is empty.
pub(crate) fn found(connection: &mut Connection) -> Result<Option<u32>, Unusable> {
    match version_alone(connection) {
        Ok(()) | Err(Unusable::NotMigrated) => {}
        Err(other) => return Err(other),
    }
    let found = number(connection, "PRAGMA user_version")?;
    Ok(u32::try_from(found).ok().filter(|version| *version > 0))
}

/// Checks that the file has exactly this version's schema and that writes to it will be durable.
pub(crate) fn verify(connection: &mut Connection) -> Result<(), Unusable> {
    version_alone(connection)?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Unusable::NoWriteAheadLog);
    }
    // 2 is FULL: every commit is synced before it is acknowledged.
    if number(connection, "PRAGMA synchronous")? != 2 {
        return Err(Unusable::NotDurable);
    }
    Ok(())
}

/// In one transaction, or another process's migration could show by half.
fn version_alone(connection: &mut Connection) -> Result<(), Unusable> {
    let snapshot = connection.transaction()?;
    version(&snapshot)
}

fn version(snapshot: &Transaction<'_>) -> Result<(), Unusable> {
    let application = number(snapshot, "PRAGMA application_id")?;
    let version = number(snapshot, "PRAGMA user_version")?;
    let tables = number(snapshot, "SELECT count(*) FROM sqlite_schema")?;
    let current = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if application == APPLICATION_ID {
        return match version.cmp(&current) {
            std::cmp::Ordering::Less => Err(Unusable::NotMigrated),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(Unusable::Newer),
        };
    }
    if application == 0 && version == 0 && tables == 0 {
        Err(Unusable::NotMigrated)
    } else {
        Err(Unusable::Foreign)
    }
}

/// Changing the mode needs the file for itself, and SQLite's own busy timeout does not cover that.
fn use_write_ahead_log(connection: &Connection, patience: Duration) -> Result<(), Unusable> {
    let started = Instant::now();
    loop {
        let mode: rusqlite::Result<String> =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(_) => return Err(Unusable::NoWriteAheadLog),
            Err(error) if classify(&error) == Class::Busy && started.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn number(connection: &Connection, question: &str) -> rusqlite::Result<i64> {
    connection.query_one(question, [], |row| row.get(0))
}

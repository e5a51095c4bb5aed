//! What SQLite itself reaches: prepared statements on one connection, called directly, on the thread that measures.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use crate::Failure;
use crate::report::median;

/// What a transaction is like, on average.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Logs whose heads move.
    pub(crate) logs: usize,
    /// Appends in a transaction.
    pub(crate) group: f64,
    /// Records in each append.
    pub(crate) bodies: f64,
    /// Bytes in each record.
    pub(crate) bytes: f64,
}

/// How records lie in the file, so that those of one log can be read again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    /// In the order of writing, with an index by log and sequence.
    Indexed,
    /// By log and sequence.
    Clustered,
    /// As the adapter has them: in the order of writing, each with the one before it of the same log, and an index of few.
    Chained,
}

impl Layout {
    /// What one writes by hand.
    const USUAL: [Self; 2] = [Self::Indexed, Self::Clustered];

    const fn records(self) -> &'static str {
        match self {
            Self::Indexed => {
                "CREATE TABLE records (
                    id INTEGER PRIMARY KEY, log INTEGER NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL
                ) STRICT;
                CREATE UNIQUE INDEX records_by_log ON records (log, seq);"
            }
            Self::Clustered => {
                "CREATE TABLE records (
                    log INTEGER NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (log, seq)
                ) STRICT, WITHOUT ROWID;"
            }
            Self::Chained => {
                "CREATE TABLE records (
                    id INTEGER PRIMARY KEY, log INTEGER NOT NULL, seq INTEGER NOT NULL, previous INTEGER, body BLOB NOT NULL
                ) STRICT;
                CREATE TABLE marks (
                    log INTEGER NOT NULL, seq INTEGER NOT NULL, record INTEGER NOT NULL, PRIMARY KEY (log, seq)
                ) STRICT, WITHOUT ROWID;"
            }
        }
    }

    const fn insert(self) -> &'static str {
        match self {
            Self::Indexed | Self::Clustered => INSERT,
            Self::Chained => "INSERT INTO records (log, seq, body, previous) VALUES (?, ?, ?, ?)",
        }
    }
}

/// Every so many records of a log one has a mark.
const MARK_EVERY: i64 = 64;

const INSERT: &str = "INSERT INTO records (log, seq, body) VALUES (?, ?, ?)";
const ADVANCE: &str = "UPDATE heads SET seq = ?, newest = ? WHERE id = ?";

/// A file with records and heads, which is the least that appends need which are read and repeated.
fn open(path: &Path, logs: usize, layout: Layout) -> Result<Connection, Failure> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // As the adapter has them.
    connection.pragma_update(None, "cache_size", "-16384")?;
    connection.pragma_update(None, "wal_autocheckpoint", "4096")?;
    connection.execute_batch(
        "CREATE TABLE heads (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, newest TEXT) STRICT;",
    )?;
    connection.execute_batch(layout.records())?;
    let mut insert = connection.prepare("INSERT INTO heads (id, seq) VALUES (?, 0)")?;
    for log in 1..=logs.max(1) {
        insert.execute([i64::try_from(log)?])?;
    }
    drop(insert);
    Ok(connection)
}

/// Appends a second, in the better layout, when `appends` of them are committed in transactions of that shape: each
/// inserts its records and moves the head of its log.
pub(crate) fn appends(folder: &Path, shape: Shape, appends: usize) -> Result<f64, Failure> {
    let mut best: f64 = 0.0;
    for layout in Layout::USUAL {
        best = best.max(appends_in(layout, folder, shape, appends)?);
    }
    Ok(best)
}

/// The same in the layout of the adapter.
pub(crate) fn chained(folder: &Path, shape: Shape, appends: usize) -> Result<f64, Failure> {
    appends_in(Layout::Chained, folder, shape, appends)
}

fn appends_in(layout: Layout, folder: &Path, shape: Shape, appends: usize) -> Result<f64, Failure> {
    let path = folder.join(format!("raw-{layout:?}.db"));
    let connection = open(&path, shape.logs, layout)?;
    let mut begin = connection.prepare("BEGIN IMMEDIATE")?;
    let mut commit = connection.prepare("COMMIT")?;
    let mut insert = connection.prepare(layout.insert())?;
    let mut mark = match layout {
        Layout::Indexed | Layout::Clustered => None,
        Layout::Chained => Some(connection.prepare("INSERT INTO marks VALUES (?, ?, ?)")?),
    };
    let mut advance = connection.prepare(ADVANCE)?;
    let body = vec![b'x'; whole(shape.bytes).max(1)];
    let mut heads = vec![0_i64; shape.logs.max(1)];
    let mut newest = vec![None::<i64>; heads.len()];
    // Fractions are carried over, so that the averages come out right.
    let (mut due, mut done) = (0.0, 0_usize);
    let (mut records_due, mut records_done) = (0.0, 0_usize);
    let began = Instant::now();
    while done < appends {
        due += shape.group.max(1.0);
        begin.execute([])?;
        while done < whole(due) {
            let log = done % heads.len();
            done += 1;
            records_due += shape.bodies;
            let head = heads.get_mut(log).ok_or("no such log")?;
            let newest = newest.get_mut(log).ok_or("no such log")?;
            let log = i64::try_from(log + 1)?;
            while records_done < whole(records_due) {
                *head += 1;
                match &mut mark {
                    None => {
                        insert.execute(params![log, *head, body])?;
                    }
                    Some(mark) => {
                        insert.execute(params![log, *head, body, *newest])?;
                        let row = connection.last_insert_rowid();
                        *newest = Some(row);
                        if *head % MARK_EVERY == 0 {
                            mark.execute([log, *head, row])?;
                        }
                    }
                }
                records_done += 1;
            }
            advance.execute(params![*head, format!("{log}.{head}"), log])?;
        }
        commit.execute([])?;
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

/// The median time of a transaction with one append of one record.
pub(crate) fn single(path: &Path, bytes: usize, appends: usize) -> Result<Duration, Failure> {
    let connection = open(path, 1, Layout::Indexed)?;
    let mut begin = connection.prepare("BEGIN IMMEDIATE")?;
    let mut commit = connection.prepare("COMMIT")?;
    let mut insert = connection.prepare(INSERT)?;
    let mut advance = connection.prepare(ADVANCE)?;
    let body = vec![b'x'; bytes];
    let mut times = Vec::with_capacity(appends);
    for append in 1..=i64::try_from(appends)? {
        let began = Instant::now();
        begin.execute([])?;
        insert.execute(params![1, append, body])?;
        advance.execute(params![append, format!("1.{append}"), 1])?;
        commit.execute([])?;
        times.push(began.elapsed().as_secs_f64());
    }
    let time = median(times).ok_or("nothing was appended")?;
    Ok(Duration::from_secs_f64(time))
}

/// How long it takes to read the rows of the log of `run` and to parse each record, and how many records there are.
pub(crate) fn read_and_parse(database: &Path, run: &str) -> Result<(Duration, usize), Failure> {
    let connection = Connection::open(database)?;
    let began = Instant::now();
    let mut rows = connection.prepare(
        "SELECT lengths, bodies FROM appends
        WHERE log = (SELECT id FROM logs WHERE kind = 'run' AND name = ?) ORDER BY id",
    )?;
    let mut rows = rows.query([run])?;
    let mut records = 0_usize;
    while let Some(row) = rows.next()? {
        let lengths: Option<Vec<u8>> = row.get(0)?;
        let bodies: Vec<u8> = row.get(1)?;
        let mut rest = bodies.as_slice();
        let lengths = lengths.map_or_else(
            || vec![rest.len()],
            |lengths| {
                let (lengths, _odd) = lengths.as_chunks::<4>();
                lengths
                    .iter()
                    .filter_map(|length| usize::try_from(u32::from_le_bytes(*length)).ok())
                    .collect()
            },
        );
        for length in lengths {
            let (body, more) = rest.split_at_checked(length).ok_or("a row is too short")?;
            std::hint::black_box(serde_json::from_slice::<serde_json::Value>(body)?);
            rest = more;
            records += 1;
        }
    }
    Ok((began.elapsed(), records))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts: small, and never below zero"
)]
pub(crate) fn whole(value: f64) -> usize {
    value as usize
}

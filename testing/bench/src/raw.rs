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

/// A file with a table of records and one of heads, which is the least that appends need.
pub(crate) fn open(path: &Path, logs: usize) -> Result<Connection, Failure> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // As the adapter has them.
    connection.pragma_update(None, "cache_size", "-16384")?;
    connection.pragma_update(None, "wal_autocheckpoint", "4096")?;
    connection.execute_batch(
        "CREATE TABLE heads (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
        CREATE TABLE records (key INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;",
    )?;
    let mut insert = connection.prepare("INSERT INTO heads (id, seq) VALUES (?, 0)")?;
    for log in 1..=logs.max(1) {
        insert.execute([i64::try_from(log)?])?;
    }
    drop(insert);
    Ok(connection)
}

/// Appends a second when `appends` of them are committed in transactions of that shape: each inserts its records and
/// moves the head of its log.
pub(crate) fn appends(path: &Path, shape: Shape, appends: usize) -> Result<f64, Failure> {
    let connection = open(path, shape.logs)?;
    let mut begin = connection.prepare("BEGIN IMMEDIATE")?;
    let mut commit = connection.prepare("COMMIT")?;
    let mut insert = connection.prepare("INSERT INTO records (body) VALUES (?)")?;
    let mut advance = connection.prepare("UPDATE heads SET seq = ? WHERE id = ?")?;
    let body = vec![b'x'; whole(shape.bytes).max(1)];
    // Fractions are carried over, so that the averages come out right.
    let (mut due, mut done) = (0.0, 0_usize);
    let (mut records_due, mut records_done) = (0.0, 0_usize);
    let began = Instant::now();
    while done < appends {
        due += shape.group.max(1.0);
        begin.execute([])?;
        while done < whole(due) {
            done += 1;
            records_due += shape.bodies;
            while records_done < whole(records_due) {
                insert.execute([&body])?;
                records_done += 1;
            }
            let (seq, log) = (done / shape.logs, done % shape.logs + 1);
            advance.execute(params![i64::try_from(seq)?, i64::try_from(log)?])?;
        }
        commit.execute([])?;
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

/// The median time of a transaction with one append of one record.
pub(crate) fn single(path: &Path, bytes: usize, appends: usize) -> Result<Duration, Failure> {
    let connection = open(path, 1)?;
    let mut begin = connection.prepare("BEGIN IMMEDIATE")?;
    let mut commit = connection.prepare("COMMIT")?;
    let mut insert = connection.prepare("INSERT INTO records (body) VALUES (?)")?;
    let mut advance = connection.prepare("UPDATE heads SET seq = ? WHERE id = 1")?;
    let body = vec![b'x'; bytes];
    let mut times = Vec::with_capacity(appends);
    for append in 0..appends {
        let began = Instant::now();
        begin.execute([])?;
        insert.execute([&body])?;
        advance.execute([i64::try_from(append)?])?;
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
        WHERE log = (SELECT id FROM logs WHERE kind = 'run' AND name = ?) ORDER BY last",
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

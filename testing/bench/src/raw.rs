//! What SQLite itself reaches: prepared statements on one connection, nothing else.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};

use crate::Failure;

/// Logs whose heads move.
const LOGS: usize = 64;

/// What a transaction is like, on average.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Appends in it.
    pub(crate) group: f64,
    /// Records in each.
    pub(crate) bodies: f64,
    /// Bytes in each.
    pub(crate) bytes: f64,
}

const INSERT: &str = "INSERT INTO records (body) VALUES (?);";
const MOVE: &str = "UPDATE heads SET seq = seq + 1 WHERE id = ?;";

/// How a transaction's rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// One call of the driver for each append, with a statement for each of its rows: group commit as one writes it.
    Append,
    /// One call for all of that.
    Transaction,
    /// One call with a single statement for all records and another for all heads.
    Bulk,
}

/// Appends a second when `appends` of them are committed in transactions of that shape. Each inserts its records and
/// moves the head of its log, which is the least that the port promises.
pub(crate) async fn ceiling(
    path: &Path,
    shape: Shape,
    appends: usize,
    calls: Calls,
) -> Result<f64, Failure> {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
        .connect()
        .await?;
    for statement in [
        "CREATE TABLE heads (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL) STRICT",
        "CREATE TABLE records (key INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT",
        "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 64) INSERT INTO heads SELECT i, 0 FROM n",
    ] {
        sqlx::query(statement).execute(&mut connection).await?;
    }
    // Fractions are carried over, so that the averages come out right.
    let (mut due, mut done) = (0.0, 0_usize);
    let (mut records_due, mut records_done) = (0.0, 0_usize);
    let body = vec![b'x'; whole(shape.bytes).max(1)];
    let began = Instant::now();
    while done < appends {
        due += shape.group.max(1.0);
        let group = whole(due).saturating_sub(done);
        records_due += shape.bodies * group as f64;
        let records = whole(records_due).saturating_sub(records_done).max(1);
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        match calls {
            Calls::Append => {
                for head in 0..group {
                    let records = records * (head + 1) / group - records * head / group;
                    let text = INSERT.repeat(records) + MOVE;
                    write(&mut transaction, text, &body, records, head..head + 1).await?;
                }
            }
            Calls::Transaction => {
                let text = INSERT.repeat(records) + &MOVE.repeat(group);
                write(&mut transaction, text, &body, records, 0..group).await?;
            }
            Calls::Bulk => {
                let rows = vec!["(?)"; records].join(", ");
                let heads = vec!["(?)"; group].join(", ");
                let text = format!(
                    "INSERT INTO records (body) VALUES {rows};
                    UPDATE heads SET seq = seq + 1 WHERE id IN (VALUES {heads});"
                );
                write(&mut transaction, text, &body, records, 0..group).await?;
            }
        }
        transaction.commit().await?;
        done += group;
        records_done += records;
    }
    let took = began.elapsed();
    connection.close().await?;
    Ok(done as f64 / took.as_secs_f64())
}

/// Executes statements that insert so many records and move these heads.
async fn write(
    connection: &mut SqliteConnection,
    text: String,
    body: &[u8],
    records: usize,
    heads: Range<usize>,
) -> Result<(), Failure> {
    // Nothing but placeholders was put together.
    let mut query = sqlx::query(AssertSqlSafe(text));
    for _ in 0..records {
        query = query.bind(body);
    }
    for head in heads {
        query = query.bind(i64::try_from(head % LOGS)? + 1);
    }
    query.execute(connection).await?;
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts: small, and never below zero"
)]
pub(crate) fn whole(value: f64) -> usize {
    value as usize
}

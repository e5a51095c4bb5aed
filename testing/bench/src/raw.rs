//! What SQLite itself reaches: prepared statements on one connection, nothing else.

use std::path::Path;
use std::time::Instant;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::Failure;

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

/// How records are inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insert {
    /// All records of a transaction with one statement: the ceiling.
    Together,
    /// Each record with a statement of its own, as one would write it first.
    OneByOne,
}

/// Appends a second when `appends` of them are committed in transactions of that shape. Each inserts its records and
/// moves the head of its log, which is the least that the port promises.
pub(crate) async fn ceiling(
    path: &Path,
    shape: Shape,
    appends: usize,
    insert: Insert,
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
        match insert {
            Insert::Together => transaction(&mut connection, group, &[records], &body).await?,
            Insert::OneByOne => {
                transaction(&mut connection, group, &vec![1; records], &body).await?;
            }
        }
        done += group;
        records_done += records;
    }
    let took = began.elapsed();
    connection.close().await?;
    Ok(done as f64 / took.as_secs_f64())
}

async fn transaction(
    connection: &mut SqliteConnection,
    group: usize,
    statements: &[usize],
    body: &[u8],
) -> Result<(), Failure> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for &records in statements {
        let rows = vec!["(?)"; records].join(", ");
        let insert = format!("INSERT INTO records (body) VALUES {rows}");
        // Nothing but placeholders is put together here.
        let mut query = sqlx::query(sqlx::AssertSqlSafe(insert));
        for _ in 0..records {
            query = query.bind(body);
        }
        query.execute(&mut *transaction).await?;
    }
    for head in 0..group {
        sqlx::query("UPDATE heads SET seq = seq + 1 WHERE id = ?")
            .bind(i64::try_from(head % 64)? + 1)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
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

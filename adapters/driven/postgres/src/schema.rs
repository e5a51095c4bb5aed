//! The schema: how it came to be, and the check that a database has it.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

/// Each step makes the schema of the next version; the first makes version 1. A released step is never changed: the
/// database keeps the digest of what was done to it.
const STEPS: &[&str] = &[
    concat!(
        include_str!("schema/1_tables.sql"),
        include_str!("schema/2_logs.sql"),
        include_str!("schema/3_runs.sql"),
    ),
    include_str!("schema/4_numbers.sql"),
];

const MIGRATIONS: &str = "
CREATE TABLE seaworthy_migrations (
    version integer PRIMARY KEY,
    digest bytea NOT NULL,
    done_at timestamptz NOT NULL DEFAULT now()
)";

/// What is known of a schema before anything in it is touched: whether it has the table of migrations, and whether it has
/// other tables.
const FOUND: &str = "
SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = 'seaworthy_migrations' AND c.relkind = 'r'),
    EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1)";

/// Why a schema cannot be used by this version.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It holds something else.
    Foreign,
    /// A newer version of this package made it.
    Newer,
    /// It was never migrated, or by an older version.
    NotMigrated,
    /// It was not made by the steps that this version knows.
    Changed,
    /// The server failed.
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for Unusable {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

fn digest(step: &str) -> Vec<u8> {
    Sha256::digest(step.as_bytes()).to_vec()
}

/// How many steps were done, if each is one that this version knows.
async fn steps_done(connection: &mut PgConnection, schema: &str) -> Result<usize, Unusable> {
    let found = sqlx::query(FOUND)
        .bind(schema)
        .fetch_one(&mut *connection)
        .await?;
    let (is_ours, has_tables): (bool, bool) = (found.try_get(0)?, found.try_get(1)?);
    if !is_ours {
        return if has_tables {
            Err(Unusable::Foreign)
        } else {
            Ok(0)
        };
    }
    let rows = sqlx::query("SELECT version, digest FROM seaworthy_migrations ORDER BY version")
        .fetch_all(connection)
        .await?;
    // Newer before changed: whoever is told so knows what to do.
    if rows.len() > STEPS.len() {
        return Err(Unusable::Newer);
    }
    for ((number, row), step) in (1..).zip(&rows).zip(STEPS) {
        let version: i32 = row.try_get(0)?;
        if version > i32::try_from(STEPS.len()).unwrap_or(i32::MAX) {
            return Err(Unusable::Newer);
        }
        if version != number || row.try_get::<Vec<u8>, _>(1)? != digest(step) {
            return Err(Unusable::Changed);
        }
    }
    Ok(rows.len())
}

/// The version that this program makes.
pub(crate) fn newest() -> u32 {
    u32::try_from(STEPS.len()).unwrap_or(u32::MAX)
}

/// The version that the schema has; `None`: nothing was done yet.
pub(crate) async fn found(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<Option<u32>, Unusable> {
    let done = steps_done(connection, schema).await?;
    Ok(u32::try_from(done).ok().filter(|version| *version > 0))
}

/// Removes the schema with everything in it, if this package made it; of whichever version.
pub(crate) async fn remove(connection: &mut PgConnection, schema: &str) -> Result<(), Unusable> {
    match steps_done(connection, schema).await {
        Ok(0) => return Ok(()),
        Ok(_) | Err(Unusable::Newer | Unusable::Changed) => {}
        Err(other) => return Err(other),
    }
    // The name was checked; the quotes are for words that mean something.
    sqlx::raw_sql(AssertSqlSafe(format!(
        "DROP SCHEMA IF EXISTS \"{schema}\" CASCADE"
    )))
    .execute(connection)
    .await?;
    Ok(())
}

/// Brings the schema to this version, creating it where it is missing. Any number of processes may do so at once: a lock
/// on the schema's name lets one do it, and the others see that it is done.
pub(crate) async fn migrate(
    connection: &mut PgConnection,
    schema: &str,
    patience: Duration,
) -> Result<(), Unusable> {
    let mut transaction = connection.begin().await?;
    // The others may have much to do.
    let patience = patience.as_millis().min(i32::MAX as u128).to_string();
    for setting in [
        "lock_timeout",
        "statement_timeout",
        "idle_in_transaction_session_timeout",
    ] {
        sqlx::query("SELECT set_config($1, $2, true)")
            .bind(setting)
            .bind(&patience)
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1 || ' migrations', 0))")
        .bind(schema)
        .execute(&mut *transaction)
        .await?;
    let done = steps_done(&mut transaction, schema).await?;
    if done == STEPS.len() {
        return Ok(transaction.rollback().await?);
    }
    if done == 0 {
        let exists =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
                .bind(schema)
                .fetch_one(&mut *transaction);
        // Who was given an empty schema may have no right to create one.
        if !exists.await? {
            // The name was checked; the quotes are for words that mean something.
            sqlx::raw_sql(AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\"")))
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::raw_sql(MIGRATIONS).execute(&mut *transaction).await?;
    }
    for (number, step) in (1_i32..).zip(STEPS).skip(done) {
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO seaworthy_migrations (version, digest) VALUES ($1, $2)")
            .bind(number)
            .bind(digest(step))
            .execute(&mut *transaction)
            .await?;
    }
    Ok(transaction.commit().await?)
}

/// Checks that the schema is exactly this version's.
pub(crate) async fn verify(connection: &mut PgConnection, schema: &str) -> Result<(), Unusable> {
    if steps_done(connection, schema).await? == STEPS.len() {
        Ok(())
    } else {
        Err(Unusable::NotMigrated)
    }
}

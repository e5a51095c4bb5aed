//! The server that is measured: a schema for each measurement, and what the server counts itself.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use seaworthy::ports::clock::Clock;
use seaworthy::postgres::{Postgres, PostgresConfig};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _};

use crate::Failure;

/// The variable of the environment that names the server. Its database is filled, and emptied again.
const SERVER: &str = "SEAWORTHY_TEST_POSTGRES";

/// The server's URL, where there is a server.
pub(crate) fn url() -> Option<String> {
    std::env::var(SERVER).ok().filter(|url| !url.is_empty())
}

/// A schema of a measurement's own.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Schema {
    /// A name that nobody else has; nothing is made.
    fn new(url: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.unwrap_or_default().as_millis();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            url: url.to_owned(),
            name: format!("bench_{}_{millis}_{number}", std::process::id()),
        }
    }

    fn config(&self) -> PostgresConfig {
        PostgresConfig::new(&self.url).with_schema(&self.name)
    }

    /// The adapter with its defaults.
    pub(crate) async fn open(&self, clock: Arc<dyn Clock>) -> Result<Postgres, Failure> {
        Ok(Postgres::connect(self.config(), clock).await?)
    }

    /// The adapter at another address of the same database.
    pub(crate) async fn open_at(
        &self,
        url: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Postgres, Failure> {
        let config = PostgresConfig::new(url).with_schema(&self.name);
        Ok(Postgres::connect(config, clock).await?)
    }

    /// The adapter without waiting for the disk, for what is prepared and not measured.
    pub(crate) async fn open_careless(&self, clock: Arc<dyn Clock>) -> Result<Postgres, Failure> {
        let sign = if self.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{sign}options[synchronous_commit]=off", self.url);
        self.open_at(&url, clock).await
    }

    /// A connection that knows nothing of the adapter.
    pub(crate) async fn raw(&self) -> Result<PgConnection, Failure> {
        let options = PgConnectOptions::from_str(&self.url)
            .map_err(|_words_of_the_url| "the server's URL cannot be used")?;
        let options = options.disable_statement_logging();
        Ok(options
            .options([("search_path", self.name.as_str())])
            .connect()
            .await?)
    }
}

/// Gives `measure` a schema and removes it, however it ends.
pub(crate) async fn with_schema<T>(
    url: &str,
    measure: impl AsyncFnOnce(&Schema) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let schema = Schema::new(url);
    Postgres::migrate(&schema.config()).await?;
    let measured = measure(&schema).await;
    let removed = Postgres::remove(&schema.config()).await;
    let measured = measured?;
    removed?;
    Ok(measured)
}

/// The same with an empty schema, for statements by hand.
pub(crate) async fn with_bare_schema<T>(
    url: &str,
    measure: impl AsyncFnOnce(&Schema) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let schema = Schema::new(url);
    let mut connection = schema.raw().await?;
    let name = &schema.name;
    let create = AssertSqlSafe(format!("CREATE SCHEMA {name}"));
    sqlx::raw_sql(create).execute(&mut connection).await?;
    let measured = measure(&schema).await;
    let drop = AssertSqlSafe(format!("DROP SCHEMA {name} CASCADE"));
    let dropped = sqlx::raw_sql(drop).execute(&mut connection).await;
    let measured = measured?;
    dropped?;
    Ok(measured)
}

/// What the server has written to its log so far, whoever caused it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    bytes: i64,
    syncs: i64,
}

/// The position in the write-ahead log and the syncs of it. Sessions add their syncs when they end, at the latest.
const WRITTEN: &str = "
SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint, (SELECT wal_sync FROM pg_stat_wal)";

impl Written {
    pub(crate) async fn now(connection: &mut PgConnection) -> Result<Self, Failure> {
        // Sessions that were closed just now are still ending.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let row = sqlx::query(WRITTEN).fetch_one(connection).await?;
        Ok(Self {
            bytes: row.try_get(0)?,
            syncs: row.try_get(1)?,
        })
    }

    /// Bytes and syncs for each of so many steps since `before`.
    pub(crate) fn a_step(self, before: Self, steps: usize) -> (f64, f64) {
        let steps = steps.max(1) as f64;
        (
            (self.bytes - before.bytes) as f64 / steps,
            (self.syncs - before.syncs) as f64 / steps,
        )
    }
}

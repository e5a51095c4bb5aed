//! What the tests of this crate share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod proxy;
#[cfg(has_postgres_programs)]
pub(crate) mod server;
pub(crate) mod time;

use std::error::Error;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use seaworthy_ports::state_store::{Append, Expected, Labels, Seq, StateStore, StateStoreError};
use seaworthy_ports::{AppendId, LogId, LogKind, LogName};
use seaworthy_postgres::{Postgres, PostgresConfig};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection};

/// The environment variable that names a server for tests.
const SERVER: &str = "SEAWORTHY_TEST_POSTGRES";

/// The server that tests share. A test that needs it is ignored where there is none, so it is there.
pub(crate) fn server() -> String {
    std::env::var(SERVER).expect("a server for tests")
}

/// A schema of a test's own, dropped with it.
pub(crate) struct Schema {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Schema {
    /// A name that nobody else has; nothing is made.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = since.expect("after 1970").as_nanos();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{nanos}_{number}", std::process::id());
        Self {
            url: server(),
            name,
        }
    }

    /// A migrated schema.
    pub(crate) async fn migrated() -> Self {
        let schema = Self::new();
        schema.migrate().await;
        schema
    }

    pub(crate) async fn migrate(&self) {
        // What is lost with the server is the test's loss alone, and there are many tests.
        let config = config(
            &with_option(&self.url, "synchronous_commit", "off"),
            &self.name,
        );
        Postgres::migrate(&config).await.expect("a fresh schema");
    }

    pub(crate) fn config(&self) -> PostgresConfig {
        config(&self.url, &self.name)
    }

    /// A connection that knows nothing of the adapter.
    pub(crate) async fn raw(&self) -> PgConnection {
        raw(&self.url, &self.name).await
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let mut connection =
                    raw(&with_option(&url, "synchronous_commit", "off"), &name).await;
                for schema in [&name, &format!("{name}_made")] {
                    // A worker of the test may be at it for the last time.
                    for _try in 0..20 {
                        let drop = format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE");
                        if sqlx::query(AssertSqlSafe(drop))
                            .execute(&mut connection)
                            .await
                            .is_ok()
                        {
                            break;
                        }
                    }
                }
            });
        });
        let _left_behind = dropping.join();
    }
}

/// The adapter as tests use it: few connections, for there are many of it.
pub(crate) fn config(url: &str, schema: &str) -> PostgresConfig {
    PostgresConfig::new(url)
        .with_schema(schema)
        .with_connections(6)
}

/// A URL with a setting for its sessions.
pub(crate) fn with_option(url: &str, name: &str, value: &str) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}options[{name}]={value}")
}

/// The same database at another port of this machine.
pub(crate) fn at_port(url: &str, port: u16) -> String {
    let options = PgConnectOptions::from_str(url).expect("a URL");
    let (user, database) = (options.get_username(), options.get_database());
    format!(
        "postgres://{user}@127.0.0.1:{port}/{}",
        database.unwrap_or(user)
    )
}

pub(crate) async fn raw(url: &str, schema: &str) -> PgConnection {
    PgConnectOptions::from_str(url)
        .expect("a URL")
        .options([("search_path", schema), ("client_min_messages", "warning")])
        .connect()
        .await
        .expect("a raw connection")
}

pub(crate) async fn sql(connection: &mut PgConnection, statement: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(statement.into()))
        .execute(connection)
        .await
        .expect("a statement that works");
}

pub(crate) async fn count(connection: &mut PgConnection, question: &'static str) -> i64 {
    sqlx::query_scalar(question)
        .fetch_one(connection)
        .await
        .expect("a number")
}

pub(crate) fn log(name: &str) -> LogId {
    LogId::new(
        LogKind::new("run").expect("a kind"),
        LogName::new(name).expect("a name"),
    )
}

/// An append of these bodies after `head` (0: to a new log), with an id made of log and head.
pub(crate) fn append(name: &str, head: u64, bodies: &[&[u8]]) -> Append {
    Append {
        log: log(name),
        id: AppendId::new(format!("{name}.{head}")).expect("an id"),
        expected: if head == 0 {
            Expected::Absent
        } else {
            Expected::Head(Seq(head))
        },
        bodies: bodies
            .iter()
            .map(|body| Bytes::copy_from_slice(body))
            .collect(),
        labels: Labels::new(),
        seal: false,
    }
}

pub(crate) async fn bodies(
    store: &dyn StateStore,
    name: &str,
) -> Result<Vec<Bytes>, StateStoreError> {
    store
        .read(&log(name), Seq::ZERO)
        .map_ok(|record| record.body)
        .try_collect()
        .await
}

/// All that an error says, with its causes.
pub(crate) fn words(error: &StateStoreError) -> String {
    let mut words = format!("{error} {error:?}");
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        words.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    words
}

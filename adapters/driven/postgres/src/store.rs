//! Opening a database and handing out the ports that are kept in it.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use seaworthy_polling::Hints;
use seaworthy_ports::checkpoint_store::CheckpointStore;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::DurableRuntime;
use seaworthy_ports::state_store::{Kind, StateStore, StateStoreError};
use seaworthy_ports::{Durability, Timestamp};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Row as _};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::PostgresConfig;
use crate::checkpoint_store::PostgresCheckpointStore;
use crate::clock::DatabaseClock;
use crate::database::{Database, FRESH, TRIAL};
use crate::durable_runtime::PostgresRuntime;
use crate::error::{ADAPTER, Class, Failure, state_store};
use crate::notify::{self, Announcer};
use crate::schema::{self, Unusable};
use crate::settings::{self, Server, Unfit};
use crate::settle::Settler;
use crate::state_store::PostgresStateStore;
use crate::writer::Writer;

/// How long a connection lives, so that what changes about the server's address or certificates is noticed.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// How long a connection that nobody needs is kept.
const IDLE: Duration = Duration::from_secs(5 * 60);
/// How much longer than the server itself a statement is waited for.
const SLACK: Duration = Duration::from_secs(5);
/// How long a migration waits for another process's, and may take itself.
const MIGRATION: Duration = Duration::from_secs(120);

/// One open database. Clones, and the ports it hands out, share its connections and its batches of appends.
#[derive(Clone, Debug)]
pub struct Postgres {
    shared: Arc<Shared>,
}

/// What the ports share.
pub(crate) struct Shared {
    pub(crate) database: Database,
    pub(crate) writer: Writer,
    pub(crate) settler: Settler,
    pub(crate) clock: Arc<DatabaseClock>,
    pub(crate) hints: Hints,
    pub(crate) announcer: Announcer,
    pub(crate) durability: Durability,
    /// The task that listens for other processes, while somebody serves.
    listening: Mutex<Weak<AbortOnDropHandle<()>>>,
    channel: String,
    handle: i64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("channel", &self.channel)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Wake-ups from other processes come in for as long as what this returns is kept.
    pub(crate) fn listen(&self) -> Arc<AbortOnDropHandle<()>> {
        let mut listening = match self.listening.lock() {
            Ok(listening) => listening,
            // Nothing panics while it holds the lock.
            Err(poisoned) => poisoned.into_inner(),
        };
        if let Some(task) = listening.upgrade() {
            return task;
        }
        let task = self.database.home.spawn(notify::listen(
            self.database.pool.clone(),
            self.channel.clone(),
            self.handle,
            self.hints.clone(),
        ));
        let task = Arc::new(AbortOnDropHandle::new(task));
        *listening = Arc::downgrade(&task);
        task
    }
}

impl Postgres {
    /// Creates the schema where it is missing, and brings it to this version. Several processes may do so at once: one
    /// does it, the others wait.
    ///
    /// # Errors
    ///
    /// `Rejected` where the schema's name or the URL cannot be used, where the schema belongs to something else, comes
    /// from a newer version or was changed, where the server is too old, and where it refuses the user; `Unavailable`
    /// where it cannot be reached or another process migrates for too long.
    ///
    /// # Cancellation
    ///
    /// A dropped migration has happened or not; repeating it is harmless.
    pub async fn migrate(config: &PostgresConfig) -> Result<(), StateStoreError> {
        const OPERATION: &str = "migrate";
        let options = options(config, OPERATION)?;
        let explain = |error: Unusable| explain(error, OPERATION, &config.schema);
        let (mut connection, _server) = connect(&options, config, OPERATION).await?;
        schema::migrate(&mut connection, &config.schema, MIGRATION)
            .await
            .map_err(explain)?;
        connection
            .close()
            .await
            .map_err(|error| explain(error.into()))
    }

    /// The version of the schema that [`migrate`](Self::migrate) makes.
    #[must_use]
    pub fn newest_schema() -> u32 {
        schema::newest()
    }

    /// The version that the schema has; `None` where there is none, or an empty one. Nothing is created.
    ///
    /// # Errors
    ///
    /// As for [`migrate`](Self::migrate).
    ///
    /// # Cancellation
    ///
    /// A dropped question leaves nothing behind.
    pub async fn schema_version(config: &PostgresConfig) -> Result<Option<u32>, StateStoreError> {
        const OPERATION: &str = "schema_version";
        let options = options(config, OPERATION)?;
        let explain = |error: Unusable| explain(error, OPERATION, &config.schema);
        let (mut connection, _server) = connect(&options, config, OPERATION).await?;
        let found = schema::found(&mut connection, &config.schema)
            .await
            .map_err(explain)?;
        connection
            .close()
            .await
            .map_err(|error| explain(error.into()))?;
        Ok(found)
    }

    /// Removes the schema with everything in it: all runs of a tenant, or what a test leaves behind. A schema that is not
    /// there, or in which nothing was made yet, is left as it is.
    ///
    /// # Errors
    ///
    /// `Rejected` where the schema belongs to something else and where the server refuses the user; `Unavailable` where it
    /// cannot be reached, or others hold on to the schema for too long.
    ///
    /// # Cancellation
    ///
    /// A dropped removal has happened or not; repeating it is harmless.
    pub async fn remove(config: &PostgresConfig) -> Result<(), StateStoreError> {
        const OPERATION: &str = "remove";
        let options = options(config, OPERATION)?;
        let explain = |error: Unusable| explain(error, OPERATION, &config.schema);
        let (mut connection, _server) = connect(&options, config, OPERATION).await?;
        schema::remove(&mut connection, &config.schema)
            .await
            .map_err(explain)?;
        connection
            .close()
            .await
            .map_err(|error| explain(error.into()))
    }

    /// Opens a migrated database. Due times, leases and polls follow the database's clock; `clock` only tells how time
    /// passes here between two answers, so the clocks of several processes need not agree.
    ///
    /// Must be called within a Tokio runtime with I/O and time enabled. The connections, and the tasks that keep them
    /// busy, live on it; calls may come from any other.
    ///
    /// # Errors
    ///
    /// As for [`migrate`](Self::migrate); `Rejected` where the schema is not migrated, too.
    ///
    /// # Cancellation
    ///
    /// A dropped `connect` leaves nothing behind.
    pub async fn connect(
        config: PostgresConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StateStoreError> {
        const OPERATION: &str = "connect";
        let options = options(&config, OPERATION)?;
        let failed = |error: sqlx::Error| explain(error.into(), OPERATION, &config.schema);
        let (mut connection, server) = connect(&options, &config, OPERATION).await?;
        schema::verify(&mut connection, &config.schema)
            .await
            .map_err(|error| explain(error, OPERATION, &config.schema))?;
        if server.durability < Durability::OsCrash {
            tracing::warn!("the server acknowledges commits that are not on its disk yet");
        }
        let asked = clock.now();
        let row = sqlx::query("SELECT seaworthy_now(), nextval('handles')")
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
        let now = Timestamp::from_millis(row.try_get(0).map_err(failed)?);
        let handle: i64 = row.try_get(1).map_err(failed)?;
        let answered = clock.now();
        connection.close().await.map_err(failed)?;
        let database = Database {
            pool: pool(&config, options, server),
            home: Handle::current(),
            patience: config.statement_timeout.saturating_add(SLACK),
        };
        // Short enough for a channel's name: the schema's was checked.
        let channel = format!("seaworthy_{}", config.schema);
        let clock = Arc::new(DatabaseClock::new(clock, asked, now, answered));
        Ok(Self {
            shared: Arc::new(Shared {
                writer: Writer::start(&database, &config),
                settler: Settler::start(&database, &clock),
                announcer: Announcer::start(&database, channel.clone(), handle),
                database,
                clock,
                hints: Hints::default(),
                durability: server.durability,
                listening: Mutex::default(),
                channel,
                handle,
            }),
        })
    }

    /// The state store in this database.
    #[must_use]
    pub fn state_store(&self) -> Arc<dyn StateStore> {
        Arc::new(PostgresStateStore(Arc::clone(&self.shared)))
    }

    /// The durable runtime in this database.
    #[must_use]
    pub fn durable_runtime(&self) -> Arc<dyn DurableRuntime> {
        Arc::new(PostgresRuntime::new(Arc::clone(&self.shared)))
    }

    /// The checkpoint store in this database.
    #[must_use]
    pub fn checkpoint_store(&self) -> Arc<dyn CheckpointStore> {
        Arc::new(PostgresCheckpointStore(Arc::clone(&self.shared)))
    }

    /// Sends the appends that wait and closes every connection. Calls on ports of this database fail from then on.
    /// Dropping all of them instead does the same in the background.
    pub async fn close(&self) {
        self.shared.writer.close().await;
        self.shared.database.pool.close().await;
    }
}

fn options(
    config: &PostgresConfig,
    operation: &'static str,
) -> Result<PgConnectOptions, StateStoreError> {
    if !config.has_valid_schema() {
        return Err(refusal(
            operation,
            "the schema's name must be of a-z, 0-9 and _, at most 50, and begin with no digit and not with pg_",
        ));
    }
    settings::options(config).map_err(|_words_of_the_url| {
        refusal(
            operation,
            "the URL cannot be used; it is of the form postgres://user:password@host:port/database",
        )
    })
}

/// A connection of its own to a server that is fit.
async fn connect(
    options: &PgConnectOptions,
    config: &PostgresConfig,
    operation: &'static str,
) -> Result<(PgConnection, Server), StateStoreError> {
    let failed = |error| state_store(operation, Failure::without_effect(error));
    let connecting = async {
        let mut connection = options.connect().await.map_err(failed)?;
        let server = settings::read_back(&mut connection).await.map_err(failed)?;
        Ok((connection, server))
    };
    let (connection, server) = tokio::time::timeout(config.acquire_timeout, connecting)
        .await
        .unwrap_or_else(|_late| Err(state_store(operation, Failure::of(Class::Broken))))?;
    match server.check() {
        Ok(server) => Ok((connection, server)),
        Err(Unfit::TooOld) => Err(refusal(
            operation,
            "the server is too old: PostgreSQL 15 is needed at least",
        )),
        Err(Unfit::NotUtf8) => Err(refusal(operation, "the database's encoding is not UTF8")),
        Err(Unfit::ReadOnly) => Err(state_store(operation, Failure::of(Class::NotServing))),
    }
}

fn pool(config: &PostgresConfig, options: PgConnectOptions, promised: Server) -> PgPool {
    PgPoolOptions::new()
        .min_connections(0)
        .max_connections(config.max_connections())
        .acquire_timeout(config.acquire_timeout)
        .max_lifetime(LIFETIME)
        .idle_timeout(IDLE)
        .test_before_acquire(false)
        // Trying a connection is a round trip. One that was in use a moment ago is not tried.
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for < FRESH {
                    return Ok(true);
                }
                let trial = tokio::time::timeout(TRIAL, connection.ping());
                Ok(matches!(trial.await, Ok(Ok(()))))
            })
        })
        // After a failover the same address may lead to a server that is a standby, or promises less.
        .after_connect(move |connection, _meta| {
            Box::pin(async move {
                let server = settings::read_back(connection).await?;
                match server.check() {
                    Ok(server) if server.durability >= promised.durability => Ok(()),
                    _ => Err(sqlx::Error::Io(std::io::Error::other(
                        "the server is not what it was: a standby, or one whose commits promise less",
                    ))),
                }
            })
        })
        .connect_lazy_with(options)
}

fn refusal(operation: &'static str, why: impl Into<String>) -> StateStoreError {
    StateStoreError::new(Kind::Rejected, ADAPTER, operation, why)
}

fn explain(error: Unusable, operation: &'static str, schema: &str) -> StateStoreError {
    let why = match error {
        Unusable::Foreign => "it holds something else; choose another schema",
        Unusable::Newer => "it comes from a newer version of this program",
        Unusable::NotMigrated => "it has not been migrated to this version",
        Unusable::Changed => "it was not made by the migrations that this version knows",
        Unusable::Failed(error) => return state_store(operation, Failure::without_effect(error)),
    };
    refusal(operation, format!("schema {schema}: {why}"))
}

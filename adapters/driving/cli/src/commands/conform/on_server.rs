//! Harnesses of a schema in a database server, as the stack on `postgres://…` uses one.

#![expect(
    clippy::expect_used,
    reason = "a harness cannot fail; the suite counts its panic as a failed scenario"
)]

use std::ffi::{OsStr, OsString};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use seaworthy::ports::Timestamp;
use seaworthy::ports::async_trait;
use seaworthy::ports::checkpoint_store::CheckpointStore;
use seaworthy::ports::clock::Clock;
use seaworthy::ports::durable_runtime::DurableRuntime;
use seaworthy::ports::entropy::Entropy as _;
use seaworthy::ports::state_store::{StateStore, StateStoreError};
use seaworthy::postgres::{Postgres, PostgresConfig};
use seaworthy::system::{SystemClock, SystemEntropy};
use seaworthy_contract::{
    checkpoint_store as ck, durable_runtime as dr, process, state_store as ss,
};

use crate::args::ConformPort;
use crate::error::CliError;
use crate::postgres_url::PostgresUrl;

/// What the names of all schemas begin with.
const PREFIX: &str = "seaworthy_conform_";
/// Scenarios are many, and each needs little.
const CONNECTIONS: u32 = 6;
/// Time cannot be moved from here, so that leases have to be waited for. The suite takes those below ten seconds for short,
/// and has to prepare a thousand runs within one.
const LEASE: Duration = Duration::from_secs(9);
/// How often a schema is tried to be removed, which a process that was killed may still hold on to.
const TRIES: u32 = 10;

/// Where schemas of scenarios are made. A harness starts itself, so it cannot be handed to it.
static PLACE: OnceLock<Place> = OnceLock::new();

/// A database, and which schemas were made in it.
struct Place {
    url: String,
    nonce: u64,
    number: AtomicU64,
    left: Mutex<Vec<String>>,
}

impl Place {
    fn left(&self) -> MutexGuard<'_, Vec<String>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets scenarios make their schemas in the database of `url`, if they can be made there.
pub(super) async fn prepare(url: &PostgresUrl) -> Result<(), CliError> {
    let cannot = |why: String| CliError::Stack {
        part: "a schema beside the one that was named",
        why,
    };
    let entropy = SystemEntropy::new().map_err(|error| cannot(error.to_string()))?;
    let nonce = u64::try_from(entropy.bits() & u128::from(u64::MAX)).unwrap_or_default();
    let place = PLACE.get_or_init(|| Place {
        url: url.for_driver().expose().to_owned(),
        nonce,
        number: AtomicU64::new(0),
        left: Mutex::default(),
    });
    let trial = named(place);
    let migrated = Postgres::migrate(&config(&place.url, &trial)).await;
    migrated.map_err(|error| cannot(error.to_string()))
}

/// Removes all schemas that scenarios have left, and says which are still there.
pub(super) async fn clear() -> Vec<String> {
    let Some(place) = PLACE.get() else {
        return Vec::new();
    };
    let schemas = std::mem::take(&mut *place.left());
    let mut left = Vec::new();
    for schema in schemas {
        if removed(&place.url, &schema).await.is_err() {
            left.push(schema);
        }
    }
    left
}

async fn removed(url: &str, schema: &str) -> Result<(), StateStoreError> {
    for _another in 1..TRIES {
        if Postgres::remove(&config(url, schema)).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Postgres::remove(&config(url, schema)).await
}

/// A name that nobody else has, written down for the end.
fn named(place: &Place) -> String {
    let number = place.number.fetch_add(1, Ordering::Relaxed);
    let name = format!("{PREFIX}{:016x}_{number}", place.nonce);
    place.left().push(name.clone());
    name
}

fn config(url: &str, schema: &str) -> PostgresConfig {
    PostgresConfig::new(url)
        .with_schema(schema)
        .with_connections(CONNECTIONS)
}

async fn opened(url: &str, schema: &str) -> Postgres {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let postgres = Postgres::connect(config(url, schema), clock).await;
    postgres.expect("a migrated schema")
}

/// Where another process opens its store: in its environment, because the URL may hold a password.
async fn at(place: OsString) -> Postgres {
    let place = place.to_str().expect("a URL and a schema");
    let (schema, url) = place.split_once(' ').expect("a URL and a schema");
    opened(url, schema).await
}

/// What another process opens in the place that it is told.
pub(super) async fn logs(place: OsString) -> Arc<dyn StateStore> {
    at(place).await.state_store()
}

/// The same, for checkpoints.
pub(super) async fn checkpoints(place: OsString) -> Arc<dyn CheckpointStore> {
    at(place).await.checkpoint_store()
}

/// The same, for runs.
pub(super) async fn runs(place: OsString) -> Arc<dyn DurableRuntime> {
    at(place).await.durable_runtime()
}

/// Whether `place` is one on a server, and not a folder.
pub(super) fn is_meant(place: &OsStr) -> bool {
    place.to_string_lossy().starts_with(PREFIX)
}

/// A schema of a scenario's own, with every handle on it.
struct Schema {
    url: String,
    name: String,
    handles: Mutex<Vec<Postgres>>,
}

impl Schema {
    async fn new() -> Self {
        let place = PLACE.get().expect("a database that was prepared");
        let name = named(place);
        let migrated = Postgres::migrate(&config(&place.url, &name)).await;
        migrated.expect("a fresh schema");
        let schema = Self {
            url: place.url.clone(),
            name,
            handles: Mutex::default(),
        };
        schema.open().await;
        schema
    }

    async fn open(&self) {
        let postgres = opened(&self.url, &self.name).await;
        self.handles().push(postgres);
    }

    /// A part of the newest handle.
    fn newest<T>(&self, part: impl FnOnce(&Postgres) -> T) -> T {
        part(self.handles().last().expect("a handle"))
    }

    /// Drops all handles, and closes none in order.
    fn forget(&self) {
        self.handles().clear();
    }

    fn handles(&self) -> MutexGuard<'_, Vec<Postgres>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn another_process(&self, port: ConformPort) -> Option<Command> {
        let place = format!("{} {}", self.name, self.url);
        process::this_program(["conform-process", port.name()], place)
    }
}

pub(super) struct Logs {
    schema: Schema,
    store: Arc<dyn StateStore>,
}

#[async_trait]
impl ss::Harness for Logs {
    async fn start() -> Self {
        let schema = Schema::new().await;
        let store = schema.newest(Postgres::state_store);
        Self { schema, store }
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::clone(&self.store)
    }

    async fn reopen(&self) -> Option<Arc<dyn StateStore>> {
        self.schema.forget();
        self.second_handle().await
    }

    async fn second_handle(&self) -> Option<Arc<dyn StateStore>> {
        self.schema.open().await;
        Some(self.schema.newest(Postgres::state_store))
    }

    fn another_process(&self) -> Option<Command> {
        self.schema.another_process(ConformPort::StateStore)
    }
}

pub(super) struct Checkpoints(Schema);

#[async_trait]
impl ck::Harness for Checkpoints {
    async fn start() -> Self {
        Self(Schema::new().await)
    }

    fn store(&self) -> Arc<dyn CheckpointStore> {
        self.0.newest(Postgres::checkpoint_store)
    }

    async fn reopen(&self) -> Option<Arc<dyn CheckpointStore>> {
        self.0.forget();
        self.0.open().await;
        Some(self.0.newest(Postgres::checkpoint_store))
    }

    fn another_process(&self) -> Option<Command> {
        self.0.another_process(ConformPort::CheckpointStore)
    }
}

/// On the server's own time, which passes as it does.
pub(super) struct Runs {
    schema: Schema,
    runtime: Mutex<Arc<dyn DurableRuntime>>,
}

#[async_trait]
impl dr::Harness for Runs {
    async fn start() -> Self {
        let schema = Schema::new().await;
        let runtime = Mutex::new(schema.newest(Postgres::durable_runtime));
        Self { schema, runtime }
    }

    fn runtime(&self) -> Arc<dyn DurableRuntime> {
        Arc::clone(&self.runtime.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> Timestamp {
        SystemClock::new().now()
    }

    async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    fn lease(&self) -> Duration {
        LEASE
    }

    async fn second_handle(&self) -> Option<Arc<dyn DurableRuntime>> {
        self.schema.open().await;
        Some(self.schema.newest(Postgres::durable_runtime))
    }

    async fn reopen(&self) -> Option<Arc<dyn DurableRuntime>> {
        self.schema.forget();
        let runtime = self.second_handle().await?;
        *self.runtime.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&runtime);
        Some(runtime)
    }

    async fn handle_on_machine_time(&self) -> Option<Arc<dyn DurableRuntime>> {
        self.second_handle().await
    }

    fn another_process(&self) -> Option<Command> {
        self.schema.another_process(ConformPort::DurableRuntime)
    }
}

//! What the tests of this crate share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use rusqlite::Connection;
use seaworthy_fakes::FakeClock;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Next, Scope, Served, Signal, Submit, Then, Turn, Worker,
};
use seaworthy_ports::state_store::{Append, Expected, Labels, Seq, StateStore, StateStoreError};
use seaworthy_ports::{
    AdapterInfo, AppendId, Latch, LogId, LogKind, LogName, QueueName, RunId, SignalId, Timestamp,
    WorkerId, async_trait,
};
use seaworthy_sqlite::{Sqlite, SqliteConfig};
use tempfile::TempDir;

/// Nothing a test waits for takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const CHILD: &str = "SEAWORTHY_SQLITE_TEST_DATABASE";

/// The time of this machine.
#[derive(Debug)]
pub(crate) struct RealClock;

fn info() -> AdapterInfo {
    AdapterInfo {
        id: "test",
        package: "test",
        version: "0",
    }
}

#[async_trait]
impl Clock for RealClock {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn now(&self) -> Timestamp {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        Timestamp::from_millis(i64::try_from(now.as_millis()).expect("not so late"))
    }

    async fn sleep_until(&self, until: Timestamp) {
        while self.now() < until {
            tokio::time::sleep(until.since(self.now()).max(Duration::from_millis(1))).await;
        }
    }
}

/// A migrated database in a folder of its own.
pub(crate) struct Database {
    pub(crate) folder: TempDir,
    pub(crate) config: SqliteConfig,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = SqliteConfig::new(folder.path().join("state.db"));
        Sqlite::migrate(&config).await.expect("migrated");
        Self { folder, config }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.config.path.clone()
    }

    pub(crate) async fn open(&self) -> Sqlite {
        self.connect(Arc::new(RealClock)).await
    }

    pub(crate) async fn open_with(&self, clock: &FakeClock) -> Sqlite {
        self.connect(Arc::new(clock.clone())).await
    }

    async fn connect(&self, clock: Arc<dyn Clock>) -> Sqlite {
        Sqlite::connect(self.config.clone(), clock)
            .await
            .expect("connected")
    }

    /// A connection that knows nothing of the adapter.
    pub(crate) fn raw(&self) -> Connection {
        raw(&self.config.path)
    }
}

pub(crate) fn raw(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a raw connection");
    let patience = connection.busy_timeout(Duration::from_secs(10));
    patience.expect("a busy timeout");
    connection
}

/// Executes one statement, and reads its rows if it has any. Returns how many rows it changed.
pub(crate) fn sql(connection: &Connection, statement: &str) -> u64 {
    let mut statement = connection.prepare(statement).expect("a statement");
    let mut rows = statement.query([]).expect("a statement that works");
    while rows.next().expect("a statement that works").is_some() {}
    drop(rows);
    drop(statement);
    connection.changes()
}

pub(crate) fn count(connection: &Connection, question: &str) -> i64 {
    connection
        .query_row(question, [], |row| row.get(0))
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

pub(crate) fn run_id(name: &str) -> RunId {
    RunId::new(name).expect("a run id")
}

pub(crate) fn submit(name: &str) -> Submit {
    Submit {
        run: run_id(name),
        session: None,
        queue: QueueName::new("default").expect("a queue"),
        not_before: None,
    }
}

pub(crate) fn signal(id: &str) -> Signal {
    Signal {
        id: SignalId::new(id).expect("a signal id"),
        payload: Bytes::copy_from_slice(id.as_bytes()),
    }
}

pub(crate) fn worker(name: &str, scope: Scope) -> Worker {
    Worker {
        id: WorkerId::new(name).expect("a worker id"),
        scope,
        concurrency: 4,
        lease: Duration::from_secs(30),
        poll: Duration::from_millis(500),
        drain: Duration::from_secs(5),
    }
}

pub(crate) fn next(then: Then) -> Next {
    Next {
        consumed: Vec::new(),
        then,
    }
}

pub(crate) fn park() -> Then {
    Then::Park { wake_at: None }
}

type Answer = Pin<Box<dyn Future<Output = Next> + Send>>;

/// An [`Advance`] made of a closure.
pub(crate) struct Does<F>(pub(crate) F);

#[async_trait]
impl<F: Fn(Turn) -> Answer + Send + Sync> Advance for Does<F> {
    async fn advance(&self, turn: Turn) -> Next {
        (self.0)(turn).await
    }
}

pub(crate) fn does<A, F>(advance: F) -> Arc<dyn Advance>
where
    A: Future<Output = Next> + Send + 'static,
    F: Fn(Turn) -> A + Send + Sync + 'static,
{
    Arc::new(Does(move |turn| -> Answer { Box::pin(advance(turn)) }))
}

/// A worker in a task of its own.
pub(crate) struct Serving {
    stop: seaworthy_ports::LatchSetter,
    task: tokio::task::JoinHandle<Served>,
}

impl Serving {
    pub(crate) fn start(
        runtime: &Arc<dyn DurableRuntime>,
        worker: Worker,
        advance: Arc<dyn Advance>,
    ) -> Self {
        let (stop, stopped) = Latch::new();
        let runtime = Arc::clone(runtime);
        let task = tokio::spawn(async move {
            runtime
                .serve(worker, advance, stopped)
                .await
                .expect("served")
        });
        Self { stop, task }
    }

    pub(crate) fn request_stop(&self) {
        self.stop.set();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    pub(crate) async fn end(self) -> Served {
        within(self.task).await.expect("no panic")
    }

    pub(crate) async fn stop(self) -> Served {
        self.request_stop();
        self.end().await
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it comes to an end")
}

/// Waits for something that other tasks bring about.
pub(crate) async fn until<F, C>(mut condition: C)
where
    C: FnMut() -> F,
    F: Future<Output = bool>,
{
    within(async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// This test binary once more, running one of its ignored tests on the database.
pub(crate) fn child(test: &str, database: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env(CHILD, database)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child")
}

pub(crate) fn child_database() -> PathBuf {
    PathBuf::from(std::env::var_os(CHILD).expect("started by another test"))
}

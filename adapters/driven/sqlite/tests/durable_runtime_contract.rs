//! The contract suite of the durable runtime, on a clock that the suite moves; with other processes on this machine's.

#![expect(clippy::expect_used, reason = "what cannot be built is a failed test")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_contract::durable_runtime::Harness;
use seaworthy_contract::{Outcome, durable_runtime as dr, process};
use seaworthy_fakes::FakeClock;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::DurableRuntime;
use seaworthy_ports::{Timestamp, async_trait};
use seaworthy_sqlite::{Sqlite, SqliteConfig};
use support::RealClock;
use tempfile::TempDir;

/// `TINY`: every write has a transaction of its own. Connections that read are as many as usual, because the thread of a
/// worker that a scenario blocks keeps what it holds, and what it was promised.
struct Runs<const TINY: bool> {
    folder: TempDir,
    clock: FakeClock,
    opened: Mutex<Vec<Sqlite>>,
    runtime: Mutex<Arc<dyn DurableRuntime>>,
}

impl<const TINY: bool> Runs<TINY> {
    async fn open(folder: &Path, clock: Arc<dyn Clock>) -> Sqlite {
        let mut config = SqliteConfig::new(folder.join("state.db"));
        if TINY {
            config = config.with_max_group(1);
        }
        Sqlite::connect(config, clock)
            .await
            .expect("a migrated database")
    }

    async fn another_handle(&self, clock: Arc<dyn Clock>) -> Arc<dyn DurableRuntime> {
        let sqlite = Self::open(self.folder.path(), clock).await;
        let runtime = sqlite.durable_runtime();
        self.opened.lock().expect("no panic").push(sqlite);
        runtime
    }
}

#[async_trait]
impl<const TINY: bool> Harness for Runs<TINY> {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let clock = FakeClock::new();
        Sqlite::migrate(&SqliteConfig::new(folder.path().join("state.db")))
            .await
            .expect("a fresh database");
        let sqlite = Self::open(folder.path(), Arc::new(clock.clone())).await;
        let runtime = Mutex::new(sqlite.durable_runtime());
        let opened = Mutex::new(vec![sqlite]);
        Self {
            folder,
            clock,
            opened,
            runtime,
        }
    }

    fn runtime(&self) -> Arc<dyn DurableRuntime> {
        Arc::clone(&self.runtime.lock().expect("no panic"))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn second_handle(&self) -> Option<Arc<dyn DurableRuntime>> {
        Some(self.another_handle(Arc::new(self.clock.clone())).await)
    }

    async fn reopen(&self) -> Option<Arc<dyn DurableRuntime>> {
        self.opened.lock().expect("no panic").clear();
        let runtime = self.second_handle().await?;
        *self.runtime.lock().expect("no panic") = Arc::clone(&runtime);
        Some(runtime)
    }

    async fn hold_up(&self) -> Option<Box<dyn Send>> {
        let connection = support::raw(&self.folder.path().join("state.db"));
        support::sql(&connection, "BEGIN IMMEDIATE");
        Some(Box::new(connection))
    }

    async fn handle_on_machine_time(&self) -> Option<Arc<dyn DurableRuntime>> {
        Some(self.another_handle(Arc::new(RealClock)).await)
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_process_that_serves_runs", self.folder.path())
    }
}

seaworthy_contract::durable_runtime_contract! {
    harness: Runs<false>,
    not_checkable: {
        clocks_of_workers_that_are_off_change_nothing: "all workers share the one clock they were given",
    }
}

seaworthy_contract::durable_runtime_contract! {
    harness: Runs<true>,
    profile: many_threads,
    not_checkable: {
        clocks_of_workers_that_are_off_change_nothing: "all workers share the one clock they were given",
    }
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_that_serves_runs() -> Outcome {
    dr::work(async |folder| {
        let sqlite = Runs::<false>::open(Path::new(&folder), Arc::new(RealClock)).await;
        sqlite.durable_runtime()
    })
}

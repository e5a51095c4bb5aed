//! The contract suites of state store and checkpoint store.

#![expect(clippy::expect_used, reason = "what cannot be built is a failed test")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use seaworthy_contract::state_store::Harness;
use seaworthy_contract::{Outcome, checkpoint_store as ck, process, state_store as ss};
use seaworthy_ports::checkpoint_store::CheckpointStore;
use seaworthy_ports::state_store::StateStore;
use seaworthy_ports::{LogId, async_trait};
use seaworthy_sqlite::{Sqlite, SqliteConfig};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use support::RealClock;
use tempfile::TempDir;

struct OnSqlite {
    folder: TempDir,
    opened: Mutex<Vec<Sqlite>>,
    store: Arc<dyn StateStore>,
}

impl OnSqlite {
    fn config(folder: &Path) -> SqliteConfig {
        SqliteConfig::new(folder.join("state.db"))
    }

    async fn open(folder: &Path) -> Sqlite {
        Sqlite::connect(Self::config(folder), Arc::new(RealClock))
            .await
            .expect("a migrated database")
    }
}

#[async_trait]
impl Harness for OnSqlite {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        Sqlite::migrate(&Self::config(folder.path()))
            .await
            .expect("a fresh database");
        let sqlite = Self::open(folder.path()).await;
        let store = sqlite.state_store();
        Self {
            folder,
            opened: Mutex::new(vec![sqlite]),
            store,
        }
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::clone(&self.store)
    }

    async fn reopen(&self) -> Option<Arc<dyn StateStore>> {
        self.opened.lock().expect("no panic").clear();
        self.second_handle().await
    }

    async fn second_handle(&self) -> Option<Arc<dyn StateStore>> {
        let sqlite = Self::open(self.folder.path()).await;
        let store = sqlite.state_store();
        self.opened.lock().expect("no panic").push(sqlite);
        Some(store)
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_process_that_writes_logs", self.folder.path())
    }

    async fn corrupt(&self, log: &LogId) -> bool {
        let mut connection = SqliteConnectOptions::new()
            .filename(self.folder.path().join("state.db"))
            .connect()
            .await
            .expect("the database");
        let damaged = sqlx::query(
            "DELETE FROM appends WHERE id IN (SELECT max(id) FROM appends WHERE log = \
             (SELECT id FROM logs WHERE kind = ?1 AND name = ?2))",
        )
        .bind(log.kind.as_str().to_owned())
        .bind(log.name.as_str().to_owned())
        .execute(&mut connection)
        .await
        .expect("a deletion");
        damaged.rows_affected() == 1
    }
}

seaworthy_contract::state_store_contract! {
    harness: OnSqlite,
    not_checkable: {
        watching_is_there_where_it_is_declared_and_returns_in_time: "it does not declare watch",
        a_lost_reply_is_resolved_by_repeating_the_append: "a file in the same process has no reply to lose",
    }
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_that_writes_logs() -> Outcome {
    ss::work(async |folder| OnSqlite::open(Path::new(&folder)).await.state_store())
}

struct Checkpoints {
    folder: TempDir,
    opened: Sqlite,
}

#[async_trait]
impl ck::Harness for Checkpoints {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        Sqlite::migrate(&OnSqlite::config(folder.path()))
            .await
            .expect("a fresh database");
        let opened = OnSqlite::open(folder.path()).await;
        Self { folder, opened }
    }

    fn store(&self) -> Arc<dyn CheckpointStore> {
        self.opened.checkpoint_store()
    }

    async fn reopen(&self) -> Option<Arc<dyn CheckpointStore>> {
        Some(OnSqlite::open(self.folder.path()).await.checkpoint_store())
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_process_that_writes_checkpoints", self.folder.path())
    }
}

seaworthy_contract::checkpoint_store_contract! { harness: Checkpoints }

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_that_writes_checkpoints() -> Outcome {
    ck::work(async |folder| {
        let sqlite = OnSqlite::open(Path::new(&folder)).await;
        sqlite.checkpoint_store()
    })
}

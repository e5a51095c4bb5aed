//! The contract suites of state store and checkpoint store.

#![expect(clippy::expect_used, reason = "what cannot be built is a failed test")]

mod support;

use std::sync::{Arc, Mutex};

use seaworthy_contract::state_store::Harness;
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
    fn config(folder: &TempDir) -> SqliteConfig {
        SqliteConfig::new(folder.path().join("state.db"))
    }

    async fn open(folder: &TempDir) -> Sqlite {
        Sqlite::connect(Self::config(folder), Arc::new(RealClock))
            .await
            .expect("a migrated database")
    }
}

#[async_trait]
impl Harness for OnSqlite {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        Sqlite::migrate(&Self::config(&folder))
            .await
            .expect("a fresh database");
        let sqlite = Self::open(&folder).await;
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
        let sqlite = Self::open(&self.folder).await;
        let store = sqlite.state_store();
        self.opened.lock().expect("no panic").push(sqlite);
        Some(store)
    }

    async fn corrupt(&self, log: &LogId) -> bool {
        let mut connection = SqliteConnectOptions::new()
            .filename(self.folder.path().join("state.db"))
            .connect()
            .await
            .expect("the database");
        let damaged = sqlx::query(
            "DELETE FROM records WHERE key IN (SELECT max(key) FROM records WHERE key >> 32 = \
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

struct Checkpoints {
    folder: TempDir,
    opened: Sqlite,
}

#[async_trait]
impl seaworthy_contract::checkpoint_store::Harness for Checkpoints {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        Sqlite::migrate(&OnSqlite::config(&folder))
            .await
            .expect("a fresh database");
        let opened = OnSqlite::open(&folder).await;
        Self { folder, opened }
    }

    fn store(&self) -> Arc<dyn CheckpointStore> {
        self.opened.checkpoint_store()
    }

    async fn reopen(&self) -> Option<Arc<dyn CheckpointStore>> {
        Some(OnSqlite::open(&self.folder).await.checkpoint_store())
    }
}

seaworthy_contract::checkpoint_store_contract! { harness: Checkpoints }

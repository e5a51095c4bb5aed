//! The contract suites of state store and checkpoint store.

#![expect(clippy::expect_used, reason = "what cannot be built is a failed test")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use seaworthy_contract::state_store::Harness;
use seaworthy_contract::{Outcome, checkpoint_store as ck, process, state_store as ss};
use seaworthy_ports::checkpoint_store::CheckpointStore;
use seaworthy_ports::state_store::StateStore;
use seaworthy_ports::{LogId, async_trait};
use seaworthy_sqlite::{Sqlite, SqliteConfig};
use support::RealClock;
use tempfile::TempDir;

/// `TINY`: every write has a transaction of its own, one head is known and one connection reads.
struct OnSqlite<const TINY: bool> {
    folder: TempDir,
    opened: Mutex<Vec<Sqlite>>,
    store: Arc<dyn StateStore>,
}

impl<const TINY: bool> OnSqlite<TINY> {
    fn config(folder: &Path) -> SqliteConfig {
        let config = SqliteConfig::new(folder.join("state.db"));
        if TINY {
            config.with_max_group(1).with_max_heads(1).with_readers(1)
        } else {
            config
        }
    }

    async fn try_open(config: SqliteConfig) -> ss::Opened {
        let sqlite = Sqlite::connect(config, Arc::new(RealClock)).await?;
        Ok(sqlite.state_store())
    }

    /// The files as another machine would find them if this one lost its memory now.
    fn crash_image(&self) -> PathBuf {
        let image = self.folder.path().join("image");
        std::fs::create_dir(&image).expect("a folder");
        for name in ["state.db", "state.db-wal"] {
            let from = self.folder.path().join(name);
            if from.exists() {
                std::fs::copy(from, image.join(name)).expect("a copy");
            }
        }
        image
    }

    async fn open(folder: &Path) -> Sqlite {
        Sqlite::connect(Self::config(folder), Arc::new(RealClock))
            .await
            .expect("a migrated database")
    }
}

#[async_trait]
impl<const TINY: bool> Harness for OnSqlite<TINY> {
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

    fn makers(&self) -> Option<Command> {
        let place = self.folder.path().join("not/made/yet");
        process::this_test("a_process_that_makes_a_store", place)
    }

    async fn without_room(&self) -> Option<Arc<dyn StateStore>> {
        let config = Self::config(self.folder.path()).with_max_size(3 * 1024 * 1024);
        Some(Self::try_open(config).await.expect("a store without room"))
    }

    async fn open_as_if_newer(&self) -> Option<ss::Opened> {
        let raw = support::raw(&self.folder.path().join("state.db"));
        support::sql(&raw, "PRAGMA user_version = 999");
        Some(Self::try_open(Self::config(self.folder.path())).await)
    }

    async fn reopen_after_a_torn_write(&self) -> Option<ss::Opened> {
        const PAGE_AND_HEADER: usize = 4_096 + 24;
        let image = self.crash_image();
        let path = image.join("state.db-wal");
        let mut log = std::fs::read(&path).expect("a write-ahead log");
        let last_frame = log.len().saturating_sub(PAGE_AND_HEADER);
        let torn = log.get(last_frame..last_frame + 2_000)?.to_vec();
        log.extend(torn);
        std::fs::write(&path, log).expect("a torn log");
        Some(Self::try_open(Self::config(&image)).await)
    }

    /// Of the main file, which tells how long it is: a write-ahead log that lost its last commits looks like one that
    /// never had them.
    async fn reopen_after_losing_the_end(&self) -> Option<ss::Opened> {
        let raw = support::raw(&self.folder.path().join("state.db"));
        support::sql(&raw, "PRAGMA wal_checkpoint(TRUNCATE)");
        let image = self.crash_image();
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(image.join("state.db"))
            .expect("the copy");
        let size = file.metadata().expect("its size").len();
        file.set_len(size / 3 * 2).expect("a shorter file");
        Some(Self::try_open(Self::config(&image)).await)
    }

    async fn corrupt(&self, log: &LogId) -> bool {
        let connection = support::raw(&self.folder.path().join("state.db"));
        let damaged = connection
            .execute(
                "DELETE FROM appends WHERE id IN (SELECT max(id) FROM appends WHERE log = \
                 (SELECT id FROM logs WHERE kind = ?1 AND name = ?2))",
                [log.kind.as_str(), log.name.as_str()],
            )
            .expect("a deletion");
        damaged == 1
    }
}

seaworthy_contract::state_store_contract! {
    harness: OnSqlite<false>,
    not_checkable: {
        watching_is_there_where_it_is_declared_and_returns_in_time: "it does not declare watch",
    }
}

seaworthy_contract::state_store_contract! {
    harness: OnSqlite<true>,
    profile: one_thread,
    not_checkable: {
        watching_is_there_where_it_is_declared_and_returns_in_time: "it does not declare watch",
    }
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_that_writes_logs() -> Outcome {
    ss::work(async |folder| {
        let sqlite = OnSqlite::<false>::open(Path::new(&folder)).await;
        sqlite.state_store()
    })
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_that_makes_a_store() -> Outcome {
    ss::work(async |folder| {
        let folder = Path::new(&folder);
        Sqlite::migrate(&OnSqlite::<false>::config(folder))
            .await
            .expect("a fresh database");
        OnSqlite::<false>::open(folder).await.state_store()
    })
}

struct Checkpoints {
    folder: TempDir,
    opened: Sqlite,
}

#[async_trait]
impl ck::Harness for Checkpoints {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        Sqlite::migrate(&OnSqlite::<false>::config(folder.path()))
            .await
            .expect("a fresh database");
        let opened = OnSqlite::<false>::open(folder.path()).await;
        Self { folder, opened }
    }

    fn store(&self) -> Arc<dyn CheckpointStore> {
        self.opened.checkpoint_store()
    }

    async fn reopen(&self) -> Option<Arc<dyn CheckpointStore>> {
        Some(
            OnSqlite::<false>::open(self.folder.path())
                .await
                .checkpoint_store(),
        )
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
        let sqlite = OnSqlite::<false>::open(Path::new(&folder)).await;
        sqlite.checkpoint_store()
    })
}

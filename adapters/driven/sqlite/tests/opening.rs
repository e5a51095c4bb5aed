//! Migrating and connecting.

#![expect(clippy::expect_used, reason = "helpers of tests fail tests")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use seaworthy_ports::LogId;
use seaworthy_ports::state_store::{Kind, Seq, StateStore};
use seaworthy_sqlite::{Sqlite, SqliteConfig};
use support::{Database, RealClock, append, raw, sql};

async fn refusal(config: &SqliteConfig) -> Kind {
    Sqlite::connect(config.clone(), Arc::new(RealClock))
        .await
        .expect_err("it must not open")
        .kind()
}

#[tokio::test]
async fn a_file_that_is_missing_or_not_migrated_is_refused_and_not_created() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig::new(folder.path().join("state.db"));
    assert_eq!(refusal(&config).await, Kind::Rejected);
    assert!(!config.path.exists());
    std::fs::write(&config.path, "").expect("an empty file");
    assert_eq!(refusal(&config).await, Kind::Rejected);
}

#[tokio::test]
async fn migrating_creates_the_folder_and_may_be_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig::new(folder.path().join("a/b/state.db"));
    Sqlite::migrate(&config).await.expect("created");
    Sqlite::migrate(&config).await.expect("repeated");
    let sqlite = Sqlite::connect(config, Arc::new(RealClock))
        .await
        .expect("connected");
    sqlite.close().await;
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_database() {
    use std::os::unix::fs::PermissionsExt as _;
    let database = Database::new().await;
    let sqlite = database.open().await;
    sqlite
        .state_store()
        .append(append("a", 0, &[b"x"]))
        .await
        .expect("appended");
    for entry in std::fs::read_dir(database.folder.path()).expect("a folder") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_migrate_and_connect_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig::new(folder.path().join("state.db"));
    let mut tasks = Vec::new();
    for number in 0..12 {
        let config = config.clone();
        tasks.push(tokio::spawn(async move {
            Sqlite::migrate(&config).await.expect("migrated");
            let sqlite = Sqlite::connect(config, Arc::new(RealClock))
                .await
                .expect("connected");
            sqlite
                .state_store()
                .append(append(&format!("log{number}"), 0, &[b"x"]))
                .await
                .expect("appended");
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let raw = raw(&config.path);
    assert_eq!(support::count(&raw, "SELECT count(*) FROM logs"), 12);
}

#[tokio::test]
async fn a_store_from_a_newer_version_is_refused_and_left_alone() {
    let database = Database::new().await;
    let raw = database.raw();
    sql(&raw, "PRAGMA user_version = 999");
    assert_eq!(refusal(&database.config).await, Kind::Rejected);
    let migrated = Sqlite::migrate(&database.config).await;
    assert_eq!(migrated.expect_err("newer").kind(), Kind::Rejected);
    assert_eq!(support::count(&raw, "PRAGMA user_version"), 999);
}

#[tokio::test]
async fn a_database_of_something_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig::new(folder.path().join("other.db"));
    let raw = raw(&config.path);
    sql(&raw, "CREATE TABLE theirs (x)");
    let migrated = Sqlite::migrate(&config).await;
    assert_eq!(migrated.expect_err("foreign").kind(), Kind::Rejected);
    assert_eq!(refusal(&config).await, Kind::Rejected);
    let mode: String = raw
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .expect("a mode");
    assert_eq!(mode, "delete");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig::new(folder.path().join("notes.txt"));
    let text = "these are notes, and they are longer than a header of a database ".repeat(20);
    std::fs::write(&config.path, &text).expect("notes");
    let migrated = Sqlite::migrate(&config).await;
    assert_eq!(migrated.expect_err("notes").kind(), Kind::Corrupt);
    assert_eq!(refusal(&config).await, Kind::Corrupt);
    assert_eq!(std::fs::read_to_string(&config.path).expect("notes"), text);
}

#[tokio::test]
async fn a_database_that_left_write_ahead_mode_is_refused() {
    let database = Database::new().await;
    let raw = database.raw();
    sql(&raw, "PRAGMA journal_mode = DELETE");
    assert_eq!(refusal(&database.config).await, Kind::Rejected);
}

#[tokio::test]
async fn a_path_that_cannot_be_a_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "").expect("a file");
    for path in [
        folder.path().to_path_buf(),
        folder.path().join("file/state.db"),
    ] {
        let config = SqliteConfig::new(path);
        assert!(Sqlite::migrate(&config).await.is_err());
        assert!(Sqlite::connect(config, Arc::new(RealClock)).await.is_err());
    }
}

async fn read(store: &dyn StateStore, log: &LogId) -> Vec<Bytes> {
    store
        .read(log, Seq::ZERO)
        .map_ok(|record| record.body)
        .try_collect()
        .await
        .expect("readable")
}

/// The file of version 1 as a program of that version left it.
async fn of_version_1() -> (tempfile::TempDir, SqliteConfig) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig::new(folder.path().join("state.db"));
    let raw = raw(&config.path);
    raw.execute_batch(include_str!("data/v1.sql"))
        .expect("the sample");
    (folder, config)
}

#[tokio::test]
async fn a_store_of_version_1_is_refused_until_it_is_migrated_and_loses_nothing() {
    let (_folder, config) = of_version_1().await;
    assert_eq!(refusal(&config).await, Kind::Rejected);
    let raw = raw(&config.path);
    let mut records = raw
        .prepare("SELECT body FROM records ORDER BY key")
        .expect("records");
    let stored: Vec<Vec<u8>> = records
        .query_map([], |row| row.get(0))
        .and_then(Iterator::collect)
        .expect("records");
    drop(records);
    drop(raw);
    Sqlite::migrate(&config).await.expect("migrated");
    let sqlite = Sqlite::connect(config.clone(), Arc::new(RealClock))
        .await
        .expect("connected");
    let store = sqlite.state_store();
    let mut kept = Vec::new();
    for (run, head, sealed) in [("ended", 16, true), ("waiting", 12, false)] {
        let log = support::log(run);
        let found = store.head(&log).await.expect("readable").expect("a head");
        assert_eq!((found.seq, found.sealed), (Seq(head), sealed));
        let bodies = read(&*store, &log).await;
        assert_eq!(bodies.len() as u64, head);
        kept.extend(bodies);
    }
    assert_eq!(kept, stored);
}

#[tokio::test]
async fn a_run_that_version_1_left_goes_on_after_migrating() {
    let (_folder, config) = of_version_1().await;
    Sqlite::migrate(&config).await.expect("migrated");
    let sqlite = Sqlite::connect(config, Arc::new(RealClock))
        .await
        .expect("connected");
    let store = sqlite.state_store();
    store
        .append(append("waiting", 12, &[b"next"]))
        .await
        .expect("appended");
    let waiting = read(&*store, &support::log("waiting")).await;
    assert_eq!(waiting.last().expect("a record"), "next");
    let sealed = store.append(append("ended", 16, &[b"late"])).await;
    assert_eq!(sealed.expect_err("sealed").kind(), Kind::Sealed);
}

/// The file of version 3, which has an index of all appends.
async fn of_version_3() -> (tempfile::TempDir, SqliteConfig) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig::new(folder.path().join("state.db"));
    let raw = raw(&config.path);
    raw.execute_batch(include_str!("data/v3.sql"))
        .expect("the sample");
    (folder, config)
}

const LONG: u64 = 235;

#[tokio::test]
async fn a_store_of_version_3_loses_nothing_and_is_read_from_any_place() {
    let (_folder, config) = of_version_3().await;
    assert_eq!(refusal(&config).await, Kind::Rejected);
    Sqlite::migrate(&config).await.expect("migrated");
    let sqlite = Sqlite::connect(config, Arc::new(RealClock))
        .await
        .expect("connected");
    let store = sqlite.state_store();
    for (name, head, sealed) in [
        ("long", LONG, false),
        ("ended", 12, true),
        ("one", 1, false),
    ] {
        let log = support::log(name);
        let found = store.head(&log).await.expect("readable").expect("a head");
        assert_eq!((found.seq, found.sealed), (Seq(head), sealed), "{name}");
        let initial = name.chars().next().expect("a letter");
        for after in 0..=head {
            let wanted: Vec<String> = (after + 1..=head)
                .map(|seq| format!("{initial}{seq}"))
                .collect();
            let records = store.read(&log, Seq(after)).map_ok(|record| record.body);
            let found: Vec<Bytes> = records.try_collect().await.expect("readable");
            assert_eq!(found, wanted, "{name} after {after}");
        }
    }
    let deleted = support::log("deleted");
    assert!(store.head(&deleted).await.expect("readable").is_none());
    let again = store.append(append("deleted", 0, &[b"x"])).await;
    assert_eq!(again.expect_err("deleted").kind(), Kind::Gone);
}

#[tokio::test]
async fn a_log_that_version_3_left_goes_on_and_can_be_deleted() {
    let (_folder, config) = of_version_3().await;
    Sqlite::migrate(&config).await.expect("migrated");
    let sqlite = Sqlite::connect(config.clone(), Arc::new(RealClock))
        .await
        .expect("connected");
    let store = sqlite.state_store();
    // What was the newest append may be repeated.
    let mut repeated = append("one", 0, &[b"o1"]);
    repeated.labels.clear();
    let repeated = store.append(repeated).await.expect("the same again");
    assert_eq!(repeated.head, Seq(1));
    for head in LONG..LONG + 100 {
        let next = append("long", head, &[format!("l{}", head + 1).as_bytes()]);
        store.append(next).await.expect("appended");
    }
    let long = support::log("long");
    let records = read(&*store, &long).await;
    let wanted: Vec<String> = (1..=LONG + 100).map(|seq| format!("l{seq}")).collect();
    assert_eq!(records, wanted);
    store.delete(&long).await.expect("deleted");
    let raw = raw(&config.path);
    for left in [
        "SELECT count(*) FROM appends WHERE log = 1",
        "SELECT count(*) FROM marks WHERE log = 1",
        "SELECT count(*) FROM heads WHERE log = 1",
        "SELECT count(*) FROM labels WHERE log = 1",
    ] {
        assert_eq!(support::count(&raw, left), 0, "{left}");
    }
    assert_eq!(read(&*store, &support::log("ended")).await.len(), 12);
}

/// The appends that lead to a place are never many, however the log has grown: between a mark and the next there are
/// fewer than a block has sequences.
#[tokio::test]
async fn a_migrated_log_has_the_marks_that_a_new_one_would_have() {
    const MARKS: &str =
        "SELECT group_concat(last) FROM marks m JOIN logs l ON l.id = m.log WHERE l.name = 'long'";
    let marks = |path: &std::path::Path| -> String {
        raw(path)
            .query_row(MARKS, [], |row| row.get(0))
            .expect("marks")
    };
    let (_folder, config) = of_version_3().await;
    Sqlite::migrate(&config).await.expect("migrated");
    let mut lasts = Vec::new();
    {
        let raw = raw(&config.path);
        let mut rows = raw
            .prepare("SELECT last FROM appends WHERE log = 1 ORDER BY last")
            .expect("appends");
        let found = rows.query_map([], |row| row.get::<_, i64>(0));
        for last in found.expect("appends") {
            lasts.push(u64::try_from(last.expect("a number")).expect("a sequence"));
        }
    }
    let database = Database::new().await;
    let store = database.open().await.state_store();
    let mut head = 0;
    for last in lasts {
        let bodies: Vec<&[u8]> = (head..last).map(|_| &b"x"[..]).collect();
        let next = append("long", head, &bodies);
        store.append(next).await.expect("appended");
        head = last;
    }
    assert_eq!(head, LONG);
    assert_eq!(marks(&config.path), marks(&database.path()));
    assert_eq!(marks(&config.path).split(',').count(), 3);
}

//! What a crash or a bad disk leaves behind: the part of SS-1 and SS-12 that only the author of the files can check.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt as _;
use plain_files::PlainFiles;
use seaworthy_ports::state_store::{
    Append, Expected, Kind, Labels, Record, Seq, StateStore as _, StateStoreError,
};
use seaworthy_ports::{AppendId, Digest, LogId, LogKind, LogName};
use tempfile::TempDir;

fn log(name: &str) -> LogId {
    LogId::new(LogKind::new("run").unwrap(), LogName::new(name).unwrap())
}

fn folder_of(root: &Path, log: &LogId) -> PathBuf {
    let name = Digest::of(log.to_string().as_bytes()).to_hex();
    root.join("logs").join(name)
}

fn append(log: &LogId, expected: Expected, body: &'static str) -> Append {
    Append {
        log: log.clone(),
        id: AppendId::new(body).unwrap(),
        expected,
        bodies: vec![body.into()],
        labels: Labels::new(),
        seal: false,
    }
}

async fn read(store: &PlainFiles, log: &LogId) -> Result<Vec<String>, Kind> {
    let records: Result<Vec<Record>, StateStoreError> =
        store.read(log, Seq::ZERO).try_collect().await;
    let text = |record: Record| String::from_utf8(record.body.to_vec()).unwrap();
    match records {
        Ok(records) => Ok(records.into_iter().map(text).collect()),
        Err(error) => Err(error.kind()),
    }
}

/// A store with one log of one record.
async fn with_one_record() -> (TempDir, PlainFiles, LogId) {
    let root = TempDir::new().unwrap();
    let store = PlainFiles::open(root.path()).await.unwrap();
    let first = append(&log("a"), Expected::Absent, "first");
    store.append(first).await.unwrap();
    (root, store, log("a"))
}

#[tokio::test]
async fn an_append_that_died_before_its_head_never_happened() {
    let (root, store, log) = with_one_record().await;
    let folder = folder_of(root.path(), &log);
    let mut records = fs::read(folder.join("records")).unwrap();
    records.extend_from_slice(b"half of a body that nobody was told of");
    fs::write(folder.join("records"), records).unwrap();
    fs::write(folder.join("head.new"), b"half of a head").unwrap();
    assert_eq!(read(&store, &log).await, Ok(vec!["first".to_owned()]));
    let second = append(&log, Expected::Head(Seq(1)), "second");
    store.append(second).await.unwrap();
    let both = vec!["first".to_owned(), "second".to_owned()];
    assert_eq!(read(&store, &log).await, Ok(both));
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_corrupt_and_not_shorter() {
    let (root, store, log) = with_one_record().await;
    let records = folder_of(root.path(), &log).join("records");
    File::options()
        .write(true)
        .open(&records)
        .unwrap()
        .set_len(3)
        .unwrap();
    assert_eq!(read(&store, &log).await, Err(Kind::Corrupt));
    let second = append(&log, Expected::Head(Seq(1)), "second");
    let refused = store.append(second).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Corrupt);
    fs::remove_file(records).unwrap();
    assert_eq!(read(&store, &log).await, Err(Kind::Corrupt));
}

#[tokio::test]
async fn a_damaged_head_is_corrupt_for_its_log_alone() {
    let (root, store, bad) = with_one_record().await;
    let good = log("b");
    let first = append(&good, Expected::Absent, "first");
    store.append(first).await.unwrap();
    let head = folder_of(root.path(), &bad).join("head");
    let text = fs::read_to_string(&head).unwrap();
    fs::write(head, text.replace("\"seq\":1", "\"seq\":0")).unwrap();
    assert_eq!(read(&store, &bad).await, Err(Kind::Corrupt));
    assert_eq!(store.head(&bad).await.unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(read(&store, &good).await, Ok(vec!["first".to_owned()]));
}

#[tokio::test]
async fn what_another_version_wrote_is_refused() {
    let (root, _store, _log) = with_one_record().await;
    let text = "plain-files 2\n";
    let whole = format!("{}\n{text}", Digest::of(text.as_bytes()));
    fs::write(root.path().join("format"), whole).unwrap();
    let refused = PlainFiles::open(root.path()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Rejected);
}

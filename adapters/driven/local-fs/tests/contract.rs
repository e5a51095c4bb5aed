//! The contract suite on a directory, and what only a directory can go wrong in.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use seaworthy_contract::{Outcome, blob_store as bl, process};
use seaworthy_local_fs::{LocalFs, LocalFsConfig};
use seaworthy_ports::blob_store::{BlobError, BlobStore, Kind};
use seaworthy_ports::{BoxStream, Digest, async_trait};
use tempfile::TempDir;

struct Folder {
    folder: TempDir,
    store: Arc<dyn BlobStore>,
}

impl Folder {
    async fn open(folder: &Path) -> Arc<dyn BlobStore> {
        let config = LocalFsConfig::new(folder);
        LocalFs::connect(config).await.unwrap().blob_store()
    }

    fn file(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        let (first, rest) = hex.split_at(2);
        self.folder.path().join("sha256").join(first).join(rest)
    }
}

#[async_trait]
impl bl::Harness for Folder {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Self::open(folder.path()).await;
        Self { folder, store }
    }

    fn store(&self) -> Arc<dyn BlobStore> {
        Arc::clone(&self.store)
    }

    async fn reopen(&self) -> Option<Arc<dyn BlobStore>> {
        Some(Self::open(self.folder.path()).await)
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_process_of_a_scenario", self.folder.path())
    }

    async fn corrupt(&self, digest: &Digest) -> bool {
        let path = self.file(digest);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        true
    }
}

seaworthy_contract::blob_store_contract! { harness: Folder }

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_of_a_scenario() -> Outcome {
    bl::work(async |folder| Folder::open(Path::new(&folder)).await)
}

fn content(bytes: &'static [u8]) -> BoxStream<'static, Result<Bytes, BlobError>> {
    stream::iter([Ok(Bytes::from_static(bytes))]).boxed()
}

#[tokio::test]
async fn putting_a_damaged_blob_again_heals_it() {
    let harness = <Folder as bl::Harness>::start().await;
    let digest = harness.store.put(content(b"precious")).await.unwrap();
    fs::write(harness.file(&digest), b"damaged!").unwrap();
    assert_eq!(
        harness.store.put(content(b"precious")).await.unwrap(),
        digest
    );
    let parts: Vec<Bytes> = harness
        .store
        .get(&digest)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(parts.concat(), b"precious");
}

#[tokio::test]
async fn a_shortened_blob_is_corrupt() {
    let harness = <Folder as bl::Harness>::start().await;
    let digest = harness.store.put(content(b"precious")).await.unwrap();
    fs::write(harness.file(&digest), b"prec").unwrap();
    let read: Result<Vec<Bytes>, _> = harness
        .store
        .get(&digest)
        .await
        .unwrap()
        .try_collect()
        .await;
    assert_eq!(read.unwrap_err().kind(), Kind::Corrupt);
}

#[tokio::test]
async fn opening_sweeps_what_a_killed_put_left_an_hour_ago_and_nothing_younger() {
    let harness = <Folder as bl::Harness>::start().await;
    let temporary = harness.folder.path().join("tmp");
    let (old, young) = (temporary.join("old"), temporary.join("young"));
    for path in [&old, &young] {
        fs::write(path, b"half").unwrap();
    }
    let before = SystemTime::now() - Duration::from_secs(2 * 3600);
    fs::File::options()
        .write(true)
        .open(&old)
        .unwrap()
        .set_modified(before)
        .unwrap();
    Folder::open(harness.folder.path()).await;
    assert!(!old.exists());
    assert!(young.exists());
}

#[tokio::test]
async fn files_that_are_no_blobs_are_not_listed() {
    let harness = <Folder as bl::Harness>::start().await;
    let digest = harness.store.put(content(b"precious")).await.unwrap();
    let blobs = harness.folder.path().join("sha256");
    fs::write(blobs.join("README"), b"no blob").unwrap();
    fs::create_dir_all(blobs.join("zz")).unwrap();
    fs::write(blobs.join("zz").join("file"), b"no blob").unwrap();
    let page = harness
        .store
        .list(std::num::NonZeroU32::MAX, None)
        .await
        .unwrap();
    assert_eq!(page.items, [digest]);
}

#[tokio::test]
async fn a_file_in_the_place_of_the_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, b"").unwrap();
    let refused = LocalFs::connect(LocalFsConfig::new(path)).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Rejected);
}

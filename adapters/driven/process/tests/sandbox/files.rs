//! Files, as far as the contract does not say.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bench::*;
use bytes::Bytes;
use seaworthy_ports::Effect;
use seaworthy_ports::sandbox::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_private_file_is_private_while_it_is_replaced() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let path = bench.work().join("secret");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut modes = std::collections::BTreeMap::<u32, u32>::new();
            while !stop.load(Ordering::Relaxed) {
                for entry in fs::read_dir(bench.work()).unwrap().flatten() {
                    let is_draft = entry.file_name() != "secret";
                    // It may be gone already.
                    if let (true, Ok(found)) = (is_draft, entry.metadata()) {
                        *modes.entry(found.permissions().mode() & 0o777).or_default() += 1;
                    }
                }
            }
            modes
        });
        let work = async {
            for _ in 0..20 {
                let content = Bytes::from(vec![b'x'; 4_000_000]);
                session.write("secret", content).await.unwrap();
            }
        };
        let handle = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| handle.block_on(work));
        stop.store(true, Ordering::Relaxed);
        let seen: Vec<_> = watcher.join().unwrap().into_keys().collect();
        // Seen at all, and never otherwise.
        assert_eq!(seen, [0o600]);
    });
}

#[tokio::test]
async fn what_is_absent_is_no_error_to_ask_for_or_to_remove() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    session.write("file", Bytes::new()).await.unwrap();
    assert_eq!(session.stat("absent").await.unwrap(), None);
    assert_eq!(session.stat("file/below").await.unwrap(), None);
    session.remove("absent").await.unwrap();
    session.remove("absent/below").await.unwrap();
    session.remove("file/below").await.unwrap();
    let root = session.stat("").await.unwrap().unwrap();
    assert_eq!(root.kind, FileKind::Directory);
}

#[tokio::test]
async fn a_tree_is_removed_without_following_its_links() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let outside = bench.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "").unwrap();
    session.write("tree/a/b/file", Bytes::new()).await.unwrap();
    symlink(&outside, bench.work().join("tree/a/link")).unwrap();
    session.remove("tree").await.unwrap();
    assert!(!bench.work().join("tree").exists());
    assert!(outside.join("file").exists());
    assert_eq!(
        session.remove(".").await.unwrap_err().kind(),
        Kind::Rejected
    );
}

#[tokio::test]
async fn a_tree_of_which_only_a_part_could_be_removed_is_not_called_untouched() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    // Too deep, with a file on each level.
    let deep = "d/".repeat(210);
    fs::create_dir_all(bench.work().join(&deep)).unwrap();
    for depth in 0..200 {
        fs::write(bench.work().join("d/".repeat(depth + 1)).join("file"), "").unwrap();
    }
    let error = session.remove("d").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (Kind::Rejected, Effect::Unknown)
    );
    fs::create_dir_all(bench.work().join("e/".repeat(210))).unwrap();
    let error = session.remove("e").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (Kind::Rejected, Effect::None)
    );
}

//! SB-5 for file operations.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bench::*;
use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use seaworthy_ports::Effect;
use seaworthy_ports::sandbox::*;

#[tokio::test]
async fn a_file_is_written_with_its_folders_and_read_in_parts() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let content = Bytes::from_static(b"0123456789");
    session.write("a/b/c.txt", content.clone()).await.unwrap();
    let whole = session.read("a/b/c.txt", 0, 100).await.unwrap();
    assert_eq!((whole.bytes, whole.size), (content, 10));
    let part = session.read("./a/b/c.txt", 3, 4).await.unwrap();
    assert_eq!((&part.bytes[..], part.size), (&b"3456"[..], 10));
    let after = session.read("a/b/c.txt", 11, 4).await.unwrap();
    assert_eq!((after.bytes.len(), after.size), (0, 10));
    // Nothing is left beside it.
    assert_eq!(fs::read_dir(bench.work().join("a/b")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_replaced_file_keeps_its_permissions_and_its_readers_their_content() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let path = bench.work().join("tool");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).unwrap();
    let reader = fs::File::open(&path).unwrap();
    session
        .write("tool", Bytes::from_static(b"new"))
        .await
        .unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o751);
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(std::io::read_to_string(reader).unwrap(), "old");
}

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
async fn paths_out_of_the_workspace_are_refused_by_every_operation() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let outside = bench.folder.path().join("secret");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "secret").unwrap();
    symlink(&outside, bench.work().join("absolute")).unwrap();
    symlink("../secret", bench.work().join("relative")).unwrap();
    symlink("/proc/self/root", bench.work().join("magic")).unwrap();
    let paths = [
        "/etc/passwd",
        "../secret/file",
        "absolute/file",
        "relative/file",
        "magic/etc/passwd",
    ];
    for path in paths {
        let kind = session.read(path, 0, 9).await.unwrap_err().kind();
        assert_eq!(kind, Kind::Outside, "read {path}");
        let kind = session.write(path, Bytes::new()).await.unwrap_err().kind();
        assert_eq!(kind, Kind::Outside, "write {path}");
        let kind = session.list(path, 9).await.unwrap_err().kind();
        assert_eq!(kind, Kind::Outside, "list {path}");
        let kind = session.stat(path).await.unwrap_err().kind();
        assert_eq!(kind, Kind::Outside, "stat {path}");
        let kind = session.remove(path).await.unwrap_err().kind();
        assert_eq!(kind, Kind::Outside, "remove {path}");
    }
    symlink(outside.join("file"), bench.work().join("link")).unwrap();
    let kind = session.read("link", 0, 9).await.unwrap_err().kind();
    assert_eq!(kind, Kind::Outside);
    let kind = session
        .write("link", Bytes::new())
        .await
        .unwrap_err()
        .kind();
    assert_eq!(kind, Kind::Outside);
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"secret");
}

#[tokio::test]
async fn links_within_the_workspace_are_followed_but_not_removed_through() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    fs::create_dir(bench.work().join("real")).unwrap();
    fs::write(bench.work().join("real/file"), "old").unwrap();
    symlink("real/file", bench.work().join("link")).unwrap();
    symlink("real", bench.work().join("folder")).unwrap();
    session
        .write("link", Bytes::from_static(b"new"))
        .await
        .unwrap();
    assert_eq!(fs::read(bench.work().join("real/file")).unwrap(), b"new");
    assert_eq!(
        &session.read("folder/file", 0, 9).await.unwrap().bytes[..],
        b"new"
    );
    let link = session.stat("link").await.unwrap().unwrap();
    assert_eq!(link.kind, FileKind::Symlink);
    session.remove("folder").await.unwrap();
    session.remove("link").await.unwrap();
    assert!(bench.work().join("real/file").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_swapped_for_a_link_while_it_is_used_leads_nowhere() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let outside = bench.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "secret").unwrap();
    let (spot, link) = (bench.work().join("spot"), bench.work().join("link"));
    fs::create_dir(&spot).unwrap();
    fs::write(spot.join("file"), "mine").unwrap();
    symlink(&outside, &link).unwrap();
    let stop = AtomicBool::new(false);
    let (mut inside, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &spot, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let work = async {
            // Until both sides of the race have been met often; a race that is never met proves nothing.
            for _ in 0..100_000 {
                match session.read("spot/file", 0, 99).await {
                    Ok(found) if &found.bytes[..] == b"mine" => inside += 1,
                    Ok(_) => return "a read got out",
                    Err(_) => refused += 1,
                }
                let _either = session
                    .write("spot/file", Bytes::from_static(b"mine"))
                    .await;
                if inside > 50 && refused > 50 {
                    break;
                }
            }
            "nothing got out"
        };
        let handle = tokio::runtime::Handle::current();
        let verdict = tokio::task::block_in_place(|| handle.block_on(work));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(verdict, "nothing got out");
    });
    assert!(inside > 50 && refused > 50, "{inside} {refused}");
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[tokio::test]
async fn a_listing_is_sorted_and_bounded() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    for name in ["c", "a", "d", "b"] {
        fs::write(bench.work().join(name), name).unwrap();
    }
    fs::create_dir(bench.work().join("e")).unwrap();
    let names = |listing: &Listing| -> Vec<String> {
        listing
            .entries
            .iter()
            .map(|entry| entry.name.clone())
            .collect()
    };
    let all = session.list("", 5).await.unwrap();
    assert_eq!(names(&all), ["a", "b", "c", "d", "e"]);
    assert!(!all.is_cut);
    assert_eq!(all.entries[4].metadata.kind, FileKind::Directory);
    assert_eq!(
        all.entries[0].metadata,
        Metadata {
            kind: FileKind::File,
            size: 1
        }
    );
    let some = session.list(".", 2).await.unwrap();
    assert_eq!(
        (names(&some), some.is_cut),
        (vec!["a".into(), "b".into()], true)
    );
    assert_eq!(
        session.list("a", 9).await.unwrap_err().kind(),
        Kind::WrongType
    );
    assert_eq!(
        session.list("z", 9).await.unwrap_err().kind(),
        Kind::NotFound
    );
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

#[tokio::test]
async fn things_of_another_sort_are_neither_read_nor_replaced() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let made = session.exec(sh("mkfifo pipe; mkdir folder")).await.unwrap();
    assert_eq!(made.status, ExitStatus::Code(0));
    for path in ["pipe", "folder"] {
        let kind = session.read(path, 0, 9).await.unwrap_err().kind();
        assert_eq!(kind, Kind::WrongType, "read {path}");
        let kind = session.write(path, Bytes::new()).await.unwrap_err().kind();
        assert_eq!(kind, Kind::WrongType, "write {path}");
    }
    let pipe = session.stat("pipe").await.unwrap().unwrap();
    assert_eq!(pipe.kind, FileKind::Other);
    assert_eq!(
        session.write("", Bytes::new()).await.unwrap_err().kind(),
        Kind::WrongType
    );
    assert_eq!(
        session.read("absent", 0, 9).await.unwrap_err().kind(),
        Kind::NotFound
    );
}

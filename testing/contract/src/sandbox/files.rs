//! SB-5: files of the workspace, as file operations and commands see them.

use bytes::Bytes;
use seaworthy_ports::sandbox::{ExitStatus, FileKind, Kind, Listing, Metadata, SandboxSession};

use super::Harness;
use super::world::{World, prepared, ran, sh};
use crate::outcome::{Halt, Outcome, holds, ok, refused, same, within};

const fn file(size: u64) -> Metadata {
    Metadata {
        kind: FileKind::File,
        size,
    }
}

async fn printed(session: &dyn SandboxSession, script: &str) -> Result<Bytes, Halt> {
    Ok(ran(session, sh(script)).await?.stdout.bytes)
}

async fn kind_at(session: &dyn SandboxSession, path: &str) -> Result<Option<FileKind>, Halt> {
    let found = ok(format!("asked what `{path}` is"), session.stat(path).await)?;
    Ok(found.map(|found| found.kind))
}

fn names(listing: &Listing) -> Vec<&str> {
    let entries = listing.entries.iter();
    entries.map(|entry| entry.name.as_str()).collect()
}

/// SB-5.
pub async fn a_workspace_must_be_a_directory<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    std::fs::write(world.work().join("file"), "").map_err(|error| {
        crate::outcome::broken("wrote a file into the workspace", "success", error)
    })?;
    for place in ["absent", "file"] {
        let mut spec = world.ground.spec(1)?;
        spec.workspace = world.work().join(place);
        let did = format!("opened a session on a workspace that is {place}");
        let opened = within(&did, world.sandbox.open(spec)).await?;
        holds(opened.is_err(), did, "an error", "a session")?;
    }
    Ok(())
}

/// SB-5.
pub async fn files_and_commands_see_the_same_workspace<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let content = Bytes::from_static(b"0123456789");
    let did = "wrote a file into folders that were not there";
    ok(did, session.write("a/b/c.txt", content.clone()).await)?;
    same(
        "read with a command what was written",
        printed(&*session, "cat a/b/c.txt; ls -A a/b").await?,
        Bytes::from_static(b"0123456789c.txt\n"),
    )?;
    prepared(&*session, "printf 9876543210 >a/d").await?;
    let parts: [(u64, u64, &[u8]); 5] = [
        (0, 100, b"9876543210"),
        (0, 4, b"9876"),
        (3, 4, b"6543"),
        (8, 4, b"10"),
        (11, 4, b""),
    ];
    for (offset, limit, expected) in parts {
        let did = format!("read {limit} bytes from {offset} on of what a command wrote");
        let part = ok(&did, session.read("./a/d", offset, limit).await)?;
        same(did, (&part.bytes[..], part.size), (expected, 10))?;
    }
    let found = ok("asked what a file is", session.stat("a/d").await)?;
    same("asked what a file is", found, Some(file(10)))?;
    for path in ["a/d", "a", "a"] {
        ok(format!("removed `{path}`"), session.remove(path).await)?;
    }
    same(
        "listed with a command what is left",
        printed(&*session, "ls -A").await?,
        Bytes::new(),
    )
}

/// SB-5.
pub async fn a_replaced_file_keeps_its_permissions_and_its_readers_their_content<H: Harness>(
    harness: H,
) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    prepared(&*session, "echo old >tool; chmod 751 tool").await?;
    let mut exec = sh("exec 5<tool; echo >open; until [ -e go ]; do sleep 0.01; done; cat <&5");
    exec.timeout *= 2;
    let replace = async {
        let open = async {
            while kind_at(&*session, "open").await?.is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            }
            Ok(())
        };
        within("waited for a command that reads a file", open).await??;
        let content = Bytes::from_static(b"new\n");
        ok("replaced the file", session.write("tool", content).await)?;
        ok(
            "let the command go on",
            session.write("go", Bytes::new()).await,
        )
    };
    let (output, replaced) = tokio::join!(ran(&*session, exec), replace);
    replaced?;
    same(
        "replaced a file while a command read it",
        &output?.stdout.bytes[..],
        b"old\n",
    )?;
    same(
        "looked at the permissions of a file that was replaced",
        printed(&*session, "ls -l tool | cut -c 1-10; cat tool").await?,
        Bytes::from_static(b"-rwxr-x--x\nnew\n"),
    )
}

/// SB-5.
pub async fn a_listing_is_sorted_and_bounded<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let script = "for name in c a d b; do printf $name >$name; done; mkdir e; ln -s a f";
    prepared(&*session, script).await?;
    for root in ["", "."] {
        let all = ok("listed the workspace", session.list(root, 6).await)?;
        same(
            "listed the workspace",
            (names(&all), all.is_cut),
            (vec!["a", "b", "c", "d", "e", "f"], false),
        )?;
        let kinds = all.entries.iter().map(|entry| entry.metadata.kind);
        let mut expected = vec![FileKind::File; 4];
        expected.extend([FileKind::Directory, FileKind::Symlink]);
        same("looked what is listed", kinds.collect::<Vec<_>>(), expected)?;
        let first = all.entries.first().map(|entry| entry.metadata);
        same("looked at the first that is listed", first, Some(file(1)))?;
    }
    for limit in [5, 2, 0] {
        let did = format!("listed at most {limit} of six entries");
        let some = ok(&did, session.list("", limit).await)?;
        let expected = ["a", "b", "c", "d", "e"].into_iter().take(limit).collect();
        same(did, (names(&some), some.is_cut), (expected, true))?;
    }
    Ok(())
}

/// SB-5.
pub async fn what_is_absent_or_of_another_sort_is_told<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    prepared(
        &*session,
        "mkdir folder; echo >file; ln -s file link; mkfifo pipe",
    )
    .await?;
    let sorts = [
        ("file", Some(FileKind::File)),
        ("folder", Some(FileKind::Directory)),
        ("", Some(FileKind::Directory)),
        ("link", Some(FileKind::Symlink)),
        ("pipe", Some(FileKind::Other)),
        ("absent", None),
        ("absent/below", None),
    ];
    for (path, expected) in sorts {
        let seen = kind_at(&*session, path).await?;
        same(format!("asked what `{path}` is"), seen, expected)?;
    }
    let read = async |path| within("read", session.read(path, 0, 9)).await;
    refused("read what is absent", read("absent").await?, Kind::NotFound)?;
    refused("read a folder", read("folder").await?, Kind::WrongType)?;
    refused("read a pipe", read("pipe").await?, Kind::WrongType)?;
    let list = async |path| within("listed", session.list(path, 9)).await;
    refused(
        "listed what is absent",
        list("absent").await?,
        Kind::NotFound,
    )?;
    refused("listed a file", list("file").await?, Kind::WrongType)?;
    let write = async |path| within("wrote", session.write(path, Bytes::new())).await;
    refused(
        "wrote over a folder",
        write("folder").await?,
        Kind::WrongType,
    )?;
    refused("wrote over a pipe", write("pipe").await?, Kind::WrongType)?;
    for path in ["absent", "absent/below"] {
        ok(format!("removed `{path}`"), session.remove(path).await)?;
    }
    same(
        "looked whether the pipe is still there",
        ran(&*session, sh("[ -p pipe ]")).await?.status,
        ExitStatus::Code(0),
    )
}

//! WS-2: snapshots of files that rest.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use seaworthy_ports::WorkspaceId;
use seaworthy_ports::workspace_store::{
    Kind, ResumeFrom, Snapshot, Source, TakeSnapshot, WorkspaceState,
};

use super::Harness;
use super::files::{Tree, directory, done, link, noise, remove, set_mode, tree, write};
use super::stage::{
    HOUR, Store, copy_of, dropped_after, empty, is_in, pause, pausing, resume, resumed, starting,
    status, take, take_as, taking, try_take, workspace,
};
use crate::outcome::{Halt, Outcome, at_once, broken, holds, ok, refused, same};

/// WS-2.
pub async fn a_snapshot_never_changes_after_it_was_taken<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    write(works.path(), "changed", noise(1, 20_000))?;
    write(works.path(), "removed", "removed")?;
    let expected = tree(works.path())?;
    let first = take(&*store, &works.reference, "first").await?;
    write(works.path(), "changed", noise(2, 20_000))?;
    remove(works.path(), "removed")?;
    write(works.path(), "added", "added")?;
    take(&*store, &works.reference, "second").await?;
    for time in ["once", "twice"] {
        let again = resume(
            &*store,
            &works.reference,
            ResumeFrom::Snapshot(first.id.clone()),
        )
        .await?;
        same(
            format!("changed the files, resumed the snapshot {time}"),
            tree(again.path())?,
            expected.clone(),
        )?;
        // In place, as an editor does that keeps the file.
        write(again.path(), "changed", noise(3, 20_000))?;
        remove(again.path(), "removed")?;
    }
    let copy = copy_of(&*store, "copy", &first.id).await?;
    same("copied the snapshot", tree(copy.path())?, expected)
}

/// WS-2.
pub async fn repeating_a_snapshot_gives_the_same_record<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    write(works.path(), "file", "first")?;
    let expected = tree(works.path())?;
    let first = take(&*store, &works.reference, "first").await?;
    let did = "took a snapshot of one file with five bytes";
    same(did, (first.files, first.bytes), (1, 5))?;
    same(did, &first.workspace, &works.reference)?;
    let again = |then| repeat(&*store, &works.reference, "first", then);
    // The record does not follow the time, the files or the state of the workspace.
    let _can_move = harness.advance(HOUR).await;
    write(works.path(), "file", "changed")?;
    again("changed the files").await?.agrees(&first)?;
    take(&*store, &works.reference, "second").await?;
    again("took another").await?.agrees(&first)?;
    pause(&*store, &works.reference, "third").await?;
    again("paused").await?.agrees(&first)?;
    is_in(&*store, &works.reference, WorkspaceState::Paused).await?;
    resume(&*store, &works.reference, ResumeFrom::Latest).await?;
    again("resumed").await?.agrees(&first)?;
    let takers = (0..8).map(|_taker| {
        let (store, works) = (Arc::clone(&store), works.reference.clone());
        async move { take(&*store, &works, "fourth").await }
    });
    let mut fourth: Vec<Snapshot> = Vec::new();
    for taken in at_once(takers).await? {
        fourth.push(taken?);
    }
    fourth.dedup();
    same("took one snapshot eight times at once", fourth.len(), 1)?;
    let other = empty(&*store, "other").await?;
    refused(
        "took a snapshot of another workspace under the same id",
        try_take(&*store, &taking(&other.reference, "first")?).await,
        Kind::IdempotencyConflict,
    )?;
    same(
        "counted",
        status(&*store, &works.reference).await?.snapshots,
        4,
    )?;
    same(
        "resumed it",
        resumed(&*store, &works.reference, &first.id).await?,
        expected,
    )
}

struct Repeated {
    after: &'static str,
    record: Snapshot,
}

impl Repeated {
    fn agrees(&self, first: &Snapshot) -> Outcome {
        let did = format!("repeated a snapshot after it {}", self.after);
        same(did, &self.record, first)
    }
}

async fn repeat(
    store: &Store,
    of: &WorkspaceId,
    name: &str,
    after: &'static str,
) -> Result<Repeated, Halt> {
    let record = take(store, of, name).await?;
    Ok(Repeated { after, record })
}

/// WS-2.
pub async fn the_same_content_costs_its_blobs_once<H: Harness>(harness: H) -> Outcome {
    const SIZE: usize = 300_000;
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    for name in ["one", "two", "three"] {
        write(works.path(), name, noise(1, SIZE))?;
    }
    let first = take(&*store, &works.reference, "first").await?;
    costs("three files of the same content", &first, 3 * SIZE / 2)?;
    write(works.path(), "copied", noise(1, SIZE))?;
    done(
        "moved a file",
        fs::rename(works.path().join("one"), works.path().join("moved")),
    )?;
    let second = take(&*store, &works.reference, "second").await?;
    costs(
        "a file that was moved and one that was copied",
        &second,
        SIZE / 2,
    )?;
    let other = empty(&*store, "other").await?;
    write(other.path(), "file", noise(1, SIZE))?;
    let third = take(&*store, &other.reference, "third").await?;
    costs("the same content in another workspace", &third, SIZE / 2)
}

fn costs(what: &str, snapshot: &Snapshot, below: usize) -> Outcome {
    holds(
        snapshot.work.bytes_stored < below as u64,
        format!("took a snapshot of {what}, 300000 bytes"),
        format!("fewer than {below} bytes stored"),
        snapshot.work,
    )
}

/// WS-2.
pub async fn equal_trees_have_equal_manifests_and_others_do_not<H: Harness>(harness: H) -> Outcome {
    type Change = fn(&Path) -> Outcome;
    let changes: [(&str, Change); 8] = [
        ("nothing", |_root| Ok(())),
        ("a byte", |root| write(root, "one", "I")),
        ("a name", |root| {
            done(
                "moved a file",
                fs::rename(root.join("one"), root.join("eins")),
            )
        }),
        ("a place", |root| {
            done(
                "moved a file",
                fs::rename(root.join("one"), root.join("d/one")),
            )
        }),
        ("an empty directory", |root| directory(root, "d/new")),
        ("a directory for an empty file", |root| {
            remove(root, "nothing")?;
            directory(root, "nothing")
        }),
        ("a mode", |root| set_mode(root, "one", 0o755)),
        ("a link", |root| link(root, "d/link", "../one")),
    ];
    let store = harness.store();
    let mut seen: Vec<(&str, Snapshot)> = Vec::new();
    for (number, (what, change)) in changes.into_iter().enumerate() {
        let works = empty(&*store, &format!("works{number}")).await?;
        // In another order each time: what counts is what is there.
        let mut names = ["one", "d/two", "nothing"];
        names.rotate_left(number % 3);
        for name in names {
            let content = if name == "nothing" { "" } else { name };
            write(works.path(), name, content)?;
        }
        let before = take(&*store, &works.reference, &format!("before{number}")).await?;
        match change(works.path()) {
            Err(Halt::NotCheckable(_)) => continue,
            changed => changed?,
        }
        let after = take(&*store, &works.reference, &format!("after{number}")).await?;
        for (other, snapshot) in &seen {
            holds(
                snapshot.manifest != after.manifest,
                format!("took snapshots after changing {other} and after changing {what}"),
                "two manifests",
                after.manifest,
            )?;
        }
        if let Some((_, untouched)) = seen.first() {
            same(
                "took a snapshot of equal files",
                before.manifest,
                untouched.manifest,
            )?;
        }
        seen.push((what, after));
    }
    Ok(())
}

/// WS-2.
pub async fn a_paused_workspace_takes_no_new_snapshot<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    write(works.path(), "file", "paused")?;
    let expected = tree(works.path())?;
    let paused = pause(&*store, &works.reference, "paused").await?;
    for take in [
        taking(&works.reference, "another")?,
        pausing(&works.reference, "another")?,
    ] {
        refused(
            "took another snapshot of a paused workspace",
            store.snapshot(take).await,
            Kind::Rejected,
        )?;
    }
    let again = store.snapshot(pausing(&works.reference, "paused")?).await;
    same(
        "repeated the one it paused with",
        ok("repeated it", again)?,
        paused,
    )?;
    is_in(&*store, &works.reference, WorkspaceState::Paused).await?;
    same(
        "counted",
        status(&*store, &works.reference).await?.snapshots,
        1,
    )?;
    let again = resume(&*store, &works.reference, ResumeFrom::Latest).await?;
    same("resumed it", tree(again.path())?, expected)?;
    take_as(&*store, taking(&works.reference, "another")?)
        .await
        .map(|_taken| ())
}

/// WS-2.
pub async fn a_dropped_snapshot_exists_whole_or_not_at_all<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    for (count, polls) in [1, 2, 3, 5, 8, 13, 21, 34].into_iter().enumerate() {
        for file in 0..8 {
            let content = noise(u64::from(polls) << 8 | file, 3_000);
            write(works.path(), &format!("file{file}"), content)?;
        }
        let expected = tree(works.path())?;
        let taking = taking(&works.reference, &format!("taken{polls}"))?;
        let _dropped = dropped_after(polls, store.snapshot(taking.clone())).await;
        whole_or_missing(&*store, &taking, &expected, &format!("look{polls}")).await?;
        take_as(&*store, taking.clone()).await?;
        let copy = copy_of(&*store, &format!("copy{polls}"), &taking.id).await?;
        same(
            format!("dropped a snapshot after {polls} polls and repeated it"),
            tree(copy.path())?,
            expected,
        )?;
        let known = status(&*store, &works.reference).await?;
        same("counted", known.snapshots, count as u64 + 1)?;
        same("asked for the newest", known.newest, Some(taking.id))?;
    }
    Ok(())
}

/// A snapshot of which nobody was told is there with all its files or not there.
pub(super) async fn whole_or_missing(
    store: &Store,
    taking: &TakeSnapshot,
    expected: &Tree,
    look: &str,
) -> Outcome {
    let source = Source::Snapshot(taking.id.clone());
    match store.start(starting(look, source)?).await {
        Ok(copy) => same(
            "looked for a snapshot of which nobody was told",
            &tree(copy.path())?,
            expected,
        ),
        Err(error) if error.kind() == Kind::MissingSnapshot => Ok(()),
        Err(error) => Err(broken(
            "looked for a snapshot of which nobody was told",
            "all of it or MissingSnapshot",
            error.to_string(),
        )),
    }
}

/// The workspace that no scenario starts.
pub(super) fn unknown() -> Result<WorkspaceId, Halt> {
    workspace("nobody-started-this")
}

//! WS-1, WS-9 and the part of WS-10 that needs no other process.

use std::num::NonZeroU64;
use std::sync::Arc;

use seaworthy_ports::workspace_store::{Kind, ResumeFrom, Source, StartWorkspace, WorkspaceState};
use seaworthy_ports::{Durability, RunId};

use super::Harness;
use super::files::{Tree, elsewhere, file, link, noise, read, tree, where_it_can, write};
use super::stage::{
    HOUR, copy_of, empty, inspect, is_in, pause, resume, resumed, start, starting, status, take,
    taking, try_take,
};
use crate::outcome::{Halt, Outcome, at_once, declared, id, ok, refused, reopened, same};

/// WS-1.
pub async fn starting_again_gives_the_same_workspace<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let source = elsewhere()?;
    write(source.path(), "file", "as it was")?;
    let from = Source::Directory(source.path().to_path_buf());
    let first = start(&*store, starting("one", from.clone())?).await?;
    same(
        "asked whose it is",
        &first.run,
        &starting("one", from.clone())?.run,
    )?;
    write(first.path(), "made", "by a tool")?;
    // What the source has become since is nobody's concern.
    write(source.path(), "file", "changed")?;
    let again = start(&*store, starting("one", from.clone())?).await?;
    same("started it again", &again, &first)?;
    drop(source);
    let again = start(&*store, starting("one", from)?).await?;
    same(
        "started it once more, its source being gone",
        &again,
        &first,
    )?;
    same(
        "looked into it",
        tree(again.path())?,
        Tree::from([
            ("file".to_owned(), file("as it was")),
            ("made".to_owned(), file("by a tool")),
        ]),
    )?;
    is_in(&*store, &again.reference, WorkspaceState::Active).await
}

/// WS-1.
pub async fn an_id_that_is_started_with_something_else_is_a_conflict<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let first = empty(&*store, "one").await?;
    write(first.path(), "file", "kept")?;
    let known = status(&*store, &first.reference).await?;
    let same_id = starting("one", Source::Empty)?;
    let source = elsewhere()?;
    let mut small = same_id.policy;
    small.quotas.files = NonZeroU64::new(7);
    let mut brief = same_id.policy;
    brief.retention = Some(HOUR);
    let others = [
        StartWorkspace {
            run: id(RunId::new("another"))?,
            ..same_id.clone()
        },
        StartWorkspace {
            source: Source::Directory(source.path().to_path_buf()),
            ..same_id.clone()
        },
        StartWorkspace {
            policy: small,
            ..same_id.clone()
        },
        StartWorkspace {
            policy: brief,
            ..same_id.clone()
        },
    ];
    for other in others {
        let did = format!("started an empty workspace again as {other:?}");
        refused(did, store.start(other).await, Kind::IdempotencyConflict)?;
    }
    same(
        "inspected the first",
        status(&*store, &first.reference).await?,
        known,
    )?;
    let again = start(&*store, same_id).await?;
    same("started it as it was", &again, &first)?;
    same(
        "read its file",
        read(again.path(), "file")?,
        b"kept".to_vec(),
    )
}

/// WS-1.
pub async fn starting_twenty_times_at_once_makes_one_workspace<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let source = elsewhere()?;
    for number in 0..10 {
        write(
            source.path(),
            &format!("file{number}"),
            noise(number, 5_000),
        )?;
    }
    let expected = tree(source.path())?;
    let from = Source::Directory(source.path().to_path_buf());
    let starters = (0..20).map(|_starter| {
        let (store, from) = (Arc::clone(&store), from.clone());
        async move { start(&*store, starting("one", from)?).await }
    });
    let mut paths = Vec::new();
    for started in at_once(starters).await? {
        paths.push(started?.path);
    }
    paths.dedup();
    same("started it twenty times at once", paths.len(), 1)?;
    for path in paths {
        same("looked into it", tree(&path)?, expected.clone())?;
    }
    Ok(())
}

/// WS-1.
pub async fn starting_a_paused_workspace_again_resumes_it<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let first = empty(&*store, "one").await?;
    write(first.path(), "file", "first")?;
    take(&*store, &first.reference, "first").await?;
    write(first.path(), "file", "second")?;
    let second = pause(&*store, &first.reference, "second").await?;
    is_in(&*store, &first.reference, WorkspaceState::Paused).await?;
    let again = start(&*store, starting("one", Source::Empty)?).await?;
    same(
        "started a paused workspace again",
        again.base,
        Some(second.id),
    )?;
    same(
        "read its file",
        read(&again.path, "file")?,
        b"second".to_vec(),
    )?;
    is_in(&*store, &first.reference, WorkspaceState::Active).await
}

/// WS-1.
pub async fn a_workspace_begins_as_a_copy_of_its_source<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let source = elsewhere()?;
    write(source.path(), "deep/er/file", noise(1, 100_000))?;
    write(source.path(), "empty file", "")?;
    where_it_can(link(source.path(), "link", "deep/er"))?;
    let expected = tree(source.path())?;
    let from = Source::Directory(source.path().to_path_buf());
    let copy = start(&*store, starting("copy", from)?).await?;
    same("copied a directory", tree(copy.path())?, expected.clone())?;
    write(copy.path(), "deep/er/file", "changed")?;
    same(
        "changed the copy and looked at the source",
        tree(source.path())?,
        expected.clone(),
    )?;
    let changed = tree(copy.path())?;
    let taken = take(&*store, &copy.reference, "changed").await?;
    let second = copy_of(&*store, "second", &taken.id).await?;
    same("copied a snapshot", tree(second.path())?, changed.clone())?;
    write(second.path(), "deep/er/file", "changed again")?;
    same(
        "changed the second copy and looked at the first",
        tree(copy.path())?,
        changed.clone(),
    )?;
    same(
        "resumed the snapshot",
        resumed(&*store, &copy.reference, &taken.id).await?,
        changed,
    )
}

/// WS-9.
pub async fn a_policy_that_is_not_declared_is_rejected<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let mut secret = starting("secret", Source::Empty)?;
    secret.policy.encrypted = true;
    let started = store.start(secret.clone()).await;
    if store.capabilities().encryption {
        let workspace = ok("started a workspace whose snapshots are encrypted", started)?;
        write(workspace.path(), "file", "a secret")?;
        let expected = tree(workspace.path())?;
        let taken = take(&*store, &workspace.reference, "encrypted").await?;
        return same(
            "resumed an encrypted snapshot",
            resumed(&*store, &workspace.reference, &taken.id).await?,
            expected,
        );
    }
    refused(
        "started a workspace with encryption, which is not declared",
        started,
        Kind::Rejected,
    )?;
    same("inspected it", inspect(&*store, &secret.id).await?, None)?;
    empty(&*store, "secret").await.map(|_started| ())
}

/// WS-9.
pub async fn an_encrypted_snapshot_does_not_show_its_content<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    if !store.capabilities().encryption {
        return Err(Halt::NotDeclared {
            capability: "encryption",
            reason: "a policy that asks for it is rejected",
        });
    }
    let mut secret = starting("secret", Source::Empty)?;
    secret.policy.encrypted = true;
    let workspace = start(&*store, secret).await?;
    let content = noise(9, 300);
    write(workspace.path(), "file", &content)?;
    take(&*store, &workspace.reference, "encrypted").await?;
    let shows = harness
        .shows(&content)
        .await
        .ok_or(Halt::NotCheckable("what is stored cannot be looked at"))?;
    same("looked for the content in the store", shows, false)
}

/// WS-10.
pub async fn an_acknowledged_snapshot_survives_reopening<H: Harness>(harness: H) -> Outcome {
    let durability = harness.store().capabilities().durability;
    let outcome = survives_reopening(&harness, durability).await;
    declared("durability", durability != Durability::Volatile, outcome)
}

async fn survives_reopening<H: Harness>(harness: &H, durability: Durability) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    write(works.path(), "file", noise(1, 50_000))?;
    let expected = tree(works.path())?;
    let taken = take(&*store, &works.reference, "taken").await?;
    write(works.path(), "file", "not in a snapshot")?;
    let waits = copy_of(&*store, "waits", &taken.id).await?;
    let paused = pause(&*store, &waits.reference, "paused").await?;
    let known = status(&*store, &waits.reference).await?;
    drop(store);
    let store = reopened(harness.reopen().await, durability)?;
    same(
        "inspected it after reopening",
        status(&*store, &waits.reference).await?,
        known,
    )?;
    let again = try_take(&*store, &taking(&waits.reference, "paused")?).await;
    same(
        "repeated a snapshot after reopening",
        ok("repeated a snapshot after reopening", again)?,
        paused.clone(),
    )?;
    let latest = resume(&*store, &works.reference, ResumeFrom::Latest).await?;
    same(
        "read a file of an active workspace after reopening",
        read(latest.path(), "file")?,
        b"not in a snapshot".to_vec(),
    )?;
    let snapshots = [
        (&works.reference, &taken.id),
        (&waits.reference, &paused.id),
    ];
    for (workspace, taken) in snapshots {
        same(
            "resumed a snapshot after reopening",
            resumed(&*store, workspace, taken).await?,
            expected.clone(),
        )?;
    }
    Ok(())
}

//! WS-3: what a snapshot gives back, and why it does not.

use std::fs;

use seaworthy_ports::workspace_store::{
    Cleanup, Kind, PinSnapshot, ResumeFrom, Source, WorkspaceState,
};

use super::Harness;
use super::files::{
    directory, done, link, mode, noise, read, remove, set_mode, tree, where_it_can, write,
};
use super::snapshots::unknown;
use super::stage::{
    HOUR, advance, clean, copy_of, empty, is_in, kept_for_an_hour, pause, resume, resumed,
    resuming, snapshot, start, starting, status, take, taking,
};
use crate::outcome::{Halt, Outcome, declared, holds, ok, refused, same};

/// WS-3.
pub async fn resuming_restores_bytes_empty_directories_and_inner_links<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    let root = works.path();
    let every_byte: Vec<u8> = (0..=u8::MAX).cycle().take(70_000).collect();
    write(root, "every byte", every_byte)?;
    write(root, "large", noise(1, 1 << 20))?;
    write(root, "empty file", "")?;
    write(root, "a/b/c/d/e/f/g", "deep")?;
    write(root, ".hidden/.file", "hidden")?;
    write(root, "Größe – 大小 🌊", "other alphabets")?;
    write(root, "-rf *;$(x)\"'\\ ", "no word of a shell")?;
    write(root, &"n".repeat(200), "a long name")?;
    directory(root, "nothing/in/here")?;
    write(root, "tool", "#!/bin/sh\n")?;
    where_it_can(set_mode(root, "tool", 0o755))?;
    where_it_can(set_mode(root, "empty file", 0o444))?;
    where_it_can(
        [
            ("beside", "tool"),
            ("a/up", "../tool"),
            ("a/b/across", "../../.hidden"),
            ("not there yet", "a/missing"),
            ("through", "a/b/across/.file"),
        ]
        .into_iter()
        .try_for_each(|(name, target)| link(root, name, target)),
    )?;
    let expected = tree(root)?;
    let taken = take(&*store, &works.reference, "taken").await?;
    same("counted its entries", taken.files, expected.len() as u64)?;
    same(
        "resumed it",
        resumed(&*store, &works.reference, &taken.id).await?,
        expected.clone(),
    )?;
    let paused = pause(&*store, &works.reference, "paused").await?;
    same("took it again", paused.manifest, taken.manifest)?;
    let again = resume(&*store, &works.reference, ResumeFrom::Latest).await?;
    same(
        "paused and resumed it",
        tree(again.path())?,
        expected.clone(),
    )?;
    let copy = copy_of(&*store, "copy", &paused.id).await?;
    same(
        "began another workspace with it",
        tree(copy.path())?,
        expected,
    )
}

/// WS-3.
pub async fn modes_are_restored_as_declared<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let are_declared = store.capabilities().modes;
    let works = empty(&*store, "works").await?;
    let modes = [0o600, 0o640, 0o444, 0o755, 0o700, 0o744, 0o500];
    for mode in modes {
        let name = format!("{mode:o}");
        write(works.path(), &name, &name)?;
        set_mode(works.path(), &name, mode)?;
    }
    let taken = take(&*store, &works.reference, "taken").await?;
    let from = ResumeFrom::Snapshot(taken.id);
    let again = resume(&*store, &works.reference, from).await?;
    let mut seen = Vec::new();
    for mode in modes {
        let path = again.path().join(format!("{mode:o}"));
        seen.push(self::mode(&done("looked at a file", fs::metadata(path))?));
    }
    let executable = |modes: &[u32]| {
        modes
            .iter()
            .map(|mode| mode & 0o100 != 0)
            .collect::<Vec<_>>()
    };
    same(
        "asked which files are executable",
        executable(&seen),
        executable(&modes),
    )?;
    let octal = |modes: &[u32]| {
        modes
            .iter()
            .map(|mode| format!("{mode:o}"))
            .collect::<Vec<_>>()
    };
    let outcome = same("asked for the modes", octal(&seen), octal(&modes));
    declared("modes", are_declared, outcome)
}

/// WS-3.
pub async fn every_snapshot_can_be_resumed_and_not_only_the_newest<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    let mut taken = Vec::new();
    for number in 0..5 {
        write(works.path(), "file", number.to_string())?;
        write(works.path(), &format!("file{number}"), noise(number, 2_000))?;
        let files = tree(works.path())?;
        let name = format!("taken{number}");
        taken.push((take(&*store, &works.reference, &name).await?, files));
    }
    let newest = taken.last().map(|(snapshot, _)| snapshot.id.clone());
    for place in [2, 0, 4, 1, 3, 3] {
        let Some((snapshot, files)) = taken.get(place) else {
            continue;
        };
        let from = ResumeFrom::Snapshot(snapshot.id.clone());
        let again = resume(&*store, &works.reference, from).await?;
        same(
            format!("resumed {}", snapshot.id),
            &tree(again.path())?,
            files,
        )?;
        same(
            "asked what its files are equal to",
            again.base,
            Some(snapshot.id.clone()),
        )?;
        let known = status(&*store, &works.reference).await?;
        same("counted the snapshots", known.snapshots, 5)?;
        same(
            "asked for the newest snapshot",
            known.newest,
            newest.clone(),
        )?;
    }
    Ok(())
}

/// WS-3.
pub async fn resuming_replaces_whatever_the_directory_held<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    write(works.path(), "file", "a file")?;
    write(works.path(), "d/file", "a file in a directory")?;
    let expected = tree(works.path())?;
    let taken = take(&*store, &works.reference, "taken").await?;
    remove(works.path(), "file")?;
    write(works.path(), "file/is now", "a directory")?;
    remove(works.path(), "d/file")?;
    done(
        "removed a directory",
        fs::remove_dir(works.path().join("d")),
    )?;
    write(works.path(), "d", "a file now")?;
    write(works.path(), "more", "more")?;
    directory(works.path(), "more of/it")?;
    same(
        "resumed it",
        resumed(&*store, &works.reference, &taken.id).await?,
        expected,
    )
}

/// WS-3.
pub async fn the_latest_files_are_those_of_the_directory_the_newest_snapshot_or_the_source<
    H: Harness,
>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let source = empty(&*store, "source").await?;
    write(source.path(), "file", "of the source")?;
    let begun = take(&*store, &source.reference, "source").await?;
    let works = copy_of(&*store, "works", &begun.id).await?;
    let latest = async || {
        let again = resume(&*store, &works.reference, ResumeFrom::Latest).await?;
        let content = String::from_utf8_lossy(&read(again.path(), "file")?).into_owned();
        Ok::<_, Halt>((again, content))
    };
    let lose = |path: &std::path::Path| done("removed the directory", fs::remove_dir_all(path));
    lose(works.path())?;
    let (again, content) = latest().await?;
    same(
        "resumed it without directory and snapshot",
        content.as_str(),
        "of the source",
    )?;
    write(again.path(), "file", "of the snapshot")?;
    take(&*store, &works.reference, "taken").await?;
    write(again.path(), "file", "of the directory")?;
    let (again, content) = latest().await?;
    same(
        "resumed it while active",
        content.as_str(),
        "of the directory",
    )?;
    lose(again.path())?;
    let (again, content) = latest().await?;
    same(
        "resumed it without directory",
        content.as_str(),
        "of the snapshot",
    )?;
    write(again.path(), "file", "of the pause")?;
    pause(&*store, &works.reference, "paused").await?;
    let (_, content) = latest().await?;
    same("resumed it when paused", content.as_str(), "of the pause")
}

/// WS-3.
pub async fn an_unknown_or_cleaned_workspace_is_not_found<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let cleaned = empty(&*store, "cleaned").await?.reference;
    let taken = pause(&*store, &cleaned, "taken").await?;
    clean(&*store, Cleanup::Workspace(cleaned.clone())).await?;
    is_in(&*store, &cleaned, WorkspaceState::Cleaned).await?;
    for (what, workspace) in [("an unknown", unknown()?), ("a cleaned", cleaned.clone())] {
        for from in [ResumeFrom::Latest, ResumeFrom::Snapshot(taken.id.clone())] {
            refused(
                format!("resumed {what} workspace from {from:?}"),
                store.resume(resuming(&workspace, from)).await,
                Kind::NotFound,
            )?;
        }
        refused(
            format!("took a snapshot of {what} workspace"),
            store.snapshot(taking(&workspace, "another")?).await,
            Kind::NotFound,
        )?;
        let pin = PinSnapshot {
            workspace: workspace.clone(),
            snapshot: snapshot("another")?,
            pinned: true,
        };
        refused(
            format!("pinned a snapshot of {what} workspace"),
            store.pin(pin).await,
            Kind::NotFound,
        )?;
    }
    let again = store.start(starting("cleaned", Source::Empty)?).await;
    refused("started a cleaned workspace again", again, Kind::NotFound)?;
    let nobody = ok("inspected", store.inspect(&unknown()?).await)?;
    same("inspected an unknown workspace", nobody, None)
}

/// WS-3.
pub async fn an_aborted_workspace_is_aborted<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?.reference;
    let waits = empty(&*store, "waits").await?.reference;
    let taken = take(&*store, &works, "taken").await?;
    pause(&*store, &waits, "paused").await?;
    for (name, workspace) in [("works", works), ("waits", waits)] {
        ok("aborted a workspace", store.abort(&workspace).await)?;
        is_in(&*store, &workspace, WorkspaceState::Aborted).await?;
        for from in [ResumeFrom::Latest, ResumeFrom::Snapshot(taken.id.clone())] {
            refused(
                format!("resumed an aborted workspace from {from:?}"),
                store.resume(resuming(&workspace, from)).await,
                Kind::Aborted,
            )?;
        }
        refused(
            "took a snapshot of an aborted workspace",
            store.snapshot(taking(&workspace, "another")?).await,
            Kind::Aborted,
        )?;
        let again = store.start(starting(name, Source::Empty)?).await;
        refused("started an aborted workspace again", again, Kind::Aborted)?;
    }
    Ok(())
}

/// WS-3.
pub async fn a_workspace_past_its_retention_is_expired<H: Harness>(harness: H) -> Outcome {
    let second = std::time::Duration::from_secs(1);
    let store = harness.store();
    let waits = start(&*store, kept_for_an_hour("waits")?).await?.reference;
    let works = start(&*store, kept_for_an_hour("works")?).await?.reference;
    let kept = empty(&*store, "kept").await?.reference;
    advance(&harness, HOUR).await?;
    let known = status(&*store, &works).await?;
    same(
        "asked when an active workspace expires",
        known.expires_at,
        None,
    )?;
    let paused = pause(&*store, &waits, "paused").await?;
    pause(&*store, &kept, "kept").await?;
    let known = status(&*store, &waits).await?;
    holds(
        known
            .expires_at
            .is_some_and(|at| at >= paused.taken_at.plus(HOUR)),
        "asked when a paused workspace expires",
        "an hour after it was paused",
        known.expires_at,
    )?;
    advance(&harness, HOUR - second * 60).await?;
    resume(&*store, &waits, ResumeFrom::Latest).await?;
    // The hour begins anew.
    let paused = pause(&*store, &waits, "paused-again").await?;
    advance(&harness, HOUR - second * 60).await?;
    resume(&*store, &waits, ResumeFrom::Latest).await?;
    pause(&*store, &waits, "paused-once-more").await?;
    advance(&harness, HOUR + second).await?;
    for from in [ResumeFrom::Latest, ResumeFrom::Snapshot(paused.id)] {
        refused(
            format!("resumed a workspace past its retention from {from:?}"),
            store.resume(resuming(&waits, from)).await,
            Kind::Expired,
        )?;
    }
    let again = store.start(kept_for_an_hour("waits")?).await;
    refused("started it again", again, Kind::Expired)?;
    // Neither one that works nor one without retention is ever past it.
    take(&*store, &works, "taken").await?;
    resume(&*store, &works, ResumeFrom::Latest).await?;
    resume(&*store, &kept, ResumeFrom::Latest).await?;
    Ok(())
}

/// WS-3.
pub async fn an_unknown_snapshot_is_missing<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    write(works.path(), "file", "kept")?;
    let other = empty(&*store, "other").await?.reference;
    let of_other = take(&*store, &other, "other").await?.id;
    for (what, missing) in [
        ("an unknown snapshot", snapshot("unknown")?),
        ("a snapshot of another workspace", of_other),
    ] {
        let from = ResumeFrom::Snapshot(missing.clone());
        refused(
            format!("resumed {what}"),
            store.resume(resuming(&works.reference, from)).await,
            Kind::MissingSnapshot,
        )?;
        let pin = PinSnapshot {
            workspace: works.reference.clone(),
            snapshot: missing,
            pinned: true,
        };
        refused(
            format!("pinned {what}"),
            store.pin(pin).await,
            Kind::MissingSnapshot,
        )?;
    }
    same(
        "read its file",
        read(works.path(), "file")?,
        b"kept".to_vec(),
    )?;
    let from = Source::Snapshot(snapshot("unknown")?);
    refused(
        "began a workspace with an unknown snapshot",
        store.start(starting("new", from)?).await,
        Kind::MissingSnapshot,
    )?;
    // It did not begin, so its id is free.
    empty(&*store, "new").await.map(|_started| ())
}

/// WS-3.
pub async fn a_damaged_snapshot_is_corrupt_and_never_restored<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    let content = noise(1, 10_000);
    write(works.path(), "file", "whole")?;
    let expected = tree(works.path())?;
    let whole = take(&*store, &works.reference, "whole").await?;
    write(works.path(), "more", &content)?;
    let damaged = take(&*store, &works.reference, "damaged").await?;
    if !harness.corrupt(&content).await {
        return Err(Halt::NotCheckable("what is stored cannot be damaged"));
    }
    let from = ResumeFrom::Snapshot(damaged.id.clone());
    refused(
        "resumed a damaged snapshot",
        store.resume(resuming(&works.reference, from)).await,
        Kind::Corrupt,
    )?;
    let from = Source::Snapshot(damaged.id);
    refused(
        "began a workspace with a damaged snapshot",
        store.start(starting("copy", from)?).await,
        Kind::Corrupt,
    )?;
    same(
        "resumed the one before",
        resumed(&*store, &works.reference, &whole.id).await?,
        expected,
    )
}

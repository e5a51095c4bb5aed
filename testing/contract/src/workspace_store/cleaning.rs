//! WS-6: what goes, and what stays.

use std::time::Duration;

use seaworthy_ports::workspace_store::{
    Cleaned, Cleanup, Kind, PinSnapshot, ResumeFrom, Source, WorkspaceState, WorkspaceStore,
};
use seaworthy_ports::{SnapshotId, WorkspaceId};

use super::Harness;
use super::files::{Tree, noise, read, tree, write};
use super::snapshots::unknown;
use super::stage::{
    ALWAYS, HOUR, Store, a_moment, advance, clean, copy_of, dropped_after, empty, inspect, is_in,
    kept_for_an_hour, orphans, pause, pausing, resume, resumed, resuming, start, starting, status,
    take, take_as, taking, workspace,
};
use crate::outcome::{Halt, Outcome, broken, holds, ok, refused, same};

/// WS-6.
pub async fn aborting_is_repeatable_in_every_state<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let unknown = unknown()?;
    let works = empty(&*store, "works").await?.reference;
    let waits = empty(&*store, "waits").await?.reference;
    let cleaned = empty(&*store, "cleaned").await?.reference;
    pause(&*store, &waits, "waits").await?;
    pause(&*store, &cleaned, "cleaned").await?;
    clean(&*store, Cleanup::Workspace(cleaned.clone())).await?;
    for _time in 0..3 {
        for workspace in [&unknown, &works, &waits, &cleaned] {
            ok(format!("aborted {workspace}"), store.abort(workspace).await)?;
        }
        same(
            "inspected an unknown one",
            inspect(&*store, &unknown).await?,
            None,
        )?;
        is_in(&*store, &works, WorkspaceState::Aborted).await?;
        is_in(&*store, &waits, WorkspaceState::Aborted).await?;
        is_in(&*store, &cleaned, WorkspaceState::Cleaned).await?;
    }
    // Aborting what nobody knows makes nothing of it.
    let unknown = start(&*store, starting(unknown.as_str(), Source::Empty)?).await?;
    is_in(&*store, &unknown.reference, WorkspaceState::Active).await
}

/// A workspace with snapshots of different content, the last of which it paused with.
pub(super) async fn with_snapshots(
    store: &Store,
    name: &str,
    count: u64,
) -> Result<(WorkspaceId, Vec<(SnapshotId, Tree)>), Halt> {
    let works = empty(store, name).await?;
    let seed: u64 = name
        .bytes()
        .fold(0, |seed, byte| seed * 31 + u64::from(byte));
    let mut snapshots = Vec::new();
    for number in 0..count {
        for file in 0..4 {
            let content = noise(seed << 16 | number << 8 | file, 10_000);
            write(works.path(), &format!("file{file}"), content)?;
        }
        let files = tree(works.path())?;
        let name = format!("{name}-taken{number}");
        let taking = if number + 1 == count {
            pausing(&works.reference, &name)?
        } else {
            taking(&works.reference, &name)?
        };
        snapshots.push((take_as(store, taking).await?.id, files));
    }
    Ok((works.reference, snapshots))
}

/// Nothing is left of a workspace that was cleaned.
pub(super) async fn is_gone<H: Harness>(
    harness: &H,
    store: &Store,
    workspace: &WorkspaceId,
    occupied_before: Option<u64>,
) -> Outcome {
    let known = status(store, workspace).await?;
    let seen = (known.state, known.snapshots, known.bytes);
    same(
        format!("inspected {workspace} after cleaning it"),
        seen,
        (WorkspaceState::Cleaned, 0, 0),
    )?;
    refused(
        format!("resumed {workspace} after cleaning it"),
        store.resume(resuming(workspace, ResumeFrom::Latest)).await,
        Kind::NotFound,
    )?;
    let occupied = harness.occupied().await;
    holds(
        occupied <= occupied_before,
        format!("cleaned {workspace} and measured the store"),
        format!("at most {occupied_before:?}, as before it was started"),
        occupied,
    )
}

/// WS-6.
pub async fn cleaning_is_repeatable_and_counts_once<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let occupied = harness.occupied().await;
    let (paused, _) = with_snapshots(&*store, "paused", 3).await?;
    let cleanup = Cleanup::Workspace(paused.clone());
    let cleaned = clean(&*store, cleanup.clone()).await?;
    let seen = (cleaned.workspaces, cleaned.snapshots, cleaned.pinned);
    same("cleaned a workspace with three snapshots", seen, (1, 3, 0))?;
    holds(
        cleaned.bytes >= 3 * 4 * 10_000,
        "cleaned three snapshots of 40000 bytes each",
        "at least 120000 bytes",
        cleaned.bytes,
    )?;
    is_gone(&harness, &*store, &paused, occupied).await?;
    for _time in 0..2 {
        let again = clean(&*store, cleanup.clone()).await?;
        same("cleaned it again", again, Cleaned::default())?;
        let nobody = clean(&*store, Cleanup::Workspace(unknown()?)).await?;
        same("cleaned an unknown one", nobody, Cleaned::default())?;
    }
    same(
        "inspected an unknown one",
        inspect(&*store, &unknown()?).await?,
        None,
    )?;
    is_gone(&harness, &*store, &paused, occupied).await?;
    let works = empty(&*store, "aborted").await?;
    write(works.path(), "file", "not in a snapshot")?;
    ok("aborted a workspace", store.abort(&works.reference).await)?;
    let cleaned = clean(&*store, Cleanup::Workspace(works.reference.clone())).await?;
    let seen = (cleaned.workspaces, cleaned.snapshots);
    same("cleaned an aborted workspace", seen, (1, 0))?;
    holds(
        !works.path().exists(),
        "cleaned an aborted workspace and looked for its directory",
        "none",
        works.path(),
    )?;
    is_gone(&harness, &*store, &works.reference, occupied).await
}

/// WS-6.
pub async fn an_active_workspace_is_not_cleaned<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    write(works.path(), "file", "kept")?;
    let taken = take(&*store, &works.reference, "taken").await?;
    write(works.path(), "file", "worked on")?;
    let expected = tree(works.path())?;
    let known = status(&*store, &works.reference).await?;
    refused(
        "cleaned an active workspace",
        store
            .cleanup(Cleanup::Workspace(works.reference.clone()))
            .await,
        Kind::Rejected,
    )?;
    same(
        "inspected it",
        status(&*store, &works.reference).await?,
        known,
    )?;
    same("looked into it", tree(works.path())?, expected)?;
    resumed(&*store, &works.reference, &taken.id)
        .await
        .map(|_files| ())
}

/// WS-6.
pub async fn a_pinned_snapshot_is_not_cleaned<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    let mut taken = Vec::new();
    for (number, pinned) in [true, false, false, true].into_iter().enumerate() {
        write(works.path(), "file", noise(number as u64, 20_000))?;
        let mut take = taking(&works.reference, &format!("taken{number}"))?;
        take.pinned = pinned;
        taken.push((take_as(&*store, take).await?.id, tree(works.path())?));
    }
    let pin = async |place: usize, pinned: bool| {
        let Some((snapshot, _)) = taken.get(place) else {
            return Ok(());
        };
        let pin = PinSnapshot {
            workspace: works.reference.clone(),
            snapshot: snapshot.clone(),
            pinned,
        };
        ok(format!("pinned a snapshot: {pinned}"), store.pin(pin).await)
    };
    // Now the first and the second are.
    for _time in 0..2 {
        pin(1, true).await?;
        pin(3, false).await?;
    }
    same(
        "counted",
        status(&*store, &works.reference).await?.pinned,
        2,
    )?;
    let swept = clean(&*store, orphans(&works.reference, [], ALWAYS)).await?;
    let seen = (swept.snapshots, swept.pinned);
    same("swept four snapshots, two of them pinned", seen, (2, 2))?;
    pause(&*store, &works.reference, "paused").await?;
    let cleaned = clean(&*store, Cleanup::Workspace(works.reference.clone())).await?;
    let seen = (cleaned.workspaces, cleaned.snapshots, cleaned.pinned);
    same(
        "cleaned three snapshots, two of them pinned",
        seen,
        (1, 1, 2),
    )?;
    let known = status(&*store, &works.reference).await?;
    same(
        "inspected it",
        (known.state, known.snapshots, known.pinned),
        (WorkspaceState::Cleaned, 2, 2),
    )?;
    for (number, (snapshot, files)) in taken.iter().take(2).enumerate() {
        let copy = copy_of(&*store, &format!("copy{number}"), snapshot).await?;
        same("began with a pinned snapshot", &tree(copy.path())?, files)?;
    }
    Ok(())
}

/// WS-6.
pub async fn cleaning_a_workspace_leaves_what_others_share<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let first = empty(&*store, "first").await?;
    write(first.path(), "file", noise(1, 50_000))?;
    write(first.path(), "own", "of the first")?;
    let taken = pause(&*store, &first.reference, "first").await?;
    // One shares by its origin, one by its content, and one has taken no snapshot yet.
    let copy = copy_of(&*store, "copy", &taken.id).await?;
    let copied = take(&*store, &copy.reference, "copy").await?;
    let same_content = empty(&*store, "same").await?;
    write(same_content.path(), "file", noise(1, 50_000))?;
    let same_taken = take(&*store, &same_content.reference, "same").await?;
    let fresh = copy_of(&*store, "fresh", &taken.id).await?;
    let all = [
        (&copy, Some(copied.id), tree(copy.path())?),
        (
            &same_content,
            Some(same_taken.id),
            tree(same_content.path())?,
        ),
        (&fresh, None, tree(fresh.path())?),
    ];
    clean(&*store, Cleanup::Workspace(first.reference)).await?;
    for (workspace, snapshot, files) in all {
        let from = snapshot.map_or(ResumeFrom::Latest, ResumeFrom::Snapshot);
        let again = resume(&*store, &workspace.reference, from).await?;
        same(
            "cleaned a workspace and resumed one with the same content",
            tree(again.path())?,
            files,
        )?;
    }
    Ok(())
}

/// WS-6.
pub async fn orphans_are_swept_and_named_young_and_pinned_snapshots_stay<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    let mut taken = Vec::new();
    for number in 0..6 {
        write(works.path(), "file", noise(number, 20_000))?;
        let mut take = taking(&works.reference, &format!("taken{number}"))?;
        take.pinned = number == 1;
        taken.push((take_as(&*store, take).await?, tree(works.path())?));
        advance(&harness, HOUR).await?;
    }
    let [zero, _pinned, named, three, young, youngest] = taken.as_slice() else {
        return Ok(());
    };
    let cleanup = orphans(&works.reference, [&named.0.id], young.0.taken_at);
    let swept = clean(&*store, cleanup.clone()).await?;
    let seen = (swept.workspaces, swept.snapshots, swept.pinned);
    same(
        "swept six snapshots, one named, one pinned, two young",
        seen,
        (0, 2, 1),
    )?;
    let again = clean(&*store, cleanup).await?;
    same("swept again", (again.snapshots, again.bytes), (0, 0))?;
    let nobody = clean(&*store, orphans(&unknown()?, [], ALWAYS)).await?;
    same("swept an unknown workspace", nobody, Cleaned::default())?;
    let known = status(&*store, &works.reference).await?;
    same("inspected it", (known.snapshots, known.pinned), (4, 1))?;
    same(
        "asked for the newest",
        known.newest.as_ref(),
        Some(&youngest.0.id),
    )?;
    same("looked into it", &tree(works.path())?, &youngest.1)?;
    for (snapshot, files) in &taken {
        let from = ResumeFrom::Snapshot(snapshot.id.clone());
        if snapshot.id == zero.0.id || snapshot.id == three.0.id {
            refused(
                "resumed a snapshot that was swept",
                store.resume(resuming(&works.reference, from)).await,
                Kind::MissingSnapshot,
            )?;
        } else {
            let again = resume(&*store, &works.reference, from).await?;
            same(
                format!("resumed {}", snapshot.id),
                &tree(again.path())?,
                files,
            )?;
        }
    }
    Ok(())
}

/// WS-6.
pub async fn what_is_past_its_retention_is_cleaned_and_nothing_else<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let mut all = Vec::new();
    for name in ["paused", "pinned", "aborted", "active", "without", "longer"] {
        let mut new = kept_for_an_hour(name)?;
        match name {
            "without" => new.policy.retention = None,
            "longer" => new.policy.retention = Some(HOUR * 3),
            _ => {}
        }
        let works = start(&*store, new).await?;
        write(works.path(), "file", name)?;
        let mut take = taking(&works.reference, name)?;
        if !matches!(name, "aborted" | "active") {
            take = pausing(&works.reference, name)?;
        }
        take.pinned = name == "pinned";
        take_as(&*store, take).await?;
        if name == "aborted" {
            ok("aborted a workspace", store.abort(&works.reference).await)?;
        }
        all.push(works.reference);
    }
    let cleaned = clean(&*store, Cleanup::Expired).await?;
    same(
        "cleaned what is past its hour, at once",
        cleaned,
        Cleaned::default(),
    )?;
    advance(&harness, HOUR + Duration::from_secs(1)).await?;
    let cleaned = clean(&*store, Cleanup::Expired).await?;
    let seen = (cleaned.workspaces, cleaned.snapshots, cleaned.pinned);
    same("cleaned what is past its hour, after it", seen, (3, 2, 1))?;
    let again = clean(&*store, Cleanup::Expired).await?;
    same("cleaned again", (again.workspaces, again.snapshots), (0, 0))?;
    let mut states = Vec::new();
    for workspace in &all {
        states.push(status(&*store, workspace).await?.state);
    }
    let cleaned = WorkspaceState::Cleaned;
    same(
        "inspected a paused, a pinned and an aborted one past their hour, an active one and two that stay",
        states,
        vec![
            cleaned,
            cleaned,
            cleaned,
            WorkspaceState::Active,
            WorkspaceState::Paused,
            WorkspaceState::Paused,
        ],
    )?;
    for workspace in all.iter().skip(3) {
        let again = resume(&*store, workspace, ResumeFrom::Latest).await?;
        let content = read(again.path(), "file")?;
        same("resumed one that stays", content, workspace.as_str().into())?;
    }
    Ok(())
}

/// WS-6.
pub async fn a_cleanup_that_fails_half_way_finishes_next_time<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let occupied = harness.occupied().await;
    for (name, next) in [
        ("again", Cleanup::Workspace(workspace("again")?)),
        ("expired", Cleanup::Expired),
    ] {
        let (works, snapshots) = with_snapshots(&*store, name, 5).await?;
        if !harness.break_cleanup().await {
            return Err(Halt::NotCheckable("a cleanup cannot be made to fail"));
        }
        let failed = store.cleanup(Cleanup::Workspace(works.clone())).await;
        if let Ok(cleaned) = failed {
            return Err(broken("made a cleanup fail half way", "an error", cleaned));
        }
        is_in(&*store, &works, WorkspaceState::CleanupPending).await?;
        let mut froms = vec![ResumeFrom::Latest];
        froms.extend(
            snapshots
                .into_iter()
                .map(|(id, _)| ResumeFrom::Snapshot(id)),
        );
        for from in froms {
            refused(
                "resumed a workspace whose cleanup has begun",
                store.resume(resuming(&works, from)).await,
                Kind::NotFound,
            )?;
        }
        refused(
            "took a snapshot of it",
            store.snapshot(taking(&works, "another")?).await,
            Kind::NotFound,
        )?;
        ok("aborted it", store.abort(&works).await)?;
        is_in(&*store, &works, WorkspaceState::CleanupPending).await?;
        let cleaned = clean(&*store, next).await?;
        same("cleaned again", cleaned.workspaces, 1)?;
        is_gone(&harness, &*store, &works, occupied).await?;
    }
    Ok(())
}

/// WS-6.
pub async fn a_dropped_cleanup_is_finished_by_the_next<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let occupied = harness.occupied().await;
    for polls in [1, 2, 3, 5, 8, 13, 21, 34] {
        let (works, snapshots) = with_snapshots(&*store, &format!("works{polls}"), 4).await?;
        let cleanup = Cleanup::Workspace(works.clone());
        let _dropped = dropped_after(polls, store.cleanup(cleanup)).await;
        finish(&harness, &*store, &works, &snapshots, occupied).await?;
    }
    Ok(())
}

/// A cleanup that was interrupted has either not begun, so that everything is there, or is finished by the next.
pub(super) async fn finish<H: Harness>(
    harness: &H,
    store: &dyn WorkspaceStore,
    works: &WorkspaceId,
    snapshots: &[(SnapshotId, Tree)],
    occupied_before: Option<u64>,
) -> Outcome {
    let mut has_begun = false;
    for (snapshot, files) in snapshots {
        let from = ResumeFrom::Snapshot(snapshot.clone());
        match store.resume(resuming(works, from)).await {
            Ok(again) if !has_begun => same(
                "resumed a workspace whose cleanup was interrupted",
                &tree(again.path())?,
                files,
            )?,
            Err(error) if error.kind() == Kind::NotFound => has_begun = true,
            other => {
                return Err(broken(
                    "resumed a workspace whose cleanup was interrupted",
                    "all of its snapshots, or NotFound",
                    other.map_err(|error| error.kind()),
                ));
            }
        }
    }
    ok("aborted it", store.abort(works).await)?;
    a_moment().await;
    clean(store, Cleanup::Workspace(works.clone())).await?;
    is_gone(harness, store, works, occupied_before).await
}

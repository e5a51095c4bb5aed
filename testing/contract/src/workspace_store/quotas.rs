//! WS-5: how much there may be.

use std::num::NonZeroU64;
use std::sync::Arc;

use seaworthy_ports::workspace_store::{
    Kind, Quota, Quotas, Source, Workspace, WorkspaceState, WorkspaceStore,
};

use super::Harness;
use super::files::{directory, elsewhere, noise, remove, tree, write};
use super::stage::{
    ALWAYS, a_moment, clean, empty, inspect, is_in, limited, orphans, pausing, resumed, start,
    starting, status, take, taking, try_take, workspace,
};
use crate::outcome::{Halt, Outcome, at_once, broken, ok, refused, same};

const BYTES: Quotas = Quotas {
    bytes: NonZeroU64::new(1_000),
    files: None,
    file_bytes: None,
    snapshots: None,
};
const FILES: Quotas = Quotas {
    bytes: None,
    files: NonZeroU64::new(4),
    ..BYTES
};
const FILE_BYTES: Quotas = Quotas {
    bytes: None,
    file_bytes: NonZeroU64::new(1_000),
    ..BYTES
};

const fn exceeded(quota: Quota) -> Kind {
    Kind::QuotaExceeded { quota }
}

async fn is_refused(
    store: &dyn WorkspaceStore,
    works: &Workspace,
    name: &str,
    quota: Quota,
) -> Outcome {
    refused(
        format!("took a snapshot that exceeds {:?}", works.policy.quotas),
        try_take(store, &taking(&works.reference, name)?).await,
        exceeded(quota),
    )
}

/// WS-5.
pub async fn quotas_allow_exactly_what_they_say<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = start(&*store, limited("bytes", Source::Empty, BYTES)?).await?;
    // Twice the same content is twice its bytes.
    write(works.path(), "one", noise(1, 500))?;
    write(works.path(), "two", noise(1, 500))?;
    write(works.path(), "nothing", "")?;
    let taken = take(&*store, &works.reference, "bytes").await?;
    same("counted the bytes", taken.bytes, 1_000)?;
    write(works.path(), "nothing", "1")?;
    is_refused(&*store, &works, "bytes-more", Quota::Bytes).await?;

    let works = start(&*store, limited("files", Source::Empty, FILES)?).await?;
    write(works.path(), "d/one", noise(1, 5_000))?;
    directory(works.path(), "empty")?;
    write(works.path(), "two", "")?;
    let taken = take(&*store, &works.reference, "files").await?;
    same("counted files and directories", taken.files, 4)?;
    directory(works.path(), "empty/too")?;
    is_refused(&*store, &works, "files-more", Quota::Files).await?;

    let works = start(&*store, limited("file_bytes", Source::Empty, FILE_BYTES)?).await?;
    for name in ["one", "two", "three"] {
        write(works.path(), name, noise(1, 1_000))?;
    }
    take(&*store, &works.reference, "file_bytes").await?;
    write(works.path(), "two", noise(1, 1_001))?;
    is_refused(&*store, &works, "file_bytes-more", Quota::FileBytes).await
}

/// WS-5.
pub async fn a_refused_snapshot_leaves_nothing_behind<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let cases = [
        ("bytes", BYTES, Quota::Bytes),
        ("files", FILES, Quota::Files),
        ("file_bytes", FILE_BYTES, Quota::FileBytes),
    ];
    for (name, quotas, quota) in cases {
        let works = start(&*store, limited(name, Source::Empty, quotas)?).await?;
        write(works.path(), "file", noise(1, 900))?;
        take(&*store, &works.reference, name).await?;
        let known = status(&*store, &works.reference).await?;
        let occupied = harness.occupied().await;
        let more = format!("{name}-more");
        for round in 2..7 {
            for file in 0..5 {
                let size = if quota == Quota::Files { 100 } else { 40_000 };
                write(
                    works.path(),
                    &format!("more{file}"),
                    noise(round << 8 | file, size),
                )?;
            }
            is_refused(&*store, &works, &more, quota).await?;
            let did = format!("took a snapshot that exceeds {quota:?} and inspected it");
            same(did, status(&*store, &works.reference).await?, known.clone())?;
            let did = format!("took a snapshot that exceeds {quota:?} and measured the store");
            same(did, harness.occupied().await, occupied)?;
        }
        for file in 0..5 {
            remove(works.path(), &format!("more{file}"))?;
        }
        write(works.path(), "file", noise(7, 900))?;
        let expected = tree(works.path())?;
        let taken = take(&*store, &works.reference, &more).await?;
        let known = status(&*store, &works.reference).await?;
        same("took it with less in it and counted", known.snapshots, 2)?;
        same(
            "resumed what was refused before",
            resumed(&*store, &works.reference, &taken.id).await?,
            expected,
        )?;
    }
    Ok(())
}

/// WS-5.
pub async fn the_number_of_snapshots_is_kept_and_given_back<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let quotas = Quotas {
        bytes: None,
        snapshots: NonZeroU64::new(2),
        ..BYTES
    };
    let works = start(&*store, limited("works", Source::Empty, quotas)?).await?;
    write(works.path(), "file", "1")?;
    let first = take(&*store, &works.reference, "first").await?;
    write(works.path(), "file", "2")?;
    let second = take(&*store, &works.reference, "second").await?;
    let known = status(&*store, &works.reference).await?;
    let occupied = harness.occupied().await;
    write(works.path(), "file", noise(3, 50_000))?;
    for _time in 0..3 {
        is_refused(&*store, &works, "third", Quota::Snapshots).await?;
        refused(
            "paused with one snapshot too many",
            try_take(&*store, &pausing(&works.reference, "third")?).await,
            exceeded(Quota::Snapshots),
        )?;
    }
    same(
        "inspected it",
        status(&*store, &works.reference).await?,
        known,
    )?;
    same("measured the store", harness.occupied().await, occupied)?;
    // One that is there costs nothing to ask for.
    same(
        "repeated a snapshot when there are as many as there may be",
        take(&*store, &works.reference, "first").await?,
        first,
    )?;
    let swept = clean(&*store, orphans(&works.reference, [&second.id], ALWAYS)).await?;
    same("cleaned one snapshot", swept.snapshots, 1)?;
    let third = take(&*store, &works.reference, "third").await?;
    is_refused(&*store, &works, "fourth", Quota::Snapshots).await?;
    is_in(&*store, &works.reference, WorkspaceState::Active).await?;
    let known = status(&*store, &works.reference).await?;
    same(
        "counted",
        (known.snapshots, known.newest),
        (2, Some(third.id)),
    )
}

/// WS-5.
pub async fn snapshots_at_once_stay_within_their_quota<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let quotas = Quotas {
        bytes: None,
        snapshots: NonZeroU64::new(3),
        ..BYTES
    };
    let works = start(&*store, limited("works", Source::Empty, quotas)?).await?;
    for file in 0..10 {
        write(works.path(), &format!("file{file}"), noise(file, 3_000))?;
    }
    let takers = (0..8).map(|taker| {
        let (store, works) = (Arc::clone(&store), works.reference.clone());
        async move {
            match try_take(&*store, &taking(&works, &format!("taken{taker}"))?).await {
                Ok(_taken) => Ok(1),
                Err(error) if error.kind() == exceeded(Quota::Snapshots) => Ok(0),
                Err(error) => Err(broken(
                    "took eight snapshots at once where three may be",
                    "a snapshot or QuotaExceeded",
                    error.to_string(),
                )),
            }
        }
    });
    let mut taken = 0;
    for one in at_once(takers).await? {
        taken += one?;
    }
    same("took eight snapshots at once where three may be", taken, 3)?;
    a_moment().await;
    same(
        "counted",
        status(&*store, &works.reference).await?.snapshots,
        3,
    )
}

/// WS-5.
pub async fn a_source_beyond_the_quotas_is_refused_at_start<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let large = empty(&*store, "large").await?;
    for file in 0..5 {
        write(large.path(), &format!("file{file}"), noise(file, 30_000))?;
    }
    let taken = take(&*store, &large.reference, "large").await?;
    let directory = elsewhere()?;
    for file in 5..10 {
        write(
            directory.path(),
            &format!("file{file}"),
            noise(file, 30_000),
        )?;
    }
    let occupied = harness.occupied().await;
    let cases = [
        (BYTES, Quota::Bytes),
        (FILES, Quota::Files),
        (FILE_BYTES, Quota::FileBytes),
    ];
    for source in [
        Source::Snapshot(taken.id),
        Source::Directory(directory.path().to_path_buf()),
    ] {
        for (quotas, quota) in cases {
            let started = store.start(limited("small", source.clone(), quotas)?).await;
            let did = format!("began with {source:?} beyond {quotas:?}");
            refused(did, started, exceeded(quota))?;
            same(
                "inspected it",
                inspect(&*store, &workspace("small")?).await?,
                None,
            )?;
            same("measured the store", harness.occupied().await, occupied)?;
        }
    }
    let small = ok(
        "began with nothing under the same id",
        store.start(starting("small", Source::Empty)?).await,
    )?;
    same("looked into it", tree(small.path())?.len(), 0)?;
    Ok::<_, Halt>(())
}

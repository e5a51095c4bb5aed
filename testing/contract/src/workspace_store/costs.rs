//! WS-8: what a snapshot costs.

use seaworthy_ports::WorkspaceId;
use seaworthy_ports::workspace_store::{Kind, ResumeFrom, Snapshot, SnapshotWork};
use tokio::time::Instant;

use super::Harness;
use super::files::{noise, remove, write};
use super::stage::{Store, a_moment, empty, resume, take, taking};
use crate::outcome::{Halt, Outcome, broken, holds, patience, same};

const FILES: u64 = 20;
const SIZE: usize = 20_000;

/// Takes snapshots of files that rest until one reads none of them. A store that goes by times has to read once more
/// what was written just before.
async fn until_nothing_is_read(
    store: &Store,
    of: &WorkspaceId,
    name: &str,
) -> Result<Snapshot, Halt> {
    let deadline = Instant::now() + patience() / 2;
    for number in 0.. {
        let taken = take(store, of, &format!("{name}{number}")).await?;
        if number > 0 {
            holds(
                taken.work.bytes_stored < SIZE as u64 / 2,
                "took snapshots of files that rest",
                "no file stored again",
                taken.work,
            )?;
        }
        if taken.work.files_read == 0 {
            return Ok(taken);
        }
        if Instant::now() >= deadline {
            return Err(broken(
                "took snapshots of files that rest, again and again",
                "at last one that reads none of them",
                taken.work,
            ));
        }
        a_moment().await;
    }
    Err(broken("took snapshots", "an end", "none"))
}

/// WS-8.
pub async fn unchanged_files_are_neither_read_nor_stored_again<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    for file in 0..FILES {
        write(
            works.path(),
            &format!("d{}/file{file}", file % 3),
            noise(file, SIZE),
        )?;
    }
    let first = take(&*store, &works.reference, "first").await?;
    same(
        "took a snapshot of twenty new files",
        first.work.files_read,
        FILES,
    )?;
    holds(
        first.work.blobs_stored > 0,
        "took a snapshot of twenty new files",
        "blobs stored",
        first.work,
    )?;
    let rests = until_nothing_is_read(&*store, &works.reference, "rests").await?;
    same("took it again", rests.manifest, first.manifest)?;
    write(works.path(), "d0/file0", noise(100, SIZE))?;
    let changed = take(&*store, &works.reference, "changed").await?;
    same(
        "took a snapshot with one file of twenty changed",
        changed.work.files_read,
        1,
    )?;
    holds(
        changed.work.bytes_stored < 2 * SIZE as u64,
        "took a snapshot with one file of twenty changed",
        "one file stored",
        changed.work,
    )?;
    until_nothing_is_read(&*store, &works.reference, "rests-again").await?;
    remove(works.path(), "d0/file0")?;
    let removed = take(&*store, &works.reference, "removed").await?;
    same(
        "took a snapshot with one file of twenty removed",
        removed.work.files_read,
        0,
    )
}

/// WS-8.
pub async fn files_that_were_resumed_are_not_stored_again<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    for file in 0..FILES {
        write(works.path(), &format!("file{file}"), noise(file, SIZE))?;
    }
    let first = take(&*store, &works.reference, "first").await?;
    resume(&*store, &works.reference, ResumeFrom::Snapshot(first.id)).await?;
    let second = take(&*store, &works.reference, "second").await?;
    same("resumed and took it again", second.manifest, first.manifest)?;
    holds(
        second.work.bytes_stored < SIZE as u64 / 2,
        "resumed a snapshot and took another of the same files",
        "no file stored again",
        second.work,
    )
}

/// WS-8.
pub async fn a_snapshot_costs_what_it_says<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    for round in 0..4 {
        // Twenty files, then one changed, then none, then one copied.
        match round {
            0 => {
                for file in 0..FILES {
                    write(works.path(), &format!("file{file}"), noise(file, SIZE))?;
                }
            }
            1 => write(works.path(), "file3", noise(103, SIZE))?,
            2 => {}
            _ => write(works.path(), "copied", noise(103, SIZE))?,
        }
        let (said, counted) = costs(&harness, &*store, &works.reference, round).await?;
        same(
            "compared what a snapshot says it cost with what was counted",
            said,
            counted,
        )?;
    }
    Ok(())
}

async fn costs<H: Harness>(
    harness: &H,
    store: &Store,
    of: &WorkspaceId,
    round: u64,
) -> Result<(SnapshotWork, SnapshotWork), Halt> {
    let nobody_counts = Halt::NotCheckable("nobody counts what the store reads and stores");
    let deadline = Instant::now() + patience();
    loop {
        let before = harness.counted().await.ok_or(nobody_counts.clone())?;
        let taken = store.snapshot(taking(of, &format!("taken{round}"))?).await;
        let after = harness.counted().await.ok_or(nobody_counts.clone())?;
        match taken {
            Ok(taken) => {
                let counted = SnapshotWork {
                    files_read: after.files_read.saturating_sub(before.files_read),
                    blobs_stored: after.blobs_stored.saturating_sub(before.blobs_stored),
                    bytes_stored: after.bytes_stored.saturating_sub(before.bytes_stored),
                };
                return Ok((taken.work, counted));
            }
            Err(error) if error.kind() == Kind::Unavailable && Instant::now() < deadline => {
                a_moment().await;
            }
            Err(error) => return Err(broken("took a snapshot", "success", error.to_string())),
        }
    }
}

//! WS-7: snapshots that no log names.

use std::sync::Arc;

use futures_util::future::join;
use seaworthy_ports::workspace_store::{Kind, ResumeFrom};

use super::Harness;
use super::files::{noise, remove, tree, write};
use super::stage::{
    ALWAYS, clean, copy_of, empty, orphans, resumed, resuming, snapshot, status, take, taking,
    try_take,
};
use crate::outcome::{Outcome, ok, polled, refused, same};

/// WS-7.
pub async fn a_snapshot_whose_record_was_lost_is_swept_and_harms_no_other<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    for file in 0..5 {
        write(works.path(), &format!("file{file}"), noise(file, 10_000))?;
    }
    let files = tree(works.path())?;
    let named = take(&*store, &works.reference, "named").await?;
    write(works.path(), "file0", noise(10, 10_000))?;
    let lost = take(&*store, &works.reference, "lost").await?;
    // The log never heard of it. Whoever comes next asks for it again, as the run is where it was.
    let again = match harness.reopen().await {
        Some(store) => store,
        None => Arc::clone(&store),
    };
    let repeated = try_take(&*again, &taking(&works.reference, "lost")?).await;
    same("repeated it", ok("repeated it", repeated)?, lost.clone())?;
    // Or nobody does, and it is swept.
    let swept = clean(&*again, orphans(&works.reference, [&named.id], ALWAYS)).await?;
    same("swept what the log does not name", swept.snapshots, 1)?;
    refused(
        "resumed what was swept",
        again
            .resume(resuming(&works.reference, ResumeFrom::Snapshot(lost.id)))
            .await,
        Kind::MissingSnapshot,
    )?;
    same(
        "resumed what the log names, with which it shared files",
        resumed(&*again, &works.reference, &named.id).await?,
        files,
    )?;
    let known = status(&*again, &works.reference).await?;
    same("asked for the newest", known.newest, Some(named.id))
}

/// WS-7.
pub async fn a_sweep_beside_a_snapshot_takes_nothing_from_it<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    let mut named = Vec::new();
    for (round, looks) in (0..10).zip((0..4).cycle()) {
        // What the orphan has alone is what the next snapshot needs.
        for file in 0..6 {
            write(
                works.path(),
                &format!("file{file}"),
                noise(round << 8 | file, 5_000),
            )?;
        }
        take(&*store, &works.reference, &format!("orphan{round}")).await?;
        write(works.path(), "more", round.to_string())?;
        let files = tree(works.path())?;
        let name = format!("named{round}");
        named.push(snapshot(&name)?);
        let sweep = orphans(&works.reference, &named, ALWAYS);
        let taking = take(&*store, &works.reference, &name);
        let sweeping = clean(&*store, sweep);
        // The sweep begins before, and in the middle of, the snapshot.
        let (taken, swept) = match polled(taking, looks).await {
            Ok(taken) => (taken, sweeping.await),
            Err(taking) => {
                let (swept, taken) = join(sweeping, taking).await;
                (taken, swept)
            }
        };
        taken?;
        swept?;
        let Some(newest) = named.last() else { continue };
        let copy = copy_of(&*store, &format!("copy{round}"), newest).await?;
        same(
            "took a snapshot beside a sweep of one with the same content",
            tree(copy.path())?,
            files,
        )?;
        remove(works.path(), "more")?;
    }
    Ok(())
}

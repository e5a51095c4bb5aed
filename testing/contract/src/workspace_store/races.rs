//! Snapshots beside tools that are at work.

use std::fs;
use std::thread;
use std::time::Duration;

use seaworthy_ports::workspace_store::{Kind, Source};

use super::Harness;
use super::files::{Busy, Node, elsewhere, file, noise, read, symlink, tree, write};
use super::files::{Tree, link, remove};
use super::stage::{copy_of, empty, start, starting, take, taking};
use crate::outcome::{Halt, Outcome, broken, holds, same};

const ROUNDS: u64 = 12;
/// How long a directory or a link stays before it is swapped again.
const AT_REST: Duration = Duration::from_micros(100);
/// Between the first name and the last, so that a copy takes a while.
const BETWEEN: u64 = 24;

/// WS-2.
pub async fn a_snapshot_taken_while_files_change_is_refused_or_consistent<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let works = empty(&*store, "works").await?;
    write(works.path(), "a", "0")?;
    write(works.path(), "z", "0")?;
    fill(works.path())?;
    let root = works.path().to_path_buf();
    // `a` is never behind `z`, and never ahead by more than one.
    let busy = Busy::start(move |number| {
        for name in ["a", "z"] {
            fs::write(root.join("next"), number.to_string())?;
            fs::rename(root.join("next"), root.join(name))?;
        }
        Ok(())
    });
    for round in 0..ROUNDS {
        match store
            .snapshot(taking(&works.reference, &format!("during{round}"))?)
            .await
        {
            Ok(taken) => {
                let copy = copy_of(&*store, &format!("copy{round}"), &taken.id).await?;
                let (first, last) = (count(copy.path(), "a")?, count(copy.path(), "z")?);
                holds(
                    first == last || first == last + 1,
                    "took a snapshot of two files that change in lockstep, the first before the last",
                    "numbers that were there at one time",
                    (first, last),
                )?;
            }
            Err(error) if error.kind() == Kind::Unavailable => {}
            Err(error) => {
                return Err(broken(
                    "took a snapshot while files change",
                    "a snapshot or Unavailable",
                    error.to_string(),
                ));
            }
        }
    }
    busy.end()?;
    let taken = take(&*store, &works.reference, "after").await?;
    let copy = copy_of(&*store, "copy-after", &taken.id).await?;
    same(
        "took a snapshot once the files rest",
        tree(copy.path())?,
        tree(works.path())?,
    )
}

fn fill(root: &std::path::Path) -> Outcome {
    (0..BETWEEN).try_for_each(|number| write(root, &format!("m{number}"), noise(number, 20_000)))
}

fn count(root: &std::path::Path, name: &str) -> Result<u64, Halt> {
    let text = String::from_utf8_lossy(&read(root, name)?).into_owned();
    text.parse()
        .map_err(|_torn| broken("read a file of a snapshot", "a number", text))
}

/// WS-4.
pub async fn a_directory_swapped_for_a_link_leads_nowhere<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let outside = elsewhere()?;
    let works = empty(&*store, "works").await?;
    write(works.path(), "d/file", "inside")?;
    fill(&works.path().join("d"))?;
    // Under each name there is something to be found, so that no read on the wrong way goes unnoticed.
    for name in tree(&works.path().join("d"))?.keys() {
        write(outside.path(), name, "outside")?;
    }
    let expected = tree(works.path())?;
    // Where there are no links, there is nothing to try.
    link(works.path(), "try", "d")?;
    remove(works.path(), "try")?;
    let (root, target) = (works.path().to_path_buf(), outside.path().to_path_buf());
    let busy = Busy::start(move |_number| {
        let (directory, aside) = (root.join("d"), root.join("aside"));
        fs::rename(&directory, &aside)?;
        symlink(&target, &directory)?;
        // Both stay for a while: otherwise nobody is led astray, or nobody who looks twice sees the same.
        thread::sleep(AT_REST);
        fs::remove_file(&directory)?;
        fs::rename(&aside, &directory)?;
        thread::sleep(AT_REST);
        Ok(())
    });
    let from = Source::Directory(works.path().to_path_buf());
    for round in 0..ROUNDS {
        let taking = taking(&works.reference, &format!("during{round}"))?;
        let copied = match store.snapshot(taking).await {
            Ok(taken) => Some(copy_of(&*store, &format!("copy{round}"), &taken.id).await?),
            Err(error) => unless_refused(error.kind())?,
        };
        // A source is read in the same way.
        let second = match store
            .start(starting(&format!("second{round}"), from.clone())?)
            .await
        {
            Ok(second) => Some(second),
            Err(error) => unless_refused(error.kind())?,
        };
        for copy in copied.into_iter().chain(second) {
            stays_inside(&tree(copy.path())?)?;
        }
    }
    busy.end()?;
    let taken = take(&*store, &works.reference, "after").await?;
    let copy = copy_of(&*store, "copy-after", &taken.id).await?;
    same(
        "took a snapshot afterwards",
        tree(copy.path())?,
        expected.clone(),
    )?;
    let second = start(&*store, starting("second-after", from)?).await?;
    same("copied it afterwards", tree(second.path())?, expected)
}

fn unless_refused<T>(kind: Kind) -> Result<Option<T>, Halt> {
    match kind {
        Kind::Unavailable | Kind::Rejected => Ok(None),
        other => Err(broken(
            "copied files while a directory is swapped for a link",
            "a copy, Unavailable or Rejected",
            other,
        )),
    }
}

fn stays_inside(copy: &Tree) -> Outcome {
    let outside = file("outside");
    let astray = copy
        .iter()
        .find(|(_, node)| **node == outside || matches!(node, Node::Link(_)));
    holds(
        astray.is_none(),
        "copied files while a directory is swapped for a link that leads outside",
        "nothing from outside, and no link that leads there",
        astray,
    )
}

//! WS-6, WS-7 and WS-10 across the death of a process.
//!
//! A process works in one workspace: it writes three files, takes a snapshot, writes three more, and so on, and tells of
//! each. So a snapshot with the number n holds exactly the files of the numbers 1 to n.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use seaworthy_ports::Durability;
use seaworthy_ports::workspace_store::{
    Cleanup, Kind, ResumeFrom, Source, WorkspaceStatus, WorkspaceStore,
};

use super::Harness;
use super::cleaning::{finish, with_snapshots};
use super::files::{Tree, file, noise, tree, write};
use super::snapshots::whole_or_missing;
use super::stage::{
    ALWAYS, Store, clean, empty, inspect, orphans, resume, resumed, resuming, snapshot, start,
    starting, status, take, taking, workspace,
};
use crate::chance::{Chance, seed};
use crate::outcome::{Halt, Outcome, broken, declared, holds, refused, same};
use crate::process::{self, Crew, Job, Journal};

const WORKS: &str = "works";
const ROUNDS: u64 = 3;

/// Does in this process what a scenario asks for, until it is killed: works in a workspace and takes snapshot after
/// snapshot, or cleans one. Does nothing where no scenario asks. `open` opens the store in the place that the harness
/// named.
pub fn work<F: Future<Output = Arc<dyn WorkspaceStore>>>(
    open: impl FnOnce(OsString) -> F,
) -> Outcome {
    process::work(|job| async move {
        let Job {
            place,
            words,
            journal,
        } = job;
        let store = open(place).await;
        let work = async {
            match words.as_slice() {
                [what, name] if what == "clean" => clean_one(&*store, name, &journal).await,
                _ => take_for_ever(&*store, &journal).await,
            }
        };
        let (work, orphan) = (std::pin::pin!(work), std::pin::pin!(process::let_go()));
        match select(work, orphan).await {
            Either::Left((worked, _)) => worked,
            Either::Right(_) => Ok(()),
        }
    })
}

async fn clean_one(store: &Store, name: &str, journal: &Journal) -> Outcome {
    let workspace = workspace(name)?;
    journal.write(&format!("cleaning {name}"))?;
    clean(store, Cleanup::Workspace(workspace)).await?;
    journal.write(&format!("cleaned {name}"))?;
    process::let_go().await;
    Ok(())
}

async fn take_for_ever(store: &Store, journal: &Journal) -> Outcome {
    let works = empty(store, WORKS).await?;
    for number in newest(&journal.lines()?, "took") + 1.. {
        for (name, content) in files_of(number) {
            write(works.path(), &name, content)?;
        }
        journal.write(&format!("wrote {number}"))?;
        take(store, &works.reference, &taken(number)).await?;
        journal.write(&format!("took {number}"))?;
    }
    Ok(())
}

fn taken(number: u64) -> String {
    format!("taken{number}")
}

fn files_of(number: u64) -> [(String, Vec<u8>); 3] {
    [0, 1, 2].map(|file| {
        (
            format!("file{number}-{file}"),
            noise(number << 8 | file, 4_000),
        )
    })
}

/// The files of the numbers up to this one.
fn files_up_to(number: u64) -> Tree {
    (1..=number)
        .flat_map(files_of)
        .map(|(name, content)| (name, file(content)))
        .collect()
}

/// The highest number of which the journal tells this.
fn newest(lines: &[String], what: &str) -> u64 {
    let numbers = lines.iter().filter_map(|line| {
        let (word, number) = line.split_once(' ')?;
        (word == what).then(|| number.parse().ok()).flatten()
    });
    numbers.max().unwrap_or(0)
}

async fn open_again<H: Harness>(harness: &H) -> Arc<Store> {
    match harness.reopen().await {
        Some(store) => store,
        None => harness.store(),
    }
}

/// Lets a process take snapshots and kills it.
async fn kill_a_taker<H: Harness>(harness: &H, crew: &Crew, chance: &mut Chance) -> Outcome {
    let many = newest(&crew.journal.lines()?, "took") + 2 + chance.below(4);
    let mut process = crew.start(harness.another_process(), "take")?;
    process
        .until("a process has taken some snapshots", |lines| {
            newest(lines, "took") >= many
        })
        .await?;
    // At a random moment of whatever it does next.
    tokio::time::sleep(Duration::from_micros(chance.below(30_000))).await;
    process.kill()
}

/// WS-10.
pub async fn a_killed_process_loses_no_snapshot_it_was_acknowledged<H: Harness>(
    harness: H,
) -> Outcome {
    let durability = harness.store().capabilities().durability;
    let outcome = look_for_acknowledged(&harness).await;
    declared("durability", durability != Durability::Volatile, outcome)
}

async fn look_for_acknowledged<H: Harness>(harness: &H) -> Outcome {
    let crew = Crew::new()?;
    let mut chance = Chance::new(seed());
    for _round in 0..ROUNDS {
        kill_a_taker(harness, &crew, &mut chance).await?;
        let store = open_again(harness).await;
        let works = workspace(WORKS)?;
        let acknowledged = newest(&crew.journal.lines()?, "took");
        let known = known(&*store).await?;
        holds(
            known.snapshots >= acknowledged,
            "killed a process and counted the snapshots",
            format!("at least the {acknowledged} that were acknowledged"),
            known.snapshots,
        )?;
        for number in 1..=acknowledged {
            same(
                format!("killed a process and resumed its snapshot {number} of {acknowledged}"),
                resumed(&*store, &works, &snapshot(&taken(number))?).await?,
                files_up_to(number),
            )?;
        }
        // Back to where the process was.
        let newest = ResumeFrom::Snapshot(snapshot(&taken(acknowledged))?);
        resume(&*store, &works, newest).await?;
    }
    Ok(())
}

/// What is known of the workspace of a process that was killed.
async fn known(store: &Store) -> Result<WorkspaceStatus, Halt> {
    let works = workspace(WORKS)?;
    inspect(store, &works).await?.ok_or_else(|| {
        broken(
            "killed a process and inspected its workspace",
            "all that was acknowledged",
            "nothing",
        )
    })
}

/// WS-10.
pub async fn the_files_of_an_active_workspace_survive_the_death_of_a_process<H: Harness>(
    harness: H,
) -> Outcome {
    let crew = Crew::new()?;
    let mut chance = Chance::new(seed() ^ 1);
    for _round in 0..ROUNDS {
        kill_a_taker(&harness, &crew, &mut chance).await?;
        let store = open_again(&harness).await;
        known(&*store).await?;
        let works = start(&*store, starting(WORKS, Source::Empty)?).await?;
        let works = resume(&*store, &works.reference, ResumeFrom::Latest).await?;
        has_all(works.path(), newest(&crew.journal.lines()?, "wrote"))?;
    }
    Ok(())
}

fn has_all(root: &Path, number: u64) -> Outcome {
    let found = tree(root)?;
    let missing: BTreeMap<_, _> = files_up_to(number)
        .into_iter()
        .filter(|(name, node)| found.get(name) != Some(node))
        .collect();
    holds(
        missing.is_empty(),
        "killed a process and looked into the directory it worked in",
        format!("all files that it wrote up to {number}"),
        missing,
    )
}

/// WS-7.
pub async fn a_killed_process_leaves_orphans_and_no_dangling_reference<H: Harness>(
    harness: H,
) -> Outcome {
    let crew = Crew::new()?;
    let mut chance = Chance::new(seed() ^ 2);
    for round in 0..ROUNDS {
        kill_a_taker(&harness, &crew, &mut chance).await?;
        let store = open_again(&harness).await;
        let works = workspace(WORKS)?;
        known(&*store).await?;
        let recorded = newest(&crew.journal.lines()?, "took");
        // The next one may be there, and then it is whole, or it may not.
        let next = taking(&works, &taken(recorded + 1))?;
        let look = format!("look{round}");
        whole_or_missing(&*store, &next, &files_up_to(recorded + 1), &look).await?;
        let mut named = Vec::new();
        for number in 1..=recorded {
            named.push(snapshot(&taken(number))?);
        }
        clean(&*store, orphans(&works, &named, ALWAYS)).await?;
        refused(
            "killed a process, swept, and resumed what its log does not name",
            store
                .resume(resuming(&works, ResumeFrom::Snapshot(next.id)))
                .await,
            Kind::MissingSnapshot,
        )?;
        let known = status(&*store, &works).await?;
        same(
            "killed a process, swept, and counted the snapshots",
            known.snapshots,
            recorded,
        )?;
        for (number, name) in (1..).zip(&named) {
            same(
                format!("killed a process, swept, and resumed snapshot {number} of {recorded}"),
                resumed(&*store, &works, name).await?,
                files_up_to(number),
            )?;
        }
    }
    Ok(())
}

/// WS-6.
pub async fn a_cleanup_that_is_killed_half_way_finishes_next_time<H: Harness>(
    harness: H,
) -> Outcome {
    let crew = Crew::new()?;
    let mut chance = Chance::new(seed() ^ 3);
    for round in 0..6 {
        let occupied = harness.occupied().await;
        let name = format!("cleaned{round}");
        let store = harness.store();
        let (works, snapshots) = with_snapshots(&*store, &name, 6).await?;
        let mut process = crew.start(harness.another_process(), &format!("clean {name}"))?;
        let begun = format!("cleaning {name}");
        process
            .until("a process cleans a workspace", |lines| {
                lines.contains(&begun)
            })
            .await?;
        tokio::time::sleep(Duration::from_micros(chance.below(8_000))).await;
        process.kill()?;
        let store = open_again(&harness).await;
        finish(&harness, &*store, &works, &snapshots, occupied).await?;
    }
    Ok(())
}

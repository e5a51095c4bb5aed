//! SS-1 and SS-9 across the death of a process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{Either, select, try_join_all};
use seaworthy_ports::state_store::{
    Append, Document, ExpectedVersion, PutDocument, Seq, StateStore, Version,
};
use seaworthy_ports::{Durability, LogId, WriterId};

use super::documents::{document, key};
use super::{Harness, append, head, labels, log, records, texts, written};
use crate::chance::{Chance, seed};
use crate::outcome::{Halt, Outcome, broken, declared, holds, id, ok, same, time_given};
use crate::process::{self, Crew, Job, Journal};

const LOGS: usize = 4;
const LEAST_ROUNDS: usize = 4;
/// How many processes make a store at once.
pub(super) const MAKERS: usize = 6;
/// How a line begins that tells of a store that was made.
pub(super) const MADE: &str = "made ";

/// Does in this process what a scenario asks for: grows logs and tells of each acknowledgement, until it is killed, or
/// writes to a store that was just made and looks for what others wrote. Does nothing where no scenario asks. `open` opens
/// the store in the place that the harness named.
pub fn work<F: Future<Output = Arc<dyn StateStore>>>(open: impl FnOnce(OsString) -> F) -> Outcome {
    process::work(|job| async move {
        let Job {
            place,
            words,
            journal,
        } = job;
        let store = open(place).await;
        if let [what, number] = words.as_slice()
            && what == "make"
        {
            return share(&*store, number, &journal).await;
        }
        let writers = (0..LOGS).map(|number| write_for_ever(&*store, number, &journal));
        let work = std::pin::pin!(try_join_all(writers));
        let orphan = std::pin::pin!(process::let_go());
        match select(work, orphan).await {
            Either::Left((worked, _)) => worked.map(|_never: Vec<()>| ()),
            Either::Right(_) => Ok(()),
        }
    })
}

/// Writes to a store that was just made, and sees what its other makers wrote.
async fn share(store: &dyn StateStore, number: &str, journal: &Journal) -> Outcome {
    written(store, append(&log(number)?, 0, &[number])?).await?;
    journal.write(&format!("{MADE}{number}"))?;
    process::let_go().await;
    for maker in 0..MAKERS {
        let name = maker.to_string();
        same(
            "read what another process wrote to a store that both made",
            texts(store, &log(&name)?).await?,
            vec![name],
        )?;
    }
    journal.write(&format!("saw {number}"))
}

/// Two records, a label that says how many there are, and a document beside them, again and again.
async fn write_for_ever(store: &dyn StateStore, number: usize, journal: &Journal) -> Outcome {
    let log = log(&format!("log{number}"))?;
    loop {
        let at = head(store, &log).await?.map_or(0, |head| head.seq.0);
        let appended = written(store, growth(&log.name.to_string(), at)?).await?;
        journal.write(&format!("append {number} {}", appended.head.0))?;
        let before = document(store, &key(&log, "beside")?).await?;
        let version = before.map_or(0, |before| before.version.0) + 1;
        let put = beside(log.name.as_str(), version)?;
        ok("put a document", store.put(put).await)?;
        journal.write(&format!("put {number} {version}"))?;
    }
}

/// The document of this version: its writer and its value tell which one it is.
fn beside(name: &str, version: u64) -> Result<PutDocument, Halt> {
    let value = format!("{version} ").repeat(100 + usize::try_from(version % 400).unwrap_or(0));
    Ok(PutDocument {
        key: key(&log(name)?, "beside")?,
        expected: ExpectedVersion::Any,
        writer: id(WriterId::new(format!("writer{version}")))?,
        value: Bytes::from(value),
    })
}

fn growth(name: &str, at: u64) -> Result<Append, Halt> {
    let count = (at + 2).to_string();
    Ok(Append {
        labels: labels([("count", &count)]),
        ..append(&log(name)?, at, &[&(at + 1).to_string(), &count])?
    })
}

/// The highest number that was acknowledged for each log.
fn acknowledged(lines: &[String], what: &str) -> BTreeMap<usize, u64> {
    let mut highest = BTreeMap::new();
    for line in lines {
        let mut words = line.split(' ');
        if words.next() == Some(what)
            && let (Some(Ok(log)), Some(Ok(number))) = (
                words.next().map(str::parse),
                words.next().map(str::parse::<u64>),
            )
        {
            let known = highest.entry(log).or_default();
            *known = number.max(*known);
        }
    }
    highest
}

/// Lets a process write and kills it, again and again, and hands each time to `look` what is left, and what the journal
/// says was acknowledged.
async fn kill_writers<H: Harness, F: Future<Output = Outcome>>(
    harness: &H,
    look: impl Fn(Arc<dyn StateStore>, Vec<String>) -> F,
) -> Outcome {
    let crew = Crew::new()?;
    let mut chance = Chance::new(seed());
    let (began, mut rounds) = (Instant::now(), 0);
    while rounds < LEAST_ROUNDS || began.elapsed() < time_given() {
        rounds += 1;
        let before = crew.journal.lines()?.len();
        let many = before + 20 + usize::try_from(chance.below(80)).unwrap_or(0);
        let mut writer = crew.start(harness.another_process(), "write")?;
        writer
            .until("a process has written for a while", |lines| {
                lines.len() >= many
            })
            .await?;
        writer.kill()?;
        let store = match harness.reopen().await {
            Some(store) => store,
            None => harness.store(),
        };
        look(store, crew.journal.lines()?).await?;
    }
    Ok(())
}

/// SS-1.
pub async fn a_killed_process_leaves_no_part_of_an_append<H: Harness>(harness: H) -> Outcome {
    let durability = harness.store().capabilities().durability;
    let outcome = kill_writers(&harness, |store, _lines| async move {
        let mut grown = 0;
        for number in 0..LOGS {
            let log = log(&format!("log{number}"))?;
            let before = head(&*store, &log).await?;
            let mut is_grown = is_whole(&*store, &log).await;
            // A server may finish what was under way when its client died: one append at most. It is looked at again.
            if is_grown.is_err() && head(&*store, &log).await? != before {
                is_grown = is_whole(&*store, &log).await;
            }
            grown += usize::from(is_grown?);
        }
        holds(
            grown > 0,
            "looked at the logs of a killed process",
            "at least one",
            grown,
        )
    })
    .await;
    declared("durability", durability != Durability::Volatile, outcome)
}

/// Whether the log is there; if so, it must consist of whole appends, and its newest can be repeated.
async fn is_whole(store: &dyn StateStore, log: &LogId) -> Result<bool, Halt> {
    let found = records(store, log, 0).await?;
    let count = found.len() as u64;
    holds(
        count.is_multiple_of(2),
        "killed a process that appends two records at a time, and read",
        "whole appends",
        count,
    )?;
    for (record, expected) in found.iter().zip(1_u64..) {
        same(
            "read what a killed process wrote",
            record.body.clone(),
            expected.to_string().into(),
        )?;
    }
    let Some(head) = head(store, log).await? else {
        return Ok(false);
    };
    same("compared the head with the records", head.seq, Seq(count))?;
    same(
        "compared the label with the records",
        head.labels,
        labels([("count", &count.to_string())]),
    )?;
    // Whoever sent it may not have heard of it, and asks again.
    let newest = growth(log.name.as_str(), count.saturating_sub(2))?;
    let again = ok("repeated the newest append", store.append(newest).await)?;
    same("repeated the newest append", again.head, Seq(count))?;
    Ok(true)
}

/// SS-9.
pub async fn a_killed_process_loses_nothing_it_was_acknowledged<H: Harness>(harness: H) -> Outcome {
    let durability = harness.store().capabilities().durability;
    let outcome = kill_writers(&harness, |store, lines| {
        async move {
            for (number, told) in acknowledged(&lines, "append") {
                let seen = head(&*store, &log(&format!("log{number}"))?).await?;
                let seen = seen.map_or(0, |head| head.seq.0);
                holds(
                    seen >= told,
                    "killed a process and asked for the head of its log",
                    format!("at least {told}, which was acknowledged"),
                    seen,
                )?;
            }
            let puts = acknowledged(&lines, "put");
            if puts.is_empty() {
                return Err(broken("let a process write", "documents", lines.len()));
            }
            for (number, told) in puts {
                let key = key(&log(&format!("log{number}"))?, "beside")?;
                let seen = document(&*store, &key).await?;
                let seen = seen.map_or(0, |document| document.version.0);
                holds(
                    seen >= told,
                    "killed a process and asked for the document of its log",
                    format!("at least version {told}, which was acknowledged"),
                    seen,
                )?;
            }
            Ok(())
        }
        .boxed()
    })
    .await;
    declared("durability", durability != Durability::Volatile, outcome)
}

/// SS-13.
pub async fn a_killed_process_leaves_a_document_whole_with_its_writer<H: Harness>(
    harness: H,
) -> Outcome {
    let durability = harness.store().capabilities().durability;
    let outcome = kill_writers(&harness, |store, _lines| async move {
        let mut found = 0;
        for number in 0..LOGS {
            let name = format!("log{number}");
            let Some(left) = document(&*store, &key(&log(&name)?, "beside")?).await? else {
                continue;
            };
            let whole = beside(&name, left.version.0)?;
            let expected = Document {
                version: Version(left.version.0),
                writer: whole.writer,
                value: whole.value,
            };
            holds(
                left == expected,
                "killed a process that puts documents, and asked for one",
                format!("the writer and the value of version {}", left.version.0),
                (&left.writer, left.value.get(..40)),
            )?;
            found += 1;
        }
        holds(
            found > 0,
            "looked at the documents of a killed process",
            "at least one",
            found,
        )
    })
    .await;
    declared("durability", durability != Durability::Volatile, outcome)
}

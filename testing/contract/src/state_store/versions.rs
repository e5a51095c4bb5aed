//! SS-12 and SS-14: stores that are made by several processes at once, that a newer version made, and that lost their end.

use futures_util::TryStreamExt as _;
use seaworthy_ports::state_store::{Append, Kind, Record, Seq, StateStore, StateStoreError};

use super::processes::{MADE, MAKERS};
use super::{Harness, append, labels, log, texts, written};
use crate::outcome::{Halt, Outcome, broken, same};
use crate::process::Crew;

const LOGS: usize = 8;
const APPENDS: u64 = 5;

/// SS-14.
pub async fn processes_that_make_a_store_at_once_share_it<H: Harness>(harness: H) -> Outcome {
    let crew = Crew::new()?;
    let mut makers = Vec::new();
    for number in 0..MAKERS {
        makers.push(crew.start(harness.makers(), &format!("make {number}"))?);
    }
    for maker in &mut makers {
        maker
            .until("every process has made the store", |lines| {
                lines.iter().filter(|line| line.starts_with(MADE)).count() == MAKERS
            })
            .await?;
    }
    // Each looks now for what the others wrote, and ends well if it finds it.
    for maker in makers {
        maker.end().await?;
    }
    let lines = crew.journal.lines()?;
    let saw = lines.iter().filter(|line| line.starts_with("saw")).count();
    same(
        "counted the processes that saw what all of them wrote",
        saw,
        MAKERS,
    )
}

/// SS-12.
pub async fn a_store_of_a_newer_version_is_refused<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    written(&*store, append(&log, 0, &["a"])?).await?;
    drop(store);
    let opened = harness.open_as_if_newer().await.ok_or(Halt::NotCheckable(
        "what is stored does not say which version made it",
    ))?;
    same(
        "opened a store that a newer version made",
        opened.err().map(|error| error.kind()),
        Some(Kind::Rejected),
    )
}

async fn fill(store: &dyn StateStore) -> Outcome {
    for number in 0..LOGS {
        for at in 0..APPENDS {
            let one = Append {
                labels: labels([("at", &at.to_string())]),
                ..append(&log(&format!("log{number}"))?, at, &[&at.to_string()])?
            };
            written(store, one).await?;
        }
    }
    Ok(())
}

fn all() -> Vec<String> {
    (0..APPENDS).map(|at| at.to_string()).collect()
}

/// SS-9.
pub async fn a_torn_write_costs_nothing_that_was_acknowledged<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    fill(&*store).await?;
    drop(store);
    let store = match harness.reopen_after_a_torn_write().await {
        None => {
            return Err(Halt::NotCheckable(
                "a write that was cut off cannot be left behind",
            ));
        }
        Some(Ok(store)) => store,
        Some(Err(error)) => {
            return Err(broken(
                "opened a store with a torn write at its end",
                "success",
                error.to_string(),
            ));
        }
    };
    for number in 0..LOGS {
        let log = log(&format!("log{number}"))?;
        same(
            "read after a torn write",
            texts(&*store, &log).await?,
            all(),
        )?;
        written(&*store, append(&log, APPENDS, &["more"])?).await?;
    }
    Ok(())
}

/// SS-12.
pub async fn a_store_that_lost_its_end_says_so_and_is_never_shorter<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    fill(&*store).await?;
    drop(store);
    let opened = harness
        .reopen_after_losing_the_end()
        .await
        .ok_or(Halt::NotCheckable("what is stored cannot be cut short"))?;
    let store = match opened {
        Ok(store) => store,
        // The whole store says that it is damaged.
        Err(error) => {
            return same(
                "opened a store that lost its end",
                error.kind(),
                Kind::Corrupt,
            );
        }
    };
    let mut damaged = 0;
    for number in 0..LOGS {
        let log = log(&format!("log{number}"))?;
        let head = store.head(&log).await.map(|head| head.map(|head| head.seq));
        let read: Result<Vec<Record>, StateStoreError> =
            store.read(&log, Seq::ZERO).try_collect().await;
        let read = read.map(|records| records.len() as u64);
        for (did, seen) in [
            (
                "asked a store that lost its end for a head",
                head.map(|head| head.unwrap_or_default().0),
            ),
            ("read from a store that lost its end", read),
        ] {
            match seen {
                Err(error) if error.kind() == Kind::Corrupt => damaged += 1,
                seen => same(did, seen.map_err(|error| error.kind()), Ok(APPENDS))?,
            }
        }
    }
    // If nobody is, the harness cut off nothing.
    if damaged == 0 {
        return Err(Halt::NotCheckable("nothing that counts was cut off"));
    }
    Ok(())
}

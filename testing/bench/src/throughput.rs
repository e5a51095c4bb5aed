//! Many runs at once, against what SQLite itself reaches with transactions of the same size.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use seaworthy::harness::worker;
use seaworthy::ports::durable_runtime::Scope;
use seaworthy::ports::state_store::{Append, Expected, Labels, StateStore as _};
use seaworthy::ports::{AppendId, Latch, LogId, RunId, WorkerId};
use tokio::task::JoinSet;

use crate::Failure;
use crate::counting::{Seen, cpu};
use crate::model::Steady;
use crate::raw::{self, Calls, Shape};
use crate::report::{Limit, Report};
use crate::stack::{Files, Stack};

const RUNS: usize = 64;

/// What so many runs at once came to.
#[derive(Clone, Copy, Debug)]
struct Runs {
    appends: usize,
    appends_a_second: f64,
    shape: Shape,
    cores: f64,
}

/// One measurement of the runs, and of SQLite right after it.
#[derive(Clone, Copy, Debug)]
struct Round {
    runs: Runs,
    on_disk: Runs,
    store_alone: f64,
    ceiling: f64,
    one_call: f64,
    bulk: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.runs.appends_a_second / self.ceiling
    }
}

/// Measures several rounds and reports the median one.
pub(crate) async fn measure(
    folder: &Path,
    quick: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    let (rounds, turns) = if quick { (1, 20) } else { (5, 200) };
    let mut measured = Vec::new();
    for round in 0..rounds {
        measured.push(one(folder, round, turns).await?);
    }
    measured.sort_by(|one, two| one.ratio().total_cmp(&two.ratio()));
    let Some(median) = measured.get(measured.len() / 2) else {
        return Ok(());
    };
    let Round { runs, on_disk, .. } = median;
    report.add(
        "64 runs at once on SQLite, synchronous = FULL: appends",
        runs.appends_a_second,
        "/s",
    );
    report.add("  appends in a transaction", runs.shape.group, "");
    report.add("  records in an append", runs.shape.bodies, "");
    report.add("  bytes in a record", runs.shape.bytes, "");
    report.add("  cores used", runs.cores, "");
    report.add(
        "the same with tools in the process sandbox, on real files",
        on_disk.appends_a_second,
        "/s",
    );
    report.add("  cores used", on_disk.cores, "");
    report.add(
        "the store alone, 64 writers of such appends",
        median.store_alone,
        "/s",
    );
    report.add(
        "raw SQLite, the same transactions, a call for each append",
        median.ceiling,
        "/s",
    );
    report.hold("  runs / raw", median.ratio(), "", Limit::Least(0.5));
    report.add(
        "  raw, with all its statements in one call",
        median.one_call,
        "/s",
    );
    report.add(
        "  raw, with one statement for all rows of a table",
        median.bulk,
        "/s",
    );
    let mut spread = measured.iter().map(Round::ratio);
    report.add(
        "  the least ratio of all rounds",
        spread.next().unwrap_or(f64::NAN),
        "",
    );
    report.add(
        "  the largest",
        spread.next_back().unwrap_or_else(|| median.ratio()),
        "",
    );
    Ok(())
}

async fn one(folder: &Path, round: usize, turns: usize) -> Result<Round, Failure> {
    let on_disk = together(folder, &format!("on-disk-{round}"), turns, Files::OnDisk).await?;
    let runs = together(folder, &format!("many-{round}"), turns, Files::InMemory).await?;
    let store_alone = alone(folder, round, runs.shape, runs.appends).await?;
    let raw = async |name: &str, calls| {
        let path = folder.join(format!("{name}-{round}.db"));
        raw::ceiling(&path, runs.shape, runs.appends, calls).await
    };
    Ok(Round {
        runs,
        on_disk,
        store_alone,
        ceiling: raw("raw", Calls::Append).await?,
        one_call: raw("one-call", Calls::Transaction).await?,
        bulk: raw("bulk", Calls::Bulk).await?,
    })
}

/// Starts so many runs, then serves them all to their end.
async fn together(folder: &Path, name: &str, turns: usize, files: Files) -> Result<Runs, Failure> {
    let stack = Stack::open(folder, name, Steady { turns, calls: 1 }, files).await?;
    try_join_all((0..RUNS).map(|number| stack.start(format!("r{number}")))).await?;
    stack.store.take();
    let (transactions, computed, began) = (stack.transactions()?, cpu(), Instant::now());
    let (stop, stopped) = Latch::new();
    let me = worker(WorkerId::new("bench")?, Scope::All, RUNS);
    let (served, ()) = tokio::join!(stack.harness.serve(me, stopped), async {
        stack.store.sealed(RUNS).await;
        stop.set();
    });
    served?;
    let computed = cpu().saturating_sub(computed);
    let transactions = stack.transactions()?.wrapping_sub(transactions);
    let seen = stack.store.take();
    stack.close().await;
    let took = until_last(&seen, began).ok_or("nothing was appended")?;
    let appends = seen.len() as f64;
    let bodies: usize = seen.iter().map(|seen| seen.bodies).sum();
    let bytes: usize = seen.iter().map(|seen| seen.bytes).sum();
    Ok(Runs {
        appends: seen.len(),
        appends_a_second: appends / took.as_secs_f64(),
        shape: Shape {
            group: appends / f64::from(transactions),
            bodies: bodies as f64 / appends,
            bytes: bytes as f64 / bodies as f64,
        },
        cores: computed.as_secs_f64() / took.as_secs_f64(),
    })
}

/// Appends a second of the store without a harness: what is between this and the runs is the harness, what is between
/// this and SQLite is the adapter.
async fn alone(folder: &Path, round: usize, shape: Shape, appends: usize) -> Result<f64, Failure> {
    let steady = Steady { turns: 1, calls: 1 };
    let stack = Stack::open(folder, &format!("alone-{round}"), steady, Files::InMemory).await?;
    let each = appends.div_ceil(RUNS);
    let body = Bytes::from(vec![b'x'; raw::whole(shape.bytes).max(1)]);
    let bodies = vec![body; raw::whole(shape.bodies.round()).max(1)];
    let labels: Labels = [
        ("status", "running"),
        ("agent", "steady"),
        ("updated_at", "now"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let began = Instant::now();
    let mut writers = JoinSet::new();
    for number in 0..RUNS {
        let (store, bodies, labels) = (Arc::clone(&stack.store), bodies.clone(), labels.clone());
        let log = LogId::run(&RunId::new(format!("w{number}"))?);
        writers.spawn(async move {
            let mut expected = Expected::Absent;
            for append in 0..each {
                let append = Append {
                    log: log.clone(),
                    id: AppendId::new(format!("{number}.{append}"))?,
                    expected,
                    bodies: bodies.clone(),
                    labels: labels.clone(),
                    seal: false,
                };
                expected = Expected::Head(store.append(append).await?.head);
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    let took = began.elapsed();
    stack.close().await;
    Ok((each * RUNS) as f64 / took.as_secs_f64())
}

fn until_last(seen: &[Seen], began: Instant) -> Option<Duration> {
    seen.iter().map(|seen| seen.at.duration_since(began)).max()
}

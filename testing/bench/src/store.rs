//! The store alone, against SQLite itself: many logs at once, and one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use seaworthy::ports::state_store::{Append, Expected, Labels, StateStore};
use seaworthy::ports::{AppendId, LogId, RunId};
use seaworthy::system::SystemClock;
use tokio::task::JoinSet;

use crate::Failure;
use crate::meter::Meter;
use crate::raw::{self, Shape, whole};
use crate::report::{Cost, Goal, Raw, Report, Row, median, micros};
use crate::stack::{database, sqlite};

/// Bytes of a record, about as many as a tool call's.
pub(crate) const BYTES: usize = 400;

/// One measurement of so many writers, and of SQLite right after it.
struct Round {
    appends_a_second: f64,
    raw: f64,
    /// The same in the adapter's own layout.
    chained: f64,
    group: f64,
    cost: Cost,
}

/// Measures.
pub(crate) async fn measure(
    folder: &Path,
    quick: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    let (rounds, appends) = if quick { (3, 12_800) } else { (7, 51_200) };
    for logs in [64, 256] {
        let mut measured = Vec::new();
        for round in 0..rounds {
            let folder = folder.join(format!("store-{logs}-{round}"));
            measured.push(one(&folder, logs, appends).await?);
        }
        measured.sort_by(|one, two| ratio(one).total_cmp(&ratio(two)));
        let spread = match (measured.first(), measured.last()) {
            (Some(least), Some(most)) => format!("{:.2} to {:.2}", ratio(least), ratio(most)),
            _ => String::new(),
        };
        let Some(median) = measured.get(measured.len() / 2) else {
            continue;
        };
        let raw = Raw::of(
            "SQLite by hand, as many appends in a transaction, two statements each",
            median.appends_a_second,
            median.raw,
        );
        report.add(
            Row::new(
                format!("SQLite FULL, {logs} logs at once: appends"),
                median.appends_a_second,
                "/s",
            )
            .beside(raw)
            .goal(Goal::RatioLeast(0.8))
            .costs(median.cost)
            .note(format!(
                "{:.0} appends in a transaction; ratios of {rounds} rounds: {spread}",
                median.group
            )),
        );
        let what = "SQLite by hand in the adapter's own layout, which is not the usual one";
        let chained = Raw::of(what, median.appends_a_second, median.chained);
        report.add(Row::new("  the same", median.appends_a_second, "/s").beside(chained));
    }
    single(folder, quick, report).await
}

fn ratio(round: &Round) -> f64 {
    round.appends_a_second / round.raw
}

async fn one(folder: &Path, logs: usize, appends: usize) -> Result<Round, Failure> {
    let shape = Shape {
        logs,
        group: 1.0,
        bodies: 1.0,
        bytes: BYTES as f64,
    };
    let (appends_a_second, cost, group) = together(folder, shape, appends).await?;
    let shape = Shape { group, ..shape };
    let raw = raw::appends(folder, shape, appends)?;
    let chained = raw::chained(folder, shape, appends)?;
    Ok(Round {
        appends_a_second,
        raw,
        chained,
        group,
        cost,
    })
}

/// Appends a second, what one costs, and how many one transaction had, when each log has a writer that appends again as
/// soon as its last append is acknowledged.
pub(crate) async fn together(
    folder: &Path,
    shape: Shape,
    appends: usize,
) -> Result<(f64, Cost, f64), Failure> {
    let sqlite = sqlite(folder, Arc::new(SystemClock::new())).await?;
    let store = sqlite.state_store();
    let bodies = bodies(shape);
    // The heads exist before the clock starts: creating logs is another operation.
    run_writers(&store, shape.logs, 0..1, &bodies).await?;
    let each = appends.div_ceil(shape.logs);
    let meter = Meter::of_database(&database(folder))?;
    run_writers(&store, shape.logs, 1..each + 1, &bodies).await?;
    let took = meter.began().elapsed();
    let appends = each * shape.logs;
    let cost = meter.a_step(appends)?;
    let group = appends as f64 / f64::from(meter.transactions()?.max(1));
    sqlite.close().await;
    Ok((appends as f64 / took.as_secs_f64(), cost, group))
}

pub(crate) fn bodies(shape: Shape) -> Vec<Bytes> {
    let body = Bytes::from(vec![b'x'; whole(shape.bytes).max(1)]);
    vec![body; whole(shape.bodies.round()).max(1)]
}

/// The appends `which` of each log.
pub(crate) async fn run_writers(
    store: &Arc<dyn StateStore>,
    logs: usize,
    which: std::ops::Range<usize>,
    bodies: &[Bytes],
) -> Result<(), Failure> {
    let mut writers = JoinSet::new();
    for number in 0..logs {
        let (store, bodies, which) = (Arc::clone(store), bodies.to_vec(), which.clone());
        writers.spawn(async move {
            for append in which {
                store.append(next(number, append, &bodies)?).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    Ok(())
}

/// The append with that number to the log with that number.
pub(crate) fn next(log: usize, append: usize, bodies: &[Bytes]) -> Result<Append, Failure> {
    let labels: Labels = [
        ("status", "running"),
        ("agent", "steady"),
        ("created_at", "now"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let head = u64::try_from(append * bodies.len())?;
    Ok(Append {
        log: LogId::run(&RunId::new(format!("w{log}"))?),
        id: AppendId::new(format!("{log}.{append}"))?,
        expected: if head == 0 {
            Expected::Absent
        } else {
            Expected::Head(seaworthy::ports::state_store::Seq(head))
        },
        bodies: bodies.to_vec(),
        labels,
        seal: false,
    })
}

/// One log, one append at a time.
async fn single(folder: &Path, quick: bool, report: &mut Report) -> Result<(), Failure> {
    let (rounds, appends) = if quick { (3, 400) } else { (7, 2_000) };
    let mut measured = Vec::new();
    for round in 0..rounds {
        let folder = folder.join(format!("single-{round}"));
        let sqlite = sqlite(&folder, Arc::new(SystemClock::new())).await?;
        let store = sqlite.state_store();
        let shape = Shape {
            logs: 1,
            group: 1.0,
            bodies: 1.0,
            bytes: BYTES as f64,
        };
        let bodies = bodies(shape);
        // Another thread of the runtime, as a run is.
        let times = tokio::spawn(async move {
            store.append(next(0, 0, &bodies)?).await?;
            let mut times = Vec::with_capacity(appends);
            for append in 1..=appends {
                let append = next(0, append, &bodies)?;
                let began = Instant::now();
                store.append(append).await?;
                times.push(began.elapsed().as_secs_f64());
            }
            Ok::<_, Failure>(times)
        })
        .await??;
        let ours = Duration::from_secs_f64(median(times).ok_or("nothing was appended")?);
        sqlite.close().await;
        let raw = raw::single(&folder.join("raw.db"), BYTES, appends)?;
        measured.push((ours, raw));
    }
    let ratio = |(ours, raw): &(Duration, Duration)| ours.as_secs_f64() / raw.as_secs_f64();
    measured.sort_by(|one, two| ratio(one).total_cmp(&ratio(two)));
    if let Some((ours, raw)) = measured.get(measured.len() / 2) {
        let raw = Raw::of(
            "one commit by hand: two statements",
            micros(*ours),
            micros(*raw),
        );
        report.add(
            Row::new("SQLite FULL, one log: a durable step", micros(*ours), "us")
                .beside(raw)
                .goal(Goal::RatioMost(1.3)),
        );
    }
    Ok(())
}

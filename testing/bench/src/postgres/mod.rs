//! Everything on PostgreSQL: appends against statements by hand, whole runs, claims, and what an idle worker asks.

mod probe;
mod proxy;
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaworthy::postgres::Postgres;
use seaworthy::system::SystemClock;

use crate::Failure;
use crate::clock::BenchClock;
use crate::many::{AGENT, AT_ONCE};
use crate::meter::Meter;
use crate::raw;
use crate::report::{Cost, Goal, Raw, Report, Row, median, micros};
use crate::runtime::{WORKERS, submit, take_due, watch_idle};
use crate::stack::Stack;
use crate::store::{BYTES, bodies, next, run_writers};
use probe::{Shape, Way};
use proxy::Proxy;
use server::{Schema, Written, with_schema};

/// How many appends are in flight at once.
const IN_FLIGHT: usize = 64;
/// On how many connections they travel by hand: the best of these counts.
const CONNECTIONS: [usize; 3] = [1, 2, 4];

/// Measures, where there is a server.
pub(crate) async fn measure(
    folder: &Path,
    quick: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    let Some(url) = server::url() else {
        for what in [
            "Postgres, 64 in flight: appends",
            "Postgres, one run: round trips a step",
            "Postgres, one run: a durable step",
            "Postgres, 64 runs at once of 5 turns, 3 calls a turn: steps",
            "Postgres, due runs, 4 workers: from one turn to the next (median)",
            "Postgres: queries of an idle worker",
        ] {
            report.add(Row::skipped(
                what,
                "there is no server: SEAWORTHY_TEST_POSTGRES is not set",
            ));
        }
        return Ok(());
    };
    appends(&url, quick, report).await?;
    one_log(&url, quick, report).await?;
    runs(&url, folder, quick, report).await?;
    due(&url, quick, report).await?;
    idle(&url, quick, report).await
}

/// Our appends, and the best way by hand right after them.
struct Round {
    ours: f64,
    raw: f64,
    best: Shape,
    cost: Cost,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.ours / self.raw
    }
}

/// Many logs at once.
async fn appends(url: &str, quick: bool, report: &mut Report) -> Result<(), Failure> {
    let (rounds, appends) = if quick { (3, 12_800) } else { (7, 64_000) };
    let shape = raw::Shape {
        logs: IN_FLIGHT,
        group: 1.0,
        bodies: 1.0,
        bytes: BYTES as f64,
    };
    let mut measured = Vec::new();
    for _round in 0..rounds {
        let (ours, cost) = together(url, shape, appends).await?;
        let (raw, best) = by_hand(url, shape, appends).await?;
        measured.push(Round {
            ours,
            raw,
            best,
            cost,
        });
    }
    let Some((median, spread)) = middle(measured) else {
        return Ok(());
    };
    let Shape {
        way,
        connections,
        group,
        ..
    } = median.best;
    report.add(
        Row::new("Postgres, 64 in flight: appends", median.ours, "/s")
            .beside(Raw::of(
                "the best statement by hand, as many in flight",
                median.ours,
                median.raw,
            ))
            .goal(Goal::RatioLeast(0.8))
            .costs(median.cost)
            .note(format!(
                "by hand best with {connections} connections, {group} appends in a statement ({way:?}); ratios of {rounds} \
                rounds: {spread}; bytes and syncs are those of the server's log"
            )),
    );
    Ok(())
}

/// The round in the middle, and the ratios of the least and the most.
fn middle(mut rounds: Vec<Round>) -> Option<(Round, String)> {
    rounds.sort_by(|one, two| one.ratio().total_cmp(&two.ratio()));
    let spread = format!(
        "{:.2} to {:.2}",
        rounds.first()?.ratio(),
        rounds.last()?.ratio()
    );
    let at = rounds.len() / 2;
    (at < rounds.len()).then(|| (rounds.swap_remove(at), spread))
}

/// Appends a second and what one costs, when each log has a writer that appends again as soon as it is told.
async fn together(url: &str, shape: raw::Shape, appends: usize) -> Result<(f64, Cost), Failure> {
    with_schema(url, async |schema: &Schema| {
        let mut asking = schema.raw().await?;
        let before = Written::now(&mut asking).await?;
        let postgres = schema.open(Arc::new(SystemClock::new())).await?;
        let store = postgres.state_store();
        let bodies = bodies(shape);
        // Creating logs is another operation.
        run_writers(&store, shape.logs, 0..1, &bodies).await?;
        let each = appends.div_ceil(shape.logs);
        let meter = Meter::start();
        run_writers(&store, shape.logs, 1..each + 1, &bodies).await?;
        let took = meter.began().elapsed();
        let appends = each * shape.logs;
        let mut cost = meter.a_step(appends)?;
        postgres.close().await;
        let (bytes, syncs) = Written::now(&mut asking).await?.a_step(before, appends);
        (cost.bytes, cost.syncs) = (Some(bytes), Some(syncs));
        Ok((appends as f64 / took.as_secs_f64(), cost))
    })
    .await
}

/// Appends a second of the best way by hand, and which it is.
async fn by_hand(url: &str, shape: raw::Shape, appends: usize) -> Result<(f64, Shape), Failure> {
    let mut best: Option<(f64, Shape)> = None;
    for way in [Way::Checked, Way::Unchecked] {
        for connections in CONNECTIONS {
            let shape = Shape {
                way,
                connections,
                group: shape.logs / connections,
                bytes: shape.bytes * shape.bodies,
            };
            let figure = probe::appends(url, shape, appends).await?;
            if best.is_none_or(|(best, _shape)| figure > best) {
                best = Some((figure, shape));
            }
        }
    }
    best.ok_or_else(|| "nothing was appended by hand".into())
}

/// One log, one append at a time: how often the server is asked, and how long it takes.
async fn one_log(url: &str, quick: bool, report: &mut Report) -> Result<(), Failure> {
    let (rounds, appends) = if quick { (3, 300) } else { (7, 2_000) };
    let trips = with_schema(url, async |schema: &Schema| {
        let proxy = Proxy::start(url).await?;
        let postgres = schema
            .open_at(&proxy.url, Arc::new(SystemClock::new()))
            .await?;
        // The first ones open connections and prepare the statement on each.
        single(&postgres, 0..8).await?;
        let before = proxy.trips();
        single(&postgres, 8..8 + appends).await?;
        let trips = (proxy.trips() - before) as f64 / appends as f64;
        postgres.close().await;
        Ok(trips)
    })
    .await?;
    report.add(
        Row::new("Postgres, one run: round trips a step", trips, "")
            .goal(Goal::Most(1.0))
            .note("counted by a proxy in front of the server"),
    );
    let mut measured = Vec::new();
    for _round in 0..rounds {
        let ours = with_schema(url, async |schema: &Schema| {
            let postgres = schema.open(Arc::new(SystemClock::new())).await?;
            single(&postgres, 0..8).await?;
            let times = single(&postgres, 8..8 + appends).await?;
            postgres.close().await;
            median(times).ok_or_else(|| "nothing was appended".into())
        })
        .await?;
        let raw = probe::single(url, BYTES, appends).await?;
        measured.push((ours, raw.as_secs_f64()));
    }
    measured.sort_by(|one, two| (one.0 / one.1).total_cmp(&(two.0 / two.1)));
    if let Some((ours, raw)) = measured.get(measured.len() / 2) {
        let micros = |seconds| micros(Duration::from_secs_f64(seconds));
        report.add(
            Row::new("Postgres, one run: a durable step", micros(*ours), "us").beside(Raw::of(
                "one commit by hand: one statement",
                micros(*ours),
                micros(*raw),
            )),
        );
    }
    Ok(())
}

/// The times of these appends to one log, one after the other.
async fn single(postgres: &Postgres, which: std::ops::Range<usize>) -> Result<Vec<f64>, Failure> {
    let store = postgres.state_store();
    let shape = raw::Shape {
        logs: 1,
        group: 1.0,
        bodies: 1.0,
        bytes: BYTES as f64,
    };
    let bodies = bodies(shape);
    // Another thread of the runtime, as a run is.
    tokio::spawn(async move {
        let mut times = Vec::with_capacity(which.len());
        for append in which {
            let append = next(0, append, &bodies)?;
            let began = Instant::now();
            store.append(append).await?;
            times.push(began.elapsed().as_secs_f64());
        }
        Ok(times)
    })
    .await?
}

/// Whole agent runs, and the store alone with appends of the same size.
async fn runs(url: &str, folder: &Path, quick: bool, report: &mut Report) -> Result<(), Failure> {
    let (rounds, runs) = if quick { (1, 256) } else { (5, 1_024) };
    let mut measured = Vec::new();
    for round in 0..rounds {
        let folder = folder.join(format!("postgres-{round}"));
        let (steps, took, cost, shape) = with_schema(url, async |schema: &Schema| {
            let mut asking = schema.raw().await?;
            let postgres = schema.open(Arc::new(SystemClock::new())).await?;
            let stack = Stack::on_postgres(&folder, postgres, AGENT).await?;
            let before = Written::now(&mut asking).await?;
            let served = stack.serve_all(runs, AT_ONCE).await?;
            let mut cost = served.cost()?;
            let steps = served.seen.len();
            let records: usize = served.seen.iter().map(|seen| seen.bodies).sum();
            let bytes: usize = served.seen.iter().map(|seen| seen.bytes).sum();
            let shape = raw::Shape {
                logs: AT_ONCE,
                group: 1.0,
                bodies: records as f64 / steps as f64,
                bytes: bytes as f64 / records as f64,
            };
            stack.close().await;
            let (bytes, syncs) = Written::now(&mut asking).await?.a_step(before, steps);
            (cost.bytes, cost.syncs) = (Some(bytes), Some(syncs));
            Ok((steps, served.took, cost, shape))
        })
        .await?;
        let (store, store_cost) = together(url, shape, steps).await?;
        measured.push((
            steps as f64 / took.as_secs_f64(),
            store,
            cost,
            store_cost,
            shape,
        ));
    }
    measured.sort_by(|one, two| (one.0 / one.1).total_cmp(&(two.0 / two.1)));
    let Some((steps, store, cost, store_cost, shape)) = measured.get(measured.len() / 2) else {
        return Ok(());
    };
    report.add(
        Row::new(
            "Postgres, 64 runs at once of 5 turns, 3 calls a turn: steps",
            *steps,
            "/s",
        )
        .beside(Raw::of(
            "the store without a harness, appends of the same size",
            *steps,
            *store,
        ))
        .goal(Goal::RatioLeast(0.5))
        .costs(*cost)
        .note(format!(
            "{:.1} records of {:.0} bytes in a step; bytes and syncs are those of the server's log, with what starts a run",
            shape.bodies, shape.bytes
        )),
    );
    report.add(
        Row::new(
            "  engine: CPU of a step above the store's",
            micros(cost.cpu.saturating_sub(store_cost.cpu)),
            "us",
        )
        .goal(Goal::Most(100.0)),
    );
    Ok(())
}

/// Due runs and four workers, each with connections of its own.
async fn due(url: &str, quick: bool, report: &mut Report) -> Result<(), Failure> {
    let runs = if quick { 2_000 } else { 10_000 };
    let taken = with_schema(url, async |schema: &Schema| {
        let clock = BenchClock::new();
        let first = schema.open_careless(Arc::new(clock.clone())).await?;
        submit(&first.durable_runtime(), runs, "d").await?;
        first.close().await;
        let (mut handles, mut runtimes) = (Vec::new(), Vec::new());
        for _worker in 0..WORKERS {
            let handle = schema.open(Arc::new(clock.clone())).await?;
            runtimes.push(handle.durable_runtime());
            handles.push(handle);
        }
        let taken = take_due(runtimes, &clock, runs).await?;
        for handle in handles {
            handle.close().await;
        }
        Ok(taken)
    })
    .await?;
    taken.report("Postgres", runs, report)
}

/// A worker with nothing to do.
async fn idle(url: &str, quick: bool, report: &mut Report) -> Result<(), Failure> {
    let long = Duration::from_secs(if quick { 2 } else { 6 });
    let asked = with_schema(url, async |schema: &Schema| {
        let proxy = Proxy::start(url).await?;
        let clock = BenchClock::new();
        let postgres = schema.open_at(&proxy.url, Arc::new(clock.clone())).await?;
        // Connections are opened, statements prepared, and what a listener may have missed is looked for.
        let settling = Duration::from_secs(2);
        let runtime = postgres.durable_runtime();
        let asked = watch_idle(runtime, &clock, settling, long, &|| proxy.queries()).await?;
        postgres.close().await;
        Ok(asked)
    })
    .await?;
    report.add(
        Row::new("Postgres: queries of an idle worker", asked, "/s")
            .goal(Goal::Most(2.0))
            .note("counted by a proxy in front of the server; trying a connection that was idle is none"),
    );
    Ok(())
}

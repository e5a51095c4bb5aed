//! Many agent runs at once: on SQLite against the store without a harness, and without anything durable.

use std::path::Path;
use std::time::Duration;

use crate::Failure;
use crate::model::{Steady, Wish};
use crate::raw::{self, Shape};
use crate::report::{Cost, Goal, Raw, Report, Row, micros};
use crate::stack::{Files, Served, Stack};
use crate::store;

pub(crate) const AT_ONCE: usize = 64;
pub(crate) const AGENT: Steady = Steady {
    turns: 5,
    calls: 3,
    wish: Wish::LIST,
};

/// So many runs, the store alone, and SQLite by hand, with the same transactions.
struct Round {
    steps_a_second: f64,
    cost: Cost,
    shape: Shape,
    store: f64,
    store_cost: Cost,
    raw: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.steps_a_second / self.store
    }
}

/// Measures.
pub(crate) async fn measure(
    folder: &Path,
    quick: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    in_memory(quick, report).await?;
    let (rounds, runs) = if quick { (1, 256) } else { (5, 1_024) };
    let mut measured = Vec::new();
    for round in 0..rounds {
        let folder = folder.join(format!("many-{round}"));
        measured.push(one(&folder, runs).await?);
    }
    measured.sort_by(|one, two| one.ratio().total_cmp(&two.ratio()));
    let spread = match (measured.first(), measured.last()) {
        (Some(least), Some(most)) => format!("{:.2} to {:.2}", least.ratio(), most.ratio()),
        _ => String::new(),
    };
    let Some(median) = measured.get(measured.len() / 2) else {
        return Ok(());
    };
    let Shape {
        group,
        bodies,
        bytes,
        ..
    } = median.shape;
    report.add(
        Row::new(
            "SQLite FULL, 64 runs at once of 5 turns, 3 calls a turn: steps",
            median.steps_a_second,
            "/s",
        )
        .beside(Raw::of(
            "the store without a harness, appends of the same size",
            median.steps_a_second,
            median.store,
        ))
        .goal(Goal::RatioLeast(0.5))
        .costs(median.cost)
        .note(format!(
            "a step is an append: two a turn. {bodies:.1} records of {bytes:.0} bytes in a step, {group:.0} steps in a \
            transaction; ratios of {rounds} rounds: {spread}"
        )),
    );
    report.add(
        Row::new("  the same", median.steps_a_second, "/s").beside(Raw::of(
            "SQLite by hand, the same transactions",
            median.steps_a_second,
            median.raw,
        )),
    );
    let engine = median.cost.cpu.saturating_sub(median.store_cost.cpu);
    report.add(
        Row::new(
            "  engine: CPU of a step above the store's",
            micros(engine),
            "us",
        )
        .goal(Goal::Most(100.0)),
    );
    no_op_steps(folder, quick, report).await
}

async fn one(folder: &Path, runs: usize) -> Result<Round, Failure> {
    let stack = Stack::open(&folder.join("runs"), AGENT, Files::None).await?;
    let served = stack.serve_all(runs, AT_ONCE).await?;
    let (cost, shape) = (served.cost()?, served.shape()?);
    let (steps, took) = (served.seen.len(), served.took);
    stack.close().await;
    let (store, store_cost, _group) = store::together(&folder.join("store"), shape, steps).await?;
    let raw = raw::appends(folder, shape, steps)?;
    Ok(Round {
        steps_a_second: steps as f64 / took.as_secs_f64(),
        cost,
        shape,
        store,
        store_cost,
        raw,
    })
}

impl Served {
    /// What a step came to.
    pub(crate) fn cost(&self) -> Result<Cost, Failure> {
        self.meter.a_step(self.seen.len())
    }

    /// What its transactions were like.
    fn shape(&self) -> Result<Shape, Failure> {
        let appends = self.seen.len() as f64;
        let bodies: usize = self.seen.iter().map(|seen| seen.bodies).sum();
        let bytes: usize = self.seen.iter().map(|seen| seen.bytes).sum();
        Ok(Shape {
            logs: AT_ONCE,
            group: appends / f64::from(self.meter.transactions()?.max(1)),
            bodies: bodies as f64 / appends,
            bytes: bytes as f64 / bodies as f64,
        })
    }
}

/// What reaches the device: long runs with one call a turn, so that little else than steps is written.
async fn no_op_steps(folder: &Path, quick: bool, report: &mut Report) -> Result<(), Failure> {
    let turns = if quick { 40 } else { 200 };
    let model = Steady {
        turns,
        calls: 1,
        wish: Wish::LIST,
    };
    let stack = Stack::open(&folder.join("no-op"), model, Files::None).await?;
    let served = stack.serve_all(AT_ONCE, AT_ONCE).await?;
    let cost = served.cost()?;
    stack.close().await;
    let what = "SQLite FULL, 64 runs of no-op steps, one call a turn: ";
    report.add(
        Row::new(
            format!("{what}steps"),
            served.seen.len() as f64 / served.took.as_secs_f64(),
            "/s",
        )
        .costs(cost),
    );
    match cost.syncs {
        Some(syncs) => report.add(
            Row::new("  device syncs a step", syncs, "")
                .goal(Goal::Most(0.05))
                .note("counted from SQLite's commits and checkpoints"),
        ),
        None => report.add(Row::skipped(
            "  device syncs a step",
            "SQLite's files are not there",
        )),
    }
    match cost.bytes {
        Some(bytes) => {
            report
                .add(Row::new("  bytes to the device a step", bytes, "").goal(Goal::Most(4096.0)));
        }
        None => report.add(Row::skipped(
            "  bytes to the device a step",
            "this system does not count them for a process",
        )),
    }
    // Tools on real files, in the process sandbox, for comparison.
    let turns = if quick { 10 } else { 40 };
    let model = Steady {
        turns,
        calls: 1,
        wish: Wish::LIST,
    };
    let stack = Stack::open(&folder.join("on-disk"), model, Files::OnDisk).await?;
    let served = stack.serve_all(AT_ONCE, AT_ONCE).await?;
    let cost = served.cost()?;
    stack.close().await;
    report.add(
        Row::new(
            "  the same with tools in the process sandbox, on files: steps",
            served.seen.len() as f64 / served.took.as_secs_f64(),
            "/s",
        )
        .costs(cost),
    );
    Ok(())
}

/// The loop without durability.
async fn in_memory(quick: bool, report: &mut Report) -> Result<(), Failure> {
    let runs = if quick { 512 } else { 4_096 };
    let mut least: Option<(Duration, usize)> = None;
    for _round in 0..3 {
        let (a_turn, turns) = volatile(runs, AT_ONCE).await?;
        if least.is_none_or(|(least, _turns)| a_turn < least) {
            least = Some((a_turn, turns));
        }
    }
    if let Some((a_turn, turns)) = least {
        report.add(
            Row::new(
                "in memory, 64 runs at once of 5 turns, 3 calls a turn: CPU a turn",
                micros(a_turn),
                "us",
            )
            .goal(Goal::Most(100.0))
            .note(format!("the least of three rounds of {turns} turns")),
        );
    }
    Ok(())
}

/// Computing time of a turn of runs that nothing keeps, and how many there were.
pub(crate) async fn volatile(runs: usize, at_once: usize) -> Result<(Duration, usize), Failure> {
    let stack = Stack::in_memory(AGENT)?;
    let served = stack.serve_all(runs, at_once).await?;
    let turns = runs * AGENT.turns;
    let cost = served.meter.a_step(turns)?;
    stack.close().await;
    Ok((cost.cpu, turns))
}

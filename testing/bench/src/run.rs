//! One run: how often it appends, what a step costs early and late, and how long it takes to start and to resume.

use std::path::Path;
use std::time::{Duration, Instant};

use seaworthy::harness::worker;
use seaworthy::log;
use seaworthy::ports::durable_runtime::Scope;
use seaworthy::ports::{Latch, RunId, WorkerId};
use seaworthy::state::Status;

use crate::Failure;
use crate::counting::Seen;
use crate::model::Steady;
use crate::report::{Limit, Report};
use crate::stack::{Files, Stack};

/// Advances `run` to its end.
async fn finish(stack: &Stack, run: &RunId) -> Result<(), Failure> {
    let me = worker(WorkerId::new("bench")?, Scope::Run(run.clone()), 1);
    stack.harness.serve(me, Latch::never()).await?;
    let status = stack.harness.view(run).await?.status();
    if status == Status::Succeeded {
        Ok(())
    } else {
        Err(format!("run {run} is {}", status.as_str()).into())
    }
}

/// The appends of a run of 20 turns with three calls at once in each.
pub(crate) async fn appends(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    const TURNS: u32 = 20;
    let stack = Stack::open(
        folder,
        "appends",
        Steady {
            turns: TURNS as usize,
            calls: 3,
        },
        Files::OnDisk,
    )
    .await?;
    let began = Instant::now();
    let run = stack.start("counted".to_owned()).await?;
    finish(&stack, &run).await?;
    let took = began.elapsed();
    let appends = stack.store.take().len();
    let limit = Limit::Most(f64::from(TURNS) * 2.0 + 4.0);
    report.hold(
        "appends of a run of 20 turns with 3 calls each",
        appends as f64,
        "",
        limit,
    );
    report.add("such a run from start to end", millis(took), "ms");
    stack.close().await;
    Ok(())
}

/// A run of more than 10,000 events.
pub(crate) async fn long(folder: &Path, quick: bool, report: &mut Report) -> Result<(), Failure> {
    let (late, turns) = if quick { (2_000, 520) } else { (10_000, 2_220) };
    let stack = Stack::open(folder, "long", Steady { turns, calls: 1 }, Files::OnDisk).await?;
    stack.store.measure_cpu();
    let run = stack.start("long".to_owned()).await?;
    finish(&stack, &run).await?;
    let seen = stack.store.take();
    let (first, last) = (Step::around(&seen, 100)?, Step::around(&seen, late)?);
    report.add(
        "a step at event 100, wall (median)",
        micros(first.wall),
        "us",
    );
    report.add(
        "a step at the late event, wall (median)",
        micros(last.wall),
        "us",
    );
    report.hold(
        "  late / early",
        ratio(last.wall, first.wall),
        "",
        Limit::Most(1.2),
    );
    report.add("a step at event 100, CPU (median)", micros(first.cpu), "us");
    report.add(
        "a step at the late event, CPU (median)",
        micros(last.cpu),
        "us",
    );
    report.hold(
        "  late / early (CPU)",
        ratio(last.cpu, first.cpu),
        "",
        Limit::Most(1.2),
    );
    report.add("  the late event is number", late as f64, "");
    stack.close().await;

    let began = Instant::now();
    let stack = Stack::open(folder, "long", Steady { turns, calls: 1 }, Files::OnDisk).await?;
    report.add(
        "opening the store and the stack",
        millis(began.elapsed()),
        "ms",
    );
    let began = Instant::now();
    let state = log::load(stack.harness.ports(), &run)
        .await?
        .ok_or("the run is gone")?;
    report.add(
        "reading that run for resuming, with its snapshot",
        millis(began.elapsed()),
        "ms",
    );
    let began = Instant::now();
    let whole = log::load_without_snapshot(stack.harness.ports(), &run).await?;
    report.add(
        "reading that run for resuming, all its records",
        millis(began.elapsed()),
        "ms",
    );
    if whole.as_ref() != Some(&state) {
        return Err("the snapshot and the records disagree".into());
    }
    stack.close().await;
    Ok(())
}

/// What one model turn costs, the median of those around a place in the log.
#[derive(Clone, Copy, Debug)]
struct Step {
    wall: Duration,
    cpu: Duration,
}

impl Step {
    /// The steps of the 500 events from `event` on.
    fn around(seen: &[Seen], event: u64) -> Result<Self, Failure> {
        let near: Vec<&Seen> = seen
            .iter()
            .filter(|seen| (event..event.saturating_add(500)).contains(&seen.head))
            .collect();
        let steps = || near.windows(3).step_by(2);
        let pair = |three: &[&Seen]| match three {
            [from, _between, to] => Some((
                to.at.duration_since(from.at),
                to.cpu.saturating_sub(from.cpu),
            )),
            _ => None,
        };
        let wall = median(steps().filter_map(pair).map(|(wall, _)| wall));
        let cpu = median(steps().filter_map(pair).map(|(_, cpu)| cpu));
        match (wall, cpu) {
            (Some(wall), Some(cpu)) => Ok(Self { wall, cpu }),
            _ => Err(format!("the run has no steps at event {event}").into()),
        }
    }
}

fn median(values: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

pub(crate) fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

//! One run: how often it appends, what a step costs early and late, and how long it takes to resume.

use std::path::Path;
use std::time::{Duration, Instant};

use seaworthy::log;

use crate::Failure;
use crate::counting::Seen;
use crate::model::{Steady, Wish};
use crate::raw;
use crate::report::{Goal, Raw, Report, Row, median, micros, millis};
use crate::stack::{Files, Stack, database};

/// Measures.
pub(crate) async fn measure(
    folder: &Path,
    quick: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    appends(&folder.join("appends"), report).await?;
    long(&folder.join("long"), quick, report).await
}

/// The appends of a run of 20 turns with three calls at once in each.
async fn appends(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    const TURNS: u32 = 20;
    let model = Steady {
        turns: TURNS as usize,
        calls: 3,
        wish: Wish::LIST,
    };
    let stack = Stack::open(folder, model, Files::OnDisk).await?;
    let began = Instant::now();
    let run = stack.start("counted".to_owned()).await?;
    stack.finish(&run).await?;
    let took = began.elapsed();
    let appends = stack.store.take().len();
    stack.close().await;
    report.add(
        Row::new(
            "a run of 20 turns, 3 calls a turn: appends",
            appends as f64,
            "",
        )
        .goal(Goal::Most(f64::from(TURNS) * 2.0 + 4.0)),
    );
    report.add(Row::new(
        "  from start to end, tools on files",
        millis(took),
        "ms",
    ));
    Ok(())
}

/// A run of more than 10,000 events.
async fn long(folder: &Path, quick: bool, report: &mut Report) -> Result<(), Failure> {
    let (late, turns) = if quick { (2_000, 520) } else { (10_000, 2_220) };
    let model = Steady {
        turns,
        calls: 1,
        wish: Wish::LIST,
    };
    let stack = Stack::open(folder, model, Files::None).await?;
    stack.store.measure_cpu();
    let run = stack.start("long".to_owned()).await?;
    stack.finish(&run).await?;
    let seen = stack.store.take();
    let (first, last) = (Step::around(&seen, 100)?, Step::around(&seen, late)?);
    let what = |what: &str| format!("one run, a turn at event {late}: {what}");
    let raw = |ours: Duration, raw: Duration| Raw::of("at event 100", micros(ours), micros(raw));
    report.add(
        Row::new(what("wall time"), micros(last.wall), "us")
            .beside(raw(last.wall, first.wall))
            .goal(Goal::RatioMost(1.1)),
    );
    report.add(
        Row::new(what("CPU"), micros(last.cpu), "us")
            .beside(raw(last.cpu, first.cpu))
            .goal(Goal::RatioMost(1.1)),
    );
    stack.close().await;

    let began = Instant::now();
    let stack = Stack::open(folder, model, Files::None).await?;
    report.add(Row::new(
        "opening the store and the stack",
        millis(began.elapsed()),
        "ms",
    ));
    let ports = stack.harness.ports();
    let (mut resumed, mut whole, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    let mut records = 0;
    for _ in 0..5 {
        let began = Instant::now();
        let state = log::load(ports, &run).await?.ok_or("the run is gone")?;
        resumed.push(millis(began.elapsed()));
        let began = Instant::now();
        let all = log::load_without_snapshot(ports, &run).await?;
        whole.push(millis(began.elapsed()));
        if all.as_ref() != Some(&state) {
            return Err("the snapshot and the records disagree".into());
        }
        let (took, found) = raw::read_and_parse(&database(folder), run.as_str())?;
        by_hand.push(millis(took));
        records = found;
    }
    let middle = |values| median(values).ok_or("nothing was measured");
    let (resumed, whole, by_hand) = (middle(resumed)?, middle(whole)?, middle(by_hand)?);
    let raw = |ours| Raw::of("reading and parsing its rows by hand", ours, by_hand);
    report.add(
        Row::new(format!("resuming a run of {records} events"), resumed, "ms")
            .beside(raw(resumed))
            .goal(Goal::RatioMost(3.0)),
    );
    report.add(
        Row::new(
            "  without its snapshot, from its records alone",
            whole,
            "ms",
        )
        .beside(raw(whole))
        .goal(Goal::RatioMost(3.0)),
    );
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
        let mut steps = Vec::new();
        for three in near.windows(3).step_by(2) {
            if let [from, _between, to] = three {
                let wall = to.at.duration_since(from.at);
                steps.push((wall, to.cpu.saturating_sub(from.cpu)));
            }
        }
        let middle = |values: Vec<f64>| median(values).map(Duration::from_secs_f64);
        let wall = middle(steps.iter().map(|(wall, _)| wall.as_secs_f64()).collect());
        let cpu = middle(steps.iter().map(|(_, cpu)| cpu.as_secs_f64()).collect());
        match (wall, cpu) {
            (Some(wall), Some(cpu)) => Ok(Self { wall, cpu }),
            _ => Err(format!("the run has no steps at event {event}").into()),
        }
    }
}

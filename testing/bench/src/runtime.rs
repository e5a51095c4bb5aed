//! The durable runtime: very many parked runs, very many due ones, and nothing to do at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use seaworthy::harness::{DEFAULT_QUEUE, worker};
use seaworthy::ports::clock::Clock as _;
use seaworthy::ports::durable_runtime::{Advance, DurableRuntime, Next, Scope, Submit, Then, Turn};
use seaworthy::ports::{Latch, LatchSetter, QueueName, RunId, Timestamp, WorkerId};
use tokio::task::JoinSet;

use crate::Failure;
use crate::child;
use crate::clock::BenchClock;
use crate::report::{Goal, Raw, Report, Row, median, millis};
use crate::stack::sqlite;

/// How long after they are parked runs wake.
const NIGHT_MILLIS: i64 = 3_600_000;
/// How many of them wake in a second: more than must be served in time, so that serving all of them shows.
const WAKES_A_SECOND: i64 = 1_200;
/// How many must be served within a second of their time, in a second.
const WAKES_IN_TIME: f64 = 1_000.0;

/// Measures.
pub(crate) async fn measure(
    folder: &Path,
    quick: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    due(&folder.join("due"), quick, report).await?;
    parked(&folder.join("parked"), quick, report).await
}

/// A delivery.
#[derive(Clone, Debug)]
struct Delivered {
    run: RunId,
    at: Timestamp,
}

/// Does nothing in each turn but write down that it was there.
struct Turns {
    clock: BenchClock,
    then: Box<dyn Fn(&RunId) -> Then + Send + Sync>,
    delivered: Mutex<Vec<Delivered>>,
    /// Set after so many deliveries.
    stop: (usize, LatchSetter),
}

impl Turns {
    fn new(
        clock: &BenchClock,
        count: usize,
        then: impl Fn(&RunId) -> Then + Send + Sync + 'static,
    ) -> (Arc<Self>, Latch) {
        let (setter, stop) = Latch::new();
        let turns = Self {
            clock: clock.clone(),
            then: Box::new(then),
            delivered: Mutex::default(),
            stop: (count, setter),
        };
        (Arc::new(turns), stop)
    }

    fn take(&self) -> Vec<Delivered> {
        std::mem::take(
            &mut *self
                .delivered
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

#[async_trait]
impl Advance for Turns {
    async fn advance(&self, turn: Turn) -> Next {
        let at = self.clock.now();
        let then = (self.then)(&turn.run);
        let mut delivered = self
            .delivered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        delivered.push(Delivered { run: turn.run, at });
        if delivered.len() >= self.stop.0 {
            self.stop.1.set();
        }
        Next {
            consumed: Vec::new(),
            then,
        }
    }
}

pub(crate) async fn submit(
    runtime: &Arc<dyn DurableRuntime>,
    runs: usize,
    prefix: &'static str,
) -> Result<(), Failure> {
    const AT_ONCE: usize = 256;
    let mut submitting = JoinSet::new();
    for lane in 0..AT_ONCE {
        let runtime = Arc::clone(runtime);
        submitting.spawn(async move {
            for number in (lane..runs).step_by(AT_ONCE) {
                let submit = Submit {
                    run: RunId::new(format!("{prefix}{number}"))?,
                    session: None,
                    queue: QueueName::new(DEFAULT_QUEUE)?,
                    not_before: None,
                };
                runtime.submit(submit).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(ended) = submitting.join_next().await {
        ended??;
    }
    Ok(())
}

/// How many workers take due runs.
pub(crate) const WORKERS: usize = 4;

/// Due runs and four workers, each with connections of its own.
async fn due(folder: &Path, quick: bool, report: &mut Report) -> Result<(), Failure> {
    let runs = if quick { 2_000 } else { 10_000 };
    let clock = BenchClock::new();
    let first = sqlite(folder, Arc::new(clock.clone())).await?;
    submit(&first.durable_runtime(), runs, "d").await?;
    let (mut handles, mut runtimes) = (Vec::new(), Vec::new());
    for _worker in 0..WORKERS {
        let handle = sqlite(folder, Arc::new(clock.clone())).await?;
        runtimes.push(handle.durable_runtime());
        handles.push(handle);
    }
    let taken = take_due(runtimes, &clock, runs).await?;
    for handle in handles {
        handle.close().await;
    }
    first.close().await;
    taken.report("SQLite", runs, report)
}

/// What workers made of due runs.
pub(crate) struct Taken {
    /// Milliseconds from a turn to the next of the same worker.
    gaps: Vec<f64>,
    took: Duration,
    /// Runs that were delivered more than once, or never.
    wrong: usize,
}

/// Takes so many due runs, one worker on each of `runtimes`, one at a time each.
pub(crate) async fn take_due(
    runtimes: Vec<Arc<dyn DurableRuntime>>,
    clock: &BenchClock,
    runs: usize,
) -> Result<Taken, Failure> {
    let (turns, stop) = Turns::new(clock, runs, |_run| Then::Done);
    let mut serving = JoinSet::new();
    let began = Instant::now();
    for (number, runtime) in runtimes.into_iter().enumerate() {
        let stop = stop.clone();
        let turns: Arc<Mine> = Arc::new(Mine {
            all: Arc::clone(&turns),
            mine: Mutex::default(),
        });
        let me = worker(WorkerId::new(format!("w{number}"))?, Scope::All, 1);
        serving.spawn(async move {
            runtime
                .serve(me, Arc::clone(&turns) as Arc<dyn Advance>, stop)
                .await?;
            Ok::<_, Failure>(turns.gaps())
        });
    }
    let mut gaps = Vec::new();
    while let Some(ended) = serving.join_next().await {
        gaps.extend(ended??);
    }
    let took = began.elapsed();
    let mut times: BTreeMap<RunId, usize> = BTreeMap::new();
    for delivered in turns.take() {
        *times.entry(delivered.run).or_default() += 1;
    }
    let twice = times.values().filter(|times| **times > 1).count();
    Ok(Taken {
        gaps,
        took,
        wrong: twice + runs.saturating_sub(times.len()),
    })
}

impl Taken {
    pub(crate) fn report(
        mut self,
        store: &str,
        runs: usize,
        report: &mut Report,
    ) -> Result<(), Failure> {
        self.gaps.sort_by(f64::total_cmp);
        let late = self.gaps.get(self.gaps.len() * 99 / 100).copied();
        let late = late.unwrap_or_default();
        let gap = median(self.gaps).ok_or("nothing was claimed")?;
        report.add(
            Row::new(
                format!("{store}, {runs} due runs, {WORKERS} workers: from one turn to the next (median)"),
                gap,
                "ms",
            )
            .goal(Goal::Most(10.0))
            .note(format!(
                "more than a claim: a lease is settled, another claimed and its signals looked for, with four workers \
                writing; 99 % within {late:.1} ms; {:.0} runs a second",
                runs as f64 / self.took.as_secs_f64()
            )),
        );
        report.add(
            Row::new("  delivered twice, or never", self.wrong as f64, "").goal(Goal::Most(0.0)),
        );
        Ok(())
    }
}

/// One worker's turns among those of all.
struct Mine {
    all: Arc<Turns>,
    mine: Mutex<Vec<(Instant, Instant)>>,
}

impl Mine {
    /// The milliseconds between the end of one turn and the beginning of the next.
    fn gaps(&self) -> Vec<f64> {
        let mine = self.mine.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = mine.windows(2);
        pairs
            .filter_map(|pair| match pair {
                [(_, ended), (began, _)] => Some(millis(began.duration_since(*ended))),
                _ => None,
            })
            .collect()
    }
}

#[async_trait]
impl Advance for Mine {
    async fn advance(&self, turn: Turn) -> Next {
        let began = Instant::now();
        let next = self.all.advance(turn).await;
        let mut mine = self.mine.lock().unwrap_or_else(PoisonError::into_inner);
        mine.push((began, Instant::now()));
        next
    }
}

/// Parked runs: what an idle worker needs beside them, and whether they wake in time.
async fn parked(folder: &Path, quick: bool, report: &mut Report) -> Result<(), Failure> {
    let runs = if quick { 10_000 } else { 100_000 };
    let woken = if quick { 2_000 } else { 10_000 };
    let clock = BenchClock::new();
    let sqlite = sqlite(folder, Arc::new(clock.clone())).await?;
    let runtime = sqlite.durable_runtime();
    submit(&runtime, runs, "p").await?;
    let morning = clock.now().as_millis() + NIGHT_MILLIS;
    let wake = move |run: &RunId| {
        let number: i64 = run.as_str().trim_start_matches('p').parse().unwrap_or(0);
        Timestamp::from_millis(morning + number * 1_000 / WAKES_A_SECOND)
    };
    let (turns, stop) = Turns::new(&clock, runs, move |run| Then::Park {
        wake_at: Some(wake(run)),
    });
    let began = Instant::now();
    let me = worker(WorkerId::new("parks")?, Scope::All, 512);
    runtime.serve(me, turns, stop).await?;
    let parked_a_second = runs as f64 / began.elapsed().as_secs_f64();

    let idle = child::idle(folder)?;
    let what = format!("SQLite, {runs} parked runs: ");
    match idle.memory {
        Some(memory) => report.add(
            Row::new(
                format!("{what}memory of an idle worker"),
                memory as f64 / 1e6,
                "MB",
            )
            .goal(Goal::Most(100.0)),
        ),
        None => report.add(Row::skipped(
            format!("{what}memory of an idle worker"),
            "this system does not tell",
        )),
    }
    report.add(
        Row::new("  queries of an idle worker", idle.looks_a_second, "/s")
            .goal(Goal::Most(2.0))
            .note("turns of its loop; each asks once"),
    );

    // The first of them wake on time, one after the other.
    let (turns, stop) = Turns::new(&clock, woken, |_run| Then::Done);
    clock.put_forward(Timestamp::from_millis(morning));
    let me = worker(WorkerId::new("wakes")?, Scope::All, 64);
    let began = Instant::now();
    runtime
        .serve(me, Arc::clone(&turns) as Arc<dyn Advance>, stop)
        .await?;
    let took = began.elapsed();
    let delivered = turns.take();
    let mut late: Vec<f64> = delivered
        .iter()
        .map(|delivered| (delivered.at.as_millis() - wake(&delivered.run).as_millis()) as f64)
        .collect();
    let on_time = late
        .iter()
        .filter(|late| (0.0..=1_000.0).contains(*late))
        .count();
    late.sort_by(f64::total_cmp);
    let worst = late.get(late.len() * 99 / 100).copied().unwrap_or_default();
    let middle = median(late).ok_or("nothing woke")?;
    report.add(
        Row::new(
            format!("  {woken} wakes, {WAKES_A_SECOND} due a second: served within a second"),
            on_time as f64 / took.as_secs_f64(),
            "/s",
        )
        .beside(Raw::of(
            "come due",
            on_time as f64 / took.as_secs_f64(),
            WAKES_A_SECOND as f64,
        ))
        .goal(Goal::Least(WAKES_IN_TIME))
        .note(format!(
            "{} were later than that; late by {middle:.0} ms at the median, by {worst:.0} ms at most for 99 %",
            delivered.len().saturating_sub(on_time)
        )),
    );

    // The others at once, as after a downtime.
    let overdue = runs.saturating_sub(delivered.len());
    let (turns, stop) = Turns::new(&clock, overdue, |_run| Then::Done);
    clock.put_forward(Timestamp::from_millis(morning + NIGHT_MILLIS));
    let me = worker(WorkerId::new("catches-up")?, Scope::All, 512);
    let began = Instant::now();
    runtime
        .serve(me, Arc::clone(&turns) as Arc<dyn Advance>, stop)
        .await?;
    let took = began.elapsed();
    report.add(
        Row::new(
            format!("  {overdue} overdue wakes at once"),
            overdue as f64 / took.as_secs_f64(),
            "/s",
        )
        .goal(Goal::Least(WAKES_IN_TIME))
        .note(format!("they were parked at {parked_a_second:.0}/s")),
    );
    sqlite.close().await;
    Ok(())
}

/// Serves with nothing to do for a while. Returns how often the worker looked, in a second.
pub(crate) async fn idle(folder: &Path, long: Duration) -> Result<f64, Failure> {
    let clock = BenchClock::new();
    let sqlite = sqlite(folder, Arc::new(clock.clone())).await?;
    let runtime = sqlite.durable_runtime();
    // What it does at first is not idleness.
    let settling = Duration::from_millis(700);
    let looks = watch_idle(runtime, &clock, settling, long, &|| clock.sleeps()).await?;
    sqlite.close().await;
    Ok(looks)
}

/// By how much `count` grows in a second while a worker with nothing to do is served for `long`, once it has settled.
pub(crate) async fn watch_idle(
    runtime: Arc<dyn DurableRuntime>,
    clock: &BenchClock,
    settling: Duration,
    long: Duration,
    count: &(dyn Fn() -> u64 + Sync),
) -> Result<f64, Failure> {
    let (turns, _never) = Turns::new(clock, usize::MAX, |_run| Then::Park { wake_at: None });
    let (setter, stop) = Latch::new();
    let me = worker(WorkerId::new("idle")?, Scope::All, 64);
    let (served, counted) = tokio::join!(runtime.serve(me, turns, stop), async {
        tokio::time::sleep(settling).await;
        let (before, began) = (count(), Instant::now());
        tokio::time::sleep(long).await;
        let counted = (count() - before) as f64 / began.elapsed().as_secs_f64();
        setter.set();
        counted
    });
    served?;
    Ok(counted)
}

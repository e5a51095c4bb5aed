//! What the scenarios share: ids, workers, turns that the scenario answers, and waiting.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Next, RuntimeError, Schedule, ScheduleState, Scope, Served, Signal,
    Signalled, Submit, Submitted, Then, Turn, Worker,
};
use seaworthy_ports::{Latch, LatchSetter, QueueName, RunId, SignalId, Timestamp, WorkerId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Harness;
use crate::outcome::{Halt, broken, holds, id, ok, patience, same, within};

pub(super) const POLL: Duration = Duration::from_millis(500);

pub(super) type Runtime = Arc<dyn DurableRuntime>;

pub(super) fn run(name: &str) -> Result<RunId, Halt> {
    id(RunId::new(name))
}

pub(super) fn queue(name: &str) -> Result<QueueName, Halt> {
    id(QueueName::new(name))
}

pub(super) fn submission(name: &str) -> Result<Submit, Halt> {
    Ok(Submit {
        run: run(name)?,
        session: None,
        queue: queue("default")?,
        not_before: None,
    })
}

pub(super) fn signal(name: &str) -> Result<Signal, Halt> {
    Ok(Signal {
        id: id(SignalId::new(name))?,
        payload: Bytes::copy_from_slice(name.as_bytes()),
    })
}

pub(super) async fn submit(runtime: &Runtime, submission: Submit) -> Result<(), Halt> {
    same(
        "submitted a run",
        ok("submitted a run", runtime.submit(submission).await)?,
        Submitted::New,
    )
}

pub(super) async fn send(runtime: &Runtime, to: &str, signal: Signal) -> Result<(), Halt> {
    let sent = ok("sent a signal", runtime.signal(&run(to)?, signal).await)?;
    same("sent a signal", sent, Signalled::Accepted)
}

pub(super) async fn schedule(runtime: &Runtime, name: &str) -> Result<Option<Schedule>, Halt> {
    ok(
        "asked how a run stands",
        runtime.describe(&run(name)?).await,
    )
}

pub(super) async fn state(runtime: &Runtime, name: &str) -> Result<Option<ScheduleState>, Halt> {
    Ok(schedule(runtime, name)
        .await?
        .map(|schedule| schedule.state))
}

pub(super) fn names(signals: &[Signal]) -> Vec<String> {
    signals.iter().map(|signal| signal.id.to_string()).collect()
}

pub(super) const DONE: Then = Then::Done;
pub(super) const PARK: Then = Then::Park { wake_at: None };

pub(super) fn next(then: Then) -> Next {
    Next {
        consumed: Vec::new(),
        then,
    }
}

/// A turn with its delivery's signals all consumed.
pub(super) fn consumed(signals: &[Signal], then: Then) -> Next {
    Next {
        consumed: signals.iter().map(|signal| signal.id.clone()).collect(),
        then,
    }
}

struct Does<F>(F);

#[async_trait]
impl<F: Fn(Turn) -> BoxFuture<'static, Next> + Send + Sync> Advance for Does<F> {
    async fn advance(&self, turn: Turn) -> Next {
        (self.0)(turn).await
    }
}

pub(super) fn does<A: Future<Output = Next> + Send + 'static>(
    advance: impl Fn(Turn) -> A + Send + Sync + 'static,
) -> Arc<dyn Advance> {
    Arc::new(Does(move |turn| -> BoxFuture<'static, Next> {
        Box::pin(advance(turn))
    }))
}

/// A turn that waits for the scenario to answer it.
pub(super) struct Live {
    pub(super) turn: Turn,
    answer: oneshot::Sender<Next>,
}

impl Live {
    pub(super) fn answer(self, next: Next) {
        // A turn that was dropped takes no answer: that is the runtime's right.
        let _dropped = self.answer.send(next);
    }
}

/// The live turns of a worker, in the order of their delivery.
pub(super) struct Turns(mpsc::UnboundedReceiver<Live>);

impl Turns {
    /// The next turn, of whatever run.
    pub(super) async fn any(&mut self) -> Result<Live, Halt> {
        let live = within("waited for a delivery", self.0.recv()).await?;
        live.ok_or_else(|| broken("waited for a delivery", "a turn", "a worker that ended"))
    }

    /// The next turn, of whatever run, while one poll after another passes.
    pub(super) async fn any_after_polls<H: Harness>(&mut self, harness: &H) -> Result<Live, Halt> {
        for _poll in 0..4 {
            harness.advance(POLL).await;
            if let Ok(live) = tokio::time::timeout(patience() / 10, self.any()).await {
                return live;
            }
        }
        self.any().await
    }

    /// The next turn, which must be of this run and this delivery.
    pub(super) async fn of(&mut self, name: &str, delivery: u32) -> Result<Live, Halt> {
        let live = self.any().await?;
        let seen = (live.turn.run.to_string(), live.turn.delivery);
        same("waited for a delivery", seen, (name.to_owned(), delivery))?;
        Ok(live)
    }
}

pub(super) fn by_hand() -> (Arc<dyn Advance>, Turns) {
    let (give, turns) = mpsc::unbounded_channel();
    let advance = does(move |turn| {
        let (answer, answered) = oneshot::channel();
        let _scenario_is_over = give.send(Live { turn, answer });
        // A scenario that ends without an answer stops everything at once.
        async move { answered.await.unwrap_or_else(|_over| next(PARK)) }
    });
    (advance, Turns(turns))
}

pub(super) fn worker<H: Harness>(harness: &H, name: &str) -> Result<Worker, Halt> {
    Ok(Worker {
        id: id(WorkerId::new(name))?,
        scope: Scope::All,
        concurrency: 4,
        lease: harness.lease(),
        poll: POLL,
        drain: Duration::from_secs(5),
    })
}

/// A worker in a task of its own.
pub(super) struct Serving {
    stop: LatchSetter,
    task: JoinHandle<Result<Served, RuntimeError>>,
}

impl Serving {
    pub(super) fn start(runtime: &Runtime, worker: Worker, advance: Arc<dyn Advance>) -> Self {
        let (stop, stopped) = Latch::new();
        let runtime = Arc::clone(runtime);
        Self {
            stop,
            task: tokio::spawn(async move { runtime.serve(worker, advance, stopped).await }),
        }
    }

    pub(super) fn request_stop(&self) {
        self.stop.set();
    }

    pub(super) async fn end(mut self) -> Result<Served, Halt> {
        let ended = within("waited for a worker to end", &mut self.task).await?;
        let served = ended.map_err(|error| broken("served", "no panic", error))?;
        ok("served", served)
    }

    /// Lets the drain time pass until it has ended. More than once: it may have begun to drain after time was moved.
    pub(super) async fn end_of_drain<H: Harness>(
        mut self,
        harness: &H,
        drain: Duration,
    ) -> Result<Served, Halt> {
        for _time in 0..3 {
            harness.advance(drain + Duration::from_millis(10)).await;
            let ended = tokio::time::timeout(patience() / 6, &mut self.task).await;
            if let Ok(ended) = ended {
                let served = ended.map_err(|error| broken("served", "no panic", error))?;
                return ok("served", served);
            }
        }
        Err(broken(
            "waited for a worker to end its drain",
            format!("an end within {drain:?}"),
            "none",
        ))
    }

    pub(super) async fn stop(self) -> Result<Served, Halt> {
        self.request_stop();
        self.end().await
    }

    /// The death of the worker, as far as a process can show it to itself.
    pub(super) async fn kill(mut self) {
        self.task.abort();
        let _aborted = (&mut self.task).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for something that the runtime's tasks bring about.
pub(super) async fn until<C, F>(what: &str, mut condition: C) -> Result<(), Halt>
where
    C: FnMut() -> F,
    F: Future<Output = Result<bool, Halt>>,
{
    let deadline = tokio::time::Instant::now() + patience();
    while !condition().await? {
        if tokio::time::Instant::now() > deadline {
            return Err(broken(
                format!("waited until {what}"),
                "that it comes about",
                "nothing in good time",
            ));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

pub(super) async fn is(runtime: &Runtime, name: &str, state: ScheduleState) -> Result<(), Halt> {
    let what = format!("{name} is {state:?}");
    until(&what, || async {
        Ok(self::state(runtime, name).await?.as_ref() == Some(&state))
    })
    .await
}

pub(super) async fn is_finished(runtime: &Runtime, name: &str) -> Result<(), Halt> {
    is(runtime, name, ScheduleState::Finished).await
}

/// Lets one poll after another pass until the run is finished. More than one: a worker that was asking when time was moved
/// asks again a poll after its answer.
pub(super) async fn is_finished_after_polls<H: Harness>(
    harness: &H,
    runtime: &Runtime,
    name: &str,
) -> Result<(), Halt> {
    for _poll in 0..4 {
        harness.advance(POLL).await;
        let finished = tokio::time::timeout(patience() / 10, is_finished(runtime, name)).await;
        if let Ok(finished) = finished {
            return finished;
        }
    }
    Err(broken(
        format!("waited four polls until {name} is finished"),
        "that it comes about",
        state(runtime, name).await?,
    ))
}

/// Submits a run that is due now and waits until its turn, which must be the next, has ended: whatever was due before has
/// been looked at by then.
pub(super) async fn nothing_but_a_probe(
    runtime: &Runtime,
    turns: &mut Turns,
    name: &str,
) -> Result<(), Halt> {
    submit(runtime, submission(name)?).await?;
    turns.of(name, 1).await?.answer(next(DONE));
    is_finished(runtime, name).await
}

/// Most of `time`, with enough of it left for a probe: where time has to be waited for, it passes by itself meanwhile.
pub(super) fn most_of<H: Harness>(harness: &H, time: Duration) -> Duration {
    if waits_for_time(harness) {
        time / 2
    } else {
        time.mul_f64(0.9)
    }
}

/// Whether time has to be waited for: leases are short there.
pub(super) fn waits_for_time<H: Harness>(harness: &H) -> bool {
    harness.lease() < Duration::from_secs(10)
}

/// Whatever its turn would have shown by now: the run waits, and nobody holds it.
pub(super) async fn waits(runtime: &Runtime, name: &str, why: &str) -> Result<(), Halt> {
    let seen = state(runtime, name).await?;
    let is_due = matches!(seen, Some(ScheduleState::Due { .. }));
    holds(
        is_due,
        format!("asked how {name} stands, {why}"),
        "a run that waits for a worker",
        seen,
    )
}

/// Lets `total` pass in steps that a heartbeat can follow.
///
/// A clock that is moved by hand is faster than any task, so each step waits a moment for the renewal it should bring:
/// a heart that begins to beat late is still in time. And as a renewal is seen here before its answer reaches the worker,
/// time never passes the expiry that the last renewal but one gave: a worker that asked again has had it.
pub(super) async fn advance_under_lease<H: Harness>(
    harness: &H,
    runtime: &Runtime,
    name: &str,
    total: Duration,
) -> Result<(), Halt> {
    let step = harness.lease() / 3;
    let mut newest = expiry(runtime, name).await?;
    let mut known = newest;
    let mut passed = Duration::ZERO;
    while passed < total {
        if harness.now().plus(step) >= known {
            // Two renewals may have looked like one, or it renews more seldom: its answer is there by the end of this.
            let renewed = renewal(runtime, name, newest).await?;
            if harness.now().plus(step) >= renewed {
                let seen = (harness.now(), state(runtime, name).await?);
                return Err(broken(
                    format!("held a turn for {passed:?}"),
                    "a lease that is renewed",
                    seen,
                ));
            }
            (known, newest) = (newest.max(harness.now().plus(step)), renewed);
        }
        harness.advance(step).await;
        passed += step;
        let renewed = renewal(runtime, name, newest).await?;
        if renewed > newest {
            (known, newest) = (newest, renewed);
        }
    }
    Ok(())
}

/// The expiry once it is later than `newest`, or as it is after a moment.
async fn renewal(runtime: &Runtime, name: &str, newest: Timestamp) -> Result<Timestamp, Halt> {
    let deadline = tokio::time::Instant::now() + patience() / 60;
    loop {
        let expires = expiry(runtime, name).await?;
        if expires > newest || tokio::time::Instant::now() >= deadline {
            return Ok(expires);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn expiry(runtime: &Runtime, name: &str) -> Result<Timestamp, Halt> {
    match state(runtime, name).await? {
        Some(ScheduleState::Leased { expires, .. }) => Ok(expires),
        other => Err(broken("held a turn", "a lease that is kept", other)),
    }
}

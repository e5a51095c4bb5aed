//! A runtime that delivers by hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event_listener::Event;
use futures_util::{StreamExt as _, stream};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Kind, RuntimeCapabilities, RuntimeError, Schedule, ScheduleState,
    Scope, Served, Signal, Signalled, Submit, Submitted, Then, Turn, Worker,
};
use seaworthy_ports::{
    AdapterInfo, BoxStream, Durability, Latch, LatchSetter, RunId, SignalId, Timestamp, WorkerId,
};

use crate::{ADAPTER, FakeClock, info, locked};

/// What becomes of the hints that a runtime gives beside what it owes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notifications {
    /// A signal that arrives while a turn lives is in its mail at once.
    #[default]
    Prompt,
    /// A turn's mail brings nothing and ends; the next delivery does.
    Lost,
    /// As prompt, and every run that parks is delivered once more without a cause.
    Repeated,
}

#[derive(Debug)]
struct Known {
    state: ScheduleState,
    /// Counts leases, too: the newest delivery has it.
    deliveries: u32,
    held: Option<Held>,
    signals: Vec<(Signal, bool)>,
    /// It parked and was delivered once more since.
    repeated: bool,
}

#[derive(Debug)]
struct Held {
    delivery: u32,
    worker: WorkerId,
    revoked: LatchSetter,
}

impl Known {
    fn waiting(&self) -> Vec<Signal> {
        self.signals
            .iter()
            .filter(|(_signal, consumed)| !consumed)
            .map(|(signal, _consumed)| signal.clone())
            .collect()
    }

    fn is_held_by(&self, delivery: u32) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.delivery == delivery)
    }

    fn is_due(&self, now: Option<Timestamp>) -> bool {
        let has_come = |time: Timestamp| now.is_none_or(|now| time <= now);
        self.held.is_none()
            && match self.state {
                ScheduleState::Due { due } => has_come(due),
                ScheduleState::Parked { wake_at } => now.is_some() && wake_at.is_some_and(has_come),
                ScheduleState::Leased { .. } | ScheduleState::Finished => false,
            }
    }
}

#[derive(Debug, Default)]
struct Inner {
    runs: Mutex<BTreeMap<RunId, Known>>,
    signalled: Event,
}

/// Keeps runs and signals, and delivers a run when the test says so. Clones share their runs.
///
/// Its leases never run out by themselves: [`take_over`](Self::take_over) ends them.
///
/// ```
/// # use futures_util::FutureExt as _;
/// use seaworthy_fakes::{FakeRuntime, Notifications};
/// use seaworthy_ports::durable_runtime::{Advance, DurableRuntime, Next, Submit, Then, Turn};
/// use seaworthy_ports::{QueueName, RunId};
///
/// struct Ends;
///
/// #[seaworthy_ports::async_trait]
/// impl Advance for Ends {
///     async fn advance(&self, _turn: Turn) -> Next {
///         Next { consumed: Vec::new(), then: Then::Done }
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # async fn live() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = FakeRuntime::default().with_notifications(Notifications::Lost);
/// let run = RunId::new("run")?;
/// let submit = Submit { run: run.clone(), session: None, queue: QueueName::new("default")?, not_before: None };
/// runtime.submit(submit).await?;
/// assert_eq!(runtime.due(), [run.clone()]);
/// assert_eq!(runtime.deliver(&run, &Ends).await, Some(Then::Done));
/// assert_eq!(runtime.deliver(&run, &Ends).await, None, "it is finished");
/// # Ok(())
/// # }
/// # live().now_or_never().ok_or("it waits")?
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct FakeRuntime {
    inner: Arc<Inner>,
    clock: Option<FakeClock>,
    notifications: Notifications,
}

const AT_ONCE: ScheduleState = ScheduleState::Due {
    due: Timestamp::from_millis(0),
};
/// A fake's lease has no end.
const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

impl FakeRuntime {
    /// The same runs, due by `clock`. Without one every run that is not parked is due, and no parked one ever wakes by
    /// itself.
    #[must_use]
    pub fn on_clock(mut self, clock: FakeClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The same runs, with hints like these.
    #[must_use]
    pub fn with_notifications(mut self, notifications: Notifications) -> Self {
        self.notifications = notifications;
        self
    }

    fn now(&self) -> Option<Timestamp> {
        self.clock.as_ref().map(Clock::now)
    }

    /// The runs that are due and that nobody holds.
    #[must_use]
    pub fn due(&self) -> Vec<RunId> {
        let now = self.now();
        locked(&self.inner.runs)
            .iter()
            .filter(|(_run, known)| known.is_due(now))
            .map(|(run, _known)| run.clone())
            .collect()
    }

    /// The runs that are not finished.
    #[must_use]
    pub fn unfinished(&self) -> Vec<RunId> {
        locked(&self.inner.runs)
            .iter()
            .filter(|(_run, known)| known.state != ScheduleState::Finished)
            .map(|(run, _known)| run.clone())
            .collect()
    }

    /// Ends the leases of `worker`, as time does when nobody renews them: its runs are due, and what its turns still
    /// say changes nothing. `is_told`: they see that they are revoked.
    pub fn take_over(&self, worker: &WorkerId, is_told: bool) {
        for known in locked(&self.inner.runs).values_mut() {
            if let Some(held) = known.held.take_if(|held| held.worker == *worker) {
                known.state = AT_ONCE;
                if is_told {
                    held.revoked.set();
                }
            }
        }
    }

    /// Delivers `run` once, whatever its schedule says and whoever holds it, and returns what came of it; `None`: it is
    /// unknown or finished, or was taken over meanwhile. Dropping the future is the death of the worker: nothing is
    /// settled.
    pub async fn deliver(&self, run: &RunId, advance: &dyn Advance) -> Option<Then> {
        let worker = WorkerId::new("by_hand").ok()?;
        self.deliver_to(&worker, run, advance).await
    }

    /// [`deliver`](Self::deliver) to a worker with a name.
    pub async fn deliver_to(
        &self,
        worker: &WorkerId,
        run: &RunId,
        advance: &dyn Advance,
    ) -> Option<Then> {
        let (turn, before) = self.lease(worker, run)?;
        let delivery = turn.delivery;
        let next = advance.advance(turn).await;
        let now = self.now();
        let mut runs = locked(&self.inner.runs);
        let known = runs.get_mut(run)?;
        known.held.take_if(|held| held.delivery == delivery)?;
        for (signal, consumed) in &mut known.signals {
            *consumed = *consumed || next.consumed.contains(&signal.id);
        }
        let arrived = known
            .signals
            .iter()
            .skip(before)
            .any(|(_signal, consumed)| !consumed);
        let repeats = self.notifications == Notifications::Repeated && !known.repeated;
        known.repeated = false;
        known.state = match &next.then {
            Then::Done => ScheduleState::Finished,
            Then::Park { .. } if arrived => AT_ONCE,
            Then::Park { .. } if repeats => {
                known.repeated = true;
                AT_ONCE
            }
            Then::Park { wake_at } => ScheduleState::Parked { wake_at: *wake_at },
            Then::Again { after } => ScheduleState::Due {
                due: now.map_or(Timestamp::from_millis(0), |now| now.plus(*after)),
            },
        };
        Some(next.then)
    }

    /// A turn, and how many signals there were when its own were read.
    fn lease(&self, worker: &WorkerId, run: &RunId) -> Option<(Turn, usize)> {
        let mut runs = locked(&self.inner.runs);
        let known = runs
            .get_mut(run)
            .filter(|known| known.state != ScheduleState::Finished)?;
        known.deliveries = known.deliveries.saturating_add(1);
        let (setter, revoked) = Latch::new();
        known.held = Some(Held {
            delivery: known.deliveries,
            worker: worker.clone(),
            revoked: setter,
        });
        let signals = known.signals.len();
        let turn = Turn {
            run: run.clone(),
            delivery: known.deliveries,
            signals: known.waiting(),
            mail: self.mail(run, known.deliveries, signals),
            revoked,
        };
        Some((turn, signals))
    }

    /// The signals that arrive from now on, until the lease is gone.
    fn mail(&self, run: &RunId, delivery: u32, seen: usize) -> BoxStream<'static, Signal> {
        if self.notifications == Notifications::Lost {
            return stream::empty().boxed();
        }
        let (inner, run) = (Arc::clone(&self.inner), run.clone());
        stream::unfold((inner, seen), move |(inner, seen)| {
            let run = run.clone();
            async move {
                loop {
                    let signalled = inner.signalled.listen();
                    {
                        let runs = locked(&inner.runs);
                        let known = runs.get(&run).filter(|known| known.is_held_by(delivery))?;
                        if let Some((signal, _consumed)) = known.signals.get(seen) {
                            let signal = signal.clone();
                            drop(runs);
                            return Some((signal, (inner, seen.saturating_add(1))));
                        }
                    }
                    signalled.await;
                }
            }
        })
        .boxed()
    }
}

#[async_trait]
impl DurableRuntime for FakeRuntime {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn capabilities(&self) -> RuntimeCapabilities {
        RuntimeCapabilities {
            durability: Durability::Volatile,
            distributed: false,
            pushed_wakeups: false,
            queue_limits: false,
            timer_precision_ms: 0,
        }
    }

    async fn submit(&self, submit: Submit) -> Result<Submitted, RuntimeError> {
        let mut runs = locked(&self.inner.runs);
        if runs.contains_key(&submit.run) {
            return Ok(Submitted::Existing);
        }
        let due = submit.not_before.unwrap_or(Timestamp::from_millis(0));
        runs.insert(
            submit.run,
            Known {
                state: ScheduleState::Due { due },
                deliveries: 0,
                held: None,
                signals: Vec::new(),
                repeated: false,
            },
        );
        Ok(Submitted::New)
    }

    async fn resubmit(&self, run: &RunId) -> Result<(), RuntimeError> {
        if let Some(known) = locked(&self.inner.runs).get_mut(run)
            && known.state == ScheduleState::Finished
        {
            known.state = AT_ONCE;
        }
        Ok(())
    }

    async fn signal(&self, run: &RunId, signal: Signal) -> Result<Signalled, RuntimeError> {
        let mut runs = locked(&self.inner.runs);
        let unknown = || RuntimeError::new(Kind::NotFound, ADAPTER, "signal", "the run is unknown");
        let known = runs.get_mut(run).ok_or_else(unknown)?;
        let is_known = |id: &SignalId| {
            known
                .signals
                .iter()
                .any(|(before, _consumed)| before.id == *id)
        };
        if known.state == ScheduleState::Finished {
            return Ok(Signalled::Finished);
        }
        if is_known(&signal.id) {
            return Ok(Signalled::Duplicate);
        }
        known.signals.push((signal, false));
        known.state = AT_ONCE;
        drop(runs);
        self.inner.signalled.notify(usize::MAX);
        Ok(Signalled::Accepted)
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        Ok(locked(&self.inner.runs).get(run).map(|known| Schedule {
            state: known
                .held
                .as_ref()
                .map_or(known.state.clone(), |held| ScheduleState::Leased {
                    worker: held.worker.clone(),
                    expires: NEVER,
                }),
            deliveries: known.deliveries,
            signals: u32::try_from(known.waiting().len()).unwrap_or(u32::MAX),
        }))
    }

    async fn forget(&self, run: &RunId) -> Result<(), RuntimeError> {
        locked(&self.inner.runs).remove(run);
        Ok(())
    }

    /// Delivers due runs one after the other until none is due.
    async fn serve(
        &self,
        worker: Worker,
        advance: Arc<dyn Advance>,
        stop: Latch,
    ) -> Result<Served, RuntimeError> {
        let mut served = Served::default();
        while !stop.is_set() {
            let takes = |run: &RunId| !matches!(&worker.scope, Scope::Run(only) if only != run);
            let Some(run) = self.due().into_iter().find(takes) else {
                break;
            };
            self.deliver_to(&worker.id, &run, &*advance).await;
            served.turns = served.turns.saturating_add(1);
        }
        Ok(served)
    }
}

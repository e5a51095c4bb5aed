//! A runtime that delivers by hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Kind, RuntimeCapabilities, RuntimeError, Schedule, ScheduleState,
    Scope, Served, Signal, Signalled, Submit, Submitted, Then, Turn, Worker,
};
use seaworthy_ports::{AdapterInfo, Durability, Latch, RunId, SignalId, Timestamp};

use crate::{ADAPTER, info, locked};

#[derive(Debug)]
struct Known {
    state: ScheduleState,
    deliveries: u32,
    signals: Vec<(Signal, bool)>,
}

impl Known {
    fn waiting(&self) -> Vec<Signal> {
        self.signals
            .iter()
            .filter(|(_signal, consumed)| !consumed)
            .map(|(signal, _consumed)| signal.clone())
            .collect()
    }
}

/// Keeps runs and signals, and delivers a run when the test says so. Clones share their runs.
#[derive(Clone, Debug, Default)]
pub struct FakeRuntime(Arc<Mutex<BTreeMap<RunId, Known>>>);

const DUE: ScheduleState = ScheduleState::Due {
    due: Timestamp::from_millis(0),
};

impl FakeRuntime {
    /// Delivers `run` once, whatever its schedule says, and returns what came of it; `None`: it is unknown or finished.
    /// Dropping the future is the death of the worker: nothing is settled.
    pub async fn deliver(&self, run: &RunId, advance: &dyn Advance) -> Option<Then> {
        let turn = {
            let mut runs = locked(&self.0);
            let known = runs
                .get_mut(run)
                .filter(|known| known.state != ScheduleState::Finished)?;
            known.deliveries = known.deliveries.saturating_add(1);
            Turn {
                run: run.clone(),
                delivery: known.deliveries,
                signals: known.waiting(),
                mail: stream::empty().boxed(),
                revoked: Latch::never(),
            }
        };
        let seen: Vec<SignalId> = turn
            .signals
            .iter()
            .map(|signal| signal.id.clone())
            .collect();
        let next = advance.advance(turn).await;
        let mut runs = locked(&self.0);
        let known = runs.get_mut(run)?;
        for (signal, consumed) in &mut known.signals {
            *consumed = *consumed || next.consumed.contains(&signal.id);
        }
        let arrived = known
            .waiting()
            .iter()
            .any(|signal| !seen.contains(&signal.id));
        known.state = match &next.then {
            Then::Done => ScheduleState::Finished,
            Then::Park { .. } if arrived => DUE,
            Then::Park { wake_at } => ScheduleState::Parked { wake_at: *wake_at },
            Then::Again { .. } => DUE,
        };
        Some(next.then)
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
            timer_precision_ms: 0,
        }
    }

    async fn submit(&self, submit: Submit) -> Result<Submitted, RuntimeError> {
        let mut runs = locked(&self.0);
        if runs.contains_key(&submit.run) {
            return Ok(Submitted::Existing);
        }
        runs.insert(
            submit.run,
            Known {
                state: DUE,
                deliveries: 0,
                signals: Vec::new(),
            },
        );
        Ok(Submitted::New)
    }

    async fn resubmit(&self, run: &RunId) -> Result<(), RuntimeError> {
        if let Some(known) = locked(&self.0).get_mut(run)
            && known.state == ScheduleState::Finished
        {
            known.state = DUE;
        }
        Ok(())
    }

    async fn signal(&self, run: &RunId, signal: Signal) -> Result<Signalled, RuntimeError> {
        let mut runs = locked(&self.0);
        let unknown = || RuntimeError::new(Kind::NotFound, ADAPTER, "signal", "the run is unknown");
        let known = runs.get_mut(run).ok_or_else(unknown)?;
        if known.state == ScheduleState::Finished {
            return Ok(Signalled::Finished);
        }
        if known
            .signals
            .iter()
            .any(|(before, _consumed)| before.id == signal.id)
        {
            return Ok(Signalled::Duplicate);
        }
        known.signals.push((signal, false));
        known.state = DUE;
        Ok(Signalled::Accepted)
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        Ok(locked(&self.0).get(run).map(|known| Schedule {
            state: known.state.clone(),
            deliveries: known.deliveries,
            signals: u32::try_from(known.waiting().len()).unwrap_or(u32::MAX),
        }))
    }

    async fn forget(&self, run: &RunId) -> Result<(), RuntimeError> {
        locked(&self.0).remove(run);
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
            let due = locked(&self.0)
                .iter()
                .find(|(run, known)| {
                    matches!(known.state, ScheduleState::Due { .. })
                        && !matches!(&worker.scope, Scope::Run(only) if only != *run)
                })
                .map(|(run, _known)| run.clone());
            let Some(run) = due else { break };
            self.deliver(&run, &*advance).await;
            served.turns = served.turns.saturating_add(1);
        }
        Ok(served)
    }
}

//! Runs and signals in memory, advanced by the shared lease loop.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use seaworthy_polling::{
    Claim, Claimed, Hints, Lease, LeaseKey, LeaseStorage, Presence, Renewed, Settle, Settlement,
    SignalsAfter, WaitingSignal, redelivery_delay,
};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Kind, MAX_QUEUE_LIMITS, MAX_SIGNAL_BYTES, MAX_WAITING_SIGNALS,
    RuntimeCapabilities, RuntimeError, Schedule, ScheduleState, Scope, Served, Signal, Signalled,
    Submit, Submitted, Then, Worker,
};
use seaworthy_ports::{
    AdapterInfo, Durability, Latch, QueueName, RunId, SessionId, SignalId, Timestamp, WorkerId,
};

use crate::{INFO, lock};

/// A durable runtime that lives as long as its value: for tests and for runs that need not survive.
///
/// Clones share their runs.
#[derive(Clone)]
pub struct MemoryRuntime {
    storage: Arc<Storage>,
    clock: Arc<dyn Clock>,
    hints: Hints,
}

impl MemoryRuntime {
    /// An empty runtime on this clock: due times, leases and polls all follow it.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let hints = Hints::default();
        let storage = Storage {
            clock: Arc::clone(&clock),
            hints: hints.clone(),
            state: Mutex::default(),
        };
        Self {
            storage: Arc::new(storage),
            clock,
            hints,
        }
    }
}

impl fmt::Debug for MemoryRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRuntime").finish_non_exhaustive()
    }
}

#[async_trait]
impl DurableRuntime for MemoryRuntime {
    fn info(&self) -> AdapterInfo {
        INFO
    }

    fn capabilities(&self) -> RuntimeCapabilities {
        RuntimeCapabilities {
            durability: Durability::Volatile,
            distributed: false,
            pushed_wakeups: false,
            queue_limits: true,
            timer_precision_ms: 50,
        }
    }

    async fn submit(&self, submit: Submit) -> Result<Submitted, RuntimeError> {
        let mut state = self.storage.state();
        if state.runs.contains_key(&submit.run) {
            return Ok(Submitted::Existing);
        }
        let due = submit.not_before.unwrap_or_else(|| self.clock.now());
        let order = state.next_number();
        let entry = Entry {
            order,
            session: submit.session,
            queue: submit.queue,
            place: Place::Finished,
            deliveries: 0,
            failures: 0,
            waiting: BTreeMap::new(),
            accepted: HashMap::new(),
        };
        state.runs.insert(submit.run.clone(), entry);
        state.place(&submit.run, Place::Due(due));
        drop(state);
        self.hints.due.give();
        Ok(Submitted::New)
    }

    async fn resubmit(&self, run: &RunId) -> Result<(), RuntimeError> {
        let mut state = self.storage.state();
        let now = self.clock.now();
        let entry = state
            .runs
            .get_mut(run)
            .ok_or_else(|| unknown_run("resubmit"))?;
        if matches!(entry.place, Place::Finished) {
            entry.failures = 0;
            state.place(run, Place::Due(now));
            drop(state);
            self.hints.due.give();
        }
        Ok(())
    }

    async fn signal(&self, run: &RunId, signal: Signal) -> Result<Signalled, RuntimeError> {
        if signal.payload.len() > MAX_SIGNAL_BYTES {
            return Err(rejected("signal", "the payload is too large"));
        }
        let mut state = self.storage.state();
        let now = self.clock.now();
        let position = state.next_number();
        let entry = state
            .runs
            .get_mut(run)
            .ok_or_else(|| unknown_run("signal"))?;
        if matches!(entry.place, Place::Finished) {
            return Ok(Signalled::Finished);
        }
        if entry.accepted.contains_key(&signal.id) {
            return Ok(Signalled::Duplicate);
        }
        if entry.waiting.len() >= MAX_WAITING_SIGNALS {
            return Err(rejected("signal", "too many signals wait for the run"));
        }
        entry.accepted.insert(signal.id.clone(), position);
        entry.waiting.insert(position, signal);
        if matches!(entry.place, Place::Parked(_)) {
            state.place(run, Place::Due(now));
        }
        drop(state);
        self.hints.signal.give();
        self.hints.due.give();
        Ok(Signalled::Accepted)
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        self.storage.describe(run).await
    }

    async fn forget(&self, run: &RunId) -> Result<(), RuntimeError> {
        let mut state = self.storage.state();
        state.place(run, Place::Finished);
        state.runs.remove(run);
        drop(state);
        // A session may have become free.
        self.hints.due.give();
        Ok(())
    }

    async fn limit_queue(
        &self,
        queue: &QueueName,
        limit: Option<NonZeroU32>,
    ) -> Result<(), RuntimeError> {
        let mut state = self.storage.state();
        if let Some(limit) = limit {
            if !state.limits.contains_key(queue) && state.limits.len() >= MAX_QUEUE_LIMITS {
                return Err(rejected("limit_queue", "too many queues have a limit"));
            }
            state.limits.insert(queue.clone(), limit);
        } else {
            state.limits.remove(queue);
        }
        drop(state);
        self.hints.due.give();
        Ok(())
    }

    async fn queue_limits(&self) -> Result<BTreeMap<QueueName, NonZeroU32>, RuntimeError> {
        Ok(self.storage.state().limits.clone())
    }

    async fn serve(
        &self,
        worker: Worker,
        advance: Arc<dyn Advance>,
        stop: Latch,
    ) -> Result<Served, RuntimeError> {
        seaworthy_polling::serve(
            INFO.id,
            Arc::clone(&self.storage),
            Arc::clone(&self.clock),
            self.hints.clone(),
            worker,
            advance,
            stop,
        )
        .await
    }
}

struct Storage {
    clock: Arc<dyn Clock>,
    hints: Hints,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    runs: HashMap<RunId, Entry>,
    /// Every run that time alone may make due: when, in which order of submission, which.
    timed: BTreeSet<(Timestamp, u64, RunId)>,
    /// The run of a session that was leased last.
    sessions: HashMap<SessionId, RunId>,
    /// How many runs of a queue may be leased at once.
    limits: BTreeMap<QueueName, NonZeroU32>,
    /// The leases of each queue: when they end, and which run in the order of submission.
    leased: HashMap<QueueName, BTreeSet<(Timestamp, u64)>>,
    /// The source of order, positions and fences.
    last_number: u64,
}

struct Entry {
    order: u64,
    session: Option<SessionId>,
    queue: QueueName,
    place: Place,
    deliveries: u32,
    failures: u32,
    waiting: BTreeMap<u64, Signal>,
    /// Every signal ever accepted, consumed ones included.
    accepted: HashMap<SignalId, u64>,
}

#[derive(Clone)]
enum Place {
    Due(Timestamp),
    Leased {
        worker: WorkerId,
        fence: u64,
        expires: Timestamp,
    },
    Parked(Option<Timestamp>),
    Finished,
}

impl Place {
    fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Due(at) | Self::Leased { expires: at, .. } => Some(*at),
            Self::Parked(wake_at) => *wake_at,
            Self::Finished => None,
        }
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Moves a known run, and keeps the order of times.
    fn place(&mut self, run: &RunId, place: Place) {
        let Some(entry) = self.runs.get_mut(run) else {
            return;
        };
        if let Some(at) = entry.place.at() {
            self.timed.remove(&(at, entry.order, run.clone()));
        }
        if let Some(at) = place.at() {
            self.timed.insert((at, entry.order, run.clone()));
        }
        if let Place::Leased { expires, .. } = &entry.place
            && let Some(leased) = self.leased.get_mut(&entry.queue)
        {
            leased.remove(&(*expires, entry.order));
            if leased.is_empty() {
                self.leased.remove(&entry.queue);
            }
        }
        if let Place::Leased { expires, .. } = &place {
            let leased = self.leased.entry(entry.queue.clone()).or_default();
            leased.insert((*expires, entry.order));
        }
        if let Some(session) = &entry.session {
            if matches!(place, Place::Leased { .. }) {
                self.sessions.insert(session.clone(), run.clone());
            } else if self.sessions.get(session) == Some(run) {
                self.sessions.remove(session);
            }
        }
        entry.place = place;
    }

    /// Whether another run of its session holds a live lease.
    fn is_block(&self, run: &RunId, now: Timestamp) -> bool {
        let holder = self
            .runs
            .get(run)
            .and_then(|entry| entry.session.as_ref())
            .and_then(|session| self.sessions.get(session));
        holder.is_some_and(|holder| {
            holder != run
                && self.runs.get(holder).is_some_and(
                    |entry| matches!(entry.place, Place::Leased { expires, .. } if expires > now),
                )
        })
    }

    /// Whether as many runs of its queue hold a live lease as may.
    fn is_in_full_queue(&self, run: &RunId, now: Timestamp) -> bool {
        let Some(queue) = self.runs.get(run).map(|entry| &entry.queue) else {
            return false;
        };
        let (Some(limit), Some(leased)) = (self.limits.get(queue), self.leased.get(queue)) else {
            return false;
        };
        let limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
        let live = leased.range((Bound::Excluded((now, u64::MAX)), Bound::Unbounded));
        live.take(limit).count() == limit
    }

    fn is_in(&self, run: &RunId, scope: &Scope) -> bool {
        match scope {
            Scope::All => true,
            Scope::Run(wanted) => wanted == run,
            Scope::Queues(queues) => self
                .runs
                .get(run)
                .is_some_and(|entry| queues.contains(&entry.queue)),
        }
    }

    fn first_due(&self, scope: &Scope, now: Timestamp) -> Option<RunId> {
        self.timed
            .iter()
            .take_while(|(at, ..)| *at <= now)
            .map(|(.., run)| run)
            .find(|run| {
                self.is_in(run, scope)
                    && !self.is_block(run, now)
                    && !self.is_in_full_queue(run, now)
            })
            .cloned()
    }

    fn next_due(&self, scope: &Scope, now: Timestamp) -> Option<Timestamp> {
        self.timed
            .iter()
            .find(|(at, _, run)| *at > now && self.is_in(run, scope))
            .map(|(at, ..)| *at)
    }

    fn holds(&self, key: &LeaseKey) -> Option<Timestamp> {
        match self.runs.get(&key.run)?.place {
            Place::Leased { fence, expires, .. } if fence == key.fence => Some(expires),
            _ => None,
        }
    }
}

impl Storage {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

struct NoPresence;

#[async_trait]
impl Presence for NoPresence {
    async fn leave(self: Box<Self>) {}
}

#[async_trait]
impl LeaseStorage for Storage {
    async fn enlist(&self, _worker: &WorkerId) -> Result<Box<dyn Presence>, RuntimeError> {
        Ok(Box::new(NoPresence))
    }

    async fn free_dead(&self) -> Result<bool, RuntimeError> {
        Ok(false)
    }

    async fn claim(&self, claim: Claim<'_>) -> Result<Claimed, RuntimeError> {
        let mut state = self.state();
        let now = self.clock.now();
        let mut claimed = Claimed::default();
        while claimed.leases.len() < claim.limit {
            let Some(run) = state.first_due(claim.scope, now) else {
                break;
            };
            let fence = state.next_number();
            let expires = now.plus(claim.ttl);
            let worker = claim.worker.clone();
            state.place(
                &run,
                Place::Leased {
                    worker,
                    fence,
                    expires,
                },
            );
            let Some(entry) = state.runs.get_mut(&run) else {
                break;
            };
            entry.deliveries = entry.deliveries.saturating_add(1);
            let delivery = entry.deliveries;
            let has_signals = !entry.waiting.is_empty();
            claimed.leases.push(Lease {
                run,
                fence,
                delivery,
                expires,
                has_signals,
            });
        }
        if claimed.leases.is_empty() {
            claimed.next_due = state.next_due(claim.scope, now);
        }
        Ok(claimed)
    }

    async fn renew(
        &self,
        leases: &[LeaseKey],
        ttl: Duration,
    ) -> Result<Vec<Renewed>, RuntimeError> {
        let mut state = self.state();
        let now = self.clock.now();
        let mut renewed = Vec::with_capacity(leases.len());
        for key in leases {
            let Some(expires) = state.holds(key).filter(|expires| *expires > now) else {
                continue;
            };
            let expires = expires.max(now.plus(ttl));
            let place = match state.runs.get(&key.run).map(|entry| &entry.place) {
                Some(Place::Leased { worker, fence, .. }) => Place::Leased {
                    worker: worker.clone(),
                    fence: *fence,
                    expires,
                },
                _ => continue,
            };
            state.place(&key.run, place);
            renewed.push(Renewed {
                fence: key.fence,
                expires,
            });
        }
        Ok(renewed)
    }

    async fn settle(&self, settle: Settle<'_>) -> Result<bool, RuntimeError> {
        let mut state = self.state();
        let now = self.clock.now();
        if state.holds(settle.lease).is_none() {
            return Ok(false);
        }
        let Some(entry) = state.runs.get_mut(&settle.lease.run) else {
            return Ok(false);
        };
        let place = match settle.settlement {
            Settlement::Next(next) => {
                entry.failures = 0;
                for id in &next.consumed {
                    if let Some(position) = entry.accepted.get(id) {
                        entry.waiting.remove(position);
                    }
                }
                let newest = entry.waiting.keys().next_back();
                match &next.then {
                    Then::Park { .. } if newest.is_some_and(|newest| *newest > settle.seen) => {
                        Place::Due(now)
                    }
                    Then::Park { wake_at } => Place::Parked(*wake_at),
                    Then::Again { after } => Place::Due(now.plus(*after)),
                    Then::Done => Place::Finished,
                }
            }
            Settlement::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                Place::Due(now.plus(redelivery_delay(entry.failures)))
            }
            Settlement::Released => Place::Due(now),
        };
        state.place(&settle.lease.run, place);
        drop(state);
        self.hints.due.give();
        Ok(true)
    }

    async fn signals(
        &self,
        after: &[SignalsAfter],
        limit: usize,
    ) -> Result<Vec<WaitingSignal>, RuntimeError> {
        let state = self.state();
        Ok(after
            .iter()
            .filter_map(|after| Some((after, state.runs.get(&after.run)?)))
            .flat_map(|(after, entry)| {
                entry
                    .waiting
                    .range(after.position.saturating_add(1)..)
                    .map(|(position, signal)| WaitingSignal {
                        run: after.run.clone(),
                        position: *position,
                        signal: signal.clone(),
                    })
            })
            .take(limit)
            .collect())
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        let state = self.state();
        Ok(state.runs.get(run).map(|entry| Schedule {
            state: match &entry.place {
                Place::Due(due) => ScheduleState::Due { due: *due },
                Place::Leased {
                    worker, expires, ..
                } => ScheduleState::Leased {
                    worker: worker.clone(),
                    expires: *expires,
                },
                Place::Parked(wake_at) => ScheduleState::Parked { wake_at: *wake_at },
                Place::Finished => ScheduleState::Finished,
            },
            deliveries: entry.deliveries,
            signals: u32::try_from(entry.waiting.len()).unwrap_or(u32::MAX),
        }))
    }
}

fn unknown_run(operation: &'static str) -> RuntimeError {
    RuntimeError::new(Kind::NotFound, INFO.id, operation, "the run is unknown")
}

fn rejected(operation: &'static str, why: &'static str) -> RuntimeError {
    RuntimeError::new(Kind::Rejected, INFO.id, operation, why)
}

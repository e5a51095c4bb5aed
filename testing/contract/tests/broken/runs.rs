//! Durable runtimes with a bug.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use seaworthy_contract::durable_runtime::Harness;
use seaworthy_fakes::FakeClock;
use seaworthy_memory::MemoryRuntime;
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Kind, Next, RuntimeCapabilities, RuntimeError, Schedule, Scope,
    Served, Signal, Signalled, Submit, Submitted, Then, Turn, Worker,
};
use seaworthy_ports::{AdapterInfo, Latch, QueueName, RunId, Timestamp, async_trait};
use tokio::sync::Mutex;

pub(crate) const NONE: u8 = 0;
pub(crate) const SUBMITS_TWICE: u8 = 1;
pub(crate) const NO_SESSIONS: u8 = 2;
pub(crate) const NO_SCOPE: u8 = 3;
pub(crate) const SHORT_LEASE: u8 = 4;
pub(crate) const ENDLESS_LEASE: u8 = 5;
pub(crate) const SILENT_REVOCATION: u8 = 6;
pub(crate) const CONSUMES_ALL: u8 = 7;
pub(crate) const REVERSED_SIGNALS: u8 = 8;
pub(crate) const DROPS_AT_PARK: u8 = 9;
pub(crate) const FINISHED_ACCEPTS: u8 = 10;
pub(crate) const WAKES_EARLY: u8 = 11;
pub(crate) const AGAIN_AT_ONCE: u8 = 12;
pub(crate) const PANIC_PARKS: u8 = 13;
pub(crate) const NEVER_DRAINS: u8 = 14;
pub(crate) const NO_ORDER: u8 = 15;
pub(crate) const FORGETS_NOTHING: u8 = 16;
pub(crate) const NO_RESUBMIT: u8 = 17;
pub(crate) const COUNTS_FROM_ASKING: u8 = 18;
pub(crate) const NEVER_ASKS: u8 = 19;
pub(crate) const CLOCK_OF_THE_WORKER: u8 = 20;
pub(crate) const LIMITS_NOTHING: u8 = 21;
pub(crate) const ONE_LINE: u8 = 22;
pub(crate) const KEEPS_THE_FIRST_LIMIT: u8 = 23;
pub(crate) const ENDLESS_LIMITS: u8 = 24;
pub(crate) const SECRET_LIMITS: u8 = 25;
pub(crate) const A_SCOPE_LIFTS_LIMITS: u8 = 26;

pub(crate) struct Broken {
    clock: FakeClock,
    runtime: Arc<Runtime>,
}

#[async_trait]
impl Harness for Broken {
    async fn start() -> Self {
        let clock = FakeClock::new();
        let inner = Arc::new(MemoryRuntime::new(Arc::new(clock.clone())));
        Self {
            clock: clock.clone(),
            runtime: Arc::new(Runtime::over(super::chosen(), inner, clock)),
        }
    }

    fn runtime(&self) -> Arc<dyn DurableRuntime> {
        Arc::<Runtime>::clone(&self.runtime)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn second_handle(&self) -> Option<Arc<dyn DurableRuntime>> {
        Some(Arc::new(Runtime {
            is_second: true,
            ..Runtime::clone(&self.runtime)
        }))
    }

    /// The runtime goes by its own clock, whatever the worker's says.
    async fn handle_with_clock_off(
        &self,
        by: Duration,
        fast: bool,
    ) -> Option<Arc<dyn DurableRuntime>> {
        Some(Arc::new(Runtime {
            fast_by: if fast { by } else { Duration::ZERO },
            ..Runtime::clone(&self.runtime)
        }))
    }

    async fn hold_up(&self) -> Option<Box<dyn Send>> {
        Some(Box::new(Arc::clone(&self.runtime.gate).lock_owned().await))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Runtime {
    bug: u8,
    inner: Arc<dyn DurableRuntime>,
    clock: FakeClock,
    /// Workers that begin to serve pass here.
    gate: Arc<Mutex<()>>,
    /// Said of limits that are not kept.
    limits: Arc<Mutex<BTreeMap<QueueName, NonZeroU32>>>,
    is_second: bool,
    fast_by: Duration,
}

impl Runtime {
    pub(super) fn over(bug: u8, inner: Arc<dyn DurableRuntime>, clock: FakeClock) -> Self {
        Self {
            bug,
            inner,
            clock,
            gate: Arc::default(),
            limits: Arc::default(),
            is_second: false,
            fast_by: Duration::ZERO,
        }
    }
}

/// Stands between the runtime and the scenario's turns.
struct Between(Arc<dyn Advance>, Runtime);

#[async_trait]
impl Advance for Between {
    async fn advance(&self, mut turn: Turn) -> Next {
        let signals = turn.signals.clone();
        let (run, delivery) = (turn.run.clone(), turn.delivery);
        match self.1.bug {
            SILENT_REVOCATION => turn.revoked = Latch::never(),
            REVERSED_SIGNALS if signals.len() > 4 => turn.signals.reverse(),
            _ => {}
        }
        let mut next = match self.1.bug {
            PANIC_PARKS => match AssertUnwindSafe(self.0.advance(turn)).catch_unwind().await {
                Ok(next) => next,
                Err(_panic) => Next {
                    consumed: vec![],
                    then: Then::Park { wake_at: None },
                },
            },
            _ => self.0.advance(turn).await,
        };
        match (self.1.bug, &mut next.then) {
            (CONSUMES_ALL, _) => {
                next.consumed = signals.into_iter().map(|signal| signal.id).collect()
            }
            (DROPS_AT_PARK, Then::Park { .. }) if delivery > 1 || !signals.is_empty() => {
                // What arrived meanwhile is taken for seen.
                let waiting = self
                    .1
                    .inner
                    .describe(&run)
                    .await
                    .unwrap()
                    .map_or(0, |schedule| schedule.signals);
                for number in 0..waiting.saturating_mul(100) {
                    next.consumed.push(format!("s{number}").parse().unwrap());
                    next.consumed.push(format!("m{number}").parse().unwrap());
                }
            }
            (
                WAKES_EARLY,
                Then::Park {
                    wake_at: Some(wake_at),
                },
            ) => {
                let now = self.1.clock.now();
                *wake_at = now.plus(wake_at.since(now) / 2);
            }
            (AGAIN_AT_ONCE, Then::Again { after }) => *after = Duration::ZERO,
            _ => {}
        }
        next
    }
}

#[async_trait]
impl DurableRuntime for Runtime {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> RuntimeCapabilities {
        let capabilities = self.inner.capabilities();
        RuntimeCapabilities {
            distributed: capabilities.distributed && self.bug != super::MODEST,
            queue_limits: self.bug != SECRET_LIMITS,
            ..capabilities
        }
    }

    async fn submit(&self, mut submit: Submit) -> Result<Submitted, RuntimeError> {
        match self.bug {
            SUBMITS_TWICE => {
                let submitted = self.inner.submit(submit.clone()).await?;
                if submitted == Submitted::Existing {
                    self.inner.forget(&submit.run).await?;
                    self.inner.submit(submit).await?;
                }
                return Ok(Submitted::New);
            }
            NO_SESSIONS => submit.session = None,
            // Whoever is anywhere stands in the queue that has a limit.
            ONE_LINE => {
                if let Some(limited) = self.inner.queue_limits().await?.into_keys().next() {
                    submit.queue = limited;
                }
            }
            // Nobody is told of it, and nobody asks.
            NEVER_ASKS if self.is_second => {
                submit.not_before = Some(self.clock.now().plus(Duration::from_secs(3_600)));
            }
            NO_ORDER
                if submit
                    .not_before
                    .is_some_and(|due| due < self.clock.now().plus(Duration::from_secs(1))) =>
            {
                submit.not_before = None;
            }
            _ => {}
        }
        self.inner.submit(submit).await
    }

    async fn resubmit(&self, run: &RunId) -> Result<(), RuntimeError> {
        if self.bug == NO_RESUBMIT {
            Ok(())
        } else {
            self.inner.resubmit(run).await
        }
    }

    async fn signal(&self, run: &RunId, signal: Signal) -> Result<Signalled, RuntimeError> {
        let signalled = self.inner.signal(run, signal).await?;
        if self.bug == FINISHED_ACCEPTS && signalled == Signalled::Finished {
            return Ok(Signalled::Accepted);
        }
        Ok(signalled)
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        self.inner.describe(run).await
    }

    async fn forget(&self, run: &RunId) -> Result<(), RuntimeError> {
        if self.bug == FORGETS_NOTHING {
            Ok(())
        } else {
            self.inner.forget(run).await
        }
    }

    async fn limit_queue(
        &self,
        queue: &QueueName,
        limit: Option<NonZeroU32>,
    ) -> Result<(), RuntimeError> {
        match self.bug {
            LIMITS_NOTHING => {
                let mut limits = self.limits.lock().await;
                match limit {
                    Some(limit) => limits.insert(queue.clone(), limit),
                    None => limits.remove(queue),
                };
                let most = seaworthy_ports::durable_runtime::MAX_QUEUE_LIMITS;
                if limits.len() > most {
                    limits.remove(queue);
                    let why = "too many queues have a limit";
                    return Err(RuntimeError::new(
                        Kind::Rejected,
                        "broken",
                        "limit_queue",
                        why,
                    ));
                }
                return Ok(());
            }
            KEEPS_THE_FIRST_LIMIT if self.inner.queue_limits().await?.contains_key(queue) => {
                return Ok(());
            }
            _ => {}
        }
        let limited = self.inner.limit_queue(queue, limit).await;
        if self.bug == ENDLESS_LIMITS {
            Ok(())
        } else {
            limited
        }
    }

    async fn queue_limits(&self) -> Result<BTreeMap<QueueName, NonZeroU32>, RuntimeError> {
        if self.bug == LIMITS_NOTHING {
            return Ok(self.limits.lock().await.clone());
        }
        self.inner.queue_limits().await
    }

    async fn serve(
        &self,
        mut worker: Worker,
        advance: Arc<dyn Advance>,
        stop: Latch,
    ) -> Result<Served, RuntimeError> {
        let asked = self.clock.now();
        drop(self.gate.lock().await);
        match self.bug {
            // A worker that tells the runtime what time it is.
            CLOCK_OF_THE_WORKER => self.clock.advance(self.fast_by),
            COUNTS_FROM_ASKING => {
                let waited = self.clock.now().since(asked);
                let rest = worker.lease.saturating_sub(waited);
                worker.lease = rest.max(Duration::from_millis(1));
            }
            A_SCOPE_LIFTS_LIMITS if worker.scope != Scope::All => {
                for queue in self.inner.queue_limits().await?.into_keys() {
                    self.inner.limit_queue(&queue, None).await?;
                }
            }
            NO_SCOPE if matches!(worker.scope, Scope::Queues(_)) => worker.scope = Scope::All,
            SHORT_LEASE if worker.id.as_str() == "holder" => worker.lease /= 10,
            ENDLESS_LEASE => worker.lease *= 1_000,
            NEVER_DRAINS => worker.drain *= 1_000,
            _ => {}
        }
        let between = Between(advance, self.clone());
        self.inner.serve(worker, Arc::new(between), stop).await
    }
}

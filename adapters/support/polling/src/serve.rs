//! The worker's loop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{
    Advance, Kind, RuntimeError, ScheduleState, Scope, Served, Signal, Turn, Worker,
};
use seaworthy_ports::{BoxStream, Latch, LatchSetter, Retry, Timestamp};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::storage_delay;
use crate::hint::Hints;
use crate::mail::MAILBOX;
use crate::storage::{Claim, Claimed, Lease, LeaseKey, LeaseStorage, Settlement, SignalsAfter};
use crate::turn::{Context, Outcome};
use crate::{heartbeat, mail};

/// The shortest time between two questions of an idle worker.
pub const MIN_POLL: Duration = Duration::from_millis(500);
/// How often a worker with live turns looks for signals that other processes accepted.
pub const MAIL_POLL: Duration = Duration::from_millis(250);
/// How long a turn that begins waits for the look for signals that came since it was claimed, so that one look serves many.
pub(crate) const NEW_MAIL: Duration = Duration::from_millis(10);
/// How many signals a delivery brings at once; the rest comes as mail.
const FIRST_SIGNALS: usize = seaworthy_ports::durable_runtime::MAX_WAITING_SIGNALS;
/// How often in a row the storage may fail before serving a single run ends with the error.
const SINGLE_RUN_FAILURES: u32 = 8;

/// Serves runs as `DurableRuntime::serve` promises. `adapter` names the adapter in errors.
///
/// # Errors
///
/// `Rejected` for a worker without concurrency or lease time; `NotFound` for [`Scope::Run`] of an unknown run; what the
/// storage refuses for good. Passing trouble of the storage is waited out, except that serving a single run gives up
/// after a while.
///
/// # Cancellation
///
/// Dropping the future drops the live turns; their leases expire.
pub async fn serve<S: LeaseStorage + ?Sized>(
    adapter: &'static str,
    storage: Arc<S>,
    clock: Arc<dyn Clock>,
    hints: Hints,
    worker: Worker,
    advance: Arc<dyn Advance>,
    stop: Latch,
) -> Result<Served, RuntimeError> {
    if worker.concurrency == 0 || worker.lease.as_millis() == 0 {
        return Err(RuntimeError::new(
            Kind::Rejected,
            adapter,
            "serve",
            "a worker needs a concurrency and a lease of at least one",
        ));
    }
    let presence = storage.enlist(&worker.id).await?;
    let (abandon, abandoned) = Latch::new();
    let context = Arc::new(Context {
        storage,
        clock,
        held: Arc::default(),
        advance,
        abandon: abandoned,
    });
    let heartbeat = AbortOnDropHandle::new(tokio::spawn(heartbeat::keep(
        Arc::clone(&context.storage),
        Arc::clone(&context.clock),
        Arc::clone(&context.held),
        worker.lease,
    )));
    let mail = AbortOnDropHandle::new(tokio::spawn(mail::pump(
        Arc::clone(&context.storage),
        Arc::clone(&context.clock),
        Arc::clone(&context.held),
        hints.signal.receiver(),
    )));
    let mut server = Server {
        adapter,
        poll: worker.poll.max(MIN_POLL),
        worker,
        context,
        hints,
        stop,
        turns: JoinSet::new(),
        served: Served::default(),
        seen_the_run: false,
    };
    let result = server.run().await;
    server.drain(&abandon).await;
    for task in [heartbeat, mail] {
        task.abort();
        // Its end, not its result, matters: it only ever ends this way.
        let _aborted = task.await;
    }
    presence.leave().await;
    result.map(|()| server.served)
}

struct Server<S: ?Sized> {
    adapter: &'static str,
    poll: Duration,
    worker: Worker,
    context: Arc<Context<S>>,
    hints: Hints,
    stop: Latch,
    turns: JoinSet<Outcome>,
    served: Served,
    seen_the_run: bool,
}

/// What a look at the storage found.
enum Look {
    /// Turns were started.
    Started,
    /// Nothing is due; look again then, at the latest.
    Nothing(Timestamp),
    /// The single run that is served needs no more turns for now.
    Over,
}

impl<S: LeaseStorage + ?Sized> Server<S> {
    async fn run(&mut self) -> Result<(), RuntimeError> {
        let mut due = self.hints.due.receiver();
        let mut failures = 0;
        let mut free_dead_at = self.context.clock.now();
        loop {
            while let Some(ended) = self.turns.try_join_next() {
                self.count(ended);
            }
            if self.stop.is_set() {
                return Ok(());
            }
            let free = self.worker.concurrency.saturating_sub(self.turns.len());
            let mut wake = None;
            if free > 0 {
                due.forget();
                if self.context.clock.now() >= free_dead_at {
                    self.free_dead().await;
                    free_dead_at = self.context.clock.now().plus(self.poll);
                }
                match self.look(free).await {
                    Ok(Look::Started) => {
                        failures = 0;
                        continue;
                    }
                    Ok(Look::Over) => return Ok(()),
                    Ok(Look::Nothing(until)) => {
                        failures = 0;
                        wake = Some(until);
                    }
                    Err(error) => {
                        failures += 1;
                        let single = matches!(self.worker.scope, Scope::Run(_));
                        if error.retry() == Retry::No || single && failures >= SINGLE_RUN_FAILURES {
                            return Err(error);
                        }
                        tracing::warn!(%error, "due runs could not be claimed");
                        wake = Some(self.context.clock.now().plus(storage_delay(failures)));
                    }
                }
            }
            tokio::select! {
                () = self.stop.wait() => return Ok(()),
                Some(ended) = self.turns.join_next() => count(&mut self.served, ended),
                () = due.given(), if free > 0 && failures == 0 => {}
                () = self.context.clock.sleep_until(wake.unwrap_or_default()), if wake.is_some() => {}
            }
        }
    }

    /// Claims and starts as many due runs as there is room for.
    async fn look(&mut self, free: usize) -> Result<Look, RuntimeError> {
        let claimed = self.claim(free).await?;
        if !claimed.leases.is_empty() {
            self.start(claimed.leases).await?;
            return Ok(Look::Started);
        }
        let now = self.context.clock.now();
        if self.turns.is_empty() && self.is_over(now).await? {
            return Ok(Look::Over);
        }
        let poll = now.plus(self.poll);
        // A time that came since the storage was asked is looked at again at once.
        Ok(Look::Nothing(
            claimed.next_due.map_or(poll, |next| next.min(poll)),
        ))
    }

    /// The claim may wait for work; what happens meanwhile is not kept waiting.
    async fn claim(&mut self, free: usize) -> Result<Claimed, RuntimeError> {
        let storage = &self.context.storage;
        let mut claim = storage.claim(Claim {
            worker: &self.worker.id,
            scope: &self.worker.scope,
            limit: free,
            ttl: self.worker.lease,
        });
        let mut is_hurried = false;
        loop {
            tokio::select! {
                biased;
                claimed = &mut claim => return claimed,
                () = self.stop.wait(), if !is_hurried => {
                    is_hurried = true;
                    storage.hurry();
                }
                Some(ended) = self.turns.join_next() => count(&mut self.served, ended),
            }
        }
    }

    /// Whether the single run that is served is parked or done.
    async fn is_over(&mut self, now: Timestamp) -> Result<bool, RuntimeError> {
        let Scope::Run(run) = &self.worker.scope else {
            return Ok(false);
        };
        let Some(schedule) = self.context.storage.describe(run).await? else {
            if self.seen_the_run {
                return Ok(true);
            }
            return Err(RuntimeError::new(
                Kind::NotFound,
                self.adapter,
                "serve",
                "the run is unknown",
            ));
        };
        self.seen_the_run = true;
        Ok(match schedule.state {
            ScheduleState::Finished => true,
            ScheduleState::Parked { wake_at } => wake_at.is_none_or(|wake_at| wake_at > now),
            ScheduleState::Due { .. } | ScheduleState::Leased { .. } => false,
        })
    }

    async fn start(&mut self, leases: Vec<Lease>) -> Result<(), RuntimeError> {
        self.seen_the_run = true;
        // From the first moment on, so that reading the signals does not eat up their time.
        let mut started: Vec<(Lease, Latch)> = Vec::with_capacity(leases.len());
        for lease in leases {
            let revoked = self.context.held.add(&lease);
            started.push((lease, revoked));
        }
        // Signals that come after the grant come as mail.
        let wanted: Vec<SignalsAfter> = started
            .iter()
            .filter(|(lease, _)| lease.has_signals)
            .map(|(lease, _)| SignalsAfter {
                run: lease.run.clone(),
                position: 0,
            })
            .collect();
        let limit = FIRST_SIGNALS.saturating_mul(wanted.len());
        let waiting = match wanted.as_slice() {
            [] => Ok(Vec::new()),
            wanted => self.context.storage.signals(wanted, limit).await,
        };
        let waiting = match waiting {
            Ok(waiting) if !self.stop.is_set() => waiting,
            other => {
                for (lease, _) in &started {
                    self.release(lease).await;
                }
                return other.map(|_unused| ());
            }
        };
        let mut signals: HashMap<_, (u64, Vec<Signal>)> = HashMap::new();
        for waiting in waiting {
            let (seen, list) = signals.entry(waiting.run).or_default();
            *seen = (*seen).max(waiting.position);
            list.push(waiting.signal);
        }
        let now = self.context.clock.now();
        for (lease, revoked) in started {
            // Signals that were read after the lease had ended may be what another turn has left of them.
            if self.context.held.is_lost(lease.fence, now) {
                tracing::warn!(run = %lease.run, "a lease ended before its turn could start");
                self.context.held.remove(lease.fence);
                continue;
            }
            let (seen, signals) = signals.remove(&lease.run).unwrap_or_default();
            let (sender, receiver) = mpsc::channel(MAILBOX);
            self.context.held.open_mail(lease.fence, sender, seen);
            let key = LeaseKey {
                run: lease.run.clone(),
                fence: lease.fence,
            };
            let turn = Turn {
                run: lease.run,
                delivery: lease.delivery,
                signals,
                mail: mailbox(receiver),
                revoked,
            };
            self.turns
                .spawn(Arc::clone(&self.context).supervise(key, seen, turn));
        }
        Ok(())
    }

    async fn release(&self, lease: &Lease) {
        let key = LeaseKey {
            run: lease.run.clone(),
            fence: lease.fence,
        };
        self.context.settle(&key, 0, &Settlement::Released).await;
        self.context.held.remove(lease.fence);
    }

    async fn free_dead(&self) {
        match self.context.storage.free_dead().await {
            Ok(true) => self.hints.due.give(),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "dead workers could not be looked for"),
        }
    }

    /// Lets live turns end, then drops them.
    async fn drain(&mut self, abandon: &LatchSetter) {
        let deadline = self.context.clock.now().plus(self.worker.drain);
        while !self.turns.is_empty() {
            tokio::select! {
                Some(ended) = self.turns.join_next() => count(&mut self.served, ended),
                () = self.context.clock.sleep_until(deadline) => break,
            }
        }
        abandon.set();
        while let Some(ended) = self.turns.join_next().await {
            self.count(ended);
        }
    }

    fn count(&mut self, ended: Result<Outcome, JoinError>) {
        count(&mut self.served, ended);
    }
}

fn count(served: &mut Served, ended: Result<Outcome, JoinError>) {
    match ended {
        Ok(outcome) => {
            served.turns += u64::from(outcome.returned);
            served.panicked += u64::from(outcome.panicked);
            served.revoked += u64::from(outcome.revoked);
        }
        // A supervisor runs no code but ours; its lease expires.
        Err(error) => tracing::error!(%error, "the supervisor of a turn broke"),
    }
}

fn mailbox(receiver: mpsc::Receiver<Signal>) -> BoxStream<'static, Signal> {
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|signal| (signal, receiver))
    })
    .boxed()
}

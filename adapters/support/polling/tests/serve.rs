//! The lease loop over storage that misbehaves.

#![expect(clippy::expect_used, reason = "helpers of tests fail tests")]

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use seaworthy_fakes::FakeClock;
use seaworthy_polling::{
    Claim, Claimed, Hints, Lease, LeaseKey, LeaseStorage, Presence, Renewed, Settle, Settlement,
    SignalsAfter, WaitingSignal,
};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{
    Advance, Kind, Next, RuntimeError, Schedule, Scope, Served, Signal, Then, Turn, Worker,
};
use seaworthy_ports::{Latch, LatchSetter, RunId, SignalId, WorkerId, async_trait};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);

/// One run, due once, and faults to switch on.
#[derive(Default)]
struct Faulty {
    clock: Option<FakeClock>,
    claims: AtomicU32,
    is_due: AtomicBool,
    claims_fail: Mutex<Option<Kind>>,
    renewals_hang: AtomicBool,
    signals_take_a_minute: AtomicBool,
    settlements_to_fail: AtomicU32,
    settled: Mutex<Vec<Settlement>>,
    signals: Mutex<Vec<WaitingSignal>>,
    left: AtomicBool,
}

struct Present(Arc<Faulty>);

#[async_trait]
impl Presence for Present {
    async fn leave(self: Box<Self>) {
        self.0.left.store(true, Ordering::SeqCst);
    }
}

fn run() -> RunId {
    RunId::new("r").expect("a run id")
}

fn failure(kind: Kind) -> RuntimeError {
    RuntimeError::new(kind, "faulty", "serve", "as told")
}

struct Shared(Arc<Faulty>);

impl Faulty {
    fn now(&self) -> seaworthy_ports::Timestamp {
        self.clock.as_ref().expect("a clock").now()
    }
}

#[async_trait]
impl LeaseStorage for Shared {
    async fn enlist(&self, _worker: &WorkerId) -> Result<Box<dyn Presence>, RuntimeError> {
        Ok(Box::new(Present(Arc::clone(&self.0))))
    }

    async fn free_dead(&self) -> Result<bool, RuntimeError> {
        Ok(false)
    }

    async fn claim(&self, claim: Claim<'_>) -> Result<Claimed, RuntimeError> {
        self.0.claims.fetch_add(1, Ordering::SeqCst);
        if let Some(kind) = *self.0.claims_fail.lock().expect("unpoisoned") {
            return Err(failure(kind));
        }
        let mut claimed = Claimed::default();
        if self.0.is_due.swap(false, Ordering::SeqCst) {
            claimed.leases.push(Lease {
                run: run(),
                fence: 7,
                delivery: 1,
                expires: self.0.now().plus(claim.ttl),
                has_signals: true,
            });
        }
        Ok(claimed)
    }

    async fn renew(
        &self,
        leases: &[LeaseKey],
        ttl: Duration,
    ) -> Result<Vec<Renewed>, RuntimeError> {
        if self.0.renewals_hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let expires = self.0.now().plus(ttl);
        Ok(leases
            .iter()
            .map(|lease| Renewed {
                fence: lease.fence,
                expires,
            })
            .collect())
    }

    async fn settle(&self, settle: Settle<'_>) -> Result<bool, RuntimeError> {
        let left = &self.0.settlements_to_fail;
        if left.load(Ordering::SeqCst) > 0 {
            left.fetch_sub(1, Ordering::SeqCst);
            return Err(failure(Kind::Unavailable));
        }
        let mut settled = self.0.settled.lock().expect("unpoisoned");
        settled.push(settle.settlement.clone());
        Ok(true)
    }

    async fn signals(
        &self,
        after: &[SignalsAfter],
        limit: usize,
    ) -> Result<Vec<WaitingSignal>, RuntimeError> {
        if self.0.signals_take_a_minute.swap(false, Ordering::SeqCst) {
            let clock = self.0.clock.as_ref().expect("a clock");
            clock.advance(60 * SECOND);
        }
        let signals = self.0.signals.lock().expect("unpoisoned");
        let after = after.first().map_or(0, |after| after.position);
        let new = signals.iter().filter(|signal| signal.position > after);
        Ok(new.take(limit).cloned().collect())
    }

    async fn describe(&self, _run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        Ok(None)
    }
}

struct ByHand(mpsc::UnboundedSender<(Turn, oneshot::Sender<Next>)>);

#[async_trait]
impl Advance for ByHand {
    async fn advance(&self, turn: Turn) -> Next {
        let (answer, answered) = oneshot::channel();
        self.0.send((turn, answer)).expect("the test listens");
        answered.await.expect("the test answers")
    }
}

struct Serving {
    clock: FakeClock,
    storage: Arc<Faulty>,
    stop: LatchSetter,
    turns: mpsc::UnboundedReceiver<(Turn, oneshot::Sender<Next>)>,
    task: JoinHandle<Result<Served, RuntimeError>>,
}

fn serve(scope: Scope) -> Serving {
    let clock = FakeClock::new();
    let storage = Arc::new(Faulty {
        clock: Some(clock.clone()),
        ..Faulty::default()
    });
    storage.is_due.store(true, Ordering::SeqCst);
    let worker = Worker {
        id: WorkerId::new("w").expect("a worker id"),
        scope,
        concurrency: 2,
        lease: 30 * SECOND,
        poll: Duration::from_millis(1),
        drain: SECOND,
    };
    let (stop, stopped) = Latch::new();
    let (sender, turns) = mpsc::unbounded_channel();
    let task = tokio::spawn(seaworthy_polling::serve(
        "faulty",
        Arc::new(Shared(Arc::clone(&storage))),
        Arc::new(clock.clone()),
        Hints::default(),
        worker,
        Arc::new(ByHand(sender)),
        stopped,
    ));
    Serving {
        clock,
        storage,
        stop,
        turns,
        task,
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(60 * SECOND, future)
        .await
        .expect("it comes to an end")
}

/// Lets every other task of this thread run until it waits.
async fn settle_down() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

impl Serving {
    async fn turn(&mut self) -> (Turn, oneshot::Sender<Next>) {
        within(self.turns.recv()).await.expect("a turn")
    }

    async fn end(self) -> Result<Served, RuntimeError> {
        within(self.task).await.expect("no panic")
    }
}

fn done() -> Next {
    Next {
        consumed: Vec::new(),
        then: Then::Done,
    }
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_is_given_up_in_time_without_an_answer() {
    let mut serving = serve(Scope::All);
    serving.storage.renewals_hang.store(true, Ordering::SeqCst);
    let (turn, answer) = serving.turn().await;
    for _ in 0..29 {
        settle_down().await;
        serving.clock.advance(SECOND);
    }
    settle_down().await;
    assert!(!turn.revoked.is_set());
    serving.clock.advance(SECOND);
    within(turn.revoked.wait()).await;
    answer.send(done()).expect("answered");
    settle_down().await;
    serving.stop.set();
    assert!(
        serving
            .storage
            .settled
            .lock()
            .expect("unpoisoned")
            .is_empty()
    );
    let served = serving.end().await.expect("served");
    assert_eq!((served.turns, served.revoked), (1, 1));
}

#[tokio::test]
async fn a_turn_whose_lease_ended_while_its_signals_were_read_does_not_start() {
    let mut serving = serve(Scope::All);
    let slow = &serving.storage.signals_take_a_minute;
    slow.store(true, Ordering::SeqCst);
    let claims = || serving.storage.claims.load(Ordering::SeqCst);
    while claims() < 2 {
        settle_down().await;
        serving.clock.advance(SECOND);
    }
    assert!(serving.turns.try_recv().is_err());
    serving.storage.is_due.store(true, Ordering::SeqCst);
    serving.clock.advance(SECOND);
    let (turn, answer) = serving.turn().await;
    assert!(!turn.revoked.is_set());
    answer.send(done()).expect("answered");
    settle_down().await;
    serving.stop.set();
    let served = serving.end().await.expect("served");
    assert_eq!((served.turns, served.revoked), (1, 0));
}

#[tokio::test]
async fn an_idle_worker_asks_at_most_twice_a_second() {
    let serving = serve(Scope::All);
    serving.storage.is_due.store(false, Ordering::SeqCst);
    for _ in 0..1_000 {
        settle_down().await;
        serving.clock.advance(Duration::from_millis(10));
    }
    let claims = serving.storage.claims.load(Ordering::SeqCst);
    assert!((15..=21).contains(&claims), "{claims} in ten seconds");
    serving.stop.set();
    let storage = Arc::clone(&serving.storage);
    serving.end().await.expect("served");
    assert!(storage.left.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_settlement_that_fails_for_now_is_repeated() {
    let mut serving = serve(Scope::All);
    serving
        .storage
        .settlements_to_fail
        .store(3, Ordering::SeqCst);
    let (_turn, answer) = serving.turn().await;
    answer.send(done()).expect("answered");
    for _ in 0..100 {
        settle_down().await;
        serving.clock.advance(Duration::from_millis(100));
    }
    let settled = serving.storage.settled.lock().expect("unpoisoned").len();
    assert_eq!(settled, 1);
    serving.stop.set();
    let served = serving.end().await.expect("served");
    assert_eq!((served.turns, served.revoked), (1, 0));
}

#[tokio::test]
async fn storage_that_is_away_for_a_while_does_not_end_a_worker_and_a_refusal_does() {
    let mut serving = serve(Scope::All);
    *serving.storage.claims_fail.lock().expect("unpoisoned") = Some(Kind::Unavailable);
    for _ in 0..100 {
        settle_down().await;
        serving.clock.advance(SECOND);
    }
    let claims = serving.storage.claims.load(Ordering::SeqCst);
    assert!((3..15).contains(&claims), "{claims} with growing delays");
    *serving.storage.claims_fail.lock().expect("unpoisoned") = None;
    serving.clock.advance(60 * SECOND);
    let (_turn, answer) = serving.turn().await;
    answer.send(done()).expect("answered");
    *serving.storage.claims_fail.lock().expect("unpoisoned") = Some(Kind::Rejected);
    settle_down().await;
    serving.clock.advance(SECOND);
    let storage = Arc::clone(&serving.storage);
    let error = serving.end().await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Rejected);
    // In order all the same: the live turn was settled first.
    assert_eq!(storage.settled.lock().expect("unpoisoned").len(), 1);
    assert!(storage.left.load(Ordering::SeqCst));
}

#[tokio::test]
async fn serving_one_run_gives_up_on_storage_that_stays_away() {
    let serving = serve(Scope::Run(run()));
    *serving.storage.claims_fail.lock().expect("unpoisoned") = Some(Kind::Unavailable);
    for _ in 0..200 {
        settle_down().await;
        serving.clock.advance(SECOND);
    }
    let error = serving.end().await.expect_err("given up");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn mail_beyond_what_a_turn_takes_at_once_comes_in_order_and_once() {
    let mut serving = serve(Scope::All);
    let signal = |position: u64| WaitingSignal {
        run: run(),
        position,
        signal: Signal {
            id: SignalId::new(format!("s{position}")).expect("an id"),
            payload: number_bytes(position),
        },
    };
    *serving.storage.signals.lock().expect("unpoisoned") = (1..=10).map(signal).collect();
    let (mut turn, _answer) = serving.turn().await;
    assert_eq!(turn.signals.len(), 10);
    *serving.storage.signals.lock().expect("unpoisoned") = (1..=700).map(signal).collect();
    for position in 11..=700 {
        let next = loop {
            tokio::select! {
                biased;
                next = turn.mail.next() => break next,
                () = settle_down() => serving.clock.advance(Duration::from_millis(50)),
            }
        };
        assert_eq!(next.expect("mail").payload, number_bytes(position));
    }
    serving.task.abort();
}

fn number_bytes(number: u64) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&number.to_be_bytes())
}

#[tokio::test]
async fn dropping_the_worker_drops_its_turns_and_settles_nothing() {
    let mut serving = serve(Scope::All);
    let (_turn, mut answer) = serving.turn().await;
    serving.task.abort();
    within(answer.closed()).await;
    assert!(
        serving
            .storage
            .settled
            .lock()
            .expect("unpoisoned")
            .is_empty()
    );
    assert!(!serving.storage.left.load(Ordering::SeqCst));
}

//! Limits of queues, sessions, leases, and wake-ups, with workers that hold several connections.

#![expect(clippy::expect_used, reason = "helpers of tests fail tests")]

mod support;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use seaworthy_fakes::FakeClock;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Kind, MAX_QUEUE_LIMITS, Next, ScheduleState, Scope, Submit, Then,
    Turn, Worker,
};
use seaworthy_ports::{Latch, LatchSetter, QueueName, RunId, SessionId, WorkerId, async_trait};
use seaworthy_postgres::Postgres;
use support::time::RealClock;
use support::{Schema, count, sql};
use tokio::sync::Semaphore;

const PATIENCE: Duration = Duration::from_secs(60);

/// Counts the live turns of each group: the run's name up to the dot.
#[derive(Default)]
struct Counts {
    live: Mutex<BTreeMap<String, (u32, u32, u32)>>,
    takes: Duration,
}

impl Counts {
    /// The most live at once, and how many turns there were, of a group.
    fn of(&self, group: &str) -> (u32, u32) {
        let live = self.live.lock().expect("no panic");
        live.get(group)
            .map_or((0, 0), |(_, most, turns)| (*most, *turns))
    }
}

#[async_trait]
impl Advance for Counts {
    async fn advance(&self, turn: Turn) -> Next {
        let group = turn
            .run
            .as_str()
            .split('.')
            .next()
            .unwrap_or_default()
            .to_owned();
        {
            let mut live = self.live.lock().expect("no panic");
            let (now, most, turns) = live.entry(group.clone()).or_default();
            *now += 1;
            *most = (*most).max(*now);
            *turns += 1;
        }
        tokio::time::sleep(self.takes).await;
        if let Some((now, ..)) = self.live.lock().expect("no panic").get_mut(&group) {
            *now -= 1;
        }
        Next {
            consumed: Vec::new(),
            then: Then::Done,
        }
    }
}

struct Fleet {
    stop: LatchSetter,
    workers: Vec<tokio::task::JoinHandle<u64>>,
}

impl Fleet {
    /// Workers that share no handle.
    async fn start(schema: &Schema, size: usize, advance: &Arc<Counts>) -> Self {
        let (stop, stopped) = Latch::new();
        let mut workers = Vec::new();
        for number in 0..size {
            let runtime = open(schema).await.durable_runtime();
            let (advance, stopped) = (Arc::clone(advance), stopped.clone());
            let worker = Worker {
                id: WorkerId::new(format!("w{number}")).expect("a worker id"),
                scope: Scope::All,
                concurrency: 8,
                lease: Duration::from_secs(30),
                poll: Duration::from_millis(500),
                drain: Duration::from_secs(5),
            };
            workers.push(tokio::spawn(async move {
                let served = runtime.serve(worker, advance, stopped).await;
                served.expect("served").turns
            }));
        }
        Self { stop, workers }
    }

    async fn stop(self) -> u64 {
        self.stop.set();
        let mut turns = 0;
        for worker in self.workers {
            turns += worker.await.expect("no panic");
        }
        turns
    }
}

async fn open(schema: &Schema) -> Postgres {
    Postgres::connect(schema.config(), Arc::new(RealClock))
        .await
        .expect("a migrated schema")
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a queue")
}

async fn submit(
    runtime: &Arc<dyn DurableRuntime>,
    run: &str,
    in_queue: &str,
    session: Option<&str>,
) {
    let submit = Submit {
        run: RunId::new(run).expect("a run id"),
        session: session.map(|session| SessionId::new(session).expect("a session id")),
        queue: queue(in_queue),
        not_before: None,
    };
    runtime.submit(submit).await.expect("submitted");
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("it comes about");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn no_queue_has_more_leases_than_its_limit_however_many_workers_claim() {
    let schema = Schema::migrated().await;
    let runtime = open(&schema).await.durable_runtime();
    for (name, limit) in [("one", 1), ("three", 3)] {
        runtime
            .limit_queue(&queue(name), NonZeroU32::new(limit))
            .await
            .expect("limited");
    }
    for number in 0..30 {
        for name in ["one", "three", "free"] {
            submit(&runtime, &format!("{name}.{number}"), name, None).await;
        }
    }
    let counts = Arc::new(Counts {
        takes: Duration::from_millis(5),
        ..Counts::default()
    });
    let fleet = Fleet::start(&schema, 4, &counts).await;
    until(|| {
        ["one", "three", "free"]
            .iter()
            .all(|name| counts.of(name).1 == 30)
    })
    .await;
    assert_eq!(fleet.stop().await, 90);
    assert_eq!(counts.of("one").0, 1);
    assert!(counts.of("three").0 <= 3, "{:?}", counts.of("three"));
    assert!(counts.of("free").0 > 3, "a full queue holds up no other");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn no_session_has_two_leases_however_many_workers_claim() {
    const SESSIONS: u32 = 5;
    let schema = Schema::migrated().await;
    let runtime = open(&schema).await.durable_runtime();
    for number in 0..100 {
        let session = format!("s{}", number % SESSIONS);
        let run = format!("{session}.{number}");
        submit(&runtime, &run, "default", Some(&session)).await;
    }
    let counts = Arc::new(Counts {
        takes: Duration::from_millis(1),
        ..Counts::default()
    });
    let fleet = Fleet::start(&schema, 4, &counts).await;
    let names: Vec<String> = (0..SESSIONS).map(|number| format!("s{number}")).collect();
    until(|| names.iter().all(|name| counts.of(name).1 == 20)).await;
    assert_eq!(fleet.stop().await, 100);
    for name in &names {
        assert_eq!(counts.of(name).0, 1, "{name}");
    }
}

/// A turn that goes on when it is told to, and is done then.
struct Waiting {
    has_begun: AtomicBool,
    may_end: Semaphore,
}

#[async_trait]
impl Advance for Waiting {
    async fn advance(&self, _turn: Turn) -> Next {
        self.has_begun.store(true, Ordering::SeqCst);
        let _told = self.may_end.acquire().await;
        Next {
            consumed: Vec::new(),
            then: Then::Done,
        }
    }
}

/// A worker with one turn.
struct Alone {
    turn: Arc<Waiting>,
    stop: LatchSetter,
    serving: tokio::task::JoinHandle<()>,
}

impl Alone {
    async fn start(name: &str, runtime: Arc<dyn DurableRuntime>) -> Self {
        let turn = Arc::new(Waiting {
            has_begun: AtomicBool::new(false),
            may_end: Semaphore::new(0),
        });
        let worker = Worker {
            id: WorkerId::new(name).expect("a worker id"),
            scope: Scope::All,
            concurrency: 1,
            lease: Duration::from_secs(3600),
            poll: Duration::from_secs(3600),
            drain: Duration::from_secs(3600),
        };
        let (stop, stopped) = Latch::new();
        let advance = Arc::clone(&turn);
        let serving = tokio::spawn(async move {
            let served = runtime.serve(worker, advance, stopped).await;
            served.expect("served");
        });
        until(|| turn.has_begun.load(Ordering::SeqCst)).await;
        Self {
            turn,
            stop,
            serving,
        }
    }

    async fn end(self) {
        self.turn.may_end.add_permits(1);
        self.stop.set();
        self.serving.await.expect("no panic");
    }
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_worker_whose_clock_stands_still_ends_nobody_elses_lease() {
    let schema = Schema::migrated().await;
    let postgres = open(&schema).await;
    let runtime = postgres.durable_runtime();
    submit(&runtime, "run", "default", None).await;
    let still = Postgres::connect(schema.config(), Arc::new(FakeClock::new())).await;
    let still = still.expect("a migrated schema").durable_runtime();
    let late = Alone::start("late", still).await;
    let mut raw = schema.raw().await;
    sql(
        &mut raw,
        "CREATE OR REPLACE FUNCTION seaworthy_now() RETURNS bigint LANGUAGE sql VOLATILE AS
        $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint + 2 * 3600000 $$",
    )
    .await;
    let next = Alone::start("next", Arc::clone(&runtime)).await;
    late.end().await;
    let run = RunId::new("run").expect("a run id");
    let state = async || {
        let known = runtime.describe(&run).await.expect("described");
        known.expect("a run").state
    };
    let held = state().await;
    assert!(
        matches!(&held, ScheduleState::Leased { worker, .. } if worker.as_str() == "next"),
        "{held:?}"
    );
    next.end().await;
    assert_eq!(state().await, ScheduleState::Finished);
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn limits_are_listed_changed_lifted_and_bounded() {
    let schema = Schema::migrated().await;
    let runtime = open(&schema).await.durable_runtime();
    for (limit, expected) in [
        (Some(2), Some(2)),
        (Some(u32::MAX), Some(u32::MAX)),
        (None, None),
        (None, None),
    ] {
        let limit = limit.and_then(NonZeroU32::new);
        runtime
            .limit_queue(&queue("q"), limit)
            .await
            .expect("limited");
        let limits = runtime.queue_limits().await.expect("limits");
        assert_eq!(limits.get(&queue("q")).map(|limit| limit.get()), expected);
    }
    let one = NonZeroU32::new(1);
    for number in 0..MAX_QUEUE_LIMITS {
        runtime
            .limit_queue(&queue(&format!("q{number}")), one)
            .await
            .expect("limited");
    }
    let more = runtime.limit_queue(&queue("more"), one).await;
    assert_eq!(more.expect_err("too many").kind(), Kind::Rejected);
    runtime
        .limit_queue(&queue("q0"), NonZeroU32::new(7))
        .await
        .expect("changed");
    let limits = runtime.queue_limits().await.expect("limits");
    assert_eq!(limits.len(), MAX_QUEUE_LIMITS);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn work_given_through_another_handle_is_pushed() {
    let schema = Schema::migrated().await;
    let counts = Arc::<Counts>::default();
    let (stop, stopped) = Latch::new();
    let worker = Worker {
        id: WorkerId::new("w").expect("a worker id"),
        scope: Scope::All,
        concurrency: 1,
        lease: Duration::from_secs(30),
        // Nothing but a notification makes it look again in time.
        poll: PATIENCE * 10,
        drain: Duration::from_secs(5),
    };
    let runtime = open(&schema).await.durable_runtime();
    let serving = tokio::spawn({
        let counts = Arc::clone(&counts);
        async move { runtime.serve(worker, counts, stopped).await }
    });
    let mut raw = schema.raw().await;
    let question = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN \"seaworthy_' || current_schema() || '\"'";
    let listening = async { while count(&mut raw, question).await == 0 {} };
    tokio::time::timeout(PATIENCE, listening)
        .await
        .expect("somebody listens");
    let other = open(&schema).await.durable_runtime();
    let began = Instant::now();
    for number in 0..3 {
        submit(&other, &format!("r.{number}"), "default", None).await;
        until(|| counts.of("r").1 == number + 1).await;
    }
    assert!(began.elapsed() < PATIENCE);
    stop.set();
    serving.await.expect("no panic").expect("served");
}

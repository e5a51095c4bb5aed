//! The lease loop on SQLite: with a clock that the test moves, with several handles, and with processes that are killed.

#![expect(clippy::expect_used, reason = "helpers of tests fail tests")]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use seaworthy_fakes::FakeClock;
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Kind, MAX_SIGNAL_BYTES, Next, ScheduleState, Scope, Served, Signalled,
    Submitted, Then, Turn,
};
use seaworthy_ports::{Latch, QueueName, SessionId, Timestamp};
use seaworthy_sqlite::{Sqlite, SqliteConfig};
use support::{
    Database, RealClock, Serving, child, child_database, count, does, next, park, run_id, signal,
    submit, until, within, worker,
};
use tokio::sync::{Notify, mpsc, oneshot};

const SECOND: Duration = Duration::from_secs(1);

async fn state(runtime: &Arc<dyn DurableRuntime>, run: &str) -> ScheduleState {
    let schedule = runtime.describe(&run_id(run)).await.expect("a look");
    schedule.expect("a known run").state
}

async fn is_finished(runtime: &Arc<dyn DurableRuntime>, run: &str) -> bool {
    state(runtime, run).await == ScheduleState::Finished
}

type Taken = (Turn, oneshot::Sender<Next>);

/// Turns that the test answers when it likes.
fn by_hand() -> (Arc<dyn Advance>, mpsc::UnboundedReceiver<Taken>) {
    let (turns, taken) = mpsc::unbounded_channel();
    let advance = does(move |turn| {
        let (answer, answered) = oneshot::channel();
        turns.send((turn, answer)).expect("the test listens");
        async move { answered.await.expect("the test answers") }
    });
    (advance, taken)
}

#[tokio::test]
async fn a_run_is_not_delivered_before_its_time_and_each_time_once() {
    let database = Database::new().await;
    let clock = FakeClock::new();
    let runtime = database.open_with(&clock).await.durable_runtime();
    let start = clock.now();
    let mut later = submit("r");
    later.not_before = Some(start.plus(2 * SECOND));
    assert_eq!(
        runtime.submit(later.clone()).await.expect("submitted"),
        Submitted::New
    );
    assert_eq!(
        runtime.submit(later).await.expect("submitted"),
        Submitted::Existing
    );
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker("w", Scope::All), advance);
    for _ in 0..19 {
        clock.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    assert!(turns.try_recv().is_err());
    let due = start.plus(2 * SECOND);
    assert_eq!(state(&runtime, "r").await, ScheduleState::Due { due });
    clock.advance(Duration::from_millis(100));
    let (turn, answer) = within(turns.recv()).await.expect("a turn");
    assert_eq!(turn.delivery, 1);
    let wake_at = Some(start.plus(10 * SECOND));
    answer.send(next(Then::Park { wake_at })).expect("answered");
    until(|| async { state(&runtime, "r").await == ScheduleState::Parked { wake_at } }).await;
    clock.advance(7 * SECOND);
    assert!(turns.try_recv().is_err());
    clock.advance(SECOND);
    let (turn, answer) = within(turns.recv()).await.expect("a turn");
    assert_eq!(turn.delivery, 2);
    answer
        .send(next(Then::Again { after: SECOND }))
        .expect("answered");
    let due = start.plus(11 * SECOND);
    until(|| async { state(&runtime, "r").await == ScheduleState::Due { due } }).await;
    clock.advance(SECOND);
    let (turn, answer) = within(turns.recv()).await.expect("a turn");
    assert_eq!(turn.delivery, 3);
    answer.send(next(Then::Done)).expect("answered");
    until(|| is_finished(&runtime, "r")).await;
    clock.advance(1_000 * SECOND);
    assert_eq!(
        serving.stop().await,
        Served {
            turns: 3,
            panicked: 0,
            revoked: 0
        }
    );
}

#[tokio::test]
async fn a_turn_of_ten_lease_times_keeps_its_lease() {
    let database = Database::new().await;
    let clock = FakeClock::new();
    let runtime = database.open_with(&clock).await.durable_runtime();
    let other = database.open_with(&clock).await.durable_runtime();
    runtime.submit(submit("r")).await.expect("submitted");
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker("a", Scope::All), advance);
    let (turn, answer) = within(turns.recv()).await.expect("a turn");
    let (advance, mut stolen) = by_hand();
    let thief = Serving::start(&other, worker("b", Scope::All), advance);
    let expiry = || async {
        match state(&runtime, "r").await {
            ScheduleState::Leased { expires, .. } => expires,
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..30 {
        let before = expiry().await;
        clock.advance(10 * SECOND);
        until(|| async { expiry().await > before }).await;
    }
    assert!(stolen.try_recv().is_err());
    assert!(!turn.revoked.is_set());
    answer.send(next(Then::Done)).expect("answered");
    until(|| is_finished(&runtime, "r")).await;
    assert_eq!(serving.stop().await.revoked, 0);
    assert_eq!(thief.stop().await.turns, 0);
}

#[tokio::test]
async fn a_worker_that_slept_past_its_lease_is_replaced_and_changes_nothing() {
    let database = Database::new().await;
    let clock = FakeClock::new();
    let runtime = database.open_with(&clock).await.durable_runtime();
    let other = database.open_with(&clock).await.durable_runtime();
    runtime.submit(submit("r")).await.expect("submitted");
    runtime
        .signal(&run_id("r"), signal("s1"))
        .await
        .expect("sent");
    runtime
        .signal(&run_id("r"), signal("s2"))
        .await
        .expect("sent");
    let (advance, mut turns) = by_hand();
    let zombie = Serving::start(&runtime, worker("a", Scope::All), advance);
    let (old_turn, old_answer) = within(turns.recv()).await.expect("a turn");
    // It takes no run again.
    zombie.request_stop();
    let (advance, mut turns) = by_hand();
    let heir = Serving::start(&other, worker("b", Scope::All), advance);
    clock.advance(31 * SECOND);
    let (turn, answer) = within(turns.recv()).await.expect("a turn");
    within(old_turn.revoked.wait()).await;
    assert_eq!(turn.delivery, 2);
    assert_eq!(turn.signals, [signal("s1"), signal("s2")]);
    let consumed = vec![signal("s1").id, signal("s2").id];
    let done = Next {
        consumed,
        then: Then::Done,
    };
    // The turn may have been dropped: the drain time is over too.
    let _dropped = old_answer.send(done);
    assert_eq!(zombie.end().await.revoked, 1);
    let schedule = runtime
        .describe(&run_id("r"))
        .await
        .expect("a look")
        .expect("known");
    assert_eq!(schedule.signals, 2);
    assert!(
        matches!(schedule.state, ScheduleState::Leased { worker, .. } if worker.as_str() == "b")
    );
    answer.send(next(Then::Done)).expect("answered");
    until(|| is_finished(&runtime, "r")).await;
    assert_eq!(heir.stop().await.turns, 1);
}

#[tokio::test]
async fn what_a_turn_leaves_does_not_reach_the_next_life_of_a_forgotten_run() {
    let database = Database::new().await;
    let runtime = database.open().await.durable_runtime();
    runtime.submit(submit("r")).await.expect("submitted");
    let (advance, mut turns) = by_hand();
    let mut single = worker("w", Scope::All);
    single.concurrency = 1;
    let serving = Serving::start(&runtime, single, advance);
    let (_turn, answer) = within(turns.recv()).await.expect("a turn");
    runtime.forget(&run_id("r")).await.expect("forgotten");
    assert_eq!(runtime.describe(&run_id("r")).await.expect("a look"), None);
    let late = runtime.signal(&run_id("r"), signal("s")).await;
    assert_eq!(late.expect_err("forgotten").kind(), Kind::NotFound);
    assert_eq!(
        runtime.submit(submit("r")).await.expect("submitted"),
        Submitted::New
    );
    answer.send(next(Then::Done)).expect("answered");
    let (turn, answer) = within(turns.recv()).await.expect("a turn of the new life");
    assert_eq!(turn.delivery, 1);
    answer.send(next(Then::Done)).expect("answered");
    until(|| is_finished(&runtime, "r")).await;
    assert_eq!(serving.stop().await.revoked, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_at_the_moment_of_parking_is_never_stranded() {
    const ROUNDS: u32 = 2_000;
    let database = Database::new().await;
    let clock = FakeClock::new(); // No poll and no time helps: only what settling and signalling do.
    let runtime = database.open_with(&clock).await.durable_runtime();
    runtime.submit(submit("r")).await.expect("submitted");
    let seen = Arc::new((AtomicU32::new(0), Notify::new()));
    let theirs = Arc::clone(&seen);
    let advance = does(move |turn| {
        let seen = Arc::clone(&theirs);
        async move {
            let consumed: Vec<_> = turn.signals.into_iter().map(|signal| signal.id).collect();
            let count = u32::try_from(consumed.len()).expect("few");
            seen.0.fetch_add(count, Ordering::SeqCst);
            seen.1.notify_one();
            Next {
                consumed,
                then: park(),
            }
        }
    });
    let serving = Serving::start(&runtime, worker("w", Scope::All), advance);
    for round in 0..ROUNDS {
        // The turn that took the one before is about to park.
        let signalled = runtime
            .signal(&run_id("r"), signal(&format!("s{round}")))
            .await;
        assert_eq!(signalled.expect("sent"), Signalled::Accepted);
        within(async {
            while seen.0.load(Ordering::SeqCst) <= round {
                seen.1.notified().await;
            }
        })
        .await;
    }
    serving.stop().await;
    assert_eq!(seen.0.load(Ordering::SeqCst), ROUNDS);
    let schedule = runtime
        .describe(&run_id("r"))
        .await
        .expect("a look")
        .expect("known");
    assert_eq!(schedule.signals, 0);
    assert_eq!(schedule.state, ScheduleState::Parked { wake_at: None });
}

#[tokio::test]
async fn signals_come_as_mail_in_order_and_stay_until_consumed() {
    let database = Database::new().await;
    let clock = FakeClock::new();
    let runtime = database.open_with(&clock).await.durable_runtime();
    let other_process = database.open_with(&clock).await.durable_runtime();
    let run = run_id("r");
    runtime.submit(submit("r")).await.expect("submitted");
    runtime.signal(&run, signal("s1")).await.expect("sent");
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker("w", Scope::All), advance);
    let (mut turn, answer) = within(turns.recv()).await.expect("a turn");
    assert_eq!(turn.signals, [signal("s1")]);
    // In this process at once, from others within the mail's poll.
    assert_eq!(
        runtime.signal(&run, signal("s2")).await.expect("sent"),
        Signalled::Accepted
    );
    assert_eq!(within(turn.mail.next()).await, Some(signal("s2")));
    other_process
        .signal(&run, signal("s3"))
        .await
        .expect("sent");
    assert_eq!(
        other_process
            .signal(&run, signal("s2"))
            .await
            .expect("sent"),
        Signalled::Duplicate
    );
    let mail = tokio::spawn(async move { turn.mail.next().await });
    until(|| async {
        clock.advance(Duration::from_millis(50));
        mail.is_finished()
    })
    .await;
    assert_eq!(mail.await.expect("no panic"), Some(signal("s3")));
    // One of the mail stays, and wakes the parked run at once.
    let consumed = vec![signal("s2").id];
    answer
        .send(Next {
            consumed,
            then: park(),
        })
        .expect("answered");
    let (turn, answer) = within(turns.recv()).await.expect("a turn");
    assert_eq!(turn.signals, [signal("s1"), signal("s3")]);
    // Known and not consumed: no reason to wake.
    answer.send(next(park())).expect("answered");
    until(|| async { state(&runtime, "r").await == ScheduleState::Parked { wake_at: None } }).await;
    assert_eq!(
        runtime.signal(&run, signal("s2")).await.expect("sent"),
        Signalled::Duplicate
    );
    assert!(turns.try_recv().is_err());
    runtime.signal(&run, signal("s4")).await.expect("sent");
    let (turn, answer) = within(turns.recv()).await.expect("a turn");
    assert_eq!(turn.signals, [signal("s1"), signal("s3"), signal("s4")]);
    answer.send(next(Then::Done)).expect("answered");
    until(|| is_finished(&runtime, "r")).await;
    assert_eq!(
        runtime.signal(&run, signal("s5")).await.expect("sent"),
        Signalled::Finished
    );
    serving.stop().await;
    let raw = database.raw();
    assert_eq!(count(&raw, "SELECT count(*) FROM signals"), 4);
    // Reopened, it still knows its signals.
    runtime.resubmit(&run).await.expect("resubmitted");
    assert_eq!(
        runtime.signal(&run, signal("s2")).await.expect("sent"),
        Signalled::Duplicate
    );
    let schedule = runtime
        .describe(&run)
        .await
        .expect("a look")
        .expect("known");
    assert_eq!((schedule.signals, schedule.deliveries), (3, 3));
    assert!(matches!(schedule.state, ScheduleState::Due { .. }));
    let unknown = runtime.resubmit(&run_id("x")).await;
    assert_eq!(unknown.expect_err("unknown").kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_signal_too_large_is_rejected_and_an_empty_one_is_not() {
    let database = Database::new().await;
    let runtime = database.open().await.durable_runtime();
    runtime.submit(submit("r")).await.expect("submitted");
    let mut large = signal("s");
    large.payload = vec![0; MAX_SIGNAL_BYTES + 1].into();
    let refused = runtime.signal(&run_id("r"), large.clone()).await;
    assert_eq!(refused.expect_err("too large").kind(), Kind::Rejected);
    large.payload.truncate(MAX_SIGNAL_BYTES);
    let mut empty = signal("empty");
    empty.payload.clear();
    for signal in [large.clone(), empty.clone()] {
        let sent = runtime.signal(&run_id("r"), signal).await;
        assert_eq!(sent.expect("sent"), Signalled::Accepted);
    }
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker("w", Scope::All), advance);
    let (turn, answer) = within(turns.recv()).await.expect("a turn");
    assert_eq!(turn.signals, [large, empty]);
    answer.send(next(Then::Done)).expect("answered");
    serving.stop().await;
}

#[tokio::test]
async fn a_panicking_run_comes_back_later_each_time_and_holds_nobody_up() {
    let database = Database::new().await;
    let clock = FakeClock::new();
    let runtime = database.open_with(&clock).await.durable_runtime();
    runtime.submit(submit("bad")).await.expect("submitted");
    let advance = does(|turn| async move {
        assert!(
            turn.run.as_str() != "bad" || turn.delivery > 3,
            "this run is bad"
        );
        next(Then::Done)
    });
    let mut single = worker("w", Scope::All);
    single.concurrency = 1;
    let serving = Serving::start(&runtime, single, advance);
    for (failures, delay) in [(1, 250), (2, 500), (3, 1_000)] {
        let delay = Duration::from_millis(delay);
        until(|| async {
            let schedule = runtime.describe(&run_id("bad")).await.expect("a look");
            let schedule = schedule.expect("known");
            let due = clock.now().plus(delay);
            schedule.deliveries == failures && schedule.state == ScheduleState::Due { due }
        })
        .await;
        let good = format!("good{failures}");
        runtime.submit(submit(&good)).await.expect("submitted");
        until(|| is_finished(&runtime, &good)).await;
        clock.advance(delay);
    }
    until(|| is_finished(&runtime, "bad")).await;
    let served = serving.stop().await;
    assert_eq!((served.turns, served.panicked), (4, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_due_runs_of_several_workers_are_each_delivered_once_oldest_first() {
    let database = Database::new().await;
    let clock = FakeClock::new();
    let first = database.open_with(&clock).await.durable_runtime();
    let second = database.open_with(&clock).await.durable_runtime();
    let submits = (0..1_000).map(|number| {
        let runtime = Arc::clone(&first);
        let mut submit = submit(&format!("r{number}"));
        submit.not_before = Some(Timestamp::from_millis(2_000 - number));
        async move { runtime.submit(submit).await.expect("submitted") }
    });
    futures_util::future::join_all(submits).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let advance = does({
        let seen = Arc::clone(&seen);
        move |turn| {
            seen.lock().expect("unpoisoned").push(turn.run);
            async { next(Then::Done) }
        }
    });
    let serving: Vec<Serving> = (0..4)
        .map(|number| {
            let runtime = if number % 2 == 0 { &first } else { &second };
            let worker = worker(&format!("w{number}"), Scope::All);
            Serving::start(runtime, worker, Arc::clone(&advance))
        })
        .collect();
    until(|| async { seen.lock().expect("unpoisoned").len() >= 1_000 }).await;
    let mut total = 0;
    for serving in serving {
        total += serving.stop().await.turns;
    }
    assert_eq!(total, 1_000);
    let seen = seen.lock().expect("unpoisoned");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 1_000);
    // Sixteen at once: nobody is further from its place than a few rounds.
    for (place, run) in seen.iter().enumerate() {
        let number: usize = run.as_str()[1..].parse().expect("a number");
        assert!(place.abs_diff(999 - number) <= 64, "{run} at {place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_one_session_go_one_at_a_time() {
    let database = Database::new().await;
    let runtime = database.open().await.durable_runtime();
    let other = database.open().await.durable_runtime();
    for number in 0..40 {
        let mut submit = submit(&format!("r{number}"));
        submit.session = Some(SessionId::new(format!("s{}", number % 2)).expect("a session"));
        runtime.submit(submit).await.expect("submitted");
    }
    let live = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let advance = does({
        let live = Arc::clone(&live);
        move |turn| {
            let live = Arc::clone(&live);
            async move {
                let number: usize = turn.run.as_str()[1..].parse().expect("a number");
                let live = &live[number % 2];
                assert_eq!(live.fetch_add(1, Ordering::SeqCst), 0);
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                live.fetch_sub(1, Ordering::SeqCst);
                next(Then::Done)
            }
        }
    });
    let first = Serving::start(&runtime, worker("a", Scope::All), Arc::clone(&advance));
    let second = Serving::start(&other, worker("b", Scope::All), advance);
    until(|| async {
        let mut all = true;
        for number in 0..40 {
            all &= is_finished(&runtime, &format!("r{number}")).await;
        }
        all
    })
    .await;
    let (first, second) = (first.stop().await, second.stop().await);
    assert_eq!(first.turns + second.turns, 40);
    assert_eq!(first.panicked + second.panicked, 0);
}

#[tokio::test]
async fn a_worker_takes_only_the_runs_of_its_queues() {
    let database = Database::new().await;
    let runtime = database.open().await.durable_runtime();
    let queue = |name: &str| QueueName::new(name).expect("a queue");
    for name in ["a", "b", "c"] {
        let mut submit = submit(name);
        submit.queue = queue(name);
        runtime.submit(submit).await.expect("submitted");
    }
    let scope = Scope::Queues(BTreeSet::from([queue("a"), queue("c"), queue("none")]));
    let advance = does(|_turn| async { next(Then::Done) });
    let serving = Serving::start(&runtime, worker("w", scope), advance);
    until(|| is_finished(&runtime, "a")).await;
    until(|| is_finished(&runtime, "c")).await;
    assert_eq!(serving.stop().await.turns, 2);
    assert!(matches!(
        state(&runtime, "b").await,
        ScheduleState::Due { .. }
    ));
}

#[tokio::test]
async fn serving_one_run_ends_when_it_parks_or_is_done() {
    let database = Database::new().await;
    let runtime = database.open().await.durable_runtime();
    let scope = || Scope::Run(run_id("r"));
    let serve = |advance| {
        let runtime = Arc::clone(&runtime);
        async move {
            let serving = runtime.serve(worker("w", scope()), advance, Latch::never());
            within(serving).await
        }
    };
    let unknown = serve(does(|_turn| async { next(Then::Done) })).await;
    assert_eq!(unknown.expect_err("unknown").kind(), Kind::NotFound);
    runtime.submit(submit("r")).await.expect("submitted");
    runtime.submit(submit("other")).await.expect("submitted");
    let twice = does(|turn| async move {
        next(if turn.delivery == 1 {
            Then::Again {
                after: Duration::from_millis(1),
            }
        } else {
            park()
        })
    });
    assert_eq!(serve(Arc::clone(&twice)).await.expect("served").turns, 2);
    assert_eq!(serve(twice).await.expect("served").turns, 0);
    runtime
        .signal(&run_id("r"), signal("s"))
        .await
        .expect("sent");
    let done = does(|_turn| async { next(Then::Done) });
    assert_eq!(serve(Arc::clone(&done)).await.expect("served").turns, 1);
    assert_eq!(serve(done).await.expect("served").turns, 0);
    assert!(matches!(
        state(&runtime, "other").await,
        ScheduleState::Due { .. }
    ));
}

#[tokio::test]
async fn serving_one_run_waits_while_a_live_worker_holds_it() {
    let database = Database::new().await;
    let clock = FakeClock::new();
    let holder = database.open_with(&clock).await.durable_runtime();
    let waiter = database.open_with(&clock).await.durable_runtime();
    holder.submit(submit("r")).await.expect("submitted");
    let (advance, mut turns) = by_hand();
    let holding = Serving::start(&holder, worker("a", Scope::All), advance);
    let (_turn, answer) = within(turns.recv()).await.expect("a turn");
    let (advance, _turns) = by_hand();
    let waiting = Serving::start(&waiter, worker("b", Scope::Run(run_id("r"))), advance);
    until(|| async {
        database
            .path()
            .with_file_name("state.db-workers/b.lock")
            .exists()
    })
    .await;
    answer.send(next(Then::Done)).expect("answered");
    until(|| is_finished(&holder, "r")).await;
    // No hint crosses from one handle to the other: the poll finds out.
    until(|| async {
        clock.advance(SECOND);
        waiting.is_finished()
    })
    .await;
    assert_eq!(waiting.end().await, Served::default());
    holding.stop().await;
}

#[tokio::test]
async fn stopping_ends_turns_in_time_and_frees_every_lease() {
    let database = Database::new().await;
    let clock = FakeClock::new();
    let runtime = database.open_with(&clock).await.durable_runtime();
    for name in ["quick", "endless", "late"] {
        runtime.submit(submit(name)).await.expect("submitted");
    }
    let started = Arc::new(AtomicUsize::new(0));
    let quick = Arc::new(Notify::new());
    let advance = does({
        let (started, quick) = (Arc::clone(&started), Arc::clone(&quick));
        move |turn| {
            started.fetch_add(1, Ordering::SeqCst);
            let quick = Arc::clone(&quick);
            async move {
                if turn.run.as_str() == "quick" {
                    quick.notified().await;
                    return next(Then::Done);
                }
                std::future::pending().await
            }
        }
    });
    let mut two = worker("w", Scope::All);
    two.concurrency = 2;
    let serving = Serving::start(&runtime, two, advance);
    until(|| async { started.load(Ordering::SeqCst) == 2 }).await;
    serving.request_stop();
    quick.notify_one();
    until(|| is_finished(&runtime, "quick")).await;
    until(|| async {
        clock.advance(SECOND);
        !matches!(
            state(&runtime, "endless").await,
            ScheduleState::Leased { .. }
        )
    })
    .await;
    let served = serving.end().await;
    assert_eq!((served.turns, started.load(Ordering::SeqCst)), (1, 2));
    for name in ["endless", "late"] {
        assert!(matches!(
            state(&runtime, name).await,
            ScheduleState::Due { .. }
        ));
    }
    let left = std::fs::read_dir(database.path().with_file_name("state.db-workers"));
    assert_eq!(left.expect("the folder").count(), 0);
}

#[tokio::test]
async fn two_live_workers_cannot_have_one_name() {
    let database = Database::new().await;
    let runtime = database.open().await.durable_runtime();
    let other = database.open().await.durable_runtime();
    runtime.submit(submit("r")).await.expect("submitted");
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker("w", Scope::All), advance);
    let (_turn, answer) = within(turns.recv()).await.expect("a turn");
    let advance = does(|_turn| async { next(Then::Done) });
    let refused = other
        .serve(worker("w", Scope::All), advance, Latch::never())
        .await;
    assert_eq!(
        refused.expect_err("the name is taken").kind(),
        Kind::Rejected
    );
    answer.send(next(Then::Done)).expect("answered");
    assert_eq!(serving.stop().await.turns, 1);
}

#[tokio::test]
#[ignore = "is started by the tests that kill it"]
async fn child_takes_the_run_and_hangs() {
    let sqlite = Sqlite::connect(SqliteConfig::new(child_database()), Arc::new(RealClock))
        .await
        .expect("connected");
    let advance = does(|turn| async move {
        writeln!(std::io::stdout(), "\ntook {}", turn.delivery).expect("told");
        std::future::pending().await
    });
    let mut patient = worker("child", Scope::All);
    patient.lease = 3_600 * SECOND;
    let runtime = sqlite.durable_runtime();
    runtime
        .serve(patient, advance, Latch::never())
        .await
        .expect("served");
}

#[tokio::test]
async fn the_runs_of_a_killed_worker_are_taken_over_at_once() {
    let database = Database::new().await;
    let runtime = database.open().await.durable_runtime();
    runtime.submit(submit("r")).await.expect("submitted");
    let mut child = child("child_takes_the_run_and_hangs", &database.path());
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line == "took 1")));
    // While it lives, nobody takes the run, however often it looks.
    let (advance, mut turns) = by_hand();
    let waiting = Serving::start(&runtime, worker("w", Scope::Run(run_id("r"))), advance);
    until(|| async {
        database
            .path()
            .with_file_name("state.db-workers/w.lock")
            .exists()
    })
    .await;
    assert!(matches!(
        state(&runtime, "r").await,
        ScheduleState::Leased { .. }
    ));
    child.kill().expect("killed");
    child.wait().expect("dead");
    let (turn, answer) = within(turns.recv()).await.expect("a turn, an hour early");
    assert_eq!(turn.delivery, 2);
    answer.send(next(Then::Done)).expect("answered");
    assert_eq!(waiting.end().await.turns, 1);
    let left = std::fs::read_dir(database.path().with_file_name("state.db-workers"));
    assert_eq!(left.expect("the folder").count(), 0);
}

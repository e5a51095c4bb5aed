//! Whose turn it is: runs that panic, many runs, runs of one session.

use seaworthy_fakes::FakeClock;
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::{ScheduleState, Scope, Then};
use seaworthy_ports::{SessionId, Timestamp};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::stage::is_finished;
use crate::support::{Database, Serving, does, next, run_id, submit, until, worker};

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

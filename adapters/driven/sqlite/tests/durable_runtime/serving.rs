//! Workers of single queues and runs, and workers that stop.

use seaworthy_fakes::FakeClock;
use seaworthy_ports::durable_runtime::{Kind, ScheduleState, Scope, Served, Then};
use seaworthy_ports::{Latch, QueueName};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

use crate::stage::{SECOND, by_hand, is_finished, state};
use crate::support::{
    Database, Serving, does, next, park, run_id, signal, submit, until, within, worker,
};

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

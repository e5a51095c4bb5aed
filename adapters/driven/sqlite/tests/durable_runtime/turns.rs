//! When a run is delivered, and how long its lease holds.

use seaworthy_fakes::FakeClock;
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::{Kind, Next, ScheduleState, Scope, Served, Submitted, Then};
use std::time::Duration;

use crate::stage::{SECOND, by_hand, is_finished, state};
use crate::support::{Database, Serving, next, run_id, signal, submit, until, within, worker};

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

//! Signals: none is stranded, lost or too large.

use futures_util::StreamExt as _;
use seaworthy_fakes::FakeClock;
use seaworthy_ports::durable_runtime::{
    Kind, MAX_SIGNAL_BYTES, Next, ScheduleState, Scope, Signalled, Then,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

use crate::stage::{by_hand, is_finished, state};
use crate::support::{
    Database, Serving, count, does, next, park, run_id, signal, submit, until, within, worker,
};

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

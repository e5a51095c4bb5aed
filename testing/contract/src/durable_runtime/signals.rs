//! DR-5 and DR-6: signals.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use seaworthy_ports::Durability;
use seaworthy_ports::durable_runtime::{
    Kind, MAX_SIGNAL_BYTES, Next, ScheduleState, Signal, Signalled,
};
use tokio::sync::Notify;

use super::Harness;
use super::stage::{
    DONE, PARK, Serving, by_hand, consumed, does, is, is_finished, names, next,
    nothing_but_a_probe, run, schedule, send, signal, state, submission, submit, until, worker,
};
use crate::outcome::{
    Halt, Outcome, at_once, declared, holds, ok, refused, reopened, same, within,
};

/// DR-5.
pub async fn signals_are_delivered_in_order_until_they_are_consumed<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    let producers = (0..8).map(|producer| {
        let runtime = Arc::clone(&runtime);
        async move {
            for number in 0..5 {
                send(&runtime, "r", signal(&format!("p{producer}.{number}"))?).await?;
            }
            Ok(())
        }
    });
    at_once(producers).await?.into_iter().collect::<Outcome>()?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let live = turns.of("r", 1).await?;
    let first = names(&live.turn.signals);
    for producer in 0..8 {
        let prefix = format!("p{producer}.");
        let of_one: Vec<&String> = first
            .iter()
            .filter(|name| name.starts_with(&prefix))
            .collect();
        let expected: Vec<String> = (0..5).map(|number| format!("{prefix}{number}")).collect();
        same(
            "looked at one producer's signals",
            of_one,
            expected.iter().collect(),
        )?;
    }
    let payloads = live
        .turn
        .signals
        .iter()
        .all(|signal| signal.payload == signal.id.as_str());
    holds(
        payloads,
        "looked at the payloads",
        "those that were sent",
        &live.turn.signals,
    )?;
    // Every third is consumed; one more signal makes the run due again.
    let eaten: Vec<Signal> = live.turn.signals.iter().step_by(3).cloned().collect();
    let mut expected: Vec<String> = first
        .iter()
        .filter(|name| !names(&eaten).contains(name))
        .cloned()
        .collect();
    live.answer(consumed(&eaten, PARK));
    is(&runtime, "r", ScheduleState::Parked { wake_at: None }).await?;
    let waiting = schedule(&runtime, "r")
        .await?
        .map(|schedule| schedule.signals as usize);
    same("counted what waits", waiting, Some(expected.len()))?;
    send(&runtime, "r", signal("last")?).await?;
    expected.push("last".into());
    let live = turns.of("r", 2).await?;
    same(
        "was given what was left",
        names(&live.turn.signals),
        expected,
    )?;
    let signals = live.turn.signals.clone();
    live.answer(consumed(&signals, DONE));
    is_finished(&runtime, "r").await?;
    serving.stop().await.map(|_served| ())
}

/// DR-5.
pub async fn a_signal_is_accepted_once_even_after_it_was_consumed<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    let calls = (0..20).map(|_call| {
        let runtime = Arc::clone(&runtime);
        async move {
            ok(
                "sent a signal",
                runtime.signal(&run("r")?, signal("s1")?).await,
            )
        }
    });
    let mut accepted = 0;
    for sent in at_once(calls).await? {
        accepted += u32::from(sent? == Signalled::Accepted);
    }
    same(
        "sent one signal 20 times at once and counted how often it was accepted",
        accepted,
        1,
    )?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let live = turns.of("r", 1).await?;
    same(
        "was given the signals",
        names(&live.turn.signals),
        vec!["s1".to_owned()],
    )?;
    let signals = live.turn.signals.clone();
    live.answer(consumed(&signals, PARK));
    is(&runtime, "r", ScheduleState::Parked { wake_at: None }).await?;
    let again = ok(
        "sent it again",
        runtime.signal(&run("r")?, signal("s1")?).await,
    )?;
    same("sent a consumed signal again", again, Signalled::Duplicate)?;
    nothing_but_a_probe(&runtime, &mut turns, "probe").await?;
    let left = schedule(&runtime, "r")
        .await?
        .map(|schedule| (schedule.state, schedule.signals));
    same(
        "asked how the run stands",
        left,
        Some((ScheduleState::Parked { wake_at: None }, 0)),
    )?;
    serving.stop().await.map(|_served| ())
}

/// DR-5.
pub async fn a_signal_during_a_turn_comes_by_mail_or_with_the_next_delivery<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    send(&runtime, "r", signal("before")?).await?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let mut live = turns.of("r", 1).await?;
    let mut seen = names(&live.turn.signals);
    same(
        "was given the first signal",
        seen.clone(),
        vec!["before".to_owned()],
    )?;
    for name in ["m1", "m2", "m3"] {
        send(&runtime, "r", signal(name)?).await?;
    }
    // The stream may end early, but while it is open it has to bring them.
    while seen.len() < 4 {
        match within("waited for mail", live.turn.mail.next()).await? {
            Some(signal) => seen.push(signal.id.to_string()),
            None => break,
        }
    }
    let expected = ["before", "m1", "m2", "m3"].map(String::from);
    let prefix = expected.get(..seen.len()).unwrap_or_default();
    same("read the mail", seen.as_slice(), prefix)?;
    live.answer(next(PARK));
    // They were not consumed, and arrived after the turn's signals were read: at once.
    let live = turns.of("r", 2).await?;
    same(
        "was given all of them again",
        names(&live.turn.signals),
        expected.to_vec(),
    )?;
    let signals = live.turn.signals.clone();
    live.answer(consumed(&signals, DONE));
    is_finished(&runtime, "r").await?;
    serving.stop().await.map(|_served| ())
}

/// DR-5. As many rounds as a few seconds allow, 10,000 at most.
pub async fn no_signal_is_stranded_by_a_turn_that_parks<H: Harness>(harness: H) -> Outcome {
    const LEAST: usize = 400;
    const MOST: usize = 10_000;
    const LONG_ENOUGH: Duration = Duration::from_secs(4);
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    let parks = Arc::new(Notify::new());
    let eaten = Arc::new(Mutex::new(BTreeSet::new()));
    let advance = {
        let (parks, eaten) = (Arc::clone(&parks), Arc::clone(&eaten));
        does(move |turn| {
            let mut all = eaten.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(names(&turn.signals));
            // The sender sends while this turn ends and the run parks.
            parks.notify_one();
            std::future::ready(consumed(&turn.signals, PARK))
        })
    };
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let began = Instant::now();
    let mut sent = 0;
    while sent < LEAST || (sent < MOST && began.elapsed() < LONG_ENOUGH) {
        within("waited for a turn that parks", parks.notified()).await?;
        send(&runtime, "r", signal(&format!("s{sent}"))?).await?;
        sent += 1;
    }
    let count = || eaten.lock().unwrap_or_else(PoisonError::into_inner).len();
    until("every signal has been delivered", || {
        std::future::ready(Ok(count() == sent))
    })
    .await?;
    serving.stop().await.map(|_served| ())
}

/// DR-5.
pub async fn a_signal_that_a_turn_saw_and_left_does_not_wake_it_again<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    send(&runtime, "r", signal("s1")?).await?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    turns.of("r", 1).await?.answer(next(PARK));
    is(&runtime, "r", ScheduleState::Parked { wake_at: None }).await?;
    nothing_but_a_probe(&runtime, &mut turns, "probe").await?;
    send(&runtime, "r", signal("s2")?).await?;
    let live = turns.of("r", 2).await?;
    same(
        "was given both",
        names(&live.turn.signals),
        vec!["s1".into(), "s2".into()],
    )?;
    live.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    serving.stop().await.map(|_served| ())
}

/// DR-5.
pub async fn a_signal_of_exactly_the_limit_is_taken_and_a_larger_one_is_not<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    let sized = |name, size| {
        Ok::<_, Halt>(Signal {
            payload: Bytes::from(vec![0xff; size]),
            ..signal(name)?
        })
    };
    let over = runtime
        .signal(&run("r")?, sized("over", MAX_SIGNAL_BYTES + 1)?)
        .await;
    refused("sent one byte too many", over, Kind::Rejected)?;
    let exact = sized("exact", MAX_SIGNAL_BYTES)?;
    send(&runtime, "r", exact.clone()).await?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let live = turns.of("r", 1).await?;
    holds(
        live.turn.signals == [exact],
        "was given the signals",
        "the one that was taken",
        names(&live.turn.signals),
    )?;
    live.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    serving.stop().await.map(|_served| ())
}

/// DR-5.
pub async fn an_accepted_signal_survives_reopening<H: Harness>(harness: H) -> Outcome {
    let durability = harness.runtime().capabilities().durability;
    let outcome = survives_reopening(harness, durability).await;
    declared("durability", durability != Durability::Volatile, outcome)
}

async fn survives_reopening<H: Harness>(harness: H, durability: Durability) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    for name in ["s1", "s2", "s3"] {
        send(&runtime, "r", signal(name)?).await?;
    }
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "before")?, advance);
    let live = turns.of("r", 1).await?;
    let eaten: Vec<Signal> = live.turn.signals.iter().take(1).cloned().collect();
    live.answer(consumed(&eaten, PARK));
    is(&runtime, "r", ScheduleState::Parked { wake_at: None }).await?;
    send(&runtime, "r", signal("s4")?).await?;
    serving.kill().await;
    drop(runtime);
    let runtime = reopened(harness.reopen().await, durability)?;
    let again = ok(
        "sent it again",
        runtime.signal(&run("r")?, signal("s1")?).await,
    )?;
    same(
        "sent a consumed signal after reopening",
        again,
        Signalled::Duplicate,
    )?;
    // The last delivery may have been to the killed worker: then its lease has to end.
    harness.advance(harness.lease()).await;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "after")?, advance);
    let live = turns.any().await?;
    same(
        "was given the signals after reopening",
        names(&live.turn.signals),
        ["s2", "s3", "s4"].map(String::from).to_vec(),
    )?;
    live.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    serving.stop().await.map(|_served| ())
}

/// DR-6.
pub async fn a_signal_to_nobody_is_refused_and_leaves_nothing<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    let unknown = runtime.signal(&run("unknown")?, signal("s1")?).await;
    refused("sent a signal to an unknown run", unknown, Kind::NotFound)?;
    same(
        "asked for that run",
        state(&runtime, "unknown").await?,
        None,
    )?;
    submit(&runtime, submission("r")?).await?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    turns.of("r", 1).await?.answer(Next {
        consumed: vec![],
        then: DONE,
    });
    is_finished(&runtime, "r").await?;
    let before = schedule(&runtime, "r").await?;
    for name in ["s1", "s2", "s1"] {
        let sent = ok(
            "sent a signal to a finished run",
            runtime.signal(&run("r")?, signal(name)?).await,
        )?;
        same("sent a signal to a finished run", sent, Signalled::Finished)?;
    }
    same(
        "asked how it stands",
        schedule(&runtime, "r").await?,
        before,
    )?;
    nothing_but_a_probe(&runtime, &mut turns, "probe").await?;
    serving.stop().await.map(|_served| ())
}

//! DR-8, DR-9, DR-15 and DR-16: how turns and runs end, and what comes after.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seaworthy_ports::durable_runtime::{Kind, Next, ScheduleState, Signalled, Submit, Then};

use super::Harness;
use super::stage::{
    DONE, PARK, Serving, by_hand, consumed, does, is, is_finished, most_of, names, next,
    nothing_but_a_probe, run, schedule, send, signal, state, submission, submit, until, worker,
};
use crate::outcome::{Outcome, holds, ok, refused, same};

/// DR-8.
pub async fn a_run_that_is_done_is_never_delivered_again<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    for name in ["s1", "s2"] {
        send(&runtime, "r", signal(name)?).await?;
    }
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    // Signals that nobody consumed do not keep it alive.
    turns.of("r", 1).await?.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    let _finished = runtime.signal(&run("r")?, signal("s3")?).await;
    for number in 0..3 {
        harness.advance(2 * harness.lease()).await;
        nothing_but_a_probe(&runtime, &mut turns, &format!("probe{number}")).await?;
    }
    same("counted the turns", serving.stop().await?.turns, 4)
}

/// DR-8.
pub async fn a_run_that_comes_again_does_not_come_before_its_time<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let live = turns.of("r", 1).await?;
    let after = 2 * harness.lease();
    let ended = harness.now();
    live.answer(next(Then::Again { after }));
    until("the run waits", || async {
        Ok(matches!(state(&runtime, "r").await?, Some(ScheduleState::Due { due }) if due >= ended.plus(after)))
    })
    .await?;
    harness.advance(most_of(&harness, after)).await;
    nothing_but_a_probe(&runtime, &mut turns, "probe").await?;
    harness.advance(after.mul_f64(0.2)).await;
    turns.of("r", 2).await?.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    same("counted the turns", serving.stop().await?.turns, 3)
}

/// DR-9.
#[expect(clippy::panic, reason = "the scenario is about a turn that panics")]
pub async fn a_turn_that_panics_comes_again_later_and_stops_nobody<H: Harness>(
    harness: H,
) -> Outcome {
    const OTHERS: u32 = 20;
    let runtime = harness.runtime();
    let panics = Arc::new(AtomicU32::new(0));
    let advance = {
        let panics = Arc::clone(&panics);
        does(move |turn| {
            let panics = Arc::clone(&panics);
            async move {
                if turn.run.as_str() == "bad" && panics.fetch_add(1, Ordering::SeqCst) < 3 {
                    panic!("on purpose: a turn that panics");
                }
                consumed(&turn.signals, DONE)
            }
        })
    };
    submit(&runtime, submission("bad")?).await?;
    send(&runtime, "bad", signal("s1")?).await?;
    let started = harness.now();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    until("the turn has panicked", || async {
        Ok(matches!(state(&runtime, "bad").await?, Some(ScheduleState::Due { due }) if due > started))
    })
    .await?;
    for number in 0..OTHERS {
        submit(&runtime, submission(&format!("good{number}"))?).await?;
    }
    for number in 0..OTHERS {
        is_finished(&runtime, &format!("good{number}")).await?;
    }
    until("the run is delivered again and done", || async {
        harness.advance(Duration::from_millis(200)).await;
        Ok(state(&runtime, "bad").await? == Some(ScheduleState::Finished))
    })
    .await?;
    let deliveries = schedule(&runtime, "bad")
        .await?
        .map(|schedule| (schedule.deliveries, schedule.signals));
    same("asked for the run that panicked", deliveries, Some((4, 0)))?;
    let served = serving.stop().await?;
    same(
        "counted",
        (served.turns, served.panicked),
        (u64::from(OTHERS) + 1, 3),
    )
}

/// DR-15.
pub async fn a_forgotten_run_leaves_nothing_and_may_be_submitted_again<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    ok("forgot an unknown run", runtime.forget(&run("r")?).await)?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let far = Then::Park {
        wake_at: Some(harness.now().plus(1_000 * harness.lease())),
    };
    for (life, ends) in [("first", PARK), ("second", DONE), ("third", far)] {
        submit(&runtime, submission("r")?).await?;
        let live = turns.of("r", 1).await?;
        same(
            format!("was given the signals of the {life} life"),
            names(&live.turn.signals),
            vec![],
        )?;
        send(&runtime, "r", signal("s1")?).await?;
        let wakes = ends != DONE;
        live.answer(next(ends.clone()));
        if wakes {
            // It had not seen the signal.
            let live = turns.of("r", 2).await?;
            let signals = live.turn.signals.clone();
            live.answer(consumed(&signals, PARK));
            is(&runtime, "r", ScheduleState::Parked { wake_at: None }).await?;
        } else {
            until("the turn has ended", || async {
                Ok(!matches!(
                    state(&runtime, "r").await?,
                    Some(ScheduleState::Leased { .. })
                ))
            })
            .await?;
        }
        ok("forgot it", runtime.forget(&run("r")?).await)?;
        same("asked how it stands", schedule(&runtime, "r").await?, None)?;
        refused(
            "sent it a signal",
            runtime.signal(&run("r")?, signal("s2")?).await,
            Kind::NotFound,
        )?;
        ok("forgot it again", runtime.forget(&run("r")?).await)?;
        nothing_but_a_probe(&runtime, &mut turns, &format!("probe.{life}")).await?;
    }
    serving.stop().await.map(|_served| ())
}

/// DR-15.
pub async fn a_turn_of_a_forgotten_run_changes_nothing_in_its_next_life<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    send(&runtime, "r", signal("s1")?).await?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let old = turns.of("r", 1).await?;
    ok(
        "forgot it in the middle of a turn",
        runtime.forget(&run("r")?).await,
    )?;
    let due = harness.now().plus(harness.lease() / 2);
    submit(
        &runtime,
        Submit {
            not_before: Some(due),
            ..submission("r")?
        },
    )
    .await?;
    send(&runtime, "r", signal("s1")?).await?;
    let before = schedule(&runtime, "r").await?;
    let late = Next {
        consumed: vec![signal("s1")?.id],
        then: DONE,
    };
    old.answer(late);
    nothing_but_a_probe(&runtime, &mut turns, "probe").await?;
    same(
        "compared it before and after a late turn of its earlier life",
        schedule(&runtime, "r").await?,
        before,
    )?;
    harness.advance(harness.lease()).await;
    let live = turns.of("r", 1).await?;
    same(
        "was given its signals",
        names(&live.turn.signals),
        vec!["s1".to_owned()],
    )?;
    live.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    serving.stop().await.map(|_served| ())
}

/// DR-16.
pub async fn a_finished_run_that_is_resubmitted_is_due_and_remembers_its_signals<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    send(&runtime, "r", signal("eaten")?).await?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let live = turns.of("r", 1).await?;
    let signals = live.turn.signals.clone();
    live.answer(consumed(&signals, DONE));
    is_finished(&runtime, "r").await?;
    ok("resubmitted it", runtime.resubmit(&run("r")?).await)?;
    let live = turns.of("r", 2).await?;
    same("was given its signals", names(&live.turn.signals), vec![])?;
    live.answer(next(PARK));
    is(&runtime, "r", ScheduleState::Parked { wake_at: None }).await?;
    let again = ok(
        "sent it again",
        runtime.signal(&run("r")?, signal("eaten")?).await,
    )?;
    same(
        "sent a signal of before the end again",
        again,
        Signalled::Duplicate,
    )?;
    send(&runtime, "r", signal("new")?).await?;
    turns.of("r", 3).await?.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    serving.stop().await.map(|_served| ())
}

/// DR-16.
pub async fn resubmitting_changes_nothing_of_a_run_that_is_not_finished<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    let due = harness.now().plus(harness.lease());
    submit(
        &runtime,
        Submit {
            not_before: Some(due),
            ..submission("later")?
        },
    )
    .await?;
    submit(&runtime, submission("r")?).await?;
    ok(
        "resubmitted a run that is due later",
        runtime.resubmit(&run("later")?).await,
    )?;
    same(
        "asked how it stands",
        state(&runtime, "later").await?,
        Some(ScheduleState::Due { due }),
    )?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let live = turns.of("r", 1).await?;
    ok("resubmitted a live run", runtime.resubmit(&run("r")?).await)?;
    let leased = state(&runtime, "r").await?;
    holds(
        matches!(leased, Some(ScheduleState::Leased { .. })),
        "asked how it stands",
        "leased",
        leased,
    )?;
    live.answer(next(PARK));
    is(&runtime, "r", ScheduleState::Parked { wake_at: None }).await?;
    ok(
        "resubmitted a parked run",
        runtime.resubmit(&run("r")?).await,
    )?;
    nothing_but_a_probe(&runtime, &mut turns, "probe").await?;
    let parked = state(&runtime, "r").await?;
    same(
        "asked how it stands",
        parked,
        Some(ScheduleState::Parked { wake_at: None }),
    )?;
    same("counted the turns", serving.stop().await?.turns, 2)
}

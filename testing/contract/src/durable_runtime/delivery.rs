//! DR-1, DR-2, DR-7, DR-11 to DR-13: when and to whom runs are delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use seaworthy_ports::SessionId;
use seaworthy_ports::durable_runtime::{
    Kind, ScheduleState, Scope, Submit, Submitted, Then, Worker,
};

use super::Harness;
use super::stage::{
    DONE, PARK, POLL, Serving, by_hand, consumed, does, is, is_finished, most_of, names, next,
    nothing_but_a_probe, queue, run, schedule, send, signal, state, submission, submit, until,
    waits, waits_for_time, worker,
};
use crate::outcome::{Halt, Outcome, at_once, holds, id, ok, patience, refused, same, time_given};

const SECOND: Duration = Duration::from_secs(1);

/// DR-1.
pub async fn submitting_fifty_times_at_once_makes_one_run<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    let submission = submission("r")?;
    let calls = (0..50).map(|_call| {
        let (runtime, submission) = (Arc::clone(&runtime), submission.clone());
        async move { ok("submitted a run", runtime.submit(submission).await) }
    });
    let mut new = 0;
    for submitted in at_once(calls).await? {
        new += u32::from(submitted? == Submitted::New);
    }
    same(
        "submitted one run 50 times at once and counted how often it was new",
        new,
        1,
    )?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    turns.of("r", 1).await?.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    let again = ok("submitted it again", runtime.submit(submission).await)?;
    same(
        "submitted it again after its end",
        again,
        Submitted::Existing,
    )?;
    nothing_but_a_probe(&runtime, &mut turns, "probe").await?;
    same("counted the turns", serving.stop().await?.turns, 2)
}

/// DR-1.
pub async fn a_run_is_not_delivered_before_its_due_time<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    let due = harness.now().plus(2 * harness.lease());
    submit(
        &runtime,
        Submit {
            not_before: Some(due),
            ..submission("r")?
        },
    )
    .await?;
    same(
        "asked how it stands",
        state(&runtime, "r").await?,
        Some(ScheduleState::Due { due }),
    )?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    nothing_but_a_probe(&runtime, &mut turns, "probe1").await?;
    let most = most_of(&harness, due.since(harness.now()));
    harness.advance(most).await;
    nothing_but_a_probe(&runtime, &mut turns, "probe2").await?;
    harness.advance(due.since(harness.now())).await;
    let live = turns.of("r", 1).await?;
    holds(
        harness.now() >= due,
        "was given a run",
        format!("{due} at the earliest"),
        harness.now(),
    )?;
    live.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    same("counted the turns", serving.stop().await?.turns, 3)
}

/// DR-2.
pub async fn sixteen_workers_have_one_live_turn_of_a_run<H: Harness>(harness: H) -> Outcome {
    const TURNS: u32 = 25;
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    let (live, most, turns) = (
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicU32::new(0)),
        Arc::new(AtomicU32::new(0)),
    );
    let advance = {
        let (live, most, turns) = (Arc::clone(&live), Arc::clone(&most), Arc::clone(&turns));
        does(move |_turn| {
            let (live, most, turns) = (Arc::clone(&live), Arc::clone(&most), Arc::clone(&turns));
            async move {
                most.fetch_max(live.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _moment in 0..20 {
                    tokio::task::yield_now().await;
                }
                live.fetch_sub(1, Ordering::SeqCst);
                let is_last = turns.fetch_add(1, Ordering::SeqCst) + 1 >= TURNS;
                next(if is_last {
                    DONE
                } else {
                    Then::Again {
                        after: Duration::ZERO,
                    }
                })
            }
        })
    };
    let mut workers = Vec::new();
    for number in 0..16 {
        let worker = worker(&harness, &format!("w{number}"))?;
        workers.push(Serving::start(&runtime, worker, Arc::clone(&advance)));
    }
    until("the run is done", || async {
        // Time may have to pass for a worker to look again.
        harness.advance(Duration::from_millis(10)).await;
        Ok(state(&runtime, "r").await? == Some(ScheduleState::Finished))
    })
    .await?;
    let mut served = 0;
    for worker in workers {
        served += worker.stop().await?.turns;
    }
    same("counted live turns at once", most.load(Ordering::SeqCst), 1)?;
    same(
        "counted the turns",
        (served, turns.load(Ordering::SeqCst)),
        (u64::from(TURNS), TURNS),
    )
}

/// DR-2.
pub async fn two_runs_of_a_session_are_never_live_together<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    let session = |name: &str| Ok::<_, Halt>(Some(id(SessionId::new(name))?));
    for name in ["first", "second"] {
        submit(
            &runtime,
            Submit {
                session: session("s")?,
                ..submission(name)?
            },
        )
        .await?;
        // The order of submission is the order of their due times only if these differ.
        harness.advance(Duration::from_millis(2)).await;
    }
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let first = turns.of("first", 1).await?;
    submit(
        &runtime,
        Submit {
            session: session("t")?,
            ..submission("other")?
        },
    )
    .await?;
    turns.of("other", 1).await?.answer(next(DONE));
    nothing_but_a_probe(&runtime, &mut turns, "probe").await?;
    waits(&runtime, "second", "for its session is taken").await?;
    first.answer(next(PARK));
    let second = turns.of("second", 1).await?;
    send(&runtime, "first", signal("s1")?).await?;
    nothing_but_a_probe(&runtime, &mut turns, "probe2").await?;
    waits(&runtime, "first", "for its session is taken").await?;
    second.answer(next(DONE));
    let first = turns.of("first", 2).await?;
    let signals = first.turn.signals.clone();
    first.answer(consumed(&signals, DONE));
    for name in ["first", "second", "other"] {
        is_finished(&runtime, name).await?;
    }
    same("counted the turns", serving.stop().await?.turns, 6)
}

/// DR-2.
pub async fn a_worker_takes_runs_of_its_scope_alone<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    for (name, in_queue) in [("a", "one"), ("b", "two"), ("c", "three")] {
        submit(
            &runtime,
            Submit {
                queue: queue(in_queue)?,
                ..submission(name)?
            },
        )
        .await?;
    }
    let (advance, mut turns) = by_hand();
    let scope = Scope::Queues(BTreeSet::from([queue("two")?, queue("none")?]));
    let serving = Serving::start(
        &runtime,
        Worker {
            scope,
            ..worker(&harness, "queues")?
        },
        advance,
    );
    turns.of("b", 1).await?.answer(next(DONE));
    is_finished(&runtime, "b").await?;
    submit(
        &runtime,
        Submit {
            queue: queue("two")?,
            ..submission("probe")?
        },
    )
    .await?;
    turns.of("probe", 1).await?.answer(next(DONE));
    is_finished(&runtime, "probe").await?;
    same(
        "counted the turns of a queue",
        serving.stop().await?.turns,
        2,
    )?;

    let (advance, mut turns) = by_hand();
    let only = |name: &str| {
        Ok::<_, Halt>(Worker {
            scope: Scope::Run(run(name)?),
            ..worker(&harness, "one")?
        })
    };
    let serving = Serving::start(&runtime, only("a")?, Arc::clone(&advance));
    turns.of("a", 1).await?.answer(next(PARK));
    same(
        "served one run until it parked",
        serving.end().await?.turns,
        1,
    )?;
    send(&runtime, "a", signal("s1")?).await?;
    let serving = Serving::start(&runtime, only("a")?, Arc::clone(&advance));
    turns.of("a", 2).await?.answer(next(DONE));
    same(
        "served one run until it was done",
        serving.end().await?.turns,
        1,
    )?;
    let served = Serving::start(&runtime, only("a")?, Arc::clone(&advance))
        .end()
        .await?;
    same("served a run that is done", served.turns, 0)?;
    let (_never, stop) = seaworthy_ports::Latch::new();
    refused(
        "served an unknown run",
        runtime.serve(only("unknown")?, advance, stop).await,
        Kind::NotFound,
    )?;
    let deliveries = schedule(&runtime, "c")
        .await?
        .map(|schedule| schedule.deliveries);
    same("asked for a run of nobody's scope", deliveries, Some(0))
}

/// DR-7.
pub async fn a_parked_run_wakes_at_its_time_and_not_before<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let live = turns.of("r", 1).await?;
    let wake_at = harness.now().plus(3 * harness.lease());
    live.answer(next(Then::Park {
        wake_at: Some(wake_at),
    }));
    is(
        &runtime,
        "r",
        ScheduleState::Parked {
            wake_at: Some(wake_at),
        },
    )
    .await?;
    let most = most_of(&harness, wake_at.since(harness.now()));
    harness.advance(most).await;
    nothing_but_a_probe(&runtime, &mut turns, "probe1").await?;
    harness.advance(wake_at.since(harness.now())).await;
    let live = turns.of("r", 2).await?;
    holds(
        harness.now() >= wake_at,
        "was woken",
        format!("{wake_at} at the earliest"),
        harness.now(),
    )?;
    // A time in the past is now.
    live.answer(next(Then::Park {
        wake_at: Some(wake_at),
    }));
    turns.of("r", 3).await?.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    same("counted the turns", serving.stop().await?.turns, 4)
}

/// DR-7.
pub async fn a_signal_wakes_a_parked_run<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let far = harness.now().plus(1_000_000 * SECOND);
    for (delivery, wake_at) in [(1, None), (2, Some(far))] {
        let live = turns.of("r", delivery).await?;
        let signals = live.turn.signals.clone();
        live.answer(consumed(&signals, Then::Park { wake_at }));
        is(&runtime, "r", ScheduleState::Parked { wake_at }).await?;
        nothing_but_a_probe(&runtime, &mut turns, &format!("probe{delivery}")).await?;
        send(&runtime, "r", signal(&format!("s{delivery}"))?).await?;
    }
    let live = turns.of("r", 3).await?;
    same(
        "was woken by a signal",
        names(&live.turn.signals),
        vec!["s2".to_owned()],
    )?;
    live.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    serving.stop().await.map(|_served| ())
}

/// DR-7. As many runs as there is time to park, ten thousand at most.
pub async fn overdue_wakes_happen_once_each_after_a_downtime<H: Harness>(harness: H) -> Outcome {
    const LEAST: u64 = 200;
    const MOST: u64 = 10_000;
    const CROWD: u64 = 64;
    const HOUR: Duration = Duration::from_secs(3_600);
    let runtime = harness.runtime();
    // Each at a time of its own, and none before all are parked: where time passes by itself, that takes some of it.
    let first_wake = harness.now().plus(harness.lease().max(patience() / 3));
    let parks = {
        let number = Arc::new(AtomicU32::new(0));
        does(move |_turn| {
            let number = number.fetch_add(1, Ordering::SeqCst);
            let after = Duration::from_millis(u64::from(number % 1_000));
            let wake_at = Some(first_wake.plus(after));
            std::future::ready(next(Then::Park { wake_at }))
        })
    };
    let crowd = Worker {
        concurrency: 64,
        ..worker(&harness, "before")?
    };
    let serving = Serving::start(&runtime, crowd.clone(), parks);
    let (began, mut runs) = (Instant::now(), 0);
    while runs < LEAST || (runs < MOST && began.elapsed() < time_given()) {
        let submissions = (runs..runs + CROWD).map(|number| {
            let runtime = Arc::clone(&runtime);
            async move { submit(&runtime, submission(&format!("r{number}"))?).await }
        });
        at_once(submissions)
            .await?
            .into_iter()
            .collect::<Outcome>()?;
        // Those that are not parked yet would be more and more.
        for number in runs..runs + CROWD {
            let name = format!("r{number}");
            until(&format!("{name} is parked"), || async {
                let state = state(&runtime, &name).await?;
                Ok(matches!(state, Some(ScheduleState::Parked { .. })))
            })
            .await?;
        }
        runs += CROWD;
    }
    same(
        "counted the turns before the downtime",
        serving.stop().await?.turns,
        runs,
    )?;
    // An hour, except where it has to be waited for.
    let downtime = if waits_for_time(&harness) {
        first_wake.since(harness.now()) + Duration::from_secs(1) + harness.lease()
    } else {
        HOUR
    };
    harness.advance(downtime).await;
    let woken = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let advance = {
        let woken = Arc::clone(&woken);
        does(move |turn| {
            let mut woken = woken.lock().unwrap_or_else(PoisonError::into_inner);
            *woken.entry(turn.run.to_string()).or_default() += 1;
            std::future::ready(next(PARK))
        })
    };
    let mut workers = Vec::new();
    for number in 0..4 {
        let worker = Worker {
            id: worker(&harness, &format!("after{number}"))?.id,
            ..crowd.clone()
        };
        workers.push(Serving::start(&runtime, worker, Arc::clone(&advance)));
    }
    let all = || woken.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
    until("all overdue runs were woken", || {
        std::future::ready(Ok(all() == runs))
    })
    .await?;
    let mut served = 0;
    for worker in workers {
        served += worker.stop().await?.turns;
    }
    same("counted the turns after the downtime", served, runs)
}

/// DR-7.
pub async fn a_wake_and_a_signal_at_once_make_one_turn<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "before")?, Arc::clone(&advance));
    let wake_at = Some(harness.now().plus(harness.lease()));
    turns.of("r", 1).await?.answer(next(Then::Park { wake_at }));
    is(&runtime, "r", ScheduleState::Parked { wake_at }).await?;
    serving.stop().await?;
    send(&runtime, "r", signal("s1")?).await?;
    harness.advance(2 * harness.lease()).await;
    let serving = Serving::start(&runtime, worker(&harness, "after")?, advance);
    let live = turns.of("r", 2).await?;
    same(
        "was woken by time and signal",
        names(&live.turn.signals),
        vec!["s1".to_owned()],
    )?;
    let signals = live.turn.signals.clone();
    live.answer(consumed(&signals, PARK));
    is(&runtime, "r", ScheduleState::Parked { wake_at: None }).await?;
    nothing_but_a_probe(&runtime, &mut turns, "probe").await?;
    same("counted the turns", serving.stop().await?.turns, 2)
}

/// DR-11.
pub async fn work_given_through_another_handle_is_found_at_the_next_poll<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    let other = harness
        .second_handle()
        .await
        .ok_or(Halt::NotCheckable("there is one handle only"))?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    nothing_but_a_probe(&runtime, &mut turns, "probe").await?;
    submit(&other, submission("r")?).await?;
    harness.advance(POLL).await;
    turns.of("r", 1).await?.answer(next(PARK));
    is(&runtime, "r", ScheduleState::Parked { wake_at: None }).await?;
    nothing_but_a_probe(&runtime, &mut turns, "probe2").await?;
    send(&other, "r", signal("s1")?).await?;
    harness.advance(POLL).await;
    turns.of("r", 2).await?.answer(next(DONE));
    is_finished(&other, "r").await?;
    same("counted the turns", serving.stop().await?.turns, 4)
}

/// DR-12.
pub async fn clocks_of_workers_that_are_off_change_nothing<H: Harness>(harness: H) -> Outcome {
    const HOUR: Duration = Duration::from_secs(3_600);
    let runtime = harness.runtime();
    for fast in [true, false] {
        let off = harness.handle_with_clock_off(HOUR, fast).await;
        let off = off.ok_or(Halt::NotCheckable("workers have no clock of their own"))?;
        let (held, later) = (format!("held{fast}"), format!("later{fast}"));
        submit(&runtime, submission(&held)?).await?;
        let (advance, mut turns) = by_hand();
        // With room for one turn it looks for no other, so that what comes later is the thief's alone.
        let holder = Worker {
            concurrency: 1,
            ..worker(&harness, &format!("holder{fast}"))?
        };
        let holder = Serving::start(&runtime, holder, advance);
        let live = turns.of(&held, 1).await?;
        let in_time = if waits_for_time(&harness) { 1 } else { 2 };
        let due = harness.now().plus(harness.lease() / in_time);
        submit(
            &runtime,
            Submit {
                not_before: Some(due),
                ..submission(&later)?
            },
        )
        .await?;
        holder.request_stop();
        // Neither an early takeover nor an early delivery by the worker whose clock is off.
        let (advance, mut stolen) = by_hand();
        let thief = Serving::start(&off, worker(&harness, &format!("thief{fast}"))?, advance);
        nothing_but_a_probe(&runtime, &mut stolen, &format!("probe{fast}")).await?;
        live.answer(next(DONE));
        is_finished(&runtime, &held).await?;
        holder.end().await?;
        harness.advance(due.since(harness.now())).await;
        stolen.of(&later, 1).await?.answer(next(DONE));
        is_finished(&runtime, &later).await?;
        thief.stop().await?;
    }
    Ok(())
}

/// DR-13.
pub async fn a_thousand_runs_over_sixteen_workers_are_each_delivered_once<H: Harness>(
    harness: H,
) -> Outcome {
    const RUNS: usize = 1_000;
    let runtime = harness.runtime();
    let delivered = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let advance = {
        let delivered = Arc::clone(&delivered);
        does(move |turn| {
            let mut delivered = delivered.lock().unwrap_or_else(PoisonError::into_inner);
            *delivered.entry(turn.run.to_string()).or_default() += 1;
            std::future::ready(next(DONE))
        })
    };
    let mut submitters = Vec::new();
    for part in 0..10 {
        let runtime = Arc::clone(&runtime);
        submitters.push(async move {
            for number in 0..RUNS / 10 {
                submit(&runtime, submission(&format!("r{part}.{number}"))?).await?;
            }
            Ok(())
        });
    }
    let mut workers = Vec::new();
    for number in 0..16 {
        let worker = Worker {
            concurrency: 4,
            ..worker(&harness, &format!("w{number}"))?
        };
        workers.push(Serving::start(&runtime, worker, Arc::clone(&advance)));
    }
    at_once(submitters)
        .await?
        .into_iter()
        .collect::<Outcome>()?;
    let count = || {
        delivered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    };
    until("all runs were delivered", || async {
        harness.advance(Duration::from_millis(10)).await;
        Ok(count() == RUNS)
    })
    .await?;
    let mut served = 0;
    for worker in workers {
        served += worker.stop().await?.turns;
    }
    same("counted the turns of a thousand runs", served, RUNS as u64)
}

/// DR-13.
pub async fn the_oldest_due_run_comes_first<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    let start = harness.now();
    for millis in [50, 10, 90, 30, 70] {
        let not_before = Some(start.plus(Duration::from_millis(millis)));
        submit(
            &runtime,
            Submit {
                not_before,
                ..submission(&format!("r{millis}"))?
            },
        )
        .await?;
    }
    harness.advance(SECOND).await;
    submit(&runtime, submission("now")?).await?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(
        &runtime,
        Worker {
            concurrency: 1,
            ..worker(&harness, "w")?
        },
        advance,
    );
    for name in ["r10", "r30", "r50", "r70", "r90", "now"] {
        turns.of(name, 1).await?.answer(next(DONE));
    }
    is_finished(&runtime, "now").await?;
    same("counted the turns", serving.stop().await?.turns, 6)
}

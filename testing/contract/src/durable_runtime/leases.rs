//! DR-3, DR-4 and DR-10: leases, and the end of workers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seaworthy_ports::durable_runtime::{ScheduleState, Scope, Served, Submit, Worker};
use seaworthy_ports::{Durability, Latch, SessionId};

use super::Harness;
use super::paused::Paused;
use super::stage::{
    DONE, PARK, POLL, Serving, advance_under_lease, by_hand, consumed, does, is_finished,
    is_finished_after_polls, names, next, nothing_but_a_probe, queue, schedule, send, signal,
    state, submission, submit, until, waits, worker,
};
use crate::outcome::{
    Halt, Outcome, broken, declared, holds, id, patience, reopened, same, unless, within,
};

/// DR-3.
pub async fn a_turn_of_ten_lease_times_keeps_its_lease<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    let (advance, mut turns) = by_hand();
    let holder = Serving::start(
        &runtime,
        Worker {
            concurrency: 1,
            ..worker(&harness, "holder")?
        },
        advance,
    );
    let live = turns.of("r", 1).await?;
    let (advance, mut stolen) = by_hand();
    let thief = Serving::start(&runtime, worker(&harness, "thief")?, advance);
    advance_under_lease(&harness, &runtime, "r", 10 * harness.lease()).await?;
    nothing_but_a_probe(&runtime, &mut stolen, "probe").await?;
    same(
        "asked whether the lease is gone",
        live.turn.revoked.is_set(),
        false,
    )?;
    live.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    let served = holder.stop().await?;
    same(
        "counted",
        served,
        Served {
            turns: 1,
            panicked: 0,
            revoked: 0,
        },
    )?;
    same(
        "counted the other worker's turns",
        thief.stop().await?.turns,
        1,
    )
}

/// DR-3. The lease counts from when it is granted, not from when it was asked for.
pub async fn a_claim_that_had_to_wait_gets_a_full_lease<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    let held_up = harness
        .hold_up()
        .await
        .ok_or(Halt::NotCheckable("nothing holds it up"))?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    // Nothing shows that the claim waits; if it is later than this, the scenario sees less.
    tokio::time::sleep(patience() / 300).await;
    harness.advance(2 * harness.lease()).await;
    let released = harness.now();
    drop(held_up);
    let live = turns.of("r", 1).await?;
    let leased = state(&runtime, "r").await?;
    let full = released.plus(harness.lease());
    holds(
        matches!(leased, Some(ScheduleState::Leased { expires, .. }) if expires >= full),
        "held up a claim for two lease times",
        format!("a lease until {full} at least"),
        leased,
    )?;
    same(
        "asked whether the lease is gone",
        live.turn.revoked.is_set(),
        false,
    )?;
    live.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    let served = serving.stop().await?;
    same("counted", (served.turns, served.revoked), (1, 0))
}

/// DR-4.
pub async fn a_worker_that_died_is_replaced_within_lease_and_poll<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    for name in ["s1", "s2", "s3"] {
        send(&runtime, "r", signal(name)?).await?;
    }
    let (advance, mut turns) = by_hand();
    // With room for one turn it asks for no other: a question under way at its death might be answered after it.
    let victim = Worker {
        concurrency: 1,
        ..worker(&harness, "victim")?
    };
    let victim = Serving::start(&runtime, victim, advance);
    let _live = turns.of("r", 1).await?;
    let (advance, mut turns) = by_hand();
    let heir = Serving::start(&runtime, worker(&harness, "heir")?, advance);
    victim.kill().await;
    harness.advance(harness.lease()).await;
    harness.advance(POLL).await;
    let live = turns.of("r", 2).await?;
    let signals = live.turn.signals.clone();
    same(
        "was given a dead worker's run",
        names(&signals),
        ["s1", "s2", "s3"].map(String::from).to_vec(),
    )?;
    live.answer(consumed(&signals, DONE));
    is_finished(&runtime, "r").await?;
    same("counted the turns", heir.stop().await?.turns, 1)
}

/// DR-4. Nobody takes over the run of the paused worker, for nobody else serves its queue; the session's next run goes on
/// all the same.
pub async fn the_session_of_a_paused_worker_is_free_when_its_lease_is_over<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    for (name, in_queue) in [("first", "one"), ("second", "two")] {
        let submission = Submit {
            session: Some(id(SessionId::new("s"))?),
            queue: queue(in_queue)?,
            ..submission(name)?
        };
        submit(&runtime, submission).await?;
    }
    let serves = |name: &str, in_queue: &str| {
        Ok::<_, Halt>(Worker {
            scope: Scope::Queues(BTreeSet::from([queue(in_queue)?])),
            ..worker(&harness, name)?
        })
    };
    let paused = Paused::start(&runtime, serves("paused", "one")?).await?;
    let advance = does(async |_turn| next(DONE));
    let neighbour = Serving::start(&runtime, serves("neighbour", "two")?, advance);
    let waits = waits(&runtime, "second", "for its session is taken").await;
    // Whether a live lease keeps the session is for DR-2 to say.
    unless(waits, async { Ok(true) }, "sessions hold nobody back").await?;
    harness.advance(harness.lease()).await;
    is_finished_after_polls(&harness, &runtime, "second").await?;
    neighbour.stop().await?;
    paused.wake().await.map(drop)
}

/// DR-4. What was leased when the backend went away is delivered again, each run once.
pub async fn a_hundred_leased_runs_are_delivered_again_after_reopening<H: Harness>(
    harness: H,
) -> Outcome {
    let durability = harness.runtime().capabilities().durability;
    let outcome = leased_while_reopening(harness, durability).await;
    declared("durability", durability != Durability::Volatile, outcome)
}

async fn leased_while_reopening<H: Harness>(harness: H, durability: Durability) -> Outcome {
    const RUNS: usize = 100;
    let runtime = harness.runtime();
    let names: BTreeSet<String> = (0..RUNS).map(|number| format!("r{number}")).collect();
    for name in &names {
        submit(&runtime, submission(name)?).await?;
        send(&runtime, name, signal("s1")?).await?;
    }
    let crowd = |name: &str| {
        Ok::<_, Halt>(Worker {
            concurrency: RUNS,
            ..worker(&harness, name)?
        })
    };
    let (advance, mut turns) = by_hand();
    let before = Serving::start(&runtime, crowd("before")?, advance);
    let mut live = Vec::new();
    for _run in 0..RUNS {
        live.push(turns.any().await?);
    }
    before.kill().await;
    drop(runtime);
    let runtime = reopened(harness.reopen().await, durability)?;
    // Late answers of the life before: nobody may listen.
    for live in live {
        let signals = live.turn.signals.clone();
        live.answer(consumed(&signals, DONE));
    }
    harness.advance(harness.lease()).await;
    let (advance, mut turns) = by_hand();
    let after = Serving::start(&runtime, crowd("after")?, advance);
    let mut delivered = BTreeSet::new();
    for _run in 0..RUNS {
        let live = turns.any().await?;
        let signals = live.turn.signals.clone();
        same(
            "looked at a run that was leased before",
            (live.turn.delivery, self::names(&signals)),
            (2, vec!["s1".to_owned()]),
        )?;
        delivered.insert(live.turn.run.to_string());
        live.answer(consumed(&signals, DONE));
    }
    same("collected the runs that were delivered", &delivered, &names)?;
    for name in &names {
        is_finished(&runtime, name).await?;
    }
    same(
        "counted the turns after reopening",
        after.stop().await?.turns,
        RUNS as u64,
    )
}

/// DR-4. Nobody answers it, so its own clock has to tell; and what it asked for in time comes too late.
pub async fn a_worker_that_cannot_renew_sees_that_its_lease_is_gone<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker(&harness, "w")?, advance);
    let live = turns.of("r", 1).await?;
    let held_up = harness
        .hold_up()
        .await
        .ok_or(Halt::NotCheckable("nothing holds it up"))?;
    // Nothing shows that a renewal waits; if it is later than this, the scenario sees less.
    harness.advance(harness.lease() / 2).await;
    tokio::time::sleep(patience() / 300).await;
    harness.advance(2 * harness.lease()).await;
    within(
        "held up the renewal of a lease until it had ended",
        live.turn.revoked.wait(),
    )
    .await?;
    drop(held_up);
    live.answer(next(DONE));
    // Less than a lease: one that was revived would still hold.
    let mut passed = Duration::ZERO;
    let again = loop {
        match tokio::time::timeout(patience() / 60, turns.any()).await {
            Ok(again) => break again?,
            Err(_none) if passed < harness.lease() / 2 => {
                harness.advance(POLL).await;
                passed += POLL;
            }
            Err(_none) => {
                return Err(broken(
                    "held up the renewal of a lease until it had ended, and let go",
                    "another delivery at the next poll",
                    state(&runtime, "r").await?,
                ));
            }
        }
    };
    same(
        "was given the run again",
        (again.turn.run.as_str(), again.turn.delivery),
        ("r", 2),
    )?;
    again.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    same("counted lost leases", serving.stop().await?.revoked, 1)
}

/// DR-4.
pub async fn a_worker_paused_past_its_lease_sees_it_and_changes_nothing<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    submit(&runtime, submission("r")?).await?;
    for name in ["s1", "s2"] {
        send(&runtime, "r", signal(name)?).await?;
    }
    let paused = Paused::start(&runtime, worker(&harness, "paused")?).await?;
    let (advance, mut turns) = by_hand();
    let heir = Serving::start(&runtime, worker(&harness, "heir")?, advance);
    harness.advance(harness.lease()).await;
    harness.advance(POLL).await;
    let live = turns.of("r", 2).await?;
    let before = schedule(&runtime, "r").await?;
    let (served, is_revoked) = paused.wake().await?;
    same(
        "asked the paused turn whether it saw that its lease is gone",
        is_revoked,
        true,
    )?;
    same("counted the paused worker's lost leases", served.revoked, 1)?;
    let after = schedule(&runtime, "r").await?;
    let told = |schedule: &Option<_>| {
        schedule
            .as_ref()
            .map(|s: &seaworthy_ports::durable_runtime::Schedule| (s.deliveries, s.signals))
    };
    same(
        "compared the run before and after the late end of a turn",
        told(&after),
        told(&before),
    )?;
    let holder = match after.map(|schedule| schedule.state) {
        Some(ScheduleState::Leased { worker, .. }) => worker.to_string(),
        other => {
            return Err(broken(
                "let a paused worker end its turn",
                "the heir's lease",
                other,
            ));
        }
    };
    same("asked who holds the run", holder, "heir".to_owned())?;
    same(
        "was given its signals",
        names(&live.turn.signals),
        vec!["s1".into(), "s2".into()],
    )?;
    same(
        "asked whether the heir's lease is gone",
        live.turn.revoked.is_set(),
        false,
    )?;
    live.answer(next(DONE));
    is_finished(&runtime, "r").await?;
    same("counted the heir's turns", heir.stop().await?.turns, 1)
}

struct Dropped(Arc<AtomicU32>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// DR-10.
pub async fn stopping_starts_no_turn_ends_live_ones_and_frees_their_leases<H: Harness>(
    harness: H,
) -> Outcome {
    const LIVE: u32 = 100;
    let runtime = harness.runtime();
    let (finish, finishes) = Latch::new();
    let (live, started) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let advance = {
        let (live, started) = (Arc::clone(&live), Arc::clone(&started));
        does(move |turn| {
            let number = started.fetch_add(1, Ordering::SeqCst);
            live.fetch_add(1, Ordering::SeqCst);
            let (guard, finishes) = (Dropped(Arc::clone(&live)), finishes.clone());
            async move {
                let _guard = guard;
                let _turn = turn;
                finishes.wait().await;
                if number.is_multiple_of(2) {
                    next(PARK)
                } else {
                    std::future::pending().await
                }
            }
        })
    };
    for number in 0..LIVE {
        submit(&runtime, submission(&format!("live{number}"))?).await?;
    }
    let crowd = Worker {
        concurrency: LIVE as usize,
        ..worker(&harness, "w")?
    };
    let drain = crowd.drain;
    let serving = Serving::start(&runtime, crowd, advance);
    until("all turns are live", || {
        std::future::ready(Ok(live.load(Ordering::SeqCst) == LIVE))
    })
    .await?;
    for number in 0..5 {
        submit(&runtime, submission(&format!("waits{number}"))?).await?;
    }
    serving.request_stop();
    finish.set();
    until("half of the turns have ended", || {
        std::future::ready(Ok(live.load(Ordering::SeqCst) == LIVE / 2))
    })
    .await?;
    let served = serving.end_of_drain(&harness, drain).await?;
    same(
        "counted turns that were still alive when serve returned",
        live.load(Ordering::SeqCst),
        0,
    )?;
    same(
        "counted the turns that started",
        started.load(Ordering::SeqCst),
        LIVE,
    )?;
    same(
        "counted the turns that ended",
        served.turns,
        u64::from(LIVE / 2),
    )?;
    for number in 0..LIVE {
        let name = format!("live{number}");
        let left = state(&runtime, &name).await?;
        let is_free = matches!(
            left,
            Some(ScheduleState::Due { .. } | ScheduleState::Parked { .. })
        );
        holds(
            is_free,
            format!("asked how {name} stands after the stop"),
            "no lease",
            left,
        )?;
    }
    for number in 0..5 {
        let name = format!("waits{number}");
        let deliveries = schedule(&runtime, &name)
            .await?
            .map(|schedule| schedule.deliveries);
        same(
            format!("asked for {name}, which was due"),
            deliveries,
            Some(0),
        )?;
    }
    Ok::<(), Halt>(())
}

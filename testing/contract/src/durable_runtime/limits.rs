//! How many runs of a queue may be live at once.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seaworthy_ports::Durability;
use seaworthy_ports::durable_runtime::{
    Kind, MAX_QUEUE_LIMITS, ScheduleState, Scope, Submit, Worker,
};

use super::Harness;
use super::paused::Paused;
use super::stage::{
    DONE, Live, POLL, Runtime, Serving, Turns, by_hand, does, is_finished, next,
    nothing_but_a_probe, queue, run, state, submission, submit, until, waits, worker,
};
use crate::outcome::{
    Halt, Outcome, at_once, declared, holds, limit, ok, refused, reopened, same, unless,
};

/// The queue that is limited.
const NARROW: &str = "narrow";

async fn set(runtime: &Runtime, most: Option<u32>) -> Outcome {
    let limited = runtime.limit_queue(&queue(NARROW)?, most.map(limit)).await;
    ok(format!("limited a queue to {most:?}"), limited)?;
    let limits = ok("asked for the limits", runtime.queue_limits().await)?;
    let expected: BTreeMap<_, NonZeroU32> = match most {
        Some(most) => BTreeMap::from([(queue(NARROW)?, limit(most))]),
        None => BTreeMap::new(),
    };
    same("asked for the limits", limits, expected)
}

/// Submits a run to the limited queue.
async fn submit_narrow(runtime: &Runtime, name: &str) -> Outcome {
    let submission = Submit {
        queue: queue(NARROW)?,
        ..submission(name)?
    };
    submit(runtime, submission).await
}

/// A worker that takes more than any limit of this file.
fn greedy<H: Harness>(harness: &H, name: &str) -> Result<Worker, Halt> {
    Ok(Worker {
        concurrency: 8,
        ..worker(harness, name)?
    })
}

/// Judges an outcome by what the runtime declares.
fn as_declared(runtime: &Runtime, outcome: Outcome) -> Outcome {
    let is_declared = runtime.capabilities().queue_limits;
    declared("queue_limits", is_declared, outcome)
}

/// DR-17.
pub async fn a_queue_has_no_more_live_turns_than_its_limit<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    let outcome = crowded(&harness, &runtime).await;
    as_declared(&runtime, outcome)
}

async fn crowded<H: Harness>(harness: &H, runtime: &Runtime) -> Outcome {
    const RUNS: u32 = 48;
    const MOST: u32 = 3;
    set(runtime, Some(MOST)).await?;
    for number in 0..RUNS {
        submit_narrow(runtime, &format!("r{number}")).await?;
    }
    let (live, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let advance = {
        let (live, most) = (Arc::clone(&live), Arc::clone(&most));
        does(move |_turn| {
            let (live, most) = (Arc::clone(&live), Arc::clone(&most));
            async move {
                most.fetch_max(live.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _moment in 0..20 {
                    tokio::task::yield_now().await;
                }
                live.fetch_sub(1, Ordering::SeqCst);
                next(DONE)
            }
        })
    };
    // Half of them on a handle of their own, where there is one: a limit is not one process's affair.
    let other = harness.second_handle().await;
    let mut workers = Vec::new();
    for number in 0..4 {
        let handle = other.as_ref().filter(|_| number % 2 == 1);
        let worker = greedy(harness, &format!("w{number}"))?;
        let handle = handle.unwrap_or(runtime);
        workers.push(Serving::start(handle, worker, Arc::clone(&advance)));
    }
    for number in 0..RUNS {
        let name = format!("r{number}");
        until("every run is done", || async {
            // Time may have to pass for a worker to look again.
            harness.advance(Duration::from_millis(10)).await;
            Ok(state(runtime, &name).await? == Some(ScheduleState::Finished))
        })
        .await?;
    }
    for worker in workers {
        worker.stop().await?;
    }
    let most = most.load(Ordering::SeqCst);
    holds(
        most <= MOST,
        "counted live turns at once of a limited queue under four workers",
        format!("{MOST} at most"),
        most,
    )
}

/// DR-17.
pub async fn a_full_queue_holds_up_no_other<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    let outcome = full(&harness, &runtime).await;
    as_declared(&runtime, outcome)
}

async fn full<H: Harness>(harness: &H, runtime: &Runtime) -> Outcome {
    const WAITING: u32 = 30;
    set(runtime, Some(1)).await?;
    for number in 0..=WAITING {
        submit_narrow(runtime, &format!("r{number}")).await?;
        // The order of submission is the order of their due times only if these differ.
        harness.advance(Duration::from_millis(2)).await;
    }
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(runtime, greedy(harness, "w")?, advance);
    let first = turns.of("r0", 1).await?;
    // They were submitted last, behind all those that wait.
    nothing_but_a_probe(runtime, &mut turns, "probe").await?;
    nothing_but_a_probe(runtime, &mut turns, "probe2").await?;
    waits(runtime, "r1", "whose queue is full").await?;
    first.answer(next(DONE));
    turns.of("r1", 1).await?.answer(next(DONE));
    for number in 2..=WAITING {
        let name = format!("r{number}");
        turns.of(&name, 1).await?.answer(next(DONE));
    }
    let served = serving.stop().await?;
    same("counted the turns", served.turns, u64::from(WAITING) + 3)
}

/// DR-17.
pub async fn every_scope_keeps_to_the_limit<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    let outcome = scoped(&harness, &runtime).await;
    as_declared(&runtime, outcome)
}

async fn scoped<H: Harness>(harness: &H, runtime: &Runtime) -> Outcome {
    set(runtime, Some(1)).await?;
    submit_narrow(runtime, "first").await?;
    let (advance, mut turns) = by_hand();
    let holder = Serving::start(runtime, worker(harness, "holder")?, advance);
    let first = turns.of("first", 1).await?;
    submit_narrow(runtime, "alone").await?;
    let alone = Worker {
        scope: Scope::Run(run("alone")?),
        ..worker(harness, "alone")?
    };
    let (advance, mut turns_alone) = by_hand();
    let alone = Serving::start(runtime, alone, advance);
    let queues = Worker {
        scope: Scope::Queues(BTreeSet::from([queue(NARROW)?, queue("wide")?])),
        ..worker(harness, "queues")?
    };
    let (advance, mut turns_of_queues) = by_hand();
    let queues = Serving::start(runtime, queues, advance);
    let probe = Submit {
        queue: queue("wide")?,
        ..submission("probe")?
    };
    submit_to_either(runtime, probe, &mut turns, &mut turns_of_queues).await?;
    harness.advance(POLL).await;
    waits(runtime, "alone", "whose queue is full").await?;
    // From here on the run may come to any of the three workers.
    queues.stop().await?;
    holder_ends(first, holder).await?;
    let live = turns_alone.any_after_polls(harness).await?;
    same("waited for a delivery", live.turn.run.as_str(), "alone")?;
    live.answer(next(DONE));
    same("served one run", alone.end().await?.turns, 1)
}

/// The probe of a queue that two workers serve: either of them takes it, and nothing else.
async fn submit_to_either(
    runtime: &Runtime,
    probe: Submit,
    one: &mut Turns,
    other: &mut Turns,
) -> Outcome {
    let name = probe.run.to_string();
    submit(runtime, probe).await?;
    let live = tokio::select! {
        live = one.any() => live?,
        live = other.any() => live?,
    };
    same(
        "waited for a delivery",
        live.turn.run.to_string(),
        name.clone(),
    )?;
    live.answer(next(DONE));
    is_finished(runtime, &name).await
}

/// Ends a worker whose last turn is answered while it drains: it takes no other.
async fn holder_ends(live: Live, holder: Serving) -> Outcome {
    holder.request_stop();
    live.answer(next(DONE));
    holder.end().await.map(drop)
}

/// DR-17.
pub async fn a_limit_can_be_lowered_raised_and_lifted<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    let outcome = changed(&harness, &runtime).await;
    as_declared(&runtime, outcome)
}

async fn changed<H: Harness>(harness: &H, runtime: &Runtime) -> Outcome {
    set(runtime, Some(2)).await?;
    for name in ["a", "b", "c", "d", "e"] {
        submit_narrow(runtime, name).await?;
        harness.advance(Duration::from_millis(2)).await;
    }
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(runtime, greedy(harness, "w")?, advance);
    let mut live = BTreeMap::new();
    take(harness, &mut turns, &mut live, &["a", "b"]).await?;
    set(runtime, Some(1)).await?;
    let revoked = live.values().any(|live| live.turn.revoked.is_set());
    holds(
        !revoked,
        "lowered a limit",
        "live turns that go on",
        "one is revoked",
    )?;
    answer(&mut live, "a");
    is_finished(runtime, "a").await?;
    nothing_but_a_probe(runtime, &mut turns, "probe").await?;
    waits(runtime, "c", "whose queue is full").await?;
    set(runtime, Some(3)).await?;
    take(harness, &mut turns, &mut live, &["c", "d"]).await?;
    nothing_but_a_probe(runtime, &mut turns, "probe2").await?;
    waits(runtime, "e", "whose queue is full").await?;
    set(runtime, None).await?;
    take(harness, &mut turns, &mut live, &["e"]).await?;
    for name in ["b", "c", "d", "e"] {
        answer(&mut live, name);
        is_finished(runtime, name).await?;
    }
    same("counted the turns", serving.stop().await?.turns, 7)
}

/// Waits for these runs, which may come in any order.
async fn take<H: Harness>(
    harness: &H,
    turns: &mut Turns,
    live: &mut BTreeMap<String, Live>,
    names: &[&str],
) -> Outcome {
    let mut came = BTreeSet::new();
    for _name in names {
        let turn = turns.any_after_polls(harness).await?;
        came.insert(turn.turn.run.to_string());
        live.insert(turn.turn.run.to_string(), turn);
    }
    let expected: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
    same("waited for the runs that there is room for", came, expected)
}

fn answer(live: &mut BTreeMap<String, Live>, name: &str) {
    if let Some(live) = live.remove(name) {
        live.answer(next(DONE));
    }
}

/// DR-17. What is over counts no more, though nobody knows what became of its holder.
pub async fn a_paused_worker_fills_no_queue_when_its_lease_is_over<H: Harness>(
    harness: H,
) -> Outcome {
    let runtime = harness.runtime();
    let outcome = paused(&harness, &runtime).await;
    let is_too_long = async {
        let latest = harness.now().plus(harness.lease());
        let held = state(&runtime, "held").await?;
        Ok(matches!(held, Some(ScheduleState::Leased { expires, .. }) if expires > latest))
    };
    let outcome = unless(outcome, is_too_long, "leases do not end in time").await;
    as_declared(&runtime, outcome)
}

async fn paused<H: Harness>(harness: &H, runtime: &Runtime) -> Outcome {
    set(runtime, Some(1)).await?;
    submit_narrow(runtime, "held").await?;
    let paused = Paused::start(runtime, worker(harness, "paused")?).await?;
    submit_narrow(runtime, "next").await?;
    let (advance, mut turns) = by_hand();
    let heir = Serving::start(runtime, greedy(harness, "heir")?, advance);
    nothing_but_a_probe(runtime, &mut turns, "probe").await?;
    waits(runtime, "next", "whose queue is full").await?;
    harness.advance(harness.lease()).await;
    harness.advance(POLL).await;
    let live = turns.of("next", 1).await?;
    nothing_but_a_probe(runtime, &mut turns, "probe2").await?;
    live.answer(next(DONE));
    turns.of("held", 2).await?.answer(next(DONE));
    is_finished(runtime, "held").await?;
    same("counted the turns", heir.stop().await?.turns, 4)?;
    paused.wake().await.map(drop)
}

/// DR-17.
pub async fn a_limit_survives_reopening<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    let durability = runtime.capabilities().durability;
    let is_declared = runtime.capabilities().queue_limits;
    let outcome = reopening(harness, runtime, durability).await;
    declared("queue_limits", is_declared, outcome)
}

async fn reopening<H: Harness>(harness: H, runtime: Runtime, durability: Durability) -> Outcome {
    const RUNS: u32 = 6;
    const MOST: u32 = 2;
    set(&runtime, Some(MOST)).await?;
    for number in 0..RUNS {
        submit_narrow(&runtime, &format!("r{number}")).await?;
    }
    let (advance, mut turns) = by_hand();
    // With room for what it gets it asks for no more: a question under way at its death might be answered after it.
    let victim = Worker {
        concurrency: MOST as usize,
        ..worker(&harness, "victim")?
    };
    let victim = Serving::start(&runtime, victim, advance);
    let _held = (turns.any().await?, turns.any().await?);
    victim.kill().await;
    drop(runtime);
    let runtime = reopened(harness.reopen().await, durability)?;
    let limits = ok("asked for the limits", runtime.queue_limits().await)?;
    let expected = BTreeMap::from([(queue(NARROW)?, limit(MOST))]);
    same("asked for the limits after reopening", limits, expected)?;
    let (live, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let advance = {
        let (live, most) = (Arc::clone(&live), Arc::clone(&most));
        does(move |_turn| {
            let (live, most) = (Arc::clone(&live), Arc::clone(&most));
            async move {
                most.fetch_max(live.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                live.fetch_sub(1, Ordering::SeqCst);
                next(DONE)
            }
        })
    };
    let heir = Serving::start(&runtime, greedy(&harness, "heir")?, advance);
    harness.advance(harness.lease()).await;
    for number in 0..RUNS {
        let name = format!("r{number}");
        until("every run is done", || async {
            harness.advance(Duration::from_millis(50)).await;
            Ok(state(&runtime, &name).await? == Some(ScheduleState::Finished))
        })
        .await?;
    }
    heir.stop().await?;
    let most = most.load(Ordering::SeqCst);
    holds(
        most <= MOST,
        "counted live turns at once after reopening",
        format!("{MOST} at most"),
        most,
    )
}

/// DR-17.
pub async fn only_so_many_queues_may_have_a_limit<H: Harness>(harness: H) -> Outcome {
    let runtime = harness.runtime();
    let outcome = many(&runtime).await;
    as_declared(&runtime, outcome)
}

async fn many(runtime: &Runtime) -> Outcome {
    let name = |number: usize| queue(&format!("q{number}"));
    let mut calls = Vec::with_capacity(MAX_QUEUE_LIMITS);
    for number in 0..MAX_QUEUE_LIMITS {
        let (runtime, queue) = (Arc::clone(runtime), name(number)?);
        calls.push(async move { runtime.limit_queue(&queue, Some(limit(7))).await });
    }
    for set in at_once(calls).await? {
        ok("limited a thousand queues", set)?;
    }
    refused(
        "limited one queue more",
        runtime.limit_queue(&queue("more")?, Some(limit(7))).await,
        Kind::Rejected,
    )?;
    let changed = runtime.limit_queue(&name(3)?, Some(limit(8))).await;
    ok("changed a limit", changed)?;
    let lifted = runtime.limit_queue(&name(4)?, None).await;
    ok("lifted a limit", lifted)?;
    let lifted = runtime.limit_queue(&name(4)?, None).await;
    ok("lifted it again", lifted)?;
    let set = runtime.limit_queue(&queue("more")?, Some(limit(9))).await;
    ok("limited a queue instead", set)?;
    let limits = ok("asked for the limits", runtime.queue_limits().await)?;
    same("counted the limits", limits.len(), MAX_QUEUE_LIMITS)?;
    let seen = (
        limits.get(&name(3)?).copied(),
        limits.get(&name(4)?).copied(),
        limits.get(&queue("more")?).copied(),
    );
    same(
        "asked for the limits",
        seen,
        (Some(limit(8)), None, Some(limit(9))),
    )
}

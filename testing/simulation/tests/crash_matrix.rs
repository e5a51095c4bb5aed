//! Cases 41 to 46: a fault at every port call of a whole run, one after the other.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what cannot be built is a failed test"
)]

use futures_executor::block_on;
use seaworthy_core::state::Status;
use seaworthy_fakes::{Fault, Faults};
use seaworthy_simulation::{Ending, World};

fn undisturbed() -> (Ending, Vec<&'static str>) {
    block_on(World::new().unwrap().undisturbed()).unwrap()
}

fn same(expected: &Ending, ending: Result<Ending, String>, place: &str) {
    let same = ending.and_then(|ending| seaworthy_simulation::same(expected, &ending));
    same.unwrap_or_else(|why| panic!("{place}: {why}"));
}

#[test]
fn the_undisturbed_run_does_everything_once() {
    let (ending, calls) = undisturbed();
    assert_eq!(ending.status, Status::Succeeded);
    assert_eq!(
        ending.once.len(),
        5,
        "three sends, one payment, one shout: {:?}",
        ending.once
    );
    assert!(ending.once.values().all(|times| *times == 1));
    assert_eq!(ending.session, 1);
    let statuses: Vec<&str> = ending
        .calls
        .iter()
        .map(|(_call, status, _output)| status.as_str())
        .collect();
    let good = "succeeded";
    let expected = [
        good,
        good,
        good,
        good,
        good,
        "failed_no_effect",
        good,
        good,
        good,
        "failed_no_effect",
    ];
    assert_eq!(statuses, expected);
    for port in [
        "append",
        "read",
        "blob put",
        "blob get",
        "model stream",
        "checkpoint latest",
        "sandbox open",
        "sandbox exec",
        "sandbox close",
        "submit",
        "signal",
        "describe",
    ] {
        assert!(
            calls.contains(&port),
            "the run never calls {port}: the matrix would not cover it"
        );
    }
}

#[test]
fn a_crash_at_any_port_call_before_or_after_its_effect_changes_nothing() {
    let (expected, calls) = undisturbed();
    for (number, name) in calls.iter().enumerate() {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let place = format!("{fault:?} at call {number} ({name})");
            let world = World::new().unwrap();
            let ending = block_on(
                world.live(|process| (process == 1).then(|| Faults::at([(number, fault)]))),
            );
            same(&expected, ending, &place);
        }
    }
}

#[test]
fn a_crash_of_every_process_at_its_nth_call_ends_all_the_same_once_one_lives() {
    let (expected, calls) = undisturbed();
    for number in (0..calls.len()).step_by(3) {
        let place = format!("five crashes at call {number}");
        let world = World::new().unwrap();
        let faults = |process| (process <= 5).then(|| Faults::at([(number, Fault::CrashAfter)]));
        let ending = block_on(world.live(faults));
        same(&expected, ending, &place);
    }
}

#[test]
fn a_failing_store_or_model_at_any_call_changes_nothing() {
    let (expected, calls) = undisturbed();
    for (number, name) in calls.iter().enumerate() {
        // What a failing sandbox does to a call is the tool's answer, and the model is told.
        if name.starts_with("sandbox") {
            continue;
        }
        for fault in [Fault::FailBefore, Fault::FailAfter] {
            let place = format!("{fault:?} at call {number} ({name})");
            let world = World::new().unwrap();
            let faults = Faults::at([(number, fault)]);
            let ending = block_on(async {
                let process = world.process(1, faults)?;
                for _round in 0..100 {
                    // A start or an answer that failed is tried again by whoever wanted it.
                    if process.live_once().await.unwrap_or(false) {
                        return world.finish(2).await;
                    }
                }
                Err("the run is stuck".to_owned())
            });
            same(&expected, ending, &place);
        }
    }
}

#[test]
fn a_worker_that_was_paused_anywhere_and_goes_on_after_a_takeover_does_nothing_more() {
    use futures_util::future::{Either, select};
    let (expected, calls) = undisturbed();
    for (number, name) in calls.iter().enumerate() {
        let place = format!("paused at call {number} ({name})");
        let world = World::new().unwrap();
        let faults = Faults::at([(number, Fault::Pause)]);
        let zombie = world.process(1, faults.clone()).unwrap();
        block_on(async {
            let paused = faults.paused();
            let mut life = Box::pin(async {
                for _round in 0..100 {
                    if zombie.live_once().await.unwrap_or(false) {
                        return;
                    }
                }
            });
            let waits = std::pin::pin!(paused.wait());
            if let Either::Right(((), _)) = select(&mut life, waits).await {
                same(&expected, world.finish(2).await, &place);
                faults.resume();
                life.await;
            }
            let after = world.process(3, Faults::none()).unwrap().ending().await;
            same(&expected, after, &format!("{place}, after it went on"));
        });
    }
}

#[test]
fn random_crashes_of_many_processes_change_nothing() {
    let (expected, calls) = undisturbed();
    let kinds = [Fault::CrashBefore, Fault::CrashAfter, Fault::FailAfter];
    for seed in 0..100_u64 {
        let chance = seaworthy_fakes::SeededEntropy::new(seed);
        let draw = |below: usize| {
            use seaworthy_ports::entropy::Entropy as _;
            usize::try_from(chance.bits() % below as u128).unwrap()
        };
        let mut plans: Vec<Faults> = Vec::new();
        for _process in 0..draw(12) {
            let crash = (draw(calls.len()), kinds[draw(2)]);
            plans.push(Faults::at([crash]));
        }
        let world = World::new().unwrap();
        let ending = block_on(world.live(|process| plans.get(process as usize - 1).cloned()));
        let place = format!("seed {seed}");
        same(&expected, ending, &place);
    }
}

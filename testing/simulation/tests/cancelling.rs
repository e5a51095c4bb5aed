//! Case 46: a run that is ended by somebody, wherever it is.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_executor::block_on;
use seaworthy_core::harness::HarnessError;
use seaworthy_core::state::Status;
use seaworthy_fakes::{FakeClock, FakeModel, Fault, Faults, Step};
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::Then;
use seaworthy_simulation::{Process, World, turn};
use support::{sleep, together};

/// How long the run goes on in its worker when it is cancelled five seconds after its delivery.
fn lives_on(clock: &FakeClock, world: &World, process: &Process) -> Duration {
    let cancelled = Duration::from_secs(5);
    let begun = clock.now();
    let mut ended = begun;
    let work = async {
        process.start().await.unwrap();
        process.deliver().await;
        ended = clock.now();
        assert_eq!(process.deliver().await, Some(Then::Done));
    };
    let canceller = world.process(2, Faults::none()).unwrap();
    let cancel = async {
        sleep(clock, cancelled).await;
        let harness = canceller.harness();
        harness.cancel(world.run(), "me", None).await.unwrap();
    };
    together(
        clock,
        vec![("work", Box::pin(work)), ("cancel", Box::pin(cancel))],
    );
    let view = block_on(process.view()).unwrap();
    assert_eq!(view.state.status(), Status::Cancelled);
    assert!(block_on(process.is_finished()).unwrap());
    ended.since(begun.plus(cancelled))
}

#[test]
fn a_run_cancelled_while_queued_never_begins() {
    let world = World::new().unwrap();
    let process = world.process(1, Faults::none()).unwrap();
    block_on(async {
        process.start().await.unwrap();
        let harness = process.harness();
        harness.cancel(world.run(), "me", None).await.unwrap();
        assert_eq!(process.deliver().await, Some(Then::Done));
        let view = process.view().await.unwrap();
        assert_eq!(view.state.status(), Status::Cancelled);
        assert_eq!(view.state.attempt, 0);
    });
    assert!(world.acted().is_empty());
}

#[test]
fn a_run_cancelled_in_a_model_call_ends_within_a_second() {
    let clock = FakeClock::new();
    let slow = Step::says("too late").after(&clock, Duration::from_secs(60));
    let model = FakeModel::new([slow]);
    let world = World::new()
        .unwrap()
        .on_clock(&clock)
        .with_model(Arc::new(model.clone()));
    let process = world.process(1, Faults::none()).unwrap();
    assert!(lives_on(&clock, &world, &process) <= Duration::from_secs(1));
    model.assert_all_used();
}

#[test]
fn a_run_cancelled_in_a_tool_ends_within_a_second_and_ends_the_command() {
    let clock = FakeClock::new();
    let turns = vec![
        turn("a slow one", &["shout"], true),
        turn("done", &[], true),
    ];
    let world = World::saying(turns).unwrap().on_clock(&clock);
    let faults = Faults::every("sandbox exec", Fault::Delay(Duration::from_secs(60)));
    let faults = faults.on_clock(Arc::new(clock.clone()));
    let process = world.process(1, faults.clone()).unwrap();
    assert!(lives_on(&clock, &world, &process) <= Duration::from_secs(1));
    assert!(faults.calls().contains(&"sandbox exec"));
    assert!(world.acted().is_empty(), "the command went on");
}

#[test]
fn a_run_that_succeeded_cannot_be_cancelled() {
    let world = World::new().unwrap();
    block_on(async {
        let ending = world.finish(1).await.unwrap();
        let process = world.process(2, Faults::none()).unwrap();
        let refused = process.harness().cancel(world.run(), "me", None).await;
        assert!(matches!(refused, Err(HarnessError::WrongStatus { .. })));
        assert_eq!(process.ending().await.unwrap(), ending);
    });
}

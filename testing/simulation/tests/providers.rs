//! Case 48: providers that want to be left alone, have nothing left, or break off.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what cannot be built is a failed test"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use seaworthy_core::event::WaitReason;
use seaworthy_core::state::{Outcome, Status};
use seaworthy_fakes::{FakeClock, FakeModel, Faults, Step};
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::Then;
use seaworthy_ports::model_provider::Kind;
use seaworthy_simulation::{Process, World};
use support::{sleep, together};

struct Stage {
    clock: FakeClock,
    world: World,
    process: Process,
}

fn stage(model: &FakeModel) -> Stage {
    let clock = FakeClock::new();
    let world = World::new()
        .unwrap()
        .on_clock(&clock)
        .with_model(Arc::new(model.clone()));
    let process = world.process(1, Faults::none()).unwrap();
    Stage {
        clock,
        world,
        process,
    }
}

impl Stage {
    fn live(&self, story: impl AsyncFnOnce(&Self)) {
        let story = async {
            self.process.start().await.unwrap();
            story(self).await;
        };
        together(&self.clock, vec![("story", Box::pin(story))]);
    }

    async fn failure(&self) -> String {
        match self.process.view().await.unwrap().state.outcome {
            Some(Outcome::Failed { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    }

    async fn succeeds(&self) {
        assert_eq!(self.process.deliver().await, Some(Then::Done));
        let ending = self.process.ending().await.unwrap();
        assert_eq!(ending.status, Status::Succeeded);
    }
}

#[test]
fn a_provider_that_asks_for_a_short_while_is_waited_for_in_the_turn() {
    let wait = Duration::from_secs(5);
    let model = FakeModel::new([
        Step::asks_to_wait(Kind::RateLimited, wait),
        Step::says("done"),
    ]);
    stage(&model).live(async |stage| {
        let begun = stage.clock.now();
        stage.succeeds().await;
        assert_eq!(stage.clock.now().since(begun), wait);
    });
    model.assert_all_used();
}

#[test]
fn a_provider_that_asks_for_half_a_minute_or_two_hours_is_left_alone_without_a_worker() {
    for wait in [Duration::from_secs(30), Duration::from_secs(2 * 60 * 60)] {
        let model = FakeModel::new([
            Step::asks_to_wait(Kind::RateLimited, wait),
            Step::says("done"),
        ]);
        stage(&model).live(async |stage| {
            let wake_at = stage.clock.now().plus(wait);
            let parked = stage.process.deliver().await;
            let wake = Then::Park {
                wake_at: Some(wake_at),
            };
            assert_eq!(parked, Some(wake));
            let reason = stage.process.waits_for().await.unwrap();
            assert_eq!(reason, Some(WaitReason::ModelDeferred));
            sleep(&stage.clock, wait - Duration::from_millis(1)).await;
            assert_eq!(stage.world.runtime().due(), [], "it woke early");
            sleep(&stage.clock, Duration::from_millis(1)).await;
            assert_eq!(stage.world.runtime().due(), [stage.world.run().clone()]);
            stage.succeeds().await;
        });
        model.assert_all_used();
    }
}

#[test]
fn a_quota_that_is_gone_fails_the_run_at_once_and_reopening_asks_again() {
    let model = FakeModel::new([Step::fails(Kind::QuotaExhausted), Step::says("done")]);
    stage(&model).live(async |stage| {
        assert_eq!(stage.process.deliver().await, Some(Then::Done));
        assert_eq!(stage.failure().await, "model_quota_exhausted");
        assert_eq!(model.used(), 1, "it was asked once");
        let harness = stage.process.harness();
        harness.reopen(stage.world.run(), "me").await.unwrap();
        stage.succeeds().await;
    });
    model.assert_all_used();
}

#[test]
fn an_answer_cut_off_after_its_first_chunk_is_not_asked_for_again_by_itself() {
    let model = FakeModel::new([
        Step::says("half of an answer").cut_after(3),
        Step::says("done"),
    ]);
    stage(&model).live(async |stage| {
        assert_eq!(stage.process.deliver().await, Some(Then::Done));
        assert_eq!(stage.failure().await, "model_network");
        assert_eq!(model.used(), 1, "it was asked once");
        let view = stage.process.view().await.unwrap();
        assert_eq!(view.state.messages.len(), 1, "half an answer is none");
        let harness = stage.process.harness();
        harness.reopen(stage.world.run(), "me").await.unwrap();
        stage.succeeds().await;
    });
    model.assert_all_used();
}

#[test]
fn a_connection_cut_before_its_first_chunk_is_tried_again() {
    let model = FakeModel::new([
        Step::says("never").cut_after(0),
        Step::fails(Kind::Overloaded),
        Step::says("done"),
    ]);
    stage(&model).live(async |stage| stage.succeeds().await);
    model.assert_all_used();
}

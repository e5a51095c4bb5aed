//! Cases 45, 46 and 52: what people do to a run, and a run that kills its workers.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use futures_executor::block_on;
use seaworthy_core::event::WaitReason;
use seaworthy_core::harness::HarnessError;
use seaworthy_core::machine::MAX_BARREN_ATTEMPTS;
use seaworthy_core::state::{Outcome, Status};
use seaworthy_fakes::{Fault, Faults};
use seaworthy_ports::CallId;
use seaworthy_simulation::{Process, World};

/// Lives until the run waits for an approval.
async fn until_asked(world: &World, process: &Process) {
    process
        .harness()
        .start(world.start("go").unwrap())
        .await
        .unwrap();
    process.deliver().await;
    assert_eq!(
        process.waits_for().await.unwrap(),
        Some(WaitReason::Approval)
    );
}

fn asked(process: &Process) -> CallId {
    let page = block_on(process.harness().approvals(10.try_into().unwrap(), None)).unwrap();
    assert_eq!(page.items.len(), 1);
    page.items.into_iter().next().unwrap().call.proposal.call
}

#[test]
fn the_same_start_twice_is_one_run_and_another_input_or_session_is_refused() {
    let world = World::new().unwrap();
    let process = world.process(1, Faults::none()).unwrap();
    block_on(async {
        let harness = process.harness();
        assert!(
            !harness
                .start(world.start("go").unwrap())
                .await
                .unwrap()
                .existing
        );
        assert!(
            harness
                .start(world.start("go").unwrap())
                .await
                .unwrap()
                .existing
        );
        let other = harness.start(world.start("stop").unwrap()).await;
        assert!(matches!(
            other,
            Err(HarnessError::Mismatch { what: "input", .. })
        ));
        let mut other = world.start("go").unwrap();
        other.session = None;
        let other = harness.start(other).await;
        assert!(matches!(
            other,
            Err(HarnessError::Mismatch {
                what: "session",
                ..
            })
        ));
    });
}

#[test]
fn only_the_first_answer_to_an_approval_counts_before_and_after_it_is_heard() {
    let world = World::new().unwrap();
    let process = world.process(1, Faults::none()).unwrap();
    block_on(until_asked(&world, &process));
    let approval = asked(&process);
    block_on(async {
        let harness = process.harness();
        harness
            .decide(&approval, true, "first", None)
            .await
            .unwrap();
        let second = harness.decide(&approval, false, "second", None).await;
        assert!(matches!(second, Err(HarnessError::Answered(_))));
        process.deliver().await;
        let late = harness.decide(&approval, false, "late", None).await;
        assert!(matches!(late, Err(HarnessError::Answered(_))));
        let view = harness.view(world.run()).await.unwrap();
        let answer = view
            .state
            .call(&approval)
            .unwrap()
            .approval
            .clone()
            .unwrap()
            .answer
            .unwrap();
        assert_eq!((answer.granted, answer.by.as_str()), (true, "first"));
    });
}

#[test]
fn unknown_runs_calls_and_approvals_are_told_apart_from_answered_ones() {
    let world = World::new().unwrap();
    let process = world.process(1, Faults::none()).unwrap();
    block_on(until_asked(&world, &process));
    block_on(async {
        for id in ["nobody.c1", "simulated.c99", "simulated", "x"] {
            let refused = process
                .harness()
                .decide(&CallId::new(id).unwrap(), true, "me", None)
                .await;
            assert!(
                matches!(refused, Err(HarnessError::UnknownCall { .. })),
                "{id}"
            );
        }
    });
}

#[test]
fn a_cancelled_run_is_over_at_once_and_for_ever() {
    let world = World::new().unwrap();
    let process = world.process(1, Faults::none()).unwrap();
    block_on(until_asked(&world, &process));
    let approval = asked(&process);
    block_on(async {
        let harness = process.harness();
        harness.cancel(world.run(), "me", None).await.unwrap();
        harness.cancel(world.run(), "me", None).await.unwrap();
        let granted = harness.decide(&approval, true, "me", None).await;
        let before = world.once();
        process.deliver().await;
        assert_eq!(
            world.once(),
            before,
            "something happened after the end: {granted:?}"
        );
        assert_eq!(
            harness.view(world.run()).await.unwrap().status(),
            Status::Cancelled
        );
        assert!(matches!(
            harness.reopen(world.run(), "me").await,
            Err(HarnessError::WrongStatus { .. })
        ));
        assert!(process.is_finished().await.unwrap());
    });
}

#[test]
fn a_run_that_kills_every_worker_is_stopped_with_a_reason_and_may_be_reopened() {
    let world = World::new().unwrap();
    let mut deaths = 0;
    for number in 1..=u64::from(MAX_BARREN_ATTEMPTS) + 5 {
        let faults = Faults::every("model stream", Fault::CrashBefore);
        let process = world.process(number, faults.clone()).unwrap();
        let ended = block_on(process.live_once()).unwrap();
        deaths += u32::from(faults.dead().is_set());
        if ended {
            break;
        }
    }
    assert_eq!(deaths, MAX_BARREN_ATTEMPTS);
    let process = world.process(100, Faults::none()).unwrap();
    block_on(async {
        let view = process.harness().view(world.run()).await.unwrap();
        let Some(Outcome::Failed { code, .. }) = view.state.outcome else {
            panic!("{:?}", view.state.outcome)
        };
        assert_eq!(code, "crash_loop");
        process.harness().reopen(world.run(), "me").await.unwrap();
        assert_eq!(world.finish(101).await.unwrap().status, Status::Succeeded);
    });
}

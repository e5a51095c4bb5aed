//! Cases 45, 46, 49 and 52: what people do to a run, and a run that kills its workers.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_executor::block_on;
use seaworthy_core::event::{Event, WaitReason};
use seaworthy_core::harness::HarnessError;
use seaworthy_core::machine::MAX_BARREN_ATTEMPTS;
use seaworthy_core::signal::Told;
use seaworthy_core::state::{CallStatus, Outcome, Status};
use seaworthy_fakes::{FakeClock, Fault, Faults};
use seaworthy_ports::durable_runtime::{DurableRuntime as _, Signal};
use seaworthy_ports::{CallId, Digest, SignalId};
use seaworthy_simulation::{Process, World, turn};
use support::{sleep, times, together};

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
fn the_same_start_twice_is_one_run_and_another_input_descriptor_or_session_is_refused() {
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
        other.descriptor.metadata.name = "another".to_owned();
        let other = harness.start(other).await;
        assert!(matches!(
            other,
            Err(HarnessError::Mismatch {
                what: "descriptor",
                ..
            })
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

/// The run's events, by name.
async fn events(world: &World, process: &Process) -> Vec<Event> {
    use futures_util::StreamExt as _;
    let records = process.harness().records(world.run(), Default::default());
    records
        .map(|record| record.unwrap().envelope.event().unwrap())
        .collect()
        .await
}

#[test]
fn an_approval_granted_while_other_calls_run_needs_no_parking() {
    let clock = FakeClock::new();
    let turns = vec![
        turn("pay while looking", &["pay", "look"], true),
        turn("done", &[], true),
    ];
    let world = World::saying(turns).unwrap().on_clock(&clock);
    let slow = Faults::every("sandbox exec", Fault::Delay(Duration::from_secs(60)));
    let worker = world
        .process(1, slow.on_clock(Arc::new(clock.clone())))
        .unwrap();
    let person = world.process(2, Faults::none()).unwrap();
    let work = async {
        worker.start().await.unwrap();
        worker.deliver().await;
    };
    let grant = async {
        sleep(&clock, Duration::from_secs(5)).await;
        let approval = CallId::new("simulated.c1").unwrap();
        let harness = person.harness();
        harness.decide(&approval, true, "me", None).await.unwrap();
    };
    together(
        &clock,
        vec![("work", Box::pin(work)), ("grant", Box::pin(grant))],
    );
    assert_eq!(times(&world, "pay"), 1);
    let events = block_on(events(&world, &person));
    let waited = |event: &Event| matches!(event, Event::RunWaiting { .. });
    assert!(!events.iter().any(waited), "{events:?}");
    let ending = block_on(person.ending()).unwrap();
    assert_eq!(ending.status, Status::Succeeded);
}

#[test]
fn an_answer_for_other_arguments_grants_nothing() {
    let world = World::new().unwrap();
    let process = world.process(1, Faults::none()).unwrap();
    block_on(until_asked(&world, &process));
    let approval = asked(&process);
    let told = Told::Approval {
        approval: approval.clone(),
        proposal: Digest::of(b"other arguments"),
        granted: true,
        by: "me".to_owned(),
        reason: None,
    };
    let payload = told.signal(0).unwrap().payload;
    let id = SignalId::new("for_other_arguments").unwrap();
    block_on(async {
        let signal = Signal { id, payload };
        let sent = world.runtime().signal(world.run(), signal).await;
        sent.unwrap();
        process.deliver().await;
        let state = process.view().await.unwrap().state;
        let call = state.call(&approval).unwrap();
        assert_eq!(call.status, CallStatus::AwaitingApproval);
        assert_eq!(times(&world, "pay"), 0);
        let harness = process.harness();
        harness.decide(&approval, true, "me", None).await.unwrap();
        process.deliver().await;
    });
    assert_eq!(times(&world, "pay"), 1);
}

#[test]
fn an_agent_that_asks_again_after_a_denial_needs_another_approval() {
    let turns = vec![
        turn("pay", &["pay"], false),
        turn("pay", &["pay"], false),
        turn("then I do not", &[], true),
    ];
    let world = World::saying(turns).unwrap();
    let process = world.process(1, Faults::none()).unwrap();
    block_on(until_asked(&world, &process));
    let mut questions = Vec::new();
    for _denial in 0..2 {
        let approval = asked(&process);
        block_on(async {
            let harness = process.harness();
            harness.decide(&approval, false, "me", None).await.unwrap();
            process.deliver().await;
        });
        questions.push(approval);
    }
    assert_ne!(questions.first(), questions.last());
    assert!(world.acted().is_empty());
    let ending = block_on(process.ending()).unwrap();
    assert_eq!(ending.status, Status::Succeeded);
}

//! Strict replays: the same end, and nothing happens; or where another agent deviates.

use futures_executor::block_on;
use seaworthy_core::Start;
use seaworthy_core::descriptor::Materialised;
use seaworthy_core::event::{Event, WaitReason};
use seaworthy_core::replay::{Mode, Part, Replay};
use seaworthy_core::state::{Outcome, Status};
use seaworthy_fakes::{FakeModel, Faults, Step};
use seaworthy_simulation::{World, reproduce, run_out, turn};
use std::sync::Arc;

use crate::stage::{by_other, deviation, ended, events, id, replay, run, state};

#[test]
fn a_strict_replay_comes_to_the_same_end_and_does_nothing() {
    let world = ended(None);
    block_on(reproduce(&world, 5)).unwrap();
}

#[test]
fn a_strict_replay_of_a_replay_comes_to_the_same_end() {
    let world = ended(None);
    block_on(reproduce(&world, 5)).unwrap();
    let again = world.about(id("replay_of_simulated"));
    block_on(reproduce(&again, 6)).unwrap();
}

#[test]
fn a_strict_replay_says_where_another_agent_deviates() {
    let world = ended(None);
    let acted = world.acted();
    let first = {
        let process = world.process(50, Faults::none()).unwrap();
        let mut events = events(&process, world.run()).into_iter();
        events
            .find(|(_seq, event)| matches!(event, Event::ModelCalled(_)))
            .unwrap()
            .0
    };
    let agent = |run: &str, change: fn(World) -> World| {
        let start = change(world.clone()).start("go").unwrap();
        let strict = Replay {
            agent: Some((start.descriptor, start.base_dir)),
            ..replay(&world, run, Mode::Strict, 1)
        };
        let (process, state) = self::run(&world, strict);
        deviation(&process, &state)
    };
    let deviated = agent("told", |world| {
        world.with_agent(|agent| agent.instructions = "Work hard.".to_owned())
    });
    assert_eq!((deviated.part, deviated.at), (Part::Instructions, first));
    assert!(deviated.found.contains("hard"));
    let deviated = agent("less", |world| {
        world.with_agent(|agent| {
            agent.tools.pop();
        })
    });
    assert_eq!((deviated.part, deviated.at), (Part::Tools, first));
    let strict = by_other(replay(&world, "other", Mode::Strict, 1));
    let (process, state) = run(&world, strict);
    let deviated = deviation(&process, &state);
    assert_eq!((deviated.part, deviated.at), (Part::Model, first));
    assert_eq!(world.acted(), acted);
}

/// The descriptor with another risk of the tool `send`, which no model sees.
fn with_risky_send(descriptor: &Materialised) -> Materialised {
    fn raise(value: &mut serde_json::Value) -> bool {
        match value {
            serde_json::Value::Object(members) => match members.get_mut("risk") {
                Some(risk) => {
                    let other = if risk == "high" { "low" } else { "high" };
                    *risk = other.into();
                    true
                }
                None => members.values_mut().any(raise),
            },
            _ => false,
        }
    }
    let mut value = serde_json::to_value(descriptor).unwrap();
    assert!(raise(value.pointer_mut("/tools/send").unwrap()));
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_strict_replay_notices_a_tool_that_only_its_definition_tells_apart() {
    let world = ended(None);
    let start = world.start("go").unwrap();
    let strict = Replay {
        agent: Some((with_risky_send(&start.descriptor), start.base_dir)),
        ..replay(&world, "strict", Mode::Strict, 1)
    };
    let (process, state) = run(&world, strict);
    let deviated = deviation(&process, &state);
    assert_eq!(deviated.part, Part::Call);
    let events = events(&process, world.run());
    let mut at = events.iter().filter(|(seq, _event)| *seq == deviated.at);
    let (_seq, event) = at.next().unwrap();
    assert!(matches!(event, Event::ToolProposed(proposal) if proposal.tool == "send"));
}

#[test]
fn a_run_that_failed_and_was_reopened_is_reproduced_with_all_its_turns() {
    let world = World::new().unwrap();
    let process = world.process(1, Faults::none()).unwrap();
    let mut start = world.start("go").unwrap();
    start.descriptor.runtime.max_turns = 2;
    block_on(async {
        process.harness().start(start).await.unwrap();
        loop {
            let state = run_out(&process).await.unwrap();
            match &state.outcome {
                Some(Outcome::Failed { code, .. }) => {
                    assert_eq!(code, "max_turns");
                    process.harness().reopen(world.run(), "me").await.unwrap();
                }
                Some(_) => break,
                None => process.answer(&state).await.unwrap(),
            }
        }
        reproduce(&world, 5).await.unwrap();
    });
    let replayed = state(&world.about(id("replay_of_simulated")));
    assert_eq!(replayed.reopened, 2);
}

#[test]
fn a_run_that_failed_or_was_cancelled_is_reproduced_to_that_end() {
    let world = World::saying(vec![turn("look", &["look", "pay"], true)]).unwrap();
    let process = world.process(1, Faults::none()).unwrap();
    block_on(async {
        process.start().await.unwrap();
        let state = run_out(&process).await.unwrap();
        assert_eq!(state.waiting.unwrap().reason, WaitReason::Approval);
        process.answer(&state).await.unwrap();
        let state = run_out(&process).await.unwrap();
        assert!(matches!(state.outcome, Some(Outcome::Failed { .. })));
        reproduce(&world, 5).await.unwrap();
        // Cancelled while it waits.
        let other = world.about(id("cancelled"));
        let process = other.process(2, Faults::none()).unwrap();
        process.start().await.unwrap();
        run_out(&process).await.unwrap();
        let harness = process.harness();
        harness.cancel(other.run(), "me", None).await.unwrap();
        reproduce(&other, 6).await.unwrap();
    });
}

#[test]
fn a_replay_sees_the_session_as_its_source_saw_it_and_adds_nothing() {
    let world = ended(Some(vec![
        turn("first", &[], true),
        turn("second", &[], true),
    ]));
    let second = world.about(id("second"));
    let start = Start {
        session: world.start("go").unwrap().session,
        ..second.start("and now?").unwrap()
    };
    let process = second.process(2, Faults::none()).unwrap();
    let session = start.session.clone().unwrap();
    block_on(async {
        process.harness().start(start).await.unwrap();
        run_out(&process).await.unwrap();
        reproduce(&second, 5).await.unwrap();
    });
    let head = || {
        let log = seaworthy_ports::LogId::session(&session);
        block_on(process.harness().ports().state_store.head(&log)).unwrap()
    };
    let before = head();
    let other = FakeModel::new([Step::says("otherwise")
        .when("the session's two messages come first", |request| {
            request.messages.len() == 3 && request.messages[1].text() == "first"
        })]);
    let world = second.with_other("other", Arc::new(other.clone()));
    let (_process, state) = run(&world, by_other(replay(&world, "hybrid", Mode::Hybrid, 1)));
    other.assert_all_used();
    assert_eq!(state.status(), Status::Succeeded);
    assert_eq!(head(), before);
}

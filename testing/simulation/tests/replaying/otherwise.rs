//! Replays that go their own way: what they take from the record and what they do themselves.

use futures_executor::block_on;
use futures_util::StreamExt as _;
use seaworthy_core::event::{Event, WaitReason};
use seaworthy_core::record::Link;
use seaworthy_core::replay::{Mode, Replay, Unmatched};
use seaworthy_core::state::{CallStatus, Status};
use seaworthy_fakes::{Faults, TableTurn};
use seaworthy_ports::RunId;
use seaworthy_ports::model_provider::Usage;
use seaworthy_simulation::{Process, run_out, turn};
use std::collections::BTreeSet;

use crate::stage::{
    by_other, changes, ended, events, replay, run, run_through, short, state, with_other,
};

#[test]
fn from_every_record_on_a_hybrid_replay_with_the_same_answers_does_nothing() {
    let world = ended(None);
    let (acted, source) = (world.acted(), state(&world));
    for from in 1..=source.link.seq.0 + 1 {
        let name = format!("hybrid_{from}");
        let (process, state) = run(&world, replay(&world, &name, Mode::Hybrid, from));
        assert_eq!(state.outcome, source.outcome, "from {from}");
        assert!(state.messages == source.messages, "from {from}");
        assert_eq!(world.acted(), acted, "from {from}");
        assert!(
            state
                .calls
                .values()
                .all(|call| call.replayed.is_some() || call.has_ended())
        );
        assert!(block_on(process.ending()).is_ok());
    }
    assert_eq!(state(&world), source, "the source is as it was");
}

#[test]
fn from_every_record_on_a_live_replay_repeats_nothing_that_the_source_recorded_before() {
    let source = state(&ended(short()));
    for from in 1..=source.link.seq.0 + 1 {
        let world = ended(short());
        let before = world.acted();
        let recorded: BTreeSet<u32> = block_on(async {
            let process = world.process(98, Faults::none()).unwrap();
            let ended = events_until(&process, world.run(), from).await;
            ended.into_iter().collect()
        });
        let (_process, state) = run_through(&world, replay(&world, "live", Mode::Live, from));
        assert_eq!(state.outcome, source.outcome, "from {from}");
        for (key, times) in &before {
            assert_eq!(world.acted().get(key), Some(times), "from {from}: {key}");
        }
        for (number, call) in &state.calls {
            let taken = recorded.contains(number);
            assert_eq!(call.replayed.is_some(), taken, "from {from}: call {number}");
            let key = format!("{} {}", call.proposal.tool, call.proposal.idempotency_key);
            let happened = world.acted().get(&key).copied().unwrap_or(0);
            let made = matches!(call.status, CallStatus::Succeeded { .. }) && !taken;
            assert_eq!(happened, u32::from(made), "from {from}: {key}");
        }
    }
}

/// The calls of `run` that had ended before the record `from`.
async fn events_until(process: &Process, run: &RunId, from: u64) -> Vec<u32> {
    let mut records = process.harness().records(run, Link::default());
    let mut ended = Vec::new();
    while let Some(loaded) = records.next().await {
        let loaded = loaded.unwrap();
        if loaded.link.seq.0 >= from {
            break;
        }
        match loaded.envelope.event().unwrap() {
            Event::ToolSucceeded { call, .. } | Event::ToolFailed { call, .. } => {
                ended.extend(seaworthy_core::state::call_number(&call));
            }
            Event::ApprovalDecided {
                approval,
                granted: false,
                ..
            } => ended.extend(seaworthy_core::state::call_number(&approval)),
            _ => {}
        }
    }
    ended
}

#[test]
fn grants_of_the_source_are_no_grants_of_a_live_replay() {
    let world = ended(None);
    let (_process, state) = run(&world, replay(&world, "live", Mode::Live, 1));
    let waiting = state.waiting.unwrap();
    assert_eq!(waiting.reason, WaitReason::Approval);
}

#[test]
fn another_model_gets_recorded_results_and_changes_nothing() {
    let other = vec![
        // `send` as recorded, `look` as never before, `shout` as never before.
        TableTurn {
            text: "other words".to_owned(),
            calls: [
                turn("look around", &["look", "store", "send"], true).calls,
                turn("new", &["look", "shout"], true).calls,
            ]
            .concat(),
        },
        turn("done otherwise", &[], true),
    ];
    let world = with_other(ended(None), other);
    let before = changes(&world);
    let hybrid = by_other(replay(&world, "hybrid", Mode::Hybrid, 1));
    let (process, state) = run(&world, hybrid);
    assert_eq!(state.status(), Status::Succeeded);
    assert_eq!(changes(&world), before);
    let calls: Vec<(&str, bool)> = state
        .calls
        .values()
        .map(|call| (call.status.as_str(), call.replayed.is_some()))
        .collect();
    let expected = [
        ("succeeded", true),
        ("succeeded", true),
        ("succeeded", true),
        ("succeeded", false),
        ("failed_no_effect", false),
    ];
    assert_eq!(calls, expected);
    let asked = events(&process, state.run()).into_iter();
    let asked = asked.filter(|(_seq, event)| matches!(event, Event::ModelCalled(_)));
    assert_eq!(asked.count(), 2);
    assert_ne!(state.usage, Usage::default());
}

#[test]
fn a_recorded_result_is_given_once() {
    let twice = TableTurn {
        text: "pay twice".to_owned(),
        calls: [
            turn("pay", &["pay"], true).calls,
            turn("pay", &["pay"], true).calls,
        ]
        .concat(),
    };
    let once = vec![turn("pay", &["pay"], true), turn("done", &[], true)];
    let world = with_other(ended(Some(once)), vec![twice, turn("done", &[], true)]);
    let before = changes(&world);
    let (_process, state) = run(&world, by_other(replay(&world, "hybrid", Mode::Hybrid, 1)));
    assert_eq!(changes(&world), before);
    let statuses: Vec<&str> = state
        .calls
        .values()
        .map(|call| call.status.as_str())
        .collect();
    assert_eq!(statuses, ["succeeded", "failed_no_effect"]);
}

#[test]
fn a_call_that_is_not_on_record_waits_for_a_person_where_that_is_the_rule() {
    let other = vec![turn("new", &["shout"], true), turn("done", &[], true)];
    let world = with_other(ended(None), other);
    let before = changes(&world);
    let hybrid = Replay {
        unmatched: Unmatched::Ask,
        grants_all: Some("everybody".to_owned()),
        ..by_other(replay(&world, "hybrid", Mode::Hybrid, 1))
    };
    let (process, state) = run(&world, hybrid);
    assert_eq!(state.waiting.unwrap().reason, WaitReason::Approval);
    assert_eq!(changes(&world), before);
    block_on(process.answer(&state)).unwrap();
    let state = block_on(run_out(&process)).unwrap();
    assert_eq!(state.status(), Status::Succeeded);
    assert_eq!(changes(&world).len(), before.len() + 1);
}

#[test]
fn what_lies_before_the_first_compared_record_may_differ() {
    let world = ended(None);
    let source = state(&world);
    let start = world
        .clone()
        .with_agent(|agent| agent.instructions = "Work hard.".to_owned())
        .start("go")
        .unwrap();
    let strict = Replay {
        agent: Some((start.descriptor, start.base_dir)),
        ..replay(&world, "strict", Mode::Strict, source.link.seq.0 + 1)
    };
    let (_process, state) = run(&world, strict);
    assert_eq!(state.outcome, source.outcome);
}

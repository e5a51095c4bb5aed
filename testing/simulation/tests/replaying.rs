//! Runs that begin with what another run recorded.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what cannot be built is a failed test"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_executor::block_on;
use futures_util::StreamExt as _;
use seaworthy_core::Start;
use seaworthy_core::descriptor::{Materialised, ModelOverride};
use seaworthy_core::event::{Event, WaitReason};
use seaworthy_core::harness::HarnessError;
use seaworthy_core::record::Link;
use seaworthy_core::replay::{
    DEVIATED, Deviated, Mode, Part, Replay, ReplayError, SOURCE, Unmatched,
};
use seaworthy_core::state::{CallStatus, Outcome, RunState, Status};
use seaworthy_fakes::{FakeModel, Fault, Faults, SeededEntropy, Step, TableModel, TableTurn};
use seaworthy_ports::RunId;
use seaworthy_ports::entropy::Entropy as _;
use seaworthy_ports::model_provider::Usage;
use seaworthy_ports::state_store::Seq;
use seaworthy_simulation::{Effects, Plan, Process, World, reproduce, run_out, turn};

fn id(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

/// A world whose run has ended.
fn ended(turns: Option<Vec<TableTurn>>) -> World {
    let world = turns.map_or_else(World::new, World::saying).unwrap();
    block_on(world.finish(1)).unwrap();
    world
}

/// A shorter run with tools of every sort, for tests that live through it often.
fn short() -> Option<Vec<TableTurn>> {
    Some(vec![
        turn("do", &["store", "send", "pay"], true),
        turn("pay once more", &["pay", "unknown"], false),
        turn("shout", &["shout"], true),
        turn("all done", &[], true),
    ])
}

/// The same world, in which the alias `main` may be asked as `other`, which says these.
fn with_other(world: World, turns: Vec<TableTurn>) -> World {
    world.with_other("other", Arc::new(TableModel::new(turns)))
}

fn replay(world: &World, run: &str, mode: Mode, from: u64) -> Replay {
    Replay {
        run: Some(id(run)),
        mode,
        from: Seq(from),
        ..Replay::new(world.run().clone())
    }
}

fn by_other(replay: Replay) -> Replay {
    Replay {
        models: vec![ModelOverride::parse("main=openai:other").unwrap()],
        ..replay
    }
}

/// Starts a replay and runs it until it has ended or waits.
fn run(world: &World, replay: Replay) -> (Process, RunState) {
    let process = world
        .about(replay.run.clone().unwrap())
        .process(7, Faults::none())
        .unwrap();
    block_on(async {
        process.harness().replay(replay).await.unwrap();
        let state = run_out(&process).await.unwrap();
        (process, state)
    })
}

/// The same, with everything granted and resolved that it waits for.
fn run_through(world: &World, replay: Replay) -> (Process, RunState) {
    let (process, mut state) = run(world, replay);
    block_on(async {
        for _round in 0..20 {
            if state.outcome.is_some() {
                break;
            }
            process.answer(&state).await.unwrap();
            state = run_out(&process).await.unwrap();
        }
    });
    (process, state)
}

fn state(world: &World) -> RunState {
    let process = world.process(99, Faults::none()).unwrap();
    block_on(process.view()).unwrap().state
}

fn events(process: &Process, run: &RunId) -> Vec<(Seq, Event)> {
    let records = process.harness().records(run, Link::default());
    block_on(
        records
            .map(|loaded| {
                let loaded = loaded.unwrap();
                (loaded.link.seq, loaded.envelope.event().unwrap())
            })
            .collect(),
    )
}

fn deviation(process: &Process, state: &RunState) -> Deviated {
    match &state.outcome {
        Some(Outcome::Failed { code, .. }) => assert_eq!(code, DEVIATED),
        other => panic!("{other:?}"),
    }
    let mut deviations = events(process, state.run()).into_iter();
    let found = deviations.find_map(|(_seq, event)| match event {
        Event::ReplayDeviated(deviated) => Some(*deviated),
        _ => None,
    });
    found.unwrap()
}

/// What happened that is more than looking.
fn changes(world: &World) -> Effects {
    let mut acted = world.acted();
    acted.retain(|name, _times| !name.starts_with("look "));
    acted
}

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

#[test]
fn crashes_anywhere_in_a_replay_change_neither_its_end_nor_what_happens() {
    let other = || {
        vec![
            turn("do", &["store", "send", "pay"], true),
            turn("new", &["store", "shout"], true),
            turn("done otherwise", &[], true),
        ]
    };
    for (mode, from) in [(Mode::Strict, 1), (Mode::Hybrid, 8), (Mode::Live, 15)] {
        let hybrid = |world: &World| match mode {
            Mode::Strict => replay(world, "again", mode, from),
            _ => by_other(replay(world, "again", mode, from)),
        };
        let world = with_other(ended(short()), other());
        let process = world.about(id("again"));
        let faults = Faults::none();
        let process = process.process(7, faults.clone()).unwrap();
        let expected = block_on(async {
            process.harness().replay(hybrid(&world)).await.unwrap();
            run_out(&process).await.unwrap()
        });
        let (acted, calls) = (changes(&world), faults.calls().len());
        for call in 0..calls {
            for fault in [Fault::CrashBefore, Fault::CrashAfter] {
                let place = format!("{mode:?}, {fault:?} at call {call}");
                let world = with_other(ended(short()), other());
                let again = world.about(id("again"));
                let faults = Faults::at([(call, fault)]);
                let first = again.process(7, faults.clone()).unwrap();
                let state = block_on(async {
                    crashing(&first, &faults, &hybrid(&world)).await;
                    let second = again.process(8, Faults::none()).unwrap();
                    second.harness().replay(hybrid(&world)).await.unwrap();
                    let mut state = run_out(&second).await.unwrap();
                    for _round in 0..10 {
                        if state
                            .waiting
                            .is_none_or(|it| it.reason == WaitReason::Approval)
                        {
                            break;
                        }
                        second.answer(&state).await.unwrap();
                        state = run_out(&second).await.unwrap();
                    }
                    state
                });
                assert_eq!(state.outcome, expected.outcome, "{place}");
                assert!(state.messages == expected.messages, "{place}");
                let times: Vec<u32> = changes(&world)
                    .into_iter()
                    .filter(|(name, _times)| !name.starts_with("store "))
                    .map(|(_name, times)| times)
                    .collect();
                assert!(times.iter().all(|times| *times == 1), "{place}");
                assert_eq!(changes(&world).len(), acted.len(), "{place}");
            }
        }
    }
}

/// Starts and delivers until the process dies, or the run rests.
async fn crashing(process: &Process, faults: &Faults, replay: &Replay) {
    use futures_util::future::select;
    let life = std::pin::pin!(async {
        if process.harness().replay(replay.clone()).await.is_ok() {
            let _state = run_out(process).await;
        }
    });
    let dead = faults.dead();
    let death = std::pin::pin!(dead.wait());
    select(life, death).await;
}

#[test]
fn no_model_whatsoever_makes_a_hybrid_replay_change_anything() {
    let first = SeededEntropy::new(3).bits();
    for seed in 0..60_u64 {
        let turns = Plan::new(seed).turns;
        let world = with_other(ended(Some(turns.clone())), mixed(seed, turns));
        let (before, source) = (changes(&world), state(&world));
        let from = 1 + (first.rotate_left(seed as u32) % u128::from(source.link.seq.0 + 1)) as u64;
        let hybrid = by_other(replay(&world, "hybrid", Mode::Hybrid, from));
        let (_process, end) = run_through(&world, hybrid);
        assert_eq!(changes(&world), before, "seed {seed}, from {from}");
        assert_eq!(
            state(&world),
            source,
            "seed {seed}: the source is as it was"
        );
        assert_eq!(end.waiting, None, "seed {seed}, from {from}");
    }
}

/// Turns of two plans, by chance, and then the end.
fn mixed(seed: u64, recorded: Vec<TableTurn>) -> Vec<TableTurn> {
    let other = Plan::new(seed + 1000).turns;
    let chance = SeededEntropy::new(seed);
    let mut turns: Vec<TableTurn> = recorded
        .into_iter()
        .chain(other)
        .filter(|turn| !turn.calls.is_empty() && !chance.bits().is_multiple_of(3))
        .collect();
    turns.extend(std::iter::repeat_n(turn("done", &[], true), 20));
    turns
}

#[test]
fn what_cannot_be_replayed_is_refused_and_leaves_nothing() {
    let world = ended(None);
    let head = state(&world).link.seq.0;
    let process = world.process(60, Faults::none()).unwrap();
    let refused = |replay: Replay| match block_on(process.harness().replay(replay)) {
        Err(HarnessError::Replay(why)) => why,
        other => panic!("{other:?}"),
    };
    for from in [0, head + 2] {
        let why = refused(replay(&world, "none", Mode::Hybrid, from));
        assert!(matches!(why, ReplayError::NoPlace { records, .. } if records == head));
    }
    let fresh = World::new().unwrap();
    let unfinished = fresh.process(1, Faults::none()).unwrap();
    block_on(unfinished.start()).unwrap();
    let strict = block_on(
        unfinished
            .harness()
            .replay(replay(&fresh, "none", Mode::Strict, 1)),
    );
    assert!(matches!(
        strict,
        Err(HarnessError::Replay(ReplayError::NotEnded { .. }))
    ));
    let unknown = Replay::new(id("nobody"));
    assert!(matches!(
        block_on(process.harness().replay(unknown)),
        Err(HarnessError::UnknownRun(_))
    ));
    let nothing = world.about(id("none")).process(61, Faults::none()).unwrap();
    assert!(block_on(nothing.view()).is_err());
}

#[test]
fn a_replay_is_started_once_however_often_it_is_asked_for() {
    let world = ended(None);
    let (process, _state) = run(&world, replay(&world, "again", Mode::Strict, 1));
    let again = |replay: Replay| block_on(process.harness().replay(replay));
    assert!(
        again(replay(&world, "again", Mode::Strict, 1))
            .unwrap()
            .existing
    );
    assert!(matches!(
        again(replay(&world, "again", Mode::Strict, 2)),
        Err(HarnessError::Mismatch { .. })
    ));
}

#[test]
fn a_replay_whose_source_is_gone_fails_and_says_so() {
    let world = ended(None);
    let process = world.about(id("again")).process(7, Faults::none()).unwrap();
    block_on(
        process
            .harness()
            .replay(replay(&world, "again", Mode::Strict, 1)),
    )
    .unwrap();
    let log = seaworthy_core::log::run_log(world.run());
    block_on(process.harness().ports().state_store.delete(&log)).unwrap();
    let state = block_on(run_out(&process)).unwrap();
    let Some(Outcome::Failed { code, .. }) = state.outcome else {
        panic!("{:?}", state.outcome)
    };
    assert_eq!(code, SOURCE);
}

#[test]
fn runs_are_compared_by_what_they_did() {
    let other = vec![
        turn("look around", &["look", "store", "send"], true),
        turn("new", &["look"], true),
        turn("done otherwise", &[], true),
    ];
    let world = with_other(ended(None), other);
    let (process, _state) = run(&world, replay(&world, "strict", Mode::Strict, 1));
    let compare =
        |right: &str| block_on(process.harness().compare(world.run(), &id(right))).unwrap();
    let same = compare("strict");
    assert!(same.same, "{:?}", same.first);
    assert!(
        same.sections
            .iter()
            .all(|section| section.changes.is_empty())
    );
    let tokens = |comparison: &seaworthy_core::compare::Comparison| {
        let mut measures = comparison.measures.iter();
        let tokens = measures
            .find(|measure| measure.name == "output_tokens")
            .unwrap();
        (tokens.left.unwrap(), tokens.right.unwrap())
    };
    let (left, right) = tokens(&same);
    assert_eq!((left.taken, right.taken), (0, left.total));
    assert_eq!(left.total, right.total);

    run(&world, by_other(replay(&world, "hybrid", Mode::Hybrid, 1)));
    let compared = compare("hybrid");
    assert!(!compared.same);
    // Another model answers from the first request on.
    let first = compared.first.as_ref().unwrap();
    assert_eq!(first.answers, 0);
    assert_eq!(first.section.as_str(), "model_calls");
    let calls = compared.sections.iter();
    let mut calls = calls.filter(|section| section.section.as_str() == "tool_calls");
    let calls = calls.next().unwrap();
    assert_eq!((calls.left, calls.right), (10, 4));
    assert_eq!(
        calls.changes.len(),
        7,
        "three are shared: {:?}",
        calls.changes
    );
}

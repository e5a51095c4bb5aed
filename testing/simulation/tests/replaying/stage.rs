//! Worlds whose run has ended, and replays of it.

use futures_executor::block_on;
use futures_util::StreamExt as _;
use seaworthy_core::descriptor::ModelOverride;
use seaworthy_core::event::Event;
use seaworthy_core::record::Link;
use seaworthy_core::replay::{DEVIATED, Deviated, Mode, Replay};
use seaworthy_core::state::{Outcome, RunState};
use seaworthy_fakes::{Faults, TableModel, TableTurn};
use seaworthy_ports::RunId;
use seaworthy_ports::state_store::Seq;
use seaworthy_simulation::{Effects, Process, World, run_out, turn};
use std::sync::Arc;

pub(crate) fn id(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

/// A world whose run has ended.
pub(crate) fn ended(turns: Option<Vec<TableTurn>>) -> World {
    let world = turns.map_or_else(World::new, World::saying).unwrap();
    block_on(world.finish(1)).unwrap();
    world
}

/// A shorter run with tools of every sort, for tests that live through it often.
pub(crate) fn short() -> Option<Vec<TableTurn>> {
    Some(vec![
        turn("do", &["store", "send", "pay"], true),
        turn("pay once more", &["pay", "unknown"], false),
        turn("shout", &["shout"], true),
        turn("all done", &[], true),
    ])
}

/// The same world, in which the alias `main` may be asked as `other`, which says these.
pub(crate) fn with_other(world: World, turns: Vec<TableTurn>) -> World {
    world.with_other("other", Arc::new(TableModel::new(turns)))
}

pub(crate) fn replay(world: &World, run: &str, mode: Mode, from: u64) -> Replay {
    Replay {
        run: Some(id(run)),
        mode,
        from: Seq(from),
        ..Replay::new(world.run().clone())
    }
}

pub(crate) fn by_other(replay: Replay) -> Replay {
    Replay {
        models: vec![ModelOverride::parse("main=openai:other").unwrap()],
        ..replay
    }
}

/// Starts a replay and runs it until it has ended or waits.
pub(crate) fn run(world: &World, replay: Replay) -> (Process, RunState) {
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
pub(crate) fn run_through(world: &World, replay: Replay) -> (Process, RunState) {
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

pub(crate) fn state(world: &World) -> RunState {
    let process = world.process(99, Faults::none()).unwrap();
    block_on(process.view()).unwrap().state
}

pub(crate) fn events(process: &Process, run: &RunId) -> Vec<(Seq, Event)> {
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

pub(crate) fn deviation(process: &Process, state: &RunState) -> Deviated {
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
pub(crate) fn changes(world: &World) -> Effects {
    let mut acted = world.acted();
    acted.retain(|name, _times| !name.starts_with("look "));
    acted
}

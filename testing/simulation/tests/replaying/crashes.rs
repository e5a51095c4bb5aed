//! Replays whose processes die, and replays by whatever model.

use futures_executor::block_on;
use seaworthy_core::event::WaitReason;
use seaworthy_core::replay::{Mode, Replay};
use seaworthy_fakes::{Fault, Faults, SeededEntropy, TableTurn};
use seaworthy_ports::entropy::Entropy as _;
use seaworthy_simulation::{Plan, Process, World, run_out, turn};

use crate::stage::{by_other, changes, ended, id, replay, run_through, short, state, with_other};

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

//! What cannot be replayed, and what runs are compared by.

use futures_executor::block_on;
use seaworthy_core::harness::HarnessError;
use seaworthy_core::replay::{Mode, Replay, ReplayError, SOURCE};
use seaworthy_core::state::Outcome;
use seaworthy_fakes::Faults;
use seaworthy_simulation::{World, run_out, turn};

use crate::stage::{by_other, ended, id, replay, run, state, with_other};

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

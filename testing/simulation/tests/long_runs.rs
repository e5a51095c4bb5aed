//! Case 51: what grows with a run, and what must not.

mod support;

use futures_executor::block_on;
use seaworthy_core::log::{self, Covered};
use seaworthy_core::state::Status;
use seaworthy_fakes::Faults;
use seaworthy_ports::RunId;
use seaworthy_ports::checkpoint_store::{Checkpoint, CheckpointKind, DeleteCheckpoints};
use seaworthy_ports::state_store::Seq;
use seaworthy_simulation::{Process, World, turn};
use support::times;

#[test]
fn a_thousand_parallel_calls_each_happen_once() {
    let turns = vec![
        turn("very many", &["store"; 1000], true),
        turn("done", &[], true),
    ];
    let world = World::saying(turns).unwrap();
    let ending = block_on(world.finish(1)).unwrap();
    assert_eq!(ending.status, Status::Succeeded);
    assert_eq!(ending.calls.len(), 1000);
    assert_eq!(times(&world, "store"), 1000);
}

#[test]
fn the_last_turn_of_ten_thousand_records_costs_as_many_port_calls_as_the_first() {
    const TURNS: usize = 62;
    let mut turns = vec![turn("work", &["store"; 40], true); TURNS];
    turns.push(turn("done", &[], true));
    let world = World::saying(turns).unwrap();
    let faults = Faults::none();
    let process = world.process(1, faults.clone()).unwrap();
    let ending = block_on(async {
        while !process.live_once().await.unwrap() {}
        process.ending().await.unwrap()
    });
    assert_eq!(ending.status, Status::Succeeded);
    // What lies between two calls of the model, without snapshots, which not every turn writes.
    let calls: Vec<&str> = faults.calls();
    let of_turns: Vec<usize> = calls
        .split(|name| *name == "model stream")
        .map(|turn| turn.iter().filter(|name| !name.starts_with("checkpoint")))
        .map(Iterator::count)
        .collect();
    let (first, last) = (of_turns.get(2).unwrap(), of_turns.get(TURNS - 1).unwrap());
    assert_eq!(first, last, "{of_turns:?}");
    let view = block_on(process.view()).unwrap();
    let head = view.state.link.seq;
    assert!(head.0 > 9_900, "there are {head} records");
    // A worker that takes the run up folds only the few records behind the newest snapshot.
    let newest = newest_snapshot(&process, world.run());
    let turn = (head.0 / TURNS as u64) + 1;
    assert!(
        head.0 - newest.seq.0 <= 256 + turn,
        "{} of {head}",
        newest.seq
    );
}

#[test]
fn snapshots_continue_each_other_and_without_one_of_them_the_records_are_read() {
    let mut turns = vec![turn("work", &["store"; 40], true); 8];
    turns.push(turn("done", &[], true));
    let world = World::saying(turns).unwrap();
    let process = world.process(1, Faults::none()).unwrap();
    block_on(async { while !process.live_once().await.unwrap() {} });
    let run = world.run();
    // It compares what the snapshots say with what the records say.
    let verify = || block_on(process.harness().verify(run)).unwrap().faults;
    assert_eq!(verify(), Vec::<String>::new());
    let newest = newest_snapshot(&process, run);
    let ports = process.harness().ports();
    let deleted = block_on(ports.checkpoint_store.delete(DeleteCheckpoints {
        run: run.clone(),
        kind: Some(CheckpointKind::Fold),
        before: Some(newest.seq),
    }));
    assert!(deleted.unwrap() > 0, "the newest is the only one");
    assert_eq!(verify(), Vec::<String>::new());
    let (_state, covered) = block_on(log::load_to_write(ports, run)).unwrap().unwrap();
    assert_eq!(covered, Covered::default());
}

#[expect(clippy::unwrap_used, reason = "what is not there is a failed test")]
fn newest_snapshot(process: &Process, run: &RunId) -> Checkpoint {
    let checkpoints = &process.harness().ports().checkpoint_store;
    let newest = checkpoints.latest(run, CheckpointKind::Fold, Seq(u64::MAX));
    block_on(newest).unwrap().unwrap()
}

//! Case 51: what grows with a run, and what must not.

mod support;

use futures_executor::block_on;
use seaworthy_core::state::Status;
use seaworthy_fakes::Faults;
use seaworthy_ports::checkpoint_store::CheckpointKind;
use seaworthy_simulation::{World, turn};
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
    // What lies between two calls of the model, without snapshots, which grow apart.
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
    // A worker that takes the run up reads the newest snapshot and at most a third of the log behind it.
    let checkpoints = &process.harness().ports().checkpoint_store;
    let newest = checkpoints.latest(world.run(), CheckpointKind::Fold, head);
    let newest = block_on(newest).unwrap().unwrap();
    assert!(
        (head.0 - newest.seq.0) * 3 <= head.0 + 3,
        "{} of {head}",
        newest.seq
    );
}

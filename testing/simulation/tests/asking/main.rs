//! Servers that ask something: the run waits for a person, and nobody else does.

#![expect(
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "what cannot be built is a failed test"
)]

mod calls;
mod keyed;
mod listed;
mod tasks;

use futures_executor::block_on;
use seaworthy_core::servers::Reply;
use seaworthy_core::state::{Call, CallStatus, RunState, Status};
use seaworthy_fakes::{FakeClock, Fault, Faults, TableTurn};
use seaworthy_ports::CallId;
use seaworthy_simulation::{Ending, Process, World, turn};
use serde_json::{Value, json};

/// A world in which a model calls these `tools` of a server that asks.
fn world(tools: &[&str]) -> World {
    saying(vec![turn("ask", tools, true), turn("all done", &[], true)])
}

fn saying(turns: Vec<TableTurn>) -> World {
    // Whoever asks would be out of time at once where it jumps.
    let world = World::saying(turns).unwrap().on_clock(&FakeClock::new());
    world.asking().unwrap()
}

/// A process without faults.
fn process(world: &World, number: u64) -> Process {
    world.process(number, Faults::none()).unwrap()
}

fn only_call(state: &RunState) -> &Call {
    state.calls.values().next().unwrap()
}

fn id(state: &RunState) -> CallId {
    only_call(state).proposal.call.clone()
}

/// What the call came to.
fn output(state: &RunState) -> &Value {
    match &only_call(state).status {
        CallStatus::Succeeded { output, .. } => output,
        other => panic!("{other:?}"),
    }
}

fn given(name: &str) -> Reply {
    Reply::Given {
        content: json!({ "name": name }),
    }
}

/// Lets others do something first.
async fn yield_once() {
    let mut is_first = true;
    std::future::poll_fn(move |context| {
        if std::mem::take(&mut is_first) {
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
}

/// What the run comes to, with these outputs of its calls, and what it asks of ports on the way.
fn undisturbed(world: &World, outputs: &[Value]) -> (Ending, Vec<&'static str>) {
    let faults = Faults::none();
    let process = world.process(1, faults.clone()).unwrap();
    let ending = block_on(async {
        while !process.live_once().await.unwrap() {}
        process.ending().await.unwrap()
    });
    assert_eq!(ending.status, Status::Succeeded);
    let came: Vec<_> = ending.calls.iter().map(|call| &call.2).collect();
    assert_eq!(came, outputs.iter().collect::<Vec<_>>());
    (ending, faults.calls())
}

/// Has the process die before and after each of these `calls`: whoever goes on comes to what was expected. `also` looks at the
/// world afterwards.
fn dies_anywhere(
    world: impl Fn() -> World,
    (expected, calls): &(Ending, Vec<&'static str>),
    also: impl Fn(&World, &str),
) {
    for (number, name) in calls.iter().enumerate() {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let place = format!("{fault:?} at call {number} ({name})");
            let world = world();
            let faults = Faults::at([(number, fault)]);
            let process = world.process(1, faults.clone()).unwrap();
            let ending = block_on(async {
                for _round in 0..100 {
                    if process.live_once().await? || faults.dead().is_set() {
                        break;
                    }
                }
                world.finish(2).await
            });
            let ending = ending.unwrap_or_else(|why| panic!("{place}: {why}"));
            assert_eq!(ending.status, expected.status, "{place}");
            assert_eq!(ending.calls, expected.calls, "{place}");
            also(&world, &place);
            assert!(
                ending.messages == expected.messages,
                "{place}: the conversations differ"
            );
        }
    }
}

//! What runs ask of persons is found while a worker has the run, too, and without reading the logs of other runs.

use std::num::NonZeroU32;

use futures_executor::block_on;
use futures_util::FutureExt as _;
use seaworthy_core::harness::Asked;
use seaworthy_core::servers::Reply;
use seaworthy_core::state::{RunState, Status};
use seaworthy_fakes::{Fault, Faults};
use seaworthy_ports::RunId;
use seaworthy_simulation::{Process, World, run_out, turn};

use crate::{process, world};

const PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

fn questions(process: &Process) -> Vec<Asked> {
    let page = block_on(process.harness().questions(PAGE, None)).unwrap();
    assert!(page.next.is_none());
    page.items
}

fn approvals(process: &Process) -> Vec<Asked> {
    block_on(process.harness().approvals(PAGE, None))
        .unwrap()
        .items
}

fn state(process: &Process) -> RunState {
    block_on(process.view()).unwrap().state
}

#[test]
fn a_question_is_listed_while_a_worker_holds_the_call_and_no_longer() {
    let world = world(&["desk__vote"]);
    let holder = process(&world, 1);
    let other = process(&world, 2);
    block_on(holder.start()).unwrap();
    let mut working = Box::pin(run_out(&holder));
    while state(&other)
        .open_calls()
        .all(|call| call.questions.is_empty())
    {
        assert!((&mut working).now_or_never().is_none());
    }
    assert_eq!(state(&other).status(), Status::Running);
    let listed = questions(&other);
    assert_eq!(listed.len(), 1);
    assert_eq!(&listed[0].run, world.run());
    assert_eq!(listed[0].call.proposal.tool, "desk__vote");
    assert!(approvals(&other).is_empty());

    let declined = other
        .harness()
        .answer(&listed[0].call.proposal.call, Reply::Declined, "tester");
    block_on(declined).unwrap();
    let ended = block_on(working).unwrap();
    assert_eq!(ended.status(), Status::Succeeded);
    assert!(questions(&other).is_empty());
}

#[test]
fn a_question_is_listed_when_the_worker_that_held_its_call_is_gone() {
    let world = world(&["desk__vote"]);
    let holder = process(&world, 1);
    block_on(holder.start()).unwrap();
    let mut working = Box::pin(run_out(&holder));
    while questions(&holder).is_empty() {
        assert!((&mut working).now_or_never().is_none());
    }
    drop(working);
    let other = process(&world, 2);
    assert_eq!(questions(&other).len(), 1);
    block_on(other.harness().cancel(world.run(), "tester", None)).unwrap();
    assert!(
        questions(&other).is_empty(),
        "nobody can answer it any more"
    );
}

#[test]
fn an_approval_is_listed_while_the_other_calls_of_the_run_are_made() {
    let turns = vec![turn("do", &["pay", "store"], true), turn("done", &[], true)];
    let world = World::saying(turns).unwrap();
    let faults = Faults::every("sandbox exec", Fault::Pause);
    let holder = world.process(1, faults.clone()).unwrap();
    let other = process(&world, 2);
    block_on(holder.start()).unwrap();
    let mut working = Box::pin(holder.deliver());
    while !faults.paused().is_set() {
        assert!((&mut working).now_or_never().is_none());
    }
    assert_eq!(state(&other).status(), Status::Running);
    let listed = approvals(&other);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].call.proposal.tool, "pay");
    assert!(questions(&other).is_empty());
}

#[test]
fn runs_that_ask_nothing_are_passed_over_by_their_heads() {
    let world = world(&["desk__survey"]);
    let first = process(&world, 1);
    block_on(async {
        first.start().await.unwrap();
        run_out(&first).await.unwrap();
        for number in 0..5 {
            let mut start = world.start("go").unwrap();
            start.run = Some(RunId::new(format!("queued_{number}")).unwrap());
            start.session = None;
            first.harness().start(start).await.unwrap();
        }
    });
    let faults = Faults::none();
    let looking = world.process(2, faults.clone()).unwrap();
    assert_eq!(questions(&looking).len(), 1);
    let calls = faults.calls();
    for (call, times) in [("list", 1), ("read", 1)] {
        let made = calls.iter().filter(|made| **made == call).count();
        assert_eq!(made, times, "{call}: {calls:?}");
    }

    // Nobody can answer it any more.
    block_on(looking.harness().cancel(world.run(), "tester", None)).unwrap();
    assert!(questions(&looking).is_empty());
}

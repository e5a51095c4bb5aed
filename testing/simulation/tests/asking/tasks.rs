//! Tasks whose servers ask something in the middle: the run waits for a person, the task for the run, and nobody else does.

use std::time::Duration;

use futures_executor::block_on;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use seaworthy_core::descriptor::TASK_TIMEOUT;
use seaworthy_core::event::{Event, WaitReason};
use seaworthy_core::harness::HarnessError;
use seaworthy_core::record::Link;
use seaworthy_core::servers::{MAX_QUESTIONS, Reply};
use seaworthy_core::state::{CallStatus, RunState, Status};
use seaworthy_fakes::{FakeClock, FakeMcpTask, McpSeen, McpStart};
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::Then;
use seaworthy_ports::mcp::{TaskStatus, TaskSupport};
use seaworthy_simulation::{Process, World, reproduce, run_out, turn};
use serde_json::json;

use crate::{dies_anywhere, given, id, only_call, output, process, undisturbed, yield_once};

use TaskStatus::{InputRequired, Working};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn task(polls: &[TaskStatus]) -> FakeMcpTask {
    FakeMcpTask::new(TaskSupport::Required, polls).with_poll_interval(20 * SECOND)
}

/// A world whose clock moves by nobody but the test.
pub(super) fn world(tools: &[&str], task: &FakeMcpTask) -> (World, FakeClock) {
    let turns = vec![turn("ask", tools, true), turn("all done", &[], true)];
    let clock = FakeClock::new();
    let world = World::saying(turns).unwrap().on_clock(&clock);
    (world.asking_in_tasks(task).unwrap(), clock)
}

async fn state(process: &Process) -> RunState {
    process.view().await.unwrap().state
}

fn seen(world: &World, wanted: &McpSeen) -> usize {
    let seen = world.desk().seen();
    seen.iter().filter(|seen| *seen == wanted).count()
}

pub(super) fn begun(world: &World, tool: &str) -> usize {
    seen(world, &McpSeen::Called(tool.to_owned()))
}

fn listened(world: &World, tool: &str) -> usize {
    seen(world, &McpSeen::Listened(tool.to_owned()))
}

pub(super) fn called_off(world: &World, tool: &str) -> usize {
    seen(world, &McpSeen::CalledOff(tool.to_owned()))
}

/// Delivers the run until it waits for a person or has ended.
pub(super) async fn pass(process: &Process, clock: &FakeClock) -> RunState {
    for _delivery in 0..2_000 {
        let then = process.deliver().await;
        let now = state(process).await;
        let waits = now.waiting.as_ref().map(|waiting| waiting.reason);
        match then {
            Some(Then::Park { .. }) if waits == Some(WaitReason::Question) => return now,
            Some(Then::Park { wake_at: Some(at) }) => clock.advance(at.since(clock.now())),
            Some(Then::Again { after }) => clock.advance(after),
            Some(Then::Park { wake_at: None } | Then::Done) | None => return now,
        }
    }
    panic!("the run is stuck");
}

/// The run of one call, as far as it gets without a person.
fn asked(tool: &str, task: &FakeMcpTask) -> (World, FakeClock, Process, RunState) {
    asked_in(world(&[tool], task))
}

pub(super) fn asked_in(
    (world, clock): (World, FakeClock),
) -> (World, FakeClock, Process, RunState) {
    let process = process(&world, 1);
    let state = block_on(async {
        process.start().await.unwrap();
        pass(&process, &clock).await
    });
    assert_eq!(
        state.waiting.as_ref().map(|waiting| waiting.reason),
        Some(WaitReason::Question),
        "{:?}",
        state.calls
    );
    (world, clock, process, state)
}

pub(super) async fn tell(process: &Process, reply: Reply) {
    let call = id(&state(process).await);
    let answered = process.harness().answer(&call, reply, "tester").await;
    answered.unwrap();
}

#[test]
fn a_task_that_asks_parks_the_run_and_another_process_goes_on_with_the_answer() {
    for tool in ["survey", "vote"] {
        let (world, clock, first, state) =
            asked(&format!("desk__{tool}"), &task(&[Working]).asking(1, &[]));
        assert!(matches!(only_call(&state).status, CallStatus::Deferred(_)));
        assert!(only_call(&state).open_question().is_some());
        assert!(world.acted().is_empty(), "it asks before it acts");
        assert_eq!(
            seen(&world, &McpSeen::Ended),
            seen(&world, &McpSeen::Started),
            "nobody holds a connection"
        );
        drop(first);

        let second = process(&world, 2);
        let listed = second.harness().questions(std::num::NonZeroU32::MIN, None);
        assert_eq!(block_on(listed).unwrap().items.len(), 1);
        let state = block_on(async {
            tell(&second, given("Ada")).await;
            pass(&second, &clock).await
        });
        assert_eq!(state.status(), Status::Succeeded);
        assert_eq!(output(&state), &json!({"heard": {"name": "Ada"}}));
        assert_eq!(only_call(&state).questions.len(), 1);
        assert_eq!(world.acted().values().copied().collect::<Vec<_>>(), [1]);
        let counts = [begun, listened, called_off].map(|count| count(&world, tool));
        assert_eq!(counts, [1, 2, 0], "{tool}");
    }
}

#[test]
fn declining_and_dismissing_are_answers_too() {
    for (reply, heard) in [
        (Reply::Declined, "declined"),
        (Reply::Dismissed, "cancelled"),
    ] {
        let (_world, clock, process, _state) = asked("desk__vote", &task(&[]).asking(1, &[]));
        let state = block_on(async {
            tell(&process, reply).await;
            pass(&process, &clock).await
        });
        assert_eq!(output(&state), &json!({ "heard": heard }));
    }
}

#[test]
fn a_model_is_called_once_for_a_task_and_only_with_leave() {
    for (reply, heard, times) in [(Reply::Granted, "ask", 1), (Reply::Declined, "refused", 0)] {
        let (world, clock, process, _state) = asked("desk__phrase", &task(&[]).asking(1, &[]));
        let state = block_on(async {
            tell(&process, reply).await;
            pass(&process, &clock).await
        });
        assert_eq!(output(&state), &json!({ "heard": heard }));
        let events = process.harness().records(world.run(), Link::default());
        let sampled = events.filter(|loaded| {
            let event = loaded.as_ref().unwrap().envelope.event().unwrap();
            std::future::ready(matches!(event, Event::QuestionSampled(_)))
        });
        assert_eq!(block_on(sampled.count()), times);
    }
}

#[test]
fn the_same_question_asked_later_is_another_one() {
    let (world, clock, process, _state) = asked("desk__vote", &task(&[]).asking(2, &[]));
    let state = block_on(async {
        tell(&process, given("Ada")).await;
        let state = pass(&process, &clock).await;
        assert_eq!(only_call(&state).questions.len(), 2);
        assert_eq!(world.acted().len(), 1, "it heard the first answer");
        tell(&process, given("Bob")).await;
        pass(&process, &clock).await
    });
    assert_eq!(output(&state), &json!({"heard": {"name": "Bob"}}));
    assert_eq!(begun(&world, "vote"), 1);
}

#[test]
fn a_server_that_keeps_asking_is_refused_in_the_end() {
    let (_world, clock, process, _state) =
        asked("desk__vote", &task(&[]).asking(MAX_QUESTIONS + 2, &[]));
    let state = block_on(async {
        for _round in 0..MAX_QUESTIONS {
            tell(&process, given("Ada")).await;
            pass(&process, &clock).await;
        }
        state(&process).await
    });
    assert_eq!(state.status(), Status::Succeeded);
    assert_eq!(only_call(&state).questions.len(), MAX_QUESTIONS);
    assert_eq!(output(&state), &json!({"heard": "cancelled"}));
}

/// Delivers the run while the clock goes on by itself.
async fn ticking(process: &Process, clock: &FakeClock) -> Option<Then> {
    let delivering = std::pin::pin!(process.deliver());
    let passing = std::pin::pin!(async {
        loop {
            for _turn in 0..20 {
                yield_once().await;
            }
            clock.advance(SECOND);
        }
    });
    match select(delivering, passing).await {
        Either::Left((then, _passing)) => then,
        Either::Right(((), _delivering)) => None,
    }
}

#[test]
fn a_server_that_has_its_answer_is_left_alone_again() {
    let working = [Working, Working];
    let (world, clock, process, _state) = asked("desk__vote", &task(&[]).asking(1, &working));
    block_on(async {
        tell(&process, given("Ada")).await;
        let parked = ticking(&process, &clock).await;
        assert!(matches!(parked, Some(Then::Park { wake_at: Some(_) })));
        let parked = state(&process).await;
        assert_eq!(
            parked.waiting.as_ref().map(|waiting| waiting.reason),
            Some(WaitReason::Task)
        );
        assert_eq!(only_call(&parked).open_question(), None);
        let state = pass(&process, &clock).await;
        assert_eq!(output(&state), &json!({"heard": {"name": "Ada"}}));
    });
    assert_eq!(listened(&world, "vote"), 2);
}

#[test]
fn a_server_that_goes_on_without_an_answer_no_longer_wants_it() {
    let polls = [InputRequired, Working];
    let (_world, clock, process, state) = asked("desk__vote", &task(&polls).asking(1, &[]));
    let call = id(&state);
    block_on(async {
        clock.advance(20 * SECOND);
        process.deliver().await;
        let working = self::state(&process).await;
        assert_eq!(only_call(&working).open_question(), None);
        let late = process.harness().answer(&call, given("Eve"), "tester");
        assert!(matches!(late.await, Err(HarnessError::Answered(_))));
        let again = pass(&process, &clock).await;
        assert_eq!(only_call(&again).questions.len(), 2);
        tell(&process, given("Ada")).await;
        let state = pass(&process, &clock).await;
        assert_eq!(output(&state), &json!({"heard": {"name": "Ada"}}));
    });
}

#[test]
fn an_answer_is_kept_for_a_server_that_is_away() {
    let (world, clock, process, _state) = asked("desk__vote", &task(&[]).asking(1, &[]));
    let state = block_on(async {
        world.desk().set_start(McpStart::Fails);
        tell(&process, given("Ada")).await;
        for _poll in 0..3 {
            process.deliver().await;
            clock.advance(300 * SECOND);
        }
        let away = state(&process).await;
        assert_eq!(only_call(&away).live_questions().len(), 1);
        world.desk().set_start(McpStart::Ready);
        pass(&process, &clock).await
    });
    assert_eq!(output(&state), &json!({"heard": {"name": "Ada"}}));
    assert_eq!(
        only_call(&state).questions.len(),
        1,
        "nobody is asked twice"
    );
}

#[test]
fn a_task_that_nobody_answers_is_ended_when_its_time_is_up() {
    let (world, clock, process, _state) = asked("desk__vote", &task(&[]).asking(1, &[]));
    let state = block_on(async {
        clock.advance(TASK_TIMEOUT);
        pass(&process, &clock).await
    });
    assert_eq!(called_off(&world, "vote"), 1);
    assert!(
        matches!(&only_call(&state).status, CallStatus::Failed { code, .. } if code == "timeout")
    );
    assert!(world.acted().is_empty());
}

#[test]
fn the_server_of_a_run_that_was_cancelled_while_it_asked_is_told() {
    let (world, _clock, process, state) = asked("desk__vote", &task(&[]).asking(1, &[]));
    let call = id(&state);
    block_on(async {
        let harness = process.harness();
        harness.cancel(world.run(), "tester", None).await.unwrap();
        assert_eq!(process.deliver().await, Some(Then::Done));
        let late = harness.answer(&call, given("Ada"), "tester").await;
        assert!(matches!(late, Err(HarnessError::WrongStatus { .. })));
    });
    assert_eq!(called_off(&world, "vote"), 1);
}

#[test]
fn a_task_that_is_lost_while_a_person_is_asked_is_in_doubt_unless_it_may_be_repeated() {
    for (tool, times) in [("vote", 1), ("survey", 2)] {
        let (world, clock, process, _state) =
            asked(&format!("desk__{tool}"), &task(&[]).asking(1, &[]));
        let state = block_on(async {
            world.desk().forget_tasks();
            tell(&process, given("Ada")).await;
            pass(&process, &clock).await
        });
        assert_eq!(begun(&world, tool), times);
        match &only_call(&state).status {
            CallStatus::InDoubt { .. } => assert_eq!(tool, "vote"),
            // The server asks anew, and whoever answered the lost task is asked again.
            CallStatus::Deferred(_) => {
                assert_eq!(tool, "survey");
                let state = block_on(async {
                    tell(&process, given("Bob")).await;
                    pass(&process, &clock).await
                });
                assert_eq!(output(&state), &json!({"heard": {"name": "Bob"}}));
            }
            other => panic!("{other:?}"),
        }
        assert!(world.acted().values().all(|times| *times == 1));
    }
}

#[test]
fn a_strict_replay_asks_nobody() {
    let (world, clock, process, _state) = asked("desk__vote", &task(&[]).asking(1, &[]));
    block_on(async {
        tell(&process, given("Ada")).await;
        assert_eq!(pass(&process, &clock).await.status(), Status::Succeeded);
        reproduce(&world, 2).await.unwrap();
    });
}

pub(super) const ALL: [&str; 3] = ["desk__survey", "desk__vote", "desk__phrase"];

fn in_tasks() -> World {
    world(&ALL, &task(&[Working]).asking(1, &[])).0
}

#[test]
fn a_crash_at_any_port_call_before_or_after_its_effect_loses_no_answer_and_does_nothing_twice() {
    let ada = json!({"heard": {"name": "Ada"}});
    let heard = [ada.clone(), ada, json!({"heard": "ask"})];
    let expected = undisturbed(&in_tasks(), &heard);
    for port in ["mcp start_task", "mcp task", "mcp task_input"] {
        assert!(expected.1.contains(&port), "the run never calls {port}");
    }
    dies_anywhere(in_tasks, &expected, |world, place| {
        let acted = world.acted();
        assert!(
            acted.values().all(|times| *times == 1),
            "{place}: {acted:?}"
        );
    });
}

#[test]
fn tasks_of_a_server_that_asks_are_listened_to_one_after_the_other() {
    let (world, clock) = world(&["desk__vote", "desk__vote"], &task(&[]).asking(1, &[]));
    let process = process(&world, 1);
    let state = block_on(async {
        process.start().await.unwrap();
        pass(&process, &clock).await;
        for _round in 0..10 {
            let now = state(&process).await;
            process.answer(&now).await.unwrap();
            pass(&process, &clock).await;
        }
        run_out(&process).await.unwrap()
    });
    assert_eq!(state.status(), Status::Succeeded);
    assert!(state.calls.values().all(|call| call.questions.len() == 1));
    assert_eq!(begun(&world, "vote"), 2);
}

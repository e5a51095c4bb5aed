//! Runs whose calls are tasks of a server: the run leaves its worker, any worker asks, and a crash changes nothing.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what cannot be built is a failed test"
)]

use std::time::Duration;

use futures_executor::block_on;
use futures_util::StreamExt as _;
use seaworthy_core::descriptor::TASK_TIMEOUT;
use seaworthy_core::event::{Event, WaitReason};
use seaworthy_core::record::Link;
use seaworthy_core::state::{CallStatus, RunState, Status};
use seaworthy_fakes::{
    FakeClock, FakeMcpTask, FakeMcpTool, Fault, Faults, McpFault, McpSeen, McpStart, TableTurn,
};
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::Then;
use seaworthy_ports::mcp::{TaskStatus, TaskSupport};
use seaworthy_simulation::{Ending, Process, World, reproduce, turn};

use TaskStatus::{Cancelled, Completed, Failed, InputRequired, Working};

const SECOND: Duration = Duration::from_secs(1);

fn task(polls: &[TaskStatus]) -> FakeMcpTask {
    FakeMcpTask::new(TaskSupport::Required, polls)
        .with_message("Gathering sources")
        .with_poll_interval(20 * SECOND)
}

/// A world whose tools `store` and `send` only have tasks like this one.
fn world(turns: Vec<TableTurn>, task: &FakeMcpTask) -> World {
    let world = World::saying(turns).unwrap().served().unwrap();
    let tool = |name| world.desk_tool(name);
    let tasks: Vec<FakeMcpTool> = ["store", "send"]
        .map(|name| tool(name).with_task(task.clone()))
        .into();
    let others = ["look", "pay"].map(tool);
    world
        .desk()
        .set_tools(others.into_iter().chain(tasks).collect());
    world
}

fn one(tool: &str) -> Vec<TableTurn> {
    vec![turn("do", &[tool], true), turn("done", &[], true)]
}

fn seen(world: &World, what: &McpSeen) -> usize {
    let seen = world.desk().seen();
    seen.iter().filter(|seen| *seen == what).count()
}

fn polled(world: &World, tool: &str) -> usize {
    seen(world, &McpSeen::Polled(tool.to_owned()))
}

fn begun(world: &World, tool: &str) -> usize {
    seen(world, &McpSeen::Called(tool.to_owned()))
}

fn called_off(world: &World, tool: &str) -> usize {
    seen(world, &McpSeen::CalledOff(tool.to_owned()))
}

async fn state(process: &Process) -> RunState {
    process.view().await.unwrap().state
}

fn status(state: &RunState) -> CallStatus {
    state.calls.values().next().unwrap().status.clone()
}

async fn events(process: &Process, world: &World) -> Vec<Event> {
    let records = process.harness().records(world.run(), Link::default());
    records
        .map(|loaded| loaded.unwrap().envelope.event().unwrap())
        .collect()
        .await
}

/// Delivers the run whenever its time has come, until it waits for something else or has ended.
async fn pass(process: &Process, clock: &FakeClock) -> RunState {
    for _delivery in 0..2_000 {
        match process.deliver().await {
            Some(Then::Park { wake_at: Some(at) }) => clock.advance(at.since(clock.now())),
            Some(Then::Again { after }) => clock.advance(after),
            Some(Then::Park { wake_at: None } | Then::Done) | None => return state(process).await,
        }
    }
    panic!("the run is stuck");
}

/// The run of `turns` as far as it gets by itself, and its events.
fn story(turns: Vec<TableTurn>, task: &FakeMcpTask) -> (World, RunState, Vec<Event>) {
    let clock = FakeClock::new();
    let world = world(turns, task).on_clock(&clock);
    let process = world.process(1, Faults::none()).unwrap();
    let (state, events) = block_on(async {
        process.start().await.unwrap();
        let state = pass(&process, &clock).await;
        (state, events(&process, &world).await)
    });
    (world, state, events)
}

fn code(state: &RunState) -> String {
    match status(state) {
        CallStatus::Failed { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_run_leaves_its_worker_and_any_worker_asks_after_the_task() {
    let clock = FakeClock::new();
    let world = world(one("desk__send"), &task(&[Working, Working, Completed])).on_clock(&clock);
    block_on(async {
        let first = world.process(1, Faults::none()).unwrap();
        first.start().await.unwrap();
        let due = clock.now().plus(20 * SECOND);
        let parked = first.deliver().await;
        assert_eq!(parked, Some(Then::Park { wake_at: Some(due) }));
        assert_eq!(first.waits_for().await.unwrap(), Some(WaitReason::Task));
        assert!(matches!(
            status(&state(&first).await),
            CallStatus::Deferred(_)
        ));
        // Nobody holds a connection meanwhile.
        assert_eq!(
            seen(&world, &McpSeen::Ended),
            seen(&world, &McpSeen::Started)
        );
        for number in 2..=3 {
            clock.advance(20 * SECOND);
            let next = world.process(number, Faults::none()).unwrap();
            let due = clock.now().plus(20 * SECOND);
            let parked = next.deliver().await;
            assert_eq!(parked, Some(Then::Park { wake_at: Some(due) }));
        }
        clock.advance(20 * SECOND);
        let last = world.process(4, Faults::none()).unwrap();
        assert_eq!(last.deliver().await, Some(Then::Done));
        assert_eq!(state(&last).await.status(), Status::Succeeded);
        let took = events(&last, &world)
            .await
            .into_iter()
            .find_map(|event| match event {
                Event::ToolSucceeded { duration_ms, .. } => Some(duration_ms),
                _ => None,
            });
        assert_eq!(took, Some(60_000));
    });
    assert_eq!(begun(&world, "send"), 1);
    assert_eq!(polled(&world, "send"), 3);
    assert!(world.once().values().all(|times| *times == 1));
}

#[test]
fn a_strict_replay_takes_what_the_task_came_to_and_asks_nobody() {
    let (world, state, events) = story(one("desk__send"), &task(&[Working, Completed]));
    assert_eq!(state.status(), Status::Succeeded);
    let is_deferred = |event: &&Event| matches!(event, Event::ToolDeferred(_));
    assert_eq!(events.iter().filter(is_deferred).count(), 2);
    let before = world.desk().seen().len();
    world.desk().set_start(McpStart::Fails);
    block_on(reproduce(&world, 9)).unwrap();
    assert_eq!(world.desk().seen().len(), before);
}

fn both() -> Vec<TableTurn> {
    vec![
        turn("do", &["desk__send", "desk__store", "desk__look"], true),
        turn("again", &["desk__send"], true),
        turn("done", &[], true),
    ]
}

async fn live(world: &World, faults: impl Fn(u64) -> Option<Faults>) -> Result<Ending, String> {
    for number in 1..100 {
        let Some(faults) = faults(number) else {
            return world.finish(number).await;
        };
        let process = world.process(number, faults.clone())?;
        for _round in 0..100 {
            if process.live_once().await? {
                return world.finish(number + 1).await;
            }
            if faults.dead().is_set() {
                break;
            }
        }
    }
    Err("no process brought the run to its end".to_owned())
}

#[test]
fn a_crash_at_any_port_call_before_or_after_its_effect_changes_nothing() {
    let world = || world(both(), &task(&[Working, Completed]));
    let undisturbed = world();
    let faults = Faults::none();
    let process = undisturbed.process(1, faults.clone()).unwrap();
    let expected = block_on(async {
        while !process.live_once().await.unwrap() {}
        process.ending().await.unwrap()
    });
    assert_eq!(expected.status, Status::Succeeded);
    assert_eq!(expected.once.values().copied().collect::<Vec<_>>(), [1, 1]);
    let calls = faults.calls();
    for port in ["mcp start_task", "mcp task", "mcp task_result"] {
        assert!(calls.contains(&port), "the run never calls {port}");
    }
    for (number, name) in calls.iter().enumerate() {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let place = format!("{fault:?} at call {number} ({name})");
            let ending = block_on(live(&world(), |process| {
                (process == 1).then(|| Faults::at([(number, fault)]))
            }));
            let ending = ending.unwrap_or_else(|why| panic!("{place}: {why}"));
            assert_eq!(
                ending.once, expected.once,
                "{place}: it happened twice, or not at all"
            );
            assert!(ending == expected, "{place}: another ending");
        }
    }
}

#[test]
fn a_task_that_its_server_forgot_is_in_doubt_unless_the_call_may_be_repeated() {
    for (tool, times) in [("send", 1), ("store", 2)] {
        let clock = FakeClock::new();
        let turns = one(&format!("desk__{tool}"));
        let world = world(turns, &task(&[Working, Completed])).on_clock(&clock);
        let process = world.process(1, Faults::none()).unwrap();
        let state = block_on(async {
            process.start().await.unwrap();
            process.deliver().await;
            world.desk().forget_tasks();
            clock.advance(20 * SECOND);
            pass(&process, &clock).await
        });
        assert_eq!(begun(&world, tool), times, "{tool}");
        if tool == "send" {
            assert!(matches!(status(&state), CallStatus::InDoubt { .. }));
            assert_eq!(
                state.waiting.map(|waiting| waiting.reason),
                Some(WaitReason::InDoubt)
            );
        } else {
            assert_eq!(state.status(), Status::Succeeded);
        }
    }
}

#[test]
fn a_task_that_gets_lost_again_and_again_fails_the_call() {
    let lost = task(&[]).with_poll(Err(McpFault::Refused(-32602)));
    let (world, state, _events) = story(one("desk__store"), &lost);
    assert_eq!(code(&state), "task_lost");
    assert_eq!(begun(&world, "store"), 4);
    assert_eq!(state.status(), Status::Succeeded, "the model was told");
}

#[test]
fn what_does_not_end_well_fails_the_call() {
    let ends = [
        (task(&[Working, Failed]), "tool", 0),
        (task(&[Cancelled]), "cancelled", 0),
        (task(&[Working, InputRequired]), "input_required", 1),
        (task(&[]).with_poll(Err(McpFault::Garbled)), "malformed", 0),
        (
            task(&[]).with_poll(Err(McpFault::Refused(-32603))),
            "tool",
            0,
        ),
    ];
    for (task, expected, ended) in ends {
        for tool in ["send", "store"] {
            let (world, state, _events) = story(one(&format!("desk__{tool}")), &task);
            assert_eq!(code(&state), expected);
            assert_eq!(called_off(&world, tool), ended, "{expected}");
            assert_eq!(state.status(), Status::Succeeded, "the model was told");
        }
    }
}

#[test]
fn a_task_without_an_end_is_ended_and_costs_few_records() {
    let mut never = task(&[Working]);
    never.poll_interval = Some(Duration::ZERO);
    let (world, state, events) = story(one("desk__send"), &never);
    assert_eq!(code(&state), "timeout");
    assert_eq!(called_off(&world, "send"), 1);
    let asked = polled(&world, "send");
    assert!((200..400).contains(&asked), "{asked} questions in a day");
    assert!(events.len() < 4 * asked);
}

#[test]
fn a_task_that_cannot_be_ended_is_in_doubt_unless_the_call_may_be_repeated() {
    for tool in ["send", "store"] {
        let clock = FakeClock::new();
        let turns = one(&format!("desk__{tool}"));
        let world = world(turns, &task(&[Working])).on_clock(&clock);
        let process = world.process(1, Faults::none()).unwrap();
        let state = block_on(async {
            process.start().await.unwrap();
            process.deliver().await;
            world.desk().set_start(McpStart::Fails);
            clock.advance(TASK_TIMEOUT);
            pass(&process, &clock).await
        });
        match status(&state) {
            CallStatus::InDoubt { .. } => assert_eq!(tool, "send"),
            CallStatus::Failed { code, .. } => {
                assert_eq!((tool, code.as_str()), ("store", "timeout"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_server_that_is_away_for_a_while_is_asked_again() {
    let clock = FakeClock::new();
    let world = world(one("desk__send"), &task(&[Completed])).on_clock(&clock);
    let process = world.process(1, Faults::none()).unwrap();
    block_on(async {
        process.start().await.unwrap();
        process.deliver().await;
        world.desk().set_start(McpStart::Fails);
        for _poll in 0..3 {
            clock.advance(60 * SECOND);
            assert!(matches!(
                process.deliver().await,
                Some(Then::Park { wake_at: Some(_) })
            ));
        }
        world.desk().set_start(McpStart::Ready);
        assert_eq!(pass(&process, &clock).await.status(), Status::Succeeded);
    });
    assert_eq!(begun(&world, "send"), 1);
}

#[test]
fn a_run_waits_for_a_person_and_for_a_task_at_once() {
    let clock = FakeClock::new();
    let turns = vec![
        turn("do", &["desk__send", "desk__pay"], true),
        turn("done", &[], true),
    ];
    let world = world(turns, &task(&[Completed])).on_clock(&clock);
    let process = world.process(1, Faults::none()).unwrap();
    block_on(async {
        process.start().await.unwrap();
        let due = clock.now().plus(20 * SECOND);
        assert_eq!(
            process.deliver().await,
            Some(Then::Park { wake_at: Some(due) })
        );
        let waiting = state(&process).await.waiting.unwrap();
        assert_eq!(
            (waiting.reason, waiting.until),
            (WaitReason::Approval, Some(due))
        );
        clock.advance(20 * SECOND);
        assert_eq!(process.deliver().await, Some(Then::Park { wake_at: None }));
        let state = state(&process).await;
        assert!(matches!(status(&state), CallStatus::Succeeded { .. }));
        process.answer(&state).await.unwrap();
        assert_eq!(pass(&process, &clock).await.status(), Status::Succeeded);
    });
}

#[test]
fn the_server_of_a_run_that_was_cancelled_is_told() {
    let clock = FakeClock::new();
    let world = world(one("desk__send"), &task(&[Working])).on_clock(&clock);
    let process = world.process(1, Faults::none()).unwrap();
    block_on(async {
        process.start().await.unwrap();
        process.deliver().await;
        let harness = process.harness();
        harness.cancel(world.run(), "tester", None).await.unwrap();
        assert_eq!(process.deliver().await, Some(Then::Done));
        let state = state(&process).await;
        assert_eq!(state.status(), Status::Cancelled);
        assert!(matches!(status(&state), CallStatus::Deferred(_)));
    });
    assert_eq!(called_off(&world, "send"), 1);
}

#[test]
fn calls_become_tasks_where_the_server_or_the_descriptor_wants_it() {
    let mut optional = task(&[Completed]);
    optional.support = TaskSupport::Optional;
    let (world, state, events) = story(one("desk__send"), &optional);
    assert_eq!(state.status(), Status::Succeeded);
    assert_eq!(polled(&world, "send"), 0, "nobody asked for a task");
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, Event::ToolDeferred(_)))
    );
    optional.is_immediate = true;
    optional.support = TaskSupport::Required;
    let (_world, state, _events) = story(one("desk__send"), &optional);
    assert_eq!(
        state.status(),
        Status::Succeeded,
        "an answer at once is one"
    );
}

//! Runs whose tools are those of a server: what is pinned, what is refused, and what a crash leaves.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what cannot be built is a failed test"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_executor::block_on;
use futures_util::StreamExt as _;
use seaworthy_core::event::Event;
use seaworthy_core::record::Link;
use seaworthy_core::replay::{Mode, Replay};
use seaworthy_core::state::{CallStatus, Outcome, RunState, Status};
use seaworthy_fakes::{FakeMcpTool, Fault, Faults, McpFault, McpSeen, McpStart, TableTurn};
use seaworthy_ports::mcp::Hints;
use seaworthy_ports::observer::{Fact, ServedBy, ServerLink};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{RunId, ServerAlias, TraceContext};
use seaworthy_simulation::{Ending, Process, World, reproduce, run_out, turn};
use serde_json::{Value, json};

fn turns() -> Vec<TableTurn> {
    vec![
        turn(
            "look around",
            &["desk__look", "desk__store", "desk__send"],
            true,
        ),
        turn("pay", &["desk__pay", "desk__send", "desk__nothing"], true),
        turn("all done", &[], true),
    ]
}

fn world(turns: Vec<TableTurn>) -> World {
    World::saying(turns).unwrap().served().unwrap()
}

/// Asks for `look` until `times` answers of it are there.
fn looking(times: usize) -> Vec<TableTurn> {
    let look = |number: usize| turn(&format!("look {number}"), &["desk__look"], true);
    let mut turns: Vec<TableTurn> = (0..times).map(look).collect();
    turns.push(turn("all done", &[], true));
    turns
}

fn undisturbed() -> (Ending, Vec<&'static str>) {
    block_on(world(turns()).undisturbed()).unwrap()
}

fn same(expected: &Ending, ending: Result<Ending, String>, place: &str) {
    let same = ending.and_then(|ending| seaworthy_simulation::same(expected, &ending));
    same.unwrap_or_else(|why| panic!("{place}: {why}"));
}

fn events(process: &Process, run: &RunId) -> Vec<Event> {
    let records = process.harness().records(run, Link::default());
    block_on(
        records
            .map(|loaded| loaded.unwrap().envelope.event().unwrap())
            .collect(),
    )
}

fn state(world: &World) -> RunState {
    let process = world.process(99, Faults::none()).unwrap();
    block_on(process.view()).unwrap().state
}

/// The run of `world`, which waits or has ended, and whoever brought it there.
fn to_rest(world: &World) -> (Process, RunState) {
    let process = world.process(1, Faults::none()).unwrap();
    block_on(async {
        process.start().await.unwrap();
        let state = run_out(&process).await.unwrap();
        (process, state)
    })
}

#[test]
fn the_undisturbed_run_does_everything_once() {
    let (ending, calls) = undisturbed();
    assert_eq!(ending.status, Status::Succeeded);
    assert_eq!(
        ending.once.len(),
        3,
        "two sends, one payment: {:?}",
        ending.once
    );
    assert!(ending.once.values().all(|times| *times == 1));
    let statuses: Vec<&str> = ending.calls.iter().map(|call| call.1.as_str()).collect();
    let good = "succeeded";
    assert_eq!(statuses, [good, good, good, good, good, "failed_no_effect"]);
    for port in ["mcp connect", "mcp tools", "mcp call", "mcp close"] {
        assert!(calls.contains(&port), "the run never calls {port}");
    }
}

#[test]
fn a_crash_at_any_port_call_before_or_after_its_effect_changes_nothing() {
    let (expected, calls) = undisturbed();
    for (number, name) in calls.iter().enumerate() {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let place = format!("{fault:?} at call {number} ({name})");
            let ending = block_on(
                world(turns())
                    .live(|process| (process == 1).then(|| Faults::at([(number, fault)]))),
            );
            same(&expected, ending, &place);
        }
    }
}

#[test]
fn a_server_that_fails_while_its_tools_are_listed_is_asked_again() {
    let (expected, calls) = undisturbed();
    for (number, name) in calls.iter().enumerate() {
        // What becomes of a call whose server fails is the tool's answer.
        if !name.starts_with("mcp") || *name == "mcp call" {
            continue;
        }
        let place = format!("call {number} ({name})");
        let ending = block_on(
            world(turns())
                .live(|process| (process == 1).then(|| Faults::at([(number, Fault::FailBefore)]))),
        );
        let ending = ending.unwrap_or_else(|why| panic!("{place}: {why}"));
        assert_eq!(ending.status, expected.status, "{place}");
        assert!(ending.once.values().all(|times| *times == 1), "{place}");
    }
}

#[test]
fn a_call_whose_server_died_is_in_doubt_unless_it_may_be_repeated() {
    for (tool, is_doubtful) in [("desk__send", true), ("desk__store", false)] {
        let world = world(vec![turn("do", &[tool], true), turn("done", &[], true)]);
        let faults = Faults::every("mcp call", Fault::FailAfter);
        let process = world.process(1, faults).unwrap();
        let state = block_on(async {
            process.start().await.unwrap();
            run_out(&process).await.unwrap()
        });
        let call = state.calls.values().next().unwrap();
        match &call.status {
            CallStatus::InDoubt { .. } => assert!(is_doubtful, "{tool}"),
            CallStatus::Failed { no_effect, .. } => {
                assert!(!is_doubtful, "{tool}");
                assert!(!no_effect, "it may have had an effect");
            }
            other => panic!("{tool}: {other:?}"),
        }
    }
}

#[test]
fn a_server_that_cannot_be_reached_fails_the_run_which_goes_on_once_it_can() {
    let world = world(turns());
    world.desk().set_start(McpStart::Fails);
    let (process, state) = to_rest(&world);
    assert!(
        matches!(&state.outcome, Some(Outcome::Failed { code, .. }) if code == "mcp_server"),
        "{:?}",
        state.outcome
    );
    world.desk().set_start(McpStart::Ready);
    block_on(process.harness().reopen(world.run(), "tester")).unwrap();
    assert_eq!(block_on(world.finish(2)).unwrap().status, Status::Succeeded);
}

#[test]
fn the_tools_are_on_record_before_the_model_is_asked() {
    let world = world(looking(1));
    let (process, state) = to_rest(&world);
    assert_eq!(state.status(), Status::Succeeded);
    let events = events(&process, world.run());
    let place = |is: fn(&Event) -> bool| events.iter().position(is).unwrap();
    assert!(
        place(|event| matches!(event, Event::ToolsListed(_)))
            < place(|event| matches!(event, Event::ModelCalled(_)))
    );
    let catalogue = state.catalogue.unwrap();
    let names: Vec<&str> = catalogue.tools.keys().map(|name| name.as_str()).collect();
    assert_eq!(
        names,
        ["desk__look", "desk__pay", "desk__send", "desk__store"]
    );
}

#[test]
fn a_tool_that_its_server_changed_is_not_called_before_a_person_agreed_to_just_that() {
    for change in ["description", "schema", "hints"] {
        let world = world(looking(3));
        let before = world.desk_tool("look");
        let after = match change {
            "description" => before.with_description("Does it, and tells everybody."),
            "schema" => {
                before.with_input_schema(json!({"type": "object", "properties": {"to": {}}}))
            }
            _ => before.with_hints(Hints {
                open_world: Some(true),
                ..Hints::default()
            }),
        };
        // It changes as soon as the run has seen it.
        let process = world.process(1, Faults::none()).unwrap();
        block_on(async {
            process.start().await.unwrap();
        });
        let changed = {
            let world = world.clone();
            let after = after.clone();
            move || world.desk().set_tools(vec![after.clone()])
        };
        let listed = Faults::by(move |_number, name| {
            if name == "model stream" {
                changed();
            }
            None
        });
        let process = world.process(2, listed).unwrap();
        let state = block_on(run_out(&process)).unwrap();
        let calls: Vec<&CallStatus> = state.calls.values().map(|call| &call.status).collect();
        match calls.as_slice() {
            [
                CallStatus::Failed {
                    code, no_effect, ..
                },
                CallStatus::AwaitingApproval,
            ] => {
                assert_eq!(code, "tool_changed", "{change}");
                assert!(no_effect);
            }
            other => panic!("{change}: {other:?}"),
        }
        assert!(world.acted().is_empty(), "{change}: it was called");
        let pinned = &state.catalogue.as_ref().unwrap().tools["desk__look"];
        assert_eq!(pinned.description, "Does it.", "the model was told");

        block_on(async {
            let fresh = world.process(3, Faults::none()).unwrap();
            fresh.answer(&state).await.unwrap();
            let state = run_out(&fresh).await.unwrap();
            assert_eq!(state.status(), Status::Succeeded, "{change}");
            let catalogue = state.catalogue.as_ref().unwrap();
            assert!(catalogue.changed.is_empty());
            assert_ne!(catalogue.tools["desk__look"].digest, pinned.digest);
            // Approved once; the third call needs nobody.
            assert_eq!(world.acted().len(), 2, "{change}");
            reproduce(&world, 9).await.unwrap();
        });
    }
}

/// The one call of a tool whose server offers these instead as soon as the run has seen it.
fn offered_instead(tools: Vec<FakeMcpTool>) -> RunState {
    let world = world(looking(1));
    let desk = world.desk().clone();
    let faults = Faults::by(move |_number, name| {
        if name == "model stream" {
            desk.set_tools(tools.clone());
        }
        None
    });
    let process = world.process(1, faults).unwrap();
    let state = block_on(async {
        process.start().await.unwrap();
        run_out(&process).await.unwrap()
    });
    assert!(world.acted().is_empty(), "it was called");
    state
}

#[test]
fn a_tool_that_its_server_took_away_is_not_found() {
    let state = offered_instead(Vec::new());
    let call = state.calls.values().next().unwrap();
    assert!(
        matches!(&call.status, CallStatus::Failed { code, no_effect: true, .. } if code == "not_found"),
        "{:?}",
        call.status
    );
    assert_eq!(state.status(), Status::Succeeded);
}

#[test]
fn a_tool_that_became_one_that_nobody_can_have_is_not_asked_about() {
    let odd = json!({"$ref": "https://elsewhere.invalid/schema.json"});
    let odd = FakeMcpTool::answering("look", "done")
        .with_description("Does it.")
        .with_input_schema(odd);
    let state = offered_instead(vec![odd]);
    let call = state.calls.values().next().unwrap();
    assert!(
        matches!(&call.status, CallStatus::Failed { code, no_effect: true, .. } if code == "unavailable"),
        "{:?}",
        call.status
    );
    assert!(state.catalogue.unwrap().changed.is_empty());
}

#[test]
fn nobody_grants_a_change_in_advance() {
    let world = world(looking(2));
    let after = world.desk_tool("look").with_description("Something else.");
    let desk = world.desk().clone();
    let faults = Faults::by(move |_number, name| {
        if name == "model stream" {
            desk.set_tools(vec![after.clone()]);
        }
        None
    });
    let process = world.process(1, faults).unwrap();
    block_on(async {
        let mut start = world.start("go").unwrap();
        start.grants_all = Some("tester".to_owned());
        process.harness().start(start).await.unwrap();
        let state = run_out(&process).await.unwrap();
        assert!(
            state
                .open_calls()
                .any(|call| call.status == CallStatus::AwaitingApproval)
        );
    });
}

#[test]
fn a_strict_replay_asks_no_server() {
    let world = world(turns());
    block_on(world.finish(1)).unwrap();
    let seen = world.desk().seen().len();
    world.desk().set_start(McpStart::Fails);
    block_on(reproduce(&world, 5)).unwrap();
    assert_eq!(world.desk().seen().len(), seen);
}

#[test]
fn a_live_replay_from_the_middle_has_the_tools_that_its_source_had() {
    let world = world(looking(1));
    block_on(world.finish(1)).unwrap();
    let source = state(&world);
    let after = world.desk_tool("look").with_description("Something else.");
    world.desk().set_tools(vec![after]);
    let replay = Replay {
        run: Some(RunId::new("again").unwrap()),
        mode: Mode::Live,
        from: Seq(5),
        ..Replay::new(world.run().clone())
    };
    let again = world.about(RunId::new("again").unwrap());
    let process = again.process(7, Faults::none()).unwrap();
    let state = block_on(async {
        process.harness().replay(replay).await.unwrap();
        run_out(&process).await.unwrap()
    });
    let tools = |state: &RunState| state.catalogue.as_ref().unwrap().tools.clone();
    assert_eq!(tools(&state), tools(&source));
    assert_eq!(state.catalogue.unwrap().changed.len(), 1);
}

#[test]
fn a_run_that_waits_holds_no_connection() {
    let world = world(vec![
        turn("pay", &["desk__pay"], true),
        turn("done", &[], true),
    ]);
    let (_process, state) = to_rest(&world);
    assert_eq!(state.status(), Status::Waiting);
    let seen = world.desk().seen();
    let count = |what: &McpSeen| seen.iter().filter(|seen| *seen == what).count();
    assert_eq!(count(&McpSeen::Started), 1);
    assert_eq!(count(&McpSeen::Ended), 1);
}

#[test]
fn what_a_tool_says_of_its_failure_the_model_is_told() {
    let world = world(looking(1));
    let refuses = FakeMcpTool::new("look", |_call| async {
        Err::<String, _>(McpFault::Refused(-32000))
    })
    .with_description("Does it.");
    world.desk().set_tools(vec![refuses]);
    let (_process, state) = to_rest(&world);
    let call = state.calls.values().next().unwrap();
    assert!(
        matches!(&call.status, CallStatus::Failed { code, .. } if code == "tool"),
        "{:?}",
        call.status
    );
    assert_eq!(state.status(), Status::Succeeded);
}

#[test]
fn a_server_is_told_the_span_of_each_call_in_the_trace_that_the_run_belongs_to() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let parent = TraceContext::parse(parent, Some("vendor=1")).unwrap();
    let sent = Arc::<Mutex<Vec<BTreeMap<String, Value>>>>::default();
    let keeping = Arc::clone(&sent);
    let world = world(looking(2)).within(parent.clone());
    let look = FakeMcpTool::new("look", move |call| {
        keeping.lock().unwrap().push(call.meta);
        std::future::ready(Ok::<_, McpFault>("seen"))
    });
    world
        .desk()
        .set_tools(vec![look.with_description("Does it.")]);
    block_on(world.finish(1)).unwrap();
    let told = world.told();
    let spans: Vec<_> = told
        .iter()
        .filter_map(|fact| match fact {
            Fact::ToolCallEnded {
                span, served_by, ..
            } => Some((span.context.clone(), served_by.clone().unwrap())),
            _ => None,
        })
        .collect();
    let desk = ServedBy {
        server: ServerAlias::new("desk").unwrap(),
        link: ServerLink::Http,
    };
    assert!(spans.iter().all(|(_span, by)| *by == desk), "{spans:?}");
    let spans: Vec<_> = spans.into_iter().map(|(span, _by)| span).collect();
    assert_eq!(spans.len(), 2);
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), spans.len());
    for (meta, span) in sent.iter().zip(&spans) {
        assert_eq!(span.trace(), parent.trace());
        assert_eq!(meta["traceparent"], json!(span.traceparent()));
        assert_eq!(meta["tracestate"], "vendor=1");
    }
    assert_ne!(sent[0]["traceparent"], sent[1]["traceparent"]);
}

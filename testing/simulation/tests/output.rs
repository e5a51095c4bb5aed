//! Answers that must fit a schema: asked for in the way that suits each model, given back once, and never lost.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what cannot be built is a failed test"
)]

mod support;

use std::sync::Arc;

use futures_executor::block_on;
use futures_util::StreamExt as _;
use seaworthy_core::descriptor::CompactionSpec;
use seaworthy_core::event::Event;
use seaworthy_core::output::ANSWER_TOOL;
use seaworthy_core::record::Link;
use seaworthy_core::state::{Outcome, RunState, Status};
use seaworthy_fakes::{FakeModel, Fault, Faults, Step, TableTurn};
use seaworthy_ports::durable_runtime::Then;
use seaworthy_ports::model_provider::{
    Block, FinishReason, Kind, Message, ModelCapabilities, ModelRequest, ToolChoice,
};
use seaworthy_ports::{RunId, ToolName};
use seaworthy_simulation::{Process, World, reproduce, turn};
use serde_json::{Value, json};
use support::times;

const TOOLS: ModelCapabilities = ModelCapabilities::NONE.with_tool_use();
const SCHEMAS: ModelCapabilities = ModelCapabilities::NONE.with_structured_output();
const BOTH: ModelCapabilities = TOOLS.with_structured_output().with_schema_with_tools();

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["n"],
        "additionalProperties": false,
        "properties": { "n": { "type": "integer" } },
    })
}

/// A world whose agent must answer with an object that has a whole number.
fn world(model: &FakeModel) -> World {
    World::saying(Vec::new())
        .unwrap()
        .with_model(Arc::new(model.clone()))
        .with_agent(|agent| agent.output_schema = Some(schema()))
}

/// The same without tools.
fn without_tools(model: &FakeModel) -> World {
    world(model).with_agent(|agent| agent.tools.clear())
}

async fn events(process: &Process, run: &RunId) -> Vec<Event> {
    let records = process.harness().records(run, Link::default());
    records
        .map(|loaded| loaded.unwrap().envelope.event().unwrap())
        .collect()
        .await
}

fn rejections(world: &World) -> usize {
    let process = world.process(99, Faults::none()).unwrap();
    block_on(events(&process, world.run()))
        .iter()
        .filter(|event| matches!(event, Event::AnswerRejected { .. }))
        .count()
}

/// Lives to the end without any fault. What is on record then comes to the same again.
fn ended(world: &World) -> RunState {
    block_on(async {
        world.finish(1).await.unwrap();
        reproduce(world, 3).await.unwrap();
        let process = world.process(2, Faults::none()).unwrap();
        process.view().await.unwrap().state
    })
}

fn output(state: &RunState) -> &str {
    match &state.outcome {
        Some(Outcome::Succeeded { output }) => output,
        other => panic!("{other:?}"),
    }
}

fn failure(state: &RunState) -> &str {
    match &state.outcome {
        Some(Outcome::Failed { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

fn offers(request: &ModelRequest) -> bool {
    let mut tools = request.tools.iter();
    tools.any(|tool| tool.name.as_str() == ANSWER_TOOL)
}

/// How a model was asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Native,
    Tool,
    Text,
}

fn way(request: &ModelRequest) -> Option<Way> {
    let is_told = request.instructions.contains("\"additionalProperties\"");
    match (request.output_schema.is_some(), offers(request), is_told) {
        (true, false, false) => Some(Way::Native),
        (false, true, false) => Some(Way::Tool),
        (false, false, true) => Some(Way::Text),
        _ => None,
    }
}

/// One answer, given as a model does that is asked this way.
fn answers(asked: Way, answer: &Value) -> Step {
    let step = match asked {
        Way::Tool => Step::calls(ANSWER_TOOL, answer),
        Way::Text => Step::says(format!("So:\n```json\n{answer}\n```")),
        Way::Native if answer["n"].is_number() => Step::says(answer.to_string()),
        Way::Native => Step::says(answer.to_string()).finishing(FinishReason::Malformed),
    };
    step.when(format!("it is asked by {asked:?}"), move |request| {
        way(request) == Some(asked)
    })
}

/// Every way, with a model and an agent for which it is the one.
fn ways() -> Vec<(Way, ModelCapabilities, bool)> {
    vec![
        (Way::Native, BOTH, true),
        (Way::Native, SCHEMAS, false),
        (Way::Native, TOOLS.with_structured_output(), false),
        // Where schemas and tools do not go together, the schema is that of a tool.
        (Way::Tool, TOOLS.with_structured_output(), true),
        (Way::Tool, TOOLS, true),
        (Way::Tool, TOOLS, false),
        (Way::Text, ModelCapabilities::NONE, false),
    ]
}

/// The same, of a model that can be made to call a tool.
fn forced() -> Vec<(Way, ModelCapabilities, bool)> {
    let forced = |(asked, capabilities, has_tools): (Way, ModelCapabilities, bool)| {
        (asked, capabilities.with_forced_calls(), has_tools)
    };
    ways().into_iter().map(forced).collect()
}

fn each_way(steps: impl Fn(Way) -> Vec<Step>, check: impl Fn(&str, &World, RunState)) {
    for (asked, capabilities, has_tools) in ways().into_iter().chain(forced()) {
        let place = format!("{asked:?}, tools: {has_tools}, {:?}", capabilities.names());
        let model = FakeModel::new(steps(asked)).with_capabilities(capabilities);
        let world = if has_tools {
            world(&model)
        } else {
            without_tools(&model)
        };
        let state = ended(&world);
        model.assert_all_used();
        check(&place, &world, state);
    }
}

#[test]
fn a_model_is_asked_in_the_way_that_suits_it_and_its_answer_is_json_that_fits() {
    each_way(
        |asked| vec![answers(asked, &json!({"n": 3}))],
        |place, _world, state| {
            assert_eq!(output(&state), "{\"n\":3}", "{place}");
            assert_eq!(state.output_value(), Some(json!({"n": 3})), "{place}");
            assert_eq!(state.turns, 1, "{place}");
            assert!(state.calls.is_empty(), "{place}: an answer is no call");
        },
    );
}

#[test]
fn an_answer_that_does_not_fit_goes_back_once_with_what_is_wrong() {
    each_way(
        |asked| {
            vec![
                answers(asked, &json!({"n": "three"})),
                answers(asked, &json!({"n": 3})).when_told("/n: "),
            ]
        },
        |place, world, state| {
            assert_eq!(output(&state), "{\"n\":3}", "{place}");
            assert_eq!((state.rejected, rejections(world)), (1, 1), "{place}");
        },
    );
}

#[test]
fn a_second_answer_that_does_not_fit_ends_the_run_and_both_stay_on_record() {
    each_way(
        |asked| {
            vec![
                answers(asked, &json!({"n": "three"})),
                answers(asked, &json!({"m": "four"})),
            ]
        },
        |place, world, state| {
            assert_eq!(failure(&state), "invalid_answer", "{place}");
            assert_eq!(state.output_value(), None, "{place}");
            let process = world.process(9, Faults::none()).unwrap();
            let said: Vec<String> = block_on(events(&process, world.run()))
                .into_iter()
                .filter_map(|event| match event {
                    Event::ModelCalled(called) => Some(called.message),
                    _ => None,
                })
                .map(|message| {
                    let calls: String = message
                        .tool_calls()
                        .map(|call| call.arguments.as_str())
                        .collect();
                    message.text() + &calls
                })
                .collect();
            assert!(said[0].contains("three"), "{place}: {said:?}");
            assert!(said[1].contains("four"), "{place}: {said:?}");
        },
    );
}

#[test]
fn a_model_that_answers_by_a_tool_must_call_one_where_it_can_be_made_to() {
    let answer = || ToolName::new(ANSWER_TOOL).ok().map(ToolChoice::Tool);
    for (asked, capabilities, has_tools) in ways().into_iter().chain(forced()) {
        let expected = match asked {
            Way::Tool if !capabilities.forced_calls => None,
            Way::Tool if has_tools => Some(ToolChoice::Required),
            Way::Tool => answer(),
            Way::Native | Way::Text => None,
        };
        let place = format!("{asked:?}, tools: {has_tools}, {expected:?}");
        let choice = expected.clone();
        let bad = answers(asked, &json!({"n": "three"}));
        let good = answers(asked, &json!({"n": 3}));
        let steps = [bad, good].map(|step| {
            let expected = choice.clone();
            step.when(format!("it must call {expected:?}"), move |request| {
                request.parameters.tool_choice == expected
            })
        });
        let model = FakeModel::new(steps).with_capabilities(capabilities);
        let world = if has_tools {
            world(&model)
        } else {
            without_tools(&model)
        };
        assert_eq!(output(&ended(&world)), "{\"n\":3}", "{place}");
        model.assert_all_used();
    }
}

#[test]
fn whoever_writes_an_alias_knows_whether_its_model_can_be_made_to_call_a_tool() {
    for (said, expected) in [(true, Some(ToolChoice::Required)), (false, None)] {
        let section = format!(
            "\n  main: {{ provider: openai, model: table, capabilities: {{ forced_calls: {said} }} }}"
        );
        let step = answers(Way::Tool, &json!({"n": 3}));
        let step = step.when(format!("it must call {expected:?}"), move |request| {
            request.parameters.tool_choice == expected
        });
        let model = FakeModel::new([step]).with_capabilities(TOOLS.with_forced_calls());
        let world = World::saying(Vec::new())
            .unwrap()
            .with_aliases(&section)
            .unwrap()
            .with_model(Arc::new(model.clone()))
            .with_agent(|agent| agent.output_schema = Some(schema()));
        assert_eq!(output(&ended(&world)), "{\"n\":3}", "{said}");
        model.assert_all_used();
    }
}

#[test]
fn a_failed_run_that_is_reopened_has_its_repair_again() {
    for (asked, capabilities) in [(Way::Native, BOTH), (Way::Tool, TOOLS)] {
        let bad = || answers(asked, &json!({"n": "three"}));
        let model = FakeModel::new([bad(), bad(), answers(asked, &json!({"n": 3}))])
            .with_capabilities(capabilities);
        let world = world(&model);
        assert_eq!(failure(&ended(&world)), "invalid_answer");
        let process = world.process(3, Faults::none()).unwrap();
        block_on(async {
            process.harness().reopen(world.run(), "me").await.unwrap();
            assert_eq!(process.deliver().await, Some(Then::Done));
        });
        let state = block_on(process.view()).unwrap().state;
        assert_eq!(output(&state), "{\"n\":3}");
        model.assert_all_used();
    }
}

#[test]
fn arguments_that_are_no_json_and_two_answers_at_once_are_answers_that_do_not_fit() {
    let broken = Step::calls(ANSWER_TOOL, &json!(1)).and_calls(ANSWER_TOOL, &json!({"n": 1}));
    let halves = Step::says("").and_calls_with(ANSWER_TOOL, "{\"n\": ".to_owned());
    for bad in [broken, halves.finishing(FinishReason::Malformed)] {
        let model = FakeModel::new([bad, answers(Way::Tool, &json!({"n": 3}))]);
        let state = ended(&world(&model));
        assert_eq!((output(&state), state.rejected), ("{\"n\":3}", 1));
    }
}

#[test]
fn text_is_taken_from_a_model_that_should_have_called_the_tool() {
    let model = FakeModel::new([Step::says("{\"n\": 3}")]);
    assert_eq!(output(&ended(&world(&model))), "{\"n\":3}");
}

#[test]
fn an_empty_answer_fails_the_run_for_it_cannot_be_given_back() {
    for capabilities in [BOTH, TOOLS] {
        let model = FakeModel::new([Step::says(" \n")]).with_capabilities(capabilities);
        assert_eq!(failure(&ended(&world(&model))), "model_decode");
    }
}

#[test]
fn an_answer_beside_other_calls_is_not_taken_and_the_others_are_made() {
    let model = FakeModel::new([
        Step::calls("send", &json!({})).and_calls(ANSWER_TOOL, &json!({"n": 1})),
        answers(Way::Tool, &json!({"n": 2})).when_told("alone"),
    ]);
    let world = world(&model);
    let state = ended(&world);
    assert_eq!((output(&state), state.rejected), ("{\"n\":2}", 0));
    assert_eq!(times(&world, "send"), 1);
}

#[test]
fn a_model_that_stands_in_is_asked_its_own_way_and_told_what_came_before_in_text() {
    let section = "
  main: { provider: openai, model: table, fallback: [backup] }
  backup: { provider: openai, model: spare }";
    let is_text = |request: &ModelRequest| {
        let blocks = request.messages.iter().flat_map(|message| &message.blocks);
        blocks.clone().count() == 3
            && blocks
                .into_iter()
                .all(|block| matches!(block, Block::Text { .. }))
    };
    let main = FakeModel::new([
        answers(Way::Tool, &json!({"n": "three"})),
        Step::fails(Kind::QuotaExhausted),
    ]);
    let spare = FakeModel::new([answers(Way::Native, &json!({"n": 3}))
        .when_told("/n: ")
        .when("it is told in text", is_text)])
    .with_capabilities(BOTH);
    let world = World::saying(Vec::new())
        .unwrap()
        .with_aliases(section)
        .unwrap()
        .with_model(Arc::new(main.clone()))
        .with_other("spare", Arc::new(spare.clone()))
        .with_agent(|agent| agent.output_schema = Some(schema()));
    let state = ended(&world);
    assert_eq!((output(&state), state.rejected), ("{\"n\":3}", 1));
    main.assert_all_used();
    spare.assert_all_used();
}

#[test]
fn a_summary_is_asked_for_without_the_schema_and_an_answer_may_be_mended_after_it() {
    for (asked, capabilities) in [(Way::Native, BOTH), (Way::Tool, TOOLS)] {
        let is_summary =
            |request: &ModelRequest| request.tools.is_empty() && request.output_schema.is_none();
        let model = FakeModel::new([
            Step::calls("look", &json!({})),
            Step::calls("look", &json!({})),
            Step::says("It looked around.").when("a summary is asked for", is_summary),
            answers(asked, &json!({"n": "three"})),
            answers(asked, &json!({"n": 3})).when_told("/n: "),
        ])
        .with_capabilities(capabilities);
        let world = world(&model).with_agent(|agent| {
            agent.compaction = Some(CompactionSpec {
                at_tokens: 5000,
                keep_turns: 1,
                model: None,
            });
        });
        let state = ended(&world);
        assert_eq!((output(&state), state.rejected), ("{\"n\":3}", 1));
        assert!(state.context.summary.is_some());
        model.assert_all_used();
    }
}

#[test]
fn another_run_of_the_session_is_told_of_the_answer_in_text() {
    let model = FakeModel::new([
        answers(Way::Tool, &json!({"n": "three"})),
        answers(Way::Tool, &json!({"n": 3})),
        Step::calls(ANSWER_TOOL, &json!({"n": 4})).when(
            "it sees no call of the run before",
            |request: &ModelRequest| {
                let said: Vec<String> = request.messages.iter().map(Message::text).collect();
                said.contains(&"{\"n\":3}".to_owned())
                    && request
                        .messages
                        .iter()
                        .all(|said| said.tool_calls().count() == 0)
            },
        ),
    ]);
    let world = world(&model);
    ended(&world);
    block_on(async {
        let process = world.process(5, Faults::none()).unwrap();
        let run = RunId::new("second").unwrap();
        let mut start = world.start("again").unwrap();
        start.run = Some(run.clone());
        process.harness().start(start).await.unwrap();
        process.deliver_run(&run).await;
        let state = process.harness().view(&run).await.unwrap().state;
        assert_eq!(output(&state), "{\"n\":4}");
    });
    model.assert_all_used();
}

/// Work, a payment that a person grants, an answer that does not fit, and one that does.
fn turns() -> Vec<TableTurn> {
    let answer = |n: Value| TableTurn {
        text: String::new(),
        calls: vec![(ANSWER_TOOL.to_owned(), json!({ "n": n }))],
    };
    vec![
        turn("send", &["send"], true),
        turn("pay", &["pay"], true),
        answer(json!("three")),
        answer(json!(3)),
    ]
}

fn table() -> World {
    World::saying(turns())
        .unwrap()
        .with_agent(|agent| agent.output_schema = Some(schema()))
}

#[test]
fn a_crash_at_any_port_call_loses_no_answer_and_gives_none_back_twice() {
    let undisturbed = table();
    let faults = Faults::none();
    let process = undisturbed.process(1, faults.clone()).unwrap();
    let expected = block_on(async {
        while !process.live_once().await.unwrap() {}
        process.ending().await.unwrap()
    });
    assert_eq!(expected.status, Status::Succeeded);
    assert_eq!(rejections(&undisturbed), 1);
    let calls = faults.calls();
    let asked = calls.iter().filter(|name| **name == "model stream").count();
    assert_eq!(asked, 4);
    for (number, name) in calls.iter().enumerate() {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let place = format!("{fault:?} at call {number} ({name})");
            let world = table();
            let faults = Faults::at([(number, fault)]);
            let process = world.process(1, faults.clone()).unwrap();
            let ending = block_on(async {
                while !process.live_once().await? && !faults.dead().is_set() {}
                world.finish(2).await
            });
            let ending = ending.unwrap_or_else(|why| panic!("{place}: {why}"));
            assert_eq!(ending.status, expected.status, "{place}");
            assert_eq!(ending.once, expected.once, "{place}");
            assert_eq!(ending.calls, expected.calls, "{place}");
            assert_eq!(ending.session, expected.session, "{place}");
            assert!(ending.messages == expected.messages, "{place}");
            assert_eq!(rejections(&world), 1, "{place}");
            let state = block_on(world.process(3, Faults::none()).unwrap().view());
            assert_eq!(output(&state.unwrap().state), "{\"n\":3}", "{place}");
        }
    }
}

#[test]
fn a_worker_that_dies_while_the_answer_is_mended_does_not_win_another_repair() {
    let bad = |text: &str| TableTurn {
        text: String::new(),
        calls: vec![(ANSWER_TOOL.to_owned(), json!({ "n": text }))],
    };
    let hopeless = || {
        World::saying(vec![bad("one"), bad("two"), bad("three")])
            .unwrap()
            .with_agent(|agent| agent.output_schema = Some(schema()))
    };
    let faults = Faults::none();
    let process = hopeless().process(1, faults.clone()).unwrap();
    block_on(async { while !process.live_once().await.unwrap() {} });
    let repair = faults
        .calls()
        .iter()
        .rposition(|name| *name == "model stream")
        .unwrap();
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        let world = hopeless();
        let faults = Faults::at([(repair, fault)]);
        let process = world.process(1, faults.clone()).unwrap();
        block_on(async { while !process.live_once().await.unwrap() && !faults.dead().is_set() {} });
        assert!(faults.dead().is_set());
        let state = ended(&world);
        assert_eq!(failure(&state), "invalid_answer", "{fault:?}");
        assert_eq!((state.rejected, state.turns), (1, 2), "{fault:?}");
    }
}

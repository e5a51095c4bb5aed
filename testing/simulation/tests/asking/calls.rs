//! Calls whose servers ask something while they work on them.

use futures_executor::block_on;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use seaworthy_core::event::{Event, WaitReason};
use seaworthy_core::harness::HarnessError;
use seaworthy_core::record::Link;
use seaworthy_core::servers::{Reply, Wants};
use seaworthy_core::signal::Told;
use seaworthy_core::state::{CallStatus, RunState, Status};
use seaworthy_fakes::McpSeen;
use seaworthy_ports::Digest;
use seaworthy_simulation::{Process, World, reproduce, run_out, turn};
use serde_json::json;

use crate::{
    dies_anywhere, given, id, only_call, output, process, saying, undisturbed, world, yield_once,
};

fn to_rest(process: &Process) -> RunState {
    block_on(async {
        process.start().await.unwrap();
        run_out(process).await.unwrap()
    })
}

fn events(process: &Process, world: &World) -> Vec<Event> {
    let records = process.harness().records(world.run(), Link::default());
    block_on(
        records
            .map(|loaded| loaded.unwrap().envelope.event().unwrap())
            .collect(),
    )
}

#[test]
fn a_question_parks_the_run_and_another_process_goes_on_with_the_answer() {
    let world = world(&["desk__survey"]);
    let first = process(&world, 1);
    let state = to_rest(&first);
    assert_eq!(state.waiting.unwrap().reason, WaitReason::Question);
    assert_eq!(only_call(&state).status, CallStatus::AwaitingAnswer);
    let question = only_call(&state).open_question().unwrap();
    assert!(
        matches!(&question.wants, Wants::Input { message, .. } if message == "Who is it for survey?")
    );
    assert!(world.acted().is_empty(), "it asks before it acts");
    let seen = world.desk().seen();
    assert!(
        seen.contains(&McpSeen::Cancelled("survey".to_owned())),
        "the server is told that nobody waits: {seen:?}"
    );
    drop(first);

    let second = process(&world, 2);
    let listed = block_on(second.harness().questions(std::num::NonZeroU32::MIN, None)).unwrap();
    assert_eq!(listed.items.len(), 1);
    block_on(second.harness().answer(&id(&state), given("Ada"), "tester")).unwrap();
    let state = to_rest(&second);
    assert_eq!(state.status(), Status::Succeeded);
    assert_eq!(output(&state), &json!({"heard": {"name": "Ada"}}));
    assert_eq!(world.acted().values().copied().collect::<Vec<_>>(), [1]);
}

#[test]
fn declining_and_dismissing_are_answers_too() {
    for (reply, heard) in [
        (Reply::Declined, "declined"),
        (Reply::Dismissed, "cancelled"),
    ] {
        let world = world(&["desk__survey"]);
        let process = process(&world, 1);
        let state = to_rest(&process);
        block_on(process.harness().answer(&id(&state), reply, "tester")).unwrap();
        assert_eq!(output(&to_rest(&process)), &json!({ "heard": heard }));
    }
}

#[test]
fn the_first_answer_counts_and_must_fit() {
    let world = world(&["desk__survey"]);
    let process = process(&world, 1);
    let state = to_rest(&process);
    let answer = |reply| block_on(process.harness().answer(&id(&state), reply, "tester"));
    let wrong = Reply::Given {
        content: json!({ "name": 7 }),
    };
    assert!(matches!(answer(wrong), Err(HarnessError::Reply(_))));
    assert!(matches!(
        answer(Reply::Granted),
        Err(HarnessError::Reply(_))
    ));
    answer(given("Ada")).unwrap();
    assert!(matches!(
        answer(given("Bob")),
        Err(HarnessError::Answered(_))
    ));
    let state = to_rest(&process);
    assert_eq!(output(&state), &json!({"heard": {"name": "Ada"}}));
    assert!(matches!(
        answer(given("Bob")),
        Err(HarnessError::WrongStatus { .. })
    ));
}

#[test]
fn a_model_is_called_once_for_a_server_and_only_with_leave() {
    let world = world(&["desk__phrase"]);
    let process = process(&world, 1);
    let state = to_rest(&process);
    assert_eq!(
        state.waiting.map(|waiting| waiting.reason),
        Some(WaitReason::Question),
        "{:?}: {:?}",
        state.outcome,
        state.calls
    );
    block_on(
        process
            .harness()
            .answer(&id(&state), Reply::Granted, "tester"),
    )
    .unwrap();
    let state = to_rest(&process);
    assert_eq!(output(&state), &json!({"heard": "ask"}));
    let sampled: Vec<_> = events(&process, &world)
        .into_iter()
        .filter(|event| matches!(event, Event::QuestionSampled(_)))
        .collect();
    assert_eq!(sampled.len(), 1);

    let refused = crate::world(&["desk__phrase"]);
    let process = crate::process(&refused, 1);
    let state = to_rest(&process);
    block_on(
        process
            .harness()
            .answer(&id(&state), Reply::Declined, "tester"),
    )
    .unwrap();
    assert_eq!(output(&to_rest(&process)), &json!({"heard": "refused"}));
}

#[test]
fn whoever_grants_everything_grants_model_calls_and_answers_no_question() {
    for (tool, expected) in [
        ("desk__phrase", Status::Succeeded),
        ("desk__survey", Status::Waiting),
    ] {
        let world = world(&[tool]);
        let process = process(&world, 1);
        let mut start = world.start("go").unwrap();
        start.grants_all = Some("tester".to_owned());
        let state = block_on(async {
            process.harness().start(start).await.unwrap();
            run_out(&process).await.unwrap()
        });
        assert_eq!(state.status(), expected, "{tool}");
    }
}

#[test]
fn a_call_that_must_not_be_repeated_is_held_until_somebody_answers() {
    let world = world(&["desk__vote"]);
    let process = process(&world, 1);
    let state = block_on(async {
        process.start().await.unwrap();
        let running = std::pin::pin!(run_out(&process));
        let answering = std::pin::pin!(async {
            loop {
                let state = process.view().await.unwrap().state;
                if state
                    .calls
                    .values()
                    .any(|call| call.open_question().is_some())
                {
                    assert!(state.waiting.is_none(), "a worker holds the run");
                    let call = id(&state);
                    process
                        .harness()
                        .answer(&call, given("Ada"), "tester")
                        .await
                        .unwrap();
                    std::future::pending::<()>().await;
                }
                yield_once().await;
            }
        });
        match select(running, answering).await {
            Either::Left((state, _answering)) => state.unwrap(),
            Either::Right(((), _running)) => unreachable!(),
        }
    });
    assert_eq!(output(&state), &json!({"heard": {"name": "Ada"}}));
    let calls = world.desk().seen();
    let calls = calls
        .iter()
        .filter(|seen| matches!(seen, McpSeen::Called(_)));
    assert_eq!(calls.count(), 1, "it was never called again");
}

#[test]
fn a_question_of_a_call_that_has_ended_is_nobodys() {
    let world = saying(vec![
        turn("ask in haste", &["desk__hurry"], true),
        turn("ask", &["desk__survey"], true),
        turn("all done", &[], true),
    ]);
    let ending = block_on(world.finish(1)).unwrap();
    assert_eq!(ending.status, Status::Succeeded);
    let state = block_on(process(&world, 2).view()).unwrap().state;
    let asked: Vec<usize> = state
        .calls
        .values()
        .map(|call| call.questions.len())
        .collect();
    assert_eq!(asked, [0, 1]);
    assert_eq!(state.attempt, 2, "it only waited for its answer");
    assert_eq!(output(&state), &json!({"heard": "cancelled"}));
}

#[test]
fn an_answer_to_another_question_or_that_does_not_fit_changes_nothing() {
    let world = world(&["desk__survey"]);
    let process = process(&world, 1);
    let state = to_rest(&process);
    let open = only_call(&state).open_question().unwrap().digest;
    let unfit = Reply::Given {
        content: json!({ "name": 7 }),
    };
    let wrong = [
        (Digest::of(b"another"), given("Eve")),
        (open, unfit),
        (open, Reply::Granted),
    ];
    for (round, (question, reply)) in (90..).zip(wrong) {
        let told = Told::Answer {
            call: id(&state),
            question,
            reply,
            by: "stranger".to_owned(),
        };
        let runtime = &process.harness().ports().durable_runtime;
        block_on(runtime.signal(world.run(), told.signal(round).unwrap())).unwrap();
        let state = to_rest(&process);
        assert_eq!(only_call(&state).status, CallStatus::AwaitingAnswer);
    }
    block_on(
        process
            .harness()
            .answer(&id(&state), given("Ada"), "tester"),
    )
    .unwrap();
    assert_eq!(
        output(&to_rest(&process)),
        &json!({"heard": {"name": "Ada"}})
    );
}

#[test]
fn calls_of_a_server_that_asks_are_made_one_after_the_other() {
    let world = world(&["desk__survey", "desk__survey"]);
    let ending = block_on(world.finish(1)).unwrap();
    assert_eq!(ending.status, Status::Succeeded);
    let heard = json!({"heard": {"name": "Ada"}});
    assert!(
        ending.calls.iter().all(|call| call.2 == heard),
        "{:?}",
        ending.calls
    );
}

#[test]
fn a_crash_at_any_port_call_before_or_after_its_effect_loses_no_answer() {
    let world = || world(&["desk__survey", "desk__phrase"]);
    let heard = [json!({"heard": {"name": "Ada"}}), json!({"heard": "ask"})];
    let expected = undisturbed(&world(), &heard);
    dies_anywhere(world, &expected, |_world, _place| {});
}

#[test]
fn a_strict_replay_asks_nobody() {
    let world = world(&["desk__survey"]);
    block_on(world.finish(1)).unwrap();
    block_on(reproduce(&world, 2)).unwrap();
}

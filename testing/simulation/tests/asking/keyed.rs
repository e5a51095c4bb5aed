//! Tasks of servers that give their questions names (the protocol version 2026-07-28), so that the same words are another
//! question, and what was answered once is answered for good.

use futures_executor::block_on;
use seaworthy_core::servers::Reply;
use seaworthy_core::state::{CallStatus, Status};
use seaworthy_fakes::{FakeClock, FakeMcpTask};
use seaworthy_ports::mcp::TaskStatus::{InputRequired, Working};
use seaworthy_simulation::{World, reproduce};
use serde_json::json;

use crate::tasks::{ALL, asked_in, begun, called_off, pass, task, tell, world};
use crate::{dies_anywhere, given, only_call, output, process, undisturbed};

fn keyed(tools: &[&str], task: &FakeMcpTask) -> (World, FakeClock) {
    let (world, clock) = world(tools, task);
    let _same = world.desk().clone().with_protocol("2026-07-28");
    (world, clock)
}

#[test]
fn the_same_words_under_another_name_are_asked_again_though_nothing_came_between() {
    let task = task(&[Working]).asking(2, &[]);
    let (world, clock, first, asked) = asked_in(keyed(&["desk__vote"], &task));
    let key = |question: &str| Some(question.to_owned());
    assert_eq!(
        only_call(&asked).open_question().unwrap().key,
        key("question 1")
    );
    drop(first);
    let second = process(&world, 2);
    let state = block_on(async {
        tell(&second, given("Ada")).await;
        let again = pass(&second, &clock).await;
        assert_eq!(
            only_call(&again).open_question().unwrap().key,
            key("question 2")
        );
        tell(&second, given("Grace")).await;
        pass(&second, &clock).await
    });
    assert_eq!(state.status(), Status::Succeeded);
    assert_eq!(output(&state), &json!({"heard": {"name": "Grace"}}));
    assert_eq!(only_call(&state).questions.len(), 2);
    assert_eq!(begun(&world, "vote"), 1);
    block_on(reproduce(&world, 3)).unwrap();
}

#[test]
fn a_model_call_that_is_declined_ends_the_task_that_waits_for_it() {
    let task = task(&[]).asking(1, &[]);
    let (world, clock, process, _asked) = asked_in(keyed(&["desk__phrase"], &task));
    let state = block_on(async {
        tell(&process, Reply::Declined).await;
        pass(&process, &clock).await
    });
    assert!(
        matches!(&only_call(&state).status, CallStatus::Failed { code, .. } if code == "input_required"),
        "{:?}",
        only_call(&state).status
    );
    assert_eq!(called_off(&world, "phrase"), 1);
    assert!(world.acted().is_empty());
}

#[test]
fn a_task_that_goes_on_without_the_model_is_left_alone() {
    let polls = [InputRequired, InputRequired, Working];
    let task = task(&polls).asking(1, &[]);
    let (world, _clock, process, _asked) = asked_in(keyed(&["desk__phrase"], &task));
    let state = block_on(async {
        tell(&process, Reply::Declined).await;
        process.deliver().await;
        process.view().await.unwrap().state
    });
    assert!(matches!(only_call(&state).status, CallStatus::Deferred(_)));
    assert_eq!(called_off(&world, "phrase"), 0);
}

#[test]
fn an_answer_is_not_asked_for_again_by_a_server_that_went_on_in_between() {
    // It works for a while after it has asked, and then wants to hear the same again.
    let task = task(&[InputRequired, Working, Working]).asking(1, &[]);
    let (_world, clock, process, asked) = asked_in(keyed(&["desk__vote"], &task));
    let state = block_on(async {
        tell(&process, given("Ada")).await;
        pass(&process, &clock).await
    });
    assert_eq!(output(&state), &json!({"heard": {"name": "Ada"}}));
    assert_eq!(
        only_call(&state).questions.len(),
        only_call(&asked).questions.len()
    );
}

#[test]
fn a_call_that_is_begun_again_has_its_answer_from_the_record() {
    let task = task(&[]).asking(1, &[]);
    let (world, clock, process, _asked) = asked_in(keyed(&["desk__survey"], &task));
    let state = block_on(async {
        tell(&process, given("Ada")).await;
        world.desk().forget_tasks();
        pass(&process, &clock).await
    });
    assert_eq!(begun(&world, "survey"), 2);
    assert_eq!(output(&state), &json!({"heard": {"name": "Ada"}}));
    assert_eq!(
        only_call(&state).questions.len(),
        1,
        "nobody is asked twice"
    );
}

#[test]
fn a_crash_at_any_port_call_asks_nobody_twice_and_does_nothing_twice() {
    let ada = json!({"heard": {"name": "Ada"}});
    let heard = [ada.clone(), ada, json!({"heard": "ask"})];
    let in_tasks = || keyed(&ALL, &task(&[Working]).asking(1, &[])).0;
    let expected = undisturbed(&in_tasks(), &heard);
    dies_anywhere(in_tasks, &expected, |world, place| {
        let acted = world.acted();
        assert!(
            acted.values().all(|times| *times == 1),
            "{place}: {acted:?}"
        );
    });
}

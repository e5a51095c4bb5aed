//! A model that expects its calls.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use seaworthy_fakes::{FakeClock, FakeModel, Step};
use seaworthy_ports::model_provider::{
    Block, FinishReason, Kind, Message, ModelError, ModelProvider as _, ModelReply, ModelRequest,
    Role, ToolCallBlock, assemble,
};
use seaworthy_ports::{Latch, Retry};
use serde_json::json;

fn request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        model: "any".to_owned(),
        instructions: "".into(),
        messages: Arc::new(messages),
        tools: Arc::default(),
        output_schema: None,
        max_output_tokens: None,
        parameters: Arc::default(),
        idle_timeout: Duration::from_secs(60),
        cancel: Latch::never(),
    }
}

fn ask(model: &FakeModel, text: &str) -> Result<ModelReply, ModelError> {
    let stream = model.stream(request(vec![Message::user(text)]));
    assemble(stream, |_event| {}).now_or_never().unwrap()
}

fn kind(answer: Result<ModelReply, ModelError>) -> Option<Kind> {
    answer.err().map(|error| error.kind())
}

#[test]
fn steps_are_used_in_their_order() {
    let model = FakeModel::new([
        Step::says("first").when_told("one"),
        Step::calls("look", &json!({ "at": "it" })).and_calls("look", &json!({})),
    ]);
    assert_eq!(ask(&model, "one").unwrap().message.text(), "first");
    assert_eq!(model.used(), 1);
    let reply = ask(&model, "anything").unwrap();
    assert_eq!(reply.finish.reason, FinishReason::ToolCalls);
    let calls: Vec<_> = reply.message.tool_calls().collect();
    assert_eq!(calls.len(), 2);
    assert_ne!(calls.first().unwrap().id, calls.last().unwrap().id);
    assert_eq!(model.faults(), [""; 0]);
    model.assert_all_used();
}

#[test]
fn a_call_that_its_step_does_not_expect_fails_names_the_step_and_uses_nothing() {
    let model = FakeModel::new([Step::says("yes").when("it is noon", |_request| false)]);
    assert_eq!(kind(ask(&model, "hello")), Some(Kind::InvalidRequest));
    let faults = model.faults();
    assert_eq!(faults.len(), 2, "the call, and the step that is left");
    assert!(
        faults.iter().all(|fault| fault.contains("step 1")),
        "{faults:?}"
    );
    assert!(
        faults.iter().all(|fault| fault.contains("it is noon")),
        "{faults:?}"
    );
}

#[test]
fn a_call_beyond_the_last_step_fails() {
    let model = FakeModel::new([Step::says("once")]);
    assert!(ask(&model, "hello").is_ok());
    assert_eq!(kind(ask(&model, "hello")), Some(Kind::InvalidRequest));
    assert_eq!(model.faults().len(), 1);
}

#[test]
fn a_step_that_nobody_asks_for_is_a_fault() {
    let model = FakeModel::new([Step::says("never")]);
    assert_eq!(model.faults().len(), 1);
}

#[test]
#[should_panic(expected = "step 1 was not used")]
fn a_test_that_leaves_a_step_unused_fails() {
    FakeModel::new([Step::says("never")]).assert_all_used();
}

#[test]
fn a_conversation_that_providers_refuse_is_refused_and_remembered() {
    let model = FakeModel::new([]);
    let asks = Message {
        role: Role::Assistant,
        blocks: vec![Block::ToolCall(ToolCallBlock {
            id: "a".to_owned(),
            name: "look".to_owned(),
            arguments: "{}".to_owned(),
            opaque: None,
        })],
    };
    let open = request(vec![Message::user("go"), asks]);
    let answer = assemble(model.stream(open), |_event| {}).now_or_never();
    assert_eq!(kind(answer.unwrap()), Some(Kind::InvalidRequest));
    assert_eq!(model.faults().len(), 1);
}

#[test]
fn failures_are_of_the_kind_and_with_the_advice_of_their_step() {
    let hour = Duration::from_secs(3600);
    let model = FakeModel::new([
        Step::fails(Kind::Overloaded),
        Step::asks_to_wait(Kind::RateLimited, hour),
        Step::says("half").cut_after(2),
        Step::says("nothing").cut_after(0),
        Step::says("too long").finishing(FinishReason::Length),
        Step::says("").and_calls_with("look", "{".to_owned()),
    ]);
    assert_eq!(kind(ask(&model, "1")), Some(Kind::Overloaded));
    let asks_to_wait = ask(&model, "2").unwrap_err();
    assert_eq!(asks_to_wait.retry(), Retry::After(hour));
    assert!(ask(&model, "3").unwrap_err().response_started);
    assert!(!ask(&model, "4").unwrap_err().response_started);
    let long = ask(&model, "5").unwrap();
    assert_eq!(long.finish.reason, FinishReason::Length);
    let malformed = ask(&model, "6").unwrap();
    assert_eq!(malformed.finish.reason, FinishReason::Malformed);
    model.assert_all_used();
}

#[test]
fn a_slow_answer_comes_when_the_clock_says_so_or_not_at_all_if_cancelled() {
    let clock = FakeClock::new();
    let slow = || Step::says("late").after(&clock, Duration::from_secs(5));
    let model = FakeModel::new([slow(), slow()]);
    let mut answer = Box::pin(assemble(
        model.stream(request(vec![Message::user("go")])),
        |_event| {},
    ));
    assert!((&mut answer).now_or_never().is_none());
    clock.advance(Duration::from_millis(4999));
    assert!((&mut answer).now_or_never().is_none());
    clock.advance(Duration::from_millis(1));
    assert!((&mut answer).now_or_never().unwrap().is_ok());

    let (stop, cancel) = Latch::new();
    let cancelled = ModelRequest {
        cancel,
        ..request(vec![Message::user("go")])
    };
    let mut answer = Box::pin(assemble(model.stream(cancelled), |_event| {}));
    assert!((&mut answer).now_or_never().is_none());
    stop.set();
    assert_eq!(
        kind((&mut answer).now_or_never().unwrap()),
        Some(Kind::Cancelled)
    );
}

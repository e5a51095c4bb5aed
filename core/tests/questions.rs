//! What a log has of the questions of servers: how it is written, what it comes to, and what cannot follow.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, helpers too")]

mod support;

use seaworthy_core::event::{Event, QuestionSampled, WaitReason};
use seaworthy_core::machine::{self, Step, Work};
use seaworthy_core::record;
use seaworthy_core::servers::{MAX_QUESTIONS, Question, Reply, Said, Sample, Wants};
use seaworthy_core::state::{CallStatus, ToolDeferred};
use seaworthy_core::tool::SideEffect;
use seaworthy_ports::mcp::TaskId;
use seaworthy_ports::model_provider::{Role, Usage};
use seaworthy_ports::{Digest, ServerAlias, Timestamp};
use serde_json::{Value, json};

use support::{Run, call_id};

fn question(wants: Wants) -> Question {
    Question {
        digest: Digest::of(format!("{wants:?}").as_bytes()),
        key: None,
        server: ServerAlias::new("desk").unwrap(),
        wants,
    }
}

fn input() -> Question {
    question(Wants::Input {
        message: "Who?".to_owned(),
        schema: json!({"type": "object"}),
    })
}

fn model() -> Question {
    question(Wants::Model {
        instructions: None,
        max_tokens: 7,
        messages: vec![Said {
            role: Role::User,
            text: "Say.".to_owned(),
        }],
    })
}

fn asked(question: &Question) -> Event {
    Event::QuestionAsked {
        call: call_id(1),
        question: Box::new(question.clone()),
    }
}

fn answered(question: &Question, reply: Reply) -> Event {
    Event::QuestionAnswered {
        by: "me".to_owned(),
        call: call_id(1),
        question: question.digest,
        reply,
    }
}

fn sampled(question: &Question) -> Event {
    Event::QuestionSampled(Box::new(QuestionSampled {
        call: call_id(1),
        cost: None,
        duration_ms: 5,
        provider: "fake".to_owned(),
        question: question.digest,
        sample: Sample {
            model: "small".to_owned(),
            text: "said".to_owned(),
        },
        usage: Usage {
            output_tokens: Some(3),
            ..Usage::default()
        },
    }))
}

/// A run whose only call is being made.
fn making(side_effect: SideEffect) -> Run {
    let mut run = Run::acting(&[side_effect]);
    run.apply(Event::ToolStarted { call: call_id(1) }).unwrap();
    run
}

fn status(run: &Run) -> &CallStatus {
    &run.state.call(&call_id(1)).unwrap().status
}

#[test]
fn a_question_calls_a_call_off_that_may_be_repeated_and_its_answer_has_it_made_again() {
    for side_effect in [SideEffect::ReadOnly, SideEffect::Idempotent] {
        let mut run = making(side_effect);
        run.apply(asked(&input())).unwrap();
        assert_eq!(status(&run), &CallStatus::AwaitingAnswer);
        assert!(matches!(machine::next(&run.state), Step::Wait(_)));
        run.apply(answered(&input(), Reply::Declined)).unwrap();
        let repeats = Step::Work(vec![Work::Repeat(call_id(1))]);
        assert_eq!(machine::next(&run.state), repeats);
    }
}

#[test]
fn a_call_that_must_not_be_repeated_goes_on_and_is_never_made_again_for_a_question() {
    let mut run = making(SideEffect::NonIdempotent);
    run.apply(asked(&input())).unwrap();
    assert!(matches!(status(&run), CallStatus::Running { .. }));
    let verifies = Step::Work(vec![Work::Verify(call_id(1))]);
    assert_eq!(machine::next(&run.state), verifies, "where its worker dies");
    run.apply(answered(&input(), Reply::Declined)).unwrap();
    assert_eq!(machine::next(&run.state), verifies);
}

#[test]
fn an_answer_is_for_the_open_question_and_the_first_one_counts() {
    let mut run = making(SideEffect::Idempotent);
    run.apply(answered(&input(), Reply::Declined)).unwrap_err();
    run.apply(asked(&input())).unwrap();
    run.apply(answered(&model(), Reply::Declined)).unwrap_err();
    run.apply(answered(&input(), Reply::Declined)).unwrap();
    run.apply(answered(&input(), Reply::Dismissed)).unwrap_err();
    assert_eq!(run.state.call(&call_id(1)).unwrap().open_question(), None);
}

#[test]
fn a_model_is_called_for_a_server_with_leave_and_once_and_is_paid_for() {
    let mut run = making(SideEffect::Idempotent);
    run.apply(sampled(&model())).unwrap_err();
    run.apply(asked(&model())).unwrap();
    run.apply(sampled(&model())).unwrap_err();
    run.apply(answered(&model(), Reply::Declined)).unwrap();
    run.apply(sampled(&model())).unwrap_err();
    run.apply(asked(&model())).unwrap();
    run.apply(answered(&model(), Reply::Granted)).unwrap();
    let before = run.state.usage.output_tokens.unwrap_or(0);
    run.apply(sampled(&model())).unwrap();
    assert_eq!(run.state.usage.output_tokens, Some(before + 3));
    run.apply(sampled(&model())).unwrap_err();
}

#[test]
fn a_call_asks_only_so_often() {
    let mut run = making(SideEffect::Idempotent);
    for _time in 0..MAX_QUESTIONS {
        run.apply(asked(&input())).unwrap();
        run.apply(answered(&input(), Reply::Declined)).unwrap();
    }
    run.apply(asked(&input())).unwrap_err();
}

fn data(event: &Event) -> (String, Value) {
    let (name, data) = record::data_of(event).unwrap();
    let again: Event = serde_json::from_value(json!({"type": name, "data": data})).unwrap();
    assert_eq!(&again, event);
    (name, data)
}

#[test]
fn questions_are_written_as_they_were_in_the_first_version_that_had_them() {
    let digest = json!(input().digest);
    let wants = json!({"type": "input", "message": "Who?", "schema": {"type": "object"}});
    let written = [
        (
            asked(&input()),
            "question_asked",
            json!({"call": "r.c1", "question": {"digest": digest, "server": "desk", "wants": wants}}),
        ),
        (
            answered(&input(), Reply::Given { content: json!({}) }),
            "question_answered",
            json!({
                "by": "me", "call": "r.c1", "question": digest, "reply": {"type": "given", "content": {}},
            }),
        ),
        (
            sampled(&model()),
            "question_sampled",
            json!({
                "call": "r.c1", "duration_ms": 5, "provider": "fake", "question": model().digest,
                "sample": {"model": "small", "text": "said"}, "usage": {"output_tokens": 3},
            }),
        ),
    ];
    for (event, name, expected) in written {
        let (written_name, mut written) = data(&event);
        // Whether a provider says nothing of an amount by leaving it out is not this test's matter.
        if let Some(usage) = written.get_mut("usage").and_then(Value::as_object_mut) {
            usage.retain(|_name, amount| !amount.is_null());
        }
        assert_eq!((written_name.as_str(), written), (name, expected));
    }
    let conversation = data(&asked(&model())).1;
    assert_eq!(
        conversation["question"]["wants"],
        json!({"type": "model", "max_tokens": 7, "messages": [{"role": "user", "text": "Say."}]})
    );
}

/// A run whose only call is a task.
fn task(side_effect: SideEffect) -> Run {
    let mut run = making(side_effect);
    run.apply(polled(false)).unwrap();
    run
}

fn polled(asks: bool) -> Event {
    Event::ToolDeferred(Box::new(ToolDeferred {
        asks,
        call: call_id(1),
        message: None,
        poll_at: Timestamp::from_millis(2_000),
        since: Timestamp::from_millis(1_000),
        task: TaskId::new("the one").unwrap(),
        until: Timestamp::from_millis(9_000),
    }))
}

fn open(run: &Run) -> Option<Digest> {
    let call = run.state.call(&call_id(1)).unwrap();
    call.open_question().map(|open| open.digest)
}

fn live(run: &Run) -> usize {
    run.state.call(&call_id(1)).unwrap().live_questions().len()
}

#[test]
fn a_task_waits_for_an_answer_whatever_its_side_effect_and_is_asked_after_with_it() {
    let polls = Step::Work(vec![Work::Poll(call_id(1))]);
    for side_effect in [SideEffect::Idempotent, SideEffect::NonIdempotent] {
        let mut run = task(side_effect);
        run.apply(asked(&input())).unwrap();
        run.apply(polled(true)).unwrap();
        assert!(matches!(status(&run), CallStatus::Deferred(_)));
        assert_eq!(open(&run), Some(input().digest));
        assert_eq!(machine::next(&run.state), Step::Wait(WaitReason::Question));
        run.apply(answered(&model(), Reply::Declined)).unwrap_err();
        run.apply(answered(&input(), Reply::Declined)).unwrap();
        assert_eq!(machine::next(&run.state), polls);
        run.apply(answered(&input(), Reply::Declined)).unwrap_err();
        run.apply(polled(false)).unwrap();
        assert_eq!(machine::next(&run.state), Step::Wait(WaitReason::Task));
    }
}

#[test]
fn an_answer_stays_until_the_server_of_the_task_has_gone_on() {
    let mut run = task(SideEffect::NonIdempotent);
    run.apply(asked(&input())).unwrap();
    run.apply(answered(&input(), Reply::Declined)).unwrap();
    run.apply(polled(true)).unwrap();
    assert_eq!(live(&run), 1, "it may ask that again");
    run.apply(asked(&model())).unwrap();
    assert_eq!(live(&run), 1, "it asks something else");
    run.apply(polled(false)).unwrap();
    assert_eq!((live(&run), open(&run)), (0, None), "it goes on");
    run.apply(answered(&model(), Reply::Granted)).unwrap_err();
    run.apply(sampled(&model())).unwrap_err();
}

#[test]
fn what_a_call_asked_before_it_became_a_task_is_done_with() {
    let mut run = making(SideEffect::NonIdempotent);
    run.apply(asked(&input())).unwrap();
    assert_eq!(open(&run), Some(input().digest));
    run.apply(polled(false)).unwrap();
    assert_eq!((live(&run), open(&run)), (0, None));
    run.apply(answered(&input(), Reply::Declined)).unwrap_err();
}

#[test]
fn a_task_asks_only_so_often() {
    let mut run = task(SideEffect::NonIdempotent);
    for _time in 0..MAX_QUESTIONS {
        run.apply(asked(&input())).unwrap();
        run.apply(answered(&input(), Reply::Declined)).unwrap();
    }
    run.apply(asked(&input())).unwrap_err();
}

#[test]
fn a_record_of_a_task_says_that_it_asks_only_where_it_does() {
    let written = |asks| record::data_of(&polled(asks)).unwrap().1;
    assert_eq!(written(true)["asks"], json!(true));
    assert!(written(false).get("asks").is_none());
}

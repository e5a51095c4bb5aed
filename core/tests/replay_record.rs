//! The records of replays: what was written once stays readable, and what follows what.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what cannot be built is a failed test"
)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use seaworthy_core::event::{Event, ModelCalled};
use seaworthy_core::record::{self, Link};
use seaworthy_core::replay::{
    Deviated, Mode, ModelReplayed, Origin, Part, Recall, Seen, ToolReplayed, Unmatched,
};
use seaworthy_core::state::{CallStatus, RunState, Stamp};
use seaworthy_core::tool::SideEffect;
use seaworthy_ports::model_provider::{Finish, FinishReason, Message, Role, Usage};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{Digest, RunId, SessionId, Timestamp};
use serde_json::json;

fn submitted() -> Event {
    let Event::RunSubmitted(mut submitted) = support::Run::submitted().events.remove(0).0 else {
        panic!("a run begins with run_submitted")
    };
    submitted.replay = Some(Box::new(Origin {
        before: Some(Digest::of(b"before")),
        descriptor: Digest::of(b"{}"),
        from: Seq(5),
        head: Link {
            seq: Seq(9),
            digest: Some(Digest::of(b"head")),
        },
        mode: Mode::Hybrid,
        models: BTreeMap::from([("main".to_owned(), "openai:other".to_owned())]),
        session: Some(Seen {
            session: SessionId::new("s").unwrap(),
            through: Seq(2),
        }),
        source: RunId::new("source").unwrap(),
        unmatched: Unmatched::Ask,
    }));
    Event::RunSubmitted(submitted)
}

fn answer(text: &str) -> Event {
    let mut message = Message::user(text);
    message.role = Role::Assistant;
    Event::ModelReplayed(Box::new(ModelReplayed {
        called: ModelCalled {
            cost: None,
            duration_ms: 3,
            failed_tries: Vec::new(),
            finish: Finish {
                reason: FinishReason::Stop,
                raw_reason: Some("stop".to_owned()),
            },
            message,
            model: "m".to_owned(),
            provider: "p".to_owned(),
            request_digest: Digest::of(b"request"),
            request_id: None,
            tries: 1,
            usage: Usage {
                output_tokens: Some(7),
                ..Usage::default()
            },
        },
        from: Seq(3),
    }))
}

fn replayed(result: Recall) -> Event {
    Event::ToolReplayed(Box::new(ToolReplayed {
        call: support::call_id(1),
        from: Seq(4),
        result,
    }))
}

fn failed() -> Recall {
    Recall::Failed {
        code: "exit".to_owned(),
        message: "exit code 1".to_owned(),
        no_effect: false,
    }
}

fn events() -> Vec<Event> {
    vec![
        submitted(),
        answer("done"),
        replayed(Recall::Succeeded {
            media: Vec::new(),
            output: json!({ "done": true }),
        }),
        replayed(failed()),
        Event::ReplayDeviated(Box::new(Deviated {
            at: Seq(6),
            expected: "this".to_owned(),
            found: "that".to_owned(),
            part: Part::Instructions,
        })),
    ]
}

#[test]
fn the_golden_records_of_replays_are_read_and_are_what_this_version_writes() {
    let golden = include_str!("golden/v1-replay.jsonl");
    let mut after = Link::default();
    let mut lines = golden.lines();
    for event in events() {
        let at = Timestamp::from_millis(1_790_000_000_123);
        let sealed = record::seal_event(after, at, 3, &event).unwrap();
        let line = Bytes::from_static(lines.next().unwrap_or_default().as_bytes());
        assert_eq!(sealed.body, line);
        let (envelope, link) = record::open(after, after.seq.next(), &line).unwrap();
        assert_eq!(envelope.event().unwrap(), event);
        after = link;
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn what_was_taken_is_part_of_the_conversation_and_used_nothing() {
    let stamp = |seq| Stamp {
        link: Link {
            seq: Seq(seq),
            digest: None,
        },
        at: Timestamp::from_millis(0),
        attempt: 0,
    };
    let mut state = RunState::begin(submitted(), stamp(1)).unwrap();
    state.apply(answer("done"), stamp(2)).unwrap();
    assert_eq!(state.answers(), 1);
    assert_eq!(state.messages.len(), 2);
    assert_eq!(state.usage, Usage::default());
}

#[test]
fn a_call_whose_result_is_taken_was_not_started_and_ends_once() {
    let mut run = support::Run::acting(&[SideEffect::NonIdempotent]);
    run.apply(replayed(failed())).unwrap();
    let call = run.state.call(&support::call_id(1)).unwrap();
    assert!(matches!(call.status, CallStatus::Failed { .. }));
    assert_eq!(call.replayed, Some(Seq(4)));
    assert!(run.apply(replayed(failed())).is_err());

    let mut run = support::Run::acting(&[SideEffect::NonIdempotent]);
    let call = support::call_id(1);
    run.apply(Event::ToolStarted { call }).unwrap();
    assert!(run.apply(replayed(failed())).is_err());
}

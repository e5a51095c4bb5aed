//! The record codec: canonical, chained, and honest about damage.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

mod support;

use bytes::Bytes;
use seaworthy_core::context::Cause;
use seaworthy_core::event::{Event, WaitReason};
use seaworthy_core::record::{self, Link, RecordError};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{SignalId, Timestamp};

fn sealed(after: Link, event: &Event) -> record::Sealed {
    let (kind, data) = record::data_of(event).unwrap();
    record::seal(
        after,
        Timestamp::from_millis(1_790_000_000_123),
        3,
        &kind,
        &data,
    )
    .unwrap()
}

fn chain() -> Vec<record::Sealed> {
    let events = [
        Event::RunWaiting {
            reason: WaitReason::Approval,
            until: None,
        },
        Event::RunSucceeded {
            output: "é \u{1F6A2} \" \\ \n".to_owned(),
        },
        Event::RunCancelled {
            by: "me".to_owned(),
            reason: Some("enough".to_owned()),
        },
    ];
    let mut after = Link::default();
    events
        .iter()
        .map(|event| {
            let sealed = sealed(after, event);
            after = sealed.link;
            sealed
        })
        .collect()
}

fn read(bodies: &[Bytes]) -> Result<Vec<Event>, RecordError> {
    let mut after = Link::default();
    let mut events = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        let (envelope, link) = record::open(after, Seq(index as u64 + 1), body)?;
        events.push(envelope.event()?);
        after = link;
    }
    Ok(events)
}

#[test]
fn what_is_written_is_read_back() {
    let bodies: Vec<Bytes> = chain().into_iter().map(|sealed| sealed.body).collect();
    let events = read(&bodies).unwrap();
    assert_eq!(
        events[1],
        Event::RunSucceeded {
            output: "é \u{1F6A2} \" \\ \n".to_owned()
        }
    );
    assert_eq!(events.len(), 3);
}

#[test]
fn bodies_are_canonical_json_with_sorted_keys_and_no_space() {
    let body = &chain()[0].body;
    let text = std::str::from_utf8(body).unwrap();
    assert_eq!(
        text,
        r#"{"at":"2026-09-21T14:13:20.123Z","attempt":3,"data":{"reason":"approval"},"prev":null,"seq":1,"type":"run_waiting","v":1}"#
    );
}

#[test]
fn every_changed_byte_is_noticed_at_the_latest_by_the_record_behind_it() {
    let bodies: Vec<Bytes> = chain().into_iter().map(|sealed| sealed.body).collect();
    for record in 0..2 {
        for byte in 0..bodies[record].len() {
            let mut changed = bodies.clone();
            let mut body = changed[record].to_vec();
            body[byte] ^= 1;
            changed[record] = Bytes::from(body);
            assert!(
                read(&changed).is_err(),
                "byte {byte} of record {} was changed unseen",
                record + 1
            );
        }
    }
}

#[test]
fn dropped_swapped_and_repeated_records_are_noticed() {
    let bodies: Vec<Bytes> = chain().into_iter().map(|sealed| sealed.body).collect();
    let pick = |order: &[usize]| {
        order
            .iter()
            .map(|index| bodies[*index].clone())
            .collect::<Vec<_>>()
    };
    for order in [&[1, 2][..], &[0, 2], &[0, 2, 1], &[1, 0, 2], &[0, 0, 1]] {
        assert!(
            matches!(read(&pick(order)), Err(RecordError::Broken { .. })),
            "{order:?} was read"
        );
    }
}

#[test]
fn a_record_of_a_newer_version_says_so_whatever_else_it_holds() {
    let body = Bytes::from_static(br#"{"v":2,"what":"ever"}"#);
    let refused = record::open(Link::default(), Seq(1), &body).unwrap_err();
    assert_eq!(
        refused,
        RecordError::Newer {
            seq: Seq(1),
            version: 2
        }
    );
}

/// One event of every type.
fn every_event() -> Vec<Event> {
    let mut run = support::Run::long();
    let run = &mut run;
    let mut events: Vec<Event> = run.events.drain(..).map(|(event, _stamp)| event).collect();
    let call = support::call_id(1);
    events.extend([
        Event::SessionLoaded { through: Seq(7) },
        Event::ModelFailed {
            failed_tries: Vec::new(),
            code: "network".to_owned(),
            message: "no route".to_owned(),
            tries: 3,
        },
        Event::ToolFailed {
            call,
            code: "exit".to_owned(),
            message: "exit code 1".to_owned(),
            no_effect: false,
        },
        Event::SignalReceived {
            signal: SignalId::new("look:1").unwrap(),
            note: "late".to_owned(),
        },
        Event::RunReopened {
            by: "me".to_owned(),
        },
        Event::RunFailed {
            code: "max_turns".to_owned(),
            message: "enough".to_owned(),
        },
        Event::RunCancelled {
            by: "me".to_owned(),
            reason: Some("enough".to_owned()),
        },
        support::compacted(3, 2),
        support::not_compacted(Cause::Refused),
    ]);
    events
}

#[test]
fn the_golden_log_of_version_1_is_read_and_is_what_this_version_writes() {
    let golden = include_str!("golden/v1.jsonl");
    let bodies: Vec<Bytes> = golden
        .lines()
        .map(|line| Bytes::from_static(line.as_bytes()))
        .collect();
    let events = every_event();
    assert_eq!(read(&bodies).unwrap(), events);
    let mut after = Link::default();
    for (event, body) in events.iter().zip(&bodies) {
        let sealed = sealed(after, event);
        assert_eq!(sealed.body, body);
        after = sealed.link;
    }
}

#[test]
fn the_golden_log_holds_every_type_of_event() {
    let types: std::collections::BTreeSet<String> = every_event()
        .iter()
        .map(|event| record::data_of(event).unwrap().0)
        .collect();
    assert_eq!(types.len(), 22, "{types:?}");
}

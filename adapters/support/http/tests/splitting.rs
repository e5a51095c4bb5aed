//! The parsers on bytes of any kind, split anywhere, beside parsers that somebody else wrote.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::convert::Infallible;
use std::ops::ControlFlow;

use eventsource_stream::Eventsource as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use proptest::prelude::*;
use seaworthy_http::frames::Unreadable;
use seaworthy_http::{Caps, ndjson, sse};

type Seen = (Vec<(String, String)>, Option<Unreadable>);

/// What comes of pieces, with the beginning of an event that has no end, as a client sees it.
fn events(pieces: &[&[u8]], caps: Caps) -> Seen {
    let mut decoder = sse::Decoder::new(caps);
    let mut seen = Vec::new();
    let mut keep = |event: sse::Event<'_>| {
        seen.push((event.name.to_owned(), event.data.to_owned()));
        ControlFlow::<Infallible>::Continue(())
    };
    for piece in pieces {
        match decoder.feed(piece, &mut keep) {
            Ok(ControlFlow::Continue(())) => {}
            Err(fault) => return (seen, Some(fault)),
        }
    }
    let ControlFlow::Continue(()) = decoder.rest(keep);
    (seen, None)
}

fn lines(pieces: &[&[u8]], caps: Caps) -> (Vec<String>, Option<Unreadable>) {
    let mut decoder = ndjson::Decoder::new(caps);
    let mut seen = Vec::new();
    let mut keep = |line: &str| {
        seen.push(line.to_owned());
        ControlFlow::<Infallible>::Continue(())
    };
    for piece in pieces {
        match decoder.feed(piece, &mut keep) {
            Ok(ControlFlow::Continue(())) => {}
            Err(fault) => return (seen, Some(fault)),
        }
    }
    let ControlFlow::Continue(()) = decoder.rest(keep);
    (seen, None)
}

/// Pieces of `bytes`, cut at `cuts`.
fn cut<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .iter()
        .zip(places.iter().skip(1))
        .filter_map(|(start, end)| bytes.get(*start..*end))
        .collect()
}

/// What looks like a stream: the letters that mean something, often.
fn streamlike() -> impl Strategy<Value = Vec<u8>> {
    const PARTS: &[&[u8]] = &[
        b"data: ",
        b"data:",
        b"data",
        b"event: ",
        b"id: 7",
        b"retry: 9",
        b": ",
        b":",
        b" ",
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\n",
        b"\r\n\r\n",
        b"\xEF\xBB\xBF",
        "ü🦀".as_bytes(),
        b"{\"a\":1}",
        b"[DONE]",
        b"\0",
        b"\xFF",
        b"\xF0\x9F",
    ];
    let part = prop::sample::select(PARTS);
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

/// Any bytes, and often those that mean something or are half a letter.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    const LOADED: &[u8] = b"\n\n\n\r\r: dateven\xEF\xBB\xBF\xF0\x9F\xA6\x80\xFF\xC3\xBC{}\"";
    let byte = prop_oneof![any::<u8>(), prop::sample::select(LOADED)];
    prop_oneof![prop::collection::vec(byte, 0..600), streamlike()]
}

/// Events as a server writes them that keeps to the standard.
fn written() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let end = prop_oneof![Just("\n"), Just("\r\n")];
    let line = "[ a-zü🦀:{}\"]{0,12}";
    let event = (
        prop::option::of("[a-z_.]{1,12}"),
        prop::collection::vec(line, 1..4),
        any::<bool>(),
    );
    // Without a byte order mark, on which the other decoder panics.
    (prop::collection::vec(event, 0..8), end).prop_map(|(events, end)| {
        let mut text = String::new();
        let mut count = 0;
        for (name, lines, has_comment) in events {
            if has_comment {
                text += &format!(": ping{end}{end}");
            }
            if let Some(name) = name {
                text += &format!("event: {name}{end}");
            }
            for line in &lines {
                text += &format!("data: {line}{end}");
            }
            text += end;
            count += 1;
        }
        (text.into_bytes(), count)
    })
}

/// The same with a decoder of somebody else, which calls an event without a name a message.
fn events_by_another(pieces: &[&[u8]]) -> Vec<(String, String)> {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|piece| Ok::<_, Infallible>(piece.to_vec()))
        .collect();
    stream::iter(pieces)
        .eventsource()
        .map(|event| {
            let event = event.unwrap();
            (event.event, event.data)
        })
        .collect::<Vec<_>>()
        .now_or_never()
        .unwrap()
}

fn wide() -> Caps {
    Caps::new(1 << 20, 1 << 20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_not_matter_where_an_event_stream_is_split(
        bytes in streamlike(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        for caps in [wide(), Caps::new(48, 1 << 20)] {
            let whole = events(&[&bytes], caps);
            let split = events(&cut(&bytes, &cuts), caps);
            // A cap is found at the end of a piece at the latest, and not later than with one piece.
            if whole.1 == Some(Unreadable::TooLong) || split.1 == Some(Unreadable::TooLong) {
                prop_assert_eq!(whole.1.is_some(), split.1.is_some());
            } else {
                prop_assert_eq!(split, whole);
            }
        }
    }

    #[test]
    fn bytes_one_by_one_are_the_same_events(bytes in streamlike()) {
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(events(&single, wide()), events(&[&bytes], wide()));
    }

    #[test]
    fn no_bytes_make_a_parser_panic_or_keep_more_than_its_cap(
        bytes in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        let (seen, _fault) = events(&[&bytes], Caps::new(64, 1 << 20));
        prop_assert!(seen.iter().all(|(name, data)| name.len() + data.len() <= 128));
        let (seen, _fault) = lines(&[&bytes], Caps::new(64, 1 << 20));
        prop_assert!(seen.iter().all(|line| line.len() <= 64));
    }

    /// Where bytes are split decides neither what is read nor whether a fault is found, whatever the bytes and the cap.
    #[test]
    fn any_bytes_within_any_cap_come_to_the_same_however_they_are_split(
        bytes in hostile(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        cap in 1_usize..96,
    ) {
        let caps = Caps::new(cap, 1 << 20);
        let (whole, fault) = events(&[&bytes], caps);
        let (split, found) = events(&cut(&bytes, &cuts), caps);
        prop_assert_eq!(&split, &whole);
        prop_assert_eq!(found.is_some(), fault.is_some());
        prop_assert!(whole.iter().all(|(name, data)| name.len() + data.len() <= 2 * cap));
        let (whole, fault) = lines(&[&bytes], caps);
        let (split, found) = lines(&cut(&bytes, &cuts), caps);
        prop_assert_eq!(&split, &whole);
        prop_assert_eq!(found.is_some(), fault.is_some());
        prop_assert!(whole.iter().all(|line| line.len() <= cap));
    }

    #[test]
    fn another_decoder_finds_the_same_events(
        (bytes, count) in written(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let pieces = cut(&bytes, &cuts);
        let (mut ours, fault) = events(&pieces, wide());
        for (name, _data) in &mut ours {
            if name.is_empty() {
                name.push_str("message");
            }
        }
        prop_assert_eq!(fault, None);
        prop_assert_eq!(ours.len(), count);
        // The other one drops events whose data are empty, which the standard does not.
        ours.retain(|(_name, data)| !data.is_empty());
        let mut theirs = events_by_another(&pieces);
        theirs.retain(|(_name, data)| !data.is_empty());
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn it_does_not_matter_where_lines_are_split(
        bytes in streamlike(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        prop_assert_eq!(lines(&cut(&bytes, &cuts), wide()), lines(&[&bytes], wide()));
    }

    #[test]
    fn another_reader_finds_the_same_values(
        values in prop::collection::vec("[ a-zü🦀\n\r\"\\\\]{0,16}", 0..12),
        end in prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n")],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let text: String = values
            .iter()
            .map(|value| format!("{}{end}", serde_json::json!({"message": value})))
            .collect();
        let (ours, fault) = lines(&cut(text.as_bytes(), &cuts), wide());
        let ours: Vec<serde_json::Value> =
            ours.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let theirs: Vec<serde_json::Value> = serde_json::Deserializer::from_slice(text.as_bytes())
            .into_iter()
            .map(Result::unwrap)
            .collect();
        prop_assert_eq!(fault, None);
        prop_assert_eq!(ours, theirs);
    }
}

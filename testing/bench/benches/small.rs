//! What every record costs before a store sees it, beside the libraries it is made with: `cargo xtask bench --only small`.
//!
//! The records are those of the golden log: one of each type.

#![expect(
    clippy::unwrap_used,
    reason = "the golden log is what tests of the core say it is"
)]

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use seaworthy::event::Event;
use seaworthy::ports::state_store::Seq;
use seaworthy::ports::{Digest, Timestamp};
use seaworthy::record::{self, Link};
use serde_json::Value;

const GOLDEN: &str = include_str!("../../../core/tests/golden/v1.jsonl");

fn main() {
    divan::main();
}

fn bodies() -> Vec<Bytes> {
    let lines = GOLDEN.lines();
    lines
        .map(|line| Bytes::from_static(line.as_bytes()))
        .collect()
}

fn events() -> Vec<Event> {
    let mut after = Link::default();
    let mut events = Vec::new();
    for (body, seq) in bodies().iter().zip(1..) {
        let (envelope, link) = record::open(after, Seq(seq), body).unwrap();
        events.push(envelope.into_event().unwrap());
        after = link;
    }
    events
}

/// Events become records of a chain: canonical JSON and a digest of each.
#[divan::bench]
fn write(bencher: Bencher<'_, '_>) {
    let events = events();
    let at = Timestamp::from_millis(1_790_000_000_123);
    bencher
        .counter(ItemsCount::new(events.len()))
        .bench_local(|| {
            let mut after = Link::default();
            for event in &events {
                after = record::seal_event(after, at, 1, black_box(event))
                    .unwrap()
                    .link;
            }
            after
        });
}

/// The same events as any JSON, without order or digest.
#[divan::bench]
fn write_as_json(bencher: Bencher<'_, '_>) {
    let events = events();
    bencher
        .counter(ItemsCount::new(events.len()))
        .bench_local(|| {
            for event in &events {
                black_box(serde_json::to_vec(black_box(event)).unwrap());
            }
        });
}

/// Records become events, and the chain is checked.
#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let bodies = bodies();
    bencher
        .counter(ItemsCount::new(bodies.len()))
        .bench_local(|| {
            let mut after = Link::default();
            for (body, seq) in bodies.iter().zip(1..) {
                let (envelope, link) = record::open(after, Seq(seq), black_box(body)).unwrap();
                black_box(envelope.into_event().unwrap());
                after = link;
            }
        });
}

/// The same records as any JSON.
#[divan::bench]
fn read_as_json(bencher: Bencher<'_, '_>) {
    let bodies = bodies();
    bencher
        .counter(ItemsCount::new(bodies.len()))
        .bench_local(|| {
            for body in &bodies {
                black_box(serde_json::from_slice::<Value>(black_box(body)).unwrap());
            }
        });
}

/// A digest of so many bytes.
#[divan::bench(args = [200, 450, 4_096])]
fn digest(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = vec![b'x'; bytes];
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| Digest::of(black_box(&body)));
}

//! The relay of live output: bounded, counted, and never without its end.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, helpers too")]

use std::pin::pin;

use futures_util::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;
use seaworthy_core::live::{Live, MAX_WAITING, Relay, Watch};
use seaworthy_ports::RunId;
use seaworthy_ports::observer::RunEnd;

fn run(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

fn text(number: usize) -> Live {
    Live::Text {
        delta: number.to_string(),
    }
}

const ENDED: Live = Live::Ended {
    status: RunEnd::Succeeded,
};

/// What is there now, and whether the stream has ended.
fn drain(watch: &mut Watch) -> (Vec<Live>, bool) {
    let mut seen = Vec::new();
    loop {
        match watch.next().now_or_never() {
            Some(Some(live)) => seen.push(live),
            Some(None) => return (seen, true),
            None => return (seen, false),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Show(usize),
    Take(usize),
    Elsewhere,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1_usize..700).prop_map(Step::Show),
        2 => (1_usize..400).prop_map(Step::Take),
        1 => Just(Step::Elsewhere),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Delivered and dropped are all that was produced, in order, the newest are kept, and the end comes last.
    #[test]
    fn delivered_and_dropped_are_what_was_produced(steps in steps()) {
        let relay = Relay::default();
        let (here, elsewhere) = (run("run_1"), run("run_2"));
        let mut watch = relay.watch(&here);
        let mut produced = 0_usize;
        let mut seen = Vec::new();
        for step in steps {
            match step {
                Step::Show(count) => {
                    for _ in 0..count {
                        relay.show(&here, &text(produced));
                        produced += 1;
                    }
                }
                Step::Take(count) => {
                    for _ in 0..count {
                        match watch.next().now_or_never() {
                            Some(live) => seen.extend(live),
                            None => break,
                        }
                    }
                }
                Step::Elsewhere => relay.show(&elsewhere, &ENDED),
            }
        }
        relay.show(&here, &ENDED);
        relay.show(&here, &text(produced));
        let (rest, ended) = drain(&mut watch);
        prop_assert!(ended);
        prop_assert!(rest.len() <= MAX_WAITING + 2, "{} waited", rest.len());
        seen.extend(rest);
        prop_assert_eq!(seen.pop(), Some(ENDED));
        let mut next = 0;
        for live in seen {
            match live {
                Live::Missed { events } => next += usize::try_from(events).unwrap(),
                Live::Text { delta } => {
                    prop_assert_eq!(delta, next.to_string());
                    next += 1;
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(next, produced);
    }
}

#[test]
fn a_watcher_who_sleeps_is_woken_by_the_end() {
    let relay = Relay::default();
    let mut watch = relay.watch(&run("run_1"));
    let mut next = pin!(watch.next());
    assert_eq!(next.as_mut().now_or_never(), None);
    relay.show(&run("run_1"), &ENDED);
    assert_eq!(next.now_or_never(), Some(Some(ENDED)));
    assert_eq!(watch.next().now_or_never(), Some(None));
}

#[test]
fn watchers_do_not_take_each_others_events() {
    let relay = Relay::default();
    let mut one = relay.watch(&run("run_1"));
    let mut other = relay.watch(&run("run_1"));
    relay.show(&run("run_1"), &text(1));
    assert_eq!(drain(&mut one), (vec![text(1)], false));
    assert_eq!(drain(&mut other), (vec![text(1)], false));
}

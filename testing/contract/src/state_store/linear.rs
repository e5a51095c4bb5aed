//! Whether what several clients saw of one log at once can be explained by an order.
//!
//! A history is *linearisable* if its calls can be put in one order, in which a log that does one thing at a time would
//! have answered the same, and in which no call comes before one that had ended when it began. The search is Wing and
//! Gong's: take any call that may come next, see whether the log agrees, go on, and step back where it leads nowhere. A set
//! of calls that once led nowhere with some state of the log does so again, and is not tried twice.

use std::collections::HashSet;

/// The most calls in one history.
pub(super) const MOST: usize = 128;

/// What a client did, and what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// An append of one value that was acknowledged with this head. `expected` is `None` for a log that must not exist.
    Appended {
        expected: Option<u64>,
        value: u64,
        head: u64,
    },
    /// An append that was refused. `told` is the head in the refusal; `None`: it is not judged here.
    Conflict {
        expected: Option<u64>,
        told: Option<Option<u64>>,
    },
    /// An append of one value whose reply was lost: it took effect at some time after it began, or never.
    Lost { expected: Option<u64>, value: u64 },
    /// The head, `None` where there is no log.
    Head(Option<u64>),
    /// All values of the log, in order.
    Values(Vec<u64>),
}

/// One call, between two moments of a clock that all clients share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) client: usize,
    pub(super) seen: Seen,
    pub(super) began: u64,
    /// Later than all else where the reply was lost.
    pub(super) ended: u64,
}

/// Why no order was found: the longest that was, and the calls that could not come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoOrder {
    pub(super) explained: usize,
    pub(super) stuck_at: Vec<Call>,
}

/// An order of the history that a log could have answered in, as places in `history`. Lost calls that never took effect
/// are left out.
pub(super) fn order(history: &[Call]) -> Result<Vec<usize>, NoOrder> {
    let mut search = Search {
        history,
        tried: HashSet::new(),
        order: Vec::new(),
        best: NoOrder {
            explained: 0,
            stuck_at: Vec::new(),
        },
    };
    if history.len() <= MOST && search.go_on(0, &[]) {
        return Ok(search.order);
    }
    Err(search.best)
}

struct Search<'a> {
    history: &'a [Call],
    /// Sets of ordered calls, with the log they made, that led nowhere.
    tried: HashSet<(u128, Vec<u64>)>,
    order: Vec<usize>,
    best: NoOrder,
}

impl Search<'_> {
    fn go_on(&mut self, ordered: u128, log: &[u64]) -> bool {
        let rest = || {
            (0..)
                .zip(self.history)
                .filter(|(at, _call)| ordered & (1_u128 << at) == 0)
        };
        if rest().all(|(_at, call)| matches!(call.seen, Seen::Lost { .. })) {
            return true;
        }
        if !self.tried.insert((ordered, log.to_vec())) {
            return false;
        }
        // Whatever began after another had ended comes after it.
        let first_end = rest().map(|(_at, call)| call.ended).min().unwrap_or(0);
        let next: Vec<(usize, &Call)> = rest()
            .filter(|(_at, call)| call.began < first_end)
            .collect();
        if self.order.len() >= self.best.explained {
            self.best = NoOrder {
                explained: self.order.len(),
                stuck_at: next.iter().map(|(_at, call)| (*call).clone()).collect(),
            };
        }
        for (at, call) in next {
            if let Some(log) = after(log, &call.seen) {
                self.order.push(at);
                if self.go_on(ordered | (1_u128 << at), &log) {
                    return true;
                }
                self.order.pop();
            }
        }
        false
    }
}

/// The log after a call, or `None` if it would have answered something else.
fn after(log: &[u64], seen: &Seen) -> Option<Vec<u64>> {
    let head = (!log.is_empty()).then_some(log.len() as u64);
    let grown = |value: &u64| log.iter().chain([value]).copied().collect::<Vec<u64>>();
    match seen {
        Seen::Appended {
            expected,
            value,
            head: told,
        } => (*expected == head && *told == log.len() as u64 + 1).then(|| grown(value)),
        Seen::Conflict { expected, told } => {
            (*expected != head && told.is_none_or(|told| told == head)).then(|| log.to_vec())
        }
        Seen::Lost { expected, value } => (*expected == head).then(|| grown(value)),
        Seen::Head(told) => (*told == head).then(|| log.to_vec()),
        Seen::Values(values) => (values == log).then(|| log.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: u64 = u64::MAX;

    fn call(client: usize, began: u64, ended: u64, seen: Seen) -> Call {
        Call {
            client,
            seen,
            began,
            ended,
        }
    }

    fn appended(expected: u64, value: u64) -> Seen {
        Seen::Appended {
            expected: (expected > 0).then_some(expected),
            value,
            head: expected + 1,
        }
    }

    fn conflict(expected: u64, told: u64) -> Seen {
        Seen::Conflict {
            expected: (expected > 0).then_some(expected),
            told: Some((told > 0).then_some(told)),
        }
    }

    fn lost(expected: u64, value: u64) -> Seen {
        Seen::Lost {
            expected: (expected > 0).then_some(expected),
            value,
        }
    }

    #[test]
    fn one_call_after_another_has_its_own_order() {
        let history = [
            call(0, 0, 1, Seen::Head(None)),
            call(0, 2, 3, appended(0, 7)),
            call(1, 4, 5, Seen::Head(Some(1))),
            call(1, 6, 7, Seen::Values(vec![7])),
            call(0, 8, 9, appended(1, 8)),
            call(1, 10, 11, conflict(1, 2)),
            call(0, 12, 13, Seen::Values(vec![7, 8])),
        ];
        assert_eq!(order(&history), Ok(vec![0, 1, 2, 3, 4, 5, 6]));
        assert_eq!(order(&[]), Ok(vec![]));
    }

    #[test]
    fn a_read_beside_an_append_may_see_it_or_not() {
        for values in [vec![1], vec![1, 2]] {
            let history = [
                call(0, 0, 1, appended(0, 1)),
                call(0, 2, 9, appended(1, 2)),
                call(1, 3, 4, Seen::Values(values)),
            ];
            assert!(order(&history).is_ok());
        }
    }

    #[test]
    fn a_stale_read_after_an_acknowledged_append_has_no_order() {
        for stale in [Seen::Values(vec![1]), Seen::Head(Some(1))] {
            let history = [
                call(0, 0, 1, appended(0, 1)),
                call(0, 2, 3, appended(1, 2)),
                call(1, 4, 5, stale.clone()),
            ];
            let stuck = order(&history).unwrap_err();
            assert_eq!((stuck.explained, stuck.stuck_at.len()), (2, 1));
            assert_eq!(stuck.stuck_at.first().unwrap().seen, stale);
        }
    }

    #[test]
    fn reads_that_go_backwards_have_no_order_though_each_alone_has() {
        let beside = |first: Vec<u64>, second: Vec<u64>| {
            [
                call(0, 0, 1, appended(0, 1)),
                call(0, 2, 99, appended(1, 2)),
                call(1, 3, 4, Seen::Values(first)),
                call(2, 5, 6, Seen::Values(second)),
            ]
        };
        assert!(order(&beside(vec![1], vec![1, 2])).is_ok());
        assert!(order(&beside(vec![1, 2], vec![1, 2])).is_ok());
        assert!(order(&beside(vec![1, 2], vec![1])).is_err());
    }

    #[test]
    fn two_winners_at_one_head_have_no_order() {
        let history = [call(0, 0, 9, appended(0, 1)), call(1, 1, 8, appended(0, 2))];
        assert!(order(&history).is_err());
        let history = [call(0, 0, 9, appended(0, 1)), call(1, 1, 8, conflict(0, 1))];
        assert!(order(&history).is_ok());
    }

    #[test]
    fn a_conflict_needs_another_head_at_some_moment_of_the_call_and_tells_it() {
        let told = |told: u64| {
            [
                call(0, 0, 1, appended(0, 1)),
                call(0, 2, 3, appended(1, 2)),
                call(0, 4, 5, appended(2, 3)),
                call(1, 2, 5, conflict(1, told)),
            ]
        };
        assert!(order(&told(2)).is_ok());
        assert!(order(&told(3)).is_ok());
        assert!(order(&told(1)).is_err(), "at that head it would have won");
        assert!(order(&told(4)).is_err(), "there never was such a head");
        let unjudged = Seen::Conflict {
            expected: Some(1),
            told: None,
        };
        let alone = [call(0, 0, 1, appended(0, 1)), call(1, 2, 3, unjudged)];
        assert!(order(&alone).is_err(), "nothing was in its way");
    }

    #[test]
    fn a_lost_append_took_effect_later_or_never() {
        let then = |values: Vec<u64>, began| {
            [
                call(0, 0, 1, appended(0, 1)),
                call(1, 2, NEVER, lost(1, 2)),
                call(0, began, began + 1, Seen::Values(values)),
            ]
        };
        assert_eq!(order(&then(vec![1], 3)), Ok(vec![0, 2]));
        assert_eq!(order(&then(vec![1, 2], 3)), Ok(vec![0, 1, 2]));
        assert!(order(&then(vec![2], 3)).is_err());
    }

    #[test]
    fn a_lost_append_that_was_seen_does_not_vanish() {
        let history = [
            call(0, 0, 1, appended(0, 1)),
            call(1, 2, NEVER, lost(1, 2)),
            call(0, 3, 4, Seen::Head(Some(2))),
            call(0, 5, 6, Seen::Head(Some(1))),
        ];
        assert!(order(&history).is_err());
    }

    #[test]
    fn a_lost_append_keeps_to_its_head() {
        let history = [
            call(0, 0, 1, appended(0, 1)),
            call(1, 2, NEVER, lost(1, 9)),
            call(0, 3, 4, appended(1, 2)),
            call(0, 5, 6, Seen::Values(vec![1, 2, 9])),
        ];
        assert!(order(&history).is_err());
    }

    #[test]
    fn a_long_history_of_lost_appends_is_judged_at_once() {
        let mut history: Vec<Call> = (0..60)
            .map(|number| call(1, number, NEVER, lost(number % 2, 100 + number)))
            .collect();
        history.push(call(0, 200, 201, Seen::Values(vec![])));
        assert!(order(&history).is_ok());
        history.push(call(0, 202, 203, Seen::Head(Some(50))));
        assert!(order(&history).is_err());
    }

    #[test]
    fn a_history_that_is_too_long_is_not_said_to_have_an_order() {
        let history = vec![call(0, 0, 1, Seen::Head(None)); MOST + 1];
        assert!(order(&history).is_err());
    }
}

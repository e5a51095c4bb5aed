//! What the turns of several processes told, and whether it may be so.

use std::collections::BTreeMap;

use crate::outcome::{Halt, Outcome, broken, holds, same};

/// A run as the runtime tells of it in the end.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) run: String,
    pub(super) session: Option<String>,
    pub(super) deliveries: u32,
}

/// How a turn ended, as it told itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It answered: its first signal is consumed.
    Answered,
    /// It was told that its lease is gone, and answered the worst.
    Revoked,
}

#[derive(Clone, Debug)]
struct Told {
    process: String,
    run: String,
    delivery: u32,
    /// How many signals had been consumed before it.
    consumed: usize,
    /// Places in the journal.
    began: usize,
    ended: Option<(usize, End)>,
}

/// Judges a journal of turns that each consume one of `signals` signals, `s1` first.
pub(super) fn judge(lines: &[String], signals: usize, runs: &[Run]) -> Outcome {
    let turns = turns(lines, signals)?;
    for run in runs {
        let mut of_run: Vec<&Told> = turns.iter().filter(|turn| turn.run == run.run).collect();
        of_run.sort_by_key(|turn| turn.delivery);
        each_answer_counts_once(&of_run)?;
        ends_once(run, signals, &of_run)?;
    }
    no_two_are_live(lines, &turns, runs)
}

fn turns(lines: &[String], signals: usize) -> Result<Vec<Told>, Halt> {
    let mut turns: Vec<Told> = Vec::new();
    let mut places: BTreeMap<(String, u32), usize> = BTreeMap::new();
    for (place, line) in lines.iter().enumerate() {
        let garbled = || broken("read the journal", "lines that can be read", line);
        let words: Vec<&str> = line.split(' ').collect();
        let [word, process, run, delivery, waiting] = words.as_slice() else {
            continue;
        };
        let key: (String, u32) = (
            (*run).to_owned(),
            delivery.parse().map_err(|_error| garbled())?,
        );
        match *word {
            "begin" => {
                let consumed = consumed(waiting, signals).ok_or_else(|| {
                    broken(
                        "looked at the signals of a delivery",
                        "what is not consumed, in order",
                        line,
                    )
                })?;
                if places.insert(key.clone(), turns.len()).is_some() {
                    return Err(broken(
                        "looked at the deliveries of a run",
                        "every number once",
                        line,
                    ));
                }
                turns.push(Told {
                    process: (*process).to_owned(),
                    run: key.0,
                    delivery: key.1,
                    consumed,
                    began: place,
                    ended: None,
                });
            }
            "end" | "revoked" => {
                let end = if *word == "end" {
                    End::Answered
                } else {
                    End::Revoked
                };
                let turn = places.get(&key).and_then(|index| turns.get_mut(*index));
                turn.ok_or_else(garbled)?.ended = Some((place, end));
            }
            _ => return Err(garbled()),
        }
    }
    Ok(turns)
}

/// How many of the signals are no longer in `waiting`; `None` where it is not the rest of them.
fn consumed(waiting: &str, signals: usize) -> Option<usize> {
    let waiting: Vec<&str> = waiting.split(',').collect();
    let consumed = signals.checked_sub(waiting.len())?;
    let is_the_rest = waiting
        .iter()
        .zip(consumed + 1..)
        .all(|(name, number)| *name == format!("s{number}"));
    is_the_rest.then_some(consumed)
}

/// From one delivery to the next one signal is gone if the turn answered, and none if it did not.
fn each_answer_counts_once(of_run: &[&Told]) -> Outcome {
    for pair in of_run.windows(2) {
        let [turn, next] = pair else { continue };
        let may_count = matches!(turn.ended, Some((_, End::Answered)));
        let gone = next.consumed.checked_sub(turn.consumed);
        holds(
            gone == Some(0) || gone == Some(1) && may_count,
            "compared a delivery with the one before it",
            "one signal less after an answer that counts, and none after a turn that died or lost its lease",
            (turn, next),
        )?;
    }
    Ok(())
}

/// The last delivery is the one that consumed the last signal, and the runtime knows of no other.
fn ends_once(run: &Run, signals: usize, of_run: &[&Told]) -> Outcome {
    let Some(last) = of_run.last() else {
        return Err(broken("looked for the turns of a run", "some", &run.run));
    };
    same(
        "compared the last delivery of a run with the turn that ended it",
        (last.consumed + 1, last.ended.map(|(_, end)| end)),
        (signals, Some(End::Answered)),
    )?;
    same(
        "compared the last delivery of a run with what the runtime knows",
        last.delivery,
        run.deliveries,
    )
}

/// While a turn of a process that was never stopped lives, no later one of its run and none of its session begins. A
/// stopped process cannot know what time it is, so what it tells of itself does not count here.
fn no_two_are_live(lines: &[String], turns: &[Told], runs: &[Run]) -> Outcome {
    let stopped_at = |process: &str| {
        let stop = format!("stop {process}");
        lines.iter().position(|line| *line == stop)
    };
    let session_of = |name: &str| {
        let run = runs.iter().find(|run| run.run == name);
        run.and_then(|run| run.session.as_deref())
    };
    for turn in turns {
        let Some((ended, End::Answered)) = turn.ended else {
            continue;
        };
        if stopped_at(&turn.process).is_some_and(|stopped| stopped < ended) {
            continue;
        }
        let session = session_of(&turn.run);
        let other = turns.iter().find(|other| {
            let is_inside = turn.began < other.began && other.began < ended;
            let is_later = other.run == turn.run && other.delivery > turn.delivery;
            let is_neighbour = other.run != turn.run
                && session.is_some()
                && session_of(&other.run) == session
                && stopped_at(&other.process).is_none();
            is_inside && (is_later || is_neighbour)
        });
        if let Some(other) = other {
            return Err(broken(
                "looked for live turns at once",
                "one of a run, and of a session",
                (turn, other),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, session: Option<&str>, deliveries: u32) -> Run {
        Run {
            run: name.into(),
            session: session.map(str::to_owned),
            deliveries,
        }
    }

    fn is_fine(lines: &[&str], runs: &[Run]) -> bool {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        judge(&lines, 2, runs).is_ok()
    }

    const UNDISTURBED: [&str; 4] = [
        "begin a r 1 s1,s2",
        "end a r 1 ",
        "begin b r 2 s2",
        "end b r 2 ",
    ];

    #[test]
    fn turns_that_follow_each_other_are_fine() {
        assert!(is_fine(&UNDISTURBED, &[run("r", None, 2)]));
    }

    #[test]
    fn a_killed_turn_and_one_that_lost_its_lease_come_again() {
        let lines = [
            "begin a r 1 s1,s2",
            "kill a",
            "begin b r 2 s1,s2",
            "stop b",
            "begin c r 3 s1,s2",
            "end c r 3 ",
            "begin c r 4 s2",
            "revoked b r 2 ",
            "end c r 4 ",
        ];
        assert!(is_fine(&lines, &[run("r", None, 4)]));
    }

    #[test]
    fn what_a_turn_without_a_lease_leaves_must_not_count() {
        let consumed = [
            "begin a r 1 s1,s2",
            "revoked a r 1 ",
            "begin b r 2 s2",
            "end b r 2 ",
        ];
        assert!(!is_fine(&consumed, &[run("r", None, 2)]));
        let finished = ["begin a r 1 s1,s2", "revoked a r 1 "];
        assert!(!is_fine(&finished, &[run("r", None, 1)]));
    }

    #[test]
    fn a_delivery_that_comes_twice_and_signals_out_of_order_are_found() {
        let twice = [
            "begin a r 1 s1,s2",
            "end a r 1 ",
            "begin b r 1 s2",
            "end b r 1 ",
        ];
        assert!(!is_fine(&twice, &[run("r", None, 1)]));
        let mut reversed = UNDISTURBED;
        reversed[0] = "begin a r 1 s2,s1";
        assert!(!is_fine(&reversed, &[run("r", None, 2)]));
    }

    #[test]
    fn an_answer_that_counts_twice_and_an_end_too_early_are_found() {
        let twice = [
            "begin a r 1 s1,s2",
            "end a r 1 ",
            "begin a r 2 s1,s2",
            "end a r 2 ",
        ];
        assert!(!is_fine(&twice, &[run("r", None, 2)]));
        let back = [
            "begin a r 1 s2",
            "end a r 1 ",
            "begin a r 2 s1,s2",
            "end a r 2 ",
        ];
        assert!(!is_fine(&back, &[run("r", None, 2)]));
        assert!(!is_fine(&UNDISTURBED[..2], &[run("r", None, 1)]));
        assert!(!is_fine(&UNDISTURBED, &[run("r", None, 3)]));
        assert!(!is_fine(&[], &[run("r", None, 0)]));
    }

    #[test]
    fn live_turns_of_one_run_or_session_at_once_are_found() {
        let runs = |session| [run("r", session, 3), run("q", session, 2)];
        let overlap = [
            "begin a r 1 s1,s2",
            "begin b r 2 s1,s2",
            "end a r 1 ",
            "end b r 2 ",
            "begin b r 3 s2",
            "end b r 3 ",
            "begin b q 1 s1,s2",
            "end b q 1 ",
            "begin b q 2 s2",
            "end b q 2 ",
        ];
        assert!(!is_fine(&overlap, &runs(None)));
        let beside = [
            "begin a r 1 s1,s2",
            "begin b q 1 s1,s2",
            "end a r 1 ",
            "end b q 1 ",
            "begin a r 2 s2",
            "kill a",
            "begin b r 3 s2",
            "end b r 3 ",
            "begin b q 2 s2",
            "end b q 2 ",
        ];
        assert!(is_fine(&beside, &runs(None)));
        assert!(!is_fine(&beside, &runs(Some("s"))));
    }
}

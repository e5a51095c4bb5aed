use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use seaworthy_ports::RunId;
use seaworthy_ports::durable_runtime::MAX_QUEUE_LIMITS;

use super::step::{PAGE, STALE};
use super::*;
use crate::wire::{Near, Report, SetLimit, Takes, Wait};

/// What the object would keep.
#[derive(Default)]
struct Kept {
    values: Mutex<BTreeMap<String, Vec<u8>>>,
    read: AtomicUsize,
}

#[derive(Debug)]
struct Unreadable;

impl Shelf for Kept {
    type Error = Unreadable;

    async fn read(&self, key: String) -> Result<Option<Vec<u8>>, Unreadable> {
        self.read.fetch_add(1, Ordering::Relaxed);
        Ok(self.values.lock().unwrap().get(&key).cloned())
    }

    fn unreadable() -> Unreadable {
        Unreadable
    }
}

/// Who got which runs.
type Got = Vec<(String, Vec<String>)>;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn run(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

fn due(name: &str, millis: i64) -> DueRun {
    DueRun {
        run: run(name),
        epoch: 1,
        due: at(millis),
        queue: queue("q"),
        session: None,
    }
}

fn in_session(name: &str, millis: i64) -> DueRun {
    DueRun {
        session: Some(SessionId::new("s").unwrap()),
        ..due(name, millis)
    }
}

const NOTHING: Report = Report {
    at: Timestamp::from_millis(0),
    ended: None,
    due: None,
    forgotten: None,
};

fn take(worker: &str, room: usize, scope: Takes) -> Take {
    Take {
        worker: WorkerId::new(worker).unwrap(),
        scope,
        room,
    }
}

impl Kept {
    /// Keeps what a step leaves, and says who got what.
    fn keep(&self, step: Step<'_, Self>) -> Got {
        let changes = step.end().unwrap();
        let mut values = self.values.lock().unwrap();
        for (key, value) in changes.writes {
            match value {
                Some(value) => values.insert(key, value),
                None => values.remove(&key),
            };
        }
        let names = |answer: Answer| {
            let runs = answer.grants.iter().map(|grant| grant.run.to_string());
            (answer.awakeable, runs.collect())
        };
        changes.answers.into_iter().map(names).collect()
    }

    fn begin(&self) -> Step<'_, Self> {
        Step::begin(self).now_or_never().unwrap().unwrap()
    }

    fn report(&self, report: Report) -> Got {
        let mut step = self.begin();
        step.report(report).now_or_never().unwrap().unwrap();
        self.keep(step)
    }

    fn add(&self, run: DueRun) -> Got {
        self.report(Report {
            due: Some(run),
            ..NOTHING
        })
    }

    fn ended(&self, fence: u64) -> Got {
        self.report(Report {
            ended: Some(fence),
            ..NOTHING
        })
    }

    fn wait(&self, worker: &str, room: usize, scope: Takes, now: i64) -> Got {
        let mut step = self.begin();
        let wait = Wait {
            at: at(now),
            take: take(worker, room, scope),
            awakeable: format!("{worker}.{now}"),
        };
        step.wait(wait).now_or_never().unwrap().unwrap();
        self.keep(step)
    }

    /// What a worker gets that does not wait.
    fn take(&self, worker: &str, room: usize, scope: Takes) -> Vec<Grant> {
        let mut step = self.begin();
        let taken = step.take(take(worker, room, scope));
        let grants = taken.now_or_never().unwrap().unwrap();
        assert_eq!(self.keep(step), []);
        grants
    }

    fn limit(&self, name: &str, limit: Option<u32>) -> (Vec<bool>, Got) {
        let change = SetLimit {
            queue: queue(name),
            limit: limit.map(|limit| NonZeroU32::new(limit).unwrap()),
        };
        let mut step = self.begin();
        let had_room = step.limit(vec![change]).now_or_never().unwrap().unwrap();
        (had_room, self.keep(step))
    }

    fn line(&self) -> Line {
        self.begin().line
    }

    fn keys(&self) -> Vec<String> {
        self.values.lock().unwrap().keys().cloned().collect()
    }
}

fn names(grants: &[Grant]) -> Vec<&str> {
    grants.iter().map(|grant| grant.run.as_str()).collect()
}

fn got(worker: &str, runs: &[&str]) -> (String, Vec<String>) {
    let runs = runs.iter().map(ToString::to_string).collect();
    (format!("{worker}.0"), runs)
}

#[test]
fn the_oldest_due_comes_first_and_goes_to_who_waits_longest() {
    let kept = Kept::default();
    for (run, millis) in [("c", 3), ("a", 1), ("b", 2), ("d", 4)] {
        kept.add(due(run, millis));
    }
    assert_eq!(names(&kept.take("w", 2, Takes::All)), ["a", "b"]);
    assert_eq!(names(&kept.take("w", 9, Takes::All)), ["c", "d"]);
    assert_eq!(kept.wait("v", 1, Takes::All, 0), []);
    assert_eq!(kept.wait("w", 1, Takes::All, 0), []);
    assert_eq!(kept.add(due("e", 5)), [got("v", &["e"])]);
    assert_eq!(kept.add(due("f", 5)), [got("w", &["f"])]);
    // Both were answered: nobody waits for the last.
    assert_eq!(kept.add(due("g", 5)), []);
}

#[test]
fn a_run_for_who_waits_is_on_no_page() {
    let kept = Kept::default();
    kept.wait("w", 1, Takes::All, 0);
    assert_eq!(kept.add(due("a", 1)), [got("w", &["a"])]);
    assert_eq!(kept.keys(), ["state"]);
}

#[test]
fn runs_of_all_queues_come_in_the_order_of_their_times() {
    let kept = Kept::default();
    for number in 0..10_i64 {
        kept.add(DueRun {
            queue: queue(if number % 3 == 0 { "one" } else { "other" }),
            ..due(&format!("r{number}"), number)
        });
    }
    let all = ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"];
    assert_eq!(names(&kept.take("w", 99, Takes::All)), all);
}

#[test]
fn many_runs_lie_on_many_pages_in_their_order_and_few_are_read() {
    let kept = Kept::default();
    // In an order that is none.
    for number in 0..1_000_i64 {
        let millis = number * 577 % 1_000;
        kept.add(due(&format!("r{millis}"), millis));
    }
    let line = kept.line();
    let pages = line.queues.get(&queue("q")).unwrap();
    assert!(pages.iter().all(|page| (1..=PAGE).contains(&page.runs)));
    assert_eq!(pages.iter().map(|page| page.runs).sum::<usize>(), 1_000);
    assert!(pages.is_sorted_by(|one, next| one.last < next.first));
    let before = kept.read.load(Ordering::Relaxed);
    let first = kept.take("w", 5, Takes::All);
    assert_eq!(names(&first), ["r0", "r1", "r2", "r3", "r4"]);
    // The line itself and one page.
    assert_eq!(kept.read.load(Ordering::Relaxed) - before, 2);
    let rest = kept.take("w", 2_000, Takes::All);
    let expected: Vec<String> = (5..1_000).map(|number| format!("r{number}")).collect();
    assert_eq!(names(&rest), expected);
    assert!(kept.line().queues.is_empty());
    assert_eq!(kept.keys(), ["state"]);
}

#[test]
fn of_a_session_one_run_is_granted_until_its_lease_has_ended() {
    let kept = Kept::default();
    kept.add(in_session("a", 1));
    kept.add(in_session("b", 2));
    kept.add(due("c", 3));
    let grants = kept.take("w", 9, Takes::All);
    assert_eq!(names(&grants), ["a", "c"]);
    kept.add(in_session("d", 1));
    assert_eq!(kept.wait("w", 9, Takes::All, 0), []);
    assert_eq!(kept.ended(grants[1].fence), []);
    // It is due longer, though it came later.
    assert_eq!(kept.ended(grants[0].fence), [got("w", &["d"])]);
    let fence = *kept.line().sessions.values().next().unwrap();
    kept.ended(fence);
    assert_eq!(names(&kept.take("w", 9, Takes::All)), ["b"]);
    assert_eq!(kept.keys(), ["state"]);
}

#[test]
fn a_run_of_a_session_waits_for_no_other_that_nobody_serves() {
    let kept = Kept::default();
    kept.add(in_session("live", 0));
    let live = kept.take("w", 9, Takes::All);
    kept.add(in_session("served", 2));
    let unserved = DueRun {
        queue: queue("unserved"),
        ..in_session("unserved", 1)
    };
    kept.add(unserved);
    let scope = Takes::Queues(BTreeSet::from([queue("q")]));
    kept.wait("w", 9, scope, 0);
    assert_eq!(kept.ended(live[0].fence), [got("w", &["served"])]);
}

#[test]
fn a_full_queue_holds_up_no_other_and_is_not_looked_at() {
    let kept = Kept::default();
    kept.limit("q", Some(1));
    for number in 0..200 {
        kept.add(due(&format!("r{number}"), number));
    }
    kept.add(DueRun {
        queue: queue("other"),
        ..due("other", 500)
    });
    assert_eq!(names(&kept.take("w", 9, Takes::All)), ["r0", "other"]);
    let before = kept.read.load(Ordering::Relaxed);
    assert_eq!(names(&kept.take("w", 9, Takes::All)), [""; 0]);
    // The line and its limits.
    assert_eq!(kept.read.load(Ordering::Relaxed) - before, 2);
    kept.wait("w", 3, Takes::All, 0);
    let (_had_room, got_now) = kept.limit("q", Some(3));
    assert_eq!(got_now, [got("w", &["r1", "r2"])]);
    kept.wait("w", 1, Takes::All, 0);
    assert_eq!(kept.limit("q", None).1, [got("w", &["r3"])]);
}

#[test]
fn what_was_live_before_there_was_a_limit_counts() {
    let kept = Kept::default();
    for name in ["a", "b", "c"] {
        kept.add(due(name, 1));
    }
    let grants = kept.take("w", 2, Takes::All);
    kept.limit("q", Some(1));
    kept.wait("w", 2, Takes::All, 0);
    assert_eq!(kept.ended(grants[0].fence), []);
    assert_eq!(kept.ended(grants[1].fence), [got("w", &["c"])]);
}

#[test]
fn so_many_queues_have_a_limit_and_no_more() {
    let kept = Kept::default();
    let one = NonZeroU32::new(1);
    let changes = (0..MAX_QUEUE_LIMITS).map(|number| SetLimit {
        queue: queue(&format!("q{number}")),
        limit: one,
    });
    let mut step = kept.begin();
    let had_room = step.limit(changes.collect()).now_or_never().unwrap();
    assert!(had_room.unwrap().into_iter().all(|had_room| had_room));
    kept.keep(step);
    assert_eq!(kept.limit("more", Some(1)).0, [false]);
    assert_eq!(kept.limit("q3", Some(2)).0, [true]);
    assert_eq!(kept.limit("q4", None).0, [true]);
    assert_eq!(kept.limit("more", Some(1)).0, [true]);
    let all = limits(&kept).now_or_never().unwrap().unwrap();
    assert_eq!(all.len(), MAX_QUEUE_LIMITS);
    assert_eq!(all.get(&queue("q3")).unwrap().get(), 2);
}

#[test]
fn a_worker_gets_runs_of_its_scope_alone() {
    let kept = Kept::default();
    for (run, millis) in [("a", 1), ("b", 2)] {
        kept.add(due(run, millis));
    }
    let other = Takes::Queues(BTreeSet::from([queue("other")]));
    assert_eq!(kept.wait("other", 9, other, 0), []);
    let near = Some(Near {
        queue: queue("q"),
        due: at(2),
    });
    let only = Takes::Run {
        run: run("b"),
        near,
    };
    assert_eq!(kept.wait("one", 9, only, 0), [got("one", &["b"])]);
    assert_eq!(names(&kept.take("w", 9, Takes::All)), ["a"]);
}

#[test]
fn who_waits_for_one_run_gets_it_when_it_is_offered() {
    let kept = Kept::default();
    let only = Takes::Run {
        run: run("b"),
        near: None,
    };
    kept.wait("one", 9, only, 0);
    assert_eq!(kept.add(due("a", 1)), []);
    assert_eq!(kept.add(due("b", 2)), [got("one", &["b"])]);
}

#[test]
fn a_worker_waits_once_and_not_for_ever() {
    let kept = Kept::default();
    assert_eq!(kept.wait("w", 1, Takes::All, 0), []);
    let nothing = |awakeable: &str| (awakeable.to_owned(), Vec::new());
    assert_eq!(kept.wait("w", 1, Takes::All, 7), [nothing("w.0")]);
    let report = |at| Report { at, ..NOTHING };
    assert_eq!(kept.report(report(at(7).plus(STALE))), []);
    assert_eq!(kept.report(report(at(8).plus(STALE))), [nothing("w.7")]);
    kept.wait("w", 1, Takes::All, 9);
    let mut step = kept.begin();
    step.withdraw(&WorkerId::new("w").unwrap());
    assert_eq!(kept.keep(step), [nothing("w.9")]);
}

#[test]
fn a_forgotten_run_is_granted_no_more() {
    let kept = Kept::default();
    kept.add(in_session("live", 0));
    kept.take("w", 1, Takes::All);
    kept.add(in_session("aside", 1));
    kept.add(due("on_a_page", 1));
    kept.add(due("left", 1));
    for run in [in_session("aside", 1), due("on_a_page", 1), due("left", 9)] {
        kept.report(Report {
            forgotten: Some(run),
            ..NOTHING
        });
    }
    assert_eq!(names(&kept.take("w", 9, Takes::All)), ["left"]);
    assert_eq!(kept.keys(), ["state"]);
}

#[test]
fn a_fence_is_never_used_again() {
    let kept = Kept::default();
    let mut fences = BTreeSet::new();
    for number in 0..5 {
        kept.add(due("a", number));
        let fence = kept.take("w", 1, Takes::All)[0].fence;
        assert!(fences.insert(fence));
        kept.ended(fence);
    }
    assert!(kept.line().live.is_empty());
}

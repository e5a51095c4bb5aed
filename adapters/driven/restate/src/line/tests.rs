use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::*;

/// A line with its pages.
#[derive(Default)]
struct Kept {
    line: Line,
    pages: BTreeMap<u64, Vec<Queued>>,
    limits: Limits,
    /// How many pages were read.
    read: usize,
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn due(run: &str, millis: i64) -> DueRun {
    DueRun {
        run: RunId::new(run).unwrap(),
        epoch: 1,
        due: at(millis),
        queue: queue("q"),
        session: None,
    }
}

impl Kept {
    fn add(&mut self, run: DueRun) {
        let page = self.line.page_for(run.due);
        let page = page.map(|page| (page, self.pages.remove(&page).unwrap()));
        for (page, runs) in self.line.queue(run, page) {
            self.pages.insert(page, runs);
        }
    }

    fn wait(&mut self, worker: &str, room: usize, scope: Takes, now: i64) -> Vec<Answer> {
        self.line.wait(Wait {
            at: at(now),
            take: Take {
                worker: WorkerId::new(worker).unwrap(),
                scope,
                room,
            },
            awakeable: format!("{worker}.{now}"),
        })
    }

    /// Who got which runs.
    fn give(&mut self) -> Vec<(String, Vec<String>)> {
        let mut giving = self.line.give();
        for page in self.line.pages() {
            if !self.line.wants_more(&giving) {
                break;
            }
            self.read += 1;
            let runs = self.pages.get_mut(&page).unwrap();
            if self.line.give_from(runs, &self.limits, &mut giving) {
                self.line.keep(page, runs);
                if runs.is_empty() {
                    self.pages.remove(&page);
                }
            }
        }
        let names = |answer: Answer| {
            let runs = answer.grants.iter().map(|grant| grant.run.to_string());
            (answer.awakeable, runs.collect())
        };
        self.line.given(giving).into_iter().map(names).collect()
    }

    fn fence_of(&self, run: &str) -> u64 {
        let mut granted = self.line.granted.iter();
        let found = granted.find(|(_fence, granted)| granted.run.as_str() == run);
        *found.unwrap().0
    }
}

fn got(worker: &str, runs: &[&str]) -> (String, Vec<String>) {
    let runs = runs.iter().map(ToString::to_string).collect();
    (format!("{worker}.0"), runs)
}

#[test]
fn the_oldest_due_goes_to_who_waits_longest() {
    let mut kept = Kept::default();
    for (run, millis) in [("c", 3), ("a", 1), ("b", 2), ("d", 4)] {
        kept.add(due(run, millis));
    }
    kept.wait("v", 1, Takes::All, 0);
    kept.wait("w", 2, Takes::All, 0);
    assert_eq!(kept.give(), [got("v", &["a"]), got("w", &["b", "c"])]);
    // Both were answered: nobody waits for the last.
    assert_eq!(kept.give(), []);
}

#[test]
fn many_runs_lie_on_many_pages_in_their_order_and_few_are_read() {
    let mut kept = Kept::default();
    // In an order that is none.
    for number in 0..1_000_i64 {
        let millis = number * 577 % 1_000;
        kept.add(due(&format!("r{millis}"), millis));
    }
    assert!(
        kept.pages
            .values()
            .all(|page| (1..=PAGE).contains(&page.len()))
    );
    kept.wait("w", 5, Takes::All, 0);
    let first: Vec<String> = (0..5).map(|number| format!("r{number}")).collect();
    assert_eq!(kept.give(), [("w.0".to_owned(), first)]);
    assert_eq!(kept.read, 1);
    kept.wait("w", 2_000, Takes::All, 0);
    let rest: Vec<String> = (5..1_000).map(|number| format!("r{number}")).collect();
    assert_eq!(kept.give(), [("w.0".to_owned(), rest)]);
    assert!(kept.pages.is_empty() && kept.line.pages().is_empty());
}

#[test]
fn of_a_session_one_run_is_granted_until_its_lease_has_ended() {
    let mut kept = Kept::default();
    let session = Some(SessionId::new("s").unwrap());
    for (run, millis) in [("a", 1), ("b", 2)] {
        let session = session.clone();
        kept.add(DueRun {
            session,
            ..due(run, millis)
        });
    }
    kept.add(due("c", 3));
    kept.wait("w", 9, Takes::All, 0);
    assert_eq!(kept.give(), [got("w", &["a", "c"])]);
    kept.wait("w", 9, Takes::All, 0);
    assert_eq!(kept.give(), []);
    let fence = kept.fence_of("a");
    kept.line.ended(fence);
    assert_eq!(kept.give(), [got("w", &["b"])]);
}

#[test]
fn a_full_queue_holds_up_no_other() {
    let mut kept = Kept::default();
    kept.limits.insert(queue("q"), NonZeroU32::new(1).unwrap());
    for (run, millis) in [("a", 1), ("b", 2)] {
        kept.add(due(run, millis));
    }
    kept.add(DueRun {
        queue: queue("other"),
        ..due("c", 3)
    });
    kept.wait("w", 9, Takes::All, 0);
    assert_eq!(kept.give(), [got("w", &["a", "c"])]);
    kept.limits.clear();
    kept.wait("w", 9, Takes::All, 0);
    assert!(kept.line.has_both());
    assert_eq!(kept.give(), [got("w", &["b"])]);
}

#[test]
fn a_worker_gets_runs_of_its_scope_alone() {
    let mut kept = Kept::default();
    for (run, millis) in [("a", 1), ("b", 2)] {
        kept.add(due(run, millis));
    }
    kept.wait(
        "other",
        9,
        Takes::Queues(BTreeSet::from([queue("other")])),
        0,
    );
    kept.wait("one", 9, Takes::Run(RunId::new("b").unwrap()), 0);
    assert_eq!(kept.give(), [got("one", &["b"])]);
}

#[test]
fn a_worker_waits_once_and_not_for_ever() {
    let mut kept = Kept::default();
    assert_eq!(kept.wait("w", 1, Takes::All, 0), []);
    let nothing = |awakeable: &str| Answer {
        awakeable: awakeable.to_owned(),
        grants: Vec::new(),
    };
    assert_eq!(kept.wait("w", 1, Takes::All, 7), [nothing("w.0")]);
    let later = at(8).plus(STALE);
    assert_eq!(kept.line.stale(at(7).plus(STALE)), []);
    assert_eq!(kept.line.stale(later), [nothing("w.7")]);
}

#[test]
fn who_leaves_gives_back_what_it_did_not_begin() {
    let mut kept = Kept::default();
    kept.add(due("a", 1));
    kept.wait("w", 1, Takes::All, 0);
    assert_eq!(kept.give(), [got("w", &["a"])]);
    kept.wait("w", 1, Takes::All, 0);
    let (answers, granted) = kept.line.withdraw(&WorkerId::new("w").unwrap());
    assert_eq!(answers.len(), 1);
    let fence = kept.fence_of("a");
    let check = Check { fence, epoch: 1 };
    assert_eq!(granted, [(RunId::new("a").unwrap(), check)]);
}

#[test]
fn a_fence_is_never_used_again() {
    let mut kept = Kept::default();
    let mut fences = BTreeSet::new();
    for number in 0..5 {
        kept.add(due("a", number));
        kept.wait("w", 1, Takes::All, 0);
        kept.give();
        let fence = kept.fence_of("a");
        assert!(fences.insert(fence));
        kept.line.ended(fence);
    }
    kept.line.forgotten(&RunId::new("a").unwrap());
    assert!(kept.line.granted.is_empty());
}

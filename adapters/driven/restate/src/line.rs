//! Which worker gets which run. Nothing here knows of Restate: what has to be answered is returned.
//!
//! One object decides it for all, because each decision is about several things at once: who is due longest, whose session
//! is free, which queue has room, and which worker waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seaworthy_ports::{QueueName, RunId, SessionId, Timestamp, WorkerId};
use serde::{Deserialize, Serialize};

use crate::wire::{Check, DueRun, Grant, Limits, Take, Takes, Wait};

/// How long a take that nobody renewed is believed.
const STALE: Duration = Duration::from_secs(90);
/// How many runs one page holds. A page is read and written as a whole.
const PAGE: usize = 64;

/// What is kept of all workers, and where to find the runs that wait for them.
///
/// The runs are on pages of their own, oldest due first, so that a decision reads and writes a few of them, however many
/// wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    last_fence: u64,
    last_number: u64,
    last_page: u64,
    /// In the order in which they came.
    takes: Vec<Waiter>,
    /// In the order of what is on them; none is empty.
    pages: Vec<PageOf>,
    granted: BTreeMap<u64, Granted>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Waiter {
    #[serde(with = "crate::wire::millis")]
    at: Timestamp,
    take: Take,
    awakeable: String,
}

/// Where a page is, and what it begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PageOf {
    page: u64,
    #[serde(with = "crate::wire::millis")]
    due: Timestamp,
    number: u64,
}

/// A run on a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queued {
    number: u64,
    run: DueRun,
}

impl Queued {
    pub(crate) fn is_of(&self, run: &RunId) -> bool {
        self.run.run == *run
    }

    fn place(&self) -> (Timestamp, u64) {
        (self.run.due, self.number)
    }
}

/// A run that was given to a worker, until its lease has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Granted {
    run: RunId,
    epoch: u64,
    queue: QueueName,
    session: Option<SessionId>,
    worker: WorkerId,
}

/// An awakeable, and what it is resolved with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) awakeable: String,
    pub(crate) grants: Vec<Grant>,
}

impl Line {
    /// A lease has ended.
    pub(crate) fn ended(&mut self, fence: u64) {
        self.granted.remove(&fence);
    }

    /// A run was forgotten; the pages have to be told too.
    pub(crate) fn forgotten(&mut self, run: &RunId) {
        self.granted.retain(|_fence, granted| granted.run != *run);
    }

    /// All pages, in the order of what is on them.
    pub(crate) fn pages(&self) -> Vec<u64> {
        self.pages.iter().map(|page| page.page).collect()
    }

    /// The page on which a run that is due then belongs; `None`: there is no page yet.
    pub(crate) fn page_for(&self, due: Timestamp) -> Option<u64> {
        let after = self.pages.partition_point(|page| page.due <= due);
        let page = self.pages.get(after.saturating_sub(1));
        page.map(|page| page.page)
    }

    /// Puts a run onto its page, which is given and handed back. A page that has become too long is parted; then the new
    /// one is handed back too.
    pub(crate) fn queue(
        &mut self,
        run: DueRun,
        page: Option<(u64, Vec<Queued>)>,
    ) -> Vec<(u64, Vec<Queued>)> {
        self.last_number += 1;
        let queued = Queued {
            number: self.last_number,
            run,
        };
        let (page, mut runs) = page.unwrap_or_else(|| (self.new_page(), Vec::new()));
        let place = runs.partition_point(|other| other.place() < queued.place());
        runs.insert(place, queued);
        let mut changed = Vec::new();
        if runs.len() > PAGE {
            // Runs are mostly added at the end: a full page stays nearly full.
            let half = if place + 1 == runs.len() {
                runs.len() - 1
            } else {
                runs.len() / 2
            };
            let rest = runs.split_off(half);
            let new = self.new_page();
            self.keep(page, &runs);
            self.keep(new, &rest);
            changed.push((new, rest));
        } else {
            self.keep(page, &runs);
        }
        changed.push((page, runs));
        changed
    }

    fn new_page(&mut self) -> u64 {
        self.last_page += 1;
        self.last_page
    }

    /// Notes what a page begins with.
    pub(crate) fn keep(&mut self, page: u64, runs: &[Queued]) {
        self.pages.retain(|known| known.page != page);
        let Some(first) = runs.first() else {
            return;
        };
        let (due, number) = first.place();
        let place = self
            .pages
            .partition_point(|known| (known.due, known.number) < (due, number));
        self.pages.insert(place, PageOf { page, due, number });
    }

    /// A worker waits for runs. Returned: those that listen no longer.
    pub(crate) fn wait(&mut self, wait: Wait) -> Vec<Answer> {
        // It waits once: what it waited for before, it no longer listens to.
        let mut answers = self.dismiss(|waiter| waiter.take.worker == wait.take.worker);
        answers.extend(self.dismiss(|waiter| waiter.at.plus(STALE) < wait.at));
        self.takes.push(Waiter {
            at: wait.at,
            take: wait.take,
            awakeable: wait.awakeable,
        });
        answers
    }

    /// Those that have not been heard of for long.
    pub(crate) fn stale(&mut self, now: Timestamp) -> Vec<Answer> {
        self.dismiss(|waiter| waiter.at.plus(STALE) < now)
    }

    /// A worker waits no more. Also returned: what it was granted.
    pub(crate) fn withdraw(&mut self, worker: &WorkerId) -> (Vec<Answer>, Vec<(RunId, Check)>) {
        let answers = self.dismiss(|waiter| waiter.take.worker == *worker);
        let granted = self
            .granted
            .iter()
            .filter(|(_fence, granted)| granted.worker == *worker);
        let granted = granted
            .map(|(fence, granted)| {
                let check = Check {
                    fence: *fence,
                    epoch: granted.epoch,
                };
                (granted.run.clone(), check)
            })
            .collect();
        (answers, granted)
    }

    /// Answers those with nothing.
    fn dismiss(&mut self, which: impl Fn(&Waiter) -> bool) -> Vec<Answer> {
        self.takes
            .extract_if(.., |waiter| which(waiter))
            .map(|waiter| Answer {
                awakeable: waiter.awakeable,
                grants: Vec::new(),
            })
            .collect()
    }

    /// Whether somebody waits and something is due.
    pub(crate) fn has_both(&self) -> bool {
        !self.takes.is_empty() && !self.pages.is_empty()
    }

    /// Begins to give due runs to those who wait.
    pub(crate) fn give(&self) -> Giving {
        Giving {
            busy: Busy::of(&self.granted),
            given: vec![Vec::new(); self.takes.len()],
        }
    }

    /// Whether another page may be of use.
    pub(crate) fn wants_more(&self, giving: &Giving) -> bool {
        let mut takes = self.takes.iter().zip(&giving.given);
        takes.any(|(waiter, grants)| grants.len() < waiter.take.room)
    }

    /// Gives what is on a page to those who wait, as far as sessions and limits allow, and says whether that was anything.
    pub(crate) fn give_from(
        &mut self,
        runs: &mut Vec<Queued>,
        limits: &Limits,
        giving: &mut Giving,
    ) -> bool {
        let before = runs.len();
        runs.retain(|queued| {
            let due = &queued.run;
            if !giving.busy.admits(due, limits) {
                return true;
            }
            let mut takes = self.takes.iter().zip(&mut giving.given);
            let wanted = takes.find(|(waiter, grants)| {
                grants.len() < waiter.take.room && is_wanted(&waiter.take.scope, due)
            });
            let Some((waiter, grants)) = wanted else {
                return true;
            };
            self.last_fence += 1;
            giving.busy.add(due);
            grants.push(Grant {
                run: due.run.clone(),
                fence: self.last_fence,
                epoch: due.epoch,
            });
            let granted = Granted {
                run: due.run.clone(),
                epoch: due.epoch,
                queue: due.queue.clone(),
                session: due.session.clone(),
                worker: waiter.take.worker.clone(),
            };
            self.granted.insert(self.last_fence, granted);
            false
        });
        runs.len() < before
    }

    /// The answers to those who got something; they wait no more.
    pub(crate) fn given(&mut self, giving: Giving) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut left = Vec::new();
        for (waiter, grants) in std::mem::take(&mut self.takes)
            .into_iter()
            .zip(giving.given)
        {
            if grants.is_empty() {
                left.push(waiter);
            } else {
                answers.push(Answer {
                    awakeable: waiter.awakeable,
                    grants,
                });
            }
        }
        self.takes = left;
        answers
    }
}

/// Due runs on their way to those who wait.
#[derive(Debug)]
pub(crate) struct Giving {
    busy: Busy,
    /// By waiter.
    given: Vec<Vec<Grant>>,
}

fn is_wanted(scope: &Takes, due: &DueRun) -> bool {
    match scope {
        Takes::All => true,
        Takes::Queues(queues) => queues.contains(&due.queue),
        Takes::Run(run) => due.run == *run,
    }
}

/// What live leases take up.
#[derive(Debug, Default)]
struct Busy {
    queues: BTreeMap<QueueName, u32>,
    sessions: BTreeSet<SessionId>,
}

impl Busy {
    fn of(granted: &BTreeMap<u64, Granted>) -> Self {
        let mut busy = Self::default();
        for one in granted.values() {
            busy.take_up(&one.queue, one.session.as_ref());
        }
        busy
    }

    fn take_up(&mut self, queue: &QueueName, session: Option<&SessionId>) {
        *self.queues.entry(queue.clone()).or_default() += 1;
        self.sessions.extend(session.cloned());
    }

    fn add(&mut self, due: &DueRun) {
        self.take_up(&due.queue, due.session.as_ref());
    }

    fn admits(&self, due: &DueRun, limits: &Limits) -> bool {
        let is_session_free = due
            .session
            .as_ref()
            .is_none_or(|session| !self.sessions.contains(session));
        let has_room = limits
            .get(&due.queue)
            .is_none_or(|limit| self.queues.get(&due.queue).copied().unwrap_or(0) < limit.get());
        is_session_free && has_room
    }
}

#[cfg(test)]
mod tests;

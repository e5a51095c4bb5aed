//! Which worker gets which run. Nothing here knows of Restate: what is read comes from a [`Shelf`], and what has to be
//! written and answered is returned.
//!
//! One object decides it for all, because each decision is about several things at once: who is due longest, whose session
//! is free, which queue has room, and which worker waits. A decision costs the same however many runs wait:
//!
//! * they are on pages by queue, of which the first one alone is looked at, and added to the last one unread;
//! * a queue that is full or that nobody serves is passed over as a whole;
//! * those of a session that is busy are put aside until it is free.

mod list;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_ports::{QueueName, SessionId, Timestamp, WorkerId};
use serde::{Deserialize, Serialize};

use crate::wire::{DueRun, Grant, Take};
pub(crate) use list::Shelf;
pub(crate) use step::{Changes, Step, limits};

/// What is kept of all workers, and where to find the runs that wait for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    last_fence: u64,
    last_number: u64,
    last_page: u64,
    /// In the order in which they came.
    takes: Vec<Waiter>,
    /// Where the due runs of each queue are, in their order. Neither a queue nor a page is empty.
    queues: BTreeMap<QueueName, Vec<PageOf>>,
    /// The fences of what was given to workers, until its lease has ended.
    live: BTreeMap<QueueName, BTreeSet<u64>>,
    /// Which of these a session is busy with.
    sessions: BTreeMap<SessionId, u64>,
    /// Whether any queue has a limit.
    is_limited: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Waiter {
    #[serde(with = "crate::wire::millis")]
    at: Timestamp,
    take: Take,
    /// `None`: it is answered in this step, whatever there is.
    awakeable: Option<String>,
}

/// Where a page is, and what is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PageOf {
    page: u64,
    first: Place,
    last: Place,
    runs: usize,
}

/// The older, the smaller. No two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place {
    #[serde(with = "crate::wire::millis")]
    due: Timestamp,
    number: u64,
}

/// A due run in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Queued {
    number: u64,
    run: DueRun,
}

impl Queued {
    fn place(&self) -> Place {
        Place {
            due: self.run.due,
            number: self.number,
        }
    }
}

/// An awakeable, and what it is resolved with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) awakeable: String,
    pub(crate) grants: Vec<Grant>,
}

impl Line {
    /// Says that a lease has ended, and whose session is free by it.
    fn ended(&mut self, fence: u64) -> Option<SessionId> {
        self.live.retain(|_queue, fences| {
            fences.remove(&fence);
            !fences.is_empty()
        });
        let mut sessions = self.sessions.iter();
        let freed = sessions.find(|(_session, with)| **with == fence);
        let freed = freed.map(|(session, _with)| session.clone())?;
        self.sessions.remove(&freed);
        Some(freed)
    }

    fn is_busy(&self, session: Option<&SessionId>) -> bool {
        session.is_some_and(|session| self.sessions.contains_key(session))
    }

    fn live_in(&self, queue: &QueueName) -> usize {
        self.live.get(queue).map_or(0, BTreeSet::len)
    }

    /// Notes that a run was given to a worker.
    fn grant(&mut self, due: DueRun) -> Grant {
        self.last_fence += 1;
        let fence = self.last_fence;
        if let Some(session) = due.session {
            self.sessions.insert(session, fence);
        }
        self.live.entry(due.queue).or_default().insert(fence);
        Grant {
            run: due.run,
            fence,
            epoch: due.epoch,
        }
    }

    /// Answers those with nothing.
    fn dismiss(&mut self, which: impl Fn(&Waiter) -> bool) -> Vec<Answer> {
        let dismissed = self.takes.extract_if(.., |waiter| which(waiter));
        let answers = dismissed.filter_map(|waiter| {
            Some(Answer {
                awakeable: waiter.awakeable?,
                grants: Vec::new(),
            })
        });
        answers.collect()
    }

    fn dismiss_worker(&mut self, worker: &WorkerId) -> Vec<Answer> {
        self.dismiss(|waiter| waiter.take.worker == *worker)
    }
}

#[cfg(test)]
mod tests;

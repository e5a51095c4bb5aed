//! Which worker gets which run. Nothing here knows of Restate: what has to be answered is returned.
//!
//! One object decides it for all, because each decision is about several things at once: who is due longest, whose session
//! is free, which queue has room, and which worker waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seaworthy_ports::{QueueName, RunId, SessionId, Timestamp, WorkerId};
use serde::{Deserialize, Serialize};

use crate::wire::{Check, DueRun, Grant, Limits, Report, Take, Takes, Wait};

/// How long a take that nobody renewed is believed.
const STALE: Duration = Duration::from_secs(90);

/// What is kept of all workers and of the runs that wait for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    last_fence: u64,
    last_number: u64,
    /// In the order in which they came.
    takes: Vec<Waiter>,
    /// Oldest due first.
    due: Vec<Queued>,
    granted: BTreeMap<u64, Granted>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Waiter {
    #[serde(with = "crate::wire::millis")]
    at: Timestamp,
    take: Take,
    awakeable: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Queued {
    number: u64,
    run: DueRun,
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
    /// A run says what became of it.
    pub(crate) fn report(&mut self, report: Report, limits: &Limits) -> Vec<Answer> {
        if let Some(fence) = report.ended {
            self.granted.remove(&fence);
        }
        if let Some(run) = report.forgotten {
            self.granted.retain(|_fence, granted| granted.run != run);
            self.due.retain(|queued| queued.run.run != run);
        }
        if let Some(run) = report.due {
            self.last_number += 1;
            let number = self.last_number;
            let place = self
                .due
                .partition_point(|queued| (queued.run.due, queued.number) < (run.due, number));
            self.due.insert(place, Queued { number, run });
        }
        self.answers(report.at, limits)
    }

    /// A worker waits for runs.
    pub(crate) fn wait(&mut self, wait: Wait, limits: &Limits) -> Vec<Answer> {
        // It waits once: what it waited for before, it no longer listens to.
        let mut answers = self.dismiss(|waiter| waiter.take.worker == wait.take.worker);
        self.takes.push(Waiter {
            at: wait.at,
            take: wait.take,
            awakeable: wait.awakeable,
        });
        answers.extend(self.answers(wait.at, limits));
        answers
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

    /// A limit was changed: there may be room.
    pub(crate) fn again(&mut self, limits: &Limits) -> Vec<Answer> {
        let latest = self.takes.iter().map(|waiter| waiter.at).max();
        latest.map_or_else(Vec::new, |latest| self.answers(latest, limits))
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

    /// Gives due runs to those who wait, as far as sessions and limits allow.
    fn answers(&mut self, now: Timestamp, limits: &Limits) -> Vec<Answer> {
        let mut answers = self.dismiss(|waiter| waiter.at.plus(STALE) < now);
        if self.due.is_empty() || self.takes.is_empty() {
            return answers;
        }
        let mut busy = Busy::of(&self.granted);
        for waiter in std::mem::take(&mut self.takes) {
            let mut grants = Vec::new();
            let granted = &mut self.granted;
            let last_fence = &mut self.last_fence;
            // One pass in due order: a grant only ever makes sessions and queues busier.
            self.due.retain(|queued| {
                let is_given = grants.len() < waiter.take.room
                    && is_wanted(&waiter.take.scope, &queued.run)
                    && busy.admits(&queued.run, limits);
                if is_given {
                    *last_fence += 1;
                    busy.add(&queued.run);
                    grants.push(Grant {
                        run: queued.run.run.clone(),
                        fence: *last_fence,
                        epoch: queued.run.epoch,
                    });
                    granted.insert(
                        *last_fence,
                        Granted {
                            run: queued.run.run.clone(),
                            epoch: queued.run.epoch,
                            queue: queued.run.queue.clone(),
                            session: queued.run.session.clone(),
                            worker: waiter.take.worker.clone(),
                        },
                    );
                }
                !is_given
            });
            if grants.is_empty() {
                self.takes.push(waiter);
            } else {
                answers.push(Answer {
                    awakeable: waiter.awakeable,
                    grants,
                });
            }
        }
        answers
    }
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

//! The state of one run, and its transitions. Nothing here knows of Restate: what has to be sent is returned.

use std::time::Duration;

use seaworthy_polling::redelivery_delay;
use seaworthy_ports::durable_runtime::MAX_WAITING_SIGNALS;
use seaworthy_ports::{QueueName, RunId, SessionId, SignalId, Timestamp, WorkerId};
use serde::{Deserialize, Serialize};

use crate::wire::{
    Check, DueRun, End, Letter, Payload, Renew, Report, SendSignal, Sent, SettleTurn, Stands,
    StartTurn, SubmitRun, TO_BEGIN,
};

/// The largest payload that is kept with the run's state. A larger one has a key of its own.
const INLINE: usize = 512;
/// How many bytes of payloads are kept with the run's state, which every step reads and writes.
const INLINE_IN_ALL: usize = 16 * 1024;

/// What is kept of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) queue: QueueName,
    session: Option<SessionId>,
    pub(crate) state: Stands,
    pub(crate) deliveries: u32,
    failures: u32,
    /// Rises whenever the schedule changes, so that a timer or grant of an earlier schedule is known as such.
    epoch: u64,
    /// Where the epochs of this life began. A run that was forgotten may have had others.
    life: u64,
    /// The fence of the last turn that was begun.
    begun: Option<u64>,
    pub(crate) waiting: Vec<Waiting>,
    next_position: u64,
    /// The fence of the turn that was settled last: its settlement may come twice.
    settled: Option<u64>,
}

/// A signal that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) position: u64,
    pub(crate) id: SignalId,
    /// `None`: it has a key of its own.
    pub(crate) payload: Option<Payload>,
}

/// What a transition asks to be sent and written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) report: Option<Report>,
    /// To itself.
    pub(crate) wake: Option<(u64, Duration)>,
    /// To itself.
    pub(crate) check: Option<(Check, Duration)>,
    /// To the bell of the worker that holds it.
    pub(crate) ring: Option<WorkerId>,
    /// The payload to write under its position.
    pub(crate) store: Option<(u64, Payload)>,
    /// The positions whose payloads are no longer needed.
    pub(crate) clear: Vec<u64>,
}

impl Effects {
    fn ending(fence: u64, now: Timestamp) -> Self {
        Self {
            report: Some(ended(fence, now)),
            ..Self::default()
        }
    }
}

impl Run {
    /// A run that nobody knew.
    pub(crate) fn new(submit: SubmitRun, id: &RunId, now: Timestamp) -> (Self, Effects) {
        let due = submit.not_before.unwrap_or(now);
        // Timers of an earlier life must not find their epoch again.
        let life = u64::try_from(now.as_millis())
            .unwrap_or(0)
            .saturating_mul(1 << 16);
        let mut run = Self {
            queue: submit.queue,
            session: submit.session,
            state: Stands::Due { due },
            deliveries: 0,
            failures: 0,
            epoch: life,
            life,
            begun: None,
            waiting: Vec::new(),
            next_position: 1,
            settled: None,
        };
        let mut effects = Effects::default();
        run.become_due(due, id, now, &mut effects);
        (run, effects)
    }

    fn become_due(&mut self, due: Timestamp, id: &RunId, now: Timestamp, effects: &mut Effects) {
        self.state = Stands::Due { due };
        self.epoch += 1;
        if due > now {
            effects.wake = Some((self.epoch, due.since(now)));
        } else {
            self.offer(due, id, now, effects);
        }
    }

    fn offer(&self, due: Timestamp, id: &RunId, now: Timestamp, effects: &mut Effects) {
        let report = effects.report.get_or_insert(Report {
            at: now,
            ended: None,
            due: None,
            forgotten: None,
        });
        report.due = Some(self.waiting_since(due, id));
    }

    fn waiting_since(&self, due: Timestamp, id: &RunId) -> DueRun {
        DueRun {
            run: id.clone(),
            epoch: self.epoch,
            due,
            queue: self.queue.clone(),
            session: self.session.clone(),
        }
    }

    /// What has to be said when the run is forgotten.
    pub(crate) fn forgotten(&self, id: &RunId, now: Timestamp) -> Option<Report> {
        let (ended, forgotten) = match self.state {
            Stands::Leased { fence, .. } => (Some(fence), None),
            Stands::Due { due } => (None, Some(self.waiting_since(due, id))),
            Stands::Parked { .. } | Stands::Finished => return None,
        };
        Some(Report {
            at: now,
            ended,
            due: None,
            forgotten,
        })
    }

    /// Takes in a signal whose id is new.
    pub(crate) fn signal(
        &mut self,
        signal: SendSignal,
        id: &RunId,
        now: Timestamp,
    ) -> (Sent, Effects) {
        let mut effects = Effects::default();
        if self.waiting.len() >= MAX_WAITING_SIGNALS {
            return (Sent::Full, effects);
        }
        let position = self.next_position;
        self.next_position += 1;
        let size = signal.payload.0.len();
        let payload = if size <= INLINE && self.inline_bytes() + size <= INLINE_IN_ALL {
            Some(signal.payload)
        } else {
            effects.store = Some((position, signal.payload));
            None
        };
        self.waiting.push(Waiting {
            position,
            id: signal.id,
            payload,
        });
        match &self.state {
            Stands::Parked { .. } => self.become_due(now, id, now, &mut effects),
            Stands::Leased { worker, .. } => effects.ring = Some(worker.clone()),
            Stands::Due { .. } | Stands::Finished => {}
        }
        (Sent::Accepted, effects)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.state == Stands::Finished
    }

    /// All that waits, if all of it is kept with this state.
    pub(crate) fn letters(&self) -> Option<Vec<Letter>> {
        let letters = self.waiting.iter().map(|one| {
            Some(Letter {
                position: one.position,
                id: one.id.clone(),
                payload: one.payload.clone()?,
            })
        });
        letters.collect()
    }

    fn inline_bytes(&self) -> usize {
        let payloads = self.waiting.iter().filter_map(|one| one.payload.as_ref());
        payloads.map(|payload| payload.0.len()).sum()
    }

    /// Makes a finished run due.
    pub(crate) fn resubmit(&mut self, id: &RunId, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        if self.state == Stands::Finished {
            self.failures = 0;
            self.become_due(now, id, now, &mut effects);
        }
        effects
    }

    /// A timer of this schedule has fired.
    pub(crate) fn wake(&mut self, epoch: u64, id: &RunId, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        if epoch != self.epoch {
            return effects;
        }
        let at = match self.state {
            Stands::Due { due } => due,
            Stands::Parked {
                wake_at: Some(wake_at),
            } => wake_at,
            _ => return effects,
        };
        if at > now {
            // The timer's clock is fast.
            effects.wake = Some((epoch, at.since(now)));
        } else if matches!(self.state, Stands::Parked { .. }) {
            self.become_due(at, id, now, &mut effects);
        } else {
            self.offer(at, id, now, &mut effects);
        }
        effects
    }

    /// Begins a turn, if the grant is of this schedule. Says whether.
    pub(crate) fn start(&mut self, start: StartTurn, now: Timestamp) -> (bool, Effects) {
        let is_due = matches!(self.state, Stands::Due { due } if due <= now);
        if is_due && start.epoch == self.epoch {
            self.state = Stands::Leased {
                worker: start.worker,
                fence: start.fence,
                expires: now.plus(Duration::from_millis(start.ttl)),
            };
            let ttl = Duration::from_millis(start.ttl);
            let check = Check {
                fence: start.fence,
                epoch: self.epoch,
            };
            self.epoch += 1;
            self.begun = Some(start.fence);
            self.deliveries = self.deliveries.saturating_add(1);
            let effects = Effects {
                // Whoever granted it looks again too, but later than a short lease ends.
                check: (ttl < TO_BEGIN).then_some((check, ttl)),
                ..Effects::default()
            };
            return (true, effects);
        }
        // The same worker asks twice: its first question was answered, but it did not hear it.
        let is_repeated = matches!(&self.state, Stands::Leased { worker, fence, .. }
            if *fence == start.fence && *worker == start.worker);
        if is_repeated {
            return (true, Effects::default());
        }
        (false, Effects::ending(start.fence, now))
    }

    /// Extends the lease, if it is held under this fence and not over.
    pub(crate) fn renew(&mut self, renew: Renew, now: Timestamp) -> bool {
        match &mut self.state {
            Stands::Leased { fence, expires, .. } if *fence == renew.fence && now < *expires => {
                *expires = (*expires).max(now.plus(Duration::from_millis(renew.ttl)));
                true
            }
            _ => false,
        }
    }

    /// A grant of an earlier life, or one that comes after all that were begun.
    fn was_never_begun(&self, check: Check) -> bool {
        check.epoch < self.life || self.begun.is_none_or(|begun| begun < check.fence)
    }

    /// Ends a lease that is over, and offers again what was granted and never begun.
    pub(crate) fn check(&mut self, check: Check, id: &RunId, now: Timestamp) -> Effects {
        match self.state {
            Stands::Leased { fence, expires, .. } if fence == check.fence => {
                if now < expires {
                    return Effects {
                        check: Some((check, expires.since(now))),
                        ..Effects::default()
                    };
                }
                let mut effects = Effects::ending(fence, now);
                self.become_due(expires, id, now, &mut effects);
                effects
            }
            Stands::Due { due } if check.epoch == self.epoch => {
                let mut effects = Effects::ending(check.fence, now);
                self.become_due(due, id, now, &mut effects);
                effects
            }
            _ if self.was_never_begun(check) => Effects::ending(check.fence, now),
            _ => Effects::default(),
        }
    }

    /// Ends a turn, if its lease is held under its fence and not over. Says whether.
    pub(crate) fn settle(
        &mut self,
        settle: SettleTurn,
        id: &RunId,
        now: Timestamp,
    ) -> (bool, Effects) {
        if self.settled == Some(settle.fence) {
            return (true, Effects::default());
        }
        let is_held = matches!(self.state, Stands::Leased { fence, expires, .. }
            if fence == settle.fence && now < expires);
        if !is_held {
            return (false, Effects::default());
        }
        self.settled = Some(settle.fence);
        let mut effects = Effects::ending(settle.fence, now);
        match settle.end {
            End::Park { consumed, wake_at } => {
                self.consume(&consumed, &mut effects);
                self.failures = 0;
                let has_new = self.waiting.iter().any(|one| one.position > settle.seen);
                match wake_at {
                    _ if has_new => self.become_due(now, id, now, &mut effects),
                    Some(wake_at) if wake_at <= now => {
                        self.become_due(wake_at, id, now, &mut effects);
                    }
                    _ => self.park(wake_at, now, &mut effects),
                }
            }
            End::Again { consumed, after } => {
                self.consume(&consumed, &mut effects);
                self.failures = 0;
                let due = now.plus(Duration::from_millis(after));
                self.become_due(due, id, now, &mut effects);
            }
            End::Done { consumed } => {
                self.consume(&consumed, &mut effects);
                self.failures = 0;
                self.state = Stands::Finished;
                self.epoch += 1;
            }
            End::Failed => {
                self.failures = self.failures.saturating_add(1);
                let due = now.plus(redelivery_delay(self.failures));
                self.become_due(due, id, now, &mut effects);
            }
            End::Released => self.become_due(now, id, now, &mut effects),
        }
        (true, effects)
    }

    fn park(&mut self, wake_at: Option<Timestamp>, now: Timestamp, effects: &mut Effects) {
        self.state = Stands::Parked { wake_at };
        self.epoch += 1;
        effects.wake = wake_at.map(|wake_at| (self.epoch, wake_at.since(now)));
    }

    fn consume(&mut self, consumed: &[SignalId], effects: &mut Effects) {
        if consumed.is_empty() {
            return;
        }
        let consumed: std::collections::HashSet<&SignalId> = consumed.iter().collect();
        self.waiting.retain(|one| {
            let is_left = !consumed.contains(&one.id);
            if !is_left && one.payload.is_none() {
                effects.clear.push(one.position);
            }
            is_left
        });
    }
}

/// What has to be said of a grant whose run nobody knows any more.
pub(crate) const fn ended(fence: u64, at: Timestamp) -> Report {
    Report {
        at,
        ended: Some(fence),
        due: None,
        forgotten: None,
    }
}

#[cfg(test)]
mod tests;

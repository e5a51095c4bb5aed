//! The steps of the lease loop as calls of the objects. A claim waits at the server until there is work.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use seaworthy_polling::{
    Claim, Claimed, Lease, LeaseKey, LeaseStorage, Presence, Renewed, Settle, Settlement,
    SignalsAfter, WaitingSignal,
};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{RuntimeError, Schedule, ScheduleState, Signal};
use seaworthy_ports::{RunId, Timestamp, WorkerId};
use tokio::sync::Notify;

use crate::ingress::Ingress;
use crate::wire::{
    After, BELL, Described, End, Grant, LINE, Letter, Near, RUN, Renew, SettleTurn, Stands,
    StartTurn, Started, THE_LINE, Take, Takes, Withdraw, whole_millis,
};

/// How many calls one step makes at once.
const AT_ONCE: usize = 16;
/// How soon a claim is withdrawn again.
const WITHDRAW_AGAIN: Duration = Duration::from_millis(50);
/// How long a worker that serves one run waits for it before it looks how the run stands.
const ONE_RUN: Duration = Duration::from_millis(500);

/// What one worker knows of the server.
pub(crate) struct Remote {
    ingress: Ingress,
    clock: Arc<dyn Clock>,
    wait: Duration,
    hurry: Notify,
    mail: Mutex<Mail>,
}

/// For which runs there is something to ask.
#[derive(Debug, Default)]
struct Mail {
    /// What came with the beginning of turns that have not looked yet; `None`: it has to be asked for.
    first: HashMap<RunId, Option<Vec<WaitingSignal>>>,
    held: HashSet<RunId>,
    /// Runs that have, or may have, signals that their turns have not seen.
    rung: HashSet<RunId>,
}

impl Remote {
    pub(crate) fn new(ingress: Ingress, clock: Arc<dyn Clock>, wait: Duration) -> Self {
        Self {
            ingress,
            clock,
            wait,
            hurry: Notify::new(),
            mail: Mutex::default(),
        }
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        // No code panics while it holds the lock, and every step leaves the maps whole.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until runs of this worker have new signals, and remembers which. Where nobody can say, all may have.
    pub(crate) async fn listen(&self, worker: &WorkerId) -> Result<bool, RuntimeError> {
        let timeout = self.wait + self.ingress.timeout();
        let bell = (BELL, worker.as_str());
        let rung: Vec<RunId> = self.ingress.ask(timeout, "serve", bell, "listen").await?;
        let any = !rung.is_empty();
        self.mail().rung.extend(rung);
        Ok(any)
    }

    /// Nobody listened for a while.
    pub(crate) fn suspect_all(&self) {
        let mut mail = self.mail();
        let held = mail.held.clone();
        mail.rung.extend(held);
    }

    async fn withdraw(&self, worker: &WorkerId) -> Result<(), RuntimeError> {
        let withdraw = Withdraw {
            worker: worker.clone(),
        };
        self.ingress
            .call("serve", (LINE, THE_LINE), "withdraw", &withdraw)
            .await
    }

    /// Gets grants, waiting for them until the time to wait is over or there is a hurry.
    async fn take(&self, take: &Take, wait: Duration) -> Result<Vec<Grant>, RuntimeError> {
        let line = (LINE, THE_LINE);
        let grants: Vec<Grant> = self.ingress.call("serve", line, "take", take).await?;
        if !grants.is_empty() {
            return Ok(grants);
        }
        let timeout = wait + self.ingress.timeout();
        let taking = self
            .ingress
            .call_for(timeout, "serve", line, "take_later", take);
        let mut taking = std::pin::pin!(taking);
        tokio::select! {
            biased;
            grants = &mut taking => return grants,
            () = self.hurry.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
        // From here on it is answered at once, with something or nothing, and what it is answered with must not be lost.
        // It may not have got to where it waits, so once is not enough.
        let withdraw = async {
            let mut pause = WITHDRAW_AGAIN;
            loop {
                if let Err(error) = self.withdraw(&take.worker).await {
                    tracing::warn!(%error, "a claim could not be withdrawn");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        };
        tokio::select! {
            grants = taking => grants,
            never = withdraw => never,
        }
    }

    /// Begins the turn that was granted, if it still may.
    async fn begin(
        &self,
        grant: Grant,
        worker: &WorkerId,
        ttl: Duration,
    ) -> Result<Option<Lease>, RuntimeError> {
        let start = StartTurn {
            fence: grant.fence,
            epoch: grant.epoch,
            worker: worker.clone(),
            ttl: whole_millis(ttl),
        };
        // Counted from before the question, a lease never seems longer here than there.
        let expires = self.clock.now().plus(ttl);
        let run = (RUN, grant.run.as_str());
        let started: Option<Started> = self.ingress.call("serve", run, "start", &start).await?;
        Ok(started.map(|started| {
            let has_signals = started.signals.as_ref().is_none_or(|few| !few.is_empty());
            let first = started.signals.map(|letters| {
                let of_run = |letter| waiting_signal(&grant.run, letter);
                letters.into_iter().map(of_run).collect()
            });
            let mut mail = self.mail();
            mail.first.insert(grant.run.clone(), first);
            mail.held.insert(grant.run.clone());
            Lease {
                run: grant.run,
                fence: grant.fence,
                delivery: started.delivery,
                expires,
                has_signals,
            }
        }))
    }

    async fn letters(
        &self,
        after: &SignalsAfter,
        limit: usize,
    ) -> Result<Vec<WaitingSignal>, RuntimeError> {
        let mut found: Vec<WaitingSignal> = Vec::new();
        loop {
            let after_this = After {
                position: found.last().map_or(after.position, |last| last.position),
                limit: limit.saturating_sub(found.len()),
            };
            if after_this.limit == 0 {
                return Ok(found);
            }
            let run = (RUN, after.run.as_str());
            // One answer holds only so much.
            let letters: Vec<Letter> = self
                .ingress
                .call("serve", run, "letters", &after_this)
                .await?;
            if letters.is_empty() {
                return Ok(found);
            }
            let of_run = |letter| waiting_signal(&after.run, letter);
            found.extend(letters.into_iter().map(of_run));
        }
    }

    pub(crate) async fn describe_for(
        ingress: &Ingress,
        operation: &'static str,
        run: &RunId,
    ) -> Result<Option<Schedule>, RuntimeError> {
        let described = Self::described(ingress, operation, run).await?;
        Ok(described.map(Schedule::from))
    }

    async fn described(
        ingress: &Ingress,
        operation: &'static str,
        run: &RunId,
    ) -> Result<Option<Described>, RuntimeError> {
        let object = (RUN, run.as_str());
        ingress
            .ask(ingress.timeout(), operation, object, "describe")
            .await
    }
}

fn waiting_signal(run: &RunId, letter: Letter) -> WaitingSignal {
    WaitingSignal {
        run: run.clone(),
        position: letter.position,
        signal: Signal {
            id: letter.id,
            payload: letter.payload.0,
        },
    }
}

impl From<Described> for Schedule {
    fn from(described: Described) -> Self {
        Self {
            state: match described.state {
                Stands::Due { due } => ScheduleState::Due { due },
                Stands::Leased {
                    worker, expires, ..
                } => ScheduleState::Leased { worker, expires },
                Stands::Parked { wake_at } => ScheduleState::Parked { wake_at },
                Stands::Finished => ScheduleState::Finished,
            },
            deliveries: described.deliveries,
            signals: described.signals,
        }
    }
}

#[async_trait]
impl LeaseStorage for Remote {
    async fn enlist(&self, worker: &WorkerId) -> Result<Box<dyn Presence>, RuntimeError> {
        Ok(Box::new(Serving {
            ingress: self.ingress.clone(),
            worker: worker.clone(),
        }))
    }

    /// Nothing but time tells whether a worker lives.
    async fn free_dead(&self) -> Result<bool, RuntimeError> {
        Ok(false)
    }

    async fn claim(&self, claim: Claim<'_>) -> Result<Claimed, RuntimeError> {
        let mut wait = self.wait;
        let mut scope = Takes::from(claim.scope);
        if let Takes::Run { run, near } = &mut scope {
            let Some(described) = Self::described(&self.ingress, "serve", run).await? else {
                return Ok(Claimed::default());
            };
            *near = match described.state {
                Stands::Due { due } => Some(Near {
                    queue: described.queue,
                    due,
                }),
                Stands::Leased { .. } => None,
                Stands::Parked { .. } | Stands::Finished => return Ok(Claimed::default()),
            };
            wait = wait.min(ONE_RUN);
        }
        let take = Take {
            worker: claim.worker.clone(),
            scope,
            room: claim.limit,
        };
        let grants = self.take(&take, wait).await?;
        let begun: Vec<Result<Option<Lease>, RuntimeError>> = stream::iter(grants)
            .map(|grant| self.begin(grant, claim.worker, claim.ttl))
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut leases = Vec::with_capacity(begun.len());
        for lease in begun {
            match lease {
                Ok(lease) => leases.extend(lease),
                // If nobody begins it, it is offered again.
                Err(error) => tracing::warn!(%error, "a turn could not be begun"),
            }
        }
        // To wait again is the next thing to do: that costs nobody anything.
        let next_due = leases.is_empty().then(|| self.clock.now());
        Ok(Claimed { leases, next_due })
    }

    fn hurry(&self) {
        self.hurry.notify_one();
    }

    async fn renew(
        &self,
        leases: &[LeaseKey],
        ttl: Duration,
    ) -> Result<Vec<Renewed>, RuntimeError> {
        let renewals = stream::iter(leases.to_vec())
            .map(|lease| self.renew_one(lease, ttl))
            .buffered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let mut renewed = Vec::with_capacity(renewals.len());
        for renewal in renewals {
            renewed.extend(renewal?);
        }
        Ok(renewed)
    }

    async fn settle(&self, settle: Settle<'_>) -> Result<bool, RuntimeError> {
        let end = match settle.settlement {
            Settlement::Next(next) => End::from(next),
            Settlement::Failed => End::Failed,
            Settlement::Released => End::Released,
        };
        let message = SettleTurn {
            fence: settle.lease.fence,
            seen: settle.seen,
            end,
        };
        let run = &settle.lease.run;
        {
            let mut mail = self.mail();
            mail.held.remove(run);
            mail.first.remove(run);
            mail.rung.remove(run);
        }
        self.ingress
            .call("serve", (RUN, run.as_str()), "settle", &message)
            .await
    }

    /// Asks for runs that have just begun or whose bell has rung, and for no others.
    async fn signals(
        &self,
        after: &[SignalsAfter],
        limit: usize,
    ) -> Result<Vec<WaitingSignal>, RuntimeError> {
        let mut found = Vec::new();
        for after in after {
            let limit = limit.saturating_sub(found.len());
            if limit == 0 {
                break;
            }
            let (first, has_rung) = {
                let mut mail = self.mail();
                // Before the question, so that a ring that comes during it counts.
                (mail.first.remove(&after.run), mail.rung.remove(&after.run))
            };
            if let Some(Some(first)) = first {
                found.extend(first);
                if has_rung {
                    self.mail().rung.insert(after.run.clone());
                }
                continue;
            }
            if first.is_none() && !has_rung {
                continue;
            }
            let letters = self.letters(after, limit).await;
            // The turn may have no room for all of them, so it is asked for again until there is nothing.
            if !matches!(&letters, Ok(letters) if letters.is_empty()) {
                self.mail().rung.insert(after.run.clone());
            }
            found.extend(letters?);
        }
        Ok(found)
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        Self::describe_for(&self.ingress, "serve", run).await
    }
}

impl Remote {
    async fn renew_one(
        &self,
        lease: LeaseKey,
        ttl: Duration,
    ) -> Result<Option<Renewed>, RuntimeError> {
        let expires: Timestamp = self.clock.now().plus(ttl);
        let renew = Renew {
            fence: lease.fence,
            ttl: whole_millis(ttl),
        };
        let run = (RUN, lease.run.as_str());
        let is_renewed: bool = self.ingress.call("serve", run, "renew", &renew).await?;
        Ok(is_renewed.then_some(Renewed {
            fence: lease.fence,
            expires,
        }))
    }
}

/// That a worker serves. The server learns of its end when it leaves, or by what it no longer does.
struct Serving {
    ingress: Ingress,
    worker: WorkerId,
}

#[async_trait]
impl Presence for Serving {
    async fn leave(self: Box<Self>) {
        let withdraw = Withdraw {
            worker: self.worker.clone(),
        };
        let line = self
            .ingress
            .call::<()>("serve", (LINE, THE_LINE), "withdraw", &withdraw);
        let bell = (BELL, self.worker.as_str());
        let bell = self
            .ingress
            .call::<()>("serve", bell, "hush", &None::<String>);
        let (line, bell) = tokio::join!(line, bell);
        for error in [line.err(), bell.err()].into_iter().flatten() {
            // Time does it too.
            tracing::warn!(%error, "a worker could not say that it leaves");
        }
    }
}

//! The atomic steps that the shared lease loop is made of. Each is one function of the database.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use seaworthy_polling::{
    Claim, Claimed, Lease, LeaseKey, LeaseStorage, Presence, Renewed, Settle, Settlement,
    SignalsAfter, WaitingSignal, redelivery_delay,
};
use seaworthy_ports::durable_runtime::{
    RuntimeError, Schedule, ScheduleState, Scope, Signal, Then,
};
use seaworthy_ports::{QueueName, RunId, SignalId, Timestamp, WorkerId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::{self, Failure, undecodable};
use crate::read::unsigned;
use crate::settle::Ending;
use crate::store::Shared;

/// The most bytes of signals that one run brings along at once; what is left comes as mail.
const MAX_SIGNALS_BYTES: i64 = 16 * 1024 * 1024;
/// Failures in a row that still make the delay before the next delivery longer.
const DELAYS: u32 = 12;
/// Longer than any lease: sums of times stay numbers.
const LONGEST: i64 = i64::MAX / 4;

const CLAIM: &str = "
SELECT now, next_due, runs, fences, deliveries, expiries, signalled FROM claim_signalled($1, $2, $3, $4, $5)";
const RENEW: &str = "SELECT now, fences, expiries FROM renew_runs($1, $2, $3)";
const SETTLE: &str = "SELECT now, settled FROM settle_run($1, $2, $3, $4, $5, $6, $7)";
const DESCRIBE: &str = "SELECT state, at, worker, deliveries, waiting FROM runs WHERE run = $1";

/// Of each run as many as fit: once one is left out, all later ones of its run are, and none overtakes it.
const SIGNALS: &str = "
SELECT m.n, s.id, s.signal, s.payload
FROM unnest($1, $2) WITH ORDINALITY AS m (run, position, n) JOIN runs r ON r.run = m.run
CROSS JOIN LATERAL (
    SELECT w.id, w.signal, w.payload,
        sum(octet_length(w.payload)) OVER (ORDER BY w.id ROWS UNBOUNDED PRECEDING) - octet_length(w.payload) AS before
    FROM signals w WHERE w.run_id = r.id AND w.id > m.position AND w.payload IS NOT NULL
    ORDER BY w.id LIMIT $3) s
WHERE s.before < $4 ORDER BY s.id LIMIT $3";

pub(crate) struct Leases(pub(crate) Arc<Shared>);

/// Nothing but time tells whether a worker of another machine lives: a connection may break while it does.
struct Anywhere;

#[async_trait]
impl Presence for Anywhere {
    async fn leave(self: Box<Self>) {}
}

fn serving(failure: impl Into<Failure>) -> RuntimeError {
    error::runtime("serve", failure)
}

impl Leases {
    /// The one row of a statement whose first column is the time.
    async fn timed(&self, statement: crate::database::Statement) -> Result<PgRow, RuntimeError> {
        let asked = self.0.clock.local();
        let row = self
            .0
            .database
            .write_one(statement)
            .await
            .map_err(serving)?;
        let now: i64 = row.try_get(0).map_err(Failure::of_write).map_err(serving)?;
        self.0.clock.learn(asked, Timestamp::from_millis(now));
        Ok(row)
    }

    /// Ends the lease of a turn that consumed nothing and did not fail in one statement with others. `None`: it is to be
    /// ended alone.
    async fn settle_together(
        &self,
        settle: &Settle<'_>,
        then: i32,
        time: Option<i64>,
        consumed: &[SignalId],
    ) -> Result<Option<bool>, RuntimeError> {
        if !consumed.is_empty() || !matches!(settle.settlement, Settlement::Next(_)) {
            return Ok(None);
        }
        let ending = Ending {
            lease: settle.lease.clone(),
            seen: signed(settle.seen),
            then,
            time,
        };
        self.0.settler.settle(ending).await.map_err(serving)
    }

    async fn settle_alone(
        &self,
        settle: &Settle<'_>,
        then: i32,
        time: Option<i64>,
        consumed: &[SignalId],
    ) -> Result<bool, RuntimeError> {
        let delays: Vec<i64> = (1..=DELAYS)
            .map(|failures| millis(redelivery_delay(failures)))
            .collect();
        let statement = sqlx::query(SETTLE)
            .bind(settle.lease.run.as_str().to_owned())
            .bind(signed(settle.lease.fence))
            .bind(signed(settle.seen))
            .bind(then)
            .bind(time)
            .bind(texts(consumed.iter().map(SignalId::as_str)))
            .bind(delays);
        let row = self.timed(statement).await?;
        row.try_get(1).map_err(Failure::of_write).map_err(serving)
    }
}

#[async_trait]
impl LeaseStorage for Leases {
    async fn enlist(&self, _worker: &WorkerId) -> Result<Box<dyn Presence>, RuntimeError> {
        Ok(Box::new(Anywhere))
    }

    async fn free_dead(&self) -> Result<bool, RuntimeError> {
        Ok(false)
    }

    async fn claim(&self, claim: Claim<'_>) -> Result<Claimed, RuntimeError> {
        let (queues, run) = match claim.scope {
            Scope::All => (None, None),
            Scope::Queues(queues) => (Some(texts(queues.iter().map(QueueName::as_str))), None),
            Scope::Run(run) => (None, Some(run.as_str().to_owned())),
        };
        let statement = sqlx::query(CLAIM)
            .bind(claim.worker.as_str().to_owned())
            .bind(queues)
            .bind(run)
            .bind(i64::try_from(claim.limit).unwrap_or(i64::MAX))
            .bind(millis(claim.ttl));
        let row = self.timed(statement).await?;
        claimed(&row).map_err(Failure::of_write).map_err(serving)
    }

    async fn renew(
        &self,
        leases: &[LeaseKey],
        ttl: Duration,
    ) -> Result<Vec<Renewed>, RuntimeError> {
        let fences: Vec<i64> = leases.iter().map(|lease| signed(lease.fence)).collect();
        let statement = sqlx::query(RENEW)
            .bind(texts(leases.iter().map(|lease| lease.run.as_str())))
            .bind(fences)
            .bind(millis(ttl));
        let row = self.timed(statement).await?;
        renewed(&row).map_err(Failure::of_write).map_err(serving)
    }

    async fn settle(&self, settle: Settle<'_>) -> Result<bool, RuntimeError> {
        let none = Vec::new();
        let (then, time, consumed) = match settle.settlement {
            Settlement::Next(next) => {
                let (then, time) = match next.then {
                    Then::Again { after } => (0, Some(millis(after))),
                    Then::Park { wake_at } => (2, wake_at.map(Timestamp::as_millis)),
                    Then::Done => (3, None),
                };
                (then, time, &next.consumed)
            }
            Settlement::Failed => (4, None, &none),
            Settlement::Released => (5, None, &none),
        };
        let settled = match self.settle_together(&settle, then, time, consumed).await? {
            Some(settled) => settled,
            None => self.settle_alone(&settle, then, time, consumed).await?,
        };
        if settled {
            self.0.hints.due.give();
        }
        Ok(settled)
    }

    async fn signals(
        &self,
        after: &[SignalsAfter],
        limit: usize,
    ) -> Result<Vec<WaitingSignal>, RuntimeError> {
        let positions: Vec<i64> = after.iter().map(|after| signed(after.position)).collect();
        let statement = sqlx::query(SIGNALS)
            .bind(texts(after.iter().map(|after| after.run.as_str())))
            .bind(positions)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .bind(MAX_SIGNALS_BYTES);
        let rows = self.0.database.read(statement).await.map_err(serving)?;
        let found = rows
            .iter()
            .filter_map(|row| waiting(after, row).transpose());
        found.collect::<Result<_, sqlx::Error>>().map_err(serving)
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        let failed = |failure: Failure| error::runtime("describe", failure);
        let statement = sqlx::query(DESCRIBE).bind(run.as_str().to_owned());
        let rows = self.0.database.read(statement).await.map_err(failed)?;
        let schedule = rows.first().map(schedule).transpose();
        schedule.map_err(|error| failed(error.into()))
    }
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    texts.map(str::to_owned).collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).map_or(LONGEST, |millis| millis.min(LONGEST))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn small(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn fence(number: i64) -> Result<u64, sqlx::Error> {
    u64::try_from(number).map_err(|_negative| undecodable("a fence"))
}

fn claimed(row: &PgRow) -> Result<Claimed, sqlx::Error> {
    let next_due: Option<i64> = row.try_get(1)?;
    let runs: Vec<String> = row.try_get(2)?;
    let fences: Vec<i64> = row.try_get(3)?;
    let deliveries: Vec<i32> = row.try_get(4)?;
    let expiries: Vec<i64> = row.try_get(5)?;
    let signalled: Vec<bool> = row.try_get(6)?;
    let granted = runs.into_iter().zip(fences).zip(deliveries);
    let granted = granted.zip(expiries).zip(signalled);
    let leases = granted.map(|((((run, number), delivery), expires), has_signals)| {
        Ok(Lease {
            run: RunId::new(run).map_err(|_invalid| undecodable("a run's id"))?,
            fence: fence(number)?,
            delivery: small(delivery),
            expires: Timestamp::from_millis(expires),
            has_signals,
        })
    });
    Ok(Claimed {
        leases: leases.collect::<Result<_, sqlx::Error>>()?,
        next_due: next_due.map(Timestamp::from_millis),
    })
}

fn renewed(row: &PgRow) -> Result<Vec<Renewed>, sqlx::Error> {
    let fences: Vec<i64> = row.try_get(1)?;
    let expiries: Vec<i64> = row.try_get(2)?;
    let renewed = fences.into_iter().zip(expiries).map(|(number, expires)| {
        Ok(Renewed {
            fence: fence(number)?,
            expires: Timestamp::from_millis(expires),
        })
    });
    renewed.collect()
}

fn waiting(after: &[SignalsAfter], row: &PgRow) -> Result<Option<WaitingSignal>, sqlx::Error> {
    let number = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
    let Some(after) = number.checked_sub(1).and_then(|index| after.get(index)) else {
        return Ok(None);
    };
    Ok(Some(WaitingSignal {
        run: after.run.clone(),
        position: unsigned(row, 1)?,
        signal: Signal {
            id: SignalId::new(row.try_get::<&str, _>(2)?)
                .map_err(|_invalid| undecodable("a signal's id"))?,
            payload: row.try_get::<Vec<u8>, _>(3)?.into(),
        },
    }))
}

fn schedule(row: &PgRow) -> Result<Schedule, sqlx::Error> {
    let at = row
        .try_get::<Option<i64>, _>(1)?
        .map(Timestamp::from_millis);
    let needed = || at.ok_or_else(|| undecodable("a run without its time"));
    Ok(Schedule {
        state: match row.try_get::<i16, _>(0)? {
            0 => ScheduleState::Due { due: needed()? },
            1 => ScheduleState::Leased {
                worker: WorkerId::new(row.try_get::<&str, _>(2)?)
                    .map_err(|_invalid| undecodable("a worker's id"))?,
                expires: needed()?,
            },
            2 => ScheduleState::Parked { wake_at: at },
            3 => ScheduleState::Finished,
            _ => return Err(undecodable("a run's state")),
        },
        deliveries: small(row.try_get(3)?),
        signals: small(row.try_get(4)?),
    })
}

//! The atomic steps that the shared lease loop is made of.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use seaworthy_polling::{
    Claim, Claimed, Lease, LeaseKey, LeaseStorage, Presence, Renewed, Settle, Settlement,
    SignalsAfter, WaitingSignal, redelivery_delay,
};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{
    Kind, RuntimeError, Schedule, ScheduleState, Scope, Signal, Then,
};
use seaworthy_ports::{QueueName, RunId, SessionId, SignalId, Timestamp, WorkerId};
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::durable_runtime::refusal;
use crate::error::{self, undecodable};
use crate::liveness::Lock;
use crate::queues::Open;
use crate::store::Shared;
use crate::writer::Work;

/// The column `state` of `runs`.
pub(crate) const DUE: i64 = 0;
pub(crate) const LEASED: i64 = 1;
pub(crate) const PARKED: i64 = 2;
pub(crate) const FINISHED: i64 = 3;

/// The most bytes of signals that one run brings along at once; what is left comes as mail.
const MAX_SIGNALS_BYTES: usize = 16 * 1024 * 1024;

/// A run is not claimable while another one of its session is leased.
macro_rules! session_is_free {
    () => {
        "(session IS NULL OR NOT EXISTS (SELECT 1 FROM runs o
            WHERE o.state = 1 AND o.session = r.session AND o.at > ?1 AND o.id <> r.id))"
    };
}

// What is claimable at ?1, and when the next run may be. The parameters are the same in each.
const PEEK_ALL: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM runs r WHERE at <= ?1 AND ",
    session_is_free!(),
    "), (SELECT min(at) FROM runs WHERE at > ?1)"
);
const PEEK_RUN: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM runs r WHERE run = ?2 AND at <= ?1 AND ",
    session_is_free!(),
    "), (SELECT min(at) FROM runs WHERE run = ?2 AND at > ?1)"
);
const PEEK_QUEUES: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM json_each(?2) q JOIN runs r ON r.queue = q.value WHERE at <= ?1 AND ",
    session_is_free!(),
    "), (SELECT min(next) FROM (
        SELECT (SELECT min(at) FROM runs WHERE queue = q.value AND at > ?1) AS next FROM json_each(?2) q))"
);

const CANDIDATES_ALL: &str = concat!(
    "SELECT id, run, session, at FROM runs r WHERE at <= ?1 AND ",
    session_is_free!(),
    " ORDER BY at, id LIMIT ?2"
);
const CANDIDATES_RUN: &str = concat!(
    "SELECT id, run, session, at FROM runs r WHERE run = ?3 AND at <= ?1 AND ",
    session_is_free!(),
    " LIMIT ?2"
);
const CANDIDATES_QUEUE: &str = concat!(
    "SELECT id, run, session, at FROM runs r WHERE queue = ?3 AND at <= ?1 AND ",
    session_is_free!(),
    " ORDER BY at, id LIMIT ?2"
);

/// Takes ?3 fences and gives each run one of them.
const GRANT: &str = "
UPDATE counters SET value = value + ?3 WHERE name = 'fence';
UPDATE runs SET state = 1, worker = ?2, at = ?4, deliveries = deliveries + 1,
    fence = (SELECT value FROM counters WHERE name = 'fence') - ?3 + 1 + j.key
FROM json_each(?1) j WHERE runs.id = j.value
RETURNING id, fence, deliveries";

const RENEW: &str = "
UPDATE runs SET at = max(at, ?3)
FROM json_each(?1) j
WHERE runs.run = j.value ->> 0 AND runs.fence = j.value ->> 1 AND runs.state = 1 AND runs.at > ?2
RETURNING fence, at";

const SIGNALS: &str = "
SELECT j.key, s.id, s.signal, s.payload
FROM json_each(?1) j JOIN runs r ON r.run = j.value ->> 0
    JOIN signals s ON s.run_id = r.id AND s.id > j.value ->> 1 AND s.payload IS NOT NULL
ORDER BY s.id LIMIT ?2";

const CONSUME: &str = "
UPDATE signals SET payload = NULL
WHERE run_id = (SELECT id FROM runs WHERE run = ?1 AND fence = ?2 AND state = 1)
    AND payload IS NOT NULL AND signal IN (SELECT value FROM json_each(?3))";

const SETTLE: &str = "
UPDATE runs SET state = ?3, at = ?4, failures = ?5, waiting = waiting - ?6, worker = NULL, fence = NULL
WHERE run = ?1 AND fence = ?2 AND state = 1";

/// A signal accepted after the turn's first look makes the run due at ?5 instead of parking it.
const SETTLE_PARK: &str = "
UPDATE runs SET (state, at) = (
        SELECT CASE WHEN late THEN 0 ELSE 2 END, CASE WHEN late THEN ?5 ELSE ?3 END FROM (
            SELECT EXISTS (SELECT 1 FROM signals s
                WHERE s.run_id = runs.id AND s.id > ?4 AND s.payload IS NOT NULL) AS late)),
    failures = 0, waiting = waiting - ?6, worker = NULL, fence = NULL
WHERE run = ?1 AND fence = ?2 AND state = 1";

const BURY: &str = "
UPDATE runs INDEXED BY runs_leased SET state = 0, at = ?2, worker = NULL, fence = NULL
WHERE state = 1 AND worker = ?1";

pub(crate) struct Leases(pub(crate) Arc<Shared>);

struct Member(Lock);

#[async_trait]
impl Presence for Member {
    async fn leave(self: Box<Self>) {
        self.0.remove().await;
    }
}

impl Leases {
    async fn bury(&self, worker: &WorkerId) -> Result<u64, RuntimeError> {
        self.0
            .writer
            .write(Bury {
                worker: worker.clone(),
                clock: Arc::clone(&self.0.clock),
            })
            .await
            .map_err(|failure| error::runtime("serve", failure))
    }

    /// Looks without the write lock, so that idle workers are in nobody's way.
    async fn peek(&self, scope: &Scope) -> Result<(bool, Option<Timestamp>), sqlx::Error> {
        let now = self.0.clock.now();
        let query = match scope {
            Scope::All => sqlx::query(PEEK_ALL).bind(now.as_millis()),
            Scope::Run(run) => sqlx::query(PEEK_RUN)
                .bind(now.as_millis())
                .bind(run.as_str().to_owned()),
            Scope::Queues(queues) => {
                let names: Vec<&str> = queues.iter().map(QueueName::as_str).collect();
                sqlx::query(PEEK_QUEUES)
                    .bind(now.as_millis())
                    .bind(json!(names).to_string())
            }
        };
        let mut connection = self.0.readers.acquire().await?;
        let row = query.fetch_one(&mut *connection).await?;
        let next = row.try_get::<Option<i64>, _>(1)?;
        let mut is_due: bool = row.try_get(0)?;
        if is_due {
            is_due = match Open::find(scope, now, &mut connection).await? {
                Open::All => true,
                Open::Only(queues) => is_any_due(&queues, now, &mut connection).await?,
            };
        }
        Ok((is_due, next.map(Timestamp::from_millis)))
    }
}

/// Whether a run of these queues is claimable.
async fn is_any_due(
    queues: &[(String, Option<usize>)],
    now: Timestamp,
    connection: &mut SqliteConnection,
) -> Result<bool, sqlx::Error> {
    let names: Vec<&str> = queues.iter().map(|(queue, _room)| queue.as_str()).collect();
    let row = sqlx::query(PEEK_QUEUES)
        .bind(now.as_millis())
        .bind(json!(names).to_string())
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}

#[async_trait]
impl LeaseStorage for Leases {
    async fn enlist(&self, worker: &WorkerId) -> Result<Box<dyn Presence>, RuntimeError> {
        let lock = self.0.liveness.enlist(worker).await.map_err(|error| {
            refusal(
                Kind::Unavailable,
                "serve",
                "the worker's lock file cannot be used",
            )
            .with_source(error)
        })?;
        let Some(lock) = lock else {
            return Err(refusal(
                Kind::Rejected,
                "serve",
                "another live worker has this id",
            ));
        };
        // Whoever had the name before is dead, or this lock would not be ours.
        self.bury(worker).await?;
        Ok(Box::new(Member(lock)))
    }

    async fn free_dead(&self) -> Result<bool, RuntimeError> {
        let dead = self.0.liveness.dead().await.map_err(|error| {
            refusal(
                Kind::Unavailable,
                "serve",
                "the workers' lock files cannot be used",
            )
            .with_source(error)
        })?;
        let mut freed = 0;
        for lock in dead {
            freed += self.bury(&lock.worker).await?;
            lock.remove().await;
        }
        Ok(freed > 0)
    }

    async fn claim(&self, claim: Claim<'_>) -> Result<Claimed, RuntimeError> {
        let (due, next_due) = self
            .peek(claim.scope)
            .await
            .map_err(|error| error::runtime("serve", error))?;
        let leases = if due {
            let grant = Grant {
                worker: claim.worker.clone(),
                scope: claim.scope.clone(),
                limit: claim.limit,
                ttl: claim.ttl,
                clock: Arc::clone(&self.0.clock),
            };
            self.0
                .writer
                .write(grant)
                .await
                .map_err(|failure| error::runtime("serve", failure))?
        } else {
            Vec::new()
        };
        Ok(Claimed { leases, next_due })
    }

    async fn renew(
        &self,
        leases: &[LeaseKey],
        ttl: Duration,
    ) -> Result<Vec<Renewed>, RuntimeError> {
        self.0
            .writer
            .write(Renew {
                leases: leases.to_vec(),
                ttl,
                clock: Arc::clone(&self.0.clock),
            })
            .await
            .map_err(|failure| error::runtime("serve", failure))
    }

    async fn settle(&self, settle: Settle<'_>) -> Result<bool, RuntimeError> {
        let settled = self
            .0
            .writer
            .write(SettleLease {
                lease: settle.lease.clone(),
                seen: signed(settle.seen),
                settlement: settle.settlement.clone(),
                clock: Arc::clone(&self.0.clock),
            })
            .await
            .map_err(|failure| error::runtime("serve", failure))?;
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
        self.0
            .signals(after, limit)
            .await
            .map_err(|error| error::runtime("serve", error))
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        let failed = |error| error::runtime("describe", error);
        let row =
            sqlx::query("SELECT state, at, worker, deliveries, waiting FROM runs WHERE run = ?1")
                .bind(run.as_str().to_owned())
                .fetch_optional(&self.0.readers)
                .await
                .map_err(failed)?;
        row.map(|row| schedule(&row)).transpose().map_err(failed)
    }
}

impl Shared {
    async fn signals(
        &self,
        after: &[SignalsAfter],
        limit: usize,
    ) -> Result<Vec<WaitingSignal>, sqlx::Error> {
        let wanted: Vec<_> = after
            .iter()
            .map(|after| json!([after.run.as_str(), signed(after.position)]))
            .collect();
        let mut connection = self.readers.acquire().await?;
        let mut rows = sqlx::query(SIGNALS)
            .bind(json!(wanted).to_string())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch(&mut *connection);
        let mut bytes: HashMap<usize, usize> = HashMap::new();
        let mut found = Vec::new();
        while let Some(row) = rows.try_next().await? {
            let index = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
            let Some(after) = after.get(index) else {
                continue;
            };
            let bytes = bytes.entry(index).or_default();
            // Once one is left out, all later ones of its run are: none may overtake it.
            if *bytes >= MAX_SIGNALS_BYTES {
                continue;
            }
            let payload: Vec<u8> = row.try_get(3)?;
            *bytes += payload.len();
            found.push(WaitingSignal {
                run: after.run.clone(),
                position: u64::try_from(row.try_get::<i64, _>(1)?)
                    .map_err(|_negative| undecodable("a signal's position"))?,
                signal: Signal {
                    id: SignalId::new(row.try_get::<String, _>(2)?)
                        .map_err(|_invalid| undecodable("a signal's id"))?,
                    payload: payload.into(),
                },
            });
        }
        Ok(found)
    }
}

fn schedule(row: &SqliteRow) -> Result<Schedule, sqlx::Error> {
    let at = row
        .try_get::<Option<i64>, _>(1)?
        .map(Timestamp::from_millis);
    let needed = || at.ok_or_else(|| undecodable("a run without its time"));
    Ok(Schedule {
        state: match row.try_get::<i64, _>(0)? {
            DUE => ScheduleState::Due { due: needed()? },
            LEASED => ScheduleState::Leased {
                worker: WorkerId::new(row.try_get::<String, _>(2)?)
                    .map_err(|_invalid| undecodable("a worker's id"))?,
                expires: needed()?,
            },
            PARKED => ScheduleState::Parked { wake_at: at },
            FINISHED => ScheduleState::Finished,
            _ => return Err(undecodable("a run's state")),
        },
        deliveries: small(row.try_get(3)?),
        signals: small(row.try_get(4)?),
    })
}

fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

struct Bury {
    worker: WorkerId,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Work for Bury {
    type Output = u64;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let freed = sqlx::query(BURY)
            .bind(self.worker.as_str().to_owned())
            .bind(self.clock.now().as_millis())
            .execute(connection)
            .await?;
        Ok(freed.rows_affected())
    }
}

struct Grant {
    worker: WorkerId,
    scope: Scope,
    limit: usize,
    ttl: Duration,
    clock: Arc<dyn Clock>,
}

struct Candidate {
    id: i64,
    run: RunId,
    session: Option<SessionId>,
    due: i64,
}

#[async_trait]
impl Work for Grant {
    type Output = Vec<Lease>;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Lease>, sqlx::Error> {
        // Within the transaction: however long it took to begin, the lease is granted now.
        let now = self.clock.now();
        let mut leases = Vec::new();
        while leases.len() < self.limit {
            let room = self.limit - leases.len();
            let (candidates, is_all) = self.candidates(now, room, connection).await?;
            if !candidates.is_empty() {
                leases.extend(self.grant(now, candidates, connection).await?);
            }
            // Where some were left out for their session there may be others in their place: by the next look it is
            // taken, and they are not found.
            if is_all {
                break;
            }
        }
        Ok(leases)
    }
}

impl Grant {
    /// The oldest due runs, one per session, and whether there are no others.
    async fn candidates(
        &self,
        now: Timestamp,
        room: usize,
        connection: &mut SqliteConnection,
    ) -> Result<(Vec<Candidate>, bool), sqlx::Error> {
        let mut candidates = Vec::new();
        let ask = |statement: &'static str, most: usize, third: Option<String>| {
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let query = sqlx::query(statement).bind(now.as_millis()).bind(most);
            match third {
                Some(third) => query.bind(third),
                None => query,
            }
        };
        let open = Open::find(&self.scope, now, connection).await?;
        let queries: Vec<_> = match (&self.scope, open) {
            (Scope::Run(_), Open::Only(queues)) if queues.is_empty() => Vec::new(),
            (Scope::Run(run), _) => {
                vec![ask(CANDIDATES_RUN, room, Some(run.as_str().to_owned()))]
            }
            (Scope::All, Open::All) => vec![ask(CANDIDATES_ALL, room, None)],
            (Scope::Queues(queues), Open::All) => queues
                .iter()
                .map(|queue| ask(CANDIDATES_QUEUE, room, Some(queue.as_str().to_owned())))
                .collect(),
            (Scope::All | Scope::Queues(_), Open::Only(queues)) => queues
                .into_iter()
                .map(|(queue, left)| {
                    let most = left.map_or(room, |left| left.min(room));
                    ask(CANDIDATES_QUEUE, most, Some(queue))
                })
                .collect(),
        };
        for query in queries {
            for row in query.fetch_all(&mut *connection).await? {
                candidates.push(Candidate {
                    id: row.try_get(0)?,
                    run: RunId::new(row.try_get::<String, _>(1)?)
                        .map_err(|_invalid| undecodable("a run's id"))?,
                    session: row
                        .try_get::<Option<String>, _>(2)?
                        .map(SessionId::new)
                        .transpose()
                        .map_err(|_invalid| undecodable("a session's id"))?,
                    due: row.try_get(3)?,
                });
            }
        }
        let found = candidates.len();
        candidates.sort_unstable_by_key(|candidate| (candidate.due, candidate.id));
        let mut sessions = HashSet::new();
        candidates.retain(|candidate| match &candidate.session {
            Some(session) => sessions.insert(session.clone()),
            None => true,
        });
        let is_all = found < room && candidates.len() == found;
        candidates.truncate(room);
        Ok((candidates, is_all))
    }

    async fn grant(
        &self,
        now: Timestamp,
        candidates: Vec<Candidate>,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Lease>, sqlx::Error> {
        let count = i64::try_from(candidates.len()).unwrap_or(i64::MAX);
        let expires = now.plus(self.ttl);
        let ids: Vec<i64> = candidates.iter().map(|candidate| candidate.id).collect();
        let rows = sqlx::query(GRANT)
            .bind(json!(ids).to_string())
            .bind(self.worker.as_str().to_owned())
            .bind(count)
            .bind(expires.as_millis())
            .fetch_all(&mut *connection)
            .await?;
        let mut granted = HashMap::with_capacity(rows.len());
        for row in rows {
            let fence = u64::try_from(row.try_get::<i64, _>(1)?)
                .map_err(|_negative| undecodable("a fence"))?;
            granted.insert(row.try_get::<i64, _>(0)?, (fence, small(row.try_get(2)?)));
        }
        candidates
            .into_iter()
            .map(|candidate| {
                let (fence, delivery) = granted
                    .remove(&candidate.id)
                    .ok_or_else(|| undecodable("a run that was there a moment ago"))?;
                Ok(Lease {
                    run: candidate.run,
                    fence,
                    delivery,
                    expires,
                })
            })
            .collect()
    }
}

struct Renew {
    leases: Vec<LeaseKey>,
    ttl: Duration,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Work for Renew {
    type Output = Vec<Renewed>;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Renewed>, sqlx::Error> {
        let now = self.clock.now();
        let leases: Vec<_> = self
            .leases
            .iter()
            .map(|lease| json!([lease.run.as_str(), signed(lease.fence)]))
            .collect();
        let rows = sqlx::query(RENEW)
            .bind(json!(leases).to_string())
            .bind(now.as_millis())
            .bind(now.plus(self.ttl).as_millis())
            .fetch_all(connection)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Renewed {
                    fence: u64::try_from(row.try_get::<i64, _>(0)?)
                        .map_err(|_negative| undecodable("a fence"))?,
                    expires: Timestamp::from_millis(row.try_get(1)?),
                })
            })
            .collect()
    }
}

struct SettleLease {
    lease: LeaseKey,
    seen: i64,
    settlement: Settlement,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Work for SettleLease {
    type Output = bool;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let now = self.clock.now();
        let consumed = self.consume(connection).await?;
        let (state, at, failures) = match &self.settlement {
            Settlement::Next(next) => match &next.then {
                Then::Park { wake_at } => {
                    return self.park(now, *wake_at, consumed, connection).await;
                }
                Then::Again { after } => (DUE, Some(now.plus(*after)), 0),
                Then::Done => (FINISHED, None, 0),
            },
            Settlement::Failed => {
                let failures = self.failures(connection).await?.saturating_add(1);
                (
                    DUE,
                    Some(now.plus(redelivery_delay(small(failures)))),
                    failures,
                )
            }
            Settlement::Released => (DUE, Some(now), self.failures(connection).await?),
        };
        let settled = sqlx::query(SETTLE)
            .bind(self.lease.run.as_str().to_owned())
            .bind(signed(self.lease.fence))
            .bind(state)
            .bind(at.map(Timestamp::as_millis))
            .bind(failures)
            .bind(consumed)
            .execute(connection)
            .await?;
        Ok(settled.rows_affected() == 1)
    }
}

impl SettleLease {
    /// Marks the consumed signals, if the lease is still held, and says how many waited until now.
    async fn consume(&self, connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
        let Settlement::Next(next) = &self.settlement else {
            return Ok(0);
        };
        if next.consumed.is_empty() {
            return Ok(0);
        }
        let consumed = sqlx::query(CONSUME)
            .bind(self.lease.run.as_str().to_owned())
            .bind(signed(self.lease.fence))
            .bind(json!(next.consumed).to_string())
            .execute(connection)
            .await?;
        Ok(signed(consumed.rows_affected()))
    }

    async fn park(
        &self,
        now: Timestamp,
        wake_at: Option<Timestamp>,
        consumed: i64,
        connection: &mut SqliteConnection,
    ) -> Result<bool, sqlx::Error> {
        let settled = sqlx::query(SETTLE_PARK)
            .bind(self.lease.run.as_str().to_owned())
            .bind(signed(self.lease.fence))
            .bind(wake_at.map(Timestamp::as_millis))
            .bind(self.seen)
            .bind(now.as_millis())
            .bind(consumed)
            .execute(connection)
            .await?;
        Ok(settled.rows_affected() == 1)
    }

    /// How many turns in a row failed; 0 where the lease is gone.
    async fn failures(&self, connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
        let failures: Option<i64> =
            sqlx::query_scalar("SELECT failures FROM runs WHERE run = ?1 AND fence = ?2")
                .bind(self.lease.run.as_str().to_owned())
                .bind(signed(self.lease.fence))
                .fetch_optional(connection)
                .await?;
        Ok(failures.unwrap_or(0))
    }
}

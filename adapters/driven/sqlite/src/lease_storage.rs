//! The atomic steps that the shared lease loop is made of.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};
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

use crate::durable_runtime::refusal;
use crate::error::{self, Failure, undecodable};
use crate::liveness::Lock;
use crate::queues::Open;
use crate::sql;
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

/// Takes ?1 fences; the last of them is returned.
const FENCES: &str = "UPDATE counters SET value = value + ?1 WHERE name = 'fence' RETURNING value";

const GRANT: &str = "
UPDATE runs SET state = 1, worker = ?2, at = ?3, deliveries = deliveries + 1, fence = ?4 WHERE id = ?1
RETURNING deliveries, waiting > 0";

const RENEW: &str = "
UPDATE runs SET at = max(at, ?4) WHERE run = ?1 AND fence = ?2 AND state = 1 AND at > ?3 RETURNING at";

const SIGNALS: &str = "
SELECT j.key, s.id, s.signal, s.payload
FROM json_each(?1) j JOIN runs r ON r.run = j.value ->> 0
    JOIN signals s ON s.run_id = r.id AND s.id > j.value ->> 1 AND s.payload IS NOT NULL
ORDER BY s.id LIMIT ?2";

const CONSUME: &str = "
UPDATE signals SET payload = NULL
WHERE run_id = (SELECT id FROM runs WHERE run = ?1 AND fence = ?2 AND state = 1)
    AND payload IS NOT NULL AND signal = ?3";

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
    async fn bury(&self, worker: &WorkerId) -> Result<usize, RuntimeError> {
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
    async fn peek(&self, scope: &Scope) -> Result<(bool, Option<Timestamp>), Failure> {
        let (scope, now) = (scope.clone(), self.0.clock.now());
        self.0
            .readers
            .read(move |connection| peek(&scope, now, connection))
            .await
    }
}

/// Whether a run is claimable, and when the next one may be.
fn peek(
    scope: &Scope,
    now: Timestamp,
    connection: &Connection,
) -> rusqlite::Result<(bool, Option<Timestamp>)> {
    let millis = now.as_millis();
    let (is_due, next): (bool, Option<i64>) = match scope {
        Scope::All => sql::one(connection, PEEK_ALL, [millis], both),
        Scope::Run(run) => sql::one(connection, PEEK_RUN, params![millis, run.as_str()], both),
        Scope::Queues(queues) => {
            let names: Vec<&str> = queues.iter().map(QueueName::as_str).collect();
            let names = json!(names).to_string();
            sql::one(connection, PEEK_QUEUES, params![millis, names], both)
        }
    }?;
    let is_due = is_due
        && match Open::find(scope, now, connection)? {
            Open::All => true,
            Open::Only(queues) => is_any_due(&queues, now, connection)?,
        };
    Ok((is_due, next.map(Timestamp::from_millis)))
}

fn both(row: &Row<'_>) -> rusqlite::Result<(bool, Option<i64>)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// Whether a run of these queues is claimable.
fn is_any_due(
    queues: &[(String, Option<usize>)],
    now: Timestamp,
    connection: &Connection,
) -> rusqlite::Result<bool> {
    let names: Vec<&str> = queues.iter().map(|(queue, _room)| queue.as_str()).collect();
    let parameters = params![now.as_millis(), json!(names).to_string()];
    sql::one(connection, PEEK_QUEUES, parameters, |row| row.get(0))
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
            .map_err(|failure| error::runtime("serve", failure))?;
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
        let after = after.to_vec();
        self.0
            .readers
            .read(move |connection| signals(&after, limit, connection))
            .await
            .map_err(|failure| error::runtime("serve", failure))
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        let run = run.clone();
        self.0
            .readers
            .read(move |connection| {
                let statement =
                    "SELECT state, at, worker, deliveries, waiting FROM runs WHERE run = ?1";
                sql::one_if_any(connection, statement, [run.as_str()], schedule)
            })
            .await
            .map_err(|failure| error::runtime("describe", failure))
    }
}

fn signals(
    after: &[SignalsAfter],
    limit: usize,
    connection: &Connection,
) -> rusqlite::Result<Vec<WaitingSignal>> {
    let wanted: Vec<_> = after
        .iter()
        .map(|after| json!([after.run.as_str(), signed(after.position)]))
        .collect();
    let wanted = json!(wanted).to_string();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(SIGNALS)?;
    let mut rows = statement.query(params![wanted, limit])?;
    let mut bytes: HashMap<usize, usize> = HashMap::new();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let index = usize::try_from(row.get::<_, i64>(0)?).unwrap_or(usize::MAX);
        let Some(after) = after.get(index) else {
            continue;
        };
        let bytes = bytes.entry(index).or_default();
        // Once one is left out, all later ones of its run are: none may overtake it.
        if *bytes >= MAX_SIGNALS_BYTES {
            continue;
        }
        let payload: Vec<u8> = row.get(3)?;
        *bytes += payload.len();
        found.push(WaitingSignal {
            run: after.run.clone(),
            position: u64::try_from(row.get::<_, i64>(1)?)
                .map_err(|_negative| undecodable("a signal's position"))?,
            signal: Signal {
                id: SignalId::new(row.get::<_, String>(2)?)
                    .map_err(|_invalid| undecodable("a signal's id"))?,
                payload: payload.into(),
            },
        });
    }
    Ok(found)
}

fn schedule(row: &Row<'_>) -> rusqlite::Result<Schedule> {
    let at = row.get::<_, Option<i64>>(1)?.map(Timestamp::from_millis);
    let needed = || at.ok_or_else(|| undecodable("a run without its time"));
    Ok(Schedule {
        state: match row.get::<_, i64>(0)? {
            DUE => ScheduleState::Due { due: needed()? },
            LEASED => ScheduleState::Leased {
                worker: WorkerId::new(row.get::<_, String>(2)?)
                    .map_err(|_invalid| undecodable("a worker's id"))?,
                expires: needed()?,
            },
            PARKED => ScheduleState::Parked { wake_at: at },
            FINISHED => ScheduleState::Finished,
            _ => return Err(undecodable("a run's state")),
        },
        deliveries: small(row.get(3)?),
        signals: small(row.get(4)?),
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

impl Work for Bury {
    /// How many runs are due again.
    type Output = usize;

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<usize> {
        let parameters = params![self.worker.as_str(), self.clock.now().as_millis()];
        sql::execute(connection, BURY, parameters)
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

impl Work for Grant {
    type Output = Vec<Lease>;

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<Vec<Lease>> {
        // Within the transaction: however long it took to begin, the lease is granted now.
        let now = self.clock.now();
        let mut leases = Vec::new();
        while leases.len() < self.limit {
            let room = self.limit - leases.len();
            let (candidates, is_all) = self.candidates(now, room, connection)?;
            if !candidates.is_empty() {
                leases.extend(self.grant(now, candidates, connection)?);
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
    fn candidates(
        &self,
        now: Timestamp,
        room: usize,
        connection: &Connection,
    ) -> rusqlite::Result<(Vec<Candidate>, bool)> {
        let millis = now.as_millis();
        let most = |most: usize| i64::try_from(most).unwrap_or(i64::MAX);
        let in_queue = |queue: &str, limit: usize| {
            let parameters = params![millis, most(limit), queue];
            sql::all(connection, CANDIDATES_QUEUE, parameters, candidate)
        };
        let mut candidates = Vec::new();
        match (&self.scope, Open::find(&self.scope, now, connection)?) {
            (Scope::Run(_), Open::Only(queues)) if queues.is_empty() => {}
            (Scope::Run(run), _) => {
                let parameters = params![millis, most(room), run.as_str()];
                candidates = sql::all(connection, CANDIDATES_RUN, parameters, candidate)?;
            }
            (Scope::All, Open::All) => {
                let parameters = params![millis, most(room)];
                candidates = sql::all(connection, CANDIDATES_ALL, parameters, candidate)?;
            }
            (Scope::Queues(queues), Open::All) => {
                for queue in queues {
                    candidates.extend(in_queue(queue.as_str(), room)?);
                }
            }
            (Scope::All | Scope::Queues(_), Open::Only(queues)) => {
                for (queue, left) in queues {
                    let limit = left.map_or(room, |left| left.min(room));
                    candidates.extend(in_queue(&queue, limit)?);
                }
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

    fn grant(
        &self,
        now: Timestamp,
        candidates: Vec<Candidate>,
        connection: &Connection,
    ) -> rusqlite::Result<Vec<Lease>> {
        let count = i64::try_from(candidates.len()).unwrap_or(i64::MAX);
        let last: i64 = sql::one(connection, FENCES, [count], |row| row.get(0))?;
        let expires = now.plus(self.ttl);
        (last - count + 1..)
            .zip(candidates)
            .map(|(fence, candidate)| {
                let parameters = params![
                    candidate.id,
                    self.worker.as_str(),
                    expires.as_millis(),
                    fence
                ];
                let (delivery, has_signals): (i64, bool) =
                    sql::one(connection, GRANT, parameters, |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })?;
                Ok(Lease {
                    run: candidate.run,
                    fence: u64::try_from(fence).map_err(|_negative| undecodable("a fence"))?,
                    delivery: small(delivery),
                    expires,
                    has_signals,
                })
            })
            .collect()
    }
}

fn candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate {
        id: row.get(0)?,
        run: RunId::new(row.get::<_, String>(1)?).map_err(|_invalid| undecodable("a run's id"))?,
        session: row
            .get::<_, Option<String>>(2)?
            .map(SessionId::new)
            .transpose()
            .map_err(|_invalid| undecodable("a session's id"))?,
        due: row.get(3)?,
    })
}

struct Renew {
    leases: Vec<LeaseKey>,
    ttl: Duration,
    clock: Arc<dyn Clock>,
}

impl Work for Renew {
    type Output = Vec<Renewed>;

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<Vec<Renewed>> {
        let now = self.clock.now();
        let mut renewed = Vec::with_capacity(self.leases.len());
        for LeaseKey { run, fence } in &self.leases {
            let parameters = params![
                run.as_str(),
                signed(*fence),
                now.as_millis(),
                now.plus(self.ttl).as_millis()
            ];
            let expires = sql::one_if_any(connection, RENEW, parameters, |row| row.get(0))?;
            renewed.extend(expires.map(|expires| Renewed {
                fence: *fence,
                expires: Timestamp::from_millis(expires),
            }));
        }
        Ok(renewed)
    }
}

struct SettleLease {
    lease: LeaseKey,
    seen: i64,
    settlement: Settlement,
    clock: Arc<dyn Clock>,
}

impl Work for SettleLease {
    type Output = bool;

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let now = self.clock.now();
        let consumed = self.consume(connection)?;
        let (state, at, failures) = match &self.settlement {
            Settlement::Next(next) => match &next.then {
                Then::Park { wake_at } => {
                    return self.park(now, *wake_at, consumed, connection);
                }
                Then::Again { after } => (DUE, Some(now.plus(*after)), 0),
                Then::Done => (FINISHED, None, 0),
            },
            Settlement::Failed => {
                let failures = self.failures(connection)?.saturating_add(1);
                (
                    DUE,
                    Some(now.plus(redelivery_delay(small(failures)))),
                    failures,
                )
            }
            Settlement::Released => (DUE, Some(now), self.failures(connection)?),
        };
        let parameters = params![
            self.lease.run.as_str(),
            signed(self.lease.fence),
            state,
            at.map(Timestamp::as_millis),
            failures,
            consumed
        ];
        Ok(sql::execute(connection, SETTLE, parameters)? == 1)
    }
}

impl SettleLease {
    /// Marks the consumed signals, if the lease is still held, and says how many waited until now.
    fn consume(&self, connection: &Connection) -> rusqlite::Result<i64> {
        let Settlement::Next(next) = &self.settlement else {
            return Ok(0);
        };
        let mut consumed = 0_usize;
        for signal in &next.consumed {
            let parameters = params![
                self.lease.run.as_str(),
                signed(self.lease.fence),
                signal.as_str()
            ];
            consumed += sql::execute(connection, CONSUME, parameters)?;
        }
        Ok(i64::try_from(consumed).unwrap_or(i64::MAX))
    }

    fn park(
        &self,
        now: Timestamp,
        wake_at: Option<Timestamp>,
        consumed: i64,
        connection: &Connection,
    ) -> rusqlite::Result<bool> {
        let parameters = params![
            self.lease.run.as_str(),
            signed(self.lease.fence),
            wake_at.map(Timestamp::as_millis),
            self.seen,
            now.as_millis(),
            consumed
        ];
        Ok(sql::execute(connection, SETTLE_PARK, parameters)? == 1)
    }

    /// How many turns in a row failed; 0 where the lease is gone.
    fn failures(&self, connection: &Connection) -> rusqlite::Result<i64> {
        let failures = sql::one_if_any(
            connection,
            "SELECT failures FROM runs WHERE run = ?1 AND fence = ?2",
            params![self.lease.run.as_str(), signed(self.lease.fence)],
            |row| row.get(0),
        )?;
        Ok(failures.unwrap_or(0))
    }
}

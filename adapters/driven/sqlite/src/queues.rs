//! Queues with a limit on how many of their runs are leased at once.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use rusqlite::{Connection, Result, params};
use seaworthy_ports::durable_runtime::{MAX_QUEUE_LIMITS, Scope};
use seaworthy_ports::{QueueName, Timestamp};

use crate::error::undecodable;
use crate::sql;
use crate::writer::Work;

/// What each limited queue has room for at ?1. Live leases are few, so they are read once for all queues.
const ROOM: &str = "
SELECT l.queue, l.most - coalesce(held.leases, 0)
FROM queue_limits l LEFT JOIN (
    SELECT queue, count(*) AS leases FROM runs INDEXED BY runs_leased WHERE state = 1 AND at > ?1 GROUP BY queue
) held ON held.queue = l.queue";

/// The queues that have a run which time makes claimable, by one look into the index for each.
const QUEUES: &str = "
WITH RECURSIVE queues (name) AS (
    SELECT min(queue) FROM runs WHERE at IS NOT NULL
    UNION ALL
    SELECT (SELECT min(queue) FROM runs WHERE at IS NOT NULL AND queue > queues.name) FROM queues
    WHERE queues.name IS NOT NULL)
SELECT name FROM queues WHERE name IS NOT NULL";

/// The queues of a scope from which runs may be leased, and how many.
pub(crate) enum Open {
    /// No queue at all has a limit.
    All,
    /// These; `None`: as many as there are.
    Only(Vec<(String, Option<usize>)>),
}

impl Open {
    /// What is open to a scope.
    pub(crate) fn find(scope: &Scope, now: Timestamp, connection: &Connection) -> Result<Self> {
        // A limit that was lowered may leave less than none.
        let room: HashMap<String, usize> = sql::all(connection, ROOM, [now.as_millis()], |row| {
            Ok((
                row.get(0)?,
                usize::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
            ))
        })?
        .into_iter()
        .collect();
        if room.is_empty() {
            return Ok(Self::All);
        }
        let queues: Vec<String> = match scope {
            Scope::All => sql::all(connection, QUEUES, [], |row| row.get(0))?,
            Scope::Queues(queues) => queues
                .iter()
                .map(|queue| queue.as_str().to_owned())
                .collect(),
            Scope::Run(run) => {
                let queue = "SELECT queue FROM runs WHERE run = ?1";
                sql::all(connection, queue, [run.as_str()], |row| row.get(0))?
            }
        };
        let open = queues
            .into_iter()
            .filter_map(|queue| match room.get(&queue) {
                Some(0) => None,
                Some(left) => Some((queue, Some(*left))),
                None => Some((queue, None)),
            });
        Ok(Self::Only(open.collect()))
    }
}

/// The limits in force.
pub(crate) fn limits(connection: &Connection) -> Result<BTreeMap<QueueName, NonZeroU32>> {
    let limits = "SELECT queue, most FROM queue_limits";
    let limits = sql::all(connection, limits, [], |row| {
        let queue = QueueName::new(row.get::<_, String>(0)?)
            .map_err(|_invalid| undecodable("a queue's name"))?;
        let most = u32::try_from(row.get::<_, i64>(1)?).ok();
        let most = most.and_then(NonZeroU32::new);
        Ok((queue, most.ok_or_else(|| undecodable("a queue's limit"))?))
    })?;
    Ok(limits.into_iter().collect())
}

/// Sets or lifts a limit.
pub(crate) struct SetLimit {
    pub(crate) queue: QueueName,
    pub(crate) limit: Option<NonZeroU32>,
}

impl Work for SetLimit {
    /// Whether there was room for one more limit.
    type Output = bool;

    fn apply(&mut self, connection: &Connection) -> Result<bool> {
        let queue = self.queue.as_str();
        let Some(limit) = self.limit else {
            let lift = "DELETE FROM queue_limits WHERE queue = ?1";
            sql::execute(connection, lift, [queue])?;
            return Ok(true);
        };
        let set = sql::execute(
            connection,
            "INSERT INTO queue_limits (queue, most) SELECT ?1, ?2
            WHERE EXISTS (SELECT 1 FROM queue_limits WHERE queue = ?1)
                OR (SELECT count(*) FROM queue_limits) < ?3
            ON CONFLICT (queue) DO UPDATE SET most = excluded.most",
            params![
                queue,
                limit.get(),
                i64::try_from(MAX_QUEUE_LIMITS).unwrap_or(i64::MAX)
            ],
        )?;
        Ok(set == 1)
    }
}

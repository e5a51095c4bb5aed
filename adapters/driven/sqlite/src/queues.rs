//! Queues with a limit on how many of their runs are leased at once.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use async_trait::async_trait;
use seaworthy_ports::durable_runtime::{MAX_QUEUE_LIMITS, Scope};
use seaworthy_ports::{QueueName, Timestamp};
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use crate::error::undecodable;
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
    pub(crate) async fn find(
        scope: &Scope,
        now: Timestamp,
        connection: &mut SqliteConnection,
    ) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query(ROOM)
            .bind(now.as_millis())
            .fetch_all(&mut *connection)
            .await?;
        if rows.is_empty() {
            return Ok(Self::All);
        }
        let mut room: HashMap<String, usize> = HashMap::with_capacity(rows.len());
        for row in rows {
            // A limit that was lowered may leave less than none.
            let left = usize::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0);
            room.insert(row.try_get(0)?, left);
        }
        let queues: Vec<String> = match scope {
            Scope::All => sqlx::query_scalar(QUEUES).fetch_all(connection).await?,
            Scope::Queues(queues) => queues
                .iter()
                .map(|queue| queue.as_str().to_owned())
                .collect(),
            Scope::Run(run) => {
                sqlx::query_scalar("SELECT queue FROM runs WHERE run = ?1")
                    .bind(run.as_str().to_owned())
                    .fetch_all(connection)
                    .await?
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
pub(crate) async fn limits(
    readers: &SqlitePool,
) -> Result<BTreeMap<QueueName, NonZeroU32>, sqlx::Error> {
    let rows = sqlx::query("SELECT queue, most FROM queue_limits")
        .fetch_all(readers)
        .await?;
    rows.iter()
        .map(|row| {
            let queue = QueueName::new(row.try_get::<String, _>(0)?)
                .map_err(|_invalid| undecodable("a queue's name"))?;
            let most = u32::try_from(row.try_get::<i64, _>(1)?).ok();
            let most = most.and_then(NonZeroU32::new);
            Ok((queue, most.ok_or_else(|| undecodable("a queue's limit"))?))
        })
        .collect()
}

/// Sets or lifts a limit.
pub(crate) struct SetLimit {
    pub(crate) queue: QueueName,
    pub(crate) limit: Option<NonZeroU32>,
}

#[async_trait]
impl Work for SetLimit {
    /// Whether there was room for one more limit.
    type Output = bool;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let queue = self.queue.as_str().to_owned();
        let Some(limit) = self.limit else {
            sqlx::query("DELETE FROM queue_limits WHERE queue = ?1")
                .bind(queue)
                .execute(connection)
                .await?;
            return Ok(true);
        };
        let set = sqlx::query(
            "INSERT INTO queue_limits (queue, most) SELECT ?1, ?2
            WHERE EXISTS (SELECT 1 FROM queue_limits WHERE queue = ?1)
                OR (SELECT count(*) FROM queue_limits) < ?3
            ON CONFLICT (queue) DO UPDATE SET most = excluded.most",
        )
        .bind(queue)
        .bind(i64::from(limit.get()))
        .bind(i64::try_from(MAX_QUEUE_LIMITS).unwrap_or(i64::MAX))
        .execute(connection)
        .await?;
        Ok(set.rows_affected() == 1)
    }
}

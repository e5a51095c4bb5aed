//! Leases that end: those of turns that end at about the same time are ended by one statement.

use std::sync::Arc;

use seaworthy_polling::LeaseKey;
use seaworthy_ports::Timestamp;
use sqlx::Row as _;
use tokio::sync::{mpsc, oneshot};

use crate::clock::DatabaseClock;
use crate::database::Database;
use crate::error::Failure;

/// How many wait at most; whoever ends more waits for a place.
const WAITING: usize = 1_024;
/// How many one statement ends.
const BATCH: usize = 256;

const SETTLE: &str = "SELECT now, looked, settled FROM settle_runs($1, $2, $3, $4, $5)";

/// The end of the lease of a turn that consumed nothing and did not fail.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) lease: LeaseKey,
    pub(crate) seen: i64,
    /// As `settle_runs` has it.
    pub(crate) then: i32,
    pub(crate) time: Option<i64>,
}

/// Whether the lease was held until now; `None`: somebody else holds the run at the moment, and nothing was done.
type Reply = Result<Option<bool>, Failure>;

/// The way to the task that ends leases. When the last clone is dropped, it ends those that wait, and itself.
#[derive(Clone, Debug)]
pub(crate) struct Settler(mpsc::Sender<(Ending, oneshot::Sender<Reply>)>);

impl Settler {
    pub(crate) fn start(database: &Database, clock: &Arc<DatabaseClock>) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let task = run(waiting, database.clone(), Arc::clone(clock));
        database.home.spawn(task);
        Self(queue)
    }

    /// Ends one lease. Dropping the future leaves the outcome unknown.
    pub(crate) async fn settle(&self, ending: Ending) -> Reply {
        let (reply, outcome) = oneshot::channel();
        let sent = self.0.send((ending, reply)).await;
        sent.map_err(|_gone| Failure::lost())?;
        outcome.await.unwrap_or_else(|_gone| Err(Failure::lost()))
    }
}

async fn run(
    mut waiting: mpsc::Receiver<(Ending, oneshot::Sender<Reply>)>,
    database: Database,
    clock: Arc<DatabaseClock>,
) {
    let mut group = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut group, BATCH).await > 0 {
        // What ends because of the same thing ends with the first of them.
        tokio::task::yield_now().await;
        while group.len() < BATCH
            && let Ok(more) = waiting.try_recv()
        {
            group.push(more);
        }
        let (endings, replies): (Vec<Ending>, Vec<_>) = group
            .drain(..)
            .filter(|(_ending, reply)| !reply.is_closed())
            .unzip();
        if endings.is_empty() {
            continue;
        }
        let outcomes = settle(&endings, &database, &clock).await;
        for (number, reply) in (1..).zip(replies) {
            let outcome = match &outcomes {
                Ok(outcomes) => Ok(outcomes.of(number)),
                Err(failure) => Err(failure.clone()),
            };
            // Whoever asked may have gone.
            let _gone = reply.send(outcome);
        }
    }
}

/// Ordinals, which count from one.
struct Outcomes {
    looked: Vec<i64>,
    settled: Vec<i64>,
}

impl Outcomes {
    fn of(&self, number: i64) -> Option<bool> {
        let was_looked_at = self.looked.contains(&number);
        was_looked_at.then(|| self.settled.contains(&number))
    }
}

async fn settle(
    endings: &[Ending],
    database: &Database,
    clock: &DatabaseClock,
) -> Result<Outcomes, Failure> {
    let column = || endings.iter();
    let runs: Vec<String> = column()
        .map(|ending| ending.lease.run.as_str().to_owned())
        .collect();
    // A fence that is no number of the database's is nobody's.
    let fences: Vec<i64> = column()
        .map(|ending| i64::try_from(ending.lease.fence).unwrap_or(-1))
        .collect();
    let seens: Vec<i64> = column().map(|ending| ending.seen).collect();
    let thens: Vec<i32> = column().map(|ending| ending.then).collect();
    let times: Vec<Option<i64>> = column().map(|ending| ending.time).collect();
    let statement = sqlx::query(SETTLE)
        .bind(runs)
        .bind(fences)
        .bind(seens)
        .bind(thens)
        .bind(times);
    let asked = clock.local();
    let row = database.write_one(statement).await?;
    let now: i64 = row.try_get(0).map_err(Failure::of_write)?;
    clock.learn(asked, Timestamp::from_millis(now));
    Ok(Outcomes {
        looked: row.try_get(1).map_err(Failure::of_write)?,
        settled: row.try_get(2).map_err(Failure::of_write)?,
    })
}

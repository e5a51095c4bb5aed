//! Runs and signals.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_polling::LeaseStorage as _;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Kind, MAX_QUEUE_LIMITS, MAX_SIGNAL_BYTES, MAX_WAITING_SIGNALS,
    RuntimeCapabilities, RuntimeError, Schedule, Served, Signal, Signalled, Submit, Submitted,
    Worker,
};
use seaworthy_ports::{AdapterInfo, Latch, QueueName, RunId, SessionId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::database::Statement;
use crate::error::{self, ADAPTER, Failure, undecodable};
use crate::lease_storage::Leases;
use crate::store::Shared;

const SUBMIT: &str = "
INSERT INTO runs (run, session, queue, state, at) VALUES ($1, $2, $3, 0, coalesce($4, seaworthy_now()))
ON CONFLICT (run) DO NOTHING RETURNING 1";

pub(crate) struct PostgresRuntime {
    shared: Arc<Shared>,
    leases: Arc<Leases>,
}

impl PostgresRuntime {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let leases = Arc::new(Leases(Arc::clone(&shared)));
        Self { shared, leases }
    }

    /// What a statement says in its one row and column.
    async fn told<'r, T>(
        &self,
        operation: &'static str,
        statement: Statement,
    ) -> Result<T, RuntimeError>
    where
        T: for<'a> sqlx::Decode<'a, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        let failed = |failure| error::runtime(operation, failure);
        let written = self.shared.database.write_one(statement).await;
        let row = written.map_err(failed)?;
        row.try_get(0)
            .map_err(|error| failed(Failure::of_write(error)))
    }
}

impl fmt::Debug for PostgresRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresRuntime")
            .field(&self.shared)
            .finish()
    }
}

#[async_trait]
impl DurableRuntime for PostgresRuntime {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn capabilities(&self) -> RuntimeCapabilities {
        RuntimeCapabilities {
            durability: self.shared.durability,
            distributed: true,
            pushed_wakeups: true,
            queue_limits: true,
            timer_precision_ms: 1_000,
        }
    }

    async fn submit(&self, submit: Submit) -> Result<Submitted, RuntimeError> {
        let statement = sqlx::query(SUBMIT)
            .bind(submit.run.as_str().to_owned())
            .bind(
                submit
                    .session
                    .as_ref()
                    .map(SessionId::as_str)
                    .map(str::to_owned),
            )
            .bind(submit.queue.as_str().to_owned())
            .bind(submit.not_before.map(|at| at.as_millis()));
        let written = self.shared.database.write(statement).await;
        let rows = written.map_err(|failure| error::runtime("submit", failure))?;
        if rows.is_empty() {
            return Ok(Submitted::Existing);
        }
        self.shared.hints.due.give();
        // What is due later is found by the time that idle workers are told.
        self.shared.announcer.due();
        Ok(Submitted::New)
    }

    async fn resubmit(&self, run: &RunId) -> Result<(), RuntimeError> {
        let statement = sqlx::query("SELECT resubmit_run($1)").bind(run.as_str().to_owned());
        if !self.told("resubmit", statement).await? {
            return Err(refusal(Kind::NotFound, "resubmit", "the run is unknown"));
        }
        self.shared.hints.due.give();
        self.shared.announcer.due();
        Ok(())
    }

    async fn signal(&self, run: &RunId, signal: Signal) -> Result<Signalled, RuntimeError> {
        if signal.payload.len() > MAX_SIGNAL_BYTES {
            return Err(refusal(
                Kind::Rejected,
                "signal",
                "the payload is too large",
            ));
        }
        let statement = sqlx::query("SELECT send_signal($1, $2, $3, $4)")
            .bind(run.as_str().to_owned())
            .bind(signal.id.as_str().to_owned())
            .bind(signal.payload.to_vec())
            .bind(i32::try_from(MAX_WAITING_SIGNALS).unwrap_or(i32::MAX));
        match self.told::<i32>("signal", statement).await? {
            0 => {
                self.shared.hints.signal.give();
                self.shared.hints.due.give();
                self.shared.announcer.signal();
                Ok(Signalled::Accepted)
            }
            1 => Ok(Signalled::Duplicate),
            2 => Ok(Signalled::Finished),
            3 => Err(refusal(Kind::NotFound, "signal", "the run is unknown")),
            _ => Err(refusal(
                Kind::Rejected,
                "signal",
                "too many signals wait for the run",
            )),
        }
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        self.leases.describe(run).await
    }

    async fn forget(&self, run: &RunId) -> Result<(), RuntimeError> {
        let statement = sqlx::query("SELECT forget_run($1)").bind(run.as_str().to_owned());
        let written = self.shared.database.write(statement).await;
        written.map_err(|failure| error::runtime("forget", failure))?;
        // Its session may have become free.
        self.shared.hints.due.give();
        Ok(())
    }

    async fn limit_queue(
        &self,
        queue: &QueueName,
        limit: Option<NonZeroU32>,
    ) -> Result<(), RuntimeError> {
        let statement = sqlx::query("SELECT limit_queue($1, $2, $3)")
            .bind(queue.as_str().to_owned())
            .bind(limit.map(|limit| i64::from(limit.get())))
            .bind(i64::try_from(MAX_QUEUE_LIMITS).unwrap_or(i64::MAX));
        if !self.told("limit_queue", statement).await? {
            return Err(refusal(
                Kind::Rejected,
                "limit_queue",
                "too many queues have a limit",
            ));
        }
        // It may be higher than before.
        self.shared.hints.due.give();
        self.shared.announcer.due();
        Ok(())
    }

    async fn queue_limits(&self) -> Result<BTreeMap<QueueName, NonZeroU32>, RuntimeError> {
        let failed = |failure| error::runtime("queue_limits", failure);
        let statement = sqlx::query("SELECT queue, most FROM queue_limits");
        let rows = self.shared.database.read(statement).await.map_err(failed)?;
        let limits = rows.iter().map(limit).collect::<Result<_, sqlx::Error>>();
        limits.map_err(|error| failed(error.into()))
    }

    async fn serve(
        &self,
        worker: Worker,
        advance: Arc<dyn Advance>,
        stop: Latch,
    ) -> Result<Served, RuntimeError> {
        let _listening = self.shared.listen();
        let clock = Arc::clone(&self.shared.clock);
        seaworthy_polling::serve(
            ADAPTER,
            Arc::clone(&self.leases),
            clock as Arc<dyn Clock>,
            self.shared.hints.clone(),
            worker,
            advance,
            stop,
        )
        .await
    }
}

fn refusal(kind: Kind, operation: &'static str, why: &'static str) -> RuntimeError {
    RuntimeError::new(kind, ADAPTER, operation, why)
}

fn limit(row: &PgRow) -> Result<(QueueName, NonZeroU32), sqlx::Error> {
    let queue = QueueName::new(row.try_get::<&str, _>(0)?)
        .map_err(|_invalid| undecodable("a queue's name"))?;
    let most = u32::try_from(row.try_get::<i64, _>(1)?)
        .ok()
        .and_then(NonZeroU32::new)
        .ok_or_else(|| undecodable("a queue's limit"))?;
    Ok((queue, most))
}

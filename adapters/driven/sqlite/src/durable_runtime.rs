//! Runs and signals.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_polling::LeaseStorage as _;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Kind, MAX_SIGNAL_BYTES, MAX_WAITING_SIGNALS, RuntimeCapabilities,
    RuntimeError, Schedule, Served, Signal, Signalled, Submit, Submitted, Worker,
};
use seaworthy_ports::{AdapterInfo, Durability, Latch, QueueName, RunId};
use sqlx::{Row as _, SqliteConnection};

use crate::error::{self, ADAPTER};
use crate::lease_storage::{DUE, FINISHED, Leases, PARKED};
use crate::queues;
use crate::store::Shared;
use crate::writer::Work;

pub(crate) struct SqliteRuntime {
    shared: Arc<Shared>,
    leases: Arc<Leases>,
}

impl SqliteRuntime {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let leases = Arc::new(Leases(Arc::clone(&shared)));
        Self { shared, leases }
    }
}

impl fmt::Debug for SqliteRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteRuntime").field(&self.shared).finish()
    }
}

#[async_trait]
impl DurableRuntime for SqliteRuntime {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn capabilities(&self) -> RuntimeCapabilities {
        RuntimeCapabilities {
            durability: Durability::OsCrash,
            distributed: true,
            pushed_wakeups: false,
            queue_limits: true,
            timer_precision_ms: 1_000,
        }
    }

    async fn submit(&self, submit: Submit) -> Result<Submitted, RuntimeError> {
        let submitted = self
            .shared
            .writer
            .write(SubmitRun {
                submit,
                clock: Arc::clone(&self.shared.clock),
            })
            .await
            .map_err(|failure| error::runtime("submit", failure))?;
        if submitted == Submitted::New {
            self.shared.hints.due.give();
        }
        Ok(submitted)
    }

    async fn resubmit(&self, run: &RunId) -> Result<(), RuntimeError> {
        let known = self
            .shared
            .writer
            .write(Resubmit {
                run: run.clone(),
                clock: Arc::clone(&self.shared.clock),
            })
            .await
            .map_err(|failure| error::runtime("resubmit", failure))?;
        if !known {
            return Err(refusal(Kind::NotFound, "resubmit", "the run is unknown"));
        }
        self.shared.hints.due.give();
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
        let signalled = self
            .shared
            .writer
            .write(SendSignal {
                run: run.clone(),
                signal,
                clock: Arc::clone(&self.shared.clock),
            })
            .await
            .map_err(|failure| error::runtime("signal", failure))??;
        if signalled == Signalled::Accepted {
            self.shared.hints.signal.give();
            self.shared.hints.due.give();
        }
        Ok(signalled)
    }

    async fn describe(&self, run: &RunId) -> Result<Option<Schedule>, RuntimeError> {
        self.leases.describe(run).await
    }

    async fn forget(&self, run: &RunId) -> Result<(), RuntimeError> {
        self.shared
            .writer
            .write(Forget { run: run.clone() })
            .await
            .map_err(|failure| error::runtime("forget", failure))?;
        // Its session may have become free.
        self.shared.hints.due.give();
        Ok(())
    }

    async fn limit_queue(
        &self,
        queue: &QueueName,
        limit: Option<NonZeroU32>,
    ) -> Result<(), RuntimeError> {
        let set = queues::SetLimit {
            queue: queue.clone(),
            limit,
        };
        let writer = &self.shared.writer;
        let set = writer.write(set).await;
        if !set.map_err(|failure| error::runtime("limit_queue", failure))? {
            let why = "too many queues have a limit";
            return Err(refusal(Kind::Rejected, "limit_queue", why));
        }
        self.shared.hints.due.give();
        Ok(())
    }

    async fn queue_limits(&self) -> Result<BTreeMap<QueueName, NonZeroU32>, RuntimeError> {
        queues::limits(&self.shared.readers)
            .await
            .map_err(|error| error::runtime("queue_limits", error))
    }

    async fn serve(
        &self,
        worker: Worker,
        advance: Arc<dyn Advance>,
        stop: Latch,
    ) -> Result<Served, RuntimeError> {
        seaworthy_polling::serve(
            ADAPTER,
            Arc::clone(&self.leases),
            Arc::clone(&self.shared.clock),
            self.shared.hints.clone(),
            worker,
            advance,
            stop,
        )
        .await
    }
}

pub(crate) fn refusal(kind: Kind, operation: &'static str, why: &'static str) -> RuntimeError {
    RuntimeError::new(kind, ADAPTER, operation, why)
}

struct SubmitRun {
    submit: Submit,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Work for SubmitRun {
    type Output = Submitted;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<Submitted, sqlx::Error> {
        let submit = &self.submit;
        let due = submit.not_before.unwrap_or_else(|| self.clock.now());
        let written = sqlx::query(
            "INSERT INTO runs (run, session, queue, state, at, deliveries, failures, waiting)
            VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0) ON CONFLICT (run) DO NOTHING",
        )
        .bind(submit.run.as_str().to_owned())
        .bind(
            submit
                .session
                .as_ref()
                .map(|session| session.as_str().to_owned()),
        )
        .bind(submit.queue.as_str().to_owned())
        .bind(DUE)
        .bind(due.as_millis())
        .execute(connection)
        .await?;
        Ok(if written.rows_affected() == 1 {
            Submitted::New
        } else {
            Submitted::Existing
        })
    }
}

struct Resubmit {
    run: RunId,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Work for Resubmit {
    /// Whether the run is known.
    type Output = bool;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let reopened = sqlx::query(
            "UPDATE runs SET state = ?2, at = ?3, failures = 0 WHERE run = ?1 AND state = ?4",
        )
        .bind(self.run.as_str().to_owned())
        .bind(DUE)
        .bind(self.clock.now().as_millis())
        .bind(FINISHED)
        .execute(&mut *connection)
        .await?;
        if reopened.rows_affected() == 1 {
            return Ok(true);
        }
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM runs WHERE run = ?1)")
            .bind(self.run.as_str().to_owned())
            .fetch_one(connection)
            .await
    }
}

struct SendSignal {
    run: RunId,
    signal: Signal,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Work for SendSignal {
    type Output = Result<Signalled, RuntimeError>;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Self::Output, sqlx::Error> {
        let found = sqlx::query(
            "SELECT id, state, waiting,
                EXISTS (SELECT 1 FROM signals WHERE run_id = runs.id AND signal = ?2)
            FROM runs WHERE run = ?1",
        )
        .bind(self.run.as_str().to_owned())
        .bind(self.signal.id.as_str().to_owned())
        .fetch_optional(&mut *connection)
        .await?;
        let Some(found) = found else {
            return Ok(Err(refusal(Kind::NotFound, "signal", "the run is unknown")));
        };
        if found.try_get::<i64, _>(1)? == FINISHED {
            return Ok(Ok(Signalled::Finished));
        }
        if found.try_get::<bool, _>(3)? {
            return Ok(Ok(Signalled::Duplicate));
        }
        let waiting: i64 = found.try_get(2)?;
        if usize::try_from(waiting).is_ok_and(|waiting| waiting >= MAX_WAITING_SIGNALS) {
            return Ok(Err(refusal(
                Kind::Rejected,
                "signal",
                "too many signals wait for the run",
            )));
        }
        let run: i64 = found.try_get(0)?;
        sqlx::query("INSERT INTO signals (run_id, signal, payload) VALUES (?1, ?2, ?3)")
            .bind(run)
            .bind(self.signal.id.as_str().to_owned())
            .bind(self.signal.payload.to_vec())
            .execute(&mut *connection)
            .await?;
        sqlx::query(
            "UPDATE runs SET waiting = waiting + 1,
                at = CASE state WHEN ?2 THEN ?3 ELSE at END,
                state = CASE state WHEN ?2 THEN ?4 ELSE state END
            WHERE id = ?1",
        )
        .bind(run)
        .bind(PARKED)
        .bind(self.clock.now().as_millis())
        .bind(DUE)
        .execute(connection)
        .await?;
        Ok(Ok(Signalled::Accepted))
    }

    fn bytes(&self) -> usize {
        self.signal.payload.len()
    }
}

struct Forget {
    run: RunId,
}

#[async_trait]
impl Work for Forget {
    type Output = ();

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let run = self.run.as_str().to_owned();
        sqlx::query("DELETE FROM signals WHERE run_id = (SELECT id FROM runs WHERE run = ?1)")
            .bind(run.clone())
            .execute(&mut *connection)
            .await?;
        sqlx::query("DELETE FROM runs WHERE run = ?1")
            .bind(run)
            .execute(connection)
            .await?;
        Ok(())
    }
}

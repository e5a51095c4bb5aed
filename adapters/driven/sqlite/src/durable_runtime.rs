//! Runs and signals.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, params};
use seaworthy_polling::LeaseStorage as _;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Kind, MAX_SIGNAL_BYTES, MAX_WAITING_SIGNALS, RuntimeCapabilities,
    RuntimeError, Schedule, Served, Signal, Signalled, Submit, Submitted, Worker,
};
use seaworthy_ports::{AdapterInfo, Durability, Latch, QueueName, RunId, SessionId};

use crate::error::{self, ADAPTER};
use crate::lease_storage::{DUE, FINISHED, Leases, PARKED};
use crate::queues;
use crate::sql;
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
        self.shared
            .readers
            .read(queues::limits)
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

impl Work for SubmitRun {
    type Output = Submitted;

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<Submitted> {
        let submit = &self.submit;
        let due = submit.not_before.unwrap_or_else(|| self.clock.now());
        let written = sql::execute(
            connection,
            "INSERT INTO runs (run, session, queue, state, at, deliveries, failures, waiting)
            VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0) ON CONFLICT (run) DO NOTHING",
            params![
                submit.run.as_str(),
                submit.session.as_ref().map(SessionId::as_str),
                submit.queue.as_str(),
                DUE,
                due.as_millis()
            ],
        )?;
        Ok(if written == 1 {
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

impl Work for Resubmit {
    /// Whether the run is known.
    type Output = bool;

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let run = self.run.as_str();
        let reopened = sql::execute(
            connection,
            "UPDATE runs SET state = ?2, at = ?3, failures = 0 WHERE run = ?1 AND state = ?4",
            params![run, DUE, self.clock.now().as_millis(), FINISHED],
        )?;
        if reopened == 1 {
            return Ok(true);
        }
        let is_known = "SELECT EXISTS (SELECT 1 FROM runs WHERE run = ?1)";
        sql::one(connection, is_known, [run], |row| row.get(0))
    }
}

struct SendSignal {
    run: RunId,
    signal: Signal,
    clock: Arc<dyn Clock>,
}

/// What a signal meets.
struct Addressee {
    id: i64,
    state: i64,
    waiting: i64,
    has_signal: bool,
}

impl Work for SendSignal {
    type Output = Result<Signalled, RuntimeError>;

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<Self::Output> {
        let found = sql::one_if_any(
            connection,
            "SELECT id, state, waiting,
                EXISTS (SELECT 1 FROM signals WHERE run_id = runs.id AND signal = ?2)
            FROM runs WHERE run = ?1",
            [self.run.as_str(), self.signal.id.as_str()],
            |row| {
                Ok(Addressee {
                    id: row.get(0)?,
                    state: row.get(1)?,
                    waiting: row.get(2)?,
                    has_signal: row.get(3)?,
                })
            },
        )?;
        let Some(found) = found else {
            return Ok(Err(refusal(Kind::NotFound, "signal", "the run is unknown")));
        };
        if found.state == FINISHED {
            return Ok(Ok(Signalled::Finished));
        }
        if found.has_signal {
            return Ok(Ok(Signalled::Duplicate));
        }
        if usize::try_from(found.waiting).is_ok_and(|waiting| waiting >= MAX_WAITING_SIGNALS) {
            return Ok(Err(refusal(
                Kind::Rejected,
                "signal",
                "too many signals wait for the run",
            )));
        }
        sql::execute(
            connection,
            "INSERT INTO signals (run_id, signal, payload) VALUES (?1, ?2, ?3)",
            params![found.id, self.signal.id.as_str(), &*self.signal.payload],
        )?;
        sql::execute(
            connection,
            "UPDATE runs SET waiting = waiting + 1,
                at = CASE state WHEN ?2 THEN ?3 ELSE at END,
                state = CASE state WHEN ?2 THEN ?4 ELSE state END
            WHERE id = ?1",
            params![found.id, PARKED, self.clock.now().as_millis(), DUE],
        )?;
        Ok(Ok(Signalled::Accepted))
    }

    fn bytes(&self) -> usize {
        self.signal.payload.len()
    }
}

struct Forget {
    run: RunId,
}

impl Work for Forget {
    type Output = ();

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let run = [self.run.as_str()];
        sql::execute(
            connection,
            "DELETE FROM signals WHERE run_id = (SELECT id FROM runs WHERE run = ?1)",
            run,
        )?;
        sql::execute(connection, "DELETE FROM runs WHERE run = ?1", run).map(drop)
    }
}

//! One statement at a time on a connection of the pool.

use std::time::Duration;

use seaworthy_ports::Effect;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection as _, PgPool, Postgres};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Class, Failure};

/// How long a connection may have been idle and still be used without being tried first.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// How long a connection that is tried may take to answer.
pub(crate) const TRIAL: Duration = Duration::from_secs(2);

pub(crate) type Statement = Query<'static, Postgres, PgArguments>;

/// The pool, and the runtime that its connections live on: a caller may be on another one, which may stand still.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) pool: PgPool,
    pub(crate) home: Handle,
    /// When a server that does not answer is given up.
    pub(crate) patience: Duration,
}

impl Database {
    /// The rows of a statement that changes nothing.
    pub(crate) async fn read(&self, statement: Statement) -> Result<Vec<PgRow>, Failure> {
        self.at_home(statement, Effect::None).await
    }

    /// The rows of a statement that changes something.
    pub(crate) async fn write(&self, statement: Statement) -> Result<Vec<PgRow>, Failure> {
        self.at_home(statement, Effect::Unknown).await
    }

    /// The one row of a statement that changes something.
    pub(crate) async fn write_one(&self, statement: Statement) -> Result<PgRow, Failure> {
        one(self.write(statement).await?)
    }

    /// A call that is dropped before its statement was sent sends none.
    async fn at_home(&self, statement: Statement, effect: Effect) -> Result<Vec<PgRow>, Failure> {
        let this = self.clone();
        let call = self.home.spawn(async move {
            let connection = this.pool.acquire().await.map_err(Failure::without_effect)?;
            let (connection, rows) = this.ask(connection, statement, effect).await;
            drop(connection);
            rows
        });
        AbortOnDropHandle::new(call)
            .await
            .unwrap_or_else(|_stopped| Err(Failure::lost()))
    }

    /// The rows, and the connection if it is still good. `effect` is what no answer may mean.
    pub(crate) async fn ask(
        &self,
        connection: PoolConnection<Postgres>,
        statement: Statement,
        effect: Effect,
    ) -> (
        Option<PoolConnection<Postgres>>,
        Result<Vec<PgRow>, Failure>,
    ) {
        let mut asking = Asking(Some(connection));
        let Some(connection) = asking.0.as_mut() else {
            return (None, Err(Failure::of(Class::Closed)));
        };
        let answer = statement.fetch_all(&mut **connection);
        let failure = match tokio::time::timeout(self.patience, answer).await {
            Ok(Ok(rows)) => return (asking.0.take(), Ok(rows)),
            Ok(Err(error)) if effect == Effect::None => Failure::without_effect(error),
            Ok(Err(error)) => Failure::of_write(error),
            Err(_late) => return (None, Err(Failure::no_answer(effect))),
        };
        if matches!(failure.class, Class::Broken | Class::NotServing) {
            return (None, Err(failure));
        }
        (asking.0.take(), Err(failure))
    }
}

/// A connection with a question on its way. Dropped with it, it is closed: nobody waits for what may still come.
struct Asking(Option<PoolConnection<Postgres>>);

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

/// The row of a statement that has one.
pub(crate) fn one(rows: Vec<PgRow>) -> Result<PgRow, Failure> {
    let row = rows.into_iter().next();
    row.ok_or_else(|| Failure::from(sqlx::Error::RowNotFound))
}

/// Whether the connection still answers.
pub(crate) async fn is_alive(connection: &mut PoolConnection<Postgres>) -> bool {
    matches!(
        tokio::time::timeout(TRIAL, connection.ping()).await,
        Ok(Ok(()))
    )
}

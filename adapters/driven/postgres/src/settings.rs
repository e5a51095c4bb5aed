//! What every connection is told, and what it is asked about the server before it is used.

use std::str::FromStr as _;
use std::time::Duration;

use seaworthy_ports::Durability;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions as _, PgConnection, Row as _};

use crate::PostgresConfig;

/// The oldest server that this adapter is tried on.
const OLDEST: i32 = 150_000;

/// What was read back from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) durability: Durability,
    version: i32,
    is_utf8: bool,
    takes_writes: bool,
}

/// Why a server cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unfit {
    /// It is older than what this adapter is tried on.
    TooOld,
    /// Its texts cannot hold every label.
    NotUtf8,
    /// It is a standby, or takes no writes for another reason.
    ReadOnly,
}

impl Server {
    pub(crate) fn check(self) -> Result<Self, Unfit> {
        if self.version < OLDEST {
            Err(Unfit::TooOld)
        } else if !self.is_utf8 {
            Err(Unfit::NotUtf8)
        } else if !self.takes_writes {
            Err(Unfit::ReadOnly)
        } else {
            Ok(self)
        }
    }
}

/// The URL's options with ours, or the error that says nothing of the URL.
pub(crate) fn options(config: &PostgresConfig) -> Result<PgConnectOptions, sqlx::Error> {
    let options = PgConnectOptions::from_str(config.url.expose())?;
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("seaworthy"),
    };
    let timeout = config.statement_timeout.max(Duration::from_millis(1));
    // No lock is held for longer than a statement takes, so whoever waits longer waits for something that is stuck.
    let lock_timeout = (timeout / 2).clamp(Duration::from_millis(1), Duration::from_secs(2));
    let millis = |duration: Duration| duration.as_millis().min(i32::MAX as u128).to_string();
    let text = str::to_owned;
    Ok(options.disable_statement_logging().options([
        ("search_path", config.schema.clone()),
        ("statement_timeout", millis(timeout)),
        ("lock_timeout", millis(lock_timeout)),
        ("idle_in_transaction_session_timeout", millis(timeout)),
        ("default_transaction_isolation", text("read committed")),
        ("client_min_messages", text("warning")),
        // Every statement finds its few rows through an index, whatever the statistics say, and is planned once.
        ("plan_cache_mode", text("force_generic_plan")),
        ("enable_seqscan", text("off")),
        ("enable_bitmapscan", text("off")),
        ("enable_hashjoin", text("off")),
        ("enable_mergejoin", text("off")),
        ("jit", text("off")),
        ("work_mem", text("32MB")),
    ]))
}

const READ_BACK: &str = "
SELECT current_setting('server_version_num')::integer, current_setting('server_encoding') = 'UTF8',
    NOT pg_is_in_recovery() AND NOT current_setting('transaction_read_only')::boolean,
    current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean
        AND current_setting('synchronous_commit') <> 'off'";

/// Asks the server what it is and what its commits are worth.
pub(crate) async fn read_back(connection: &mut PgConnection) -> Result<Server, sqlx::Error> {
    let row: PgRow = sqlx::query(READ_BACK).fetch_one(connection).await?;
    Ok(Server {
        version: row.try_get(0)?,
        is_utf8: row.try_get(1)?,
        takes_writes: row.try_get(2)?,
        durability: if row.try_get(3)? {
            Durability::OsCrash
        } else {
            // The server acknowledges what is not on its disk: only the death of our own process is certain to be survived.
            Durability::ProcessCrash
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Server = Server {
        durability: Durability::OsCrash,
        version: 150_018,
        is_utf8: true,
        takes_writes: true,
    };

    #[test]
    fn a_server_that_cannot_keep_what_it_is_given_is_refused() {
        assert_eq!(GOOD.check(), Ok(GOOD));
        let version = 140_013;
        assert_eq!(Server { version, ..GOOD }.check(), Err(Unfit::TooOld));
        let is_utf8 = false;
        assert_eq!(Server { is_utf8, ..GOOD }.check(), Err(Unfit::NotUtf8));
        let takes_writes = false;
        let standby = Server {
            takes_writes,
            ..GOOD
        };
        assert_eq!(standby.check(), Err(Unfit::ReadOnly));
    }
}

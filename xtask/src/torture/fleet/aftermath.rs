//! What a fleet has left behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::failure::Failure;
use crate::services::postgres;
use crate::torture::agent::Bench;
use crate::torture::checks::{Totals, check};
use crate::torture::process::Subject;

/// What the database may hold of a run in the end, in bytes. An undisturbed one has some 150,000.
const MOST_OF_A_RUN: u64 = 1_000_000;
/// What an empty schema has.
const MOST_OF_NONE: u64 = 2_000_000;

/// How many runs have ended; none where the server is away.
pub(super) fn ended(bench: &Bench, watcher: &Subject) -> Result<usize, Failure> {
    let (runs, _exit) = watcher.ask_for(bench, &["runs", "--limit", "100000"])?;
    let runs = runs.as_array().cloned().unwrap_or_default();
    Ok(runs
        .iter()
        .filter_map(|run| run.get("status").and_then(Value::as_str))
        .filter(|status| matches!(*status, "succeeded" | "failed" | "cancelled"))
        .count())
}

/// Holds every run against the reference, several at once.
pub(super) fn checked(
    bench: &Bench,
    jobs: u32,
    subjects: &[Subject],
    reference: &Value,
) -> Result<Totals, Failure> {
    let next = AtomicUsize::new(0);
    let totals = Mutex::new(Totals::default());
    thread::scope(|scope| {
        let checking: Vec<_> = (0..jobs)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(subject) = subjects.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let (seen, _summary) = check(bench, subject, Some(reference))?;
                        totals
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .add(seen);
                    }
                    Ok(())
                })
            })
            .collect();
        checking.into_iter().try_for_each(|one| {
            one.join()
                .unwrap_or_else(|_panic| Err(Failure::new("a check panicked")))
        })
    })?;
    Ok(totals.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What is wrong with what the database holds in the end: leases, runs that could still be claimed, and too much.
pub(super) fn stored(url: &str, schema: &str, runs: usize) -> Vec<String> {
    let number = |question: &str| match postgres::ask(url, question) {
        None => Err("there is no psql, so nobody knows what the database holds".to_owned()),
        Some(Err(failure)) => Err(failure.to_string()),
        Some(Ok(answer)) => answer
            .parse::<u64>()
            .map_err(|_no_number| format!("psql answered {answer:?}")),
    };
    let most = MOST_OF_NONE + MOST_OF_A_RUN * u64::try_from(runs).unwrap_or(u64::MAX);
    let bounds = [
        (
            "leases are left",
            format!("SELECT count(*) FROM {schema}.runs WHERE state = 1"),
            0,
        ),
        (
            "runs are not finished",
            format!("SELECT count(*) FROM {schema}.runs WHERE state <> 3"),
            0,
        ),
        (
            "signals wait",
            format!("SELECT count(*) FROM {schema}.signals WHERE payload IS NOT NULL"),
            0,
        ),
        (
            "bytes are stored",
            format!(
                "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '{schema}' AND c.relkind = 'r'"
            ),
            most,
        ),
    ];
    let mut faults = Vec::new();
    for (what, question, most) in bounds {
        match number(&question) {
            Ok(found) if found <= most => {}
            Ok(found) => faults.push(format!("{found} {what}, at most {most} may be")),
            Err(why) => {
                faults.push(why);
                break;
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::worker::tests::worker;
    use super::*;
    use crate::services::Kind;
    use crate::torture::checks::tests::program;

    /// A schema with as much of the adapter's tables as is asked for; dropped with this.
    struct Database {
        url: String,
        schema: String,
    }

    impl Database {
        fn new(name: &str) -> Self {
            let database = Self {
                url: std::env::var(Kind::Postgres.variable()).unwrap(),
                schema: format!("torture_{}_{name}", std::process::id()),
            };
            let schema = &database.schema;
            database.does(&format!(
                "CREATE SCHEMA {schema}; CREATE TABLE {schema}.runs (state smallint NOT NULL);
                CREATE TABLE {schema}.signals (payload bytea); INSERT INTO {schema}.runs VALUES (3), (3);
                INSERT INTO {schema}.signals VALUES (NULL)"
            ));
            database
        }

        fn does(&self, statement: &str) {
            postgres::ask(&self.url, statement).unwrap().unwrap();
        }

        /// What is said of it once this was done to it.
        fn with(&self, tampering: &str) -> Vec<String> {
            self.does(&tampering.replace("HERE", &self.schema));
            stored(&self.url, &self.schema, 1)
        }
    }

    impl Drop for Database {
        fn drop(&mut self) {
            let drop = format!("DROP SCHEMA {} CASCADE", self.schema);
            let _left = postgres::ask(&self.url, &drop);
        }
    }

    #[test]
    #[cfg_attr(
        not(has_postgres),
        ignore = "needs PostgreSQL: cargo xtask test starts one"
    )]
    fn a_lease_a_run_that_has_not_ended_a_signal_and_too_much_storage_are_found() {
        let database = Database::new("stored");
        assert_eq!(database.with("SELECT 1"), [""; 0]);
        // A lease is also a run that has not ended.
        let leased = database.with("UPDATE HERE.runs SET state = 1");
        assert_eq!(leased.len(), 2, "{leased:?}");
        let parked = database.with("UPDATE HERE.runs SET state = 2");
        assert_eq!(parked.len(), 1, "{parked:?}");
        let waiting =
            database.with("UPDATE HERE.runs SET state = 3; UPDATE HERE.signals SET payload = ''");
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        let large = MOST_OF_NONE + MOST_OF_A_RUN;
        let filled = database.with(&format!(
            "UPDATE HERE.signals SET payload = NULL; CREATE TABLE HERE.appends AS
            SELECT repeat('x', 1000) FROM generate_series(1, {})",
            large / 1000
        ));
        assert_eq!(filled.len(), 1, "{filled:?}");
        let gone = database.with("DROP TABLE HERE.runs");
        assert_eq!(gone.len(), 1, "{gone:?}");
    }

    #[test]
    fn runs_that_have_not_ended_are_counted_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let runs = json!([
            { "status": "succeeded" }, { "status": "failed" }, { "status": "cancelled" },
            { "status": "running" }, { "status": "waiting" }, {},
        ]);
        let script = format!("echo '{runs}'");
        let bench = Bench::new(program(folder.path(), &script)).unwrap();
        let watcher = worker(&bench).subject;
        assert_eq!(ended(&bench, &watcher).unwrap(), 3);
    }
}

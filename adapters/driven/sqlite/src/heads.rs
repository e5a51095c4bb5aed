//! The heads of live logs, kept in memory by the writing thread.
//!
//! Only this process's one writing connection makes them, so they stay true until somebody else commits. SQLite tells:
//! `PRAGMA data_version` changes for a connection exactly when another one has written.

use std::collections::HashMap;

use seaworthy_ports::LogId;
use seaworthy_ports::state_store::Labels;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::append::parse_labels;

const FIND: &str = "
SELECT j.key, l.id, l.seq, l.sealed, l.deleted, l.labels, l.append_id,
    (SELECT max(last) FROM appends WHERE log = l.id)
FROM json_each(?1) j JOIN logs l ON l.kind = j.value ->> 0 AND l.name = j.value ->> 1";

/// A log's head, as far as appends need it.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) row: i64,
    pub(crate) seq: u64,
    pub(crate) sealed: bool,
    pub(crate) deleted: bool,
    pub(crate) labels: Labels,
    /// The id of the append that made it.
    pub(crate) newest: Option<String>,
}

/// What is known of a log.
#[derive(Debug)]
pub(crate) enum Known {
    Absent,
    Present(Head),
    /// Its head contradicts its records.
    Corrupt,
}

#[derive(Debug)]
pub(crate) struct Heads {
    known: HashMap<LogId, Known>,
    /// How many heads are kept. With one more they are all forgotten, and read again when they are needed.
    most: usize,
    /// The largest row there is; `None`: not read yet.
    last_row: Option<i64>,
    /// SQLite's count of other connections' commits that all this is from.
    data_version: Option<i64>,
}

impl Heads {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            known: HashMap::new(),
            most,
            last_row: None,
            data_version: None,
        }
    }

    /// Must be told the data version of each transaction before it is used in it.
    pub(crate) fn at_version(&mut self, data_version: i64) {
        if self.data_version != Some(data_version) {
            self.forget();
            self.data_version = Some(data_version);
        }
    }

    /// What `PRAGMA data_version` was when all this was true; `None`: nothing is known.
    pub(crate) fn data_version(&self) -> Option<i64> {
        self.data_version
    }

    /// After anything but an acknowledged append: what is known may not be true any more.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(self.most);
    }

    /// Reads what is not known yet of `logs`.
    pub(crate) async fn load<'a>(
        &mut self,
        logs: impl Iterator<Item = &'a LogId> + Clone,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        let mut unknown = self.unknown(logs.clone());
        if self.known.len() + unknown.len() > self.most {
            self.known.clear();
            unknown = self.unknown(logs);
        }
        if self.last_row.is_none() {
            let last: Option<i64> = sqlx::query_scalar("SELECT max(id) FROM logs")
                .fetch_one(&mut *connection)
                .await?;
            self.last_row = Some(last.unwrap_or(0));
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let wanted: Vec<[&str; 2]> = unknown
            .iter()
            .map(|log| [log.kind.as_str(), log.name.as_str()])
            .collect();
        let found = sqlx::query(FIND)
            .bind(json!(wanted).to_string())
            .fetch_all(connection)
            .await?;
        for row in found {
            let index: i64 = row.try_get(0)?;
            if let Some(log) = usize::try_from(index).ok().and_then(|at| unknown.get(at)) {
                let known = read(&row).map_or(Known::Corrupt, Known::Present);
                self.known.insert((*log).clone(), known);
            }
        }
        for log in unknown {
            self.known.entry(log.clone()).or_insert(Known::Absent);
        }
        Ok(())
    }

    fn unknown<'a>(&self, logs: impl Iterator<Item = &'a LogId>) -> Vec<&'a LogId> {
        let mut unknown: Vec<&LogId> = logs.filter(|log| !self.known.contains_key(log)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    pub(crate) fn get(&self, log: &LogId) -> Option<&Known> {
        self.known.get(log)
    }

    pub(crate) fn get_mut(&mut self, log: &LogId) -> Option<&mut Known> {
        self.known.get_mut(log)
    }

    /// A row that no log has.
    pub(crate) fn new_row(&mut self) -> Option<i64> {
        self.last_row = Some(self.last_row?.checked_add(1)?);
        self.last_row
    }
}

/// `None` where the row cannot be one that we wrote.
fn read(row: &SqliteRow) -> Option<Head> {
    let seq = u64::try_from(row.try_get::<i64, _>(2).ok()?).ok()?;
    let last = row.try_get::<Option<i64>, _>(7).ok()?.unwrap_or(0);
    (u64::try_from(last).ok()? == seq).then_some(())?;
    Some(Head {
        row: row.try_get(1).ok()?,
        seq,
        sealed: row.try_get(3).ok()?,
        deleted: row.try_get(4).ok()?,
        labels: parse_labels(&row.try_get::<String, _>(5).ok()?)?,
        newest: row.try_get(6).ok()?,
    })
}

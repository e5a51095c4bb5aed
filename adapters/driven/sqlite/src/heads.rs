//! The heads of live logs, kept in memory by the writing thread.
//!
//! Only this process's one writing connection makes them, so they stay true until somebody else commits. SQLite tells:
//! `PRAGMA data_version` changes for a connection exactly when another one has written.

use std::collections::HashMap;

use rusqlite::{Connection, Result, Row};
use seaworthy_ports::LogId;
use seaworthy_ports::state_store::Labels;

use crate::append::parse_labels;
use crate::sql;

const FIND: &str = "
SELECT l.id, h.seq, h.sealed, l.deleted, l.labels, h.append_id, h.newest, a.last
FROM logs l LEFT JOIN heads h ON h.log = l.id LEFT JOIN appends a ON a.id = h.newest AND a.log = l.id
WHERE l.kind = ?1 AND l.name = ?2";

/// A log's head, as far as appends need it.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) log: i64,
    pub(crate) seq: u64,
    /// The row of the append that made it.
    pub(crate) append: i64,
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
    /// SQLite's count of other connections' commits that all this is from.
    data_version: Option<i64>,
}

impl Heads {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            known: HashMap::new(),
            most,
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

    /// After anything but an acknowledged append: what is known may not be true any more.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(self.most);
    }

    /// What is known of `log`, which is read if nothing is.
    pub(crate) fn find(&mut self, log: &LogId, connection: &Connection) -> Result<&mut Known> {
        if !self.known.contains_key(log) {
            if self.known.len() >= self.most {
                self.known.clear();
            }
            let found = sql::one_if_any(
                connection,
                FIND,
                [log.kind.as_str(), log.name.as_str()],
                |row| Ok(read(row).map_or(Known::Corrupt, Known::Present)),
            )?;
            self.known
                .insert(log.clone(), found.unwrap_or(Known::Absent));
        }
        // It is there by now.
        let known = self.known.get_mut(log);
        known.ok_or(rusqlite::Error::QueryReturnedNoRows)
    }
}

/// `None` where the row cannot be one that we wrote.
fn read(row: &Row<'_>) -> Option<Head> {
    let (log, deleted) = (row.get(0).ok()?, row.get(3).ok()?);
    if deleted {
        return Some(Head {
            log,
            seq: 0,
            append: 0,
            sealed: false,
            deleted,
            labels: Labels::new(),
            newest: None,
        });
    }
    let seq: i64 = row.get(1).ok()?;
    let last: i64 = row.get(7).ok()?;
    (seq == last).then_some(())?;
    Some(Head {
        log,
        seq: u64::try_from(seq).ok()?,
        append: row.get(6).ok()?,
        sealed: row.get(2).ok()?,
        deleted,
        labels: parse_labels(&row.get::<_, String>(4).ok()?)?,
        newest: row.get(5).ok()?,
    })
}

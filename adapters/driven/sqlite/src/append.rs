//! One append, in the transaction of its group.

use rusqlite::{CachedStatement, Connection, Result, params};
use seaworthy_ports::LogId;
use seaworthy_ports::state_store::{
    Append, Appended, Expected, Kind, Labels, Seq, StateStoreError,
};
use serde_json::json;

use crate::bodies::{pack, unpack};
use crate::error::ADAPTER;
use crate::heads::{Head, Heads, Known};
use crate::sql;

/// The last sequence a log can have.
const MAX_SEQ: u64 = i64::MAX as u64;

const CREATE: &str = "INSERT INTO logs (kind, name, deleted, labels) VALUES (?1, ?2, 0, ?3)";
/// The whole row is written: what it was is known, and SQLite need not read it.
const ADVANCE: &str =
    "REPLACE INTO heads (log, seq, newest, sealed, append_id) VALUES (?1, ?2, ?3, ?4, ?5)";
const RELABEL: &str = "UPDATE logs SET labels = ?2 WHERE id = ?1";
const INSERT: &str =
    "INSERT INTO appends (log, last, previous, lengths, bodies) VALUES (?1, ?2, ?3, ?4, ?5)";
const MARK: &str = "INSERT INTO marks (log, last, append) VALUES (?1, ?2, ?3)";
const ADD_LABEL: &str = "INSERT INTO labels (kind, name, value, log) VALUES (?1, ?2, ?3, ?4)";
pub(crate) const REMOVE_LABEL: &str =
    "DELETE FROM labels WHERE kind = ?1 AND name = ?2 AND value = ?3 AND log = ?4";

/// An append whose last record lies in another block of so many is one to begin reading at. Part of the schema.
pub(crate) const MARK_EVERY: u64 = 64;

/// The labels of a head as stored, or `None` if that is not what they are.
pub(crate) fn parse_labels(text: &str) -> Option<Labels> {
    serde_json::from_str(text).ok()
}

/// About how many bytes an append holds while it waits.
pub(crate) fn size(append: &Append) -> usize {
    append
        .bodies
        .iter()
        .fold(512, |sum, body| sum.saturating_add(body.len()))
}

/// What nearly every append executes, found once for a whole group.
pub(crate) struct Statements<'c> {
    connection: &'c Connection,
    insert: CachedStatement<'c>,
    advance: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    pub(crate) fn prepare(connection: &'c Connection) -> Result<Self> {
        Ok(Self {
            connection,
            insert: connection.prepare_cached(INSERT)?,
            advance: connection.prepare_cached(ADVANCE)?,
        })
    }

    /// Writes the append behind the row `previous`, whose last record is `before`, and moves the head there. Returns the
    /// append's row.
    fn write(
        &mut self,
        log: i64,
        (previous, before): (Option<i64>, u64),
        last: u64,
        append: &Append,
    ) -> Result<i64> {
        let (lengths, bodies) = pack(&append.bodies);
        let row = params![log, stored(last), previous, lengths, &*bodies];
        self.insert.execute(row)?;
        let row = self.connection.last_insert_rowid();
        if last / MARK_EVERY > before / MARK_EVERY {
            sql::execute(self.connection, MARK, [log, stored(last), row])?;
        }
        let head = params![log, stored(last), row, append.seal, append.id.as_str()];
        self.advance.execute(head)?;
        Ok(row)
    }
}

/// Decides and writes one append. A refusal has written nothing; an error leaves `heads` untrue.
pub(crate) fn apply(
    append: &Append,
    heads: &mut Heads,
    statements: &mut Statements<'_>,
) -> Result<std::result::Result<Appended, StateStoreError>> {
    let connection = statements.connection;
    let known = heads.find(&append.log, connection)?;
    if let Known::Present(head) = known
        && head
            .newest
            .as_ref()
            .is_some_and(|newest| newest == append.id.as_str())
    {
        return repeat(append, head, connection);
    }
    let seq = match decide(append, known) {
        Ok(seq) => seq,
        Err(refusal) => return Ok(Err(refusal)),
    };
    match known {
        Known::Present(head) => advance(append, head, seq, statements)?,
        Known::Absent | Known::Corrupt => {
            *known = Known::Present(create(append, seq, statements)?);
        }
    }
    Ok(Ok(Appended { head: Seq(seq) }))
}

/// The outcome of an append whose id the newest one has: the same again, if it is the same.
fn repeat(
    append: &Append,
    head: &Head,
    connection: &Connection,
) -> Result<std::result::Result<Appended, StateStoreError>> {
    let first = head
        .seq
        .checked_sub(u64::try_from(append.bodies.len()).unwrap_or(u64::MAX));
    let expected = match append.expected {
        Expected::Absent => Some(0),
        Expected::Head(Seq(0)) => None,
        Expected::Head(seq) => Some(seq.0),
    };
    let same = first.is_some()
        && first == expected
        && append.seal == head.sealed
        && append.labels == head.labels
        && has_bodies(append, head, connection)?;
    Ok(if same {
        Ok(Appended {
            head: Seq(head.seq),
        })
    } else {
        Err(refusal(
            Kind::Rejected,
            "the newest append has this id and another content",
        ))
    })
}

/// Whether the newest append of the log has the bodies of this one.
fn has_bodies(append: &Append, head: &Head, connection: &Connection) -> Result<bool> {
    let stored = sql::one_if_any(
        connection,
        "SELECT lengths, bodies FROM appends WHERE id = ?3 AND log = ?1 AND last = ?2",
        [head.log, stored(head.seq), head.append],
        |row| Ok((row.get::<_, Option<Vec<u8>>>(0)?, row.get::<_, Vec<u8>>(1)?)),
    )?;
    let bodies = stored.and_then(|(lengths, bodies)| unpack(lengths.as_deref(), bodies));
    Ok(bodies.as_deref() == Some(&append.bodies))
}

/// The head that an append which is no repetition leaves.
fn decide(append: &Append, known: &Known) -> std::result::Result<u64, StateStoreError> {
    let before = match known {
        Known::Present(head) => Some(head),
        Known::Absent => None,
        Known::Corrupt => {
            return Err(refusal(
                Kind::Corrupt,
                "the log's head contradicts its records",
            ));
        }
    };
    if before.is_some_and(|head| head.deleted) {
        return Err(refusal(Kind::Gone, "the log was deleted"));
    }
    if before.is_some_and(|head| head.sealed) {
        return Err(refusal(Kind::Sealed, "the log is sealed"));
    }
    let is_expected = match (append.expected, before) {
        (Expected::Absent, None) => true,
        (Expected::Head(expected), Some(head)) => expected.0 == head.seq,
        _ => false,
    };
    if !is_expected {
        let head = before.map(|head| Seq(head.seq));
        return Err(refusal(
            Kind::Conflict { head },
            "the head is not the expected one",
        ));
    }
    let after = before.map_or(0, |head| head.seq);
    let seq = after.saturating_add(u64::try_from(append.bodies.len()).unwrap_or(u64::MAX));
    if seq > MAX_SEQ {
        return Err(refusal(Kind::Rejected, "the log is full"));
    }
    Ok(seq)
}

fn create(append: &Append, seq: u64, statements: &mut Statements<'_>) -> Result<Head> {
    let connection = statements.connection;
    let LogId { kind, name } = &append.log;
    let labels = json!(append.labels).to_string();
    sql::execute(
        connection,
        CREATE,
        params![kind.as_str(), name.as_str(), labels],
    )?;
    let log = connection.last_insert_rowid();
    for (name, value) in &append.labels {
        let label = params![kind.as_str(), name.as_bytes(), value.as_bytes(), log];
        sql::execute(connection, ADD_LABEL, label)?;
    }
    let row = statements.write(log, (None, 0), seq, append)?;
    Ok(Head {
        log,
        seq,
        append: row,
        sealed: append.seal,
        deleted: false,
        labels: append.labels.clone(),
        newest: Some(append.id.as_str().to_owned()),
    })
}

fn advance(
    append: &Append,
    head: &mut Head,
    seq: u64,
    statements: &mut Statements<'_>,
) -> Result<()> {
    let before = (Some(head.append), head.seq);
    head.append = statements.write(head.log, before, seq, append)?;
    if head.labels != append.labels {
        relabel(append, head, statements.connection)?;
    }
    head.seq = seq;
    head.sealed = append.seal;
    let newest = head.newest.get_or_insert_default();
    newest.clear();
    newest.push_str(append.id.as_str());
    Ok(())
}

fn relabel(append: &Append, head: &mut Head, connection: &Connection) -> Result<()> {
    let labels = json!(append.labels).to_string();
    sql::execute(connection, RELABEL, params![head.log, labels])?;
    let kind = append.log.kind.as_str();
    let old = std::mem::replace(&mut head.labels, append.labels.clone());
    for (name, value) in &old {
        if append.labels.get(name) != Some(value) {
            let label = params![kind, name.as_bytes(), value.as_bytes(), head.log];
            sql::execute(connection, REMOVE_LABEL, label)?;
        }
    }
    for (name, value) in &append.labels {
        if old.get(name) != Some(value) {
            let label = params![kind, name.as_bytes(), value.as_bytes(), head.log];
            sql::execute(connection, ADD_LABEL, label)?;
        }
    }
    Ok(())
}

/// Sequences of a log fit: they are at most [`MAX_SEQ`].
fn stored(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn refusal(kind: Kind, why: &'static str) -> StateStoreError {
    StateStoreError::new(kind, ADAPTER, "append", why)
}

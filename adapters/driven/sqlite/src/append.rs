//! The appends of one group in a fixed number of statements, however many they are.
//!
//! Values travel as one JSON array per statement, bodies as one blob that the statement cuts up. SQLite decodes `\u0000`
//! in JSON text as its end, so nothing that may hold it travels that way: labels go as hexadecimal digits.

use std::collections::{BTreeMap, HashMap};

use seaworthy_ports::state_store::{
    Append, Appended, Expected, Kind, Labels, Seq, StateStoreError,
};
use seaworthy_ports::{AppendId, LogId};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{Row as _, SqliteConnection};

use crate::error::ADAPTER;
use crate::writer::AppendMember;

/// The last sequence a log can have: the lower half of a record's key.
pub(crate) const MAX_SEQ: u64 = 0xffff_ffff;
/// The last log id: with it, keys stay positive.
const MAX_LOG: i64 = 0x7fff_ffff;

/// The key of a log's record. `seq` is at most [`MAX_SEQ`].
pub(crate) fn record_key(log: i64, seq: u64) -> i64 {
    (log << 32) | i64::try_from(seq.min(MAX_SEQ)).unwrap_or(i64::MAX)
}

/// The sequence in a record's key.
pub(crate) fn record_seq(key: i64) -> u64 {
    u64::try_from(key).unwrap_or(0) & MAX_SEQ
}

const HEADS: &str = "
SELECT j.key, l.id, l.seq, l.sealed, l.deleted, l.labels, l.append_id, l.append_digest,
    (SELECT max(r.key) FROM records r WHERE r.key > (l.id << 32) AND r.key <= ((l.id << 32) | 4294967295)),
    (SELECT max(id) FROM logs)
FROM json_each(?1) j LEFT JOIN logs l ON l.kind = j.value ->> 0 AND l.name = j.value ->> 1";

const CREATE: &str = "
INSERT INTO logs (id, kind, name, seq, sealed, deleted, labels, append_id, append_digest)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 0, value ->> 5, value ->> 6, unhex(value ->> 7)
FROM json_each(?1)";

const UPDATE: &str = "
UPDATE logs SET seq = j.value ->> 3, sealed = j.value ->> 4, labels = j.value ->> 5, append_id = j.value ->> 6,
    append_digest = unhex(j.value ->> 7)
FROM json_each(?1) j WHERE logs.id = j.value ->> 0";

const CHANGE_LABELS: &str = "
UPDATE labels SET value = unhex(j.value ->> 3)
FROM json_each(?1) j
WHERE labels.kind = j.value ->> 0 AND labels.name = unhex(j.value ->> 1) AND labels.value = unhex(j.value ->> 2)
    AND labels.log = j.value ->> 4";

/// One at a time: SQLite would look through all labels of the kind for a list, and labels are rarely taken away.
const REMOVE_LABEL: &str =
    "DELETE FROM labels WHERE kind = ?1 AND name = ?2 AND value = ?3 AND log = ?4";

const ADD_LABELS: &str = "
INSERT INTO labels (kind, name, value, log)
SELECT value ->> 0, unhex(value ->> 1), unhex(value ->> 2), value ->> 3 FROM json_each(?1)";

const RECORDS: &str = "
INSERT INTO records (key, body)
SELECT value ->> 0, substr(?2, value ->> 1, value ->> 2) FROM json_each(?1)";

/// An append and the digest of all that makes it this append and no other.
pub(crate) struct PreparedAppend {
    append: Append,
    digest: [u8; 32],
}

impl PreparedAppend {
    pub(crate) fn new(append: Append) -> Self {
        let digest = digest(&append);
        Self { append, digest }
    }

    /// About how many bytes it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.append
            .bodies
            .iter()
            .fold(512, |sum, body| sum.saturating_add(body.len()))
    }
}

fn digest(append: &Append) -> [u8; 32] {
    let mut sum = Sha256::new();
    let mut part = |bytes: &[u8]| {
        sum.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        sum.update(bytes);
    };
    match append.expected {
        Expected::Absent => part(b"absent"),
        Expected::Head(seq) => part(&seq.0.to_le_bytes()),
    }
    part(&[u8::from(append.seal)]);
    part(&append.labels.len().to_le_bytes());
    for (name, value) in &append.labels {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    for body in &append.bodies {
        part(body);
    }
    sum.finalize().into()
}

/// One log of the group: as stored, and as the group's appends leave it.
struct Log {
    id: LogId,
    stored: Option<Stored>,
    corrupt: bool,
    /// What the newest append of the group, or before it, made of the log.
    now: Option<Head>,
    changed: bool,
}

struct Stored {
    row: i64,
    labels: Labels,
}

#[derive(Clone)]
struct Head {
    seq: u64,
    sealed: bool,
    deleted: bool,
    labels: Labels,
    newest: Option<(String, Vec<u8>)>,
}

/// Decides and writes all appends. Each gets its outcome; an error is for the group.
pub(crate) async fn apply(
    members: &mut [&mut AppendMember],
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    if members.is_empty() {
        return Ok(());
    }
    let (mut logs, mut last_row) = load(members, connection).await?;
    let mut rows = Rows::default();
    for member in members.iter_mut() {
        let append = &member.append;
        let outcome = match logs.get_mut(&append.append.log) {
            Some(log) => decide(log, append, &mut last_row, &mut rows),
            None => Err(refusal(Kind::Corrupt, "the log's head could not be read")),
        };
        member.outcome = Some(outcome);
    }
    for log in logs.values() {
        rows.add_head(log);
    }
    rows.write(connection).await
}

async fn load(
    members: &[&mut AppendMember],
    connection: &mut SqliteConnection,
) -> Result<(HashMap<LogId, Log>, i64), sqlx::Error> {
    let mut ids: Vec<LogId> = members
        .iter()
        .map(|member| member.append.append.log.clone())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let wanted: Vec<[&str; 2]> = ids
        .iter()
        .map(|log| [log.kind.as_str(), log.name.as_str()])
        .collect();
    let found = sqlx::query(HEADS)
        .bind(json!(wanted).to_string())
        .fetch_all(connection)
        .await?;
    let mut last_row = 0;
    let mut logs = HashMap::with_capacity(ids.len());
    for row in found {
        let index: i64 = row.try_get(0)?;
        let Some(id) = usize::try_from(index).ok().and_then(|index| ids.get(index)) else {
            continue;
        };
        last_row = row.try_get::<Option<i64>, _>(9)?.unwrap_or(0);
        let mut log = Log {
            id: id.clone(),
            stored: None,
            corrupt: false,
            now: None,
            changed: false,
        };
        if let Some(row_id) = row.try_get::<Option<i64>, _>(1)? {
            match stored_head(&row) {
                Some(head) => {
                    let labels = head.labels.clone();
                    log.stored = Some(Stored {
                        row: row_id,
                        labels,
                    });
                    log.now = Some(head);
                }
                None => log.corrupt = true,
            }
        }
        logs.insert(id.clone(), log);
    }
    Ok((logs, last_row))
}

/// `None` where the row cannot be one that we wrote.
fn stored_head(row: &sqlx::sqlite::SqliteRow) -> Option<Head> {
    let seq = u64::try_from(row.try_get::<i64, _>(2).ok()?).ok()?;
    let deleted: bool = row.try_get(4).ok()?;
    let last = row.try_get::<Option<i64>, _>(8).ok()?.map_or(0, record_seq);
    let id: Option<String> = row.try_get(6).ok()?;
    let digest: Option<Vec<u8>> = row.try_get(7).ok()?;
    (last == seq).then_some(())?;
    Some(Head {
        seq,
        sealed: row.try_get(3).ok()?,
        deleted,
        labels: parse_labels(&row.try_get::<String, _>(5).ok()?)?,
        newest: id.zip(digest),
    })
}

/// The labels of a head as stored, or `None` if that is not what they are.
pub(crate) fn parse_labels(text: &str) -> Option<Labels> {
    serde_json::from_str::<BTreeMap<String, String>>(text).ok()
}

fn decide(
    log: &mut Log,
    prepared: &PreparedAppend,
    last_row: &mut i64,
    rows: &mut Rows,
) -> Result<Appended, StateStoreError> {
    let append = &prepared.append;
    if log.corrupt {
        return Err(refusal(
            Kind::Corrupt,
            "the log's head contradicts its records",
        ));
    }
    let before = log.now.as_ref();
    if before.is_some_and(|head| head.deleted) {
        return Err(refusal(Kind::Gone, "the log was deleted"));
    }
    if let Some(head) = before
        && let Some((id, digest)) = &head.newest
        && *id == append.id.as_str()
    {
        return if digest == &prepared.digest {
            Ok(Appended {
                head: Seq(head.seq),
            })
        } else {
            Err(refusal(
                Kind::Rejected,
                "the newest append has this id and another content",
            ))
        };
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
    let first = before.map_or(0, |head| head.seq);
    let count = u64::try_from(append.bodies.len()).unwrap_or(u64::MAX);
    let seq = first.saturating_add(count);
    if seq > MAX_SEQ {
        return Err(refusal(Kind::Rejected, "the log is full"));
    }
    let row = match &log.stored {
        Some(stored) => stored.row,
        None if log.now.is_some() => rows.created.get(&log.id).copied().unwrap_or_default(),
        None if *last_row >= MAX_LOG => {
            return Err(refusal(Kind::Rejected, "the store has too many logs"));
        }
        None => {
            *last_row += 1;
            rows.created.insert(log.id.clone(), *last_row);
            *last_row
        }
    };
    let mut next = first;
    for body in &append.bodies {
        next += 1;
        rows.add_record(record_key(row, next), body);
    }
    log.now = Some(Head {
        seq,
        sealed: append.seal,
        deleted: false,
        labels: append.labels.clone(),
        newest: Some((append_id(&append.id), prepared.digest.to_vec())),
    });
    log.changed = true;
    Ok(Appended { head: Seq(seq) })
}

fn append_id(id: &AppendId) -> String {
    id.as_str().to_owned()
}

struct RemovedLabel {
    kind: String,
    name: String,
    value: String,
    log: i64,
}

/// What the group writes, by statement.
#[derive(Default)]
struct Rows {
    created: HashMap<LogId, i64>,
    create: Vec<Value>,
    update: Vec<Value>,
    change_labels: Vec<Value>,
    remove_labels: Vec<RemovedLabel>,
    add_labels: Vec<Value>,
    records: Vec<Value>,
    bodies: Vec<u8>,
}

impl Rows {
    fn add_record(&mut self, key: i64, body: &[u8]) {
        // SQL counts from 1.
        self.records
            .push(json!([key, self.bodies.len() + 1, body.len()]));
        self.bodies.extend_from_slice(body);
    }

    fn add_head(&mut self, log: &Log) {
        let (true, Some(head)) = (log.changed, &log.now) else {
            return;
        };
        let Some(row) = log
            .stored
            .as_ref()
            .map(|stored| stored.row)
            .or_else(|| self.created.get(&log.id).copied())
        else {
            return;
        };
        let none = Labels::new();
        let old = log.stored.as_ref().map_or(&none, |stored| &stored.labels);
        let kind = log.id.kind.as_str();
        for (name, value) in &head.labels {
            let (hex_name, hex_value) = (hex::encode(name), hex::encode(value));
            match old.get(name) {
                Some(same) if same == value => {}
                Some(other) => {
                    let other = hex::encode(other);
                    self.change_labels
                        .push(json!([kind, hex_name, other, hex_value, row]));
                }
                None => self
                    .add_labels
                    .push(json!([kind, hex_name, hex_value, row])),
            }
        }
        for (name, value) in old {
            if !head.labels.contains_key(name) {
                self.remove_labels.push(RemovedLabel {
                    kind: kind.to_owned(),
                    name: name.clone(),
                    value: value.clone(),
                    log: row,
                });
            }
        }
        let (id, digest) = head.newest.as_ref().map_or((None, None), |(id, digest)| {
            (Some(id), Some(hex::encode(digest)))
        });
        let values = json!([
            row,
            kind,
            log.id.name.as_str(),
            head.seq,
            u8::from(head.sealed),
            json!(head.labels).to_string(),
            id,
            digest,
        ]);
        if log.stored.is_some() {
            self.update.push(values);
        } else {
            self.create.push(values);
        }
    }

    async fn write(self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let lists = [
            (CREATE, self.create),
            (UPDATE, self.update),
            (CHANGE_LABELS, self.change_labels),
            (ADD_LABELS, self.add_labels),
        ];
        for (statement, list) in lists {
            if !list.is_empty() {
                sqlx::query(statement)
                    .bind(Value::from(list).to_string())
                    .execute(&mut *connection)
                    .await?;
            }
        }
        for label in self.remove_labels {
            sqlx::query(REMOVE_LABEL)
                .bind(label.kind)
                .bind(label.name.into_bytes())
                .bind(label.value.into_bytes())
                .bind(label.log)
                .execute(&mut *connection)
                .await?;
        }
        if !self.records.is_empty() {
            sqlx::query(RECORDS)
                .bind(Value::from(self.records).to_string())
                .bind(self.bodies)
                .execute(connection)
                .await?;
        }
        Ok(())
    }
}

fn refusal(kind: Kind, why: &'static str) -> StateStoreError {
    StateStoreError::new(kind, ADAPTER, "append", why)
}

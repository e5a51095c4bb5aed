//! The appends of one group: each is decided against the head that the ones before it leave, then all are written
//! together.

use std::collections::HashMap;

use seaworthy_ports::LogId;
use seaworthy_ports::state_store::{
    Append, Appended, Expected, Kind, Labels, Seq, StateStoreError,
};
use sqlx::{Row as _, SqliteConnection};

use crate::bodies::unpack;
use crate::error::ADAPTER;
use crate::heads::{Head, Heads, Known};
use crate::rows::{AtOnce, Before, Rows};
use crate::writer::AppendMember;

/// The last sequence a log can have.
const MAX_SEQ: u64 = i64::MAX as u64;

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

/// What the group writes, and which heads it changes.
#[derive(Default)]
struct Group {
    rows: Rows,
    changed: HashMap<LogId, Before>,
}

/// Decides and writes all appends. Each gets its outcome; an error is for the group, and leaves `heads` untrue.
pub(crate) async fn apply(
    members: &mut [&mut AppendMember],
    heads: &mut Heads,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    if members.is_empty() {
        return Ok(());
    }
    let logs = members.iter().map(|member| &member.append.log);
    heads.load(logs, connection).await?;
    let mut group = Group::default();
    for member in members.iter_mut() {
        let append = &member.append;
        let outcome = match repeated(heads, append) {
            Some(head) => {
                // What it repeats may be from this very group.
                group.rows.write_appends(connection).await?;
                repeat(append, head, connection).await?
            }
            None => decide(append, heads, &mut group),
        };
        member.outcome = Some(outcome);
    }
    for (log, before) in &group.changed {
        if let Some(Known::Present(head)) = heads.get(log) {
            group.rows.add_head(log, before, head);
        }
    }
    group.rows.write(connection).await
}

/// Commits a transaction of all appends in a single round trip, if that can be: where all heads are known, no labels
/// change, nothing is refused, and nobody else has written since. Returns whether it did; if not, nothing has happened,
/// and `heads` is untrue, as it is after an error.
pub(crate) async fn apply_at_once(
    members: &mut [&mut AppendMember],
    heads: &mut Heads,
    connection: &mut SqliteConnection,
) -> Result<bool, AtOnce> {
    let Some(data_version) = heads.data_version() else {
        return Ok(false);
    };
    let mut group = Group::default();
    for member in members.iter_mut() {
        let append = &member.append;
        if repeated(heads, append).is_some() {
            return Ok(false);
        }
        let Ok(appended) = decide(append, heads, &mut group) else {
            return Ok(false);
        };
        member.outcome = Some(Ok(appended));
    }
    for (log, before) in &group.changed {
        if let Some(Known::Present(head)) = heads.get(log) {
            group.rows.add_head(log, before, head);
        }
    }
    group.rows.commit_at_once(data_version, connection).await
}

/// Whether an append is of the common kind: to a log that is known, without a change of labels.
pub(crate) fn is_common(append: &Append, heads: &Heads) -> bool {
    matches!(heads.get(&append.log), Some(Known::Present(head)) if head.labels == append.labels)
}

/// The log's head, if the append that made it has the id of this one.
fn repeated<'a>(heads: &'a Heads, append: &Append) -> Option<&'a Head> {
    match heads.get(&append.log) {
        Some(Known::Present(head)) => head
            .newest
            .as_ref()
            .is_some_and(|newest| newest == append.id.as_str())
            .then_some(head),
        _ => None,
    }
}

/// The outcome of an append whose id the newest one has: the same again, if it is the same.
async fn repeat(
    append: &Append,
    head: &Head,
    connection: &mut SqliteConnection,
) -> Result<Result<Appended, StateStoreError>, sqlx::Error> {
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
        && has_bodies(append, head, connection).await?;
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
async fn has_bodies(
    append: &Append,
    head: &Head,
    connection: &mut SqliteConnection,
) -> Result<bool, sqlx::Error> {
    let stored = sqlx::query("SELECT lengths, bodies FROM appends WHERE log = ?1 AND last = ?2")
        .bind(head.row)
        .bind(i64::try_from(head.seq).unwrap_or(i64::MAX))
        .fetch_optional(connection)
        .await?;
    let Some(stored) = stored else {
        return Ok(false);
    };
    let lengths: Option<&[u8]> = stored.try_get(0)?;
    let bodies = unpack(lengths, stored.try_get(1)?);
    Ok(bodies.as_deref() == Some(&append.bodies))
}

/// The outcome of an append that is not a repetition.
fn decide(
    append: &Append,
    heads: &mut Heads,
    group: &mut Group,
) -> Result<Appended, StateStoreError> {
    let before = match heads.get(&append.log) {
        Some(Known::Present(head)) => Some(head),
        Some(Known::Absent) => None,
        Some(Known::Corrupt) | None => {
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
    let row = match before {
        Some(head) => head.row,
        None => heads
            .new_row()
            .ok_or_else(|| refusal(Kind::Rejected, "the store has too many logs"))?,
    };
    group.rows.add_append(row, seq, &append.bodies);
    if let Some(known) = heads.get_mut(&append.log) {
        change(known, append, row, seq, &mut group.changed);
    }
    Ok(Appended { head: Seq(seq) })
}

/// Makes what is known of the log what the append leaves, and keeps what the group found.
fn change(
    known: &mut Known,
    append: &Append,
    row: i64,
    seq: u64,
    changed: &mut HashMap<LogId, Before>,
) {
    match known {
        Known::Present(head) => {
            let before = changed
                .entry(append.log.clone())
                .or_insert(Before::Present(None));
            head.seq = seq;
            head.sealed = append.seal;
            head.newest = Some(append.id.as_str().to_owned());
            if head.labels != append.labels {
                let old = std::mem::replace(&mut head.labels, append.labels.clone());
                if let Before::Present(first @ None) = before {
                    *first = Some(old);
                }
            }
        }
        Known::Absent | Known::Corrupt => {
            changed.insert(append.log.clone(), Before::Absent);
            *known = Known::Present(Head {
                row,
                seq,
                sealed: append.seal,
                deleted: false,
                labels: append.labels.clone(),
                newest: Some(append.id.as_str().to_owned()),
            });
        }
    }
}

fn refusal(kind: Kind, why: &'static str) -> StateStoreError {
    StateStoreError::new(kind, ADAPTER, "append", why)
}

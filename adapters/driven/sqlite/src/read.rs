//! Reading a log and its head.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rusqlite::Connection;
use seaworthy_ports::state_store::{Head, Labels, Record, Seq, StateStoreError};
use seaworthy_ports::{BoxStream, LogId};

use crate::append::MARK_EVERY;
use crate::bodies::unpack;
use crate::error::{self, Failure, undecodable};
use crate::sql;
use crate::state_store::{contradiction, labels, unsigned};
use crate::store::Shared;

/// One page of a log read.
const READ_APPENDS: usize = 256;
const READ_BYTES: usize = 4 * 1024 * 1024;

/// A damaged log has nulls.
const HEAD: &str = "
SELECT l.id, h.seq, h.sealed, l.labels, h.newest, a.last
FROM logs l LEFT JOIN heads h ON h.log = l.id LEFT JOIN appends a ON a.id = h.newest AND a.log = l.id
WHERE l.kind = ?1 AND l.name = ?2 AND l.deleted = 0";

/// The first append behind ?2 that can be found without following others, unless it is the newest.
const MARK: &str =
    "SELECT last, append FROM marks WHERE log = ?1 AND last > ?2 ORDER BY last LIMIT 1";
const STEP: &str = "SELECT last, previous FROM appends WHERE id = ?1 AND log = ?2";
const BODIES: &str = "SELECT last, lengths, bodies FROM appends WHERE id = ?1 AND log = ?2";

/// A head and whether its records agree with it.
pub(crate) struct FoundHead {
    log: i64,
    seq: u64,
    sealed: bool,
    labels: Labels,
    /// The row of the newest append, and its last record: 0 where there is none.
    newest: i64,
    last_record: u64,
}

impl FoundHead {
    pub(crate) fn head(
        self,
        log: &LogId,
        operation: &'static str,
    ) -> Result<Head, StateStoreError> {
        if self.last_record != self.seq {
            return Err(contradiction(operation));
        }
        Ok(Head {
            log: log.clone(),
            seq: Seq(self.seq),
            sealed: self.sealed,
            labels: self.labels,
        })
    }
}

impl Shared {
    pub(crate) async fn head(&self, log: &LogId) -> Result<Option<FoundHead>, Failure> {
        let log = log.clone();
        self.readers
            .read(move |connection| {
                let log = [log.kind.as_str(), log.name.as_str()];
                sql::one_if_any(connection, HEAD, log, |row| {
                    Ok(FoundHead {
                        log: row.get(0)?,
                        seq: unsigned(row, 1)?,
                        sealed: row.get(2)?,
                        labels: labels(row, 3)?,
                        newest: row.get(4)?,
                        last_record: row
                            .get::<_, Option<i64>>(5)?
                            .unwrap_or(0)
                            .try_into()
                            .map_err(|_negative| undecodable("a sequence"))?,
                    })
                })
            })
            .await
    }
}

/// The records of `log` behind `after`, up to the head it has when reading begins.
pub(crate) fn read(
    shared: Arc<Shared>,
    log: LogId,
    after: Seq,
) -> BoxStream<'static, Result<Record, StateStoreError>> {
    let reader = Reader {
        shared,
        log,
        after: after.0,
        place: Place::Start,
        page: VecDeque::new(),
    };
    stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await.transpose()?;
        if item.is_err() {
            reader.place = Place::End;
            reader.page.clear();
        }
        Some((item, reader))
    })
    .boxed()
}

/// Reads a log up to the head it had at the start, a page at a time: memory is bounded, and no transaction stays open
/// while the caller thinks.
struct Reader {
    shared: Arc<Shared>,
    log: LogId,
    after: u64,
    place: Place,
    page: VecDeque<Record>,
}

/// Up to where a log is read.
#[derive(Clone, Copy)]
struct End {
    log: i64,
    /// The append that was the newest, and its last record.
    newest: i64,
    last: u64,
}

#[derive(Clone, Copy)]
enum Place {
    Start,
    Within(End),
    End,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Record>, StateStoreError> {
        loop {
            if let Some(record) = self.page.pop_front() {
                return Ok(Some(record));
            }
            match self.place {
                Place::Start => {
                    self.place = match self.head().await? {
                        Some(found) if found.last_record != found.seq => {
                            return Err(contradiction("read"));
                        }
                        Some(found) => Place::Within(End {
                            log: found.log,
                            newest: found.newest,
                            last: found.seq,
                        }),
                        None => Place::End,
                    };
                }
                Place::Within(end) if self.after >= end.last => self.place = Place::End,
                Place::Within(end) => self.fill(end).await?,
                Place::End => return Ok(None),
            }
        }
    }

    async fn head(&self) -> Result<Option<FoundHead>, StateStoreError> {
        self.shared
            .head(&self.log)
            .await
            .map_err(|error| error::state_store("read", error))
    }

    /// Reads the next page and checks that nothing is missing from it.
    async fn fill(&mut self, until: End) -> Result<(), StateStoreError> {
        let page = self
            .appends(until)
            .await
            .map_err(|error| error::state_store("read", error))?;
        if page.is_empty() {
            return self.missing().await;
        }
        for (end, bodies) in page {
            let count = u64::try_from(bodies.len()).unwrap_or(u64::MAX);
            // The first append may begin before what is asked for, and the last end behind it.
            let first = end.saturating_sub(count) + 1;
            if first > self.after + 1 {
                return self.missing().await;
            }
            let wanted = (first..)
                .zip(bodies)
                .filter(|(seq, _body)| (self.after + 1..=until.last).contains(seq));
            self.page.extend(wanted.map(|(seq, body)| Record {
                seq: Seq(seq),
                body,
            }));
            self.after = end;
        }
        Ok(())
    }

    /// The next appends that hold records behind `after`: the last sequence of each, and its bodies.
    async fn appends(&self, until: End) -> Result<Vec<(u64, Vec<Bytes>)>, Failure> {
        let after = self.after;
        self.shared
            .readers
            .read(move |connection| page(until, after, connection))
            .await
    }

    /// Records are missing: because the log was deleted meanwhile, or because it is damaged.
    async fn missing(&mut self) -> Result<(), StateStoreError> {
        if self.head().await?.is_some() {
            return Err(contradiction("read"));
        }
        self.place = Place::End;
        Ok(())
    }
}

/// The next appends, as many as one page may hold. Rows are never changed, and never belong to another log than before but
/// where theirs was deleted; what is missing shows as a gap, or as nothing at all.
fn page(
    until: End,
    mut after: u64,
    connection: &Connection,
) -> rusqlite::Result<Vec<(u64, Vec<Bytes>)>> {
    let mut page = Vec::new();
    let mut bytes = 0;
    let mut statement = connection.prepare_cached(BODIES)?;
    while after < until.last && page.len() < READ_APPENDS {
        let rows = behind(until, after, connection)?;
        if rows.is_empty() {
            break;
        }
        for row in rows.into_iter().rev() {
            let mut found = statement.query([row, until.log])?;
            let Some(row) = found.next()? else {
                return Ok(page);
            };
            let bodies: Vec<u8> = row.get(2)?;
            bytes += bodies.len();
            let bodies = unpack(row.get::<_, Option<Vec<u8>>>(1)?.as_deref(), bodies)
                .ok_or_else(|| undecodable("the lengths of an append's bodies"))?;
            after = unsigned(row, 0)?;
            page.push((after, bodies));
            if bytes >= READ_BYTES {
                return Ok(page);
            }
        }
    }
    Ok(page)
}

/// The rows of some appends behind `after`, beginning with the first: newest first, and no more than [`MARK_EVERY`].
fn behind(until: End, after: u64, connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let stored = i64::try_from(after).unwrap_or(i64::MAX);
    let mark = sql::one_if_any(connection, MARK, [until.log, stored], |row| {
        Ok((unsigned(row, 0)?, row.get(1)?))
    })?;
    // The log may have grown since.
    let mut next = match mark {
        Some((last, append)) if last < until.last => Some(append),
        _ => Some(until.newest),
    };
    let mut step = connection.prepare_cached(STEP)?;
    let mut rows = Vec::new();
    while let Some(append) = next {
        let mut found = step.query([append, until.log])?;
        let Some(row) = found.next()? else {
            return Ok(Vec::new());
        };
        if unsigned(row, 0)? <= after {
            break;
        }
        // More are never without a mark.
        if rows.len() as u64 >= MARK_EVERY {
            return Ok(Vec::new());
        }
        rows.push(append);
        next = row.get(1)?;
    }
    Ok(rows)
}

//! Reading a log and its head.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rusqlite::{Connection, params};
use seaworthy_ports::state_store::{Head, Labels, Record, Seq, StateStoreError};
use seaworthy_ports::{BoxStream, LogId};

use crate::bodies::unpack;
use crate::error::{self, Failure, undecodable};
use crate::sql;
use crate::state_store::{contradiction, labels, unsigned};
use crate::store::Shared;

/// One page of a log read.
const READ_APPENDS: i64 = 256;
const READ_BYTES: usize = 4 * 1024 * 1024;

const HEAD: &str = "
SELECT id, seq, sealed, labels, (SELECT max(last) FROM appends WHERE log = l.id)
FROM logs l WHERE kind = ?1 AND name = ?2 AND deleted = 0";

const APPENDS: &str = "
SELECT last, lengths, bodies FROM appends WHERE log = ?1 AND last > ?2 ORDER BY last LIMIT ?3";

/// A head and whether its records agree with it.
pub(crate) struct FoundHead {
    row: i64,
    seq: u64,
    sealed: bool,
    labels: Labels,
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
                        row: row.get(0)?,
                        seq: unsigned(row, 1)?,
                        sealed: row.get(2)?,
                        labels: labels(row, 3)?,
                        last_record: row
                            .get::<_, Option<i64>>(4)?
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

#[derive(Clone, Copy)]
enum Place {
    Start,
    Within { row: i64, last: u64 },
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
                        Some(found) => Place::Within {
                            row: found.row,
                            last: found.seq,
                        },
                        None => Place::End,
                    };
                }
                Place::Within { last, .. } if self.after >= last => self.place = Place::End,
                Place::Within { row, last } => self.fill(row, last).await?,
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
    async fn fill(&mut self, row: i64, last: u64) -> Result<(), StateStoreError> {
        let page = self
            .appends(row)
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
                .filter(|(seq, _body)| (self.after + 1..=last).contains(seq));
            self.page.extend(wanted.map(|(seq, body)| Record {
                seq: Seq(seq),
                body,
            }));
            self.after = end;
        }
        Ok(())
    }

    /// The next appends that hold records behind `after`: the last sequence of each, and its bodies.
    async fn appends(&self, row: i64) -> Result<Vec<(u64, Vec<Bytes>)>, Failure> {
        let after = i64::try_from(self.after).unwrap_or(i64::MAX);
        self.shared
            .readers
            .read(move |connection| page(row, after, connection))
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

fn page(log: i64, after: i64, connection: &Connection) -> rusqlite::Result<Vec<(u64, Vec<Bytes>)>> {
    let mut statement = connection.prepare_cached(APPENDS)?;
    let mut rows = statement.query(params![log, after, READ_APPENDS])?;
    let mut page = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let bodies: Vec<u8> = row.get(2)?;
        bytes += bodies.len();
        let bodies = unpack(row.get::<_, Option<Vec<u8>>>(1)?.as_deref(), bodies)
            .ok_or_else(|| undecodable("the lengths of an append's bodies"))?;
        page.push((unsigned(row, 0)?, bodies));
        if bytes >= READ_BYTES {
            break;
        }
    }
    Ok(page)
}

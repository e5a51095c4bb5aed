//! Reading a log and its head.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use seaworthy_ports::state_store::{Head, Kind, Record, Seq, StateStoreError};
use seaworthy_ports::{BoxStream, LogId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::bodies::unpack;
use crate::error::{self, ADAPTER, Failure, undecodable};
use crate::labels;
use crate::store::Shared;

/// One page of a log read: so many appends, and so many bytes unless a single append has more.
const READ_APPENDS: i64 = 4_096;
const READ_BYTES: i64 = 4 * 1024 * 1024;

const HEAD: &str = "
SELECT l.id, l.seq, l.sealed, l.labels, (SELECT a.last FROM appends a WHERE a.log = l.id ORDER BY a.last DESC LIMIT 1)
FROM logs l WHERE l.kind = $1 AND l.name = $2 AND NOT l.deleted";

/// As many as fit: an append is read if those before it have not filled the page.
const APPENDS: &str = "
SELECT p.last, p.lengths, p.bodies FROM (
    SELECT a.last, a.lengths, a.bodies,
        sum(octet_length(a.bodies)) OVER (ORDER BY a.last ROWS UNBOUNDED PRECEDING) - octet_length(a.bodies) AS before
    FROM appends a WHERE a.log = $1 AND a.last > $2 ORDER BY a.last LIMIT $3) p
WHERE p.before < $4 ORDER BY p.last";

/// A head and whether its records agree with it.
struct FoundHead {
    row: i64,
    last_record: u64,
    head: Head,
}

pub(crate) fn unsigned(row: &PgRow, column: usize) -> Result<u64, sqlx::Error> {
    u64::try_from(row.try_get::<i64, _>(column)?)
        .map_err(|_negative| undecodable("a number that cannot be negative"))
}

fn contradiction(operation: &'static str) -> StateStoreError {
    let why = "the log's head contradicts its records";
    StateStoreError::new(Kind::Corrupt, ADAPTER, operation, why)
}

fn found(log: &LogId, row: &PgRow) -> Result<FoundHead, sqlx::Error> {
    Ok(FoundHead {
        row: row.try_get(0)?,
        last_record: match row.try_get::<Option<i64>, _>(4)? {
            Some(_) => unsigned(row, 4)?,
            None => 0,
        },
        head: Head {
            log: log.clone(),
            seq: Seq(unsigned(row, 1)?),
            sealed: row.try_get(2)?,
            labels: labels::from_text(row.try_get(3)?)
                .ok_or_else(|| undecodable("a head's labels"))?,
        },
    })
}

impl Shared {
    async fn found_head(
        &self,
        log: &LogId,
        operation: &'static str,
    ) -> Result<Option<FoundHead>, StateStoreError> {
        let statement = sqlx::query(HEAD)
            .bind(log.kind.as_str().to_owned())
            .bind(log.name.as_str().to_owned());
        let failed = |failure: Failure| error::state_store(operation, failure);
        let rows = self.database.read(statement).await.map_err(failed)?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let found = found(log, row).map_err(|error| failed(error.into()))?;
        if found.last_record == found.head.seq.0 {
            Ok(Some(found))
        } else {
            Err(contradiction(operation))
        }
    }

    pub(crate) async fn head(&self, log: &LogId) -> Result<Option<Head>, StateStoreError> {
        let found = self.found_head(log, "head").await?;
        Ok(found.map(|found| found.head))
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

/// Reads a log up to the head it had at the start, a page at a time: memory is bounded, and nothing stays open while the
/// caller thinks.
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
                    let found = self.shared.found_head(&self.log, "read").await?;
                    self.place = found.map_or(Place::End, |found| Place::Within {
                        row: found.row,
                        last: found.head.seq.0,
                    });
                }
                Place::Within { last, .. } if self.after >= last => self.place = Place::End,
                Place::Within { row, last } => self.fill(row, last).await?,
                Place::End => return Ok(None),
            }
        }
    }

    /// Reads the next page and checks that nothing is missing from it.
    async fn fill(&mut self, row: i64, last: u64) -> Result<(), StateStoreError> {
        let statement = sqlx::query(APPENDS)
            .bind(row)
            .bind(i64::try_from(self.after).unwrap_or(i64::MAX))
            .bind(READ_APPENDS)
            .bind(READ_BYTES);
        let failed = |failure: Failure| error::state_store("read", failure);
        let rows = self.shared.database.read(statement).await.map_err(failed)?;
        if rows.is_empty() {
            return self.missing().await;
        }
        for row in &rows {
            let (end, bodies) = append(row).map_err(|error| failed(error.into()))?;
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

    /// Records are missing: because the log was deleted meanwhile, or because it is damaged.
    async fn missing(&mut self) -> Result<(), StateStoreError> {
        if self.shared.found_head(&self.log, "read").await?.is_some() {
            return Err(contradiction("read"));
        }
        self.place = Place::End;
        Ok(())
    }
}

/// The last sequence of an append, and its bodies.
fn append(row: &PgRow) -> Result<(u64, Vec<Bytes>), sqlx::Error> {
    let bodies: Vec<u8> = row.try_get(2)?;
    let bodies = unpack(row.try_get::<Option<&[u8]>, _>(1)?, bodies.into())
        .ok_or_else(|| undecodable("the lengths of an append's bodies"))?;
    Ok((unsigned(row, 0)?, bodies))
}

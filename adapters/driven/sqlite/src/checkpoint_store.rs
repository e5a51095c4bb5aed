//! Checkpoints.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};
use seaworthy_ports::checkpoint_store::{
    Checkpoint, CheckpointCapabilities, CheckpointEntry, CheckpointError, CheckpointKind,
    CheckpointQuery, CheckpointStore, DeleteCheckpoints, Kind,
};
use seaworthy_ports::state_store::{Page, PageToken, Seq};
use seaworthy_ports::{AdapterInfo, Durability, RunId, SessionId};

use crate::error::{self, ADAPTER, undecodable};
use crate::sql;
use crate::store::Shared;
use crate::writer::Work;

const MAX_BYTES: usize = 16 * 1024 * 1024;
const MAX_PAGE: u32 = 1000;

const KINDS: [CheckpointKind; 4] = [
    CheckpointKind::Summary,
    CheckpointKind::Handoff,
    CheckpointKind::GoalState,
    CheckpointKind::Fold,
];

pub(crate) struct SqliteCheckpointStore(pub(crate) Arc<Shared>);

impl fmt::Debug for SqliteCheckpointStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteCheckpointStore")
            .field(&self.0)
            .finish()
    }
}

#[async_trait]
impl CheckpointStore for SqliteCheckpointStore {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn capabilities(&self) -> CheckpointCapabilities {
        CheckpointCapabilities {
            durability: Durability::OsCrash,
            max_bytes: MAX_BYTES,
        }
    }

    async fn write(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        if checkpoint.content.len() > MAX_BYTES {
            return Err(refusal(
                Kind::TooLarge,
                "write",
                "the checkpoint is too large",
            ));
        }
        let Ok(seq) = i64::try_from(checkpoint.seq.0) else {
            return Err(refusal(Kind::Rejected, "write", "no log is that long"));
        };
        self.0
            .writer
            .write(Write { checkpoint, seq })
            .await
            .map_err(|failure| error::checkpoint("write", failure))?
    }

    async fn latest(
        &self,
        run: &RunId,
        kind: CheckpointKind,
        at_or_before: Seq,
    ) -> Result<Option<Checkpoint>, CheckpointError> {
        let run = run.clone();
        let seq = i64::try_from(at_or_before.0).unwrap_or(i64::MAX);
        self.0
            .readers
            .read(move |connection| {
                sql::one_if_any(
                    connection,
                    "SELECT session, seq, size, content FROM checkpoints
                    WHERE run = ?1 AND kind = ?2 AND seq <= ?3 ORDER BY seq DESC LIMIT 1",
                    params![run.as_str(), kind.as_str(), seq],
                    |row| checkpoint(&run, kind, row),
                )
            })
            .await
            .map_err(|failure| error::checkpoint("latest", failure))
    }

    async fn list(&self, query: CheckpointQuery) -> Result<Page<CheckpointEntry>, CheckpointError> {
        let limit = query.limit.get().min(MAX_PAGE);
        let (after, after_kind) = match &query.page {
            Some(token) => parse_token(token)?,
            None => (-1, String::new()),
        };
        let (run, kind) = (query.run, query.kind.map(CheckpointKind::as_str));
        let mut items = self
            .0
            .readers
            .read(move |connection| {
                sql::all(
                    connection,
                    "SELECT seq, kind, size FROM checkpoints
                    WHERE run = ?1 AND (seq, kind) > (?2, ?3) AND (?4 IS NULL OR kind = ?4)
                    ORDER BY seq, kind LIMIT ?5",
                    params![run.as_str(), after, after_kind, kind, i64::from(limit) + 1],
                    entry,
                )
            })
            .await
            .map_err(|failure| error::checkpoint("list", failure))?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items
            .last()
            .filter(|_| more)
            .map(|entry| PageToken(format!("{}:{}", entry.seq, entry.kind.as_str())));
        Ok(Page { items, next })
    }

    async fn delete(&self, which: DeleteCheckpoints) -> Result<u64, CheckpointError> {
        self.0
            .writer
            .write(Delete(which))
            .await
            .map_err(|failure| error::checkpoint("delete", failure))
    }
}

fn refusal(kind: Kind, operation: &'static str, why: &'static str) -> CheckpointError {
    CheckpointError::new(kind, ADAPTER, operation, why)
}

fn parse_token(token: &PageToken) -> Result<(i64, String), CheckpointError> {
    token
        .0
        .split_once(':')
        .and_then(|(seq, kind)| Some((seq.parse().ok()?, kind.to_owned())))
        .ok_or_else(|| {
            refusal(
                Kind::Rejected,
                "list",
                "the page token is not of this listing",
            )
        })
}

fn checkpoint(run: &RunId, kind: CheckpointKind, row: &Row<'_>) -> rusqlite::Result<Checkpoint> {
    let session = row
        .get::<_, Option<String>>(0)?
        .map(SessionId::new)
        .transpose()
        .map_err(|_invalid| undecodable("a session's id"))?;
    let content: Vec<u8> = row.get(3)?;
    if usize::try_from(row.get::<_, i64>(2)?) != Ok(content.len()) {
        return Err(undecodable("a checkpoint of another size"));
    }
    Ok(Checkpoint {
        run: run.clone(),
        session,
        kind,
        seq: seq(row, 1)?,
        content: content.into(),
    })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<CheckpointEntry> {
    let kind: String = row.get(1)?;
    Ok(CheckpointEntry {
        kind: KINDS
            .into_iter()
            .find(|known| known.as_str() == kind)
            .ok_or_else(|| undecodable("a checkpoint's kind"))?,
        seq: seq(row, 0)?,
        size: u64::try_from(row.get::<_, i64>(2)?)
            .map_err(|_negative| undecodable("a checkpoint's size"))?,
    })
}

fn seq(row: &Row<'_>, column: usize) -> rusqlite::Result<Seq> {
    u64::try_from(row.get::<_, i64>(column)?)
        .map(Seq)
        .map_err(|_negative| undecodable("a checkpoint's sequence"))
}

struct Write {
    checkpoint: Checkpoint,
    seq: i64,
}

impl Work for Write {
    type Output = Result<(), CheckpointError>;

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<Self::Output> {
        let checkpoint = &self.checkpoint;
        let parameters = params![
            checkpoint.run.as_str(),
            checkpoint.kind.as_str(),
            self.seq,
            checkpoint.session.as_ref().map(SessionId::as_str),
            &*checkpoint.content
        ];
        let written = sql::execute(
            connection,
            "INSERT INTO checkpoints (run, session, kind, seq, size, content)
            VALUES (?1, ?4, ?2, ?3, length(?5), ?5) ON CONFLICT (run, kind, seq) DO NOTHING",
            parameters,
        )?;
        if written == 1 {
            return Ok(Ok(()));
        }
        let same = "SELECT session IS ?4 AND content = ?5 FROM checkpoints WHERE run = ?1 AND kind = ?2 AND seq = ?3";
        let same: bool = sql::one(connection, same, parameters, |row| row.get(0))?;
        Ok(if same {
            Ok(())
        } else {
            Err(refusal(
                Kind::Conflict,
                "write",
                "another checkpoint is stored there",
            ))
        })
    }

    fn bytes(&self) -> usize {
        self.checkpoint.content.len()
    }
}

struct Delete(DeleteCheckpoints);

impl Work for Delete {
    type Output = u64;

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<u64> {
        let before = self
            .0
            .before
            .map(|before| i64::try_from(before.0).unwrap_or(i64::MAX));
        let deleted = sql::execute(
            connection,
            "DELETE FROM checkpoints
            WHERE run = ?1 AND (?2 IS NULL OR kind = ?2) AND (?3 IS NULL OR seq < ?3)",
            params![
                self.0.run.as_str(),
                self.0.kind.map(CheckpointKind::as_str),
                before
            ],
        )?;
        Ok(u64::try_from(deleted).unwrap_or(u64::MAX))
    }
}

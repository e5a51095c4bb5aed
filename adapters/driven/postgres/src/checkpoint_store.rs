//! Checkpoints.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::checkpoint_store::{
    Checkpoint, CheckpointCapabilities, CheckpointEntry, CheckpointError, CheckpointKind,
    CheckpointQuery, CheckpointStore, DeleteCheckpoints, Kind,
};
use seaworthy_ports::state_store::{Page, PageToken, Seq};
use seaworthy_ports::{AdapterInfo, RunId, SessionId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::{self, ADAPTER, Failure, undecodable};
use crate::listing::MAX_PAGE;
use crate::read::unsigned;
use crate::store::Shared;

const MAX_BYTES: usize = 16 * 1024 * 1024;

const KINDS: [CheckpointKind; 4] = [
    CheckpointKind::Summary,
    CheckpointKind::Handoff,
    CheckpointKind::GoalState,
    CheckpointKind::Fold,
];

const LATEST: &str = "
SELECT session, seq, size, content FROM checkpoints
WHERE run = $1 AND kind = $2 AND seq <= $3 ORDER BY seq DESC LIMIT 1";

const LIST: &str = "
SELECT seq, kind, size FROM checkpoints
WHERE run = $1 AND (seq, kind) > ($2, $3) AND ($4::text IS NULL OR kind = $4)
ORDER BY seq, kind LIMIT $5";

const DELETE: &str = "
WITH deleted AS (
    DELETE FROM checkpoints WHERE run = $1 AND ($2::text IS NULL OR kind = $2) AND ($3::bigint IS NULL OR seq < $3)
    RETURNING 1
)
SELECT count(*) FROM deleted";

pub(crate) struct PostgresCheckpointStore(pub(crate) Arc<Shared>);

impl fmt::Debug for PostgresCheckpointStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresCheckpointStore")
            .field(&self.0)
            .finish()
    }
}

#[async_trait]
impl CheckpointStore for PostgresCheckpointStore {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn capabilities(&self) -> CheckpointCapabilities {
        CheckpointCapabilities {
            durability: self.0.durability,
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
        let session = checkpoint.session.as_ref().map(SessionId::as_str);
        let statement = sqlx::query("SELECT write_checkpoint($1, $2, $3, $4, $5)")
            .bind(checkpoint.run.as_str().to_owned())
            .bind(seq)
            .bind(checkpoint.kind.as_str())
            .bind(session.map(str::to_owned))
            .bind(checkpoint.content.to_vec());
        let failed = |failure: Failure| error::checkpoint("write", failure);
        let row = self.0.database.write_one(statement).await.map_err(failed)?;
        match row.try_get::<i32, _>(0) {
            Ok(0) => Ok(()),
            Ok(_) => Err(refusal(
                Kind::Conflict,
                "write",
                "another checkpoint is stored there",
            )),
            Err(error) => Err(failed(Failure::of_write(error))),
        }
    }

    async fn latest(
        &self,
        run: &RunId,
        kind: CheckpointKind,
        at_or_before: Seq,
    ) -> Result<Option<Checkpoint>, CheckpointError> {
        let statement = sqlx::query(LATEST)
            .bind(run.as_str().to_owned())
            .bind(kind.as_str())
            .bind(i64::try_from(at_or_before.0).unwrap_or(i64::MAX));
        let failed = |failure: Failure| error::checkpoint("latest", failure);
        let rows = self.0.database.read(statement).await.map_err(failed)?;
        let found = rows
            .first()
            .map(|row| checkpoint(run, kind, row))
            .transpose();
        found.map_err(|error| failed(error.into()))
    }

    async fn list(&self, query: CheckpointQuery) -> Result<Page<CheckpointEntry>, CheckpointError> {
        let limit = query.limit.get().min(MAX_PAGE);
        let (after, after_kind) = match &query.page {
            Some(token) => parse_token(token)?,
            None => (-1, String::new()),
        };
        let statement = sqlx::query(LIST)
            .bind(query.run.as_str().to_owned())
            .bind(after)
            .bind(after_kind)
            .bind(query.kind.map(CheckpointKind::as_str))
            .bind(i64::from(limit) + 1);
        let failed = |failure: Failure| error::checkpoint("list", failure);
        let rows = self.0.database.read(statement).await.map_err(failed)?;
        let mut items = rows
            .iter()
            .map(entry)
            .collect::<Result<Vec<CheckpointEntry>, sqlx::Error>>()
            .map_err(|error| failed(error.into()))?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items
            .last()
            .filter(|_| more)
            .map(|entry| PageToken(format!("{}:{}", entry.seq, entry.kind.as_str())));
        Ok(Page { items, next })
    }

    async fn delete(&self, which: DeleteCheckpoints) -> Result<u64, CheckpointError> {
        let before = which
            .before
            .map(|before| i64::try_from(before.0).unwrap_or(i64::MAX));
        let statement = sqlx::query(DELETE)
            .bind(which.run.as_str().to_owned())
            .bind(which.kind.map(CheckpointKind::as_str))
            .bind(before);
        let failed = |failure: Failure| error::checkpoint("delete", failure);
        let row = self.0.database.write_one(statement).await.map_err(failed)?;
        unsigned(&row, 0).map_err(|error| failed(Failure::of_write(error)))
    }
}

fn refusal(kind: Kind, operation: &'static str, why: &'static str) -> CheckpointError {
    CheckpointError::new(kind, ADAPTER, operation, why)
}

fn parse_token(token: &PageToken) -> Result<(i64, String), CheckpointError> {
    token
        .0
        .split_once(':')
        .filter(|(_, kind)| KINDS.iter().any(|known| known.as_str() == *kind))
        .and_then(|(seq, kind)| Some((seq.parse().ok()?, kind.to_owned())))
        .ok_or_else(|| {
            refusal(
                Kind::Rejected,
                "list",
                "the page token is not of this listing",
            )
        })
}

fn checkpoint(run: &RunId, kind: CheckpointKind, row: &PgRow) -> Result<Checkpoint, sqlx::Error> {
    let session = row
        .try_get::<Option<&str>, _>(0)?
        .map(SessionId::new)
        .transpose()
        .map_err(|_invalid| undecodable("a session's id"))?;
    let content: Vec<u8> = row.try_get(3)?;
    if usize::try_from(row.try_get::<i64, _>(2)?) != Ok(content.len()) {
        return Err(undecodable("a checkpoint of another size"));
    }
    Ok(Checkpoint {
        run: run.clone(),
        session,
        kind,
        seq: Seq(unsigned(row, 1)?),
        content: content.into(),
    })
}

fn entry(row: &PgRow) -> Result<CheckpointEntry, sqlx::Error> {
    let kind: &str = row.try_get(1)?;
    Ok(CheckpointEntry {
        kind: KINDS
            .into_iter()
            .find(|known| known.as_str() == kind)
            .ok_or_else(|| undecodable("a checkpoint's kind"))?,
        seq: Seq(unsigned(row, 0)?),
        size: unsigned(row, 2)?,
    })
}

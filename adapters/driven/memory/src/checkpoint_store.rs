//! [`MemoryCheckpointStore`].

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use seaworthy_ports::checkpoint_store::{
    Checkpoint, CheckpointCapabilities, CheckpointEntry, CheckpointError, CheckpointKind,
    CheckpointQuery, CheckpointStore, DeleteCheckpoints, Kind,
};
use seaworthy_ports::state_store::{Page, PageToken, Seq};
use seaworthy_ports::{AdapterInfo, Durability, RunId, SessionId};

use crate::error::checkpoint as error;
use crate::lock;

/// The most bytes of one checkpoint.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Checkpoints in memory. Clones share their contents.
#[derive(Clone, Default)]
pub struct MemoryCheckpointStore(Arc<Mutex<BTreeMap<RunId, OfRun>>>);

/// One run's checkpoints, in the order of `list`.
type OfRun = BTreeMap<(Seq, CheckpointKind), Stored>;

#[derive(PartialEq, Eq)]
struct Stored {
    session: Option<SessionId>,
    content: Bytes,
}

impl std::fmt::Debug for MemoryCheckpointStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryCheckpointStore")
            .field("runs", &lock(&self.0).len())
            .finish()
    }
}

/// A page token is the key of the last entry of its page.
fn token(seq: Seq, kind: CheckpointKind) -> PageToken {
    PageToken(format!("{seq}.{}", kind.as_str()))
}

fn parse(PageToken(token): &PageToken) -> Option<(Seq, CheckpointKind)> {
    use CheckpointKind::{Fold, GoalState, Handoff, Summary};
    let (seq, name) = token.split_once('.')?;
    let kind = [Summary, Handoff, GoalState, Fold]
        .into_iter()
        .find(|kind| kind.as_str() == name)?;
    Some((Seq(seq.parse().ok()?), kind))
}

#[async_trait]
impl CheckpointStore for MemoryCheckpointStore {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn capabilities(&self) -> CheckpointCapabilities {
        CheckpointCapabilities {
            durability: Durability::Volatile,
            max_bytes: MAX_BYTES,
        }
    }

    async fn write(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        let Checkpoint {
            run,
            session,
            kind,
            seq,
            content,
        } = checkpoint;
        if content.len() > MAX_BYTES {
            return Err(error(
                Kind::TooLarge,
                "write",
                "the checkpoint is larger than 16 MiB",
            ));
        }
        let stored = Stored { session, content };
        let mut runs = lock(&self.0);
        let of_run = runs.entry(run).or_default();
        match of_run.get(&(seq, kind)) {
            Some(found) if *found == stored => Ok(()),
            Some(_other) => Err(error(
                Kind::Conflict,
                "write",
                "another checkpoint is stored there",
            )),
            None => {
                of_run.insert((seq, kind), stored);
                Ok(())
            }
        }
    }

    async fn latest(
        &self,
        run: &RunId,
        kind: CheckpointKind,
        at_or_before: Seq,
    ) -> Result<Option<Checkpoint>, CheckpointError> {
        let runs = lock(&self.0);
        let Some(of_run) = runs.get(run) else {
            return Ok(None);
        };
        let newest = of_run
            .iter()
            .rev()
            .skip_while(|((seq, _), _)| *seq > at_or_before)
            .find(|((_, found), _)| *found == kind);
        Ok(newest.map(|((seq, _), stored)| Checkpoint {
            run: run.clone(),
            session: stored.session.clone(),
            kind,
            seq: *seq,
            content: stored.content.clone(),
        }))
    }

    async fn list(&self, query: CheckpointQuery) -> Result<Page<CheckpointEntry>, CheckpointError> {
        let after = match query.page.as_ref().map(parse) {
            None => Bound::Unbounded,
            Some(Some(last)) => Bound::Excluded(last),
            Some(None) => {
                return Err(error(
                    Kind::Rejected,
                    "list",
                    "the page token is not from this store",
                ));
            }
        };
        let runs = lock(&self.0);
        let Some(of_run) = runs.get(&query.run) else {
            return Ok(Page {
                items: Vec::new(),
                next: None,
            });
        };
        let mut rest = of_run
            .range((after, Bound::Unbounded))
            .filter(|((_, kind), _)| query.kind.is_none_or(|wanted| wanted == *kind))
            .map(|((seq, kind), stored)| CheckpointEntry {
                kind: *kind,
                seq: *seq,
                size: stored.content.len() as u64,
            });
        let items: Vec<_> = rest.by_ref().take(query.limit.get() as usize).collect();
        let next = match (items.last(), rest.next()) {
            (Some(last), Some(_more)) => Some(token(last.seq, last.kind)),
            _ => None,
        };
        Ok(Page { items, next })
    }

    async fn delete(&self, which: DeleteCheckpoints) -> Result<u64, CheckpointError> {
        let mut runs = lock(&self.0);
        let Some(of_run) = runs.get_mut(&which.run) else {
            return Ok(0);
        };
        let before = of_run.len();
        of_run.retain(|(seq, kind), _| {
            which.kind.is_some_and(|wanted| wanted != *kind)
                || which.before.is_some_and(|limit| *seq >= limit)
        });
        let deleted = (before - of_run.len()) as u64;
        if of_run.is_empty() {
            runs.remove(&which.run);
        }
        Ok(deleted)
    }
}

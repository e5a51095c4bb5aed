//! Checkpoints in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use seaworthy_ports::checkpoint_store::{
    Checkpoint, CheckpointCapabilities, CheckpointEntry, CheckpointError, CheckpointKind, CheckpointQuery,
    CheckpointStore, DeleteCheckpoints, Kind,
};
use seaworthy_ports::state_store::{Page, Seq};
use seaworthy_ports::{AdapterInfo, Durability, RunId};

use crate::{ADAPTER, info, locked, page};

const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A checkpoint store that lives as long as its value. Clones share their checkpoints.
#[derive(Clone, Debug, Default)]
pub struct MemoryCheckpointStore(Arc<Mutex<BTreeMap<Key, Checkpoint>>>);

/// Sequence before kind: a run's checkpoints ascend by sequence.
type Key = (RunId, Seq, CheckpointKind);

fn error(operation: &'static str, kind: Kind, message: &str) -> CheckpointError {
    CheckpointError::new(kind, ADAPTER, operation, message)
}

fn fits(wanted: Option<CheckpointKind>, kind: CheckpointKind) -> bool {
    wanted.is_none_or(|wanted| wanted == kind)
}

#[async_trait]
impl CheckpointStore for MemoryCheckpointStore {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn capabilities(&self) -> CheckpointCapabilities {
        CheckpointCapabilities { durability: Durability::Volatile, max_bytes: MAX_BYTES }
    }

    async fn write(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        if checkpoint.content.len() > MAX_BYTES {
            return Err(error("write", Kind::TooLarge, "the checkpoint has more than 64 MiB"));
        }
        let key = (checkpoint.run.clone(), checkpoint.seq, checkpoint.kind);
        let mut checkpoints = locked(&self.0);
        match checkpoints.get(&key) {
            Some(same) if *same == checkpoint => Ok(()),
            Some(_other) => Err(error("write", Kind::Conflict, "another content is stored at this position")),
            None => {
                checkpoints.insert(key, checkpoint);
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
        let checkpoints = locked(&self.0);
        let until = (run.clone(), at_or_before.next(), CheckpointKind::Summary);
        let found = checkpoints
            .range((run.clone(), Seq::ZERO, CheckpointKind::Summary)..until)
            .rev()
            .find(|((_run, _seq, found), _checkpoint)| *found == kind);
        Ok(found.map(|(_key, checkpoint)| checkpoint.clone()))
    }

    async fn list(&self, query: CheckpointQuery) -> Result<Page<CheckpointEntry>, CheckpointError> {
        let refuse = || error("list", Kind::Rejected, "this is no page token of this store");
        let after = match &query.page {
            None => None,
            Some(token) => {
                let (seq, kind) = token.0.split_once('.').ok_or_else(refuse)?;
                Some((seq.parse::<u64>().map_err(|_error| refuse())?, kind.to_owned()))
            }
        };
        let checkpoints = locked(&self.0);
        // Kinds have an order of their own; within one sequence the token names the last one shown.
        let shown = |key: &Key| {
            after.as_ref().is_some_and(|(seq, kind)| {
                key.1.0 < *seq || (key.1.0 == *seq && key.2 <= kind_named(kind).unwrap_or(CheckpointKind::Summary))
            })
        };
        let entries = checkpoints
            .range((query.run.clone(), Seq::ZERO, CheckpointKind::Summary)..)
            .take_while(|(key, _checkpoint)| key.0 == query.run)
            .filter(|(key, _checkpoint)| fits(query.kind, key.2) && !shown(key))
            .map(|(key, checkpoint)| CheckpointEntry {
                kind: key.2,
                seq: key.1,
                size: checkpoint.content.len() as u64,
            });
        Ok(page(entries, query.limit, |entry| format!("{}.{}", entry.seq, entry.kind.as_str())))
    }

    async fn delete(&self, which: DeleteCheckpoints) -> Result<u64, CheckpointError> {
        let mut checkpoints = locked(&self.0);
        let before = checkpoints.len();
        checkpoints.retain(|(run, seq, kind), _checkpoint| {
            *run != which.run || !fits(which.kind, *kind) || which.before.is_some_and(|before| *seq >= before)
        });
        Ok(before.saturating_sub(checkpoints.len()) as u64)
    }
}

fn kind_named(name: &str) -> Option<CheckpointKind> {
    [CheckpointKind::Summary, CheckpointKind::Handoff, CheckpointKind::GoalState, CheckpointKind::Fold]
        .into_iter()
        .find(|kind| kind.as_str() == name)
}

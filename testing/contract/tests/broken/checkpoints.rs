//! Checkpoint stores with a bug.

use std::sync::Arc;

use seaworthy_contract::checkpoint_store::Harness;
use seaworthy_memory::MemoryCheckpointStore;
use seaworthy_ports::checkpoint_store::{
    Checkpoint, CheckpointCapabilities, CheckpointEntry, CheckpointError, CheckpointKind,
    CheckpointQuery, CheckpointStore, DeleteCheckpoints, Kind,
};
use seaworthy_ports::state_store::{Page, Seq};
use seaworthy_ports::{AdapterInfo, RunId, async_trait};

pub(crate) const NONE: u8 = 0;
pub(crate) const OVERWRITES: u8 = 1;
pub(crate) const NO_BOUND: u8 = 2;
pub(crate) const NO_SIZES: u8 = 3;
pub(crate) const DELETES_ALL_KINDS: u8 = 4;
pub(crate) const FOLDS_CASE: u8 = 5;

pub(crate) struct Broken(Arc<Store>);

#[async_trait]
impl Harness for Broken {
    async fn start() -> Self {
        Self(Arc::new(Store {
            bug: super::chosen(),
            inner: MemoryCheckpointStore::default(),
        }))
    }

    fn store(&self) -> Arc<dyn CheckpointStore> {
        Arc::<Store>::clone(&self.0)
    }
}

#[derive(Debug)]
struct Store {
    bug: u8,
    inner: MemoryCheckpointStore,
}

impl Store {
    fn folded(&self, run: &RunId) -> RunId {
        if self.bug == FOLDS_CASE {
            RunId::new(run.as_str().to_lowercase()).unwrap()
        } else {
            run.clone()
        }
    }
}

#[async_trait]
impl CheckpointStore for Store {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> CheckpointCapabilities {
        self.inner.capabilities()
    }

    async fn write(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        let checkpoint = Checkpoint {
            run: self.folded(&checkpoint.run),
            ..checkpoint
        };
        let written = self.inner.write(checkpoint.clone()).await;
        if self.bug == OVERWRITES
            && matches!(&written, Err(error) if error.kind() == Kind::Conflict)
        {
            let Checkpoint { run, kind, seq, .. } = checkpoint.clone();
            self.inner
                .delete(DeleteCheckpoints {
                    run,
                    kind: Some(kind),
                    before: Some(seq.next()),
                })
                .await?;
            return self.inner.write(checkpoint).await;
        }
        written
    }

    async fn latest(
        &self,
        run: &RunId,
        kind: CheckpointKind,
        at_or_before: Seq,
    ) -> Result<Option<Checkpoint>, CheckpointError> {
        let bound = if self.bug == NO_BOUND {
            Seq(u64::MAX)
        } else {
            at_or_before
        };
        self.inner.latest(&self.folded(run), kind, bound).await
    }

    async fn list(&self, query: CheckpointQuery) -> Result<Page<CheckpointEntry>, CheckpointError> {
        let query = CheckpointQuery {
            run: self.folded(&query.run),
            ..query
        };
        let mut page = self.inner.list(query).await?;
        if self.bug == NO_SIZES {
            page.items.iter_mut().for_each(|entry| entry.size = 1);
        }
        Ok(page)
    }

    async fn delete(&self, which: DeleteCheckpoints) -> Result<u64, CheckpointError> {
        let kind = which.kind.filter(|_kind| self.bug != DELETES_ALL_KINDS);
        self.inner
            .delete(DeleteCheckpoints {
                run: self.folded(&which.run),
                kind,
                ..which
            })
            .await
    }
}

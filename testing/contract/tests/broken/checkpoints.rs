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

pub(crate) struct Broken<const BUG: u8>(Arc<Store<BUG>>);

#[async_trait]
impl<const BUG: u8> Harness for Broken<BUG> {
    async fn start() -> Self {
        Self(Arc::default())
    }

    fn store(&self) -> Arc<dyn CheckpointStore> {
        Arc::<Store<BUG>>::clone(&self.0)
    }
}

#[derive(Debug, Default)]
struct Store<const BUG: u8>(MemoryCheckpointStore);

fn folded<const BUG: u8>(run: &RunId) -> RunId {
    if BUG == FOLDS_CASE {
        RunId::new(run.as_str().to_lowercase()).unwrap()
    } else {
        run.clone()
    }
}

#[async_trait]
impl<const BUG: u8> CheckpointStore for Store<BUG> {
    fn info(&self) -> AdapterInfo {
        self.0.info()
    }

    fn capabilities(&self) -> CheckpointCapabilities {
        self.0.capabilities()
    }

    async fn write(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        let checkpoint = Checkpoint {
            run: folded::<BUG>(&checkpoint.run),
            ..checkpoint
        };
        let written = self.0.write(checkpoint.clone()).await;
        if BUG == OVERWRITES && matches!(&written, Err(error) if error.kind() == Kind::Conflict) {
            let Checkpoint { run, kind, seq, .. } = checkpoint.clone();
            self.0
                .delete(DeleteCheckpoints {
                    run,
                    kind: Some(kind),
                    before: Some(seq.next()),
                })
                .await?;
            return self.0.write(checkpoint).await;
        }
        written
    }

    async fn latest(
        &self,
        run: &RunId,
        kind: CheckpointKind,
        at_or_before: Seq,
    ) -> Result<Option<Checkpoint>, CheckpointError> {
        let bound = if BUG == NO_BOUND {
            Seq(u64::MAX)
        } else {
            at_or_before
        };
        self.0.latest(&folded::<BUG>(run), kind, bound).await
    }

    async fn list(&self, query: CheckpointQuery) -> Result<Page<CheckpointEntry>, CheckpointError> {
        let query = CheckpointQuery {
            run: folded::<BUG>(&query.run),
            ..query
        };
        let mut page = self.0.list(query).await?;
        if BUG == NO_SIZES {
            page.items.iter_mut().for_each(|entry| entry.size = 1);
        }
        Ok(page)
    }

    async fn delete(&self, which: DeleteCheckpoints) -> Result<u64, CheckpointError> {
        let kind = which.kind.filter(|_kind| BUG != DELETES_ALL_KINDS);
        self.0
            .delete(DeleteCheckpoints {
                run: folded::<BUG>(&which.run),
                kind,
                ..which
            })
            .await
    }
}

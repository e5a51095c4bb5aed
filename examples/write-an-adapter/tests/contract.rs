//! The contract suite of the state store, on plain files.

#![expect(clippy::expect_used, reason = "what cannot be built is a failed test")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use plain_files::PlainFiles;
use seaworthy_contract::state_store::Harness;
use seaworthy_contract::{Outcome, process};
use seaworthy_ports::state_store::StateStore;
use seaworthy_ports::{Digest, LogId, async_trait};
use tempfile::TempDir;

struct InFolder {
    folder: TempDir,
    store: Arc<dyn StateStore>,
}

async fn open(folder: &Path) -> Arc<dyn StateStore> {
    Arc::new(PlainFiles::open(folder).await.expect("a folder of its own"))
}

#[async_trait]
impl Harness for InFolder {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let store = open(folder.path()).await;
        Self { folder, store }
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::clone(&self.store)
    }

    async fn reopen(&self) -> Option<Arc<dyn StateStore>> {
        Some(open(self.folder.path()).await)
    }

    async fn second_handle(&self) -> Option<Arc<dyn StateStore>> {
        Some(open(self.folder.path()).await)
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_process_that_writes", self.folder.path())
    }

    async fn corrupt(&self, log: &LogId) -> bool {
        let name = Digest::of(log.to_string().as_bytes()).to_hex();
        let records = self.folder.path().join("logs").join(name).join("records");
        let mut bytes = fs::read(&records).expect("a log");
        let last = bytes.last_mut().expect("a body");
        *last ^= 1;
        fs::write(records, bytes).is_ok()
    }
}

seaworthy_contract::state_store_contract! {
    harness: InFolder,
    not_checkable: {
        watching_is_there_where_it_is_declared_and_returns_in_time: "it does not declare watch",
        an_append_without_room_writes_nothing_and_works_again_when_there_is: "it has as much room as its disk",
        an_append_without_room_fails_alone: "it has as much room as its disk",
        a_torn_write_costs_nothing_that_was_acknowledged: "tests/damage.rs tears its files",
        a_store_that_lost_its_end_says_so_and_is_never_shorter: "tests/damage.rs cuts its files",
        a_store_of_a_newer_version_is_refused: "there is one version",
        processes_that_make_a_store_at_once_share_it: "a folder needs no making",
    }
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_that_writes() -> Outcome {
    seaworthy_contract::state_store::work(async |folder| open(Path::new(&folder)).await)
}

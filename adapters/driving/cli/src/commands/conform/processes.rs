//! A harness of the sandbox of plain processes, whose state lies where that of runs would.

#![expect(
    clippy::expect_used,
    reason = "a harness cannot fail; the suite counts its panic as a failed scenario"
)]

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use seaworthy::ports::async_trait;
use seaworthy::ports::sandbox::{Sandbox, SandboxError};
use seaworthy::process::{ProcessConfig, ProcessSandbox, Supervisor};
use seaworthy_contract::sandbox as sb;
use tempfile::TempDir;

use super::on_disk;
use crate::args::ConformPort;

pub(super) struct Commands {
    state: TempDir,
    sandbox: Arc<dyn Sandbox>,
}

/// What another process opens in the place that it is told.
pub(super) async fn sandbox(place: OsString) -> Arc<dyn Sandbox> {
    opened(Path::new(&place)).await
}

async fn opened(state: &Path) -> Arc<dyn Sandbox> {
    let supervisor = Supervisor::this_program().expect("the path of this program");
    let sandbox = ProcessSandbox::connect(ProcessConfig::new(state, supervisor)).await;
    Arc::new(sandbox.expect("a sandbox"))
}

#[async_trait]
impl sb::Harness for Commands {
    async fn start() -> Self {
        let state = on_disk::folder();
        let sandbox = opened(state.path()).await;
        Self { state, sandbox }
    }

    fn sandbox(&self) -> Arc<dyn Sandbox> {
        Arc::clone(&self.sandbox)
    }

    async fn without_its_means(&self) -> Option<Result<(), SandboxError>> {
        let nowhere = Supervisor::at(self.state.path().join("no_such_supervisor"));
        let config = ProcessConfig::new(self.state.path(), nowhere);
        Some(ProcessSandbox::connect(config).await.map(drop))
    }

    fn another_process(&self) -> Option<Command> {
        on_disk::another_process(ConformPort::Sandbox, &self.state)
    }
}

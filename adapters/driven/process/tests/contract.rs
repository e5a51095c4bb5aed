//! The contract suite on plain processes.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use seaworthy_contract::{Outcome, process, sandbox as sb};
use seaworthy_ports::async_trait;
use seaworthy_ports::sandbox::{Sandbox, SandboxError};
use seaworthy_process::{ProcessConfig, ProcessSandbox, Supervisor};
use tempfile::TempDir;

const SUPERVISOR: &str = env!("CARGO_BIN_EXE_seaworthy-supervisor");

struct Processes {
    state: TempDir,
    sandbox: Arc<dyn Sandbox>,
}

async fn connect(state: &Path) -> Arc<dyn Sandbox> {
    let config = ProcessConfig::new(state, Supervisor::at(SUPERVISOR));
    Arc::new(ProcessSandbox::connect(config).await.unwrap())
}

#[async_trait]
impl sb::Harness for Processes {
    async fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let sandbox = connect(state.path()).await;
        Self { state, sandbox }
    }

    fn sandbox(&self) -> Arc<dyn Sandbox> {
        Arc::clone(&self.sandbox)
    }

    async fn without_its_means(&self) -> Option<Result<(), SandboxError>> {
        let config = ProcessConfig::new(self.state.path(), Supervisor::at("/no/such/supervisor"));
        Some(ProcessSandbox::connect(config).await.map(drop))
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_process_of_a_scenario", self.state.path())
    }
}

seaworthy_contract::sandbox_contract! {
    harness: Processes,
    not_checkable: {
        limits_that_are_taken_hold: "plain processes have no limits, and declare none",
    }
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_of_a_scenario() -> Outcome {
    sb::work(async |state| connect(Path::new(&state)).await)
}

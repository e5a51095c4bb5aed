//! The contract suite of MCP servers that run inside a session of plain processes.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_contract::mcp::Harness as _;
use seaworthy_contract::{Halt, Outcome, mcp as mc, process, suite};
use seaworthy_mcp::{McpClient, McpConfig};
use seaworthy_ports::mcp::{
    Mcp, McpCapabilities, McpError, McpServer, McpSession, StdioCommand, Transport,
};
use seaworthy_ports::sandbox::{Limits, Owner, Policy, Sandbox as _, SandboxSession, SandboxSpec};
use seaworthy_ports::{AdapterInfo, RunId, async_trait};
use seaworthy_process::{ProcessConfig, ProcessSandbox, Supervisor};
use tempfile::TempDir;

const SUPERVISOR: &str = env!("CARGO_BIN_EXE_seaworthy-supervisor");
/// Long enough for a server that goes when it is asked to, on a busy machine; no scenario demands that one is.
const GRACE: Duration = Duration::from_millis(300);

struct Confined {
    _folder: TempDir,
    session: Arc<dyn SandboxSession>,
}

#[async_trait]
impl mc::Harness for Confined {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path().join("workspace");
        std::fs::create_dir(&workspace).unwrap();
        let supervisor = Supervisor::at(SUPERVISOR);
        let config = ProcessConfig::new(folder.path().join("state"), supervisor);
        let sandbox = ProcessSandbox::connect(config).await.unwrap();
        let spec = SandboxSpec {
            policy: Policy::UNCONFINED,
            workspace,
            limits: Limits::default(),
            env: BTreeMap::new(),
            owner: Owner {
                run: RunId::new("run_1").unwrap(),
                attempt: 1,
            },
        };
        let session = sandbox.open(spec).await.unwrap();
        Self {
            _folder: folder,
            session,
        }
    }

    fn mcp(&self) -> Arc<dyn Mcp> {
        Arc::new(McpClient::new(McpConfig::default().with_grace(GRACE)))
    }

    fn server_process(&self) -> Option<Command> {
        process::this_test("a_server_of_a_scenario", "")
    }

    async fn sandbox(&self) -> Option<Arc<dyn SandboxSession>> {
        Some(Arc::clone(&self.session))
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_worker_of_a_scenario", "")
    }
}

seaworthy_contract::mcp_contract! {
    harness: Confined,
    not_checkable: {
        an_expired_token_is_refreshed_once_and_the_call_made_once: "processes take no tokens",
        a_token_that_refreshing_does_not_help_is_an_authentication_error: "processes take no tokens",
        calls_at_once_get_new_tokens_once: "processes take no tokens",
        a_refresh_token_that_is_replaced_is_not_used_again: "processes take no tokens",
        tokens_that_another_process_got_are_taken: "processes take no tokens",
        new_tokens_are_used_when_they_are_kept: "processes take no tokens",
        a_grant_that_is_refused_is_not_tried_again: "processes take no tokens",
        a_client_gets_tokens_for_itself: "processes take no tokens",
        a_lost_session_is_begun_again_and_the_call_made_once: "processes have no sessions to lose",
        a_session_that_is_lost_again_is_unavailable: "processes have no sessions to lose",
    }
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_server_of_a_scenario() -> Outcome {
    mc::serve()
}

/// An adapter that takes a sandbox and starts its servers beside it. They end by themselves some time after the scenario.
#[derive(Debug)]
struct Escape(McpClient);

#[async_trait]
impl Mcp for Escape {
    fn info(&self) -> AdapterInfo {
        self.0.info()
    }

    fn capabilities(&self) -> McpCapabilities {
        self.0.capabilities()
    }

    async fn connect(&self, mut server: McpServer) -> Result<Arc<dyn McpSession>, McpError> {
        if let Transport::Stdio(StdioCommand { argv, sandbox, .. }) = &mut server.transport {
            *sandbox = None;
            let last = "(/bin/sleep 20; kill -9 $$) <&- >/dev/null 2>&1 & exec \"$@\"";
            let shell = ["/bin/sh", "-c", last, "sh"].map(str::to_owned);
            argv.splice(0..0, shell);
        }
        self.0.connect(server).await
    }
}

struct Escapes(Confined);

#[async_trait]
impl mc::Harness for Escapes {
    async fn start() -> Self {
        Self(Confined::start().await)
    }

    fn mcp(&self) -> Arc<dyn Mcp> {
        let config = McpConfig::default().with_grace(GRACE);
        Arc::new(Escape(McpClient::new(config)))
    }

    fn server_process(&self) -> Option<Command> {
        self.0.server_process()
    }

    async fn sandbox(&self) -> Option<Arc<dyn SandboxSession>> {
        self.0.sandbox().await
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_worker_that_escapes", "")
    }
}

/// Long enough for what does happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn servers_beside_the_sandbox_outlive_its_session_and_are_caught() {
    suite::set_patience(PATIENCE);
    let caught = suite::block_on(async {
        mc::a_confined_server_ends_with_its_sandbox_session(Escapes::start().await).await
    });
    assert!(matches!(caught, Err(Halt::Broken { .. })), "{caught:?}");
}

#[test]
fn servers_beside_the_sandbox_outlive_their_worker_and_are_caught() {
    suite::set_patience(PATIENCE);
    let caught = suite::block_on(async {
        mc::a_killed_worker_leaves_no_confined_server(Escapes::start().await).await
    });
    assert!(matches!(caught, Err(Halt::Broken { .. })), "{caught:?}");
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_worker_that_escapes() -> Outcome {
    mc::work::<Escapes>()
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_worker_of_a_scenario() -> Outcome {
    mc::work::<Confined>()
}

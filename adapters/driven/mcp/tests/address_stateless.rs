//! The contract suite on servers at addresses that begin without `initialize`.

use std::sync::Arc;

use seaworthy_contract::mcp::{self as mc, Journal, Script};
use seaworthy_mcp::{McpClient, McpConfig};
use seaworthy_ports::async_trait;
use seaworthy_ports::mcp::{Mcp, Transport};

struct StatelessAddresses;

#[async_trait]
impl mc::Harness for StatelessAddresses {
    async fn start() -> Self {
        Self
    }

    fn mcp(&self) -> Arc<dyn Mcp> {
        Arc::new(McpClient::new(McpConfig::default()))
    }

    fn protocol(&self) -> &'static str {
        mc::STATELESS_PROTOCOL
    }

    async fn server(&self, script: &Script, journal: &Journal) -> Option<Transport> {
        mc::listen(script, journal).await.ok()
    }
}

seaworthy_contract::mcp_contract! {
    harness: StatelessAddresses,
    not_checkable: {
        a_confined_server_ends_with_its_sandbox_session: "servers at addresses are in no sandbox",
        a_killed_worker_leaves_no_confined_server: "servers at addresses are in no sandbox",
    },
}

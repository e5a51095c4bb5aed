//! The contract suite on servers at addresses, whichever way they begin.

use std::sync::Arc;

use seaworthy_contract::mcp::{self as mc, Journal, Script};
use seaworthy_mcp::{McpClient, McpConfig};
use seaworthy_ports::async_trait;
use seaworthy_ports::mcp::{Mcp, Transport};

/// Servers that begin without `initialize`, or with it.
pub(crate) struct Servers<const STATELESS: bool>;

#[async_trait]
impl<const STATELESS: bool> mc::Harness for Servers<STATELESS> {
    async fn start() -> Self {
        Self
    }

    fn mcp(&self) -> Arc<dyn Mcp> {
        Arc::new(McpClient::new(McpConfig::default()))
    }

    fn protocol(&self) -> &'static str {
        if STATELESS {
            mc::STATELESS_PROTOCOL
        } else {
            mc::NEWEST_PROTOCOL
        }
    }

    async fn server(&self, script: &Script, journal: &Journal) -> Option<Transport> {
        mc::listen(script, journal).await.ok()
    }
}

/// The suite, with what cannot be tried at addresses.
macro_rules! suite {
    ($harness:ty) => {
        seaworthy_contract::mcp_contract! {
            harness: $harness,
            not_checkable: {
                a_confined_server_ends_with_its_sandbox_session: "servers at addresses are in no sandbox",
                a_killed_worker_leaves_no_confined_server: "servers at addresses are in no sandbox",
            },
        }
    };
}

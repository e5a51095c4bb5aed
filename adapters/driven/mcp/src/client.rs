//! The adapter itself.

use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::AdapterInfo;
use seaworthy_ports::mcp::{Mcp, McpCapabilities, McpError, McpServer, McpSession};

use crate::config::McpConfig;
use crate::error::ADAPTER;
use crate::session::Session;

/// Connects to servers of the Model Context Protocol.
#[derive(Clone, Debug, Default)]
pub struct McpClient {
    config: McpConfig,
}

impl McpClient {
    /// A client without connections. No I/O.
    #[must_use]
    pub fn new(config: McpConfig) -> Self {
        Self { config }
    }
}

#[async_trait]
impl Mcp for McpClient {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: ADAPTER,
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn capabilities(&self) -> McpCapabilities {
        let capabilities = McpCapabilities::NONE
            .with_streamable_http()
            .with_oauth()
            .with_elicitation()
            .with_sampling()
            .with_tasks();
        if cfg!(unix) {
            capabilities.with_stdio().with_sandboxed_stdio()
        } else {
            capabilities
        }
    }

    async fn connect(&self, server: McpServer) -> Result<Arc<dyn McpSession>, McpError> {
        let session = Session::begin(server, self.config.clone()).await?;
        Ok(Arc::new(session))
    }
}

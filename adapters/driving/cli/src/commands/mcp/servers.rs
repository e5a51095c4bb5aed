//! The servers of a descriptor, and the way to them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;
use seaworthy::descriptor::{Materialised, ServerSpec};
use seaworthy::mcp::{McpClient, McpConfig};
use seaworthy::ports::ServerAlias;
use seaworthy::ports::mcp::{McpServerInfo, McpSession};
use seaworthy::servers::{Connections, Place};

use crate::commands::Context;
use crate::descriptor::load;
use crate::error::CliError;

/// The servers of a descriptor, and the connections to them.
pub(super) struct Servers {
    pub(super) descriptor: Materialised,
    pub(super) connections: Connections,
}

impl Servers {
    /// Those of the descriptor at `path`. Nothing is connected yet.
    pub(super) fn of(context: &Context, path: &Path) -> Result<Self, CliError> {
        let (descriptor, base_dir) = load(path, &[])?;
        if descriptor.mcp_servers.is_empty() {
            return Err(CliError::Usage(format!(
                "the descriptor {} has no `mcp_servers`",
                path.display()
            )));
        }
        let connections = connections(context, &descriptor, base_dir.as_path())?;
        Ok(Self {
            descriptor,
            connections,
        })
    }

    /// The servers called `aliases`, or all.
    pub(super) fn named(
        &self,
        aliases: &[String],
    ) -> Result<Vec<(&ServerAlias, &ServerSpec)>, CliError> {
        if aliases.is_empty() {
            return Ok(self.descriptor.mcp_servers.iter().collect());
        }
        aliases.iter().map(|alias| self.server(alias)).collect()
    }

    /// The server called `alias`.
    pub(super) fn server(&self, alias: &str) -> Result<(&ServerAlias, &ServerSpec), CliError> {
        self.descriptor
            .mcp_servers
            .get_key_value(alias)
            .ok_or_else(|| unknown(alias, &self.descriptor.mcp_servers))
    }
}

fn unknown(alias: &str, servers: &BTreeMap<ServerAlias, ServerSpec>) -> CliError {
    let has: Vec<&str> = servers.keys().map(ServerAlias::as_str).collect();
    CliError::Usage(format!(
        "the descriptor has no server {alias:?}; it has: {}",
        has.join(", ")
    ))
}

fn connections(
    context: &Context,
    descriptor: &Materialised,
    base_dir: &Path,
) -> Result<Connections, CliError> {
    let place = Place {
        workspace: context.workspace()?,
        base_dir: base_dir.to_path_buf(),
        environment: context.environment.for_commands.clone(),
    };
    Ok(Connections::new(
        Arc::new(McpClient::new(McpConfig::default())),
        Arc::new(context.environment.secrets()),
        descriptor.mcp_servers.clone(),
        place,
    ))
}

/// What a server said when it was looked at, or why it said nothing.
pub(crate) struct Looked {
    pub(crate) alias: ServerAlias,
    pub(crate) found: Result<(McpServerInfo, usize), String>,
}

/// Connects to each server of the descriptor at `path` and asks it for its tools. One without servers has nobody to ask.
pub(crate) async fn look_at(context: &Context, path: &Path) -> Result<Vec<Looked>, CliError> {
    let (descriptor, base_dir) = load(path, &[])?;
    let connections = connections(context, &descriptor, base_dir.as_path())?;
    let looking = descriptor.mcp_servers.keys().map(async |alias| Looked {
        alias: alias.clone(),
        found: look(&connections, alias).await,
    });
    let looked = join_all(looking).await;
    connections.close().await;
    Ok(looked)
}

async fn look(
    connections: &Connections,
    alias: &ServerAlias,
) -> Result<(McpServerInfo, usize), String> {
    let session: Arc<dyn McpSession> = connections
        .session(alias)
        .await
        .map_err(|error| error.to_string())?;
    let tools = session.tools().await.map_err(|error| error.to_string())?;
    Ok((session.server(), tools.len()))
}

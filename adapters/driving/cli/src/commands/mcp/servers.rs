//! The servers of a descriptor, and the way to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use seaworthy::descriptor::{Materialised, ServerSpec};
use seaworthy::mcp::{McpClient, McpConfig};
use seaworthy::ports::entropy::Entropy as _;
use seaworthy::ports::mcp::{McpLogLevel, McpServerInfo, McpSession};
use seaworthy::ports::sandbox::{Limits, Owner, Policy, Sandbox as _, SandboxSession, SandboxSpec};
use seaworthy::ports::{RunId, ServerAlias};
use seaworthy::servers::{Connections, Place};
use seaworthy::system::SystemEntropy;

use super::logs::ServerLogs;
use crate::commands::Context;
use crate::descriptor::load;
use crate::error::CliError;
use crate::stack::sandbox;

/// The servers of a descriptor, and the connections to them.
pub(super) struct Servers {
    pub(super) descriptor: Materialised,
    pub(super) connections: Connections,
    confined: Option<Confined>,
    logs: ServerLogs,
}

impl Servers {
    /// Those of the descriptor at `path`. Nothing is connected yet. What they log from `level` on, or else what the
    /// descriptor wants of it, is shown.
    pub(super) async fn of(
        context: &Context,
        path: &Path,
        level: Option<McpLogLevel>,
    ) -> Result<Self, CliError> {
        let (descriptor, base_dir) = load(path, &[])?;
        if descriptor.mcp_servers.is_empty() {
            return Err(CliError::Usage(format!(
                "the descriptor {} has no `mcp_servers`",
                path.display()
            )));
        }
        Self::on(context, descriptor, base_dir.as_path(), level).await
    }

    async fn on(
        context: &Context,
        descriptor: Materialised,
        base_dir: &Path,
        level: Option<McpLogLevel>,
    ) -> Result<Self, CliError> {
        let workspace = context.workspace()?;
        let environment = context.environment.for_commands.clone();
        let confined = if descriptor
            .mcp_servers
            .values()
            .any(ServerSpec::is_sandboxed)
        {
            Some(Confined::open(&workspace, &environment).await?)
        } else {
            None
        };
        let place = Place {
            workspace,
            base_dir: base_dir.to_path_buf(),
            environment,
            sandbox: confined
                .as_ref()
                .map(|confined| Arc::clone(&confined.session)),
        };
        let connections = Connections::new(
            Arc::new(McpClient::new(McpConfig::default())),
            Arc::new(context.environment.secrets()),
            descriptor.mcp_servers.clone(),
            place,
        );
        let logs = ServerLogs::start(context.output.json)?;
        let connections = connections.with_logs(level, logs.sink());
        Ok(Self {
            descriptor,
            connections,
            confined,
            logs,
        })
    }

    /// Takes leave of the servers, and leaves nothing behind.
    pub(super) async fn close(&self) {
        self.connections.close().await;
        self.logs.finish();
        if let Some(confined) = &self.confined {
            // Whatever it says, its servers are gone.
            let _closed = confined.session.close(true).await;
        }
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

    /// The one server that is meant, where `flag` is for one alone.
    pub(super) fn only(&self, aliases: &[String], flag: &str) -> Result<&ServerAlias, CliError> {
        match self.named(aliases)?.as_slice() {
            [(alias, _spec)] => Ok(alias),
            _ => Err(CliError::Usage(format!(
                "{flag}: the descriptor has several servers; say with --server which is meant"
            ))),
        }
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

/// A sandbox session of no run, for servers that run inside one.
struct Confined {
    session: Arc<dyn SandboxSession>,
    state: PathBuf,
}

impl Confined {
    async fn open(
        workspace: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, CliError> {
        let cannot = |why: String| CliError::Stack {
            part: "the sandbox for servers",
            why,
        };
        let entropy = SystemEntropy::new().map_err(|error| cannot(error.to_string()))?;
        let name = format!("look_{:032x}", entropy.bits());
        let state = std::env::temp_dir().join(format!("seaworthy-{name}"));
        let spec = SandboxSpec {
            policy: Policy::UNCONFINED,
            workspace: workspace.to_path_buf(),
            limits: Limits::default(),
            env: environment.clone(),
            owner: Owner {
                run: RunId::new(&name).map_err(|error| cannot(error.to_string()))?,
                attempt: 1,
            },
        };
        let sandbox = sandbox(&state).await?;
        let opened = sandbox.open(spec).await;
        let session = opened.map_err(|error| cannot(error.to_string()))?;
        Ok(Self { session, state })
    }
}

impl Drop for Confined {
    /// The folder holds nothing that anybody needs.
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.state);
    }
}

/// What a server said when it was looked at, or why it said nothing.
pub(crate) struct Looked {
    pub(crate) alias: ServerAlias,
    pub(crate) found: Result<(McpServerInfo, usize), String>,
}

/// Connects to each server of the descriptor at `path` and asks it for its tools. One without servers has nobody to ask.
pub(crate) async fn look_at(context: &Context, path: &Path) -> Result<Vec<Looked>, CliError> {
    let (descriptor, base_dir) = load(path, &[])?;
    let servers = Servers::on(context, descriptor, base_dir.as_path(), None).await?;
    let looking = servers.descriptor.mcp_servers.keys();
    let looking = looking.map(async |alias| Looked {
        alias: alias.clone(),
        found: look(&servers.connections, alias).await,
    });
    let looked = join_all(looking).await;
    servers.close().await;
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

//! Servers of the Model Context Protocol that live in the test.

mod calls;
mod grants;
mod lists;
mod logs;
mod request;
mod served;
mod server;
mod session;
mod task;
mod tool;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::mcp::{
    Authorization, Beginning, Endpoint, Kind, MAX_ROOTS, Mcp, McpCapabilities, McpError, McpRoot,
    McpServer, McpSession, Transport,
};
use seaworthy_ports::{AdapterInfo, InvalidId, ServerAlias};

use crate::{ADAPTER, FakeClock, info, locked};

pub use grants::McpTokens;
pub use server::{FakeMcpServer, McpSeen, McpStart};
pub use task::FakeMcpTask;
pub use tool::{FakeMcpAnswer, FakeMcpCall, FakeMcpTool, McpFault};

use session::Session;

/// Connects to servers that the test has made, whatever transport a configuration names: the alias decides.
///
/// It keeps every clause of [`Mcp`], so what an agent may rely on with a real adapter holds here as well. Servers fail
/// when they are told to ([`FakeMcpServer::fail_next`], [`FakeMcpServer::die`], a tool's own [`McpFault`]) and remember
/// what they saw ([`FakeMcpServer::seen`]). Clones share everything.
///
/// Time stands still, so that no timeout strikes, unless a clock is given with [`timed_by`](Self::timed_by).
///
/// ```
/// use std::collections::BTreeMap;
/// use std::time::Duration;
///
/// use seaworthy_fakes::{FakeMcp, FakeMcpServer, FakeMcpTool, McpFault, McpSeen};
/// use seaworthy_ports::mcp::{Mcp, McpCall, McpSession};
/// use seaworthy_ports::{Effect, Latch};
/// use serde_json::json;
///
/// # futures_executor::block_on(async {
/// let forecast = FakeMcpTool::new("forecast", |call| async move {
///     match call.arguments["place"].as_str() {
///         Some("Atlantis") => Err(McpFault::Dies),
///         _ => Ok("sunny"),
///     }
/// })
/// .with_input_schema(json!({"type": "object", "required": ["place"]}));
/// let weather = FakeMcpServer::new("weather").with_tool(forecast);
/// let mcp = FakeMcp::new().with_server("weather", weather.clone())?;
///
/// let session = mcp.connect(mcp.server("weather")?).await?;
/// assert_eq!(session.tools().await?[0].name.as_str(), "weather__forecast");
///
/// let ask = |place: &str| McpCall {
///     tool: "forecast".to_owned(),
///     arguments: json!({"place": place}),
///     meta: BTreeMap::new(),
///     timeout: Duration::from_secs(30),
///     cancel: Latch::never(),
///     on_progress: None,
/// };
/// assert!(!session.call(ask("Lisbon")).await?.is_error);
/// let died = session.call(ask("Atlantis")).await.unwrap_err();
/// assert_eq!(died.effect(), Effect::Unknown);
/// assert!(!session.call(ask("Lisbon")).await?.is_error);
/// assert_eq!(weather.seen().iter().filter(|seen| **seen == McpSeen::Started).count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct FakeMcp {
    servers: Arc<Mutex<BTreeMap<ServerAlias, FakeMcpServer>>>,
    clock: Arc<dyn Clock>,
    capabilities: McpCapabilities,
}

impl Default for FakeMcp {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeMcp {
    /// Knows no server.
    #[must_use]
    pub fn new() -> Self {
        Self {
            servers: Arc::default(),
            clock: Arc::new(FakeClock::new()),
            capabilities: McpCapabilities::NONE
                .with_stdio()
                .with_sandboxed_stdio()
                .with_streamable_http()
                .with_oauth()
                .with_elicitation()
                .with_sampling()
                .with_tasks(),
        }
    }

    /// The same with timeouts that strike by `clock`.
    #[must_use]
    pub fn timed_by(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same, declaring `capabilities` and no others. Questions of servers that are not declared are refused.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: McpCapabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// The same with `server` behind `alias`, in place of any that was there.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] if `alias` is none.
    pub fn with_server(self, alias: &str, server: FakeMcpServer) -> Result<Self, InvalidId> {
        locked(&self.servers).insert(ServerAlias::new(alias)?, server);
        Ok(self)
    }

    /// How to connect to the server behind `alias`: without a host, and with thirty seconds for everything.
    ///
    /// # Errors
    ///
    /// [`InvalidId`] if `alias` is none.
    pub fn server(&self, alias: &str) -> Result<McpServer, InvalidId> {
        const LONG: Duration = Duration::from_secs(30);
        Ok(McpServer {
            alias: ServerAlias::new(alias)?,
            transport: Transport::StreamableHttp(Endpoint {
                url: "https://server.invalid/mcp".to_owned(),
                authorization: Authorization::None,
                headers: BTreeMap::new(),
            }),
            connect_timeout: LONG,
            request_timeout: LONG,
            host: None,
            roots: Vec::new(),
            log: None,
            beginning: Beginning::default(),
        })
    }
}

#[async_trait]
impl Mcp for FakeMcp {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn capabilities(&self) -> McpCapabilities {
        self.capabilities
    }

    async fn connect(&self, server: McpServer) -> Result<Arc<dyn McpSession>, McpError> {
        self.check(&server.transport)?;
        if server.roots.len() > MAX_ROOTS || !server.roots.iter().all(McpRoot::is_folder) {
            return Err(error(
                Kind::Rejected,
                "connect",
                "a folder that the server is to work in is none",
            ));
        }
        let fake = locked(&self.servers).get(&server.alias).cloned();
        let fake = fake.ok_or_else(|| {
            error(
                Kind::Unavailable,
                "connect",
                "there is no server of this alias",
            )
        })?;
        let session = Session::connect(fake, server, self).await?;
        Ok(Arc::new(session))
    }
}

impl FakeMcp {
    /// Refuses what a real adapter would refuse without asking the server.
    fn check(&self, transport: &Transport) -> Result<(), McpError> {
        let supported = match transport {
            Transport::Stdio(command) if command.sandbox.is_some() => {
                self.capabilities.sandboxed_stdio
            }
            Transport::Stdio(_) => self.capabilities.stdio,
            Transport::StreamableHttp(endpoint) => {
                if has_user(&endpoint.url) {
                    return Err(error(
                        Kind::Rejected,
                        "connect",
                        "the address holds credentials",
                    ));
                }
                self.capabilities.streamable_http
                    && (self.capabilities.oauth
                        || !matches!(endpoint.authorization, Authorization::OAuth(_)))
            }
        };
        if supported {
            Ok(())
        } else {
            Err(error(
                Kind::Unsupported,
                "connect",
                "the transport is not declared",
            ))
        }
    }
}

/// Whether an address names a user, where some write a password too.
fn has_user(url: &str) -> bool {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    authority.contains('@')
}

fn error(kind: Kind, operation: &'static str, message: &str) -> McpError {
    McpError::new(kind, ADAPTER, operation, message)
}

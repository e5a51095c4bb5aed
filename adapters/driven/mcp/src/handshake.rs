//! How a connection begins: both sides say who they are, and agree on a version of the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rmcp::model as wire;
use seaworthy_ports::mcp::{McpServer, McpServerInfo, Transport};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::answers;
use crate::completion;
use crate::config::McpConfig;
use crate::connection::{Connection, Request, Wire};
use crate::error::Fault;
use crate::http::Link;
use crate::inbox::Inbox;
use crate::logs;
use crate::oauth::Keeper;
#[cfg(unix)]
use crate::stdio::Pipe;
use crate::tasks;

pub(crate) const INITIALIZE: &str = "initialize";
/// What is offered.
const NEWEST: &str = "2025-11-25";
/// What is taken, if the server would rather have it.
const SPOKEN: [&str; 4] = [NEWEST, "2025-06-18", "2025-03-26", "2024-11-05"];

/// Starts or reaches a server and greets it. Dropping the future leaves nothing.
pub(crate) async fn connect(
    server: &McpServer,
    config: &McpConfig,
    keeper: Option<&Arc<Keeper>>,
) -> Result<(Connection, McpServerInfo), Fault> {
    let until = Instant::now() + server.connect_timeout;
    match timeout_at(until, greet(server, config, keeper, until)).await {
        Ok(connected) => connected,
        Err(_late) => Err(Fault::Timeout),
    }
}

async fn greet(
    server: &McpServer,
    config: &McpConfig,
    keeper: Option<&Arc<Keeper>>,
    until: Instant,
) -> Result<(Connection, McpServerInfo), Fault> {
    let connection = reach(server, config, keeper).await?;
    let takes = server.host.as_ref().map(|host| host.takes());
    let mut asks = serde_json::Map::new();
    if takes.is_some_and(|takes| takes.elicitation) {
        asks.insert("elicitation".to_owned(), json!({}));
    }
    if takes.is_some_and(|takes| takes.sampling) {
        asks.insert("sampling".to_owned(), json!({}));
    }
    if !server.roots.is_empty() {
        asks.insert("roots".to_owned(), json!({}));
    }
    let params = json!({
        "protocolVersion": NEWEST,
        "capabilities": asks,
        "clientInfo": {"name": "seaworthy", "version": env!("CARGO_PKG_VERSION")},
    });
    let request = Request {
        method: INITIALIZE,
        until,
        progress: None,
        was_sent: &AtomicBool::new(false),
    };
    let result = connection.request(request, |_id| params).await?;
    let keeps_tasks = tasks::are_kept(&result);
    let result: wire::InitializeResult = answers::read(&result)?;
    let protocol = result.protocol_version.as_str().to_owned();
    if !SPOKEN.contains(&protocol.as_str()) {
        return Err(Fault::Unsupported(
            "the server speaks no version of the protocol that this adapter knows",
        ));
    }
    if let Wire::Http(link) = connection.wire() {
        link.agree(&protocol)?;
    }
    connection
        .notify("notifications/initialized", until)
        .await?;
    if let Wire::Http(link) = connection.wire() {
        link.listen();
    }
    if let Some(log) = &server.log
        && logs::are_offered(&result.capabilities)
    {
        logs::ask(connection.outbox(), log.level).await;
    }
    connection
        .lists
        .keeps_tasks
        .store(keeps_tasks, Ordering::Release);
    connection.inbox().greeted();
    let info = McpServerInfo {
        name: result.server_info.name,
        version: result.server_info.version,
        protocol,
        instructions: result.instructions,
        tools: result.capabilities.tools.is_some(),
        resources: result.capabilities.resources.is_some(),
        prompts: result.capabilities.prompts.is_some(),
        completions: completion::is_offered(&result.capabilities),
        logging: logs::are_offered(&result.capabilities),
    };
    Ok((connection, info))
}

async fn reach(
    server: &McpServer,
    config: &McpConfig,
    keeper: Option<&Arc<Keeper>>,
) -> Result<Connection, Fault> {
    let inbox = Arc::new(Inbox::new(server));
    match &server.transport {
        #[cfg(unix)]
        Transport::Stdio(command) => {
            let (pipe, outbox) = match &command.sandbox {
                Some(sandbox) => {
                    Pipe::start_inside(&**sandbox, command, &inbox, config.grace).await?
                }
                None => Pipe::start(command, &inbox, config.grace)?,
            };
            Ok(Connection::new(inbox, outbox, Wire::Stdio(pipe)))
        }
        #[cfg(not(unix))]
        Transport::Stdio(_command) => Err(Fault::Unsupported(
            "servers are started as processes on Unix systems alone",
        )),
        Transport::StreamableHttp(endpoint) => {
            let link = Link::to(endpoint, keeper.cloned(), server.connect_timeout, &inbox)?;
            let outbox = Arc::clone(&link);
            Ok(Connection::new(inbox, outbox, Wire::Http(link)))
        }
    }
}

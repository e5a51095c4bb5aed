//! How a connection begins: both sides say who they are, and agree on a version of the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rmcp::model as wire;
use seaworthy_ports::mcp::{Beginning, McpServer, McpServerInfo, Transport};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::answers;
use crate::completion;
use crate::config::McpConfig;
use crate::connection::{Connection, Request, Wire};
use crate::error::Fault;
use crate::http::Link;
use crate::inbox::Inbox;
use crate::logs;
use crate::modern;
use crate::oauth::Keeper;
#[cfg(unix)]
use crate::stdio::Pipe;
use crate::tasks;

pub(crate) const INITIALIZE: &str = "initialize";
/// What is offered.
const NEWEST: &str = "2025-11-25";
/// What is taken, if the server would rather have it.
const SPOKEN: [&str; 4] = [NEWEST, "2025-06-18", "2025-03-26", "2024-11-05"];

/// Starts or reaches a server and greets it, first as the connection before began. Dropping the future leaves nothing.
pub(crate) async fn connect(
    server: &McpServer,
    config: &McpConfig,
    keeper: Option<&Arc<Keeper>>,
    was_modern: bool,
) -> Result<(Connection, McpServerInfo), Fault> {
    let until = Instant::now() + server.connect_timeout;
    let ways = match (server.beginning, was_modern) {
        (Beginning::Stateless, _) => (Way::Discover, None),
        (Beginning::Automatic, true) => (Way::Discover, Some(Way::Initialize)),
        (Beginning::Automatic, false) => (Way::Initialize, Some(Way::Discover)),
    };
    match timeout_at(until, greet(server, config, keeper, ways, until)).await {
        Ok(connected) => connected,
        Err(_late) => Err(Fault::Timeout),
    }
}

/// How a connection begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Initialize,
    Discover,
}

async fn greet(
    server: &McpServer,
    config: &McpConfig,
    keeper: Option<&Arc<Keeper>>,
    (first, second): (Way, Option<Way>),
    until: Instant,
) -> Result<(Connection, McpServerInfo), Fault> {
    let connection = reach(server, config, keeper).await?;
    let refused = match (begin(first, server, &connection, until).await, second) {
        (Ok(info), _) => return Ok((connection, info)),
        (Err(fault), Some(_)) if is_of_another_version(fault) => fault,
        (Err(fault), _) => return Err(fault),
    };
    // A process that refused goes on, or ends and is started again; an address may have begun a session.
    let is_process = !matches!(connection.wire(), Wire::Http(_));
    if first == Way::Initialize && is_process {
        match begin(Way::Discover, server, &connection, until).await {
            Ok(info) => return Ok((connection, info)),
            Err(Fault::Gone(_) | Fault::Unreachable(_)) => {}
            Err(fault) => return Err(blamed(refused, fault)),
        }
    }
    drop(connection);
    let connection = reach(server, config, keeper).await?;
    let second = second.unwrap_or(first);
    match begin(second, server, &connection, until).await {
        Ok(info) => Ok((connection, info)),
        Err(fault) => Err(blamed(refused, fault)),
    }
}

/// Whether a server may have failed like this because it speaks versions that begin in another way.
fn is_of_another_version(fault: Fault) -> bool {
    match fault {
        Fault::Status(status) => (400..500).contains(&status) && status != 429,
        fault => matches!(fault, Fault::Refused(_) | Fault::Unsupported(_)),
    }
}

/// Why there is no connection, if a server takes neither beginning. That it does not know the second says nothing.
fn blamed(first: Fault, second: Fault) -> Fault {
    if is_of_another_version(second) || matches!(second, Fault::Malformed(_)) {
        first
    } else {
        second
    }
}

async fn begin(
    way: Way,
    server: &McpServer,
    connection: &Connection,
    until: Instant,
) -> Result<McpServerInfo, Fault> {
    match way {
        Way::Initialize => initialize(server, connection, until).await,
        Way::Discover => modern::discover(server, connection, until).await,
    }
}

/// Which questions are taken, as the protocol says it.
pub(crate) fn takes(server: &McpServer) -> serde_json::Map<String, Value> {
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
    asks
}

/// Who calls.
pub(crate) fn client() -> Value {
    json!({"name": "seaworthy", "version": env!("CARGO_PKG_VERSION")})
}

async fn initialize(
    server: &McpServer,
    connection: &Connection,
    until: Instant,
) -> Result<McpServerInfo, Fault> {
    let params = json!({
        "protocolVersion": NEWEST,
        "capabilities": takes(server),
        "clientInfo": client(),
    });
    let request = Request {
        method: INITIALIZE,
        until,
        progress: None,
        may_be_task: false,
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
    Ok(McpServerInfo {
        name: result.server_info.name,
        version: result.server_info.version,
        protocol,
        instructions: result.instructions,
        tools: result.capabilities.tools.is_some(),
        resources: result.capabilities.resources.is_some(),
        prompts: result.capabilities.prompts.is_some(),
        completions: completion::is_offered(&result.capabilities),
        logging: logs::are_offered(&result.capabilities),
    })
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

//! What a server says of its own work: asked for when a connection begins, and passed on within bounds.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model as wire;
use seaworthy_ports::mcp::{MAX_LOGS_IN_A_SECOND, McpLog, McpLogLevel, McpLogMessage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::connection::Outbox;

/// How a server says something.
pub(crate) const MESSAGE: &str = "notifications/message";
/// How long a connection waits at most until the server has heard which level is wanted.
const HEARD: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);

/// Whether the server that said this of itself logs.
pub(crate) fn are_offered(capabilities: &wire::ServerCapabilities) -> bool {
    capabilities.logging.is_some()
}

/// Tells the server which messages are wanted. Whatever it answers, and if it never does, messages are judged one by one.
pub(crate) async fn ask(outbox: &Arc<dyn Outbox>, level: McpLogLevel) {
    // Requests that are waited for have numbers, so that an answer to this one is nobody's.
    let message = json!({
        "jsonrpc": "2.0",
        "id": "log-level",
        "method": "logging/setLevel",
        "params": {"level": level},
    });
    let outbox = Arc::clone(outbox);
    let telling = tokio::spawn(async move {
        let _gone = outbox.send(message.to_string().into()).await;
    });
    let _late = timeout(HEARD, telling).await;
}

/// Takes the log messages of one connection.
pub(crate) struct Logs {
    wanted: Option<McpLog>,
    room: Mutex<Room>,
}

/// How many messages there is room for.
#[derive(Default)]
struct Room {
    /// When the second began that is counted.
    since: Option<Instant>,
    taken: u32,
    dropped: u64,
}

impl Room {
    /// Lets one more in, and says how many were not let in before it.
    fn enter(&mut self) -> Option<u64> {
        let now = Instant::now();
        let is_new = self
            .since
            .is_none_or(|since| now.duration_since(since) >= SECOND);
        if is_new {
            self.since = Some(now);
            self.taken = 0;
        }
        if self.taken >= MAX_LOGS_IN_A_SECOND {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        self.taken += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    level: Cow<'a, str>,
    #[serde(borrow, default)]
    logger: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Logs {
    pub(crate) fn new(wanted: Option<McpLog>) -> Self {
        Self {
            wanted,
            room: Mutex::default(),
        }
    }

    /// Passes a message on if it is one, and is wanted.
    pub(crate) fn take(&self, params: Option<&RawValue>) {
        let Some(wanted) = &self.wanted else { return };
        let params = params.and_then(|params| serde_json::from_str(params.get()).ok());
        let Some(Params {
            level,
            logger,
            data,
        }) = params
        else {
            return;
        };
        let Ok(level) = level.parse::<McpLogLevel>() else {
            return;
        };
        if level < wanted.level {
            return;
        }
        let entered = self
            .room
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .enter();
        let Some(dropped) = entered else { return };
        let text = match serde_json::from_str(data.get()) {
            Ok(Value::String(text)) => text,
            Ok(data) => data.to_string(),
            Err(_unreadable) => return,
        };
        (wanted.sink)(McpLogMessage {
            dropped,
            ..McpLogMessage::new(level, logger.as_deref(), &text)
        });
    }
}

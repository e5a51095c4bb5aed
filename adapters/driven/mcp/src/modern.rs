//! The protocol version 2026-07-28: a connection begins without `initialize`, and nobody remembers it, so every request
//! says who sends it and in which version.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp::model as wire;
use seaworthy_ports::mcp::{McpLogLevel, McpServer, McpServerInfo};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::answers;
use crate::connection::{Connection, Request, Wire};
use crate::error::Fault;
use crate::handshake;
use crate::subscription;

pub(crate) const VERSION: &str = "2026-07-28";
const DISCOVER: &str = "server/discover";

/// Where the protocol keeps what it says itself within `_meta`.
const NAMESPACE: &str = "io.modelcontextprotocol/";
const CAPABILITIES: &str = "clientCapabilities";
/// The extension by which calls become tasks (SEP-2663).
const TASKS: &str = "io.modelcontextprotocol/tasks";

const HEADER_MISMATCH: i64 = -32_020;
const MISSING_CAPABILITY: i64 = -32_021;
pub(crate) const UNSUPPORTED_VERSION: i64 = -32_022;

/// How long a list is good for at least and at most, whatever the server says, where it does not tell of changes: every
/// call looks at the list of tools.
const FRESH_AT_LEAST: Duration = Duration::from_secs(10);
const FRESH_AT_MOST: Duration = Duration::from_secs(60 * 60);

/// What every request of a connection says.
#[derive(Debug)]
pub(crate) struct Modern {
    meta: Map<String, Value>,
    /// What a request says instead of its capabilities whose answer may be a task, or which is about one.
    with_tasks: Value,
    /// The least important log messages that are wanted, once the server has said that it logs.
    log: OnceLock<McpLogLevel>,
}

impl Modern {
    fn new(server: &McpServer) -> Self {
        let takes = handshake::takes(server);
        let mut with_tasks = takes.clone();
        with_tasks.insert("extensions".to_owned(), json!({TASKS: {}}));
        let said = [
            ("protocolVersion", json!(VERSION)),
            ("clientInfo", handshake::client()),
            (CAPABILITIES, takes.into()),
        ];
        let said = said.into_iter();
        Self {
            log: OnceLock::new(),
            with_tasks: with_tasks.into(),
            meta: said
                .map(|(name, value)| (format!("{NAMESPACE}{name}"), value))
                .collect(),
        }
    }

    /// The parameters of a request, with what every request says. `tasks`: the server may speak of tasks in its answer.
    pub(crate) fn dressed<P: Serialize>(&self, params: P, tasks: bool) -> Result<Value, Fault> {
        const UNWRITABLE: Fault = Fault::Rejected("the request cannot be written as JSON");
        let mut params = serde_json::to_value(params).map_err(|_error| UNWRITABLE)?;
        let members = params.as_object_mut().ok_or(UNWRITABLE)?;
        let meta = members.entry("_meta").or_insert_with(|| json!({}));
        let meta = meta.as_object_mut().ok_or(UNWRITABLE)?;
        meta.extend(self.meta.clone());
        if tasks {
            meta.insert(
                format!("{NAMESPACE}{CAPABILITIES}"),
                self.with_tasks.clone(),
            );
        }
        if let Some(level) = self.log.get() {
            meta.insert(format!("{NAMESPACE}logLevel"), json!(level));
        }
        Ok(params)
    }
}

/// What a server says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered {
    supported_versions: Vec<String>,
    #[serde(default)]
    capabilities: Map<String, Value>,
    #[serde(default)]
    instructions: Option<String>,
    #[serde(rename = "_meta", default)]
    meta: Map<String, Value>,
}

/// Begins a connection without `initialize`.
pub(crate) async fn discover(
    server: &McpServer,
    connection: &Connection,
    until: Instant,
) -> Result<McpServerInfo, Fault> {
    const OTHERS: Fault = Fault::Unsupported(
        "the server does not speak the version of the protocol that begins without `initialize`",
    );
    let _again = connection.modern.set(Modern::new(server));
    connection.inbox().asks_nothing();
    if let Wire::Http(link) = connection.wire() {
        link.agree(VERSION)?;
    }
    let request = Request {
        method: DISCOVER,
        until,
        progress: None,
        may_be_task: false,
        was_sent: &AtomicBool::new(false),
    };
    let mut answer = connection.request(request.clone(), |_id| json!({})).await;
    if matches!(answer, Err(Fault::VersionLost)) {
        // One of several servers behind an address may have been an older one.
        answer = connection.request(request, |_id| json!({})).await;
    }
    let result = match answer {
        Err(Fault::VersionLost) => return Err(OTHERS),
        answer => answer?,
    };
    let said: Discovered = answers::read(&result)?;
    if !said.supported_versions.iter().any(|each| each == VERSION) {
        return Err(OTHERS);
    }
    let extensions = said.capabilities.get("extensions");
    let keeps_tasks = extensions
        .and_then(|all| all.get(TASKS))
        .is_some_and(Value::is_object);
    connection
        .lists
        .keeps_tasks
        .store(keeps_tasks, Ordering::Release);
    subscription::open(connection, &said.capabilities, until).await;
    connection.inbox().greeted();
    let who = said.meta.get(&format!("{NAMESPACE}serverInfo"));
    // It should say who it is, and need not.
    let who = who.and_then(|who| wire::Implementation::deserialize(who).ok());
    let (name, version) = who.map(|who| (who.name, who.version)).unwrap_or_default();
    let has = |what: &str| said.capabilities.get(what).is_some_and(Value::is_object);
    if let (Some(modern), Some(log), true) = (connection.modern.get(), &server.log, has("logging"))
    {
        let _once = modern.log.set(log.level);
    }
    Ok(McpServerInfo {
        name,
        version,
        protocol: VERSION.to_owned(),
        tools: has("tools"),
        resources: has("resources"),
        prompts: has("prompts"),
        completions: has("completions"),
        logging: has("logging"),
        instructions: said.instructions,
    })
}

/// What a fault means on a connection without `initialize`. Before that version the codes were anybody's.
pub(crate) fn meant(fault: Fault) -> Fault {
    match fault {
        Fault::Refused(UNSUPPORTED_VERSION) => Fault::VersionLost,
        Fault::Refused(MISSING_CAPABILITY) => Fault::Unsupported(
            "the server wants to ask what nobody here answers, or to answer with a task where none is wanted",
        ),
        Fault::Refused(HEADER_MISMATCH) => {
            Fault::Unsupported("the server read other headers than were sent")
        }
        fault => fault,
    }
}

/// What kind of a result it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed<'a> {
    #[serde(borrow, default)]
    result_type: Option<Cow<'a, str>>,
}

/// What a result is to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// The answer.
    Whole,
    /// The server asks something before it answers.
    Asking,
    /// The server works on it, and is asked later.
    Task,
}

/// What a result is to the request. Nobody has to expect a task where none is wanted.
pub(crate) fn judged(result: &[u8], may_be_task: bool) -> Result<Judged, Fault> {
    let typed: Typed<'_> = serde_json::from_slice(result)
        .map_err(|_error| Fault::Malformed("the server's answer says not what it is"))?;
    match typed.result_type.as_deref() {
        None | Some("complete") => Ok(Judged::Whole),
        Some("input_required") => Ok(Judged::Asking),
        Some("task") if may_be_task => Ok(Judged::Task),
        Some(_) => Err(Fault::Malformed(
            "the server's answer is of a kind that was not asked for",
        )),
    }
}

/// Refuses a result that is not the answer.
pub(crate) fn must_be_whole(result: &[u8]) -> Result<(), Fault> {
    match judged(result, false)? {
        Judged::Whole => Ok(()),
        Judged::Asking | Judged::Task => Err(Fault::Malformed(
            "the server asks something where nothing may be asked",
        )),
    }
}

/// How long a page of a list is good.
pub(crate) fn good_for(page: &[u8]) -> Duration {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Hint {
        #[serde(default)]
        ttl_ms: Option<f64>,
    }
    let hint: Option<Hint> = serde_json::from_slice(page).ok();
    let millis = hint.and_then(|hint| hint.ttl_ms).unwrap_or_default();
    let said = Duration::try_from_secs_f64(millis / 1000.0).unwrap_or(if millis > 0.0 {
        FRESH_AT_MOST
    } else {
        FRESH_AT_LEAST
    });
    said.clamp(FRESH_AT_LEAST, FRESH_AT_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modern() -> Modern {
        let meta = Map::from_iter([(format!("{NAMESPACE}protocolVersion"), json!(VERSION))]);
        Modern {
            meta,
            with_tasks: json!({"extensions": {TASKS: {}}}),
            log: OnceLock::new(),
        }
    }

    #[test]
    fn a_request_keeps_what_the_caller_says_and_says_the_version_itself() {
        let said = json!({
            "name": "t",
            "_meta": {"traceparent": "00", "io.modelcontextprotocol/protocolVersion": "forged"},
        });
        let dressed = modern().dressed(&said, false).unwrap();
        assert_eq!(
            dressed,
            json!({
                "name": "t",
                "_meta": {"traceparent": "00", "io.modelcontextprotocol/protocolVersion": VERSION},
            })
        );
        let dressed = modern().dressed(json!({}), true).unwrap();
        assert_eq!(
            dressed,
            json!({"_meta": {
                "io.modelcontextprotocol/protocolVersion": VERSION,
                "io.modelcontextprotocol/clientCapabilities": {
                    "extensions": {"io.modelcontextprotocol/tasks": {}},
                },
            }})
        );
    }

    #[test]
    fn a_result_is_whole_asks_is_a_task_or_is_malformed() {
        let kinds = [
            (r#"{"resultType":"complete"}"#, Judged::Whole),
            ("{}", Judged::Whole),
            (r#"{"resultType":"input_required"}"#, Judged::Asking),
            (r#"{"resultType":"task"}"#, Judged::Task),
        ];
        for (result, expected) in kinds {
            assert_eq!(judged(result.as_bytes(), true), Ok(expected), "{result}");
        }
        let unasked = judged(br#"{"resultType":"task"}"#, false);
        assert!(matches!(unasked, Err(Fault::Malformed(_))));
        for other in [r#"{"resultType":"other"}"#, r#"{"resultType":7}"#, "7"] {
            let judged = judged(other.as_bytes(), true);
            assert!(matches!(judged, Err(Fault::Malformed(_))), "{other}");
        }
    }

    #[test]
    fn a_list_is_good_for_as_long_as_the_server_says_within_bounds() {
        let good_for = |page: &str| good_for(page.as_bytes());
        assert_eq!(good_for(r#"{"ttlMs":60000}"#), Duration::from_secs(60));
        for short in [
            "{}",
            r#"{"ttlMs":0}"#,
            r#"{"ttlMs":-5}"#,
            r#"{"ttlMs":"x"}"#,
        ] {
            assert_eq!(good_for(short), FRESH_AT_LEAST, "{short}");
        }
        assert_eq!(good_for(r#"{"ttlMs":1e300}"#), FRESH_AT_MOST);
    }
}

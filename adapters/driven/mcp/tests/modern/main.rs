//! Servers of the protocol version 2026-07-28 at addresses: what is sent to them, and what they may answer.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod beginning;
mod calls;
mod tasks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_contract::http::{Act, Backend};
use seaworthy_mcp::{McpClient, McpConfig};
use seaworthy_ports::mcp::{
    Authorization, Beginning, Elicitation, Elicited, Endpoint, HostTakes, Kind, Mcp as _, McpCall,
    McpCallResult, McpError, McpHost, McpServer, McpSession, Sampled, Sampling, Transport,
};
use seaworthy_ports::{Effect, Latch, ServerAlias, async_trait};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(110);
const UNSUPPORTED: i64 = -32_022;

/// Names whoever is asked for, and takes no model calls.
#[derive(Debug)]
struct Names;

#[async_trait]
impl McpHost for Names {
    fn takes(&self) -> HostTakes {
        HostTakes {
            elicitation: true,
            sampling: false,
        }
    }

    async fn elicit(&self, question: Elicitation) -> Elicited {
        Elicited::Accepted(json!({"name": question.message}))
    }

    async fn sample(&self, _question: Sampling) -> Sampled {
        Sampled::Refused
    }
}

fn server(url: &str, beginning: Beginning) -> McpServer {
    McpServer {
        alias: ServerAlias::new("modern").unwrap(),
        transport: Transport::StreamableHttp(Endpoint {
            url: url.to_owned(),
            authorization: Authorization::None,
            headers: BTreeMap::new(),
        }),
        connect_timeout: LONG,
        request_timeout: LONG,
        host: Some(Arc::new(Names)),
        roots: Vec::new(),
        log: None,
        beginning,
    }
}

async fn connect(server: McpServer) -> Result<Arc<dyn McpSession>, McpError> {
    McpClient::new(McpConfig::default()).connect(server).await
}

fn of_tool(tool: &str, arguments: Value) -> McpCall {
    McpCall {
        tool: tool.to_owned(),
        arguments,
        meta: BTreeMap::from([("traceparent".to_owned(), json!("00"))]),
        timeout: LONG,
        cancel: Latch::never(),
        on_progress: None,
    }
}

async fn call_of(
    session: &Arc<dyn McpSession>,
    tool: &str,
    arguments: Value,
) -> Result<McpCallResult, McpError> {
    session.call(of_tool(tool, arguments)).await
}

async fn call(session: &Arc<dyn McpSession>) -> Result<McpCallResult, McpError> {
    call_of(session, "t", json!({"region": "Zürich", "query": "q"})).await
}

fn how(error: &McpError) -> (Kind, Effect) {
    (error.kind(), error.effect())
}

fn reply(status: &str, body: &Value) -> Vec<Act> {
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    vec![Act::Say(format!("{head}{body}").into_bytes())]
}

fn error(code: i64) -> Value {
    json!({"error": {"code": code, "message": "canary", "data": {"supported": ["2026-07-28"]}}})
}

fn complete(mut result: Value) -> Value {
    result["resultType"] = json!("complete");
    json!({"result": result})
}

fn text() -> Value {
    complete(json!({"content": [{"type": "text", "text": "done"}]}))
}

fn asks(requests: Value, state: Option<&str>) -> Value {
    let mut result = json!({"resultType": "input_required", "inputRequests": requests});
    if let Some(state) = state {
        result["requestState"] = json!(state);
    }
    json!({"result": result})
}

fn form(message: &str) -> Value {
    json!({"method": "elicitation/create", "params": {
        "message": message,
        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}},
    }})
}

fn tools() -> Value {
    let tool = |name: &str, region: Value| {
        json!({"name": name, "inputSchema": {
            "type": "object",
            "properties": {"region": region, "query": {"type": "string"}},
        }})
    };
    complete(json!({"ttlMs": 60_000, "cacheScope": "private", "tools": [
        tool("t", json!({"type": "string", "x-mcp-header": "Region"})),
        tool("bad", json!({"type": "string", "x-mcp-header": "two words"})),
        tool("plain", json!({"type": "string"})),
    ]}))
}

/// A server that answers what `answer` makes of the method, the parameters and how often the method was asked for before;
/// `None`: as servers usually do.
async fn backend(
    answer: impl Fn(&str, &Value, usize) -> Option<Value> + Send + Sync + 'static,
) -> Backend {
    let backend = Backend::start().await;
    let counts = Mutex::new(BTreeMap::<String, usize>::new());
    backend.respond(move |body| {
        let asked: Value = serde_json::from_str(body).unwrap_or_default();
        let method = asked["method"].as_str().unwrap_or_default();
        let before = {
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(method.to_owned()).or_default();
            *count += 1;
            *count - 1
        };
        if asked["id"].is_null() {
            return reply("202 Accepted", &json!({}));
        }
        let usual = || match method {
            "server/discover" => complete(json!({
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}},
            })),
            "tools/list" => tools(),
            "tools/call" => text(),
            "initialize" => error(UNSUPPORTED),
            _ => error(-32_601),
        };
        let mut said = answer(method, &asked["params"], before).unwrap_or_else(usual);
        said["jsonrpc"] = json!("2.0");
        said["id"] = asked["id"].clone();
        let status = match said.pointer("/error/code").and_then(Value::as_i64) {
            Some(UNSUPPORTED) => "400 Bad Request",
            Some(-32_601) => "404 Not Found",
            _ => "200 OK",
        };
        reply(status, &said)
    });
    backend
}

/// What was asked for so far, by method.
fn methods(backend: &Backend) -> Vec<String> {
    let asked = backend.bodies();
    let asked = asked
        .iter()
        .map(|body| serde_json::from_str::<Value>(body).unwrap_or_default());
    asked
        .map(|asked| asked["method"].as_str().unwrap_or("none").to_owned())
        .collect()
}

fn params(backend: &Backend, method: &str) -> Vec<Value> {
    let asked = backend.bodies();
    let asked = asked
        .iter()
        .map(|body| serde_json::from_str::<Value>(body).unwrap_or_default());
    asked
        .filter(|asked| asked["method"] == method)
        .map(|asked| asked["params"].clone())
        .collect()
}

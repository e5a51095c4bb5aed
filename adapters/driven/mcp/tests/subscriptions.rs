//! What a server without sessions tells of its lists, as the answer to a request that stays open.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use seaworthy_contract::http::{Act, Backend};
use seaworthy_mcp::{McpClient, McpConfig};
use seaworthy_ports::ServerAlias;
use seaworthy_ports::mcp::{
    Authorization, Beginning, Endpoint, Mcp as _, McpServer, McpSession, Transport,
};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(110);

/// What the server does with a request to be told of changes.
#[derive(Clone, Copy, Debug)]
enum Listening {
    /// It says what it will tell, and leaves it open.
    Stays,
    /// The same, but the first time it ends it at once.
    EndsOnce,
    /// It does not know it.
    Unknown,
}

fn reply(status: &str, said: &Value) -> Vec<Act> {
    let said = said.to_string();
    let length = said.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    vec![Act::Say(format!("{head}{said}").into_bytes())]
}

fn listening(how: Listening, id: &Value, before: usize) -> Vec<Act> {
    if matches!(how, Listening::Unknown) {
        let error = json!({"code": -32_601, "message": "there is no such method"});
        let said = json!({"jsonrpc": "2.0", "id": id, "error": error});
        return reply("404 Not Found", &said);
    }
    let told = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {
        "_meta": {"io.modelcontextprotocol/subscriptionId": id},
        "notifications": {"toolsListChanged": true},
    }});
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let mut acts = vec![Act::Say(format!("{head}data: {told}\n\n").into_bytes())];
    if !matches!(how, Listening::EndsOnce) || before > 0 {
        acts.push(Act::Wait);
    }
    acts
}

async fn session(how: Listening) -> (Backend, Arc<dyn McpSession>) {
    let backend = Backend::start().await;
    let heard = AtomicUsize::new(0);
    backend.respond(move |body| {
        let asked: Value = serde_json::from_str(body).unwrap_or_default();
        let id = asked.get("id").cloned().unwrap_or_default();
        let result = match asked.get("method").and_then(Value::as_str) {
            Some("server/discover") => json!({
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {"listChanged": true}},
            }),
            Some("subscriptions/listen") => {
                return listening(how, &id, heard.fetch_add(1, Ordering::Relaxed));
            }
            _ => {
                json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": []})
            }
        };
        reply(
            "200 OK",
            &json!({"jsonrpc": "2.0", "id": id, "result": result}),
        )
    });
    let server = McpServer {
        alias: ServerAlias::new("telling").unwrap(),
        transport: Transport::StreamableHttp(Endpoint {
            url: backend.url().to_owned(),
            authorization: Authorization::None,
            headers: BTreeMap::new(),
        }),
        connect_timeout: LONG,
        request_timeout: LONG,
        host: None,
        roots: Vec::new(),
        log: None,
        beginning: Beginning::Stateless,
    };
    let mcp = McpClient::new(McpConfig::default());
    (backend, mcp.connect(server).await.unwrap())
}

fn count(backend: &Backend, method: &str) -> usize {
    let bodies = backend.bodies();
    bodies.iter().filter(|body| body.contains(method)).count()
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

#[tokio::test]
async fn closing_ends_what_is_told() {
    let (backend, session) = session(Listening::Stays).await;
    session.tools().await.unwrap();
    session.tools().await.unwrap();
    // The server says that a list is good for no time, and tells of changes.
    assert_eq!(count(&backend, "tools/list"), 1);
    assert_eq!(backend.hang_ups(), 0);
    session.close().await.unwrap();
    until("the client hangs up", async || backend.hang_ups() == 1).await;
}

#[tokio::test]
async fn a_list_that_nobody_watched_for_a_while_is_asked_for_again() {
    let (backend, session) = session(Listening::EndsOnce).await;
    session.tools().await.unwrap();
    until("it is asked to tell again", async || {
        count(&backend, "subscriptions/listen") == 2
    })
    .await;
    until("the list is asked for again", async || {
        session.tools().await.unwrap();
        count(&backend, "tools/list") >= 2
    })
    .await;
}

#[tokio::test]
async fn a_server_that_tells_nothing_is_not_asked_for_every_call() {
    let (backend, session) = session(Listening::Unknown).await;
    session.tools().await.unwrap();
    session.tools().await.unwrap();
    assert_eq!(count(&backend, "tools/list"), 1);
    assert_eq!(count(&backend, "subscriptions/listen"), 1);
}

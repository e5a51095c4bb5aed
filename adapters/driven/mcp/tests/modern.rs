//! Servers of the protocol version 2026-07-28 at addresses: what is sent to them, and what they may answer.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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

async fn call_of(
    session: &Arc<dyn McpSession>,
    tool: &str,
    arguments: Value,
) -> Result<McpCallResult, McpError> {
    let call = McpCall {
        tool: tool.to_owned(),
        arguments,
        meta: BTreeMap::from([("traceparent".to_owned(), json!("00"))]),
        timeout: LONG,
        cancel: Latch::never(),
        on_progress: None,
    };
    session.call(call).await
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

#[tokio::test]
async fn every_request_stands_alone_and_says_again_in_headers_what_it_says() {
    let backend = backend(|_method, _params, _before| None).await;
    let session = connect(server(backend.url(), Beginning::Automatic)).await;
    let session = session.unwrap();
    let known = session.server();
    assert_eq!(
        (known.name.as_str(), known.protocol.as_str()),
        ("s", "2026-07-28")
    );
    call(&session).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(
        methods(&backend),
        ["initialize", "server/discover", "tools/list", "tools/call"]
    );
    for request in backend.requests().iter().skip(1) {
        let head = request.to_lowercase();
        assert!(head.starts_with("post "), "{request}");
        assert!(
            head.contains("mcp-protocol-version: 2026-07-28"),
            "{request}"
        );
        assert!(head.contains("mcp-method: "), "{request}");
        assert!(!head.contains("mcp-session-id"), "{request}");
        let (_head, body) = request.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let meta = &body["params"]["_meta"];
        let said = |name: &str| &meta[format!("io.modelcontextprotocol/{name}")];
        assert_eq!(said("protocolVersion"), "2026-07-28");
        assert_eq!(said("clientInfo")["name"], "seaworthy");
        assert_eq!(said("clientCapabilities"), &json!({"elicitation": {}}));
    }
    let requests = backend.requests();
    let called = requests.last().unwrap();
    assert!(called.contains("mcp-name: t\r\n"), "{called}");
    assert!(called.contains("mcp-param-region: =?base64?WsO8cmljaA==?=\r\n"));
    assert!(!called.contains("mcp-param-query"), "{called}");
    let params = params(&backend, "tools/call");
    assert_eq!(params.last().unwrap()["_meta"]["traceparent"], "00");
}

#[tokio::test]
async fn a_tool_whose_headers_cannot_be_sent_is_left_out_alone() {
    let backend = backend(|_method, _params, _before| None).await;
    let session = connect(server(backend.url(), Beginning::Stateless)).await;
    let tools = session.unwrap().tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool.remote.as_str()).collect();
    assert_eq!(names, ["t", "plain"]);
    assert_eq!(methods(&backend), ["server/discover", "tools/list"]);
}

#[tokio::test]
async fn a_server_that_begins_with_initialize_hears_of_nothing_else() {
    let backend = backend(|method, _params, _before| match method {
        "initialize" => Some(json!({"result": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "old", "version": "1"},
        }})),
        "tools/call" => Some(json!({"result": {"content": [{"type": "text", "text": "done"}]}})),
        _ => None,
    })
    .await;
    let session = connect(server(backend.url(), Beginning::Automatic)).await;
    let session = session.unwrap();
    call_of(&session, "bad", json!({})).await.unwrap();
    assert!(!methods(&backend).contains(&"server/discover".to_owned()));
    for request in backend.requests() {
        assert!(!request.contains("mcp-method"), "{request}");
        assert!(!request.contains("io.modelcontextprotocol/"), "{request}");
    }
    // Whoever wants the version that begins without it gets nothing else.
    let refused = connect(server(backend.url(), Beginning::Stateless)).await;
    assert!(refused.is_ok(), "this one speaks both");
}

#[tokio::test]
async fn a_server_that_takes_neither_beginning_is_blamed_for_the_first() {
    let backend = backend(|method, _params, _before| match method {
        "server/discover" => Some(error(-32_601)),
        "initialize" => Some(error(-32_000)),
        _ => None,
    })
    .await;
    let refused = connect(server(backend.url(), Beginning::Automatic)).await;
    assert_eq!(how(&refused.unwrap_err()), (Kind::Server, Effect::None));
    assert_eq!(methods(&backend), ["initialize", "server/discover"]);
    let refused = connect(server(backend.url(), Beginning::Stateless)).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Unsupported);
}

#[tokio::test]
async fn a_server_of_other_versions_alone_is_not_supported() {
    let backend = backend(|method, _params, _before| {
        let said = json!({"supportedVersions": ["2027-01-01"], "capabilities": {}});
        (method == "server/discover").then(|| complete(said))
    })
    .await;
    let refused = connect(server(backend.url(), Beginning::Stateless)).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Unsupported);
}

#[tokio::test]
async fn a_lost_version_is_agreed_on_again_and_the_call_made_once() {
    let backend = backend(|method, _params, before| {
        (method == "tools/call" && before == 0).then(|| error(UNSUPPORTED))
    })
    .await;
    let session = connect(server(backend.url(), Beginning::Automatic)).await;
    call(&session.unwrap()).await.unwrap();
    // Again as it began before: there is no second `initialize`.
    let expected = [
        "initialize",
        "server/discover",
        "tools/list",
        "tools/call",
        "server/discover",
        "tools/list",
        "tools/call",
    ];
    assert_eq!(methods(&backend), expected);
}

#[tokio::test]
async fn a_version_that_is_not_spoken_is_offered_twice() {
    for refusals in [1, 2] {
        let backend = backend(move |method, _params, before| {
            (method == "server/discover" && before < refusals).then(|| error(UNSUPPORTED))
        })
        .await;
        let connected = connect(server(backend.url(), Beginning::Stateless)).await;
        assert_eq!(methods(&backend), ["server/discover"; 2]);
        match refusals {
            1 => assert!(connected.is_ok()),
            _ => assert_eq!(connected.unwrap_err().kind(), Kind::Unsupported),
        }
    }
}

#[tokio::test]
async fn a_version_that_is_lost_again_is_unavailable_without_effect() {
    let backend =
        backend(|method, _params, _before| (method == "tools/call").then(|| error(UNSUPPORTED)))
            .await;
    let session = connect(server(backend.url(), Beginning::Stateless)).await;
    let lost = call(&session.unwrap()).await.unwrap_err();
    assert_eq!(how(&lost), (Kind::Unavailable, Effect::None));
    assert_eq!(params(&backend, "tools/call").len(), 2);
}

#[tokio::test]
async fn what_a_server_wants_of_its_client_is_refused_without_effect() {
    for code in [-32_020, -32_021] {
        let backend =
            backend(move |method, _params, _before| (method == "tools/call").then(|| error(code)))
                .await;
        let session = connect(server(backend.url(), Beginning::Stateless)).await;
        let refused = call(&session.unwrap()).await.unwrap_err();
        assert_eq!(how(&refused), (Kind::Unsupported, Effect::None));
        assert!(!refused.to_string().contains("canary"));
    }
}

#[tokio::test]
async fn questions_are_answered_by_sending_the_same_request_again() {
    let backend = backend(|method, _params, before| match (method, before) {
        ("tools/call", 0) => Some(asks(
            json!({"a": form("Ada"), "b": form("Bo")}),
            Some("s/1\n"),
        )),
        // From here on it wants to hear nothing again.
        ("tools/call", 1) => Some(asks(json!({"c": form("Cy")}), None)),
        _ => None,
    })
    .await;
    let session = connect(server(backend.url(), Beginning::Stateless)).await;
    call(&session.unwrap()).await.unwrap();
    let rounds = params(&backend, "tools/call");
    let accepted = |name: &str| json!({"action": "accept", "content": {"name": name}});
    assert_eq!(rounds.len(), 3);
    assert_eq!(rounds[0].get("inputResponses"), None);
    assert_eq!(
        rounds[1]["inputResponses"],
        json!({"a": accepted("Ada"), "b": accepted("Bo")})
    );
    assert_eq!(rounds[1]["requestState"], "s/1\n");
    assert_eq!(rounds[2]["inputResponses"], json!({"c": accepted("Cy")}));
    assert_eq!(rounds[2].get("requestState"), None);
    for round in &rounds {
        assert_eq!(round["arguments"], rounds[0]["arguments"]);
    }
}

#[tokio::test]
async fn prompts_and_resources_may_ask_and_lists_may_not() {
    let backend = backend(|method, params, _before| {
        let is_answered = params.get("inputResponses").is_some();
        match method {
            "tools/list" => {
                let mut asking = asks(json!({"a": form("Ada")}), None);
                asking["result"]["tools"] = json!([]);
                Some(asking)
            }
            "prompts/get" | "resources/read" if !is_answered => {
                Some(asks(json!({"a": form("Ada")}), None))
            }
            "prompts/get" => Some(complete(json!({"messages": []}))),
            "resources/read" => Some(complete(json!({"contents": []}))),
            _ => None,
        }
    })
    .await;
    let session = connect(server(backend.url(), Beginning::Stateless)).await;
    let session = session.unwrap();
    session.prompt("p", BTreeMap::new()).await.unwrap();
    session.read_resource("file:///a").await.unwrap();
    assert_eq!(session.tools().await.unwrap_err().kind(), Kind::Malformed);
}

#[tokio::test]
async fn an_unknown_resource_is_not_found() {
    let backend =
        backend(|method, _params, _before| (method == "resources/read").then(|| error(-32_602)))
            .await;
    let session = connect(server(backend.url(), Beginning::Stateless)).await;
    let unknown = session.unwrap().read_resource("file:///a").await;
    assert_eq!(unknown.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn what_fails_after_a_question_may_have_had_an_effect() {
    let then = [
        (error(-32_602), Kind::InvalidArguments),
        (error(UNSUPPORTED), Kind::Unavailable),
        (json!({"result": {"resultType": "task"}}), Kind::Malformed),
        (
            asks(json!({"m": {"method": "sampling/createMessage"}}), None),
            Kind::Unsupported,
        ),
        (
            asks(json!({"r": {"method": "roots/list"}}), None),
            Kind::Unsupported,
        ),
        (
            asks(json!({"p": {"method": "ping"}}), None),
            Kind::Unsupported,
        ),
        (asks(json!({"e": 7}), None), Kind::Malformed),
        (asks(json!({}), None), Kind::Malformed),
    ];
    for (second, kind) in then {
        let said = second.clone();
        let backend = backend(move |method, _params, before| match (method, before) {
            ("tools/call", 0) => Some(asks(json!({"a": form("Ada")}), None)),
            ("tools/call", _) => Some(said.clone()),
            _ => None,
        })
        .await;
        let session = connect(server(backend.url(), Beginning::Stateless)).await;
        let failed = call(&session.unwrap()).await.unwrap_err();
        assert_eq!(how(&failed), (kind, Effect::Unknown), "{second}");
        // Nothing of it was sent a third time.
        assert_eq!(params(&backend, "tools/call").len(), 2, "{second}");
    }
}

#[tokio::test]
async fn what_a_server_may_ask_at_once_is_bounded() {
    let many: Value = (0..17).map(|n| (n.to_string(), form("Ada"))).collect();
    let long = "x".repeat(1024 * 1024 + 1);
    for (requests, state) in [
        (many, None),
        (json!({"k".repeat(257): form("Ada")}), None),
        (json!({}), Some(long)),
    ] {
        let said = asks(requests, state.as_deref());
        let backend =
            backend(move |method, _params, _before| (method == "tools/call").then(|| said.clone()))
                .await;
        let session = connect(server(backend.url(), Beginning::Stateless)).await;
        let failed = call(&session.unwrap()).await.unwrap_err();
        assert_eq!(how(&failed), (Kind::TooLarge, Effect::Unknown));
    }
}

#[tokio::test]
async fn a_form_that_cannot_be_shown_is_declined() {
    let link = json!({"method": "elicitation/create", "params": {"mode": "url", "message": "m", "url": "https://a"}});
    let backend = backend(move |method, _params, before| match (method, before) {
        ("tools/call", 0) => Some(asks(json!({"a": link}), None)),
        _ => None,
    })
    .await;
    let session = connect(server(backend.url(), Beginning::Stateless)).await;
    call(&session.unwrap()).await.unwrap();
    let rounds = params(&backend, "tools/call");
    assert_eq!(
        rounds[1]["inputResponses"],
        json!({"a": {"action": "decline"}})
    );
}

#[tokio::test]
async fn an_argument_that_no_header_can_carry_is_not_sent() {
    let backend = backend(|_method, _params, _before| None).await;
    let session = connect(server(backend.url(), Beginning::Stateless)).await;
    let region = "x".repeat(8 * 1024 + 1);
    let refused = call_of(&session.unwrap(), "t", json!({"region": region})).await;
    assert_eq!(
        how(&refused.unwrap_err()),
        (Kind::InvalidArguments, Effect::None)
    );
    assert!(params(&backend, "tools/call").is_empty());
}

#[tokio::test]
async fn a_broken_stream_is_not_taken_up_again() {
    let backend = calls_are(|_id| {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        vec![Act::Say(format!("{head}id: 7\ndata:\n\n").into_bytes())]
    })
    .await;
    let session = connect(server(backend.url(), Beginning::Stateless)).await;
    let broken = call(&session.unwrap()).await.unwrap_err();
    assert_eq!(how(&broken), (Kind::Unavailable, Effect::Unknown));
    let is_post = |request: &String| request.starts_with("POST");
    assert!(backend.requests().iter().all(is_post));
}

/// A server whose calls are answered like this, and everything else as usual.
async fn calls_are(called: impl Fn(&Value) -> Vec<Act> + Send + Sync + 'static) -> Backend {
    let backend = Backend::start().await;
    backend.respond(move |body| {
        let asked: Value = serde_json::from_str(body).unwrap_or_default();
        let mut said = match asked["method"].as_str() {
            Some("server/discover") => complete(json!({
                "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            })),
            Some("tools/list") => tools(),
            Some("tools/call") => return called(&asked["id"]),
            _ => return reply("202 Accepted", &json!({})),
        };
        said["jsonrpc"] = json!("2.0");
        said["id"] = asked["id"].clone();
        reply("200 OK", &said)
    });
    backend
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

#[tokio::test]
async fn a_call_is_called_off_by_hanging_up() {
    let backend = calls_are(|_id| vec![Act::Wait]).await;
    let session = connect(server(backend.url(), Beginning::Stateless)).await;
    let session = session.unwrap();
    let (canceller, cancel) = Latch::new();
    let waiting = session.call(McpCall {
        tool: "t".to_owned(),
        arguments: json!({}),
        meta: BTreeMap::new(),
        timeout: LONG,
        cancel,
        on_progress: None,
    });
    let called = || methods(&backend).contains(&"tools/call".to_owned());
    let calling_off = async {
        until("the call is made", called).await;
        canceller.set();
    };
    let (cancelled, ()) = tokio::join!(waiting, calling_off);
    assert_eq!(
        how(&cancelled.unwrap_err()),
        (Kind::Cancelled, Effect::Unknown)
    );
    until("the client hangs up", || backend.hang_ups() == 1).await;
    session.close().await.unwrap();
    assert_eq!(
        methods(&backend),
        ["server/discover", "tools/list", "tools/call"]
    );
}

#[tokio::test]
async fn a_question_that_comes_by_itself_is_refused() {
    let backend = calls_are(|id| {
        let mut asked = form("Ada");
        asked["jsonrpc"] = json!("2.0");
        asked["id"] = json!(900);
        let mut said = text();
        said["jsonrpc"] = json!("2.0");
        said["id"] = id.clone();
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        let events = format!("{head}data: {asked}\n\ndata: {said}\n\n");
        vec![Act::Say(events.into_bytes())]
    })
    .await;
    let session = connect(server(backend.url(), Beginning::Stateless)).await;
    call(&session.unwrap()).await.unwrap();
    let answer = || {
        let bodies = backend.bodies();
        bodies.into_iter().find(|body| body.contains("\"id\":900"))
    };
    until("the question is refused", || answer().is_some()).await;
    assert!(answer().unwrap().contains("-32601"));
}

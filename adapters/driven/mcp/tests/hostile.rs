//! Servers at addresses that answer as no server should, and what is sent to them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_contract::http::{Act, Backend};
use seaworthy_mcp::{McpClient, McpConfig};
use seaworthy_ports::mcp::{
    Authorization, Endpoint, Kind, MAX_MESSAGE_BYTES, Mcp as _, McpCall, McpCallResult,
    McpCompleting, McpCompletion, McpError, McpLog, McpLogLevel, McpLogMessage, McpServer,
    McpSession, Transport,
};
use seaworthy_ports::{Effect, Latch, Retry, Secret, ServerAlias};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(110);

fn server(url: &str, authorization: Authorization) -> McpServer {
    McpServer {
        alias: ServerAlias::new("hostile").unwrap(),
        transport: Transport::StreamableHttp(Endpoint {
            url: url.to_owned(),
            authorization,
            headers: BTreeMap::from([("x-tenant".to_owned(), "seven".to_owned())]),
        }),
        connect_timeout: LONG,
        request_timeout: LONG,
        host: None,
        roots: Vec::new(),
        log: None,
    }
}

async fn connect(server: McpServer) -> Result<Arc<dyn McpSession>, McpError> {
    let grace = Duration::from_secs(20);
    McpClient::new(McpConfig::default().with_grace(grace))
        .connect(server)
        .await
}

async fn call(session: &Arc<dyn McpSession>) -> Result<McpCallResult, McpError> {
    let call = McpCall {
        tool: "t".to_owned(),
        arguments: json!({}),
        meta: BTreeMap::new(),
        timeout: LONG,
        cancel: Latch::never(),
        on_progress: None,
    };
    session.call(call).await
}

fn reply(status: &str, headers: &str, body: &str) -> Vec<Act> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n");
    vec![Act::Say(format!("{head}{headers}\r\n{body}").into_bytes())]
}

fn message(body: &Value) -> Vec<Act> {
    reply(
        "200 OK",
        "content-type: application/json\r\nmcp-session-id: s1\r\n",
        &body.to_string(),
    )
}

fn stream(body: &str) -> Vec<Act> {
    reply("200 OK", "content-type: text/event-stream\r\n", body)
}

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

/// A server with one tool, whose calls are answered with what `called` makes of the number of the request.
fn usual(body: &str, called: impl Fn(&Value) -> Vec<Act>) -> Vec<Act> {
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    let id = asked.get("id").cloned().unwrap_or_default();
    let result = match asked.get("method").and_then(Value::as_str) {
        Some("initialize") => json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {"listChanged": true}, "logging": {}, "completions": {}},
            "serverInfo": {"name": "hostile", "version": "0"},
        }),
        Some("tools/list") => json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}),
        Some("tools/call") => return called(&id),
        Some(_) => return reply("202 Accepted", "", ""),
        None => return reply("405 Method Not Allowed", "", ""),
    };
    message(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

/// A session with a server of one tool that is called like this.
async fn session(
    called: impl Fn(&Value) -> Vec<Act> + Send + Sync + 'static,
) -> (Backend, Arc<dyn McpSession>) {
    let backend = Backend::start().await;
    backend.respond(move |body| usual(body, &called));
    let session = connect(server(backend.url(), Authorization::None)).await;
    (backend, session.unwrap())
}

fn how(error: &McpError) -> (Kind, Effect) {
    (error.kind(), error.effect())
}

fn calls(backend: &Backend) -> usize {
    let bodies = backend.bodies();
    bodies
        .iter()
        .filter(|body| body.contains("tools/call"))
        .count()
}

#[tokio::test]
async fn credentials_and_headers_go_with_every_request() {
    let secret = || Secret::new("s3cret");
    let ways = [
        (
            Authorization::Bearer(secret()),
            "authorization: Bearer s3cret",
        ),
        (
            Authorization::Basic {
                user: "ada".to_owned(),
                password: secret(),
            },
            "authorization: Basic YWRhOnMzY3JldA==",
        ),
        (
            Authorization::ApiKey {
                header: "X-Api-Key".to_owned(),
                value: secret(),
            },
            "x-api-key: s3cret",
        ),
    ];
    for (way, line) in ways {
        let backend = Backend::start().await;
        backend.respond(|body| {
            usual(body, |id| {
                message(&json!({"jsonrpc": "2.0", "id": id, "result": text("hello")}))
            })
        });
        let session = connect(server(backend.url(), way)).await.unwrap();
        call(&session).await.unwrap();
        session.close().await.unwrap();
        let requests = backend.requests();
        let is_of = |method: &str| requests.iter().any(|asked| asked.starts_with(method));
        assert!(is_of("POST ") && is_of("DELETE "));
        for (place, request) in requests.iter().enumerate() {
            let head = request.split("\r\n\r\n").next().unwrap();
            let has = |line: &str| head.lines().any(|said| said == line);
            assert!(has(line) && has("x-tenant: seven"), "{head}");
            let is_later = place > 0;
            assert_eq!(has("mcp-session-id: s1"), is_later, "{head}");
            assert_eq!(has("mcp-protocol-version: 2025-11-25"), is_later, "{head}");
        }
    }
}

#[tokio::test]
async fn what_no_header_can_carry_is_rejected_before_anything_is_sent() {
    let key = |header: &str, value: &str| Authorization::ApiKey {
        header: header.to_owned(),
        value: Secret::new(value),
    };
    for way in [
        Authorization::Bearer(Secret::new("two\nlines")),
        Authorization::Bearer(Secret::new("")),
        key("", "x"),
        key("two words", "x"),
        key("mcp-session-id", "x"),
        key("x-key", "a\0b"),
        Authorization::Basic {
            user: "a:b".to_owned(),
            password: Secret::new("x"),
        },
    ] {
        let error = connect(server("http://127.0.0.1:9/mcp", way)).await;
        assert_eq!(how(&error.unwrap_err()), (Kind::Rejected, Effect::None));
    }
    for address in ["", "mcp", "ftp://127.0.0.1/", "http://"] {
        let error = connect(server(address, Authorization::None)).await;
        assert_eq!(error.unwrap_err().kind(), Kind::Rejected, "{address}");
    }
}

#[tokio::test]
async fn an_http_status_says_what_went_wrong_and_the_call_is_made_once() {
    for (status, expected) in [
        ("401 Unauthorized", (Kind::Authentication, Effect::None)),
        ("403 Forbidden", (Kind::Permission, Effect::None)),
        ("400 Bad Request", (Kind::Server, Effect::None)),
        ("429 Too Many Requests", (Kind::Unavailable, Effect::None)),
        ("500 Oh No", (Kind::Unavailable, Effect::Unknown)),
        ("302 Found", (Kind::Unavailable, Effect::None)),
    ] {
        let (backend, session) =
            session(move |_id| reply(status, "content-type: text/html\r\n", "<p>s3cret</p>")).await;
        let error = call(&session).await.unwrap_err();
        assert_eq!(how(&error), expected, "{status}");
        assert!(!format!("{error:?}{error}").contains("s3cret"));
        assert_eq!(calls(&backend), 1, "{status}");
    }
}

#[tokio::test]
async fn a_message_that_comes_with_an_http_error_says_more() {
    let (_backend, session) = session(|id| {
        let refusal =
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32_602, "message": ""}});
        reply(
            "400 Bad Request",
            "content-type: application/json\r\n",
            &refusal.to_string(),
        )
    })
    .await;
    let error = call(&session).await.unwrap_err();
    assert_eq!(how(&error), (Kind::InvalidArguments, Effect::None));
}

#[tokio::test]
async fn what_is_no_message_is_malformed() {
    let (_backend, session) = session(|id| match id.as_u64().unwrap_or_default() % 4 {
        0 => reply("200 OK", "content-type: text/html\r\n", "<p>hello</p>"),
        1 => reply(
            "200 OK",
            "content-type: application/json\r\n",
            "{\"jsonrpc\":",
        ),
        2 => message(&json!({"jsonrpc": "2.0", "id": 99_999, "result": {}})),
        _ => message(&json!({"jsonrpc": "2.0", "id": id, "result": {}, "error": {"code": 1}})),
    })
    .await;
    for _kind in 0..4 {
        let error = call(&session).await.unwrap_err();
        assert_eq!(how(&error), (Kind::Malformed, Effect::Unknown));
    }
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_and_the_session_goes_on() {
    for kind in ["application/json", "text/event-stream"] {
        let asked = AtomicUsize::new(0);
        let (_backend, session) = session(move |id| {
            if asked.fetch_add(1, Ordering::Relaxed) > 0 {
                return message(&json!({"jsonrpc": "2.0", "id": id, "result": text("hello")}));
            }
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
            vec![
                Act::Say(head.into_bytes()),
                Act::Repeat(vec![b' '; 64 * 1024]),
            ]
        })
        .await;
        let error = call(&session).await.unwrap_err();
        assert_eq!(how(&error), (Kind::TooLarge, Effect::Unknown), "{kind}");
        assert!(call(&session).await.is_ok());
    }
}

#[tokio::test]
async fn an_answer_that_says_it_is_too_large_is_not_waited_for() {
    let (_backend, session) = session(|_id| {
        let length = MAX_MESSAGE_BYTES + 1;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        vec![Act::Say(head.into_bytes()), Act::Wait]
    })
    .await;
    let error = call(&session).await.unwrap_err();
    assert_eq!(how(&error), (Kind::TooLarge, Effect::Unknown));
}

#[tokio::test]
async fn a_redirect_within_the_server_is_followed_as_it_was_asked() {
    let backend = Backend::start().await;
    let place = backend.url().replace("/v1", "/moved");
    let is_moved = AtomicUsize::new(0);
    backend.respond(move |body| {
        if body.contains("tools/call") && is_moved.fetch_add(1, Ordering::Relaxed) == 0 {
            return reply("307 Moved", &format!("location: {place}\r\n"), "");
        }
        usual(body, |id| {
            message(&json!({"jsonrpc": "2.0", "id": id, "result": text("hello")}))
        })
    });
    let way = Authorization::Bearer(Secret::new("s3cret"));
    let session = connect(server(backend.url(), way)).await.unwrap();
    assert!(call(&session).await.is_ok());
    let requests = backend.requests();
    let moved = requests
        .iter()
        .find(|asked| asked.starts_with("POST /moved "));
    assert!(moved.is_some_and(|asked| asked.contains("authorization: Bearer s3cret")));
}

#[tokio::test]
async fn a_stream_that_breaks_is_taken_up_where_it_was() {
    let backend = Backend::start().await;
    let (asked, waiting) = std::sync::mpsc::channel();
    let waiting = Mutex::new(waiting);
    backend.respond(move |body| {
        if body.is_empty() {
            // The stream that nothing was said on yet, or the rest of the call's.
            return match waiting.lock().unwrap().try_recv() {
                Ok(id) => {
                    let answer = json!({"jsonrpc": "2.0", "id": id, "result": text("hello")});
                    stream(&format!("id: 2\ndata: {answer}\n\n"))
                }
                Err(_nobody) => reply("405 Method Not Allowed", "", ""),
            };
        }
        usual(body, |id: &Value| {
            asked.send(id.clone()).unwrap();
            stream("id: 1\nretry: 1\ndata:\n\n")
        })
    });
    let session = connect(server(backend.url(), Authorization::None))
        .await
        .unwrap();
    // The stream for what is said unasked must have been refused, or it would take the answer.
    while !backend
        .requests()
        .iter()
        .any(|asked| asked.starts_with("GET "))
    {
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert!(call(&session).await.is_ok());
    let requests = backend.requests();
    let resumed = requests
        .iter()
        .find(|asked| asked.contains("last-event-id: 1"));
    assert!(resumed.is_some_and(|asked| asked.starts_with("GET ")));
    assert_eq!(calls(&backend), 1);
}

#[tokio::test]
async fn a_stream_that_ends_without_an_answer_leaves_the_call_unknown() {
    let (backend, session) = session(|_id| stream(": nothing\n\ndata: {}\n\n")).await;
    let error = call(&session).await.unwrap_err();
    assert_eq!(how(&error), (Kind::Unavailable, Effect::Unknown));
    assert_eq!(calls(&backend), 1);
}

#[tokio::test]
async fn a_list_that_changed_is_heard_of_unasked() {
    let backend = Backend::start().await;
    let lists = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&lists);
    backend.respond(move |body| {
        if body.is_empty() {
            let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
            return stream(&format!("data: {changed}\n\n"));
        }
        if body.contains("tools/list") {
            seen.fetch_add(1, Ordering::Relaxed);
        }
        usual(body, |_id| Vec::new())
    });
    let session = connect(server(backend.url(), Authorization::None))
        .await
        .unwrap();
    session.tools().await.unwrap();
    while lists.load(Ordering::Relaxed) < 2 {
        session.tools().await.unwrap();
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

#[tokio::test]
async fn a_server_that_fails_again_and_again_is_left_alone_for_a_while() {
    let backend = Backend::start().await;
    backend.respond(|body| usual(body, |_id| reply("404 Not Found", "", "")));
    let session = connect(server(backend.url(), Authorization::None))
        .await
        .unwrap();
    // Now it loses the session, and takes no new one.
    backend.respond(|body| {
        if body.contains("initialize") {
            return reply("503 Down", "", "");
        }
        reply("404 Not Found", "", "")
    });
    let mut waits = Vec::new();
    for _time in 0..40 {
        let error = session.tools().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        if let Retry::After(left) = error.retry() {
            waits.push(left);
        }
    }
    assert!(!waits.is_empty());
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(30)));
    let begun = backend.bodies();
    let begun = begun.iter().filter(|body| body.contains("\"initialize\""));
    assert!(begun.count() < 40);
}

/// Wants log messages from `warning` on, and says what it heard.
fn listening(url: &str) -> (McpServer, Arc<Mutex<Vec<McpLogMessage>>>) {
    let heard = Arc::<Mutex<Vec<McpLogMessage>>>::default();
    let sink = Arc::clone(&heard);
    let log = McpLog {
        level: McpLogLevel::Warning,
        sink: Arc::new(move |message| sink.lock().unwrap().push(message)),
    };
    let server = McpServer {
        log: Some(log),
        ..server(url, Authorization::None)
    };
    (server, heard)
}

#[tokio::test]
async fn a_server_that_refuses_or_holds_the_level_back_is_used_all_the_same() {
    let ways: [fn() -> Vec<Act>; 4] = [
        || vec![Act::Wait],
        || reply("500 Internal Server Error", "", "canary"),
        || reply("401 Unauthorized", "", ""),
        || stream("data: {\"jsonrpc\":\"2.0\",\"id\":\"log-level\",\"error\":7}\n\n"),
    ];
    for way in ways {
        let backend = Backend::start().await;
        backend.respond(move |body| {
            if body.contains("logging/setLevel") {
                return way();
            }
            usual(body, |id| {
                message(&json!({"jsonrpc": "2.0", "id": id, "result": text("fine")}))
            })
        });
        let (server, _heard) = listening(backend.url());
        let session = connect(server).await.unwrap();
        assert!(call(&session).await.is_ok());
        let asked = backend.bodies();
        let asked = asked.iter().filter(|body| body.contains("\"warning\""));
        assert_eq!(asked.count(), 1);
    }
}

#[tokio::test]
async fn log_messages_of_any_shape_cost_the_session_nothing() {
    let (backend, _unused) = session(|_id| reply("200 OK", "", "")).await;
    backend.respond(|body| {
        usual(body, |id| {
            let said = [
                r#""params":{"level":"error","data":{"deep":[1,{"é":null}]}}"#.to_owned(),
                r#""params":{"level":"error","data":"","more":1}"#.to_owned(),
                r#""params":{"level":"ERROR","data":"canary"}"#.to_owned(),
                r#""params":{"level":"error","logger":null,"data":null}"#.to_owned(),
                r#""params":{"level":["error"],"data":"canary"}"#.to_owned(),
                r#""params":"canary""#.to_owned(),
                format!(
                    r#""params":{{"level":"error","data":{}1{}}}"#,
                    "[".repeat(100_000),
                    "]".repeat(100_000)
                ),
            ];
            let said = said.map(|params| {
                format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",{params}}}\n\n")
            });
            let answer = json!({"jsonrpc": "2.0", "id": id, "result": text("fine")});
            stream(&format!("{}data: {answer}\n\n", said.concat()))
        })
    });
    let (server, heard) = listening(backend.url());
    let session = connect(server).await.unwrap();
    assert!(call(&session).await.is_ok());
    let heard: Vec<String> = heard
        .lock()
        .unwrap()
        .iter()
        .map(|said| said.text.clone())
        .collect();
    assert_eq!(heard, ["{\"deep\":[1,{\"é\":null}]}", "", "null"]);
}

#[tokio::test]
async fn completions_of_another_shape_are_malformed_and_a_number_that_is_none_is_left_out() {
    let answers = [
        (
            json!({"completion": {"values": ["a"], "total": -1.5}}),
            Ok((1, None)),
        ),
        (
            json!({"completion": {"values": [], "total": 3, "hasMore": null}}),
            Ok((0, Some(3))),
        ),
        (json!({"completion": {"values": [7]}}), Err(Kind::Malformed)),
        (json!({"completion": {}}), Err(Kind::Malformed)),
        (json!({"values": []}), Err(Kind::Malformed)),
        (json!(null), Err(Kind::Malformed)),
    ];
    for (answer, expected) in answers {
        let backend = Backend::start().await;
        backend.respond(move |body| {
            let asked: Value = serde_json::from_str(body).unwrap_or_default();
            if body.contains("completion/complete") {
                let id = asked.get("id");
                return message(&json!({"jsonrpc": "2.0", "id": id, "result": answer}));
            }
            usual(body, |_id| reply("200 OK", "", ""))
        });
        let session = connect(server(backend.url(), Authorization::None))
            .await
            .unwrap();
        let question = McpCompletion {
            of: McpCompleting::Prompt("p".to_owned()),
            argument: "a".to_owned(),
            value: String::new(),
            given: BTreeMap::new(),
        };
        let came = session.complete(question).await;
        let came = came.map(|came| (came.values.len(), came.total));
        assert_eq!(came.map_err(|error| error.kind()), expected);
    }
}

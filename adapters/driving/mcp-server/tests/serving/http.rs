//! The HTTP transport where its clients do not behave.

use reqwest::StatusCode;
use seaworthy::ports::Secret;
use seaworthy_mcp_server::http::{HttpError, HttpServer, HttpSettings, MAX_BODY_BYTES};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::stage::{LONG, Stage, TOKEN, until};

pub(crate) fn client() -> reqwest::Client {
    let _set_before = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A request as clients make it.
pub(crate) fn post(url: &str, body: &Value) -> reqwest::RequestBuilder {
    client()
        .post(url)
        .bearer_auth(TOKEN)
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
        .body(body.to_string())
}

fn ping() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })
}

#[tokio::test]
async fn a_request_is_answered_by_one_json_object() {
    let stage = Stage::without_worker([]);
    let url = stage.http(stage.server(&["clerk"])).await;
    let answer = post(&url, &ping()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert!(!answer.headers().contains_key("mcp-session-id"));
    let pong: Value = answer.json().await.unwrap();
    assert_eq!(pong, json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
}

#[tokio::test]
async fn nothing_but_the_protocol_with_the_token_under_its_own_name_gets_in() {
    let stage = Stage::without_worker([]);
    let url = stage.http(stage.server(&["clerk"])).await;
    let elsewhere = url.replace("/mcp", "/other");
    let huge = json!({ "jsonrpc": "2.0", "id": 1, "method": "x".repeat(MAX_BODY_BYTES) });
    let with = |name: &'static str, value: &'static str| {
        let mut request = post(&url, &ping()).build().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let mut without = post(&url, &ping()).build().unwrap();
    without.headers_mut().remove("authorization");
    for (request, status) in [
        (without, StatusCode::UNAUTHORIZED),
        (
            with("authorization", "Bearer wrong"),
            StatusCode::UNAUTHORIZED,
        ),
        (with("host", "evil.example"), StatusCode::FORBIDDEN),
        (
            with("origin", "https://evil.example"),
            StatusCode::FORBIDDEN,
        ),
        (with("origin", "null"), StatusCode::FORBIDDEN),
        (with("accept", "text/html"), StatusCode::NOT_ACCEPTABLE),
        (
            with("content-type", "text/plain"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            with("mcp-protocol-version", "1999-01-01"),
            StatusCode::BAD_REQUEST,
        ),
        (
            post(&elsewhere, &ping()).build().unwrap(),
            StatusCode::NOT_FOUND,
        ),
        (
            post(&url, &huge).build().unwrap(),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        (
            post(&url, &ping()).body("{not json").build().unwrap(),
            StatusCode::BAD_REQUEST,
        ),
        (
            client().get(&url).bearer_auth(TOKEN).build().unwrap(),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            client().delete(&url).bearer_auth(TOKEN).build().unwrap(),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
    ] {
        let what = format!("{request:?}");
        // Clients may be told of a body that is too large before they have sent all of it.
        match client().execute(request).await {
            Ok(answer) => {
                assert_eq!(answer.status(), status, "{what}");
                let said = answer.text().await.unwrap();
                assert!(!said.contains(TOKEN), "{said}");
            }
            Err(error) => assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{error}"),
        }
    }
    let asks = client().get(&url).send().await.unwrap();
    assert!(
        asks.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Bearer")
    );
}

#[tokio::test]
async fn a_browser_is_told_which_pages_may_call() {
    let stage = Stage::without_worker([]);
    let settings = HttpSettings {
        token: Some(Secret::new(TOKEN)),
        origins: vec!["https://app.example".to_owned()],
        ..HttpSettings::default()
    };
    let url = stage.http_with(stage.server(&["clerk"]), settings).await;
    let asks = |origin: &str| {
        client()
            .request(reqwest::Method::OPTIONS, &url)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            )
    };
    // It asks without the token.
    let told = asks("https://app.example").send().await.unwrap();
    assert_eq!(told.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        told.headers()["access-control-allow-origin"],
        "https://app.example"
    );
    let may_send = told.headers()["access-control-allow-headers"]
        .to_str()
        .unwrap();
    assert!(may_send.contains("authorization") && may_send.contains("content-type"));
    assert!(told.text().await.unwrap().is_empty());
    let other = asks("https://evil.example").send().await.unwrap();
    assert_eq!(other.status(), StatusCode::FORBIDDEN);
    assert!(!other.headers().contains_key("access-control-allow-origin"));
    // Then it calls, and may read what it is told, refusals included.
    let page = |request: reqwest::RequestBuilder| request.header("origin", "https://app.example");
    let pong = page(post(&url, &ping())).send().await.unwrap();
    assert_eq!(pong.status(), StatusCode::OK);
    assert_eq!(
        pong.headers()["access-control-allow-origin"],
        "https://app.example"
    );
    assert_eq!(pong.headers()["vary"], "origin");
    let refused = page(client().post(&url)).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let may_read = refused.headers()["access-control-expose-headers"]
        .to_str()
        .unwrap();
    assert!(may_read.contains("www-authenticate"));
    assert!(
        refused
            .headers()
            .contains_key("access-control-allow-origin")
    );
    // Nobody else is told of origins.
    let plain = post(&url, &ping()).send().await.unwrap();
    assert!(!plain.headers().contains_key("access-control-allow-origin"));
}

/// What the server says to these bytes, until it closes the connection.
async fn raw(url: &str, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = url
        .strip_prefix("http://")
        .unwrap()
        .strip_suffix("/mcp")
        .unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    // A server that has heard enough closes before all of it is sent.
    let _closed = stream.write_all(bytes).await;
    let _closed = stream.shutdown().await;
    let mut said = Vec::new();
    let _reset = stream.read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_server_goes_on() {
    let stage = Stage::without_worker([]);
    let url = stage.http(stage.server(&["clerk"])).await;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\
         accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n"
    );
    let with = |lines: &str, body: &str| format!("{head}{lines}\r\n{body}").into_bytes();
    let many = "x-more: y\r\n".repeat(200);
    let large = format!("x-large: {}\r\n", "x".repeat(128 * 1024));
    for (what, bytes, answer) in [
        ("garbage", b"\x16\x03\x01\x02\x00\x01\r\n\r\n".to_vec(), "HTTP/1.1 400"),
        ("another protocol", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), ""),
        ("many headers", with(&many, ""), "HTTP/1.1 431"),
        ("a large header", with(&large, ""), "HTTP/1.1 431"),
        ("two lengths", with("content-length: 1\r\ncontent-length: 2\r\n", "{}"), "HTTP/1.1 400"),
        ("a length in words", with("content-length: two\r\n", "{}"), "HTTP/1.1 400"),
        ("a chunk that is none", with("transfer-encoding: chunked\r\n", "zz\r\n{}"), "HTTP/1.1 400"),
        ("less than was announced", with("content-length: 10\r\n", "{}"), "HTTP/1.1 400"),
        ("nothing", with("content-length: 0\r\n", ""), "HTTP/1.1 400"),
        ("no name", b"POST /mcp HTTP/1.0\r\n\r\n".to_vec(), "HTTP/1.0 403"),
        (
            "two names",
            b"POST /mcp HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_vec(),
            "HTTP/1.1 403",
        ),
        (
            "two tokens",
            with(&format!("authorization: Bearer {TOKEN}\r\n"), ""),
            "HTTP/1.1 401",
        ),
    ] {
        let said = raw(&url, &bytes).await;
        assert!(said.starts_with(answer), "{what}: {said}");
        assert!(!said.contains(TOKEN), "{what}: {said}");
    }
    let pong = post(&url, &ping()).send().await.unwrap();
    assert_eq!(pong.status(), StatusCode::OK);
}

#[tokio::test]
async fn json_that_is_no_message_is_an_error_of_the_protocol() {
    let stage = Stage::without_worker([]);
    let url = stage.http(stage.server(&["clerk"])).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        "null",
        "1",
        "\"ping\"",
        "{}",
        "[]",
        // Batches were in one version of the protocol, and were taken out again.
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        &deep,
    ] {
        let sent = post(&url, &Value::Null).body(body.to_owned());
        let answer = sent.send().await.unwrap();
        let status = answer.status();
        let shown = body.get(..60).unwrap_or(body);
        assert!(status.is_client_error(), "{shown}: {status}");
        let told: Value = answer.json().await.unwrap_or_default();
        assert!(told["error"]["code"].is_i64(), "{shown}: {told}");
    }
    let unknown = json!({ "jsonrpc": "2.0", "id": 1, "method": "no/such" });
    let told: Value = post(&url, &unknown)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(told["error"]["code"], -32601, "{told}");
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_not_served_without_a_token() {
    let listen = async || TcpListener::bind("0.0.0.0:0").await.unwrap();
    let open = HttpServer::new(listen().await, HttpSettings::default());
    assert!(matches!(open, Err(HttpError::Unprotected(_))), "{open:?}");
    let with = |token: &str| HttpSettings {
        token: Some(Secret::new(token)),
        ..HttpSettings::default()
    };
    let weak = HttpServer::new(listen().await, with("short"));
    assert!(matches!(weak, Err(HttpError::Token(_))), "{weak:?}");
    assert!(HttpServer::new(listen().await, with(TOKEN)).is_ok());
    let local = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shown = format!("{:?}", HttpServer::new(local, with(TOKEN)).unwrap());
    assert!(!shown.contains(TOKEN));
    let local = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut wrong = HttpSettings::default();
    wrong.origins.push("app.example".to_owned());
    let wrong = HttpServer::new(local, wrong);
    assert!(matches!(wrong, Err(HttpError::Name(..))), "{wrong:?}");
}

#[tokio::test]
async fn whoever_waits_gets_an_answer_when_the_server_stops() {
    let stage = Stage::without_worker([]);
    let url = stage.http(stage.server(&["clerk"])).await;
    let ask = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "clerk", "arguments": { "input": "?", "run_id": "r", "wait_seconds": LONG } },
    });
    let stopping = async {
        let run = seaworthy::ports::RunId::new("r").unwrap();
        until(async || stage.harness.view(&run).await.is_ok()).await;
        stage.end();
    };
    let (answer, ()) = futures_util::future::join(post(&url, &ask).send(), stopping).await;
    let answer: Value = answer.unwrap().json().await.unwrap();
    assert_eq!(answer["result"]["structuredContent"]["status"], "queued");
    until(async || client().get(&url).send().await.is_err()).await;
}

#[tokio::test]
async fn every_version_of_the_protocol_is_spoken() {
    let stage = Stage::without_worker([]);
    let url = stage.http(stage.server(&["clerk"])).await;
    for version in ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"] {
        let hello = json!({
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": { "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "raw", "version": "0" } },
        });
        let answer: Value = post(&url, &hello)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(answer["result"]["protocolVersion"], version);
    }
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "raw", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let list =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": meta } });
    let answer = post(&url, &list)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/list")
        .send()
        .await
        .unwrap();
    let listed: Value = answer.json().await.unwrap();
    assert_eq!(listed["result"]["tools"][0]["name"], "clerk", "{listed}");
}

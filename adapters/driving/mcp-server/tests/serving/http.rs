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
    for version in ["2025-11-25", "2025-06-18", "2025-03-26"] {
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

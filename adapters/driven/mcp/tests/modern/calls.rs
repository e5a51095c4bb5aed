//! Calls that servers answer with questions, and calls that are called off.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use seaworthy_contract::http::{Act, Backend};
use seaworthy_ports::mcp::{Beginning, Kind, McpCall};
use seaworthy_ports::{Effect, Latch};
use serde_json::{Value, json};

use crate::{
    LONG, UNSUPPORTED, asks, backend, call, call_of, complete, connect, error, form, how, methods,
    params, reply, server, text, tools,
};

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

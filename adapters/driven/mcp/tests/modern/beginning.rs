//! How a connection begins without `initialize`, and what its requests say.

use seaworthy_ports::Effect;
use seaworthy_ports::mcp::{Beginning, Kind};
use serde_json::{Value, json};

use crate::{
    UNSUPPORTED, backend, call, call_of, complete, connect, error, how, methods, params, server,
};

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

//! What endpoints answer when they do not answer.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use seaworthy_openai::{OpenAi, OpenAiConfig};
use seaworthy_ports::model_provider::{
    Kind, Message, ModelError, ModelEvent, ModelProvider as _, ModelProviderExt as _, RateLimits,
};
use seaworthy_ports::{Effect, Retry, Secret};
use support::{Act, CANARY, Server, head, request};

fn body(code: &str) -> String {
    format!(
        r#"{{"error":{{"message":"key {CANARY} is bad","type":"invalid_request_error","param":null,"code":{code}}}}}"#
    )
}

#[tokio::test]
async fn an_error_body_is_classified_with_status_code_and_request_id() {
    for (status, code, kind) in [
        (400, "\"context_length_exceeded\"", Kind::ContextLength),
        (400, "null", Kind::InvalidRequest),
        (401, "\"invalid_api_key\"", Kind::Authentication),
        (
            403,
            "\"unsupported_country_region_territory\"",
            Kind::Permission,
        ),
        (404, "\"model_not_found\"", Kind::NotFound),
        (429, "\"rate_limit_exceeded\"", Kind::RateLimited),
        (429, "\"insufficient_quota\"", Kind::QuotaExhausted),
        (429, "429", Kind::RateLimited),
        (500, "null", Kind::Server),
        (503, "null", Kind::Overloaded),
    ] {
        let headers = "content-type: application/json\r\nx-request-id: req_7\r\n";
        let error = Server::answering(status, headers, &body(code))
            .await
            .error()
            .await;
        assert_eq!(error.kind(), kind, "{status} {code}");
        assert_eq!(
            (error.status, error.request_id.as_deref()),
            (Some(status), Some("req_7"))
        );
        let expected = Some(code.trim_matches('"').to_owned()).filter(|code| code != "null");
        assert_eq!(error.code, expected);
        assert!(!error.response_started);
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_leaves_the_status() {
    for body in ["", "<html>bad gateway</html>", "{\"error\":", "\u{0}"] {
        let error = Server::answering(502, "", body).await.error().await;
        assert_eq!((error.kind(), error.status), (Kind::Server, Some(502)));
    }
}

#[tokio::test]
async fn an_error_body_without_end_is_not_waited_for() {
    let head = b"HTTP/1.1 500 X\r\ncontent-type: application/json\r\n\r\n".to_vec();
    let mut server =
        Server::start(vec![Act::Say(head.clone()), Act::Repeat(vec![b'x'; 65536])]).await;
    assert_eq!(server.error().await.kind(), Kind::Server);
    server.left.recv().await.unwrap();
    let server = Server::start(vec![Act::Say(head), Act::Wait]).await;
    let mut request = request();
    request.idle_timeout = Duration::from_millis(300);
    assert_eq!(
        server.model().complete(request).await.unwrap_err().kind(),
        Kind::Server
    );
}

#[tokio::test]
async fn advice_on_retrying_is_passed_on() {
    let limited = |headers: &'static str, code: &'static str| async move {
        Server::answering(429, headers, &body(code))
            .await
            .error()
            .await
            .retry()
    };
    assert_eq!(
        limited("retry-after: 7\r\n", "null").await,
        Retry::After(Duration::from_secs(7))
    );
    assert_eq!(
        limited("retry-after-ms: 1500\r\n", "null").await,
        Retry::After(Duration::from_millis(1500))
    );
    assert_eq!(limited("", "null").await, Retry::Backoff);
    assert_eq!(
        limited("retry-after: 7\r\nx-should-retry: false\r\n", "null").await,
        Retry::No
    );
    assert_eq!(
        limited("retry-after: 7\r\n", "\"insufficient_quota\"").await,
        Retry::No
    );
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(60));
    let headers = format!("retry-after: {date}\r\n");
    let Retry::After(delay) = Server::answering(503, &headers, "")
        .await
        .error()
        .await
        .retry()
    else {
        panic!("no delay");
    };
    assert!(
        (Duration::from_secs(30)..=Duration::from_secs(61)).contains(&delay),
        "{delay:?}"
    );
}

#[tokio::test]
async fn rate_limits_are_shown() {
    let headers = "x-ratelimit-remaining-requests: 59\r\nx-ratelimit-reset-tokens: 6m0s\r\n";
    let text = include_str!("recorded/text.sse");
    let server = Server::start(vec![Act::Say(head(headers)), Act::Say(text.into())]).await;
    let limits = RateLimits {
        requests_remaining: Some(59),
        tokens_reset: Some(Duration::from_secs(360)),
        ..RateLimits::default()
    };
    assert!(
        server
            .events()
            .await
            .iter()
            .any(|event| matches!(event, Ok(ModelEvent::RateLimits(l)) if *l == limits))
    );
}

#[tokio::test]
async fn an_error_frame_after_200_is_an_error() {
    let late = Server::streaming(include_str!("recorded/error-after-200.sse"))
        .await
        .error()
        .await;
    assert_eq!(
        (late.kind(), late.status, late.response_started),
        (Kind::Server, Some(200), true)
    );
    for (frame, kind) in [
        (
            "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n",
            Kind::RateLimited,
        ),
        (
            "event: error\ndata: {\"message\":\"no\",\"code\":\"insufficient_quota\"}\n\n",
            Kind::QuotaExhausted,
        ),
        (
            "data: {\"object\":\"error\",\"message\":\"no\",\"code\":400}\n\n",
            Kind::InvalidRequest,
        ),
        ("data: {\"error\":\"no\"}\n\n", Kind::Server),
        ("data: {\"error\":{\"code\":503}}", Kind::Overloaded),
    ] {
        let early = Server::streaming(frame).await.error().await;
        assert_eq!(
            (early.kind(), early.response_started),
            (kind, false),
            "{frame}"
        );
    }
    let whole = Server::answering(
        200,
        "content-type: application/json\r\n",
        &body("\"content_filter\""),
    )
    .await;
    assert_eq!(whole.error().await.kind(), Kind::ContentFilter);
}

#[tokio::test]
async fn garbage_is_a_decoding_error() {
    for frame in [
        "data: garbage\n\n",
        "data: {\"choices\":3}\n\n",
        "data: {\"choices\":[{\"delta\":[]}]}\n\n",
    ] {
        assert_eq!(
            Server::streaming(frame).await.error().await.kind(),
            Kind::Decode,
            "{frame}"
        );
    }
    assert_eq!(
        Server::streaming(b"data: \xFF\n\n".to_vec())
            .await
            .error()
            .await
            .kind(),
        Kind::Decode
    );
    let page = Server::answering(200, "content-type: text/html\r\n", "<html>Sign in</html>").await;
    assert_eq!(page.error().await.kind(), Kind::Decode);
    let broken = Server::answering(200, "content-type: application/json\r\n", "{").await;
    assert_eq!(broken.error().await.kind(), Kind::Decode);
    let no_http = Server::start(vec![Act::Say(b"SSH-2.0-OpenSSH_9\r\n".to_vec())]).await;
    assert_eq!(no_http.error().await.kind(), Kind::Network);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut other = Server::streaming(include_str!("recorded/text.sse")).await;
    for status in [301, 302, 307, 308] {
        let headers = format!("location: {}/chat/completions\r\n", other.url);
        let error = Server::answering(status, &headers, "").await.error().await;
        assert_eq!((error.kind(), error.status), (Kind::NotFound, Some(status)));
    }
    assert!(other.requests.try_recv().is_err());
}

#[tokio::test]
async fn nothing_is_repeated() {
    for status in [408, 429, 500, 503] {
        let mut server =
            Server::answering(status, "retry-after: 0\r\nx-should-retry: true\r\n", "").await;
        server.error().await;
        assert!(server.requests.recv().await.is_some());
        assert!(server.requests.try_recv().is_err());
    }
}

#[tokio::test]
async fn an_endpoint_that_nobody_serves_is_a_network_error_without_effect() {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let model = OpenAi::connect(OpenAiConfig::new(None).with_base_url(format!("http://{address}")))
        .unwrap();
    let error = model.complete(request()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.error.effect(), error.retry()),
        (Kind::Network, Effect::None, Retry::Backoff)
    );
}

#[tokio::test]
async fn a_reply_that_was_lost_may_have_taken_effect() {
    let error = Server::start(vec![]).await.error().await;
    assert_eq!(
        (error.kind(), error.error.effect()),
        (Kind::Network, Effect::Unknown)
    );
}

#[tokio::test]
async fn a_history_that_the_endpoint_would_refuse_is_not_sent() {
    let mut server = Server::streaming("").await;
    let mut request = request();
    request.messages = Arc::new(Vec::<Message>::new());
    assert_eq!(
        server.model().complete(request).await.unwrap_err().kind(),
        Kind::InvalidRequest
    );
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn the_key_is_sent_as_a_bearer_token_and_only_there() {
    let mut server = Server::streaming(include_str!("recorded/text.sse")).await;
    server.reply().await.unwrap();
    let sent = server.requests.recv().await.unwrap();
    assert!(sent.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
    assert!(sent.contains(&format!("authorization: Bearer {CANARY}\r\n")));
    assert_eq!(sent.matches(CANARY).count(), 1);
    let model = OpenAi::connect(OpenAiConfig::new(None).with_base_url(&server.url)).unwrap();
    model.complete(request()).await.unwrap();
    assert!(
        !server
            .requests
            .recv()
            .await
            .unwrap()
            .to_ascii_lowercase()
            .contains("authorization")
    );
}

/// An error as every log could show it.
fn shown(error: &ModelError) -> String {
    let mut shown = format!("{error} {error:?} {error:#?}");
    let mut under = std::error::Error::source(error);
    while let Some(source) = under {
        shown = format!("{shown} {source} {source:?}");
        under = source.source();
    }
    shown
}

#[tokio::test]
async fn neither_key_nor_prompt_nor_address_is_in_any_output() {
    let echo =
        format!(r#"{{"error":{{"message":"{CANARY}","type":"{CANARY}","code":"{CANARY}"}}}}"#);
    let echoed = format!("x-request-id: {CANARY}\r\n");
    let frame = format!("data: {echo}\n\n");
    let secret_url = |server: &Server| format!("{}?token={CANARY}", server.url);
    let servers = [
        Server::answering(401, &echoed, &echo).await,
        Server::answering(
            302,
            &format!("location: http://127.0.0.1:1/?{CANARY}\r\n"),
            "",
        )
        .await,
        Server::streaming(frame).await,
        Server::streaming(format!("data: {CANARY}\n\n")).await,
        Server::start(vec![]).await,
        Server::start(vec![Act::Say(CANARY.into())]).await,
        Server::start(vec![Act::Say(head(&format!(
            "content-length: 99\r\n{echoed}"
        )))])
        .await,
    ];
    for server in &servers {
        let config = OpenAiConfig::new(Some(Secret::new(CANARY))).with_base_url(secret_url(server));
        let model = OpenAi::connect(config.clone()).unwrap();
        let request = request();
        let mut output = format!("{config:?} {config:#?} {model:?} {request:?}");
        for event in model.stream(request).collect::<Vec<_>>().await {
            output += &match event {
                Ok(event) => format!("{event:?}"),
                Err(error) => shown(&error),
            };
        }
        assert!(!output.contains("canary"), "{output}");
        assert!(!output.contains("nobody may log"), "{output}");
    }
    for (key, url) in [
        ("sk-canary \n", "http://127.0.0.1"),
        ("k", "http://canary:canary@127.0.0.1"),
        ("k", "canary"),
    ] {
        let refused = OpenAi::connect(OpenAiConfig::new(Some(Secret::new(key))).with_base_url(url))
            .unwrap_err();
        assert!(!shown(&refused).contains("canary"));
    }
}

//! Access tokens of an issuer that nobody here wrote.

use std::sync::Arc;

use reqwest::StatusCode;
use rmcp::ServiceExt as _;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use seaworthy::ports::Secret;
use seaworthy::system::SystemClock;
use seaworthy_mcp_server::http::{
    HttpServer, HttpSettings, IntrospectionSettings, IssuerError, OAuthSettings,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::http::client;
use crate::oauth::ask;
use crate::stage::{LONG, Stage, call, me, notes, report, says};

const AUDIENCE: &str = "https://agents.example/mcp";
const ELSEWHERE: &str = "https://elsewhere.example/mcp";

const SECRET: &str = "a-secret-of-tests-that-opens-nothing";

/// A token for `resource`, which the issuer gives to a machine.
async fn token(issuer: &str, way: &str, resource: &str, scope: &str) -> String {
    let resource = resource.replace(':', "%3A").replace('/', "%2F");
    let asked = client()
        .post(format!("{issuer}/token"))
        .basic_auth(format!("machine-{way}"), Some(SECRET))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "grant_type=client_credentials&resource={resource}&scope={scope}"
        ));
    let told: Value = asked.send().await.unwrap().json().await.unwrap();
    told["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
#[cfg_attr(
    not(has_issuer),
    ignore = "no issuer: `cargo xtask services run --only issuer -- …` starts one"
)]
async fn a_real_issuers_tokens_reach_a_tool_and_its_subject_the_record() {
    let issuer = std::env::var("SEAWORTHY_TEST_ISSUER").unwrap();
    let mut stage = Stage::without_worker([notes(), says("Noted.")]);
    stage.work();
    let settings = HttpSettings {
        oauth: Some(OAuthSettings {
            issuer: issuer.clone(),
            audience: AUDIENCE.to_owned(),
            scopes: vec!["agents".to_owned()],
            introspection: None,
            clock: Arc::new(SystemClock::new()),
        }),
        ..HttpSettings::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = HttpServer::new(listener, settings).unwrap();
    http.check_issuer().await.unwrap();
    let url = http.url();
    tokio::spawn(http.serve(stage.server(&["clerk"]), stage.stop.clone()));
    for way in ["RS256", "PS256", "ES256", "EdDSA"] {
        let token = token(&issuer, way, AUDIENCE, "agents").await;
        let config = StreamableHttpClientTransportConfig::with_uri(url.clone()).auth_header(token);
        let transport = StreamableHttpClientTransport::from_config(config);
        let client = me().serve(transport).await.unwrap();
        assert_eq!(client.list_all_tools().await.unwrap()[0].name, "clerk");
    }
    let good = token(&issuer, "ES256", AUDIENCE, "agents").await;
    let config = StreamableHttpClientTransportConfig::with_uri(url.clone()).auth_header(good);
    let transport = StreamableHttpClientTransport::from_config(config);
    let calls = me().serve(transport).await.unwrap();
    let start = json!({ "input": "?", "run_id": "r", "wait_seconds": LONG });
    let waits = report(&call(&calls, "clerk", start).await);
    let approval = &waits["approvals"][0]["approval_id"];
    let approve = json!({ "approval_id": approval, "wait_seconds": LONG });
    let done = report(&call(&calls, "run_approve", approve).await);
    assert_eq!(done["answer"], "Noted.");
    let run = seaworthy::ports::RunId::new("r").unwrap();
    let state = format!("{:?}", stage.harness.view(&run).await.unwrap().state);
    assert!(state.contains("mcp:machine-ES256"), "{state}");

    for (token, status) in [
        (
            token(&issuer, "ES256", ELSEWHERE, "agents").await,
            StatusCode::UNAUTHORIZED,
        ),
        (
            token(&issuer, "ES256", AUDIENCE, "").await,
            StatusCode::FORBIDDEN,
        ),
    ] {
        assert_eq!(ask(&url, &token).await.status(), status);
    }
}

#[tokio::test]
#[cfg_attr(
    not(has_issuer),
    ignore = "no issuer: `cargo xtask services run --only issuer -- …` starts one"
)]
async fn a_real_issuer_is_asked_about_tokens_that_only_it_can_read() {
    let issuer = std::env::var("SEAWORTHY_TEST_ISSUER").unwrap();
    let stage = Stage::without_worker([]);
    let asking_with = |secret: &str| HttpSettings {
        oauth: Some(OAuthSettings {
            issuer: issuer.clone(),
            audience: AUDIENCE.to_owned(),
            scopes: vec!["agents".to_owned()],
            introspection: Some(IntrospectionSettings {
                client_id: "machine-server".to_owned(),
                client_secret: Secret::new(secret),
                asks_about_all: false,
            }),
            clock: Arc::new(SystemClock::new()),
        }),
        ..HttpSettings::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wrong = HttpServer::new(listener, asking_with("another")).unwrap();
    let wrong = wrong.check_issuer().await.unwrap_err();
    assert!(matches!(wrong, IssuerError::Unfit { .. }), "{wrong}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = HttpServer::new(listener, asking_with(SECRET)).unwrap();
    http.check_issuer().await.unwrap();
    let url = http.url();
    tokio::spawn(http.serve(stage.server(&["clerk"]), stage.stop.clone()));
    let opaque = token(&issuer, "opaque", AUDIENCE, "agents").await;
    assert!(!opaque.contains('.'), "it is a JWT");
    let revoked = token(&issuer, "opaque", AUDIENCE, "agents").await;
    let asked = client()
        .post(format!("{issuer}/token/revocation"))
        .basic_auth("machine-opaque", Some(SECRET))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("token={revoked}"));
    assert_eq!(asked.send().await.unwrap().status(), StatusCode::OK);
    for (token, status) in [
        (opaque, StatusCode::OK),
        // JWTs are taken beside them.
        (
            token(&issuer, "ES256", AUDIENCE, "agents").await,
            StatusCode::OK,
        ),
        (revoked, StatusCode::UNAUTHORIZED),
        ("made-up".to_owned(), StatusCode::UNAUTHORIZED),
        (
            token(&issuer, "opaque", ELSEWHERE, "agents").await,
            StatusCode::UNAUTHORIZED,
        ),
        (
            token(&issuer, "opaque", AUDIENCE, "").await,
            StatusCode::FORBIDDEN,
        ),
    ] {
        assert_eq!(ask(&url, &token).await.status(), status);
    }
}

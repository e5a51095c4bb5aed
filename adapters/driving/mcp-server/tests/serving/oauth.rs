//! Access tokens: which let in, and what becomes of the others.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};
use ring::hmac;
use rmcp::ServiceExt as _;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use seaworthy::ports::Secret;
use seaworthy::ports::clock::Clock as _;
use seaworthy_fakes::FakeClock;
use seaworthy_mcp_server::http::{
    HttpError, HttpServer, HttpSettings, InvalidOAuth, IssuerError, OAuthSettings,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::http::{client, post};
use crate::issuer::{Answer, Issuer, SigningKey, unsigned};
use crate::stage::{LONG, Stage, TOKEN, call, me, notes, report, says, until};

pub(crate) const AUDIENCE: &str = "https://agents.example/mcp";
const MINUTE: Duration = Duration::from_secs(60);

/// A server that takes the tokens of an issuer, and the clock that it goes by.
struct Gate {
    stage: Stage,
    clock: FakeClock,
    issuer: Issuer,
    key: SigningKey,
    url: String,
}

impl Gate {
    async fn new() -> Self {
        Self::before(Stage::without_worker([]), &["agents"]).await
    }

    async fn before(stage: Stage, scopes: &[&str]) -> Self {
        let key = SigningKey::p256();
        let issuer = Issuer::start(&[key.public("one")]).await;
        let clock = FakeClock::new();
        let settings = settings(&issuer, &clock, scopes);
        let url = stage.http_with(stage.server(&["clerk"]), settings).await;
        Self {
            stage,
            clock,
            issuer,
            key,
            url,
        }
    }

    fn head(&self) -> Value {
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": "one" })
    }

    /// What a good token says.
    fn claims(&self) -> Value {
        let now = self.clock.now().as_millis() / 1000;
        json!({
            "iss": self.issuer.url, "aud": AUDIENCE, "sub": "anna", "client_id": "tests", "jti": "1",
            "iat": now, "exp": now + 300, "scope": "openid agents",
        })
    }

    fn token(&self) -> String {
        self.key.sign(&self.head(), &self.claims())
    }

    fn with_claim(&self, name: &str, value: Value) -> String {
        let mut claims = self.claims();
        claims[name] = value;
        self.key.sign(&self.head(), &claims)
    }

    fn with_head(&self, name: &str, value: Value) -> String {
        let mut head = self.head();
        head[name] = value;
        self.key.sign(&head, &self.claims())
    }

    async fn show(&self, token: &str) -> Response {
        ask(&self.url, token).await
    }

    async fn status(&self, token: &str) -> StatusCode {
        self.show(token).await.status()
    }
}

pub(crate) fn settings(issuer: &Issuer, clock: &FakeClock, scopes: &[&str]) -> HttpSettings {
    HttpSettings {
        oauth: Some(OAuthSettings {
            issuer: issuer.url.clone(),
            audience: AUDIENCE.to_owned(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            introspection: None,
            clock: std::sync::Arc::new(clock.clone()),
        }),
        ..HttpSettings::default()
    }
}

pub(crate) async fn ask(url: &str, token: &str) -> Response {
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let mut asked = post(url, &ping).build().unwrap();
    let shown = format!("Bearer {token}").parse().unwrap();
    asked.headers_mut().insert("authorization", shown);
    client().execute(asked).await.unwrap()
}

fn challenge(headers: &HeaderMap) -> &str {
    headers[WWW_AUTHENTICATE].to_str().unwrap()
}

#[tokio::test]
async fn a_token_of_the_issuer_lets_in_whatever_it_is_signed_with() {
    let gate = Gate::new().await;
    let (rsa, ed25519) = (SigningKey::rsa(), SigningKey::ed25519());
    let keys = [
        rsa.public("rsa"),
        ed25519.public("ed"),
        gate.key.public("one"),
    ];
    gate.issuer.publishes(&keys);
    for (key, name, ways) in [
        (&rsa, "rsa", &["RS256", "PS256"][..]),
        (&ed25519, "ed", &["EdDSA", "Ed25519"]),
        (&gate.key, "one", &["ES256"]),
    ] {
        for way in ways {
            for kind in ["at+jwt", "application/AT+jwt"] {
                let head = json!({ "alg": way, "typ": kind, "kid": name });
                let token = key.sign(&head, &gate.claims());
                assert_eq!(gate.status(&token).await, StatusCode::OK, "{way}");
            }
        }
    }
    // A token may leave out which key it is, and be for several servers.
    let head = json!({ "alg": "EdDSA", "typ": "at+jwt" });
    let mut claims = gate.claims();
    claims["aud"] = json!(["https://other.example", AUDIENCE]);
    let token = ed25519.sign(&head, &claims);
    assert_eq!(gate.status(&token).await, StatusCode::OK);
}

#[tokio::test]
async fn a_token_with_a_fault_lets_nobody_in() {
    let gate = Gate::new().await;
    let now = gate.clock.now().as_millis() / 1000;
    let (stranger, rsa) = (SigningKey::p256(), SigningKey::rsa());
    gate.issuer
        .publishes(&[gate.key.public("one"), rsa.public("rsa")]);
    let good = gate.token();
    assert_eq!(gate.status(&good).await, StatusCode::OK);
    let other = gate.with_claim("sub", json!("eve"));
    let parts: Vec<&str> = good.split('.').collect();
    let swapped = format!(
        "{}.{}.{}",
        parts[0],
        other.split('.').nth(1).unwrap(),
        parts[2]
    );
    let none = unsigned(&json!({ "alg": "none", "typ": "at+jwt" }), &gate.claims());
    // Whoever takes any algorithm takes the public key for a shared secret.
    let shared = unsigned(
        &json!({ "alg": "HS256", "typ": "at+jwt", "kid": "rsa" }),
        &gate.claims(),
    );
    let modulus = rsa.public("rsa")["n"].as_str().unwrap().to_owned();
    let shared = {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &URL_SAFE_NO_PAD.decode(modulus).unwrap());
        let tag = hmac::sign(&secret, shared.as_bytes());
        format!("{shared}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let mut brought = gate.head();
    brought["jwk"] = stranger.public("one");
    for (what, token, words) in [
        ("garbage", "garbage".to_owned(), "no signed JWT"),
        ("dots", "...".to_owned(), "no signed JWT"),
        ("letters", "a.b.c".to_owned(), "no signed JWT"),
        ("a fourth part", format!("{good}.x"), "no signed JWT"),
        ("a huge token", "x".repeat(17 * 1024), "no signed JWT"),
        (
            "a huge token that is signed",
            gate.with_claim("more", json!("x".repeat(13 * 1024))),
            "no signed JWT",
        ),
        ("no signature at all", format!("{none}."), "not signed with"),
        ("a shared secret", shared, "not signed with"),
        ("another type", gate.with_head("typ", json!("JWT")), "type"),
        ("no type", gate.with_head("typ", Value::Null), "type"),
        (
            "something critical",
            gate.with_head("crit", json!(["b64"])),
            "no signed JWT",
        ),
        (
            "an algorithm of other keys",
            gate.with_head("alg", json!("RS256")),
            "no such key",
        ),
        (
            "an unknown key",
            gate.with_head("kid", json!("two")),
            "no such key",
        ),
        (
            "a stranger's signature",
            stranger.sign(&gate.head(), &gate.claims()),
            "signature",
        ),
        (
            "a key that it brings along",
            stranger.sign(&brought, &gate.claims()),
            "signature",
        ),
        ("another's claims", swapped, "signature"),
        (
            "another issuer",
            gate.with_claim("iss", json!("https://evil.example")),
            "another issuer",
        ),
        (
            "another server",
            gate.with_claim("aud", json!("https://other.example/mcp")),
            "another server",
        ),
        (
            "other servers",
            gate.with_claim("aud", json!([AUDIENCE.to_uppercase()])),
            "another server",
        ),
        (
            "no audience",
            gate.with_claim("aud", json!([])),
            "another server",
        ),
        (
            "an end that is over",
            gate.with_claim("exp", json!(now - 31)),
            "expired",
        ),
        ("no end", gate.with_claim("exp", Value::Null), "say"),
        (
            "an end in words",
            gate.with_claim("exp", json!("never")),
            "say",
        ),
        (
            "a beginning to come",
            gate.with_claim("nbf", json!(now + 31)),
            "not valid yet",
        ),
        (
            "a key that its holder alone has",
            gate.with_claim("cnf", json!({ "jkt": "x" })),
            "bound",
        ),
        ("nobody", gate.with_claim("sub", json!("")), "subject"),
        (
            "a long subject",
            gate.with_claim("sub", json!("x".repeat(256))),
            "subject",
        ),
    ] {
        let refused = gate.show(&token).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{what}");
        let told = challenge(refused.headers()).to_owned();
        assert!(told.contains("error=\"invalid_token\""), "{what}: {told}");
        let said = refused.text().await.unwrap();
        assert!(
            said.contains(words) && told.contains(words),
            "{what}: {said}"
        );
        if token.len() > 10 {
            assert!(!said.contains(&token) && !told.contains(&token), "{what}");
        }
    }
    for scope in [json!("openid"), json!("agents2 noagents"), Value::Null] {
        let refused = gate.show(&gate.with_claim("scope", scope)).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        let told = challenge(refused.headers());
        assert!(told.contains("error=\"insufficient_scope\""), "{told}");
        assert!(told.contains("scope=\"agents\""), "{told}");
    }
    assert_eq!(gate.status(&good).await, StatusCode::OK);
}

#[tokio::test]
async fn a_token_ends_by_the_clock() {
    let gate = Gate::new().await;
    let now = gate.clock.now().as_millis() / 1000;
    let mut claims = gate.claims();
    claims["nbf"] = json!(now + 30);
    claims["exp"] = json!(now as f64 + 60.5);
    let token = gate.key.sign(&gate.head(), &claims);
    // Clocks differ a little.
    assert_eq!(gate.status(&token).await, StatusCode::OK);
    gate.clock.advance(Duration::from_millis(90_499));
    assert_eq!(gate.status(&token).await, StatusCode::OK);
    gate.clock.advance(Duration::from_millis(1));
    assert_eq!(gate.status(&token).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn whoever_shows_nothing_is_told_how_to_come_in() {
    let gate = Gate::new().await;
    let asked = client().post(&gate.url).send().await.unwrap();
    assert_eq!(asked.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        challenge(asked.headers()),
        "Bearer resource_metadata=\"https://agents.example/.well-known/oauth-protected-resource/mcp\", scope=\"agents\""
    );
    let root = gate.url.strip_suffix("/mcp").unwrap();
    for path in ["", "/mcp"] {
        let at = format!("{root}/.well-known/oauth-protected-resource{path}");
        let told = client().get(&at).send().await.unwrap();
        assert_eq!(told.status(), StatusCode::OK);
        assert_eq!(told.headers()["content-type"], "application/json");
        let told: Value = told.json().await.unwrap();
        assert_eq!(told["resource"], AUDIENCE);
        assert_eq!(told["authorization_servers"], json!([gate.issuer.url]));
        assert_eq!(told["scopes_supported"], json!(["agents"]));
        // Only to those who use the server's name.
        let evil = client().get(&at).header("host", "evil.example");
        assert_eq!(evil.send().await.unwrap().status(), StatusCode::FORBIDDEN);
        let named = client().get(&at).header("host", "agents.example");
        assert_eq!(named.send().await.unwrap().status(), StatusCode::OK);
    }
    let elsewhere = format!("{root}/.well-known/oauth-protected-resource/other");
    let elsewhere = client().get(elsewhere).send().await.unwrap();
    assert_eq!(elsewhere.status(), StatusCode::UNAUTHORIZED);
    let posted = format!("{root}/.well-known/oauth-protected-resource");
    let posted = client().post(posted).send().await.unwrap();
    assert_eq!(posted.status(), StatusCode::UNAUTHORIZED);
    // None of this took the issuer.
    assert_eq!(gate.issuer.asked(), 0);
    // A server with a token of its own has no issuer to tell of.
    let url = gate.stage.http(gate.stage.server(&["clerk"])).await;
    let at = url.replace("/mcp", "/.well-known/oauth-protected-resource");
    let none = client().get(at).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_new_key_is_asked_for_and_not_often() {
    let gate = Gate::new().await;
    assert_eq!(gate.status(&gate.token()).await, StatusCode::OK);
    assert_eq!(gate.issuer.asked(), 2);
    let next = SigningKey::p256();
    let token = next.sign(
        &json!({ "alg": "ES256", "typ": "at+jwt", "kid": "two" }),
        &gate.claims(),
    );
    gate.issuer.publishes(&[next.public("two")]);
    // The issuer was asked a moment ago, and is left alone.
    for _again in 0..5 {
        assert_eq!(gate.status(&token).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(gate.issuer.asked(), 2);
    gate.clock.advance(Duration::from_secs(30));
    // However many come at once, one asks.
    let all = futures_util::future::join_all((0..8).map(|_each| gate.status(&token))).await;
    assert_eq!(all, [StatusCode::OK; 8]);
    assert_eq!(gate.issuer.asked(), 4);
    // What the issuer no longer has is not gone by.
    let old = gate.token();
    assert_eq!(gate.status(&old).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn keys_are_kept_for_as_long_as_the_issuer_says_and_within_bounds() {
    let gate = Gate::new().await;
    let keys = json!({ "keys": [gate.key.public("one")] }).to_string();
    for (said, kept) in [
        ("cache-control: max-age=120\r\n", 2 * MINUTE),
        ("cache-control: no-store\r\n", MINUTE),
        ("cache-control: max-age=99999999\r\n", 60 * MINUTE),
        ("", 10 * MINUTE),
    ] {
        gate.issuer
            .answers_keys(Answer::Document(said, keys.clone()));
        // Whatever was known is no longer fresh.
        gate.clock.advance(60 * MINUTE);
        assert_eq!(gate.status(&gate.token()).await, StatusCode::OK);
        let asked = gate.issuer.asked();
        gate.clock.advance(kept - Duration::from_millis(1));
        assert_eq!(gate.status(&gate.token()).await, StatusCode::OK);
        assert_eq!(gate.issuer.asked(), asked, "{said}");
        gate.clock.advance(Duration::from_millis(1));
        assert_eq!(gate.status(&gate.token()).await, StatusCode::OK);
        assert_eq!(gate.issuer.asked(), asked + 2, "{said}");
    }
}

#[tokio::test]
async fn known_keys_outlast_an_issuer_that_is_down_for_a_day() {
    let gate = Gate::new().await;
    gate.issuer.answers_metadata(Answer::Status("503 Down"));
    // Nobody is let in, and nobody is told that the token is wrong.
    let unknown = gate.show(&gate.token()).await;
    assert_eq!(unknown.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(unknown.headers()[RETRY_AFTER], "30");
    gate.clock.advance(MINUTE);
    gate.issuer.says(&gate.issuer.metadata());
    assert_eq!(gate.status(&gate.token()).await, StatusCode::OK);
    gate.issuer.answers_metadata(Answer::Status("503 Down"));
    gate.clock
        .advance(24 * 60 * MINUTE - Duration::from_millis(1));
    assert_eq!(gate.status(&gate.token()).await, StatusCode::OK);
    // Of a key that is not known nobody can say anything now.
    let two = gate.with_head("kid", json!("two"));
    assert_eq!(gate.status(&two).await, StatusCode::SERVICE_UNAVAILABLE);
    gate.clock.advance(Duration::from_millis(1));
    let late = gate.status(&gate.token()).await;
    assert_eq!(late, StatusCode::SERVICE_UNAVAILABLE);
    gate.issuer.says(&gate.issuer.metadata());
    gate.clock.advance(MINUTE);
    assert_eq!(gate.status(&gate.token()).await, StatusCode::OK);
}

#[tokio::test]
async fn while_one_waits_for_the_issuer_others_go_by_what_is_known() {
    let gate = Gate::new().await;
    assert_eq!(gate.status(&gate.token()).await, StatusCode::OK);
    gate.issuer.answers_metadata(Answer::Silence);
    // What is known is not fresh any more.
    gate.clock.advance(11 * MINUTE);
    let asked = gate.issuer.asked();
    let unknown = gate.with_head("kid", json!("two"));
    let url = gate.url.clone();
    let waiting = tokio::spawn(async move { ask(&url, &unknown).await.status() });
    until(async || gate.issuer.asked() > asked).await;
    assert_eq!(gate.status(&gate.token()).await, StatusCode::OK);
    // The issuer has its time, and no more.
    until(async || gate.clock.next_wake().is_some()).await;
    gate.clock.advance(Duration::from_secs(5));
    assert_eq!(waiting.await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_client_that_goes_away_costs_no_other_its_answer() {
    let gate = Gate::new().await;
    gate.issuer.answers_metadata(Answer::Silence);
    let (url, token) = (gate.url.clone(), gate.token());
    let leaves = tokio::spawn(async move { ask(&url, &token).await });
    until(async || gate.issuer.asked() == 1).await;
    leaves.abort();
    let _left = leaves.await;
    let (url, token) = (gate.url.clone(), gate.token());
    let waits = tokio::spawn(async move { ask(&url, &token).await.status() });
    until(async || gate.clock.next_wake().is_some()).await;
    gate.clock.advance(Duration::from_secs(5));
    // Whoever came second was waiting for what the first had asked, and asks nothing itself.
    let told = waits.await.unwrap();
    assert_eq!(told, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(gate.issuer.asked(), 1);
}

#[tokio::test]
async fn an_issuer_that_misbehaves_is_not_gone_by() {
    let stage = Stage::without_worker([]);
    let key = SigningKey::p256();
    let keys = [key.public("one")];
    let clock = FakeClock::new();
    let of = async |issuer: &Issuer| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = HttpServer::new(listener, settings(issuer, &clock, &[])).unwrap();
        server.check_issuer().await.err()
    };
    let issuer = Issuer::start(&keys).await;
    assert_eq!(of(&issuer).await, None);
    let truth = issuer.metadata();
    let with = |name: &str, value: Value| {
        let mut metadata = truth.clone();
        metadata[name] = value;
        Answer::Document("", metadata.to_string())
    };
    let slash = format!("{}/", issuer.url);
    for (answer, words) in [
        (Answer::Endless, "too large"),
        (
            Answer::Document("content-length: 104857600\r\n", String::new()),
            "reached",
        ),
        (with("more", json!("x".repeat(300_000))), "too large"),
        (with("issuer", json!("https://evil.example")), "another"),
        (with("issuer", json!(slash)), "another"),
        (with("issuer", Value::Null), "RFC 8414"),
        (with("jwks_uri", json!("http://evil.example/keys")), "https"),
        (with("jwks_uri", json!("file:///etc/passwd")), "https"),
        (with("jwks_uri", json!("keys")), "https"),
        (with("jwks_uri", Value::Null), "where its keys"),
        (
            with("jwks_uri", json!(format!("{}/nowhere", issuer.url))),
            "no keys where",
        ),
        (Answer::Document("", "<html>".to_owned()), "RFC 8414"),
        (Answer::Status("302 Found\r\nlocation: /keys"), "redirects"),
        (Answer::Status("404 Not Found"), "no metadata"),
        (Answer::Status("500 Broken"), "error"),
    ] {
        issuer.answers_metadata(answer);
        let error = of(&issuer).await.unwrap();
        assert!(error.to_string().contains(words), "{words}: {error}");
        let may_pass = ["reached", "error"].contains(&words);
        let is_unreachable = matches!(error, IssuerError::Unreachable { .. });
        assert_eq!(is_unreachable, may_pass, "{error}");
    }
    issuer.says(&truth);
    for (answer, words) in [
        (Answer::Endless, "too large"),
        (
            Answer::Document("", r#"{"keys":[]}"#.to_owned()),
            "no key for",
        ),
        (
            Answer::Document("", json!({ "keys": vec![&keys[0]; 65] }).to_string()),
            "more keys",
        ),
        (Answer::Document("", "keys".to_owned()), "no key set"),
    ] {
        issuer.answers_keys(answer);
        let error = of(&issuer).await.unwrap();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    // Metadata of OpenID Connect will do, where there is nothing else.
    issuer.publishes(&keys);
    issuer.answers_metadata(Answer::Status("404 Not Found"));
    let document = Answer::Document("", truth.to_string());
    issuer.answers_at("/.well-known/openid-configuration", document);
    assert_eq!(of(&issuer).await, None);
    drop(stage);
}

#[tokio::test]
async fn who_decides_is_on_record_as_the_tokens_subject() {
    let mut stage = Stage::without_worker([notes(), says("Noted.")]);
    stage.work();
    let gate = Gate::before(stage, &[]).await;
    let token = gate.with_claim("sub", json!("anna%\u{202e}\n bob"));
    let _set_before = rustls::crypto::ring::default_provider().install_default();
    let config = StreamableHttpClientTransportConfig::with_uri(gate.url.clone()).auth_header(token);
    let client = me()
        .serve(StreamableHttpClientTransport::from_config(config))
        .await
        .unwrap();
    let ask = json!({ "input": "?", "run_id": "r", "wait_seconds": LONG });
    let waits = report(&call(&client, "clerk", ask).await);
    let approve =
        json!({ "approval_id": waits["approvals"][0]["approval_id"], "wait_seconds": LONG });
    let done = report(&call(&client, "run_approve", approve).await);
    assert_eq!(done["answer"], "Noted.");
    let run = seaworthy::ports::RunId::new("r").unwrap();
    let view = gate.stage.harness.view(&run).await.unwrap();
    let state = format!("{:?}", view.state);
    assert!(state.contains("mcp:anna%25%E2%80%AE%0A%20bob"), "{state}");
}

#[tokio::test]
async fn settings_that_cannot_be_meant_are_refused() {
    let issuer = Issuer::start(&[]).await;
    let of = async |change: &dyn Fn(&mut HttpSettings)| {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let mut settings = settings(&issuer, &FakeClock::new(), &[]);
        change(&mut settings);
        HttpServer::new(listener, settings).err()
    };
    let oauth = |settings: &mut HttpSettings, change: &dyn Fn(&mut OAuthSettings)| {
        change(settings.oauth.as_mut().unwrap());
    };
    // With an issuer, others may reach the address.
    assert!(of(&|_as_it_is| {}).await.is_none());
    for id in [
        "",
        "id.example",
        "http://id.example",
        "https://",
        "https://u:p@id.example",
        "https://id.example?a=b",
        "https://id.example#a",
        "ftp://id.example",
        "https://id.example/\"",
    ] {
        let refused = of(&|all| oauth(all, &|it| it.issuer = id.to_owned())).await;
        let is_it = matches!(refused, Some(HttpError::OAuth(InvalidOAuth::Issuer(_))));
        assert!(is_it, "{id} {refused:?}");
    }
    for audience in [
        "agents",
        "https://a.example/mcp#x",
        "https://a.example/ b",
        "https://u:p@a.example/mcp",
    ] {
        let refused = of(&|all| oauth(all, &|it| it.audience = audience.to_owned())).await;
        let is_it = matches!(refused, Some(HttpError::OAuth(InvalidOAuth::Audience(_))));
        assert!(is_it, "{audience} {refused:?}");
    }
    for scope in ["", "a b", "a\"", "é"] {
        let refused = of(&|all| oauth(all, &|it| it.scopes = vec![scope.to_owned()])).await;
        let is_it = matches!(refused, Some(HttpError::OAuth(InvalidOAuth::Scope(_))));
        assert!(is_it, "{scope} {refused:?}");
    }
    let many = |it: &mut OAuthSettings| it.scopes = vec!["a".to_owned(); 33];
    assert!(of(&|all| oauth(all, &many)).await.is_some());
    let both = of(&|all| all.token = Some(Secret::new(TOKEN))).await;
    assert!(matches!(both, Some(HttpError::TwoLocks)), "{both:?}");
}

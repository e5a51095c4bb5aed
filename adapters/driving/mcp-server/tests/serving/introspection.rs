//! Tokens about which the issuer is asked.

use std::time::Duration;

use reqwest::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};
use seaworthy::ports::Secret;
use seaworthy::ports::clock::Clock as _;
use seaworthy_fakes::FakeClock;
use seaworthy_mcp_server::http::{
    HttpError, HttpServer, HttpSettings, IntrospectionSettings, InvalidOAuth, IssuerError,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::issuer::{Answer, Issuer, SigningKey};
use crate::oauth::{AUDIENCE, ask, settings};
use crate::stage::{Stage, until};

const PLACE: &str = "/introspect";
/// As long as an answer is gone by.
const KEPT: Duration = Duration::from_secs(30);

/// A server that asks its issuer about tokens.
struct Gate {
    _stage: Stage,
    clock: FakeClock,
    issuer: Issuer,
    key: SigningKey,
    url: String,
}

fn asking(issuer: &Issuer, clock: &FakeClock, asks_about_all: bool) -> HttpSettings {
    let mut settings = settings(issuer, clock, &["agents"]);
    settings.oauth.as_mut().unwrap().introspection = Some(IntrospectionSettings {
        client_id: "agents server".to_owned(),
        client_secret: Secret::new("canary&secret"),
        asks_about_all,
    });
    settings
}

impl Gate {
    async fn new() -> Self {
        Self::that_asks(false).await
    }

    async fn that_asks(about_all: bool) -> Self {
        let key = SigningKey::p256();
        let issuer = Issuer::start(&[key.public("one")]).await;
        says_where(&issuer, "introspection_endpoint", json!(place(&issuer)));
        let clock = FakeClock::new();
        let stage = Stage::without_worker([]);
        let settings = asking(&issuer, &clock, about_all);
        let url = stage.http_with(stage.server(&["clerk"]), settings).await;
        let gate = Self {
            _stage: stage,
            clock,
            issuer,
            key,
            url,
        };
        gate.says(&gate.good());
        gate
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millis() / 1000
    }

    /// What the issuer says of a good token.
    fn good(&self) -> Value {
        json!({
            "active": true, "iss": self.issuer.url, "aud": AUDIENCE, "sub": "anna", "client_id": "tests",
            "exp": self.now() + 300, "scope": "openid agents", "token_type": "Bearer",
        })
    }

    fn with(&self, name: &str, value: Value) -> Value {
        let mut told = self.good();
        told[name] = value;
        told
    }

    fn says(&self, told: &Value) {
        self.answers(Answer::Document("", told.to_string()));
    }

    fn answers(&self, answer: Answer) {
        self.issuer.answers_at(PLACE, answer);
    }

    async fn show(&self, token: &str) -> Response {
        ask(&self.url, token).await
    }

    async fn status(&self, token: &str) -> StatusCode {
        self.show(token).await.status()
    }

    fn questions(&self) -> usize {
        self.issuer.forms().len()
    }
}

fn place(issuer: &Issuer) -> String {
    format!("{}{PLACE}", issuer.url)
}

/// The issuer says `value` of itself, beside where it is asked.
fn says_where(issuer: &Issuer, name: &str, value: Value) {
    let mut metadata = issuer.metadata();
    metadata["introspection_endpoint"] = json!(place(issuer));
    metadata[name] = value;
    issuer.says(&metadata);
}

#[tokio::test]
async fn an_opaque_token_lets_in_whom_the_issuer_says() {
    let gate = Gate::new().await;
    assert_eq!(gate.status("an.opaque~token+/=").await, StatusCode::OK);
    let asked = gate.issuer.forms().remove(0);
    assert!(
        asked.starts_with("POST /introspect HTTP/1.1\r\n"),
        "{asked}"
    );
    // agents+server:canary%26secret
    let proof = "authorization: Basic YWdlbnRzK3NlcnZlcjpjYW5hcnklMjZzZWNyZXQ=\r\n";
    assert!(asked.contains(proof), "{asked}");
    let form = "\r\n\r\ntoken=an.opaque%7Etoken%2B%2F%3D&token_type_hint=access_token";
    assert!(asked.ends_with(form), "{asked}");
    // A client that got the token for itself has no subject, and needs none.
    gate.says(&gate.with("sub", Value::Null));
    assert_eq!(gate.status("of-a-client").await, StatusCode::OK);
    // The issuer that answers need not say that it is the issuer.
    gate.says(&gate.with("iss", Value::Null));
    assert_eq!(gate.status("of-nobody").await, StatusCode::OK);
    gate.says(&gate.with("aud", json!(["https://other.example", AUDIENCE])));
    assert_eq!(gate.status("of-two").await, StatusCode::OK);
}

#[tokio::test]
async fn a_secret_goes_into_the_form_where_the_issuer_takes_it_there_alone() {
    let gate = Gate::new().await;
    let methods = "introspection_endpoint_auth_methods_supported";
    says_where(
        &gate.issuer,
        methods,
        json!(["private_key_jwt", "client_secret_post"]),
    );
    assert_eq!(gate.status("opaque").await, StatusCode::OK);
    let asked = gate.issuer.forms().remove(0);
    assert!(!asked.contains("authorization"), "{asked}");
    let form = "&client_id=agents+server&client_secret=canary%26secret";
    assert!(asked.ends_with(form), "{asked}");
}

#[tokio::test]
async fn what_the_issuer_says_is_checked_as_if_it_were_signed() {
    let gate = Gate::new().await;
    let now = gate.now();
    for (number, (told, words)) in [
        (json!({ "active": false }), "not good"),
        (gate.with("active", json!(false)), "not good"),
        (
            gate.with("iss", json!("https://evil.example")),
            "another issuer",
        ),
        (
            gate.with("aud", json!("https://other.example")),
            "another server",
        ),
        (gate.with("aud", json!([])), "another server"),
        (gate.with("aud", Value::Null), "does not say"),
        (gate.with("exp", json!(now - 31)), "expired"),
        (gate.with("exp", Value::Null), "does not say"),
        (gate.with("exp", json!("later")), "does not say"),
        (gate.with("nbf", json!(now + 31)), "not valid yet"),
        (gate.with("sub", json!("")), "subject"),
        (gate.with("sub", json!("x".repeat(256))), "subject"),
        (gate.with("cnf", json!({})), "bound"),
        // As issuers say of refresh tokens, which are good as well.
        (gate.with("token_type", Value::Null), "bearer"),
        (gate.with("token_type", json!("DPoP")), "bearer"),
        (json!({ "active": true }), "does not say"),
    ]
    .into_iter()
    .enumerate()
    {
        gate.says(&told);
        let token = format!("opaque-{number}");
        let refused = gate.show(&token).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{told}");
        let challenge = refused.headers()[WWW_AUTHENTICATE].to_str().unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{told}");
        let said = refused.text().await.unwrap();
        assert!(
            said.contains(words) && !said.contains(&token),
            "{told}: {said}"
        );
    }
    let mut nobody = gate.with("sub", Value::Null);
    nobody["client_id"] = Value::Null;
    gate.says(&nobody);
    assert_eq!(gate.status("of-nobody").await, StatusCode::UNAUTHORIZED);
    for scope in [json!("openid"), Value::Null] {
        gate.says(&gate.with("scope", scope.clone()));
        let token = format!("unscoped-{}", scope.is_null());
        assert_eq!(gate.status(&token).await, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn an_answer_is_gone_by_for_half_a_minute_and_never_beyond_the_end() {
    let gate = Gate::new().await;
    for _again in 0..3 {
        assert_eq!(gate.status("opaque").await, StatusCode::OK);
    }
    assert_eq!(gate.questions(), 1);
    // It is revoked, which is noticed when the answer is old.
    gate.says(&json!({ "active": false }));
    gate.clock.advance(KEPT - Duration::from_millis(1));
    assert_eq!(gate.status("opaque").await, StatusCode::OK);
    assert_eq!(gate.questions(), 1);
    gate.clock.advance(Duration::from_millis(1));
    assert_eq!(gate.status("opaque").await, StatusCode::UNAUTHORIZED);
    // That one is not good is not remembered.
    gate.says(&gate.with("exp", json!(gate.now() + 10)));
    assert_eq!(gate.status("opaque").await, StatusCode::OK);
    assert_eq!(gate.questions(), 3);
    gate.clock.advance(Duration::from_secs(10));
    gate.says(&json!({ "active": false }));
    assert_eq!(gate.status("opaque").await, StatusCode::UNAUTHORIZED);
    assert_eq!(gate.questions(), 4);
}

#[tokio::test]
async fn where_the_issuer_does_not_answer_nobody_comes_in_and_nobody_is_told_that_they_are_wrong() {
    let gate = Gate::new().await;
    let elsewhere = Issuer::start(&[]).await;
    let moved = format!("307 Moved\r\nlocation: {}{PLACE}", elsewhere.url);
    let moved: &'static str = Box::leak(moved.into_boxed_str());
    for answer in [
        Answer::Status("500 Broken"),
        Answer::Status("503 Down"),
        Answer::Status("429 Too Many Requests"),
        Answer::Status("400 Bad Request"),
        Answer::Status("401 Unauthorized"),
        Answer::Status("403 Forbidden"),
        Answer::Status("404 Not Found"),
        Answer::Status(moved),
        Answer::Status("204 No Content"),
        Answer::Endless,
        Answer::Document("", "active".to_owned()),
        Answer::Document("", "{\"active\":true".to_owned()),
        Answer::Document("", json!({ "active": "true" }).to_string()),
        Answer::Document("", json!({ "active": 1 }).to_string()),
        Answer::Document("", json!({ "sub": "anna" }).to_string()),
        Answer::Document("", json!([true]).to_string()),
        Answer::Document(
            "",
            gate.with("more", json!("x".repeat(300_000))).to_string(),
        ),
    ] {
        gate.answers(answer);
        let refused = gate.show("opaque").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[RETRY_AFTER], "30");
        assert!(!refused.headers().contains_key(WWW_AUTHENTICATE));
    }
    assert_eq!(elsewhere.asked(), 0);
    gate.says(&gate.good());
    assert_eq!(gate.status("opaque").await, StatusCode::OK);
}

#[tokio::test]
async fn a_silent_issuer_has_its_time_and_no_more_than_so_many_questions() {
    let gate = Gate::new().await;
    // Its keys are known.
    assert_eq!(gate.status("known").await, StatusCode::OK);
    gate.answers(Answer::Silence);
    let all: Vec<_> = (0..20)
        .map(|number| {
            let url = gate.url.clone();
            tokio::spawn(async move { ask(&url, &format!("opaque-{number}")).await.status() })
        })
        .collect();
    until(async || gate.questions() == 17).await;
    // Whoever is known need not wait.
    assert_eq!(gate.status("known").await, StatusCode::OK);
    until(async || gate.clock.next_wake().is_some()).await;
    let mut all = futures_util::future::join_all(all);
    // Those that wait for their turn give up as well.
    let told = loop {
        gate.clock.advance(Duration::from_secs(5));
        match tokio::time::timeout(Duration::from_millis(20), &mut all).await {
            Ok(told) => break told,
            Err(_not_yet) => {}
        }
    };
    for status in told {
        assert_eq!(status.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test]
async fn what_is_no_token_is_not_asked_about() {
    let gate = Gate::new().await;
    let long = "x".repeat(16 * 1024 + 1);
    for token in ["", "two words", "quo\"ted", "a&b", "a%20b", long.as_str()] {
        let refused = gate.status(token).await;
        assert_eq!(refused, StatusCode::UNAUTHORIZED, "{token}");
    }
    assert_eq!(gate.questions(), 0);
}

/// A good JWT of the gate's issuer, with this type.
fn jwt(gate: &Gate, kind: &str) -> String {
    let head = json!({ "alg": "ES256", "typ": kind, "kid": "one" });
    gate.key.sign(&head, &gate.good())
}

#[tokio::test]
async fn a_jwt_is_asked_about_only_if_all_are() {
    let gate = Gate::new().await;
    gate.says(&json!({ "active": false }));
    assert_eq!(gate.status(&jwt(&gate, "at+jwt")).await, StatusCode::OK);
    // What a JWT lacks, no word of the issuer's mends.
    gate.says(&gate.good());
    assert_eq!(
        gate.status(&jwt(&gate, "JWT")).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(gate.questions(), 0);

    let gate = Gate::that_asks(true).await;
    let token = jwt(&gate, "at+jwt");
    gate.says(&json!({ "active": true }));
    assert_eq!(gate.status(&token).await, StatusCode::OK);
    assert_eq!(gate.status(&token).await, StatusCode::OK);
    assert_eq!(gate.questions(), 1);
    assert_eq!(
        gate.status(&jwt(&gate, "JWT")).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(gate.questions(), 1);
    // It is revoked.
    gate.says(&json!({ "active": false }));
    gate.clock.advance(KEPT);
    assert_eq!(gate.status(&token).await, StatusCode::UNAUTHORIZED);
    gate.answers(Answer::Status("500 Broken"));
    assert_eq!(gate.status(&token).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_issuer_that_cannot_be_asked_safely_is_not_gone_by() {
    let clock = FakeClock::new();
    let issuer = Issuer::start(&[SigningKey::p256().public("one")]).await;
    let inactive = Answer::Document("", json!({ "active": false }).to_string());
    issuer.answers_at(PLACE, inactive.clone());
    let check = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = HttpServer::new(listener, asking(&issuer, &clock, false)).unwrap();
        server.check_issuer().await.err()
    };
    says_where(&issuer, "more", json!(1));
    assert_eq!(check().await, None);
    let other = Issuer::start(&[]).await;
    let methods = "introspection_endpoint_auth_methods_supported";
    for (name, value, words) in [
        (
            "introspection_endpoint",
            Value::Null,
            "where it can be asked",
        ),
        (
            "introspection_endpoint",
            json!(place(&other)),
            "another place",
        ),
        (
            "introspection_endpoint",
            json!("https://evil.example/i"),
            "another place",
        ),
        (
            "introspection_endpoint",
            json!("/introspect"),
            "another place",
        ),
        (
            "introspection_endpoint",
            json!(place(&issuer).replace("//", "//a:b@")),
            "another place",
        ),
        (methods, json!(["private_key_jwt"]), "no client's secret"),
        (methods, json!([]), "no client's secret"),
    ] {
        says_where(&issuer, name, value.clone());
        let error = check().await.unwrap();
        assert!(
            matches!(error, IssuerError::Unfit { .. }),
            "{value}: {error}"
        );
        assert!(error.to_string().contains(words), "{value}: {error}");
    }
    assert_eq!(other.asked(), 0);
    // A wrong id or secret is noticed before anybody calls.
    says_where(&issuer, "more", json!(1));
    issuer.answers_at(PLACE, Answer::Status("401 Unauthorized"));
    let error = check().await.unwrap();
    assert!(error.to_string().contains("may be wrong"), "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"));
    issuer.answers_at(PLACE, Answer::Status("503 Down"));
    let error = check().await.unwrap();
    assert!(matches!(error, IssuerError::Unreachable { .. }), "{error}");
    // Whoever has no keys signs no JWTs, and can be asked all the same.
    issuer.answers_at(PLACE, inactive);
    says_where(&issuer, "jwks_uri", Value::Null);
    assert_eq!(check().await, None);
}

#[tokio::test]
async fn a_client_that_cannot_be_named_is_refused() {
    let issuer = Issuer::start(&[]).await;
    for (id, secret) in [("", "s"), ("c", ""), ("a\nb", "s")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut settings = asking(&issuer, &FakeClock::new(), false);
        assert!(!format!("{settings:?}").contains("canary"));
        let asked = settings.oauth.as_mut().unwrap();
        let introspection = asked.introspection.as_mut().unwrap();
        introspection.client_id = id.to_owned();
        introspection.client_secret = Secret::new(secret);
        let refused = HttpServer::new(listener, settings).err();
        let is_it = matches!(refused, Some(HttpError::OAuth(InvalidOAuth::Client(_))));
        assert!(is_it, "{id:?} {refused:?}");
    }
}

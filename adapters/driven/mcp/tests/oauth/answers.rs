//! What an authorisation server answers to whoever wants tokens.

use seaworthy_contract::http::Act;
use seaworthy_ports::mcp::{Kind, McpError, OAuthGrant, OAuthProof};
use seaworthy_ports::{Effect, Secret, Timestamp};
use serde_json::{Value, json};

use crate::world::*;

/// What becomes of a session whose tokens are renewed with this answer.
async fn renewed_with(answer: Vec<Act>) -> (World, std::sync::Arc<Store>, McpError) {
    let world = World::new().await;
    world.at(TOKEN, move |_request| answer.clone());
    let store = world.store();
    let error = world.fault(&store).await;
    (world, store, error)
}

fn token(name: &str, value: Value) -> Value {
    let mut answer = json!({
        "access_token": "canary-new", "refresh_token": "canary-next", "token_type": "Bearer",
    });
    answer[name] = value;
    answer
}

#[tokio::test]
async fn an_answer_without_a_token_that_can_be_sent_changes_nothing() {
    let long = "x".repeat(16 * 1024 + 1);
    for answer in [
        token("access_token", Value::Null),
        token("access_token", json!(7)),
        token("access_token", json!(["canary"])),
        token("access_token", json!("")),
        token("access_token", json!("canary two")),
        token("access_token", json!("canary\r\nx-canary: 1")),
        token("access_token", json!("can\u{e4}ry")),
        token("access_token", json!(long)),
        token("refresh_token", json!("")),
        token("refresh_token", json!("canary\n")),
        token("refresh_token", json!({})),
        token("token_type", Value::Null),
        token("token_type", json!("mac")),
        token("token_type", json!(["Bearer"])),
        token("scope", json!(["canary"])),
        json!([]),
        json!("canary"),
    ] {
        let (world, store, error) = renewed_with(json_of("200 OK", &answer)).await;
        let how = (error.kind(), error.effect());
        assert_eq!(
            how,
            (Kind::Authentication, Effect::None),
            "{answer}: {error}"
        );
        assert_eq!(store.kept(), Some(world.kept()), "{answer}");
        assert_eq!(world.posted(), 1, "{answer}");
    }
    for answer in [
        reply("200 OK", "", "{\"access_token\": \"canary"),
        reply("200 OK", "", "access_token=canary&token_type=Bearer"),
        reply(
            "200 OK",
            "",
            "{\"access_token\":\"a\",\"access_token\":\"canary\",\"token_type\":\"Bearer\"}",
        ),
        reply("201 Created", "", &token("scope", Value::Null).to_string()),
        reply("418 Teapot", "", CANARY),
        endless(),
    ] {
        let (world, store, error) = renewed_with(answer).await;
        assert_eq!(error.kind(), Kind::Authentication, "{error}");
        assert_eq!(store.kept(), Some(world.kept()));
    }
}

#[tokio::test]
async fn a_redirect_takes_no_secret_along() {
    let thief = World::new().await;
    for status in ["302 Found", "303 See Other", "307 Moved", "308 Moved"] {
        let location = format!("location: {}{TOKEN}\r\n", thief.origin);
        let (_world, _store, error) = renewed_with(reply(status, &location, CANARY)).await;
        assert_eq!(error.kind(), Kind::Authentication, "{status}: {error}");
    }
    assert!(thief.backend.requests().is_empty());
}

#[tokio::test]
async fn a_refusal_that_quotes_secrets_is_not_quoted() {
    for status in ["400 Bad Request", "401 Unauthorized", "403 Forbidden"] {
        let said = json!({
            "error": "canary", "error_description": "canary-refresh is not canary-secret",
            "error_uri": "https://canary.example",
        });
        let answer = json_of(status, &said);
        let (world, store, error) = renewed_with(answer).await;
        assert_eq!(error.kind(), Kind::Authentication, "{status}: {error}");
        // Whoever is asked later may find others' tokens there, so these are left.
        assert_eq!(store.kept(), Some(world.kept()));
    }
}

#[tokio::test]
async fn an_end_that_no_clock_has_is_none() {
    for (said, ends) in [
        (json!(3600), true),
        (json!("3600"), true),
        (json!(3600.5), true),
        (json!(400_000_000), false),
        (json!(1e300), false),
        (json!(u64::MAX), false),
        (json!(-5), false),
        (json!("soon"), false),
        (json!("NaN"), false),
        (json!("inf"), false),
        (json!([3600]), false),
        (json!({}), false),
        (Value::Null, false),
    ] {
        let world = World::new().await;
        let answer = token("expires_in", said.clone());
        world.says(TOKEN, &answer);
        world.at_mcp(|request| match header(request, "authorization") {
            Some(shown) if shown == "Bearer canary-new" => served(request),
            _ => reply("401 Unauthorized", "", ""),
        });
        let store = world.store();
        let session = world.session(&store).await.unwrap();
        assert!(call(&session).await.is_ok(), "{said}");
        assert_eq!(world.asked(TOKEN), 1, "{said}");
        let kept = store.kept().unwrap();
        assert_eq!(kept.expires.is_some(), ends, "{said}");
        assert_eq!(kept.refresh, Some(Secret::new("canary-next")));
    }
}

#[tokio::test]
async fn a_token_that_is_over_at_once_is_renewed_once_for_each_request() {
    let world = World::new().await;
    world.says(TOKEN, &token("expires_in", json!(0)));
    world.at_mcp(served);
    let store = world.store();
    let mut over = world.kept();
    over.expires = Some(Timestamp::from_millis(1));
    store.put(over);
    let session = world.session(&store).await.unwrap();
    let (renewed, posted) = (world.asked(TOKEN), world.posted());
    for _call in 0..3 {
        assert!(call(&session).await.is_ok());
    }
    // The stream for what is said unasked may have been asked for meanwhile.
    let (renewed, posted) = (world.asked(TOKEN) - renewed, world.posted() - posted);
    assert!(
        (posted..=posted + 1).contains(&renewed),
        "{renewed} {posted}"
    );
}

#[tokio::test]
async fn scopes_of_an_answer_are_bounded() {
    let world = World::new().await;
    let many: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
    let mut answer = token("scope", json!(many.join(" ")));
    answer["expires_in"] = json!(60);
    world.says(TOKEN, &answer);
    world.at_mcp(|request| match header(request, "authorization") {
        Some(shown) if shown == "Bearer canary-new" => served(request),
        _ => reply("401 Unauthorized", "", ""),
    });
    let store = world.store();
    assert!(world.session(&store).await.is_ok());
    assert_eq!(store.kept().unwrap().scopes.len(), 64);
}

#[tokio::test]
async fn a_client_for_itself_proves_who_it_is_as_the_authorisation_server_takes_it() {
    for (methods, is_basic) in [
        (Value::Null, Some(true)),
        (
            json!(["client_secret_post", "client_secret_basic"]),
            Some(true),
        ),
        (json!(["client_secret_post"]), Some(false)),
        (json!(["private_key_jwt"]), None),
        (json!([]), None),
    ] {
        let world = World::new().await;
        world.says_of_itself("token_endpoint_auth_methods_supported", methods.clone());
        let store = std::sync::Arc::<Store>::default();
        let mut client = oauth(&store);
        client.grant = OAuthGrant::ClientCredentials;
        client.proof = OAuthProof::Secret(Secret::new("canary secret&"));
        let connected = connect(world.server(client)).await;
        let Some(is_basic) = is_basic else {
            let error = connected.unwrap_err();
            says_nothing(&error);
            assert_eq!(error.kind(), Kind::Authentication, "{methods}");
            assert_eq!(world.asked(TOKEN), 0);
            continue;
        };
        assert!(connected.is_ok(), "{methods}");
        let requests = world.backend.requests();
        let asked = requests
            .iter()
            .find(|asked| asked.starts_with("POST /token"));
        let asked = asked.unwrap();
        let head = header(asked, "authorization");
        assert_eq!(head.is_some(), is_basic, "{methods}");
        let in_form = field(asked, "client_secret");
        assert_eq!(
            in_form.as_deref(),
            (!is_basic).then_some("canary+secret%26")
        );
        if let Some(head) = head {
            use base64::Engine as _;
            let pair = head.strip_prefix("Basic ").unwrap();
            let pair = base64::engine::general_purpose::STANDARD.decode(pair);
            assert_eq!(pair.unwrap(), b"client:canary+secret%26");
        }
    }
}

#[tokio::test]
async fn a_refresh_token_that_is_not_replaced_is_used_again() {
    let world = World::new().await;
    world.says(TOKEN, &token("refresh_token", Value::Null));
    world.at_mcp(|request| match header(request, "authorization") {
        Some(shown) if shown == "Bearer canary-new" => served(request),
        _ => reply("401 Unauthorized", "", ""),
    });
    let store = world.store();
    assert!(world.session(&store).await.is_ok());
    assert_eq!(store.kept().unwrap().refresh, world.kept().refresh);
}

#[tokio::test]
async fn a_token_that_is_over_is_shown_where_no_other_is_to_be_had() {
    let world = World::new().await;
    world.at(TOKEN, |_request| {
        json_of("400 Bad Request", &json!({"error": "invalid_grant"}))
    });
    world.at_mcp(served);
    let store = world.store();
    let mut over = world.kept();
    over.expires = Some(Timestamp::from_millis(1));
    store.put(over);
    // Clocks differ; this server still takes it.
    let session = world.session(&store).await.unwrap();
    assert!(call(&session).await.is_ok());
    assert_eq!(world.asked(TOKEN), 1);
}

#[tokio::test]
async fn what_is_kept_and_cannot_be_sent_is_not_sent() {
    let world = World::new().await;
    for (access, refresh) in [
        ("canary\nx: y", "canary"),
        ("canary", "can ary"),
        ("", "canary"),
    ] {
        let store = world.store();
        let mut kept = world.kept();
        kept.access = Secret::new(access);
        kept.refresh = Some(Secret::new(refresh));
        store.put(kept);
        let error = world.fault(&store).await;
        assert_eq!(error.kind(), Kind::Authentication, "{access:?}: {error}");
    }
    assert_eq!(world.asked(TOKEN), 0);
    let requests = world.backend.requests();
    let mut shown = requests.iter().map(|asked| header(asked, "authorization"));
    assert!(shown.all(|shown| shown.is_none()));
}

//! What a server and its authorisation server say of themselves.

use std::time::Duration;

use seaworthy_contract::http::Act;
use seaworthy_ports::mcp::{Authorization, Kind, OAuthGrant, OAuthProof};
use seaworthy_ports::{Effect, Secret};
use serde_json::{Value, json};

use crate::world::*;

#[tokio::test]
async fn a_server_whose_metadata_are_right_gets_its_tokens_renewed() {
    let world = World::new().await;
    let store = world.store();
    let session = world.session(&store).await.unwrap();
    assert!(call(&session).await.is_ok());
    assert_eq!(world.asked(TOKEN), 1);
    let kept = store.kept().unwrap();
    assert_eq!(kept.access, Secret::new("canary-access-1"));
    assert_eq!(kept.issuer, world.origin);
    assert!(!format!("{session:?} {session:#?}").contains(CANARY));
    // The server is named to the authorisation server, so that it gives tokens for this one alone.
    let form = world.bodies(TOKEN).remove(0);
    let resource = format!("resource={}", world.origin).replace(':', "%3A");
    let resource = format!("{}%2Fmcp", resource.replace('/', "%2F"));
    assert!(
        form.contains(&resource) && form.contains("client_id=client"),
        "{form}"
    );
}

#[tokio::test]
async fn metadata_that_cannot_be_gone_by_get_no_refresh_token() {
    let world = World::new().await;
    let origin = world.origin.clone();
    let elsewhere = World::new().await;
    let of = |name: &str, value: Value| {
        let mut metadata = metadata(&origin);
        metadata[name] = value;
        json_of("200 OK", &metadata)
    };
    let announced = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
        256 * 1024 + 1
    );
    let redirect = format!("location: {}{METADATA}\r\n", elsewhere.origin);
    let mut large = metadata(&origin);
    large["remark"] = json!(CANARY.repeat(64 * 1024));
    let unannounced = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{large}");
    let unannounced = vec![Act::Say(unannounced.into_bytes())];
    for (what, answer) in [
        (
            "another issuer",
            of("issuer", json!("https://canary.example")),
        ),
        (
            "an issuer above it",
            of("issuer", json!(format!("{origin}/canary"))),
        ),
        ("no issuer", of("issuer", Value::Null)),
        ("an issuer that is no text", of("issuer", json!([origin]))),
        ("no place for tokens", of("token_endpoint", Value::Null)),
        (
            "a place in the clear",
            of("token_endpoint", json!("http://canary.example/token")),
        ),
        (
            "a place in a file",
            of("token_endpoint", json!("file:///canary")),
        ),
        (
            "a place that is none",
            of("token_endpoint", json!("/token")),
        ),
        (
            "a place with a password",
            of("token_endpoint", json!("https://a:canary@b.example/")),
        ),
        (
            "a person's place in the clear",
            of("authorization_endpoint", json!("http://canary.example")),
        ),
        (
            "a clients' place that is code",
            of("registration_endpoint", json!("javascript:canary")),
        ),
        (
            "a list that is none",
            of("code_challenge_methods_supported", json!("S256")),
        ),
        ("too much", of("remark", json!(CANARY.repeat(64 * 1024)))),
        (
            "what says that it is too much",
            vec![Act::Say(announced.into_bytes()), Act::Wait],
        ),
        ("too much that does not say so", unannounced),
        ("what never ends", endless()),
        ("no JSON", reply("200 OK", "", "<html>canary</html>")),
        ("half of it", reply("200 OK", "", "{\"issuer\": \"canary")),
        ("nothing", reply("200 OK", "", "")),
        ("a list", reply("200 OK", "", "[\"canary\"]")),
        ("no success", reply("204 No Content", "", "")),
        ("another place", reply("302 Found", &redirect, CANARY)),
        (
            "another place for ever",
            reply("308 Permanent Redirect", &redirect, CANARY),
        ),
    ] {
        world.at(METADATA, move |_request| answer.clone());
        let store = world.store();
        let error = world.fault(&store).await;
        assert_eq!(error.kind(), Kind::Authentication, "{what}: {error}");
        assert_eq!(error.effect(), Effect::None, "{what}");
        assert_eq!(store.kept(), Some(world.kept()), "{what}");
    }
    assert_eq!(world.asked(TOKEN), 0);
    assert!(elsewhere.backend.requests().is_empty());
}

#[tokio::test]
async fn an_authorisation_server_that_is_down_is_tried_again() {
    let world = World::new().await;
    let store = world.store();
    for answer in [
        reply("500 Broken", "", CANARY),
        reply("503 Down", "", CANARY),
        reply("429 Too Many Requests", "", CANARY),
        reply("408 Request Timeout", "", CANARY),
        vec![Act::Reset],
        vec![Act::Say(b"canary\r\n\r\n".to_vec())],
    ] {
        for place in [RESOURCE, METADATA, TOKEN] {
            let answer = answer.clone();
            world.at(place, move |_request| answer.clone());
            let error = world.fault(&store).await;
            let how = (error.kind(), error.effect());
            assert_eq!(how, (Kind::Unavailable, Effect::None), "{place}: {error}");
            world.mend(place);
        }
    }
    assert_eq!(store.kept(), Some(world.kept()));
    assert!(world.session(&store).await.is_ok());
}

#[tokio::test]
async fn an_authorisation_server_that_says_nothing_has_its_time_and_no_more() {
    let world = World::new().await;
    let drip =
        b"HTTP/1.1 200 OK\r\n\r\n                                                     ".to_vec();
    let pause = SHORT / 20;
    for place in [METADATA, TOKEN, RESOURCE] {
        for acts in [
            vec![Act::Wait],
            vec![Act::Drip(drip.clone(), pause), Act::Wait],
        ] {
            world.at(place, move |_request| acts.clone());
            let store = world.store();
            let mut server = world.server(oauth(&store));
            server.connect_timeout = SHORT;
            let error = connect(server).await.unwrap_err();
            says_nothing(&error);
            let is_late = matches!(error.kind(), Kind::Timeout | Kind::Unavailable);
            assert!(is_late, "{place}: {error}");
        }
        world.mend(place);
    }
}

#[tokio::test]
async fn renewing_in_the_middle_of_a_session_has_its_time_too() {
    let world = World::new().await;
    let store = world.store();
    let mut server = world.server(oauth(&store));
    server.connect_timeout = Duration::from_secs(3);
    let session = connect(server).await.unwrap();
    world.at_mcp(|_request| reply("401 Unauthorized", "", ""));
    world.at(TOKEN, |_request| vec![Act::Wait]);
    let error = call(&session).await.unwrap_err();
    says_nothing(&error);
    let how = (error.kind(), error.effect());
    assert_eq!(how, (Kind::Unavailable, Effect::None));
}

#[tokio::test]
async fn what_a_server_says_of_itself_is_believed_of_itself_alone() {
    let world = World::new().await;
    let origin = world.origin.clone();
    let thief = World::new().await;
    let described = |resource: &str, issuers: Value| {
        json_of(
            "200 OK",
            &json!({"resource": resource, "authorization_servers": issuers}),
        )
    };
    let own = format!("{origin}{MCP}");
    for (what, answer) in [
        (
            "another server",
            described(&format!("{}{MCP}", thief.origin), json!([origin])),
        ),
        (
            "a server below",
            described(&format!("{own}/canary"), json!([origin])),
        ),
        ("nobody", described(&own, json!([]))),
        ("no list", described(&own, json!(origin))),
        (
            "another authorisation server",
            described(&own, json!([thief.origin, origin])),
        ),
        (
            "one in the clear",
            described(&own, json!(["http://canary.example"])),
        ),
        (
            "one with a query",
            described(&own, json!([format!("{origin}?canary")])),
        ),
        ("no JSON", reply("200 OK", "", CANARY)),
        ("what never ends", endless()),
    ] {
        world.at(RESOURCE, move |_request| answer.clone());
        let store = world.store();
        let error = world.fault(&store).await;
        assert_eq!(error.kind(), Kind::Authentication, "{what}: {error}");
        assert_eq!(store.kept(), Some(world.kept()), "{what}");
    }
    assert_eq!((world.asked(TOKEN), thief.asked(TOKEN)), (0, 0));
}

#[tokio::test]
async fn a_challenge_leads_to_no_other_server() {
    let world = World::new().await;
    let thief = World::new().await;
    for place in [
        format!("{}{RESOURCE}", thief.origin),
        "http://canary.example/".to_owned(),
        "file:///canary".to_owned(),
    ] {
        let challenge = format!("www-authenticate: Bearer resource_metadata=\"{place}\"\r\n");
        world.at_mcp(move |_request| reply("401 Unauthorized", &challenge, CANARY));
        let error = world.fault(&world.store()).await;
        assert_eq!(error.kind(), Kind::Authentication, "{place}: {error}");
    }
    assert!(thief.backend.requests().is_empty());
    assert_eq!(world.asked(TOKEN), 0);
    // Within the server it is gone by.
    let own = "www-authenticate: Bearer resource_metadata=\"ORIGIN/elsewhere\"\r\n";
    let own = own.replace("ORIGIN", &world.origin);
    world.at_mcp(move |request| match header(request, "authorization") {
        Some(token) if token.ends_with("-1") => served(request),
        _ => reply("401 Unauthorized", &own, ""),
    });
    let resource = json!({"resource": world.origin, "authorization_servers": [world.origin]});
    world.says("/elsewhere", &resource);
    world.at(RESOURCE, |_request| reply("500 Unasked", "", ""));
    assert!(world.session(&world.store()).await.is_ok());
}

#[tokio::test]
async fn a_secret_goes_to_the_issuer_that_it_is_for() {
    let world = World::new().await;
    let thief = World::new().await;
    let resource = format!("{}{MCP}", world.origin);
    world.says(
        RESOURCE,
        &json!({"resource": resource, "authorization_servers": [thief.origin]}),
    );
    let store = world.store();
    let mut with_secret = oauth(&store);
    with_secret.proof = OAuthProof::Secret(Secret::new("canary-secret"));
    with_secret.issuer = Some(world.origin.clone());
    assert!(connect(world.server(with_secret)).await.is_ok());
    assert_eq!(world.asked(TOKEN), 1);
    assert!(thief.backend.requests().is_empty());
    // Tokens of one issuer are not shown to another that is configured since.
    let mut elsewhere = oauth(&world.store());
    elsewhere.issuer = Some(thief.origin.clone());
    world.at_mcp(|_request| reply("401 Unauthorized", "", ""));
    let error = connect(world.server(elsewhere)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Authentication);
    assert_eq!(thief.asked(TOKEN), 0);
}

#[tokio::test]
async fn a_resource_with_a_part_and_an_issuer_with_a_query_are_none() {
    let world = World::new().await;
    let part = format!("{}{MCP}#canary", world.origin);
    let issuers = json!([world.origin]);
    world.says(
        RESOURCE,
        &json!({"resource": part, "authorization_servers": issuers}),
    );
    let error = world.fault(&world.store()).await;
    assert_eq!(error.kind(), Kind::Authentication);
    let resource = format!("{}{MCP}", world.origin);
    let issuer = format!("{}?canary", world.origin);
    world.says(
        RESOURCE,
        &json!({"resource": resource, "authorization_servers": [issuer]}),
    );
    world.says_of_itself("issuer", json!(issuer));
    let store = world.store();
    let mut kept = world.kept();
    kept.issuer = issuer;
    store.put(kept);
    let error = world.fault(&store).await;
    assert_eq!(error.kind(), Kind::Authentication);
    assert_eq!(world.asked(TOKEN), 0);
}

#[tokio::test]
async fn a_server_that_says_nothing_of_itself_says_what_it_likes_of_its_authorisation_server() {
    let world = World::new().await;
    let nothing = |_request: &str| reply("404 Not Found", "", CANARY);
    world.at(RESOURCE, nothing);
    world.says_of_itself("issuer", json!("https://other.example"));
    let store = world.store();
    assert!(world.session(&store).await.is_ok());
    // Whoever is configured is nobody else.
    let asked = world.asked(TOKEN);
    store.put(world.kept());
    let mut configured = oauth(&store);
    configured.issuer = Some(world.origin.clone());
    world.at_mcp(|_request| reply("401 Unauthorized", "", ""));
    let error = connect(world.server(configured)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Authentication);
    assert_eq!(world.asked(TOKEN), asked);
}

#[tokio::test]
async fn a_token_is_sent_encrypted_or_stays_on_this_machine() {
    let store = std::sync::Arc::<Store>::default();
    for origin in ["http://mcp.invalid", "http://10.255.255.1"] {
        let mut server = server_at(origin, Authorization::OAuth(oauth(&store)));
        server.connect_timeout = SHORT;
        let error = connect(server).await.unwrap_err();
        let how = (error.kind(), error.effect());
        assert_eq!(how, (Kind::Rejected, Effect::None), "{origin}");
    }
    // Nor does a client get tokens for itself that nobody knows.
    let world = World::new().await;
    let mut nobody = oauth(&store);
    nobody.client_id = None;
    nobody.grant = OAuthGrant::ClientCredentials;
    let error = connect(world.server(nobody)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Rejected);
    assert!(world.backend.requests().is_empty());
}

//! Renewing: how often, for whom, and what becomes of those who come second.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use seaworthy_contract::http::Act;
use seaworthy_ports::mcp::{Kind, OAuthGrant, OAuthProof};
use seaworthy_ports::{Effect, Secret, Timestamp};
use serde_json::json;

use crate::world::*;

#[tokio::test]
async fn a_server_that_takes_no_token_gets_one_new_one_for_each_request() {
    let world = World::new().await;
    let session = world.session(&world.store()).await.unwrap();
    world.at_mcp(|_request| reply("401 Unauthorized", "", CANARY));
    for _call in 0..3 {
        let (renewed, asked) = (world.asked(TOKEN), world.posted());
        let error = call(&session).await.unwrap_err();
        says_nothing(&error);
        assert_eq!(
            (error.kind(), error.effect()),
            (Kind::Authentication, Effect::None)
        );
        assert_eq!(world.asked(TOKEN) - renewed, 1);
        assert_eq!(world.posted() - asked, 2);
    }
}

#[tokio::test]
async fn more_scopes_are_asked_for_three_times_in_a_session() {
    let world = World::new().await;
    let store = Arc::<Store>::default();
    let mut client = oauth(&store);
    client.grant = OAuthGrant::ClientCredentials;
    client.proof = OAuthProof::Secret(Secret::new("canary-secret"));
    let session = connect(world.server(client)).await.unwrap();
    let renewed = world.asked(TOKEN);
    let step = AtomicUsize::new(0);
    world.at_mcp(move |_request| {
        let step = step.fetch_add(1, Ordering::Relaxed);
        let wanted =
            format!("www-authenticate: Bearer error=\"insufficient_scope\", scope=\"s{step}\"\r\n");
        reply("403 Forbidden", &wanted, CANARY)
    });
    for time in 1..=6 {
        let asked = world.posted();
        let error = call(&session).await.unwrap_err();
        says_nothing(&error);
        assert_eq!(
            (error.kind(), error.effect()),
            (Kind::Permission, Effect::None)
        );
        assert_eq!(world.asked(TOKEN) - renewed, time.min(3));
        let tried_again = usize::from(time <= 3);
        assert_eq!(world.posted() - asked, 1 + tried_again);
    }
    // What was granted before is asked for again beside what is new.
    let forms = world.bodies(TOKEN);
    assert!(forms[renewed].contains("scope=s0"), "{forms:?}");
    assert!(
        forms[renewed + 1].contains("s0") && forms[renewed + 1].contains("s2"),
        "{forms:?}"
    );
}

/// A 403 that says `error` ends the call, and no tokens are asked for.
async fn ends_the_call(error: &str) {
    let world = World::new().await;
    let session = world.session(&world.store()).await.unwrap();
    let renewed = world.asked(TOKEN);
    let wanted = format!("www-authenticate: Bearer error=\"{error}\", scope=\"s\"\r\n");
    world.at_mcp(move |_request| reply("403 Forbidden", &wanted, ""));
    assert_eq!(call(&session).await.unwrap_err().kind(), Kind::Permission);
    assert_eq!(world.asked(TOKEN), renewed);
}

#[tokio::test]
async fn a_403_that_wants_nothing_more_is_final() {
    ends_the_call("invalid_token").await;
}

#[tokio::test]
async fn a_refresh_gets_no_more_than_was_granted() {
    ends_the_call("insufficient_scope").await;
}

#[tokio::test]
async fn a_refresh_whose_reply_was_lost_leaves_the_login_to_be_done_again() {
    let world = World::new().await;
    let store = world.store();
    // The tokens are new, and nobody hears of it.
    let used = Arc::new(AtomicUsize::new(0));
    let times = Arc::clone(&used);
    world.at(TOKEN, move |_request| {
        if times.fetch_add(1, Ordering::Relaxed) == 0 {
            return vec![
                Act::Say(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
                Act::Reset,
            ];
        }
        json_of(
            "400 Bad Request",
            &json!({"error": "invalid_grant", "was": CANARY}),
        )
    });
    let lost = world.fault(&store).await;
    assert_eq!(
        (lost.kind(), lost.effect()),
        (Kind::Unavailable, Effect::None)
    );
    assert_eq!(store.kept(), Some(world.kept()));
    // A program cannot know whether the old ones still work: it tries, once.
    let session = world.fault(&store).await;
    assert_eq!(session.kind(), Kind::Authentication);
    assert_eq!(used.load(Ordering::Relaxed), 2);
    // Somebody logs in.
    world.mend(TOKEN);
    let mut anew = world.kept();
    anew.refresh = Some(Secret::new("canary-refresh"));
    store.put(anew);
    assert!(world.session(&store).await.is_ok());
}

#[tokio::test]
async fn what_was_refused_is_not_asked_for_again_until_what_is_kept_changes() {
    let world = World::new().await;
    let store = world.store();
    let session = world.session(&store).await.unwrap();
    world.at_mcp(|request| match header(request, "authorization") {
        Some(shown) if shown == "Bearer canary-else" => served(request),
        _ => reply("401 Unauthorized", "", ""),
    });
    world.at(TOKEN, |_request| {
        json_of("400 Bad Request", &json!({"error": "invalid_grant"}))
    });
    let renewed = world.asked(TOKEN);
    for _call in 0..4 {
        assert_eq!(
            call(&session).await.unwrap_err().kind(),
            Kind::Authentication
        );
    }
    assert_eq!(world.asked(TOKEN) - renewed, 1);
    let mut others = world.kept();
    others.access = Secret::new("canary-else");
    store.put(others);
    assert!(call(&session).await.is_ok());
    assert_eq!(world.asked(TOKEN) - renewed, 1);
}

#[tokio::test]
async fn sessions_that_share_tokens_use_a_refresh_token_once() {
    const MANY: usize = 6;
    let world = World::new().await;
    let store = world.store();
    let connecting = (0..MANY).map(|_session| world.session(&store));
    let sessions = futures_util::future::join_all(connecting).await;
    // A second use would have taken all tokens back.
    for session in &sessions {
        assert!(call(session.as_ref().unwrap()).await.is_ok());
    }
    assert_eq!(world.asked(TOKEN), 1);
    assert_eq!(store.kept().unwrap().access, Secret::new("canary-access-1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_nobody_waits_for_is_kept() {
    let world = World::new().await;
    let store = world.store();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    world.at(TOKEN, move |_request| {
        begun.send(()).unwrap();
        may_go.lock().unwrap().recv().unwrap();
        json_of(
            "200 OK",
            &json!({"access_token": "canary-late", "refresh_token": "canary-next", "token_type": "bearer"}),
        )
    });
    let server = world.server(oauth(&store));
    let connecting = tokio::spawn(connect(server));
    tokio::task::spawn_blocking(move || has_begun.recv().unwrap())
        .await
        .unwrap();
    connecting.abort();
    assert!(connecting.await.is_err());
    go.send(()).unwrap();
    while store.kept().unwrap().access != Secret::new("canary-late") {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        store.kept().unwrap().refresh,
        Some(Secret::new("canary-next"))
    );
}

#[tokio::test]
async fn tokens_of_others_that_are_over_are_not_taken() {
    let world = World::new().await;
    let store = world.store();
    let session = world.session(&store).await.unwrap();
    let renewed = world.asked(TOKEN);
    let mut over = store.kept().unwrap();
    over.access = Secret::new("canary-over");
    over.expires = Some(Timestamp::from_millis(1));
    store.put(over);
    world.at_mcp(|request| match header(request, "authorization") {
        Some(shown) if shown == "Bearer canary-access-2" => served(request),
        _ => reply("401 Unauthorized", "", ""),
    });
    assert!(call(&session).await.is_ok());
    assert_eq!(world.asked(TOKEN) - renewed, 1);
    let requests = world.backend.requests();
    assert!(!requests.iter().any(|asked| asked.contains("canary-over")));
}

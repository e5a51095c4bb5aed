//! MC-9: tokens of authorisation servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use seaworthy_ports::mcp::{
    Authorization, Beginning, Endpoint, Kind, McpServer, OAuthGrant, Transport,
};
use seaworthy_ports::{Effect, Secret, ServerAlias};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::script::{RENEWED_TOKEN, Seen};
use super::secrets::{says_nothing, words};
use super::stage::{CANARY, LONG, Stage, begun, call, done, fails, is_usable, made};
use super::tokens::{Tokens, first_tokens, oauth};
use super::{ALIAS, Harness};
use crate::http::{Act, listen};
use crate::outcome::{Halt, Outcome, broken, holds, id, ok, same, within};

/// MC-9.
pub async fn calls_at_once_get_new_tokens_once<H: Harness>(harness: H) -> Outcome {
    const MANY: usize = 5;
    let stage = Stage::of(harness, "expired").await?;
    let session = stage.session().await?;
    let calls: Vec<_> = (0..MANY)
        .map(|_call| begun(&session, call("echo", json!({}))))
        .collect();
    for call in calls {
        let did = "waited for one of many calls whose token had expired";
        ok(did, done(did, call).await?)?;
    }
    stage.called("echo", MANY)?;
    let did = "counted how often new tokens were asked for";
    same(did, stage.count(&Seen::Refreshed)?, 1)?;
    same(
        "counted the new tokens that were kept",
        stage.tokens.saved(),
        1,
    )
}

/// MC-9.
pub async fn a_refresh_token_that_is_replaced_is_not_used_again<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "short_lived").await?;
    let session = stage.session().await?;
    for _time in 0..3 {
        is_usable(&session, "the token expired").await?;
    }
    stage.called("echo", 3)
}

/// MC-9.
pub async fn tokens_that_another_process_got_are_taken<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "expired").await?;
    let session = stage.session().await?;
    let mut renewed = first_tokens("");
    renewed.access = Secret::new(RENEWED_TOKEN);
    stage.tokens.put(renewed);
    is_usable(&session, "another process got new tokens").await?;
    let did = "counted how often new tokens were asked for";
    same(did, stage.count(&Seen::Refreshed)?, 0)
}

/// MC-9.
pub async fn new_tokens_are_used_when_they_are_kept<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "expired").await?;
    let session = stage.session().await?;
    stage.tokens.fill_up();
    let did = "called a server while new tokens could not be kept";
    match made(&session, call("echo", json!({}))).await? {
        Ok(_answer) => return Err(broken(did, "an error", "an answer")),
        Err(error) => {
            same(did, error.effect(), Effect::None)?;
            says_nothing(did, &words(&error))?;
        }
    }
    stage.called("echo", 0)
}

/// MC-9.
pub async fn a_grant_that_is_refused_is_not_tried_again<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "revoked").await?;
    let session = stage.session().await?;
    for _time in 0..3 {
        let did = "called a server whose tokens were revoked";
        let answer = made(&session, call("echo", json!({}))).await?;
        fails(did, answer, &[Kind::Authentication], Effect::None)?;
    }
    stage.called("echo", 0)?;
    let did = "counted how often new tokens were asked for";
    same(did, stage.count(&Seen::Refreshed)?, 1)?;
    same(
        "counted the new tokens that were kept",
        stage.tokens.saved(),
        0,
    )
}

/// MC-9.
pub async fn a_client_gets_tokens_for_itself<H: Harness>(harness: H) -> Outcome {
    let mut stage = Stage::of(harness, "expired").await?;
    stage.gets_tokens_for_itself();
    let session = stage.session().await?;
    is_usable(&session, "the client had no token").await?;
    let did = "counted how often new tokens were asked for";
    same(did, stage.count(&Seen::Refreshed)?, 1)?;
    same(
        "counted the new tokens that were kept",
        stage.tokens.saved(),
        1,
    )
}

/// MC-9.
pub async fn a_refresh_token_goes_to_the_server_that_gave_it<H: Harness>(harness: H) -> Outcome {
    let (thief, requests) = thief().await;
    let described = {
        let thief = thief.clone();
        move |own: &str| json!({"resource": own, "authorization_servers": [thief]})
    };
    misled(harness, described, "https://issuer.invalid", requests).await
}

/// MC-9.
pub async fn metadata_of_another_server_are_not_believed<H: Harness>(harness: H) -> Outcome {
    let (thief, requests) = thief().await;
    let described = {
        let thief = thief.clone();
        move |_own: &str| json!({"resource": format!("{thief}/mcp"), "authorization_servers": [thief]})
    };
    misled(harness, described, &thief, requests).await
}

/// An authorisation server that gives tokens to anybody, and what it is asked.
async fn thief() -> (String, UnboundedReceiver<String>) {
    let (asked, requests) = mpsc::unbounded_channel();
    let (left, _) = mpsc::unbounded_channel();
    let act = |request: &str| {
        let origin = origin(request);
        let found = if request.starts_with("POST ") {
            json!({"access_token": "stolen", "token_type": "Bearer"})
        } else {
            json!({"issuer": origin, "token_endpoint": format!("{origin}/token")})
        };
        document("200 OK", &found)
    };
    let url = listen(act, asked, left).await;
    (url.trim_end_matches("/v1").to_owned(), requests)
}

/// The origin that a request was made to.
fn origin(request: &str) -> String {
    let host = request.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("host").then_some(value)
    });
    format!("http://{}", host.unwrap_or_default())
}

fn document(status: &str, body: &Value) -> Vec<Act> {
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    vec![Act::Say(format!("{head}{body}").into_bytes())]
}

/// A server that takes no token and says this of itself gets no session, and nobody is sent a credential.
async fn misled<H: Harness>(
    harness: H,
    described: impl Fn(&str) -> Value + Send + Sync + 'static,
    issuer: &str,
    mut requests: UnboundedReceiver<String>,
) -> Outcome {
    let mcp = harness.mcp();
    if !mcp.capabilities().oauth {
        return Err(Halt::NotDeclared {
            capability: "oauth",
            reason: "it gets no tokens",
        });
    }
    let act = move |request: &str| {
        if request.starts_with("GET /.well-known/oauth-protected-resource") {
            return document("200 OK", &described(&format!("{}/v1", origin(request))));
        }
        document("401 Unauthorized", &json!({}))
    };
    let (asked, _) = mpsc::unbounded_channel();
    let (left, _) = mpsc::unbounded_channel();
    let tokens = Arc::<Tokens>::default();
    tokens.put(first_tokens(issuer));
    let server = McpServer {
        alias: id(ServerAlias::new(ALIAS))?,
        transport: Transport::StreamableHttp(Endpoint {
            url: listen(act, asked, left).await,
            authorization: Authorization::OAuth(oauth(&tokens, OAuthGrant::AuthorizationCode)),
            headers: BTreeMap::new(),
        }),
        connect_timeout: LONG,
        request_timeout: LONG,
        host: None,
        roots: Vec::new(),
        log: None,
        beginning: Beginning::default(),
    };
    let did = "connected to a server that says who else is to be given the credentials";
    match within(did, mcp.connect(server)).await? {
        Ok(_session) => return Err(broken(did, "an error", "a session")),
        Err(error) => says_nothing(did, &words(&error))?,
    }
    while let Ok(request) = requests.try_recv() {
        holds(
            !request.contains(CANARY),
            did,
            "no credential at the other server",
            "a request with one",
        )?;
    }
    Ok(())
}

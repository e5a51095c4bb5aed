//! MC-7: what nobody may see.

use std::collections::BTreeMap;
use std::error::Error;

use seaworthy_ports::mcp::{
    Authorization, Beginning, Endpoint, Kind, McpError, McpServer, Transport,
};
use seaworthy_ports::{Secret, ServerAlias};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::stage::{CANARY, LONG, Stage, call, is_usable, made};
use super::{ALIAS, Harness};
use crate::http::{Act, listen};
use crate::outcome::{Halt, Outcome, broken, holds, id, refused, within};

/// Everything that an error says, its causes included.
pub(super) fn words(error: &McpError) -> String {
    let mut words = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    words
}

pub(super) fn says_nothing(did: &str, words: &str) -> Outcome {
    holds(
        !words.contains(CANARY),
        did,
        "words without a credential, an argument or a result",
        words,
    )
}

/// MC-7.
pub async fn no_error_and_no_debug_output_holds_what_was_said<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let mcp = stage.harness.mcp();
    says_nothing("printed a session", &format!("{session:?} {session:#?}"))?;
    says_nothing("printed an adapter", &format!("{mcp:?} {mcp:#?}"))?;
    let secret = json!({"path": 7, CANARY: CANARY});
    let with = |tool: &str, arguments: &Value| {
        let mut call = call(tool, arguments.clone());
        call.meta
            .insert("example.org/key".to_owned(), CANARY.into());
        call
    };
    // Whether these fail is not for this clause, only what they say if they do.
    let calls = [
        with("refuses", &secret),
        with("refuses_arguments", &secret),
        with("strict", &secret),
        with("strict", &CANARY.into()),
        with("miscounts", &secret),
        with("wrongly", &secret),
        with(CANARY, &secret),
        with("dies", &secret),
    ];
    let mut failed = 0;
    for call in calls {
        let did = format!("called {}, which fails", call.tool);
        if let Err(error) = made(&session, call).await? {
            says_nothing(&did, &words(&error))?;
            failed += 1;
        }
    }
    holds(failed > 0, "made calls that fail", "errors", failed)?;
    let read = within("read", session.read_resource(&format!("contract:{CANARY}"))).await?;
    if let Err(error) = read {
        says_nothing("read a resource that is not there", &words(&error))?;
    }
    says_nothing("printed a session that was used", &format!("{session:?}"))?;
    says_nothing("printed an adapter that was used", &format!("{mcp:?}"))
}

/// MC-7.
pub async fn a_server_that_complains_is_neither_stalled_nor_quoted<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "complains").await?;
    let session = stage.session().await?;
    is_usable(&session, "a server wrote much to its standard error").await?;
    let did = "called a server that complains, and which died";
    match made(&session, call("dies", json!({}))).await? {
        Ok(_answer) => Err(broken(did, "an error", "an answer")),
        Err(error) => says_nothing(did, &words(&error)),
    }
}

/// MC-7.
pub async fn an_address_with_credentials_is_rejected<H: Harness>(harness: H) -> Outcome {
    let mcp = harness.mcp();
    if !mcp.capabilities().streamable_http {
        return Err(Halt::NotDeclared {
            capability: "streamable_http",
            reason: "it reaches nothing over HTTP",
        });
    }
    for url in [
        format!("http://user:{CANARY}@127.0.0.1:9/mcp"),
        format!("http://{CANARY}@127.0.0.1:9/mcp?x=1"),
    ] {
        let endpoint = Endpoint {
            url,
            authorization: Authorization::Bearer(Secret::new(CANARY)),
            headers: BTreeMap::new(),
        };
        let server = McpServer {
            alias: id(ServerAlias::new(ALIAS))?,
            transport: Transport::StreamableHttp(endpoint),
            connect_timeout: LONG,
            request_timeout: LONG,
            host: None,
            roots: Vec::new(),
            log: None,
            beginning: Beginning::default(),
        };
        let did = "connected to an address with a password in it";
        let connected = within(did, mcp.connect(server)).await?;
        if let Err(error) = &connected {
            says_nothing(did, &words(error))?;
        }
        refused(did, connected.map(|_session| ()), Kind::Rejected)?;
    }
    Ok(())
}

/// MC-7.
pub async fn credentials_follow_no_redirect_to_another_origin<H: Harness>(harness: H) -> Outcome {
    let mcp = harness.mcp();
    if !mcp.capabilities().streamable_http {
        return Err(Halt::NotDeclared {
            capability: "streamable_http",
            reason: "it reaches nothing over HTTP",
        });
    }
    for status in [301, 302, 303, 307, 308] {
        let (asked, mut requests) = mpsc::unbounded_channel();
        let (left, _) = mpsc::unbounded_channel();
        let elsewhere = listen(|_request| Vec::new(), asked, left).await;
        let head = format!(
            "HTTP/1.1 {status} Elsewhere\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let redirect = move |_request: &str| vec![Act::Say(head.clone().into_bytes())];
        let (asked, _) = mpsc::unbounded_channel();
        let (left, _) = mpsc::unbounded_channel();
        let server = McpServer {
            alias: id(ServerAlias::new(ALIAS))?,
            transport: Transport::StreamableHttp(Endpoint {
                url: listen(redirect, asked, left).await,
                authorization: Authorization::Bearer(Secret::new(CANARY)),
                headers: BTreeMap::new(),
            }),
            connect_timeout: LONG,
            request_timeout: LONG,
            host: None,
            roots: Vec::new(),
            log: None,
            beginning: Beginning::default(),
        };
        let did = format!("connected to a server that redirects to another with HTTP {status}");
        match within(&did, mcp.connect(server)).await? {
            Ok(_session) => return Err(broken(did, "an error", "a session")),
            Err(error) => says_nothing(&did, &words(&error))?,
        }
        while let Ok(request) = requests.try_recv() {
            holds(
                !request.contains(CANARY),
                did.as_str(),
                "no credential at the other server",
                "a request with one",
            )?;
        }
    }
    Ok(())
}

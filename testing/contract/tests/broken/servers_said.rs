//! Bugs of what servers suggest, where they work and what they say of it.

use std::future::pending;
use std::sync::Arc;

use seaworthy_ports::mcp::{
    Kind, McpCompleted, McpCompletion, McpError, McpLog, McpLogLevel, McpRoot, McpServer,
    McpSession,
};

pub(crate) const COMPLETES_NOTHING: u8 = 54;
pub(crate) const FORGETS_GIVEN: u8 = 55;
pub(crate) const HUNDRED_IS_ALL: u8 = 56;
pub(crate) const ANY_COMPLETION: u8 = 57;
pub(crate) const COMPLETES_FOR_EVER: u8 = 58;
pub(crate) const NO_ROOTS: u8 = 59;
pub(crate) const INVENTS_ROOTS: u8 = 60;
pub(crate) const ANY_ROOT: u8 = 61;
pub(crate) const NO_LOGGER: u8 = 62;
pub(crate) const LOUD: u8 = 63;
pub(crate) const QUIET: u8 = 64;
pub(crate) const CUTS_IN_SECRET: u8 = 65;
pub(crate) const DROPS_IN_SECRET: u8 = 66;
pub(crate) const WAITS_FOR_LEVEL: u8 = 67;
pub(crate) const LOGS_TOO_MUCH: u8 = 68;
pub(crate) const NEEDS_LOGS: u8 = 69;

/// The server as an adapter with this bug connects to it.
pub(crate) fn changed(bug: u8, mut server: McpServer) -> McpServer {
    let root = |name: &str| McpRoot {
        uri: format!("file:///{name}"),
        name: None,
    };
    match bug {
        NO_ROOTS => server.roots.clear(),
        INVENTS_ROOTS if server.roots.is_empty() => server.roots.push(root("")),
        ANY_ROOT => server.roots.clear(),
        LOUD => {
            if let Some(log) = &mut server.log {
                log.level = McpLogLevel::Debug;
            }
        }
        QUIET => server.log = None,
        _ => {}
    }
    if let Some(McpLog { sink, .. }) = &mut server.log {
        let inner = Arc::clone(sink);
        *sink = Arc::new(move |mut message| {
            match bug {
                NO_LOGGER => message.logger = None,
                CUTS_IN_SECRET => message.is_cut = false,
                DROPS_IN_SECRET => message.dropped = 0,
                LOGS_TOO_MUCH => {
                    for _again in 0..20 {
                        inner(message.clone());
                    }
                }
                _ => {}
            }
            inner(message);
        });
    }
    server
}

/// Whether an adapter with this bug gives up on the server.
pub(crate) fn refused(bug: u8, server: &McpServer, session: &dyn McpSession) -> Option<McpError> {
    let is_deaf = server.log.is_some() && session.server().name == "deaf";
    let is_mute = server.log.is_some() && !session.server().logging;
    ((bug == WAITS_FOR_LEVEL && is_deaf) || (bug == NEEDS_LOGS && is_mute))
        .then(|| McpError::new(Kind::Timeout, "broken", "connect", "it sets no level"))
}

pub(crate) async fn complete(
    bug: u8,
    inner: &dyn McpSession,
    mut asked: McpCompletion,
) -> Result<McpCompleted, McpError> {
    let nothing = || McpCompleted {
        values: Vec::new(),
        total: None,
        has_more: false,
    };
    if bug == FORGETS_GIVEN {
        asked.given.clear();
    }
    match inner.complete(asked).await {
        Ok(answer) if bug == HUNDRED_IS_ALL => Ok(McpCompleted {
            has_more: answer.total.is_some(),
            ..answer
        }),
        Err(failed) => match (bug, failed.kind()) {
            (COMPLETES_NOTHING, Kind::Unsupported) | (ANY_COMPLETION, Kind::Malformed) => {
                Ok(nothing())
            }
            (COMPLETES_FOR_EVER, Kind::Timeout) => pending().await,
            _ => Err(failed),
        },
        other => other,
    }
}

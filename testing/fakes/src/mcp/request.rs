//! What is asked of a server, and what the caller is told where it fails.

use std::time::Duration;

use seaworthy_ports::Latch;
use seaworthy_ports::mcp::{Kind, McpError};

use super::{McpFault, error};

/// Why nobody waits for an answer any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Dead,
    Closed,
    Cancelled,
    Late,
}

/// A request: what it is for, whether it may change anything, and how long it may take.
pub(super) struct Request {
    pub(super) operation: &'static str,
    /// The tool that is called. Everything else only reads.
    pub(super) tool: Option<String>,
    pub(super) timeout: Duration,
    pub(super) cancel: Latch,
}

impl Request {
    pub(super) fn failed(&self, kind: Kind, message: &str) -> McpError {
        error(kind, self.operation, message)
    }

    /// An error after the server may have acted.
    pub(super) fn lost(&self, kind: Kind, message: &str) -> McpError {
        let error = self.failed(kind, message);
        if self.tool.is_some() {
            error.with_unknown_effect()
        } else {
            error
        }
    }
}

/// The error that a server's fault is for its caller. The server's words are not in it.
pub(super) fn judged(request: &Request, fault: McpFault) -> McpError {
    match fault {
        McpFault::Dies | McpFault::Silence => {
            request.lost(Kind::Unavailable, "the server died before it answered")
        }
        McpFault::Garbled => request.lost(Kind::Malformed, "the answer breaks the protocol"),
        McpFault::TooLarge => request.lost(Kind::TooLarge, "the answer is too large"),
        McpFault::Refused(-32602) => {
            request.failed(Kind::InvalidArguments, "the server refused the arguments")
        }
        McpFault::Refused(-32601) => {
            request.failed(Kind::Unsupported, "the server does not know the method")
        }
        McpFault::Refused(-32002) => request.failed(Kind::NotFound, "the server has no such thing"),
        McpFault::Refused(_) => request.lost(Kind::Server, "the server answered with an error"),
        McpFault::Unauthorized => {
            request.failed(Kind::Authentication, "the server takes no such credentials")
        }
        McpFault::Forbidden => request.failed(Kind::Permission, "the server does not allow it"),
        McpFault::LostSession => request.failed(Kind::Unavailable, "the server keeps no session"),
    }
}

pub(super) fn ended(request: &Request, end: End) -> McpError {
    match end {
        End::Dead => request.lost(Kind::Unavailable, "the server died before it answered"),
        End::Closed => request.lost(Kind::Unavailable, "the session was closed"),
        End::Cancelled => request.lost(Kind::Cancelled, "the caller cancelled it"),
        End::Late => request.lost(Kind::Timeout, "the server took too long"),
    }
}

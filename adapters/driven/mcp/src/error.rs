//! What can go wrong on the way to a server and back, and what it is called outside. Nothing of it quotes a server.

use std::time::Duration;

use seaworthy_ports::mcp::{Kind, McpError};
use seaworthy_ports::{Effect, Retry};

pub(crate) const ADAPTER: &str = "mcp";

const METHOD_NOT_FOUND: i64 = -32_601;
pub(crate) const INVALID_PARAMS: i64 = -32_602;
const RESOURCE_NOT_FOUND: i64 = -32_002;

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never left.
    Unreachable(&'static str),
    /// The server failed too often lately to be tried again before this has passed.
    TooSoon(Duration),
    /// It left, and nothing can come back any more.
    Gone(&'static str),
    /// The server does not know the session. It did not look at the request.
    SessionLost,
    /// The server no longer speaks this version of the protocol. It did not look at the request.
    VersionLost,
    /// The server had asked something before, so it may have begun; this is what became of it then.
    Midway(Kind),
    /// The server asks what nobody here answers, and there is no way of telling it so.
    Unanswered,
    /// The server does not know who calls.
    Unauthorized,
    /// Who calls cannot be proven to the server.
    Denied(&'static str),
    /// The server knows, and does not let them.
    Forbidden,
    /// The server sends its callers to another place.
    Redirected,
    /// The server answered with this HTTP status instead of a message.
    Status(u16),
    /// The server answered with this JSON-RPC error.
    Refused(i64),
    /// The task ended with this JSON-RPC error.
    TaskFailed(i64),
    /// The answer is larger than a message may be, or a list longer.
    TooLarge,
    /// The answer is none.
    Malformed(&'static str),
    /// It took too long.
    Timeout,
    /// The caller no longer wants it.
    Cancelled,
    /// The server has no such thing.
    NotFound(&'static str),
    /// The arguments do not fit.
    InvalidArguments(&'static str),
    /// The session is closed, or cannot be made as it is described.
    Rejected(&'static str),
    /// This adapter or the server cannot do it.
    Unsupported(&'static str),
}

impl Fault {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Unreachable(_)
            | Self::TooSoon(_)
            | Self::Gone(_)
            | Self::SessionLost
            | Self::VersionLost
            | Self::Redirected => Kind::Unavailable,
            Self::Midway(kind) => kind,
            Self::Unanswered => Kind::Unsupported,
            Self::Unauthorized | Self::Denied(_) => Kind::Authentication,
            Self::Forbidden => Kind::Permission,
            Self::Status(404 | 410) => Kind::Unavailable,
            Self::Status(429 | 500..) => Kind::Unavailable,
            Self::Status(_) => Kind::Server,
            Self::Refused(INVALID_PARAMS) | Self::InvalidArguments(_) => Kind::InvalidArguments,
            Self::Refused(METHOD_NOT_FOUND) | Self::Unsupported(_) => Kind::Unsupported,
            Self::Refused(RESOURCE_NOT_FOUND) | Self::NotFound(_) => Kind::NotFound,
            Self::Refused(_) | Self::TaskFailed(_) => Kind::Server,
            Self::TooLarge => Kind::TooLarge,
            Self::Malformed(_) => Kind::Malformed,
            Self::Timeout => Kind::Timeout,
            Self::Cancelled => Kind::Cancelled,
            Self::Rejected(_) => Kind::Rejected,
        }
    }

    /// Whether a server that acted on the request can still have failed like this.
    pub(crate) fn may_follow_an_effect(self) -> bool {
        match self {
            Self::Gone(_)
            | Self::TooLarge
            | Self::Malformed(_)
            | Self::Timeout
            | Self::Cancelled
            | Self::Midway(_)
            | Self::Unanswered
            | Self::TaskFailed(_)
            | Self::Status(500..) => true,
            // A server's own error may come in the middle of its work; that it knows no such thing comes before it.
            Self::Refused(code) => {
                !matches!(code, METHOD_NOT_FOUND | INVALID_PARAMS | RESOURCE_NOT_FOUND)
            }
            Self::Unreachable(_)
            | Self::TooSoon(_)
            | Self::SessionLost
            | Self::VersionLost
            | Self::Unauthorized
            | Self::Denied(_)
            | Self::Forbidden
            | Self::Redirected
            | Self::Status(_)
            | Self::NotFound(_)
            | Self::InvalidArguments(_)
            | Self::Rejected(_)
            | Self::Unsupported(_) => false,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Unreachable(why)
            | Self::Denied(why)
            | Self::Gone(why)
            | Self::Malformed(why)
            | Self::NotFound(why)
            | Self::InvalidArguments(why)
            | Self::Rejected(why)
            | Self::Unsupported(why) => why.to_owned(),
            Self::TooSoon(left) => format!(
                "the server failed again and again; it is left alone for another {} ms",
                left.as_millis()
            ),
            Self::SessionLost => "the server lost its session again, right after a new one began".to_owned(),
            Self::VersionLost => "the server no longer speaks the protocol version that was agreed on".to_owned(),
            Self::Midway(kind) => format!("the call went on after the server had asked something, and failed then: {kind}"),
            Self::Unanswered => "the server asks what nobody here answers, and the call cannot go on without".to_owned(),
            Self::Unauthorized => "the server does not take the credentials (HTTP 401); renew them".to_owned(),
            Self::Forbidden => "the credentials do not allow this (HTTP 403)".to_owned(),
            Self::Redirected => {
                "the server redirects to another place, which gets no credentials; configure its new address".to_owned()
            }
            Self::Status(status) => format!("the server answered with HTTP {status} and no message"),
            Self::Refused(code) => format!("the server answered with the JSON-RPC error {code}"),
            Self::TaskFailed(code) => format!("the task ended with the JSON-RPC error {code} at its server"),
            Self::TooLarge => "the server's answer is larger than a message or a list may be".to_owned(),
            Self::Timeout => "the server did not answer in time".to_owned(),
            Self::Cancelled => "the call was cancelled".to_owned(),
        }
    }

    /// What a caller is told. `was_sent`: a request with side effects was handed over.
    pub(crate) fn into_error(self, operation: &'static str, was_sent: bool) -> McpError {
        let error = McpError::new(self.kind(), ADAPTER, operation, self.words());
        let error = match self {
            Self::TooSoon(left) => error.with_retry(Retry::After(left)),
            Self::Redirected | Self::Status(404 | 410) => error.with_retry(Retry::No),
            _ => error,
        };
        let effect = if was_sent && self.may_follow_an_effect() {
            Effect::Unknown
        } else {
            Effect::None
        };
        match effect {
            Effect::Unknown => error.with_unknown_effect(),
            Effect::None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_have_happened_has_no_effect_even_if_it_was_sent() {
        for fault in [
            Fault::SessionLost,
            Fault::Unauthorized,
            Fault::Refused(INVALID_PARAMS),
        ] {
            assert_eq!(fault.into_error("call", true).effect(), Effect::None);
        }
        for fault in [
            Fault::Gone(""),
            Fault::TooLarge,
            Fault::Status(502),
            Fault::Refused(-32_603),
        ] {
            assert_eq!(fault.into_error("call", true).effect(), Effect::Unknown);
            assert_eq!(fault.into_error("call", false).effect(), Effect::None);
        }
    }

    #[test]
    fn a_server_that_is_left_alone_says_for_how_long() {
        let left = Duration::from_millis(250);
        let error = Fault::TooSoon(left).into_error("call", false);
        assert_eq!(error.retry(), Retry::After(left));
        let moved = Fault::Redirected.into_error("call", false);
        assert_eq!(
            (moved.kind(), moved.retry()),
            (Kind::Unavailable, Retry::No)
        );
    }
}

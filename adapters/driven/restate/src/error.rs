//! The one place where answers of the server become port errors.

use reqwest::StatusCode;
use seaworthy_ports::durable_runtime::{Kind, RuntimeError};

/// The adapter's id, in every error.
pub(crate) const ADAPTER: &str = "restate";
/// The code with which a handler says that it cannot read its state.
pub(crate) const CORRUPT: u16 = 422;

pub(crate) fn refusal(kind: Kind, operation: &'static str, why: &'static str) -> RuntimeError {
    RuntimeError::new(kind, ADAPTER, operation, why)
}

/// Why the server answered with something else than success.
pub(crate) fn of_status(operation: &'static str, status: StatusCode) -> RuntimeError {
    let (kind, why) = match status.as_u16() {
        CORRUPT => (Kind::Corrupt, "what is stored cannot be read"),
        401 | 403 => (
            Kind::Rejected,
            "the server refuses this caller; check the token and its rights",
        ),
        404 => (
            Kind::Unavailable,
            "the server does not know the handlers; serve and register them (`seaworthy handlers`)",
        ),
        408 | 409 | 425 | 429 => (Kind::Unavailable, "the server is busy or gave the call up"),
        500..=599 => (Kind::Unavailable, "the server or a handler failed"),
        _ => (Kind::Rejected, "the server refused the call"),
    };
    let error = RuntimeError::new(kind, ADAPTER, operation, why);
    match status.as_u16() {
        408 | 409 | 500.. => error.with_unknown_effect(),
        _ => error,
    }
}

/// Why there was no answer. What the client says of it may repeat the URL, so that is left out.
pub(crate) fn of_client(operation: &'static str, error: reqwest::Error) -> RuntimeError {
    let error = error.without_url();
    let never_sent = error.is_connect() || error.is_builder();
    let why = if error.is_connect() {
        "the server cannot be reached; check the address of its ingress"
    } else if error.is_timeout() {
        "the server does not answer in time; do its handlers run?"
    } else {
        "the connection to the server broke"
    };
    let failure = RuntimeError::new(Kind::Unavailable, ADAPTER, operation, why).with_source(error);
    if never_sent {
        failure
    } else {
        failure.with_unknown_effect()
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_ports::{Effect, Retry};

    use super::*;

    #[test]
    fn answers_are_told_apart_by_what_a_caller_can_do() {
        for (status, kind, retry) in [
            (422, Kind::Corrupt, Retry::No),
            (401, Kind::Rejected, Retry::No),
            (400, Kind::Rejected, Retry::No),
            (404, Kind::Unavailable, Retry::Backoff),
            (429, Kind::Unavailable, Retry::Backoff),
            (503, Kind::Unavailable, Retry::Backoff),
        ] {
            let error = of_status("signal", StatusCode::from_u16(status).unwrap());
            assert_eq!((error.kind(), error.retry()), (kind, retry), "{status}");
        }
    }

    #[test]
    fn what_failed_in_a_handler_may_have_taken_effect() {
        let effect = |status| of_status("signal", status).effect();
        assert_eq!(effect(StatusCode::INTERNAL_SERVER_ERROR), Effect::Unknown);
        assert_eq!(effect(StatusCode::NOT_FOUND), Effect::None);
    }
}

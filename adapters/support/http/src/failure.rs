//! The one place where what a backend or the network says becomes a model error.

use std::time::Duration;

use seaworthy_ports::model_provider::{Kind, ModelError};
use seaworthy_ports::{ErrorKind as _, PortError, Retry, Secret};

use crate::headers::Advice;

/// What a backend says of a failure, as far as it is fit to be shown: never its message, which may quote the prompt or a
/// part of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What it comes to.
    pub kind: Kind,
    /// The HTTP status, or the number that stands for one in a frame.
    pub status: Option<u16>,
    /// The backend's code.
    pub code: Option<String>,
    /// A second name, where the backend gives two.
    pub sort: Option<String>,
    /// When to come back, where the body says so.
    pub after: Option<Duration>,
}

impl Complaint {
    /// Only a kind is known.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        Self {
            kind,
            status: None,
            code: None,
            sort: None,
            after: None,
        }
    }

    /// The same without what repeats `secret`: a backend may send the key back.
    #[must_use]
    pub fn without(mut self, secret: Option<&Secret>) -> Self {
        self.code = without(self.code, secret);
        self.sort = without(self.sort, secret);
        self
    }
}

/// Why a frame ends an answer early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The backend reports a failure in it.
    Complaint(Complaint),
    /// It is none.
    Malformed,
    /// The answer has more parts than is allowed.
    TooMany,
}

/// The text, if it can be nothing but a name: what is longer or holds other letters may be anything.
#[must_use]
pub fn word(text: &str) -> Option<String> {
    let is_word = (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte));
    is_word.then(|| text.to_owned())
}

/// The text unless it repeats `secret`.
#[must_use]
pub fn without(text: Option<String>, secret: Option<&Secret>) -> Option<String> {
    text.filter(|text| secret.is_none_or(|secret| !text.contains(secret.expose())))
}

/// What a status says by itself; a backend's own codes say more.
#[must_use]
pub const fn by_status(status: u16) -> Kind {
    match status {
        401 => Kind::Authentication,
        402 => Kind::QuotaExhausted,
        403 => Kind::Permission,
        // A redirect, which is not followed, means that the address is not the backend's.
        404 | 405 | 410 | 300..=399 => Kind::NotFound,
        408 | 504 => Kind::Timeout,
        429 => Kind::RateLimited,
        503 | 529 => Kind::Overloaded,
        // 409 is a lock that was not free in time.
        409 | 500..=599 => Kind::Server,
        400..=499 => Kind::InvalidRequest,
        _ => Kind::Decode,
    }
}

const fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Authentication => "the endpoint refuses the key",
        Kind::Permission => "the key may not do this",
        Kind::NotFound => "the endpoint has no such model or address",
        Kind::InvalidRequest => "the endpoint refuses the request",
        Kind::ContextLength => "the conversation is too long for the model",
        Kind::RateLimited => "too many requests or tokens for now",
        Kind::QuotaExhausted => "nothing is left of the account's quota",
        Kind::Overloaded => "the endpoint has no capacity for now",
        Kind::Server => "the endpoint failed",
        Kind::Timeout => "the endpoint was silent for too long",
        Kind::Network => "the connection failed",
        Kind::Refusal => "the model declined",
        Kind::ContentFilter => "the endpoint filtered the request",
        Kind::Truncated => "the answer is longer than allowed",
        Kind::Decode => "the answer cannot be understood",
        Kind::Unsupported => "the model or endpoint cannot do this",
        Kind::Cancelled => "the caller ended the call",
    }
}

/// An error of an exchange that `complaint` tells about.
#[must_use]
pub fn complained(
    adapter: &'static str,
    operation: &'static str,
    complaint: Complaint,
    advice: &Advice,
) -> ModelError {
    let kind = complaint.kind;
    let mut message = words(kind).to_owned();
    for (name, value) in [
        ("status", complaint.status.map(|status| status.to_string())),
        ("code", complaint.code.clone()),
        ("type", complaint.sort),
    ] {
        if let Some(value) = value {
            message = format!("{message}, {name} {value}");
        }
    }
    let after = advice.after.or(complaint.after).or_else(|| {
        // What limits a call is back when the limit is.
        advice.reset.filter(|_span| kind == Kind::RateLimited)
    });
    let retry = match (kind.default_retry(), advice.should_retry) {
        // Repeating does not help, whatever a header says.
        (Retry::No, _) | (_, Some(false)) => Retry::No,
        (other, _) => after.map_or(other, Retry::After),
    };
    ModelError {
        error: PortError::new(kind, adapter, operation, message).with_retry(retry),
        status: complaint.status,
        code: complaint.code,
        request_id: None,
        response_started: false,
    }
}

/// An error that no backend told about.
#[must_use]
pub fn refused(
    adapter: &'static str,
    kind: Kind,
    operation: &'static str,
    why: impl Into<String>,
) -> ModelError {
    PortError::new(kind, adapter, operation, why).into()
}

/// The same with the words of its kind.
#[must_use]
pub fn failed(adapter: &'static str, operation: &'static str, kind: Kind) -> ModelError {
    let error = PortError::new(kind, adapter, operation, words(kind));
    match kind {
        // The backend may have worked for nobody, and charge for it.
        Kind::Timeout | Kind::Network | Kind::Cancelled => error.with_unknown_effect().into(),
        _ => error.into(),
    }
}

/// What the HTTP client reports: before the request is out it had no effect.
#[must_use]
pub fn transport(
    adapter: &'static str,
    operation: &'static str,
    error: reqwest::Error,
) -> ModelError {
    // The address may hold what is not for logs.
    let error = error.without_url();
    let kind = if error.is_builder() {
        Kind::InvalidRequest
    } else {
        Kind::Network
    };
    let is_sent = !error.is_connect() && !error.is_builder();
    let mut port = PortError::new(kind, adapter, operation, words(kind));
    if is_sent {
        port = port.with_unknown_effect();
    }
    port.with_source(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_alone_is_enough() {
        for (status, expected) in [
            (302, Kind::NotFound),
            (400, Kind::InvalidRequest),
            (401, Kind::Authentication),
            (402, Kind::QuotaExhausted),
            (403, Kind::Permission),
            (404, Kind::NotFound),
            (408, Kind::Timeout),
            (409, Kind::Server),
            (413, Kind::InvalidRequest),
            (422, Kind::InvalidRequest),
            (429, Kind::RateLimited),
            (500, Kind::Server),
            (502, Kind::Server),
            (503, Kind::Overloaded),
            (504, Kind::Timeout),
            (529, Kind::Overloaded),
        ] {
            assert_eq!(by_status(status), expected, "{status}");
        }
    }

    #[test]
    fn advice_is_followed_where_repeating_helps() {
        let complain =
            |kind, advice: &Advice| complained("a", "stream", Complaint::of(kind), advice).retry();
        let wait = Advice {
            after: Some(Duration::from_secs(2)),
            ..Advice::default()
        };
        let two = Retry::After(Duration::from_secs(2));
        assert_eq!(complain(Kind::RateLimited, &wait), two);
        assert_eq!(
            complain(Kind::RateLimited, &Advice::default()),
            Retry::Backoff
        );
        let never = Advice {
            should_retry: Some(false),
            ..wait
        };
        assert_eq!(complain(Kind::RateLimited, &never), Retry::No);
        let always = Advice {
            should_retry: Some(true),
            ..wait
        };
        assert_eq!(complain(Kind::QuotaExhausted, &always), Retry::No);
    }

    #[test]
    fn the_reset_of_a_used_up_limit_is_the_delay_of_who_is_limited_by_it() {
        let advice = Advice {
            reset: Some(Duration::from_secs(9)),
            ..Advice::default()
        };
        let retry = |kind| complained("a", "stream", Complaint::of(kind), &advice).retry();
        assert_eq!(
            retry(Kind::RateLimited),
            Retry::After(Duration::from_secs(9))
        );
        assert_eq!(retry(Kind::Server), Retry::Backoff);
    }

    #[test]
    fn a_delay_in_the_body_counts_where_no_header_names_one() {
        let complaint = || Complaint {
            after: Some(Duration::from_secs(34)),
            ..Complaint::of(Kind::RateLimited)
        };
        let retry = |advice: &Advice| complained("a", "stream", complaint(), advice).retry();
        assert_eq!(
            retry(&Advice::default()),
            Retry::After(Duration::from_secs(34))
        );
        let header = Advice {
            after: Some(Duration::from_secs(1)),
            ..Advice::default()
        };
        assert_eq!(retry(&header), Retry::After(Duration::from_secs(1)));
    }

    #[test]
    fn what_is_no_name_is_not_repeated() {
        for text in ["", "the prompt said: hello", &"x".repeat(200)] {
            assert_eq!(word(text), None);
        }
        assert_eq!(word("a.b-c_d:e/f").as_deref(), Some("a.b-c_d:e/f"));
        let key = Secret::new("sk-1");
        assert_eq!(without(Some("a-sk-1-b".to_owned()), Some(&key)), None);
    }
}

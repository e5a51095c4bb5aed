//! The one place where what an endpoint or the network says becomes a model error.

use seaworthy_ports::model_provider::{Kind, ModelError};
use seaworthy_ports::{ErrorKind as _, PortError, Retry, Secret};
use serde_json::Value;

use crate::headers::Advice;

/// The adapter's id, in every error.
pub(crate) const ADAPTER: &str = "openai";

/// What an endpoint says of a failure, as far as it is fit to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The HTTP status, or the number that stands for one in a frame.
    pub(crate) status: Option<u16>,
    pub(crate) code: Option<String>,
    pub(crate) sort: Option<String>,
}

impl Complaint {
    /// Reads `{"error": {"message", "type", "param", "code"}}` and what compatible servers make of it. The message is
    /// left out: it may quote the prompt or a part of the key.
    pub(crate) fn read(body: &Value, status: Option<u16>) -> Self {
        let inner = match body.get("error") {
            Some(error @ Value::Object(_)) => error,
            _ => body,
        };
        let number = inner
            .get("code")
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok());
        let word = |name: &str| inner.get(name).and_then(Value::as_str).and_then(word);
        let code = word("code").or_else(|| number.map(|number| number.to_string()));
        let from_text = code.as_deref().and_then(|code| code.parse().ok());
        let in_body = number
            .or(from_text)
            .filter(|code| (400..600).contains(code));
        Self {
            status: status.or(in_body),
            code,
            sort: word("type"),
        }
    }

    /// The same without what repeats `secret`: an endpoint may send the key back.
    pub(crate) fn without(mut self, secret: Option<&Secret>) -> Self {
        self.code = without(self.code, secret);
        self.sort = without(self.sort, secret);
        self
    }

    fn kind(&self) -> Kind {
        classify(self.status, self.code.as_deref(), self.sort.as_deref())
    }
}

/// The text, if it can be nothing but a name: what is longer or holds other letters may be anything.
pub(crate) fn word(text: &str) -> Option<String> {
    let is_word = (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte));
    is_word.then(|| text.to_owned())
}

/// The text unless it repeats `secret`.
pub(crate) fn without(text: Option<String>, secret: Option<&Secret>) -> Option<String> {
    text.filter(|text| secret.is_none_or(|secret| !text.contains(secret.expose())))
}

/// By code, then by type, then by status; never by message. A failure that names none of them is the endpoint's own.
fn classify(status: Option<u16>, code: Option<&str>, sort: Option<&str>) -> Kind {
    code.and_then(by_name)
        .or_else(|| sort.and_then(by_name))
        .or_else(|| status.map(by_status))
        .or_else(|| sort.and_then(by_family))
        .unwrap_or(Kind::Server)
}

fn by_name(name: &str) -> Option<Kind> {
    Some(match name {
        "insufficient_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "quota_exceeded" => Kind::QuotaExhausted,
        "context_length_exceeded" | "exceed_context_size_error" => Kind::ContextLength,
        "content_filter" | "content_policy_violation" | "ResponsibleAIPolicyViolation" => {
            Kind::ContentFilter
        }
        "model_not_found" | "DeploymentNotFound" | "deployment_not_found" | "not_found_error" => {
            Kind::NotFound
        }
        "invalid_api_key"
        | "incorrect_api_key"
        | "account_deactivated"
        | "authentication_error" => Kind::Authentication,
        "permission_error" | "permission_denied" | "unsupported_country_region_territory" => {
            Kind::Permission
        }
        "rate_limit_exceeded" | "rate_limit_error" => Kind::RateLimited,
        "engine_overloaded" | "overloaded_error" | "overloaded" | "slow_down" => Kind::Overloaded,
        "server_error" | "internal_error" | "internal_server_error" => Kind::Server,
        "unsupported_parameter" | "unsupported_value" => Kind::Unsupported,
        _ => return None,
    })
}

/// Types so general that a status says more.
fn by_family(name: &str) -> Option<Kind> {
    Some(match name {
        "invalid_request_error" => Kind::InvalidRequest,
        "api_error" => Kind::Server,
        _ => return None,
    })
}

fn by_status(status: u16) -> Kind {
    match status {
        401 => Kind::Authentication,
        402 => Kind::QuotaExhausted,
        403 => Kind::Permission,
        // A redirect, which is not followed, means that the address is not the endpoint's.
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

fn words(kind: Kind) -> &'static str {
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
pub(crate) fn complained(complaint: Complaint, advice: &Advice) -> ModelError {
    let kind = complaint.kind();
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
    let retry = match (kind.default_retry(), advice.should_retry) {
        // Repeating does not help, whatever a header says.
        (Retry::No, _) | (_, Some(false)) => Retry::No,
        (other, _) => advice.after.map_or(other, Retry::After),
    };
    ModelError {
        error: PortError::new(kind, ADAPTER, "stream", message).with_retry(retry),
        status: complaint.status,
        code: complaint.code,
        request_id: None,
        response_started: false,
    }
}

/// An error that no endpoint told about.
pub(crate) fn refused(kind: Kind, operation: &'static str, why: impl Into<String>) -> ModelError {
    PortError::new(kind, ADAPTER, operation, why).into()
}

/// The same with the words of its kind.
pub(crate) fn failed(kind: Kind) -> ModelError {
    let error = PortError::new(kind, ADAPTER, "stream", words(kind));
    match kind {
        // The endpoint may have worked for nobody, and charge for it.
        Kind::Timeout | Kind::Network | Kind::Cancelled => error.with_unknown_effect().into(),
        _ => error.into(),
    }
}

/// What the HTTP client reports: before the request is out it had no effect.
pub(crate) fn transport(error: reqwest::Error) -> ModelError {
    // The address may hold what is not for logs.
    let error = error.without_url();
    let kind = if error.is_builder() {
        Kind::InvalidRequest
    } else {
        Kind::Network
    };
    let is_sent = !error.is_connect() && !error.is_builder();
    let mut port = PortError::new(kind, ADAPTER, "stream", words(kind));
    if is_sent {
        port = port.with_unknown_effect();
    }
    port.with_source(error).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn kind(body: Value, status: Option<u16>) -> Kind {
        Complaint::read(&body, status).kind()
    }

    #[test]
    fn a_code_says_more_than_a_status() {
        for (status, code, expected) in [
            (429, "insufficient_quota", Kind::QuotaExhausted),
            (429, "rate_limit_exceeded", Kind::RateLimited),
            (400, "context_length_exceeded", Kind::ContextLength),
            (400, "content_filter", Kind::ContentFilter),
            (400, "unsupported_parameter", Kind::Unsupported),
            (404, "model_not_found", Kind::NotFound),
            (401, "invalid_api_key", Kind::Authentication),
            (400, "something_new", Kind::InvalidRequest),
        ] {
            let body =
                json!({"error": {"message": "…", "type": "invalid_request_error", "code": code}});
            assert_eq!(kind(body, Some(status)), expected, "{status} {code}");
        }
    }

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
            assert_eq!(kind(Value::Null, Some(status)), expected, "{status}");
        }
    }

    #[test]
    fn a_code_may_be_a_number_or_be_missing() {
        assert_eq!(
            kind(json!({"error": {"code": 429, "message": "…"}}), None),
            Kind::RateLimited
        );
        assert_eq!(
            kind(json!({"error": {"code": "503"}}), None),
            Kind::Overloaded
        );
        assert_eq!(kind(json!({"error": "no"}), Some(500)), Kind::Server);
        assert_eq!(
            kind(json!({"message": "no", "type": "server_error"}), None),
            Kind::Server
        );
        assert_eq!(
            kind(json!({"error": {"type": "invalid_request_error"}}), None),
            Kind::InvalidRequest
        );
        assert_eq!(kind(json!({"error": {}}), None), Kind::Server);
    }

    #[test]
    fn advice_is_followed_where_repeating_helps() {
        let complain = |code: &str, advice: &Advice| {
            complained(
                Complaint::read(&json!({"error": {"code": code}}), Some(429)),
                advice,
            )
            .retry()
        };
        let wait = Advice {
            after: Some(Duration::from_secs(2)),
            should_retry: None,
        };
        assert_eq!(
            complain("rate_limit_exceeded", &wait),
            Retry::After(Duration::from_secs(2))
        );
        assert_eq!(
            complain("rate_limit_exceeded", &Advice::default()),
            Retry::Backoff
        );
        let never = Advice {
            should_retry: Some(false),
            ..wait
        };
        assert_eq!(complain("rate_limit_exceeded", &never), Retry::No);
        let always = Advice {
            should_retry: Some(true),
            ..wait
        };
        assert_eq!(complain("insufficient_quota", &always), Retry::No);
    }

    #[test]
    fn what_is_no_name_is_not_repeated() {
        let body = json!({"error": {"code": "the prompt said: hello", "type": "x".repeat(200), "message": "canary"}});
        let complaint = Complaint::read(&body, Some(400));
        assert_eq!((complaint.code, complaint.sort), (None, None));
    }
}

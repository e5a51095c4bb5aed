//! What the provider says of a failure, as a kind of model error.

use seaworthy_http::Complaint;
use seaworthy_http::failure::{by_status, word};
use seaworthy_ports::model_provider::Kind;
use serde_json::Value;

/// The adapter's id, in every error.
pub(crate) const ADAPTER: &str = "anthropic";

/// Reads `{"type": "error", "error": {"type", "message", "error_code"}, "request_id"}`. The message is left out: it may
/// quote the prompt.
pub(crate) fn complaint(body: &Value, status: Option<u16>) -> Complaint {
    let error = body.get("error").unwrap_or(&Value::Null);
    let name = |name: &str| error.get(name).and_then(Value::as_str).and_then(word);
    let (sort, code) = (name("type"), name("error_code"));
    let kind = code
        .as_deref()
        .and_then(by_name)
        .or_else(|| sort.as_deref().and_then(by_name))
        .or_else(|| status.map(by_status))
        .or_else(|| sort.as_deref().and_then(by_family))
        .unwrap_or(Kind::Server);
    Complaint {
        kind,
        status,
        sort: sort.clone().filter(|_sort| code.is_some()),
        // The type is the code where there is no finer one.
        code: code.or(sort),
        after: None,
    }
}

/// By code, never by message.
fn by_name(name: &str) -> Option<Kind> {
    Some(match name {
        "authentication_error" => Kind::Authentication,
        "billing_error" | "credit_balance_too_low" => Kind::QuotaExhausted,
        "permission_error" => Kind::Permission,
        "not_found_error" => Kind::NotFound,
        "context_length_exceeded" | "prompt_too_long" | "model_context_window_exceeded" => {
            Kind::ContextLength
        }
        "rate_limit_error" => Kind::RateLimited,
        "overloaded_error" => Kind::Overloaded,
        "timeout_error" => Kind::Timeout,
        "api_error" => Kind::Server,
        _ => return None,
    })
}

/// Types so general that a status says more.
fn by_family(name: &str) -> Option<Kind> {
    matches!(name, "invalid_request_error" | "request_too_large").then_some(Kind::InvalidRequest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_type_says_more_than_a_status_and_a_code_more_than_a_type() {
        for (status, sort, code, expected) in [
            (401, "authentication_error", None, Kind::Authentication),
            (402, "billing_error", None, Kind::QuotaExhausted),
            (400, "invalid_request_error", None, Kind::InvalidRequest),
            (413, "request_too_large", None, Kind::InvalidRequest),
            (
                400,
                "invalid_request_error",
                Some("context_length_exceeded"),
                Kind::ContextLength,
            ),
            (200, "overloaded_error", None, Kind::Overloaded),
            (529, "something_new", None, Kind::Overloaded),
            (504, "timeout_error", None, Kind::Timeout),
        ] {
            let body = json!({"type": "error", "error": {"type": sort, "error_code": code, "message": "…"}});
            let complaint = complaint(&body, Some(status));
            assert_eq!(complaint.kind, expected, "{status} {sort} {code:?}");
            assert_eq!(complaint.code.as_deref(), Some(code.unwrap_or(sort)));
        }
    }

    #[test]
    fn a_failure_without_words_is_the_providers_own() {
        assert_eq!(complaint(&json!({"error": 3}), None).kind, Kind::Server);
        assert_eq!(complaint(&Value::Null, Some(404)).kind, Kind::NotFound);
    }

    #[test]
    fn a_wrong_request_within_a_stream_is_not_tried_again() {
        let body = json!({"error": {"type": "invalid_request_error"}});
        assert_eq!(complaint(&body, None).kind, Kind::InvalidRequest);
    }
}

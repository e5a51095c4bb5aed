//! What an endpoint says of a failure, as a kind of model error.

use seaworthy_http::Complaint;
use seaworthy_http::failure::{by_status, word};
use seaworthy_ports::model_provider::Kind;
use serde_json::Value;

/// Reads `{"error": {"message", "type", "param", "code"}}` and what compatible servers make of it. The message is left
/// out: it may quote the prompt or a part of the key.
pub(crate) fn complaint(body: &Value, status: Option<u16>) -> Complaint {
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
    // A frame of that type says nothing more by it.
    let sort = word("type").filter(|sort| sort != "error");
    let from_text = code.as_deref().and_then(|code| code.parse().ok());
    let in_body = number
        .or(from_text)
        .filter(|code| (400..600).contains(code));
    let status = status.or(in_body);
    Complaint {
        status,
        kind: classify(status, code.as_deref(), sort.as_deref()),
        code,
        sort,
        after: None,
    }
}

/// By code, then by type, then by status; never by message. A failure that names none of them is the endpoint's own.
pub(crate) fn classify(status: Option<u16>, code: Option<&str>, sort: Option<&str>) -> Kind {
    code.and_then(by_name)
        .or_else(|| sort.and_then(by_name))
        .or_else(|| status.map(by_status))
        .or_else(|| sort.or(code).and_then(by_family))
        .unwrap_or(Kind::Server)
}

fn by_name(name: &str) -> Option<Kind> {
    Some(match name {
        "insufficient_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "quota_exceeded" => Kind::QuotaExhausted,
        "context_length_exceeded" | "exceed_context_size_error" => Kind::ContextLength,
        "content_filter"
        | "content_policy_violation"
        | "ResponsibleAIPolicyViolation"
        | "bio_policy"
        | "misalignment_policy_violation" => Kind::ContentFilter,
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
        "api_error" => Kind::Server,
        // Such as that of a request, a prompt or an image.
        _ if name.starts_with("invalid_") => Kind::InvalidRequest,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(body: Value, status: Option<u16>) -> Kind {
        complaint(&body, status).kind
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
    fn what_is_no_name_is_not_repeated() {
        let body = json!({"error": {"code": "the prompt said: hello", "type": "x".repeat(200), "message": "canary"}});
        let complaint = complaint(&body, Some(400));
        assert_eq!((complaint.code, complaint.sort), (None, None));
    }
}

//! What the provider says of a failure, as a kind of model error.

use seaworthy_http::Complaint;
use seaworthy_http::failure::{by_status, word};
use seaworthy_http::headers::duration;
use seaworthy_ports::model_provider::Kind;
use serde_json::Value;

/// The adapter's id, in every error.
pub(crate) const ADAPTER: &str = "gemini";

/// Reads `{"error": {"code", "message", "status", "details"}}`, or a list of one. The message is left out: it may quote
/// the prompt.
pub(crate) fn complaint(body: &Value, status: Option<u16>) -> Complaint {
    let error = body.get(0).unwrap_or(body).get("error");
    let error = error.unwrap_or(&Value::Null);
    let code = error.get("status").and_then(Value::as_str).and_then(word);
    let number = error
        .get("code")
        .and_then(Value::as_u64)
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (400..600).contains(code));
    let details = error.get("details").and_then(Value::as_array);
    let details: &[Value] = details.map_or(&[], Vec::as_slice);
    let by_details = details.iter().find_map(by_detail);
    let kind = by_details
        .or_else(|| code.as_deref().and_then(by_name))
        .or_else(|| status.or(number).map(by_status))
        .unwrap_or(Kind::Server);
    Complaint {
        kind,
        status,
        code,
        sort: None,
        after: details.iter().find_map(|detail| {
            let delay = detail.get("retryDelay").and_then(Value::as_str)?;
            duration(delay)
        }),
    }
}

/// Details say more than the status: a key that is wrong is an invalid argument, a day's quota an exhausted resource.
fn by_detail(detail: &Value) -> Option<Kind> {
    match detail.get("reason").and_then(Value::as_str) {
        Some("API_KEY_INVALID" | "ACCESS_TOKEN_EXPIRED") => return Some(Kind::Authentication),
        Some("BILLING_DISABLED") => return Some(Kind::QuotaExhausted),
        _ => {}
    }
    let violations = detail.get("violations").and_then(Value::as_array)?;
    let is_daily = violations.iter().any(|violation| {
        let id = violation.get("quotaId").and_then(Value::as_str);
        id.is_some_and(|id| id.contains("PerDay"))
    });
    is_daily.then_some(Kind::QuotaExhausted)
}

/// By code, never by message.
fn by_name(name: &str) -> Option<Kind> {
    Some(match name {
        "UNAUTHENTICATED" => Kind::Authentication,
        "PERMISSION_DENIED" => Kind::Permission,
        "NOT_FOUND" => Kind::NotFound,
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => Kind::InvalidRequest,
        "RESOURCE_EXHAUSTED" => Kind::RateLimited,
        "UNAVAILABLE" => Kind::Overloaded,
        "INTERNAL" | "UNKNOWN" | "ABORTED" | "DATA_LOSS" => Kind::Server,
        "DEADLINE_EXCEEDED" => Kind::Timeout,
        "UNIMPLEMENTED" => Kind::Unsupported,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_quota_of_the_day_is_no_rate_limit() {
        let limited = |quota: &str| {
            let body = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "…", "details": [
                {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"},
            ]}});
            complaint(&body, Some(429))
        };
        let minute = limited("GenerateRequestsPerMinutePerProjectPerModel-FreeTier");
        assert_eq!(minute.kind, Kind::RateLimited);
        assert_eq!(minute.after, Some(Duration::from_millis(34_500)));
        let day = limited("GenerateRequestsPerDayPerProjectPerModel-FreeTier");
        assert_eq!(day.kind, Kind::QuotaExhausted);
    }

    #[test]
    fn a_wrong_key_is_no_wrong_request() {
        let body = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}});
        assert_eq!(complaint(&body, Some(400)).kind, Kind::Authentication);
    }

    #[test]
    fn a_failure_may_be_a_list_or_have_a_number_alone() {
        let list = json!([{"error": {"code": 503, "status": "UNAVAILABLE"}}]);
        assert_eq!(complaint(&list, Some(503)).kind, Kind::Overloaded);
        assert_eq!(
            complaint(&json!({"error": {"code": 429}}), None).kind,
            Kind::RateLimited
        );
        assert_eq!(complaint(&Value::Null, Some(404)).kind, Kind::NotFound);
        assert_eq!(complaint(&json!({"error": 3}), None).kind, Kind::Server);
    }
}

//! What the headers of an answer say.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;
use seaworthy_ports::model_provider::RateLimits;

use crate::error::word;

/// The longest delay that is believed.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What an endpoint says about trying again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    pub(crate) after: Option<Duration>,
    pub(crate) should_retry: Option<bool>,
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Advice from `retry-after-ms`, `retry-after` in seconds or as a date, and `x-should-retry`.
pub(crate) fn advice(headers: &HeaderMap, now: SystemTime) -> Advice {
    let millis = text(headers, "retry-after-ms").and_then(|text| scaled(text, 0.001));
    let after = millis.or_else(|| {
        let text = text(headers, "retry-after")?;
        scaled(text, 1.0).or_else(|| {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        })
    });
    let should_retry = match text(headers, "x-should-retry") {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    Advice {
        after: after.map(|delay| delay.min(LONGEST)),
        should_retry,
    }
}

/// The endpoint's name of the request.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<String> {
    text(headers, "x-request-id")
        .or_else(|| text(headers, "request-id"))
        .and_then(word)
}

/// The limits, if the headers tell any.
pub(crate) fn rate_limits(headers: &HeaderMap) -> Option<RateLimits> {
    let number = |name| text(headers, name).and_then(|text| text.parse().ok());
    let span = |name| text(headers, name).and_then(duration);
    let limits = RateLimits {
        requests_remaining: number("x-ratelimit-remaining-requests"),
        requests_reset: span("x-ratelimit-reset-requests"),
        tokens_remaining: number("x-ratelimit-remaining-tokens"),
        tokens_reset: span("x-ratelimit-reset-tokens"),
    };
    (limits != RateLimits::default()).then_some(limits)
}

/// `12ms`, `6m0s`, `1h2m3.5s`, or seconds without a unit.
fn duration(text: &str) -> Option<Duration> {
    if let Some(seconds) = scaled(text, 1.0) {
        return Some(seconds.min(LONGEST));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|letter: char| letter.is_ascii_alphabetic())?);
        let end = tail
            .find(|letter: char| !letter.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = match unit {
            "us" => 0.000_001,
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        total = total.saturating_add(scaled(number, seconds)?);
        rest = tail;
    }
    (!text.is_empty()).then(|| total.min(LONGEST))
}

/// A number of `unit` seconds; nothing that is negative or no number.
fn scaled(text: &str, unit: f64) -> Option<Duration> {
    let is_plain = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = text.parse::<f64>().ok().filter(|_number| is_plain)? * unit;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn after(list: &[(&'static str, &str)]) -> Option<Duration> {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:07 GMT").unwrap();
        advice(&headers(list), now).after
    }

    #[test]
    fn every_form_of_a_delay_is_read() {
        assert_eq!(
            after(&[("retry-after", "20")]),
            Some(Duration::from_secs(20))
        );
        assert_eq!(
            after(&[("retry-after", "0.5")]),
            Some(Duration::from_millis(500))
        );
        assert_eq!(
            after(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            after(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]),
            Some(Duration::ZERO)
        );
        assert_eq!(
            after(&[("retry-after-ms", "1500"), ("retry-after", "9")]),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(
            after(&[("retry-after", "99999999999999999999999")]),
            Some(LONGEST)
        );
        for wrong in ["", "-1", "soon", "NaN", "inf", "1e9"] {
            assert_eq!(after(&[("retry-after", wrong)]), None, "{wrong}");
        }
    }

    #[test]
    fn whether_to_retry_is_read() {
        let told = |value| {
            advice(
                &headers(&[("x-should-retry", value)]),
                SystemTime::UNIX_EPOCH,
            )
            .should_retry
        };
        assert_eq!(
            (told("true"), told("false"), told("maybe")),
            (Some(true), Some(false), None)
        );
    }

    #[test]
    fn limits_are_read_and_nonsense_is_nothing() {
        let limits = rate_limits(&headers(&[
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "12ms"),
            ("x-ratelimit-remaining-tokens", "-1"),
            ("x-ratelimit-reset-tokens", "1h6m0.5s"),
        ]));
        let expected = RateLimits {
            requests_remaining: Some(59),
            requests_reset: Some(Duration::from_millis(12)),
            tokens_remaining: None,
            tokens_reset: Some(Duration::from_millis(3_960_500)),
        };
        assert_eq!(limits, Some(expected));
        assert_eq!(
            rate_limits(&headers(&[("x-ratelimit-reset-tokens", "6 minutes")])),
            None
        );
        assert_eq!(rate_limits(&HeaderMap::new()), None);
    }

    #[test]
    fn an_id_of_a_request_is_a_word() {
        assert_eq!(
            request_id(&headers(&[("x-request-id", "req_1-a")])).as_deref(),
            Some("req_1-a")
        );
        assert_eq!(request_id(&headers(&[("x-request-id", "a b")])), None);
    }
}

//! What the headers of an answer say.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use seaworthy_ports::model_provider::RateLimits;

use crate::failure::word;

/// The longest delay that is believed.
pub const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a backend says about trying again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// When to come back.
    pub after: Option<Duration>,
    /// When the limit is back that nothing is left of.
    pub reset: Option<Duration>,
    /// Whether coming back is any good.
    pub should_retry: Option<bool>,
}

/// What a provider calls its headers; empty: it has none of this.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The backend's name of the request, the best first.
    pub request_id: &'static [&'static str],
    /// Requests left.
    pub requests_remaining: &'static str,
    /// Until the requests are back, in any form of [`reset`].
    pub requests_reset: &'static str,
    /// Tokens left.
    pub tokens_remaining: &'static str,
    /// Until the tokens are back, in any form of [`reset`].
    pub tokens_reset: &'static str,
}

impl Names {
    /// A backend that names neither requests nor limits.
    pub const NONE: Self = Self {
        request_id: &[],
        requests_remaining: "",
        requests_reset: "",
        tokens_remaining: "",
        tokens_reset: "",
    };
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    if name.is_empty() {
        return None;
    }
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Advice from `retry-after-ms`, `retry-after` in seconds or as a date, `x-should-retry`, and the resets of `limits`.
#[must_use]
pub fn advice(headers: &HeaderMap, limits: Option<&RateLimits>, now: SystemTime) -> Advice {
    let millis = text(headers, "retry-after-ms").and_then(|text| scaled(text, 0.001));
    let after = millis.or_else(|| {
        let text = text(headers, "retry-after")?;
        scaled(text, 1.0).or_else(|| until_date(text, now))
    });
    let should_retry = match text(headers, "x-should-retry") {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    let used_up = |remaining, reset: Option<Duration>| reset.filter(|_span| remaining == Some(0));
    let reset = limits.and_then(|limits| {
        used_up(limits.requests_remaining, limits.requests_reset)
            .max(used_up(limits.tokens_remaining, limits.tokens_reset))
    });
    Advice {
        after: after.map(|delay| delay.min(LONGEST_DELAY)),
        reset,
        should_retry,
    }
}

/// The backend's name of the request.
#[must_use]
pub fn request_id(headers: &HeaderMap, names: &Names) -> Option<String> {
    let mut names = names.request_id.iter();
    names.find_map(|name| text(headers, name)).and_then(word)
}

/// The limits, if the headers tell any.
#[must_use]
pub fn rate_limits(headers: &HeaderMap, names: &Names, now: SystemTime) -> Option<RateLimits> {
    let number = |name| text(headers, name).and_then(|text| text.parse().ok());
    let span = |name| text(headers, name).and_then(|text| reset(text, now));
    let limits = RateLimits {
        requests_remaining: number(names.requests_remaining),
        requests_reset: span(names.requests_reset),
        tokens_remaining: number(names.tokens_remaining),
        tokens_reset: span(names.tokens_reset),
    };
    (limits != RateLimits::default()).then_some(limits)
}

/// The time until a limit is back: `12ms`, `6m0s`, `1h2m3.5s`, seconds without a unit, a moment as RFC 3339 writes it,
/// or an HTTP date.
#[must_use]
pub fn reset(text: &str, now: SystemTime) -> Option<Duration> {
    let span = duration(text)
        .or_else(|| {
            let moment = SystemTime::from(text.parse::<Timestamp>().ok()?);
            Some(moment.duration_since(now).unwrap_or_default())
        })
        .or_else(|| until_date(text, now))?;
    Some(span.min(LONGEST_DELAY))
}

fn until_date(text: &str, now: SystemTime) -> Option<Duration> {
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// `12ms`, `6m0s`, `1h2m3.5s`, or seconds without a unit.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    if let Some(seconds) = scaled(text, 1.0) {
        return Some(seconds.min(LONGEST_DELAY));
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
    (!text.is_empty()).then(|| total.min(LONGEST_DELAY))
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

    const NAMES: Names = Names {
        request_id: &["x-request-id", "request-id"],
        requests_remaining: "x-ratelimit-remaining-requests",
        requests_reset: "x-ratelimit-reset-requests",
        tokens_remaining: "x-ratelimit-remaining-tokens",
        tokens_reset: "x-ratelimit-reset-tokens",
    };

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

    fn now() -> SystemTime {
        httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:07 GMT").unwrap()
    }

    fn after(list: &[(&'static str, &str)]) -> Option<Duration> {
        advice(&headers(list), None, now()).after
    }

    #[test]
    fn every_form_of_a_delay_is_read() {
        let seconds = |text| after(&[("retry-after", text)]);
        assert_eq!(seconds("20"), Some(Duration::from_secs(20)));
        assert_eq!(seconds("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(
            seconds("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            seconds("Sun, 06 Nov 1994 08:00:00 GMT"),
            Some(Duration::ZERO)
        );
        assert_eq!(
            after(&[("retry-after-ms", "1500"), ("retry-after", "9")]),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(seconds("99999999999999999999999"), Some(LONGEST_DELAY));
        for wrong in ["", "-1", "soon", "NaN", "inf", "1e9"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn whether_to_retry_is_read() {
        let told = |value| advice(&headers(&[("x-should-retry", value)]), None, now()).should_retry;
        assert_eq!(
            (told("true"), told("false"), told("maybe")),
            (Some(true), Some(false), None)
        );
    }

    #[test]
    fn limits_are_read_and_nonsense_is_nothing() {
        let read = |list: &[(&'static str, &str)]| rate_limits(&headers(list), &NAMES, now());
        let limits = read(&[
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "12ms"),
            ("x-ratelimit-remaining-tokens", "-1"),
            ("x-ratelimit-reset-tokens", "1h6m0.5s"),
        ]);
        let expected = RateLimits {
            requests_remaining: Some(59),
            requests_reset: Some(Duration::from_millis(12)),
            tokens_remaining: None,
            tokens_reset: Some(Duration::from_millis(3_960_500)),
        };
        assert_eq!(limits, Some(expected));
        assert_eq!(read(&[("x-ratelimit-reset-tokens", "6 minutes")]), None);
        assert_eq!(rate_limits(&HeaderMap::new(), &NAMES, now()), None);
        assert_eq!(rate_limits(&HeaderMap::new(), &Names::NONE, now()), None);
    }

    #[test]
    fn a_limit_is_back_after_a_span_or_at_a_moment() {
        let half_a_minute = Some(Duration::from_secs(30));
        for text in [
            "30",
            "30s",
            "0m30s",
            "30000ms",
            "1994-11-06T08:49:37Z",
            "1994-11-06T09:49:37+01:00",
            "Sun, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(reset(text, now()), half_a_minute, "{text}");
        }
        assert_eq!(reset("1994-11-06T08:00:00Z", now()), Some(Duration::ZERO));
        assert_eq!(reset("2094-11-06T08:00:00Z", now()), Some(LONGEST_DELAY));
        for wrong in ["", "30 s", "soon", "1994-11-06", "08:49:37"] {
            assert_eq!(reset(wrong, now()), None, "{wrong}");
        }
    }

    #[test]
    fn only_a_limit_that_is_used_up_asks_for_patience() {
        let advised = |requests, tokens| {
            let limits = RateLimits {
                requests_remaining: Some(requests),
                requests_reset: Some(Duration::from_secs(1)),
                tokens_remaining: Some(tokens),
                tokens_reset: Some(Duration::from_secs(60)),
            };
            advice(&HeaderMap::new(), Some(&limits), now()).reset
        };
        assert_eq!(advised(5, 5), None);
        assert_eq!(advised(0, 5), Some(Duration::from_secs(1)));
        assert_eq!(advised(0, 0), Some(Duration::from_secs(60)));
    }

    #[test]
    fn an_id_of_a_request_is_a_word() {
        let id = |value| request_id(&headers(&[("request-id", value)]), &NAMES);
        assert_eq!(id("req_1-a").as_deref(), Some("req_1-a"));
        assert_eq!(id("a b"), None);
    }
}

//! Instants as the records keep them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since the Unix epoch, UTC; written as RFC 3339 with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The text is no RFC 3339 instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no RFC 3339 instant")]
pub struct InvalidTimestamp(String);

impl Timestamp {
    const FORM: [u8; 24] = *b"0000-00-00T00:00:00.000Z";

    /// The instant `millis` after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant moved later by `duration`, at most to the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Its form in the years 1970 to 9999, written over `text`, which is in that form. Every record has one, and the
    /// general way takes ten times as long.
    fn text(self, text: &mut [u8; 24]) -> Option<&str> {
        const DAY: i64 = 86_400_000;
        let (day, milli) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (year, month, day) = date(day)?;
        let parts = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, milli / 3_600_000),
            (14..16, milli / 60_000 % 60),
            (17..19, milli / 1_000 % 60),
            (20..23, milli % 1_000),
        ];
        for (place, number) in parts {
            put(text.get_mut(place)?, number);
        }
        str::from_utf8(text).ok()
    }

    /// How much later this is than `earlier`; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Self::FORM;
        if let Some(text) = self.text(&mut text) {
            return f.write_str(text);
        }
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            // Outside the years RFC 3339 can write; the number is still exact.
            Err(_) => write!(f, "@{}ms", self.0),
        }
    }
}

/// The date `days` after 1970-01-01, if it is not before that nor in the last two days of 9999, of which not every
/// instant can be written.
fn date(days: i64) -> Option<(i64, i64, i64)> {
    if !(0..2_932_895).contains(&days) {
        return None;
    }
    // Years begin with March here, so that a leap day is the last of its year, and are counted in rounds of 400 from
    // 0000-03-01.
    let days = days + 719_468;
    let (round, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    Some((year + round * 400 + next, month, day))
}

/// Puts the last digits of `number` over all of `digits`.
fn put(digits: &mut [u8], mut number: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let instant: jiff::Timestamp = text
            .parse()
            .map_err(|_error| InvalidTimestamp(text.to_owned()))?;
        Ok(Self(instant.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Self::FORM;
        match self.text(&mut text) {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_with_milliseconds_and_read_back() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1, "1970-01-01T00:00:00.001Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_795_243_200_120, "2026-11-21T06:40:00.120Z"),
        ] {
            let instant = Timestamp::from_millis(millis);
            assert_eq!(instant.to_string(), text);
            assert_eq!(text.parse(), Ok(instant));
        }
    }

    #[test]
    fn a_day_is_written_as_by_the_library_that_reads_it() {
        const DAY: i64 = 86_400_000;
        // The first, some of every year, and the last.
        let all = (-800..5_000)
            .chain((5_000..2_932_000).step_by(61))
            .chain(2_932_000..2_933_000);
        for day in all {
            // Another time on each day.
            let millis = day * DAY + (day * 7_919_993).rem_euclid(DAY);
            let expected = match jiff::Timestamp::from_millisecond(millis) {
                Ok(instant) => format!("{instant:.3}"),
                Err(_) => format!("@{millis}ms"),
            };
            assert_eq!(Timestamp::from_millis(millis).to_string(), expected);
        }
    }

    #[test]
    fn another_offset_names_the_same_instant() {
        let read: Timestamp = "1970-01-01T02:00:00+02:00".parse().unwrap();
        assert_eq!(read, Timestamp::from_millis(0));
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "yesterday",
            "1970-01-01",
            "1970-13-01T00:00:00Z",
            "1970-01-01T00:00:00",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn time_does_not_wrap_around() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.plus(Duration::from_secs(1)), end);
        assert_eq!(Timestamp::from_millis(0).plus(Duration::MAX), end);
        assert_eq!(Timestamp::from_millis(0).since(end), Duration::ZERO);
        assert_eq!(
            end.since(Timestamp::from_millis(i64::MIN)),
            Duration::from_millis(i64::MAX as u64)
        );
        assert!(!end.to_string().is_empty());
    }

    #[test]
    fn an_instant_keeps_its_form_in_json() {
        let instant = Timestamp::from_millis(1_500);
        let json = serde_json::to_string(&instant).unwrap();
        assert_eq!(json, "\"1970-01-01T00:00:01.500Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), instant);
    }
}

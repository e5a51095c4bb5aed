//! Which trace a piece of work belongs to: W3C Trace Context, as it is handed from one program to the next.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Digest;

/// The most bytes of a `tracestate` that are handed on; a longer one is dropped whole, which the standard allows.
pub const MAX_TRACESTATE_BYTES: usize = 512;
/// The most entries of a `tracestate`.
const MAX_TRACESTATE_ENTRIES: usize = 32;
/// The flags that version 00 knows: sampled, and a random trace id.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// The text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no traceparent: expected 00-TRACE-SPAN-FLAGS with 32, 16 and 2 lower-case hexadecimal digits, \
     neither TRACE nor SPAN all zero"
)]
pub struct InvalidTraceparent;

macro_rules! trace_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// The id of these bytes; `None` if they are all zero, which is no id.
            #[must_use]
            pub fn new(bytes: [u8; $bytes]) -> Option<Self> {
                (bytes != [0; $bytes]).then_some(Self(bytes))
            }

            /// The id that belongs to `name`: always the same one, and practically no other's.
            #[must_use]
            pub fn of(name: &[u8]) -> Self {
                let sum = Digest::of(name).to_hex();
                let bytes = sum.get(..$bytes * 2).and_then(|digits| bytes(digits.as_bytes()));
                // A digest that begins with so many zeros is nobody's; any other id does.
                bytes.and_then(Self::new).unwrap_or(Self([1; $bytes]))
            }

            /// Its bytes.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; $bytes] {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

trace_id! {
    /// Names a trace.
    TraceId, 16
}

trace_id! {
    /// Names a span of a trace.
    SpanId, 8
}

/// A span as others refer to it: what is handed to whoever works for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: TraceId,
    span: SpanId,
    flags: u8,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// A span of a trace that begins here, sampled.
    #[must_use]
    pub const fn new(trace: TraceId, span: SpanId) -> Self {
        Self {
            trace,
            span,
            flags: SAMPLED,
            state: None,
        }
    }

    /// Reads the values of `traceparent` and `tracestate`. As the standard wants it, a `tracestate` that cannot be read is
    /// left out, and of a later version what version 00 knows counts.
    ///
    /// # Errors
    ///
    /// [`InvalidTraceparent`], which never quotes the text: it may be anything.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Result<Self, InvalidTraceparent> {
        let text = traceparent.as_bytes();
        let is_last = match text.get(..2) {
            Some(b"00") => text.len() == 55,
            Some(b"ff") | None => false,
            Some(version) => {
                bytes::<1>(version).is_some() && matches!(text.get(55), None | Some(b'-'))
            }
        };
        let parts = (text.get(2), text.get(35), text.get(52));
        if !is_last || parts != (Some(&b'-'), Some(&b'-'), Some(&b'-')) {
            return Err(InvalidTraceparent);
        }
        let read = || {
            let trace = TraceId::new(bytes(text.get(3..35)?)?)?;
            let span = SpanId::new(bytes(text.get(36..52)?)?)?;
            let [flags] = bytes(text.get(53..55)?)?;
            Some(Self {
                trace,
                span,
                flags: flags & KNOWN_FLAGS,
                state: tracestate
                    .filter(|state| is_tracestate(state))
                    .map(Arc::from),
            })
        };
        read().ok_or(InvalidTraceparent)
    }

    /// The same trace, another span of it.
    #[must_use]
    pub fn at(&self, span: SpanId) -> Self {
        Self {
            span,
            ..self.clone()
        }
    }

    /// The trace.
    #[must_use]
    pub const fn trace(&self) -> TraceId {
        self.trace
    }

    /// The span.
    #[must_use]
    pub const fn span(&self) -> SpanId {
        self.span
    }

    /// Whether the trace is recorded; what began it decides for all of it.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The flags of version 00.
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.flags
    }

    /// The value of `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }

    /// The value of `tracestate`, where there is one: what other systems on the way have noted.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// What carries it, by the standard's names: headers, the metadata of a call, or, in capitals, the environment.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, String)> {
        let state = self
            .tracestate()
            .map(|state| ("tracestate", state.to_owned()));
        std::iter::once(("traceparent", self.traceparent())).chain(state)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    traceparent: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            traceparent: self.traceparent(),
            tracestate: self.tracestate().map(ToOwned::to_owned),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        Self::parse(&written.traceparent, written.tracestate.as_deref()).map_err(de::Error::custom)
    }
}

/// The bytes that lower-case hexadecimal digits stand for.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

/// Whether it is a list of `key=value` by the standard's grammar, as far as handing it on unchanged needs it.
fn is_tracestate(text: &str) -> bool {
    let is_entry = |entry: &str| {
        let entry = entry.trim_matches([' ', '\t']);
        entry.is_empty()
            || entry.split_once('=').is_some_and(|(key, value)| {
                let is_key = |byte: u8| {
                    byte.is_ascii_lowercase()
                        || byte.is_ascii_digit()
                        || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
                };
                let is_value = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=';
                (1..=256).contains(&key.len())
                    && key.bytes().all(is_key)
                    && (1..=256).contains(&value.len())
                    && value.bytes().all(is_value)
            })
    };
    !text.is_empty()
        && text.len() <= MAX_TRACESTATE_BYTES
        && text.split(',').count() <= MAX_TRACESTATE_ENTRIES
        && text.split(',').all(is_entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_was_read_is_written_again() {
        let context =
            TraceContext::parse(PARENT, Some("rojo=00f067aa0ba902b7,congo=t61rc")).unwrap();
        assert_eq!(context.traceparent(), PARENT);
        assert_eq!(
            context.tracestate(),
            Some("rojo=00f067aa0ba902b7,congo=t61rc")
        );
        assert!(context.is_sampled());
        let json = serde_json::to_value(&context).unwrap();
        assert_eq!(json["traceparent"], PARENT);
        assert_eq!(
            serde_json::from_value::<TraceContext>(json).unwrap(),
            context
        );
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        for text in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "00-4bf92f3577b34da6a3ce929d0e0e473\u{fc}-00f067aa0ba902b7-01",
        ] {
            assert!(TraceContext::parse(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn of_a_later_version_counts_what_this_one_knows() {
        let later = PARENT.replacen("00", "cc", 1).replace("-01", "-ff-more");
        let context = TraceContext::parse(&later, None).unwrap();
        assert_eq!(context.traceparent(), PARENT.replace("-01", "-03"));
    }

    #[test]
    fn an_unreadable_tracestate_is_left_out() {
        let long = format!("a={}", "x".repeat(MAX_TRACESTATE_BYTES));
        let many = vec!["a=b"; 33].join(",");
        for state in ["", "novalue", "A=b", "a=b=c", "a=\u{7f}", &*long, &*many] {
            let context = TraceContext::parse(PARENT, Some(state)).unwrap();
            assert_eq!(context.tracestate(), None, "{state}");
        }
    }

    #[test]
    fn a_name_has_one_id_and_another_name_another() {
        assert_eq!(TraceId::of(b"a"), TraceId::of(b"a"));
        assert_ne!(TraceId::of(b"a"), TraceId::of(b"b"));
        assert_ne!(SpanId::of(b"a"), SpanId::of(b"b"));
        assert_eq!(SpanId::of(b"a").to_string().len(), 16);
    }

    #[test]
    fn a_span_of_an_unsampled_trace_is_not_sampled() {
        let context = TraceContext::parse(&PARENT.replace("-01", "-00"), None).unwrap();
        assert!(!context.at(SpanId::of(b"a")).is_sampled());
    }
}

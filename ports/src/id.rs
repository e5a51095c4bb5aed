//! Names, parsed once at the edge. Inside, an id that exists is a valid one.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The text cannot be an id of that sort.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {sort}: {rule}")]
pub struct InvalidId {
    sort: &'static str,
    text: String,
    rule: &'static str,
}

const WORD: &str = "use letters, digits and _ . : - only, but not . or .. alone";
const NAME: &str = "use a lower-case letter, then lower-case letters, digits or _, at most 64";

fn is_word(text: &str, longest: usize) -> bool {
    !text.is_empty()
        && text.len() <= longest
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'))
        && text.bytes().any(|byte| byte != b'.')
}

fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A name without `__` and without a `_` at its end, so that `alias__tool` splits in one way only.
fn is_alias(text: &str) -> bool {
    text.len() <= 24 && is_name(text) && !text.contains("__") && !text.ends_with('_')
}

/// At most 512 bytes of relative, normalised path: no empty, `.` or `..` segment, no control character.
fn is_path(text: &str) -> bool {
    text.len() <= 512
        && text.split('/').all(|segment| {
            !matches!(segment, "" | "." | "..")
                && !segment.contains('\\')
                && !segment.chars().any(char::is_control)
        })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $sort:literal, $rule:expr, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Parses ", $sort, ".")]
            ///
            /// # Errors
            ///
            /// [`InvalidId`] with the rule that `text` breaks.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let text = text.as_ref();
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId { sort: $sort, text: text.chars().take(80).collect(), rule: $rule })
                }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

id!(
    /// One execution of an agent or a workflow. At most 200 of `[A-Za-z0-9_.:-]`, not dots alone.
    RunId, "run id", WORD, |text| is_word(text, 200)
);
id!(
    /// A long-lived conversation. The same alphabet as a run id.
    SessionId, "session id", WORD, |text| is_word(text, 200)
);
id!(
    /// A named durable unit inside a run; at most 128.
    StepId, "step id", WORD, |text| is_word(text, 128)
);
id!(
    /// One tool call of a run: the run's id, `.c` and the call's number.
    CallId, "call id", WORD, |text| is_word(text, 220)
);
id!(
    /// Makes repeating the newest append of a log harmless.
    AppendId, "append id", WORD, |text| is_word(text, 260)
);
id!(
    /// Makes sending a signal twice harmless.
    SignalId, "signal id", WORD, |text| is_word(text, 260)
);
id!(
    /// One process that serves runs.
    WorkerId, "worker id", WORD, |text| is_word(text, 200)
);
id!(
    /// Who wrote a document.
    WriterId, "writer id", WORD, |text| is_word(text, 200)
);
id!(
    /// A line that runs wait in.
    QueueName, "queue name", WORD, |text| is_word(text, 128)
);
id!(
    /// What a model calls a tool: `[a-z][a-z0-9_]{0,63}`.
    ToolName, "tool name", NAME, is_name
);
id!(
    /// What a log is about, such as `run` or `session`.
    LogKind, "log kind", NAME, is_name
);
id!(
    /// Which log of its kind; the alphabet of run and session ids.
    LogName, "log name", WORD, |text| is_word(text, 200)
);
id!(
    /// One workspace; the same alphabet as a run id.
    WorkspaceId, "workspace id", WORD, |text| is_word(text, 220)
);
id!(
    /// One snapshot of a workspace; the same alphabet as a run id.
    SnapshotId, "snapshot id", WORD, |text| is_word(text, 260)
);
id!(
    /// What a configuration calls an MCP server. It prefixes the names of the server's tools, so it has no `__`.
    ServerAlias, "server alias",
    "use lower-case letters and digits, a letter first, in parts joined by single _, at most 24",
    is_alias
);
id!(
    /// Where a document lies in its scope: relative segments joined by `/`.
    DocumentPath, "document path",
    "use relative segments joined by /, none empty, . or .., without backslashes and control characters, at most 512 bytes",
    is_path
);

/// Names one log: its kind and its name within the kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// What the log is about.
    pub kind: LogKind,
    /// Which one of that kind.
    pub name: LogName,
}

impl LogId {
    /// The log `name` of `kind`.
    #[must_use]
    pub const fn new(kind: LogKind, name: LogName) -> Self {
        Self { kind, name }
    }

    /// The log of a run.
    #[must_use]
    pub fn run(run: &RunId) -> Self {
        Self {
            kind: LogKind("run".into()),
            name: run.into(),
        }
    }

    /// The log of a session.
    #[must_use]
    pub fn session(session: &SessionId) -> Self {
        Self {
            kind: LogKind("session".into()),
            name: session.into(),
        }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl From<&RunId> for LogName {
    fn from(run: &RunId) -> Self {
        Self(Arc::clone(&run.0))
    }
}

impl From<&SessionId> for LogName {
    fn from(session: &SessionId) -> Self {
        Self(Arc::clone(&session.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_word_and_nothing_that_a_path_or_a_header_could_trip_over() {
        let long = "x".repeat(10_000);
        let refused = [
            "",
            ".",
            "..",
            "...",
            "../run",
            "a/b",
            "a\\b",
            "a b",
            "a\0b",
            "a\nb",
            "a%2e",
            "~",
            "пробег",
            "run\u{301}",
            "ｒｕｎ",
            "🚢",
            &long,
        ];
        for text in refused {
            assert!(RunId::new(text).is_err(), "{text:.40?}");
            assert!(LogName::new(text).is_err(), "{text:.40?}");
            assert!(SnapshotId::new(text).is_err(), "{text:.40?}");
        }
        for text in ["a", "run_01J-9.x:y", "..a", "a..", &"x".repeat(200)] {
            assert_eq!(RunId::new(text).unwrap().as_str(), text);
        }
        assert!(RunId::new("x".repeat(201)).is_err());
    }

    #[test]
    fn a_tool_name_is_what_every_provider_takes() {
        for text in ["a", "read_file", "x2", &"x".repeat(64)] {
            assert_eq!(ToolName::new(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "_a",
            "2x",
            "Read",
            "a-b",
            "a.b",
            "ä",
            "a\0",
            &"x".repeat(65),
        ] {
            assert!(ToolName::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_document_path_stays_in_its_scope() {
        for text in ["a", "a/b/c", "Größe/日本", "..a/b..", &"x".repeat(512)] {
            assert_eq!(DocumentPath::new(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/.",
            "a\\b",
            "a\0b",
            "a\u{85}b",
            &"x".repeat(513),
        ] {
            assert!(DocumentPath::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_error_for_a_long_text_is_short() {
        let error = RunId::new("ё".repeat(10_000)).unwrap_err();
        assert!(error.to_string().len() < 400);
    }

    #[test]
    fn an_id_that_is_read_is_checked() {
        assert_eq!(
            serde_json::from_str::<RunId>("\"run_1\"").unwrap(),
            RunId::new("run_1").unwrap()
        );
        assert!(serde_json::from_str::<RunId>("\"..\"").is_err());
        assert!(serde_json::from_str::<LogId>(r#"{"kind":"run","name":"../x"}"#).is_err());
    }

    #[test]
    fn a_log_is_named_like_its_run() {
        let run = RunId::new("run_1").unwrap();
        let log = LogId::new(LogKind::new("run").unwrap(), LogName::from(&run));
        assert_eq!(log.to_string(), "run/run_1");
    }
}

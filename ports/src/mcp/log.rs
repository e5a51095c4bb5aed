//! What a server says of its own work.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The most bytes of the text of a log message.
pub const MAX_LOG_BYTES: usize = 4 * 1024;
/// The most bytes of the name of what wrote it.
pub const MAX_LOGGER_BYTES: usize = 128;
/// The most log messages of one connection in a second.
pub const MAX_LOGS_IN_A_SECOND: u32 = 256;

/// How much a log message matters, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum McpLogLevel {
    /// For whoever looks for a mistake.
    Debug,
    /// How the work goes.
    Info,
    /// Something that is worth a look.
    Notice,
    /// Something may be wrong.
    Warning,
    /// Something went wrong.
    Error,
    /// A part of the server fails.
    Critical,
    /// Somebody must act at once.
    Alert,
    /// The server cannot be used.
    Emergency,
}

impl McpLogLevel {
    /// All of them, the least first.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// As the protocol writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }
}

/// It is none of the levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a level is debug, info, notice, warning, error, critical, alert or emergency")]
pub struct UnknownLogLevel;

impl FromStr for McpLogLevel {
    type Err = UnknownLogLevel;

    fn from_str(word: &str) -> Result<Self, UnknownLogLevel> {
        let mut all = Self::ALL.into_iter();
        all.find(|level| level.as_str() == word)
            .ok_or(UnknownLogLevel)
    }
}

impl fmt::Display for McpLogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which log messages are wanted, and who is told.
#[derive(Clone)]
pub struct McpLog {
    /// Those that matter as much, or more. The server is asked for no others, and others are left out.
    pub level: McpLogLevel,
    /// Is told each, in the order in which the server wrote them. It must not block.
    pub sink: McpLogSink,
}

/// Is told what a server says of its own work. It must not block.
pub type McpLogSink = Arc<dyn Fn(McpLogMessage) + Send + Sync>;

impl fmt::Debug for McpLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpLog")
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// What a server says of its own work. The words are the server's: they may quote anything, and hold control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct McpLogMessage {
    /// How much it matters.
    pub level: McpLogLevel,
    /// What in the server wrote it, in at most [`MAX_LOGGER_BYTES`].
    pub logger: Option<String>,
    /// What it says, in at most [`MAX_LOG_BYTES`]: a text, or data as JSON.
    pub text: String,
    /// Whether there was more of it.
    pub is_cut: bool,
    /// How many messages right before it were left out because there were too many ([`MAX_LOGS_IN_A_SECOND`]).
    pub dropped: u64,
}

impl McpLogMessage {
    /// A message within the bounds.
    #[must_use]
    pub fn new(level: McpLogLevel, logger: Option<&str>, text: &str) -> Self {
        let kept = beginning(text, MAX_LOG_BYTES);
        let shown = logger.map(|logger| beginning(logger, MAX_LOGGER_BYTES));
        Self {
            level,
            is_cut: kept.len() < text.len() || shown.map(str::len) < logger.map(str::len),
            logger: shown.map(str::to_owned),
            text: kept.to_owned(),
            dropped: 0,
        }
    }
}

/// As much of `text` as so many bytes hold.
fn beginning(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

impl fmt::Debug for McpLogMessage {
    /// Without words: they may quote an argument.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpLogMessage")
            .field("level", &self.level)
            .field("bytes", &self.text.len())
            .field("is_cut", &self.is_cut)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_in_order_and_read_as_they_are_written() {
        assert!(McpLogLevel::ALL.is_sorted());
        for level in McpLogLevel::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
            let written = serde_json::to_value(level).unwrap();
            assert_eq!(written, serde_json::json!(level.as_str()));
        }
        assert_eq!("Warning".parse::<McpLogLevel>(), Err(UnknownLogLevel));
    }

    #[test]
    fn a_message_is_cut_between_letters_and_says_so() {
        let short = McpLogMessage::new(McpLogLevel::Info, Some("disk"), "full");
        assert_eq!((short.text.as_str(), short.is_cut), ("full", false));
        let long = format!("a{}", "é".repeat(MAX_LOG_BYTES));
        let cut = McpLogMessage::new(McpLogLevel::Info, None, &long);
        assert_eq!((cut.text.len(), cut.is_cut), (MAX_LOG_BYTES - 1, true));
        let named = McpLogMessage::new(McpLogLevel::Info, Some(&long), "full");
        assert!(
            named.is_cut
                && named
                    .logger
                    .is_some_and(|name| name.len() < MAX_LOGGER_BYTES)
        );
    }

    #[test]
    fn no_word_is_shown() {
        let message = McpLogMessage::new(McpLogLevel::Info, Some("canary"), "canary");
        assert!(!format!("{message:?}").contains("canary"));
    }
}

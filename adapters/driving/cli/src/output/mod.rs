//! What people and programs read.

pub(crate) mod json;
pub(crate) mod question;
pub(crate) mod text;

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::error::CliError;

/// Where output goes and what it may look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// For programs.
    pub(crate) json: bool,
    /// A person watches standard error.
    pub(crate) live: bool,
    /// A person watches standard output.
    pub(crate) stdout_terminal: bool,
    /// A person can be asked.
    pub(crate) can_ask: bool,
    colour: bool,
}

impl Output {
    pub(crate) fn new(json: bool, no_color: bool) -> Self {
        let (stdin, stdout, stderr) = (
            io::stdin().is_terminal(),
            io::stdout().is_terminal(),
            io::stderr().is_terminal(),
        );
        Self {
            json,
            live: stderr && !json,
            stdout_terminal: stdout,
            can_ask: stdin && stderr && !json,
            colour: stderr && !no_color,
        }
    }

    /// A line of the result.
    #[expect(
        clippy::unused_self,
        reason = "where output goes is this type's subject"
    )]
    pub(crate) fn line(&self, line: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        // Lines are flushed because somebody may be waiting for each.
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(closed)
    }

    /// A value as one line of JSON.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        let line = serde_json::to_string(value)
            .map_err(|error| CliError::io("write JSON", error.into()))?;
        self.line(&line)
    }

    /// A line beside the result, for a person. Nothing where programs read.
    pub(crate) fn note(&self, line: &str) {
        if !self.json {
            say(&format!("{line}\n"));
        }
    }

    /// `text` in a colour, where there are colours.
    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{}m{text}\u{1b}[0m", paint.code())
        } else {
            text.to_owned()
        }
    }

    /// Text for a person: on a terminal without anything that could steer it.
    pub(crate) fn answer(&self, text: &str) -> Result<(), CliError> {
        if self.stdout_terminal {
            self.line(&clean(text))
        } else {
            self.line(text)
        }
    }
}

fn closed(error: io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::OutputClosed,
        _ => CliError::io("write to standard output", error),
    }
}

/// What colours mean.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paint {
    Good,
    Bad,
    Attention,
    Faint,
}

impl Paint {
    const fn code(self) -> u8 {
        match self {
            Self::Good => 32,
            Self::Bad => 31,
            Self::Attention => 33,
            Self::Faint => 2,
        }
    }
}

/// Writes to standard error. Where nobody reads, nothing is lost.
pub(crate) fn say(text: &str) {
    let mut err = io::stderr().lock();
    let _unread = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// An error, for whoever reads.
pub(crate) fn report(error: &CliError, json: bool) {
    if json {
        let object =
            serde_json::json!({ "error": { "code": error.code(), "message": error.to_string() } });
        say(&format!("{object}\n"));
    } else {
        say(&format!("seaworthy: {}\n", clean(&error.to_string())));
    }
}

/// `text` without control characters but tab and newline: models, tools and logs must not steer a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// `text` on one line of at most `longest` characters.
pub(crate) fn brief(text: &str, longest: usize) -> String {
    let mut line: String = text
        .chars()
        .take(longest)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(longest).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_cannot_be_steered_by_what_a_model_says() {
        assert_eq!(
            clean("a\u{1b}[2Jb\n\tc\u{9b}d\r"),
            "a\u{fffd}[2Jb\n\tc\u{fffd}d\u{fffd}"
        );
    }

    #[test]
    fn brief_text_is_one_line_and_says_that_it_is_cut() {
        assert_eq!(brief("a\nb", 3), "a b");
        assert_eq!(brief("ééé", 2), "éé…");
    }
}

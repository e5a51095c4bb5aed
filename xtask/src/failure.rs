//! Why a subcommand failed, for a person.

use std::fmt;

/// What is wrong and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure in these words.
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// `Ok` if nothing was found; else all findings, a line each, and how to mend them.
    pub(crate) fn unless_empty(findings: &[String], advice: &str) -> Result<(), Self> {
        match findings.len() {
            0 => Ok(()),
            1 => Err(Self(format!(
                "1 finding:\n  {}\n{advice}",
                findings.join("")
            ))),
            count => Err(Self(format!(
                "{count} findings:\n  {}\n{advice}",
                findings.join("\n  ")
            ))),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

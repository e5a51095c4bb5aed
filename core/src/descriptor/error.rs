//! What is wrong with a descriptor, and where.

use std::fmt;

use serde::Serialize;

/// How many problems are reported at once.
const MAX_ERRORS: usize = 100;

/// A place in a descriptor's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Position {
    /// The beginning of the text.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// One problem of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DescriptorError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
    /// What sort of problem; one of the words in [`codes`].
    pub code: &'static str,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {} [{}]",
            self.file, self.line, self.column, self.message, self.code
        )
    }
}

/// All problems of a descriptor, at least one, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct DescriptorErrors(Vec<DescriptorError>);

impl DescriptorErrors {
    /// The problems.
    #[must_use]
    pub fn as_slice(&self) -> &[DescriptorError] {
        &self.0
    }
}

impl fmt::Display for DescriptorErrors {
    /// A line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(error, f)?;
        }
        Ok(())
    }
}

/// The words of [`DescriptorError::code`]. They are stable; messages are not.
pub mod codes {
    /// The text is not YAML, or uses a part of YAML that descriptors do not have.
    pub const YAML: &str = "yaml";
    /// There is no document in the text.
    pub const EMPTY: &str = "empty";
    /// The text or something in it is larger than a descriptor may be.
    pub const TOO_LARGE: &str = "too_large";
    /// Anchors, aliases and merge keys are not part of descriptors.
    pub const ALIAS: &str = "alias";
    /// A key is written twice.
    pub const DUPLICATE_KEY: &str = "duplicate_key";
    /// There is no such key.
    pub const UNKNOWN_KEY: &str = "unknown_key";
    /// A key that must be there is not.
    pub const MISSING_KEY: &str = "missing_key";
    /// A value is of another type.
    pub const WRONG_TYPE: &str = "wrong_type";
    /// A value is of the right type but not among the possible ones.
    pub const INVALID_VALUE: &str = "invalid_value";
    /// A descriptor of another version.
    pub const UNSUPPORTED_VERSION: &str = "unsupported_version";
    /// A name is not what a name must be.
    pub const INVALID_NAME: &str = "invalid_name";
    /// The name belongs to a built-in tool.
    pub const RESERVED_NAME: &str = "reserved_name";
    /// Nothing is declared under that name.
    pub const UNKNOWN_NAME: &str = "unknown_name";
    /// A name is listed twice.
    pub const DUPLICATE_NAME: &str = "duplicate_name";
    /// A number is out of its range.
    pub const OUT_OF_RANGE: &str = "out_of_range";
    /// A duration is not written as one.
    pub const INVALID_DURATION: &str = "invalid_duration";
    /// An input schema or an output schema is no JSON schema of an object.
    pub const INVALID_SCHEMA: &str = "invalid_schema";
    /// A schema refers to another document.
    pub const REMOTE_REFERENCE: &str = "remote_reference";
    /// A path is absolute or leads out of the descriptor's folder.
    pub const PATH_OUTSIDE: &str = "path_outside";
    /// A file that the descriptor names cannot be read.
    pub const UNREADABLE_FILE: &str = "unreadable_file";
}

/// Collects problems.
#[derive(Debug)]
pub(super) struct Reporter<'f> {
    file: &'f str,
    errors: Vec<DescriptorError>,
}

impl<'f> Reporter<'f> {
    pub(super) const fn new(file: &'f str) -> Self {
        Self {
            file,
            errors: Vec::new(),
        }
    }

    pub(super) fn report(&mut self, at: Position, code: &'static str, message: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(DescriptorError {
                file: self.file.to_owned(),
                line: at.line,
                column: at.column,
                code,
                message: message.into(),
            });
        }
    }

    /// `value`, or the problems if there were any.
    ///
    /// A value that could not be made without a report being written would be a mistake of this module; it is
    /// reported like any other problem rather than lost.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, DescriptorErrors> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => {
                if self.errors.is_empty() {
                    self.report(
                        Position::START,
                        codes::INVALID_VALUE,
                        "the descriptor is incomplete",
                    );
                }
                self.errors.sort_by_key(|error| (error.line, error.column));
                Err(DescriptorErrors(self.errors))
            }
        }
    }
}

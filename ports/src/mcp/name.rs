//! What a model calls a server's tool.

use crate::{Digest, InvalidId, ServerAlias, ToolName};

/// How many bytes a tool name may have.
const LONGEST: usize = 64;
/// How many hexadecimal digits tell apart names that had to be changed.
const MARK: usize = 8;

/// The name a model calls the server's tool `remote` by: the alias, `__`, and the tool's own name.
///
/// A name that fits the rules stays as it is. Any other is made to fit and marked with the beginning of its digest, so
/// that it is the same everywhere and at any time, and differs from the names it now resembles.
///
/// # Errors
///
/// [`InvalidId`] if `remote` is empty.
pub fn tool_name(alias: &ServerAlias, remote: &str) -> Result<ToolName, InvalidId> {
    if remote.is_empty() {
        return ToolName::new(remote);
    }
    let plain = format!("{alias}__{remote}");
    if let Ok(name) = ToolName::new(&plain) {
        return Ok(name);
    }
    let hex = Digest::of(remote.as_bytes()).to_hex();
    let mark: String = hex.chars().take(MARK).collect();
    let fitted: String = plain
        .chars()
        .map(|letter| letter.to_ascii_lowercase())
        .map(|letter| {
            if letter.is_ascii_lowercase() || letter.is_ascii_digit() {
                letter
            } else {
                '_'
            }
        })
        .take(LONGEST - MARK - 1)
        .collect();
    ToolName::new(format!("{fitted}_{mark}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(alias: &str, remote: &str) -> String {
        let alias = ServerAlias::new(alias).unwrap();
        tool_name(&alias, remote).unwrap().as_str().to_owned()
    }

    #[test]
    fn a_name_that_fits_is_only_prefixed() {
        assert_eq!(named("files", "read_file"), "files__read_file");
    }

    #[test]
    fn names_that_become_alike_stay_apart() {
        let names = [
            "Read-File",
            "read.file",
            "read file",
            "READ_FILE",
            "read_file",
        ]
        .map(|remote| named("files", remote));
        for (at, name) in names.iter().enumerate() {
            assert!(
                !names.iter().skip(at + 1).any(|other| other == name),
                "{name}"
            );
        }
    }

    #[test]
    fn long_and_foreign_names_fit_and_stay_apart() {
        let long = "x".repeat(10_000);
        let longer = "x".repeat(10_001);
        assert_eq!(named("files", &long).len(), 64);
        assert_ne!(named("files", &long), named("files", &longer));
        assert_ne!(named("files", "читать"), named("files", "писать"));
    }

    #[test]
    fn no_two_servers_share_a_name() {
        assert_ne!(named("a", "_b"), named("a_b", "b"));
        assert!(ServerAlias::new("a__b").is_err());
        assert!(ServerAlias::new("a_").is_err());
    }

    #[test]
    fn a_tool_without_a_name_is_refused() {
        assert!(tool_name(&ServerAlias::new("files").unwrap(), "").is_err());
    }
}

//! Arguments of the built-in tools as Rust values.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Trouble;

/// The arguments as `T`. The gateway has checked them against the schema; what it let through and `T` does not take is
/// still an answer, not a panic.
pub(super) fn parse<T: DeserializeOwned>(arguments: Value) -> Result<T, Trouble> {
    serde_json::from_value(arguments)
        .map_err(|error| Trouble::invalid(format!("The arguments do not fit the schema: {error}.")))
}

/// `path` without `./` in front, repeated or trailing slashes, and with `.` for the workspace itself. Only for showing
/// and joining: whether it stays inside is the session's to decide, so `..` and a leading slash stay.
pub(super) fn tidy(path: &str) -> String {
    let rooted = path.starts_with('/');
    let kept: Vec<&str> = path
        .split('/')
        .filter(|segment| !matches!(*segment, "" | "."))
        .collect();
    match (rooted, kept.is_empty()) {
        (true, _) => format!("/{}", kept.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => kept.join("/"),
    }
}

/// `name` in the directory `directory`.
pub(super) fn join(directory: &str, name: &str) -> String {
    if directory == "." {
        name.to_owned()
    } else {
        format!("{directory}/{name}")
    }
}

/// The first `limit` bytes of `text` at most, cut between characters.
pub(super) fn head(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// The last `limit` bytes of `text` at most, cut between characters.
pub(super) fn tail(text: &str, limit: usize) -> &str {
    let start = text.ceil_char_boundary(text.len().saturating_sub(limit));
    text.get(start..).unwrap_or(text)
}

/// `text` if it has at most `limit` bytes, else its start and its end around a note of how much is missing.
pub(super) fn shorten(text: &str, total: u64, limit: usize) -> (String, bool) {
    if text.len() <= limit && total <= text.len() as u64 {
        return (text.to_owned(), false);
    }
    let half = limit / 2;
    let (start, end) = if text.len() <= limit {
        (text, "")
    } else {
        (head(text, half), tail(text, half))
    };
    let shown = (start.len() + end.len()) as u64;
    let missing = total.max(text.len() as u64).saturating_sub(shown);
    (
        format!("{start}\n[… {missing} bytes left out …]\n{end}"),
        true,
    )
}

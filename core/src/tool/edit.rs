//! `edit`: replaces one piece of a file.
//!
//! # Why it may be repeated
//!
//! After a crash a call is repeated on a file that it may already have changed, so the file alone must tell. Three rules
//! make that safe.
//!
//! 1. An edit **has been applied** if `new` is in the file and every `old` that is in the file lies inside a `new`
//!    (there may be none). Then nothing is written and the answer is the same, with a note.
//! 2. Otherwise `old` must occur exactly once. That occurrence is replaced.
//! 3. An edit whose result would not count as applied by rule 1 is refused before anything is written. It can only
//!    happen where the replacement makes another `old` with the text around it.
//!
//! So each accepted edit recognises itself, and repeating it is harmless. `new` must not be empty, because an absence
//! tells nothing: to delete, keep a neighbouring line in both texts.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ToolContext;
use super::arguments::{parse, tidy};
use super::builtin::builtin;
use super::failure::Trouble;

pub(super) const DESCRIPTION: &str = "Replace one piece of a text file of the workspace: `old` must occur exactly once, \
character for character with its white space, and becomes `new`. Take enough lines around the change to make `old` \
unique. `new` must not be empty: to delete text, keep a neighbouring line in both. If the file already has the change, \
nothing is written and `note` says so.";

/// The largest file that is edited.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

pub(super) fn input_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["path", "old", "new"],
        "properties": {
            "path": { "type": "string", "description": "The file, relative to the workspace." },
            "old": { "type": "string", "minLength": 1, "description": "The text to replace, exactly as it is in the file." },
            "new": { "type": "string", "minLength": 1, "description": "The text that takes its place." }
        }
    })
}

builtin!(
    /// Edits a file.
    Edit
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    path: String,
    old: String,
    new: String,
}

async fn run(context: &ToolContext, arguments: Value) -> Result<Value, Trouble> {
    let Arguments { path, old, new } = parse(arguments)?;
    let path = tidy(&path);
    let content = context
        .session
        .read(&path, 0, MAX_BYTES)
        .await
        .map_err(|error| Trouble::at(&path, &error))?;
    if content.size > content.bytes.len() as u64 {
        return Err(Trouble::invalid(format!(
            "{path:?} has {} bytes; files over 16 MiB cannot be edited. Use `shell`.",
            content.size
        )));
    }
    let text = str::from_utf8(&content.bytes).map_err(|_error| {
        Trouble::invalid(format!(
            "{path:?} is not UTF-8 text and cannot be edited. Use `shell`."
        ))
    })?;
    match plan(text, &old, &new).map_err(|why| Trouble::invalid(format!("In {path:?}: {why}")))? {
        Plan::Applied => Ok(json!({
            "path": path,
            "replaced": true,
            "note": "The file already had this change; nothing was written.",
        })),
        Plan::Replace(after) => {
            context
                .session
                .write(&path, Bytes::from(after))
                .await
                .map_err(|error| Trouble::at(&path, &error))?;
            Ok(json!({ "path": path, "replaced": true }))
        }
    }
}

/// What is to be done to a file.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// Nothing: the change is there.
    Applied,
    /// This becomes its text.
    Replace(String),
}

fn plan(text: &str, old: &str, new: &str) -> Result<Plan, String> {
    if old.is_empty() || new.is_empty() {
        return Err(
            "`old` and `new` must not be empty. To insert or delete text, take a neighbouring line into both."
                .to_owned(),
        );
    }
    if old == new {
        return Err("`old` and `new` are the same; there is nothing to change.".to_owned());
    }
    if is_applied(text, old, new) {
        return Ok(Plan::Applied);
    }
    match text.matches(old).count() {
        0 => Err(
            "`old` does not occur. Read the file again and copy the text exactly, with its white space and line ends."
                .to_owned(),
        ),
        1 => {
            let after = text.replacen(old, new, 1);
            if is_applied(&after, old, new) {
                Ok(Plan::Replace(after))
            } else {
                Err(
                    "the replacement would make `old` occur again with the text around it. Take more of that text into \
                     `old` and `new`."
                        .to_owned(),
                )
            }
        }
        count => Err(format!(
            "`old` occurs {count} times. Take more lines around the change into it, so that it is unique."
        )),
    }
}

/// Rule 1. Occurrences are counted without overlap, from the start, here and in [`plan`] alike.
fn is_applied(text: &str, old: &str, new: &str) -> bool {
    let mut news = text.match_indices(new).map(|(start, _)| start).peekable();
    if news.peek().is_none() {
        return false;
    }
    let mut covering = None;
    text.match_indices(old).all(|(start, _)| {
        while let Some(next) = news.next_if(|next| *next <= start) {
            covering = Some(next);
        }
        covering.is_some_and(|covering| start + old.len() <= covering + new.len())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Plan, plan};

    #[test]
    fn a_single_occurrence_is_replaced() {
        assert_eq!(
            plan("one two", "two", "three"),
            Ok(Plan::Replace("one three".to_owned()))
        );
    }

    #[test]
    fn an_insertion_that_contains_its_anchor_is_recognised_as_applied() {
        assert_eq!(
            plan("a\n", "a\n", "a\nb\n"),
            Ok(Plan::Replace("a\nb\n".to_owned()))
        );
        assert_eq!(plan("a\nb\n", "a\n", "a\nb\n"), Ok(Plan::Applied));
    }

    #[test]
    fn a_replacement_that_makes_another_match_is_refused() {
        assert!(plan("aab", "ab", "b").is_err());
    }

    #[test]
    fn missing_repeated_and_empty_texts_are_refused() {
        assert!(plan("a", "b", "c").is_err());
        assert!(plan("a a", "a", "c").is_err());
        assert!(plan("a", "a", "").is_err());
        assert!(plan("a", "", "b").is_err());
        assert!(plan("a", "a", "a").is_err());
    }

    proptest! {
        #[test]
        fn every_accepted_edit_recognises_itself(text in "[ab]{0,12}", old in "[ab]{1,4}", new in "[ab]{1,4}") {
            if let Ok(Plan::Replace(after)) = plan(&text, &old, &new) {
                prop_assert_eq!(text.matches(&old).count(), 1);
                prop_assert_eq!(plan(&after, &old, &new), Ok(Plan::Applied));
            }
        }
    }
}

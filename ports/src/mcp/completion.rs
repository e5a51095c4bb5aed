//! What could be written for an argument, as a server suggests it.

use std::collections::BTreeMap;
use std::fmt;

/// The most values of one completion, which is the protocol's own bound.
pub const MAX_COMPLETIONS: usize = 100;
/// The most bytes of one value.
pub const MAX_COMPLETION_BYTES: usize = 4 * 1024;

/// A question for what could be written.
#[derive(Clone, PartialEq, Eq)]
pub struct McpCompletion {
    /// Whose argument it is.
    pub of: McpCompleting,
    /// The argument's name.
    pub argument: String,
    /// What is written of it so far; it may be empty.
    pub value: String,
    /// The other arguments that were given already.
    pub given: BTreeMap<String, String>,
}

impl fmt::Debug for McpCompletion {
    /// Without values: they are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpCompletion")
            .field("argument", &self.argument)
            .finish_non_exhaustive()
    }
}

/// Whose argument is completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum McpCompleting {
    /// That of the prompt of this name.
    Prompt(String),
    /// That of this resource template ([`uri_template`](super::McpResourceTemplate::uri_template)).
    Template(String),
}

/// What could be written, as the server suggests it: its words, and not to be trusted.
#[derive(Clone, PartialEq, Eq)]
pub struct McpCompleted {
    /// The values, the likeliest first.
    pub values: Vec<String>,
    /// How many there are in all, if the server says so.
    pub total: Option<u64>,
    /// Whether there are more than these.
    pub has_more: bool,
}

impl McpCompleted {
    /// What a server answered, within the bounds: values beyond [`MAX_COMPLETIONS`] and those longer than
    /// [`MAX_COMPLETION_BYTES`] are left out, which counts as there being more.
    #[must_use]
    pub fn bounded(values: Vec<String>, total: Option<u64>, has_more: bool) -> Self {
        let answered = values.len();
        let values: Vec<String> = values
            .into_iter()
            .filter(|value| value.len() <= MAX_COMPLETION_BYTES)
            .take(MAX_COMPLETIONS)
            .collect();
        Self {
            has_more: has_more || values.len() < answered,
            values,
            total,
        }
    }
}

impl fmt::Debug for McpCompleted {
    /// Without the values: they are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpCompleted")
            .field("values", &self.values.len())
            .field("total", &self.total)
            .field("has_more", &self.has_more)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_counts_as_more() {
        let few = vec!["a".to_owned(), "b".to_owned()];
        let whole = McpCompleted::bounded(few.clone(), Some(2), false);
        assert_eq!((whole.values, whole.has_more), (few, false));
        let many = McpCompleted::bounded(vec![String::new(); MAX_COMPLETIONS + 1], None, false);
        assert_eq!((many.values.len(), many.has_more), (MAX_COMPLETIONS, true));
        let long = vec!["x".repeat(MAX_COMPLETION_BYTES + 1), "y".to_owned()];
        let long = McpCompleted::bounded(long, None, false);
        assert_eq!((long.values, long.has_more), (vec!["y".to_owned()], true));
    }

    #[test]
    fn no_value_is_shown() {
        let question = McpCompletion {
            of: McpCompleting::Prompt("prompt".to_owned()),
            argument: "argument".to_owned(),
            value: "canary".to_owned(),
            given: BTreeMap::from([("other".to_owned(), "canary".to_owned())]),
        };
        let answer = McpCompleted::bounded(vec!["canary".to_owned()], None, false);
        assert!(!format!("{question:?}{answer:?}").contains("canary"));
    }
}

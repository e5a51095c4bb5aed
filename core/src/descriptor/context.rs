//! How much of a conversation an agent sees, and when it is summed up.

use serde::{Deserialize, Serialize};

use super::error::{Reporter, codes};
use super::fields::{Fields, integer, shown, text};
use super::suggest::advice;
use super::yaml::{Content, Node};
use crate::history::Window;

/// The longest window that a descriptor can ask for.
const MAX_NEWEST: u32 = 100_000;
/// A conversation below this is never worth a summary.
const MIN_AT_TOKENS: u32 = 1_000;
const MAX_AT_TOKENS: u32 = 100_000_000;
/// How many answers of the model stay as they are, unless written.
const DEFAULT_KEEP_TURNS: u32 = 4;
const MAX_KEEP_TURNS: u32 = 64;

/// When the older part of a conversation is replaced by a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompactionSpec {
    /// When a call would have more tokens.
    pub at_tokens: u32,
    /// How many of the newest answers of the model stay as they are, with the results of their calls.
    pub keep_turns: u32,
    /// The alias of the model that writes the summary; `None`: the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// The settings of an agent's context.
#[derive(Debug, Default)]
pub(super) struct ContextSettings {
    pub(super) history: Window,
    pub(super) compaction: Option<CompactionSpec>,
}

/// What an agent says about its context. `models`: the aliases that there are, where that is known.
pub(super) fn read(
    fields: &Fields<'_>,
    models: Option<&[String]>,
    reporter: &mut Reporter<'_>,
) -> Option<ContextSettings> {
    let history = match fields.get("history") {
        Some(node) => window(node, &fields.path("history"), reporter),
        None => Some(Window::All),
    };
    let compaction = match fields.get("compaction") {
        Some(node) => compaction(node, &fields.path("compaction"), models, reporter).map(Some),
        None => Some(None),
    };
    Some(ContextSettings {
        history: history?,
        compaction: compaction?,
    })
}

fn window(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Window> {
    const HOW: &str = "write `all`, `none`, `{ newest: 10 }` or `{ newest_messages: 50 }`";
    if let Content::Mapping(_) = &node.content {
        let fields = Fields::known(node, path, &["newest", "newest_messages"], reporter)?;
        return match (fields.get("newest"), fields.get("newest_messages")) {
            (Some(node), None) => {
                integer(node, &fields.path("newest"), 1, MAX_NEWEST, reporter).map(Window::Newest)
            }
            (None, Some(node)) => {
                let path = fields.path("newest_messages");
                integer(node, &path, 1, MAX_NEWEST, reporter).map(Window::NewestMessages)
            }
            _ => {
                let message = format!("`{path}` needs one of `newest` and `newest_messages`");
                reporter.report(node.at, codes::INVALID_VALUE, message);
                None
            }
        };
    }
    match text(node, path, reporter)? {
        "all" => Some(Window::All),
        "none" => Some(Window::None),
        other => {
            let message = format!("`{path}` cannot be `{}`; {HOW}", shown(other));
            reporter.report(node.at, codes::INVALID_VALUE, message);
            None
        }
    }
}

fn compaction(
    node: &Node,
    path: &str,
    models: Option<&[String]>,
    reporter: &mut Reporter<'_>,
) -> Option<CompactionSpec> {
    let fields = Fields::known(node, path, &["at_tokens", "keep_turns", "model"], reporter)?;
    let at_tokens = fields
        .required("at_tokens", "at_tokens: 100000", reporter)
        .and_then(|node| {
            let path = fields.path("at_tokens");
            integer(node, &path, MIN_AT_TOKENS, MAX_AT_TOKENS, reporter)
        });
    let keep_turns = match fields.get("keep_turns") {
        Some(node) => {
            let path = fields.path("keep_turns");
            integer(node, &path, 1, MAX_KEEP_TURNS, reporter)
        }
        None => Some(DEFAULT_KEEP_TURNS),
    };
    let model = match fields.get("model") {
        Some(node) => {
            let path = fields.path("model");
            let alias = text(node, &path, reporter)?;
            if let Some(models) = models
                && !models.iter().any(|model| model == alias)
            {
                let message = format!(
                    "`{path}`: there is no model `{}`; {}",
                    shown(alias),
                    advice(alias, models.iter().map(String::as_str))
                );
                reporter.report(node.at, codes::UNKNOWN_NAME, message);
            }
            Some(alias.to_owned())
        }
        None => None,
    };
    Some(CompactionSpec {
        at_tokens: at_tokens?,
        keep_turns: keep_turns?,
        model,
    })
}

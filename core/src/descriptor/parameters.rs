//! The parameters of models and agents: how a model is to answer.

use seaworthy_ports::ToolName;
use seaworthy_ports::model_provider::{Effort, Parameters, PromptCache, ToolChoice};

use super::aliases::optional;
use super::error::{Reporter, codes};
use super::fields::{Fields, boolean, integer, number, sequence, shown, text};
use super::suggest::advice;
use super::yaml::{Content, Node};

const MOST_STOPS: usize = Parameters::MOST_STOPS;
const MOST_STOP_BYTES: usize = Parameters::MOST_STOP_BYTES;

/// What both may say.
const SHARED: [&str; 7] = [
    "parallel_tool_calls",
    "reasoning",
    "seed",
    "stop",
    "temperature",
    "tool_choice",
    "top_p",
];

const CACHES: [(&str, PromptCache); 3] = [
    ("off", PromptCache::Off),
    ("short", PromptCache::Short),
    ("long", PromptCache::Long),
];

const CHOICES: [(&str, ToolChoice); 3] = [
    ("auto", ToolChoice::Auto),
    ("none", ToolChoice::None),
    ("required", ToolChoice::Required),
];

/// Those of an alias. It knows nothing of tools, so none can be named.
pub(super) fn of_alias(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Parameters> {
    let mut known = vec!["cache"];
    known.extend(SHARED);
    let fields = Fields::known(node, path, &known, reporter)?;
    let cache = fields.word("cache", &CACHES, reporter).transpose_wrong();
    let shared = shared(&fields, None, reporter);
    Some(Parameters {
        cache: cache?,
        ..shared?
    })
}

/// The tools of an agent.
#[derive(Clone, Copy)]
pub(super) struct Nameable<'a> {
    /// Those whose names are known.
    pub(super) names: &'a [ToolName],
    /// Whether there are others, which only their server knows.
    pub(super) has_more: bool,
}

/// Those of an agent with these tools.
pub(super) fn of_agent(
    node: &Node,
    path: &str,
    tools: Nameable<'_>,
    reporter: &mut Reporter<'_>,
) -> Option<Parameters> {
    let fields = Fields::known(node, path, &SHARED, reporter)?;
    shared(&fields, Some(tools), reporter)
}

/// A word that is not there, there, or there and wrong: as the other fields have it.
trait Word<T> {
    fn transpose_wrong(self) -> Option<Option<T>>;
}

impl<T> Word<T> for Option<Option<T>> {
    fn transpose_wrong(self) -> Option<Option<T>> {
        match self {
            None => Some(None),
            Some(read) => read.map(Some),
        }
    }
}

/// `tools`: those that can be named, where that is known.
fn shared(
    fields: &Fields<'_>,
    tools: Option<Nameable<'_>>,
    reporter: &mut Reporter<'_>,
) -> Option<Parameters> {
    let parallel = optional(fields, "parallel_tool_calls", reporter, boolean);
    let efforts = Effort::ALL.map(|effort| (effort.as_str(), effort));
    let reasoning = fields
        .word("reasoning", &efforts, reporter)
        .transpose_wrong();
    let seed = optional(fields, "seed", reporter, |node, path, reporter| {
        integer(node, path, 0, Parameters::GREATEST_SEED, reporter)
    });
    let stop = optional(fields, "stop", reporter, stops);
    let mut part = |key, range| {
        optional(fields, key, reporter, |node, path, reporter| {
            number(node, path, &range, reporter)
        })
    };
    let temperature = part("temperature", Parameters::TEMPERATURES);
    let top_p = part("top_p", Parameters::TOP_PS);
    let tool_choice = optional(fields, "tool_choice", reporter, |node, path, reporter| {
        choice(node, path, tools, reporter)
    });
    Some(Parameters {
        cache: None,
        parallel_tool_calls: parallel?,
        reasoning: reasoning?,
        seed: seed?,
        stop: stop?.unwrap_or_default(),
        temperature: temperature?,
        tool_choice: tool_choice?,
        top_p: top_p?,
    })
}

/// A list of texts. They may be nothing but space, such as an empty line.
fn stops(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Vec<String>> {
    let nodes = sequence(node, path, "[END]", reporter)?;
    if nodes.len() > MOST_STOPS {
        let message = format!(
            "`{path}` has {} texts, at most {MOST_STOPS} are taken",
            nodes.len()
        );
        reporter.report(node.at, codes::OUT_OF_RANGE, message);
        return None;
    }
    let mut stops = Vec::new();
    for node in nodes {
        let stop = match &node.content {
            Content::Text(stop) if (1..=MOST_STOP_BYTES).contains(&stop.len()) => {
                Some(stop.clone())
            }
            Content::Text(stop) => {
                let message = format!(
                    "`{path}` has a text of {} bytes; each has from 1 to {MOST_STOP_BYTES}",
                    stop.len()
                );
                reporter.report(node.at, codes::OUT_OF_RANGE, message);
                None
            }
            _ => text(node, path, reporter).map(str::to_owned),
        };
        stops.push(stop);
    }
    stops.into_iter().collect()
}

/// A word, or `{ tool: NAME }`.
fn choice(
    node: &Node,
    path: &str,
    tools: Option<Nameable<'_>>,
    reporter: &mut Reporter<'_>,
) -> Option<ToolChoice> {
    if let Content::Mapping(_) = &node.content {
        let fields = Fields::known(node, path, &["tool"], reporter)?;
        let (name, at) = fields.required_text("tool", "tool: search", reporter)?;
        let Some(tools) = tools else {
            let message = format!(
                "`{path}` of a model names no tool: only agents have tools; write it among the parameters of the agent"
            );
            reporter.report(at, codes::INVALID_VALUE, message);
            return None;
        };
        let found = tools.names.iter().find(|tool| tool.as_str() == name);
        if found.is_none() {
            let message = format!(
                "`{}`: the agent has no tool `{}`; {}",
                fields.path("tool"),
                shown(name),
                advice(name, tools.names.iter().map(ToolName::as_str))
            );
            reporter.report(at, codes::UNKNOWN_NAME, message);
        }
        return found.cloned().map(ToolChoice::Tool);
    }
    let word = text(node, path, reporter)?;
    let Some((_, choice)) = CHOICES.into_iter().find(|(name, _)| *name == word) else {
        let message = format!(
            "`{path}` cannot be `{}`; write `auto`, `none`, `required` or `{{ tool: NAME }}`",
            shown(word)
        );
        reporter.report(node.at, codes::INVALID_VALUE, message);
        return None;
    };
    let has_none = |tools: Nameable<'_>| tools.names.is_empty() && !tools.has_more;
    if choice == ToolChoice::Required && tools.is_some_and(has_none) {
        let message = format!("`{path}` cannot be `required`: the agent has no tools");
        reporter.report(node.at, codes::INVALID_VALUE, message);
        return None;
    }
    Some(choice)
}

//! The section `models`: aliases and what goes with them.

use std::collections::BTreeMap;

use seaworthy_ports::model_provider::ModelCapabilities;

use super::alias::{AliasSettings, Calling, Fallback, Limits, Price};
use super::error::{Reporter, codes};
use super::fields::{Fields, boolean, decimal, duration, integer, sequence, shown, text};
use super::suggest::advice;
use super::yaml::Node;
use super::{ModelSource, ModelSpec, Source, parameters};
use crate::retry::{RetryPolicy, TooLong};

/// The most of anything that is counted here.
const MOST: u32 = 1_000_000_000;
/// The most tries of a call.
const MOST_TRIES: u32 = 100;
/// The most calls a minute that a limit can be: one a millisecond.
const MOST_REQUESTS: u32 = 60_000;
/// What goes with any model.
const SETTINGS: [&str; 8] = [
    "capabilities",
    "fallback",
    "limits",
    "max_output_tokens",
    "parameters",
    "price",
    "retry",
    "tools",
];

const CALLINGS: [(&str, Calling); 2] = [
    ("native", Calling::Native),
    ("by_schema", Calling::BySchema),
];

#[derive(Clone, Copy)]
enum Provider {
    Scripted,
    Asked(&'static str),
}

const PROVIDERS: [(&str, Provider); 6] = [
    ("scripted", Provider::Scripted),
    ("openai", Provider::Asked("openai")),
    ("openai-responses", Provider::Asked("openai-responses")),
    ("anthropic", Provider::Asked("anthropic")),
    ("gemini", Provider::Asked("gemini")),
    ("ollama", Provider::Asked("ollama")),
];

/// One alias. `None` only where a problem was reported.
pub(super) fn alias(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<ModelSource> {
    let fields = Fields::open(node, path, reporter)?;
    fields.required("provider", "provider: openai", reporter)?;
    let provider = fields.word("provider", &PROVIDERS, reporter)??;
    let own = match provider {
        Provider::Scripted => "script",
        Provider::Asked(_) => "model",
    };
    let mut known = vec!["provider", own];
    known.extend(SETTINGS);
    let fields = Fields::known(node, path, &known, reporter)?;
    let settings = settings(&fields, reporter);
    let source = match provider {
        Provider::Scripted => {
            let (script, at) = fields.required_text("script", "script: script.yaml", reporter)?;
            let Some(script) = inside(script) else {
                let message = format!(
                    "`{}` must be a path inside the descriptor's folder, relative to it and without `..`",
                    fields.path("script")
                );
                reporter.report(at, codes::PATH_OUTSIDE, message);
                return None;
            };
            Source::Scripted { script, at }
        }
        Provider::Asked(provider) => {
            let (model, _) = fields.required_text("model", "model: gpt-5-mini", reporter)?;
            Source::Asked(ModelSpec::asked(provider, model)?)
        }
    };
    Some(ModelSource {
        source,
        settings: settings?,
    })
}

/// A relative path without `.` segments, if it cannot lead out.
pub(super) fn inside(path: &str) -> Option<String> {
    let is_odd = path.starts_with('/')
        || path.len() > 512
        || path
            .chars()
            .any(|character| character == '\\' || character.is_control());
    let segments: Vec<&str> = path.split('/').filter(|segment| *segment != ".").collect();
    let leads_out = segments.iter().any(|segment| matches!(*segment, "" | ".."));
    // On Windows `C:name` is not relative to the folder.
    let has_drive = segments.first().is_some_and(|first| first.contains(':'));
    (!is_odd && !leads_out && !has_drive && !segments.is_empty()).then(|| segments.join("/"))
}

/// Everything that goes with the model. Each part is read even where another is wrong.
fn settings(fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> Option<AliasSettings> {
    let capabilities = optional(fields, "capabilities", reporter, capabilities);
    let fallback = optional(fields, "fallback", reporter, fallback);
    let limits = optional(fields, "limits", reporter, limits);
    let max_output_tokens = optional(fields, "max_output_tokens", reporter, count);
    let parameters = optional(fields, "parameters", reporter, parameters::of_alias);
    let price = optional(fields, "price", reporter, price);
    let retry = optional(fields, "retry", reporter, retry);
    let tools = match fields.word("tools", &CALLINGS, reporter) {
        None => Some(Calling::Native),
        Some(read) => read,
    };
    Some(AliasSettings {
        capabilities: capabilities?.unwrap_or_default(),
        fallback: fallback?.unwrap_or_default(),
        limits: limits?,
        max_output_tokens: max_output_tokens?,
        parameters: parameters?.unwrap_or_default(),
        price: price?,
        retry: retry?,
        tools: tools?,
    })
}

/// What `read` makes of the value of `key`, if it is there. The outer `None`: it is there and wrong.
pub(super) fn optional<T>(
    fields: &Fields<'_>,
    key: &str,
    reporter: &mut Reporter<'_>,
    read: impl FnOnce(&Node, &str, &mut Reporter<'_>) -> Option<T>,
) -> Option<Option<T>> {
    match fields.get(key) {
        Some(node) => read(node, &fields.path(key), reporter).map(Some),
        None => Some(None),
    }
}

fn count(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<u32> {
    integer(node, path, 1, MOST, reporter)
}

fn capabilities(
    node: &Node,
    path: &str,
    reporter: &mut Reporter<'_>,
) -> Option<BTreeMap<String, bool>> {
    let names = ModelCapabilities::ALL.names();
    let fields = Fields::known(node, path, &names, reporter)?;
    let mut capabilities = BTreeMap::new();
    let mut complete = true;
    for (key, node) in fields.entries() {
        match boolean(node, &fields.path(&key.text), reporter) {
            Some(value) => {
                capabilities.insert(key.text.clone(), value);
            }
            None => complete = false,
        }
    }
    complete.then_some(capabilities)
}

/// A list of aliases, or a mapping with such a list. Whether they exist is checked when all are known.
fn fallback(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Fallback> {
    if node.is_sequence() {
        return Some(Fallback {
            after_first_chunk: false,
            models: aliases(node, path, reporter)?,
        });
    }
    let fields = Fields::known(node, path, &["models", "after_first_chunk"], reporter)?;
    let after_first_chunk = optional(&fields, "after_first_chunk", reporter, boolean);
    let models = fields.required("models", "models: [other]", reporter)?;
    let models = aliases(models, &fields.path("models"), reporter);
    Some(Fallback {
        after_first_chunk: after_first_chunk?.unwrap_or(false),
        models: models?,
    })
}

fn aliases(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Vec<String>> {
    let mut aliases = Vec::new();
    for node in sequence(node, path, "[other]", reporter)? {
        aliases.push(text(node, path, reporter)?.to_owned());
    }
    Some(aliases)
}

fn limits(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Limits> {
    let known = [
        "concurrent",
        "group",
        "requests_per_minute",
        "tokens_per_minute",
    ];
    let fields = Fields::known(node, path, &known, reporter)?;
    let concurrent = optional(&fields, "concurrent", reporter, count);
    let requests = optional(
        &fields,
        "requests_per_minute",
        reporter,
        |node, path, reporter| integer(node, path, 1, MOST_REQUESTS, reporter),
    );
    let tokens = optional(&fields, "tokens_per_minute", reporter, count);
    let group = optional(&fields, "group", reporter, |node, path, reporter| {
        text(node, path, reporter).map(str::to_owned)
    });
    Some(Limits {
        concurrent: concurrent?,
        group: group?,
        requests_per_minute: requests?,
        tokens_per_minute: tokens?,
    })
}

fn price(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Price> {
    let known = ["currency", "input", "output", "cache_read", "cache_write"];
    let fields = Fields::known(node, path, &known, reporter)?;
    let currency = match fields.get("currency") {
        None => Some("USD".to_owned()),
        Some(node) => {
            let path = fields.path("currency");
            let currency = text(node, &path, reporter)?;
            let is_currency =
                currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
            if !is_currency {
                let message = format!(
                    "`{path}` cannot be `{}`; write a currency's three letters, such as `USD`",
                    shown(currency)
                );
                reporter.report(node.at, codes::INVALID_VALUE, message);
            }
            is_currency.then(|| currency.to_owned())
        }
    };
    let input = fields
        .required("input", "input: 1.25", reporter)
        .and_then(|node| micros(node, &fields.path("input"), reporter));
    let output = fields
        .required("output", "output: 10", reporter)
        .and_then(|node| micros(node, &fields.path("output"), reporter));
    let cache_read = optional(&fields, "cache_read", reporter, micros);
    let cache_write = optional(&fields, "cache_write", reporter, micros);
    Some(Price {
        cache_read: cache_read?,
        cache_write: cache_write?,
        currency: currency?,
        input: input?,
        output: output?,
    })
}

/// An amount of money, in millionths.
fn micros(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<u64> {
    decimal(node, path, 1_000_000, 1_000_000, reporter)
}

fn retry(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<RetryPolicy> {
    const TOO_LONG: [(&str, TooLong); 2] = [("fail", TooLong::Fail), ("defer", TooLong::Defer)];
    let known = [
        "after_first_chunk",
        "attempts",
        "deferrals",
        "elapsed",
        "first_backoff",
        "longest_backoff",
        "longest_deferral",
        "longest_delay",
        "too_long",
    ];
    let fields = Fields::known(node, path, &known, reporter)?;
    let usual = RetryPolicy::default();
    let after_first_chunk = optional(&fields, "after_first_chunk", reporter, boolean);
    let mut tries = |key| {
        optional(&fields, key, reporter, |node, path, reporter| {
            integer(node, path, 1, MOST_TRIES, reporter)
        })
    };
    let (attempts, deferrals) = (tries("attempts"), tries("deferrals"));
    let mut time = |key| optional(&fields, key, reporter, duration);
    let elapsed = time("elapsed");
    let first_backoff = time("first_backoff");
    let longest_backoff = time("longest_backoff");
    let longest_deferral = time("longest_deferral");
    let longest_delay = time("longest_delay");
    let too_long = fields.word("too_long", &TOO_LONG, reporter);
    Some(RetryPolicy {
        after_first_chunk: after_first_chunk?.unwrap_or(usual.after_first_chunk),
        attempts: attempts?.unwrap_or(usual.attempts),
        deferrals: deferrals?.unwrap_or(usual.deferrals),
        elapsed: elapsed?.unwrap_or(usual.elapsed),
        first_backoff: first_backoff?.unwrap_or(usual.first_backoff),
        longest_backoff: longest_backoff?.unwrap_or(usual.longest_backoff),
        longest_deferral: longest_deferral?.unwrap_or(usual.longest_deferral),
        longest_delay: longest_delay?.unwrap_or(usual.longest_delay),
        too_long: too_long.unwrap_or(Some(usual.too_long))?,
    })
}

/// Reports aliases that stand in for `alias` and do not exist, stand in for themselves or twice.
pub(super) fn check_fallback<'a>(
    node: &Node,
    path: &str,
    alias: &str,
    source: &ModelSource,
    names: impl Iterator<Item = &'a str> + Clone,
    reporter: &mut Reporter<'_>,
) {
    let at = match Fields::open(node, path, reporter).and_then(|fields| fields.get("fallback")) {
        Some(node) => node.at,
        None => return,
    };
    let models = &source.settings.fallback.models;
    for (index, name) in models.iter().enumerate() {
        let name = name.as_str();
        if name == alias {
            let message = format!("`{path}.fallback`: `{alias}` cannot stand in for itself");
            reporter.report(at, codes::INVALID_VALUE, message);
        } else if models.iter().take(index).any(|before| before == name) {
            let message = format!("`{path}.fallback` lists `{}` twice", shown(name));
            reporter.report(at, codes::INVALID_VALUE, message);
        } else if !names.clone().any(|candidate| candidate == name) {
            let message = format!(
                "`{path}.fallback`: there is no model `{}`; {}",
                shown(name),
                advice(name, names.clone())
            );
            reporter.report(at, codes::UNKNOWN_NAME, message);
        }
    }
}

//! `models`: the aliases of an agent, what is known of their models, and whether these can be reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use seaworthy::descriptor::{AliasSpec, Limits, ModelSpec, Price, Support};
use seaworthy::ports::Latch;
use seaworthy::ports::model_provider::{
    Kind, ListedModel, LookUpModel, ModelCapabilities, Parameters,
};
use seaworthy::system::SystemClock;
use seaworthy::{Model, Models as _};
use serde::Serialize;

use super::Context;
use crate::args::ModelsArgs;
use crate::descriptor::load;
use crate::error::{CliError, Exit};
use crate::models::CliModels;
use crate::output::{Output, Paint, brief};

/// How long a provider may take to say whether it has a model.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many models are asked for at once.
const AT_ONCE: usize = 8;

#[derive(Debug, Serialize)]
struct Row {
    alias: String,
    provider: &'static str,
    model: String,
    reach: Reach,
    capabilities: BTreeMap<&'static str, Support>,
    context_tokens: Option<u64>,
    /// The least of what the alias and the provider say.
    max_output_tokens: Option<u64>,
    price: Option<Price>,
    limits: Option<Limits>,
    fallback: Vec<String>,
    parameters: Parameters,
}

/// Whether a model can be reached from here.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Reach {
    /// The provider takes the key and has the model.
    Reachable,
    /// It was not asked: nobody wanted it, or it needs no asking.
    NotAsked,
    /// There is no key for it here, or the configuration is wrong.
    NotConfigured { message: String },
    /// It was asked, and does not have the model or does not answer.
    Unreachable { code: &'static str, message: String },
}

/// A model that is asked for once, however many aliases stand for it.
type Key = (&'static str, String);
type Answers = BTreeMap<Key, (Reach, Option<ListedModel>)>;

pub(super) async fn models(context: &Context, args: &ModelsArgs) -> Result<Exit, CliError> {
    let (descriptor, _folder) = load(&args.agent, &args.model)?;
    let models = CliModels::new(Arc::new(SystemClock::new()), &context.environment);
    let found: Vec<(&String, &AliasSpec, Result<Model, String>)> = descriptor
        .models
        .iter()
        .map(|(alias, spec)| {
            let model = models.find(&spec.model, spec.settings.tools);
            let model = model.map_err(|error| error.to_string());
            (alias, spec, model)
        })
        .collect();
    let answers = if args.offline {
        Answers::new()
    } else {
        ask(&found).await
    };
    let rows: Vec<Row> = found
        .into_iter()
        .map(|(alias, spec, model)| row(alias, spec, &model, &answers))
        .collect();
    if context.output.json {
        context.output.json(&rows)?;
    } else {
        print(context.output, &rows)?;
    }
    let all_there = rows
        .iter()
        .all(|row| matches!(row.reach, Reach::Reachable | Reach::NotAsked));
    Ok(if all_there {
        Exit::Succeeded
    } else {
        Exit::Failed
    })
}

fn key(spec: &AliasSpec) -> Key {
    (spec.model.provider(), spec.model.name().to_owned())
}

/// Asks for each model once.
async fn ask(found: &[(&String, &AliasSpec, Result<Model, String>)]) -> Answers {
    let mut seen = BTreeSet::new();
    let asked = found.iter().filter_map(|(_alias, spec, model)| {
        let is_asked = !matches!(spec.model, ModelSpec::Scripted { .. });
        let model = model.as_ref().ok().filter(|_model| is_asked)?;
        seen.insert(key(spec)).then(|| (key(spec), model.clone()))
    });
    let asked: Vec<(Key, Model)> = asked.collect();
    stream::iter(asked)
        .map(async |(key, model)| (key, look_up(&model).await))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn look_up(model: &Model) -> (Reach, Option<ListedModel>) {
    let Some(directory) = model.provider.directory() else {
        return (Reach::NotAsked, None);
    };
    let request = LookUpModel {
        model: model.name.clone(),
        idle_timeout: PATIENCE,
        cancel: Latch::never(),
    };
    let unreachable = |kind: Kind, message: String| Reach::Unreachable {
        code: kind.as_str(),
        message,
    };
    match tokio::time::timeout(PATIENCE, directory.look_up(request)).await {
        Ok(Ok(listed)) => (Reach::Reachable, Some(listed)),
        Ok(Err(error)) => (unreachable(error.kind(), error.to_string()), None),
        Err(_elapsed) => {
            let message = format!("no answer within {} s", PATIENCE.as_secs());
            (unreachable(Kind::Timeout, message), None)
        }
    }
}

fn row(alias: &str, spec: &AliasSpec, model: &Result<Model, String>, answers: &Answers) -> Row {
    let settings = &spec.settings;
    let (reach, listed) = match model {
        Ok(_) => {
            let answer = answers.get(&key(spec)).cloned();
            answer.unwrap_or((Reach::NotAsked, None))
        }
        Err(message) => {
            let message = message.clone();
            (Reach::NotConfigured { message }, None)
        }
    };
    let listed = listed.unwrap_or_default();
    // Without a provider nobody knows what can be asked of it.
    let can_ask = model.as_ref().map_or(ModelCapabilities::ALL, |model| {
        model.provider.capabilities(&model.name)
    });
    let mut capabilities = settings.supports(can_ask);
    for (names, support) in [
        (listed.can.names(), Support::Present),
        (listed.cannot.names(), Support::Absent),
    ] {
        for name in names {
            // Whoever wrote the alias knows better, and so does the adapter that has no way to ask.
            if let Some(known) = capabilities.get_mut(name)
                && *known == Support::Unknown
            {
                *known = support;
            }
        }
    }
    let most = settings.max_output_tokens.map(u64::from);
    Row {
        alias: alias.to_owned(),
        provider: spec.model.provider(),
        model: spec.model.name().to_owned(),
        reach,
        capabilities,
        context_tokens: listed.context_tokens,
        max_output_tokens: [most, listed.max_output_tokens].into_iter().flatten().min(),
        price: settings.price.clone(),
        limits: settings.limits.clone(),
        fallback: settings.fallback.models.clone(),
        parameters: settings.parameters.clone(),
    }
}

fn print(output: Output, rows: &[Row]) -> Result<(), CliError> {
    let width = |text: fn(&Row) -> usize| rows.iter().map(text).max().unwrap_or(0);
    let aliases = width(|row| row.alias.len());
    let providers = width(|row| row.provider.len());
    let models = width(|row| row.model.chars().count().min(60));
    for row in rows {
        let (paint, state) = match &row.reach {
            Reach::Reachable => (Paint::Good, "reachable".to_owned()),
            Reach::NotAsked => (Paint::Faint, "not asked".to_owned()),
            Reach::NotConfigured { message } => (
                Paint::Bad,
                format!("not configured: {}", brief(message, 200)),
            ),
            Reach::Unreachable { code, message } => (
                Paint::Bad,
                format!("unreachable ({code}): {}", brief(message, 200)),
            ),
        };
        output.line(&format!(
            "{:<aliases$}  {:<providers$}  {:<models$}  {}",
            row.alias,
            row.provider,
            brief(&row.model, 60),
            output.paint(paint, &state)
        ))?;
        for (what, said) in details(row) {
            output.line(&format!("{:<aliases$}  {what:<13} {said}", ""))?;
        }
    }
    Ok(())
}

/// What else is known, each under its name.
fn details(row: &Row) -> Vec<(&'static str, String)> {
    let mut details = Vec::new();
    for (what, wanted) in [
        ("can", Support::Present),
        ("cannot", Support::Absent),
        ("unknown", Support::Unknown),
    ] {
        let names = row.capabilities.iter();
        let names = names.filter(|(_, support)| **support == wanted);
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        details.push((what, names.join(", ")));
    }
    let sizes = [
        row.context_tokens.map(|most| format!("{most} of context")),
        row.max_output_tokens
            .map(|most| format!("{most} of output")),
    ];
    let sizes: Vec<String> = sizes.into_iter().flatten().collect();
    details.push(("tokens", sizes.join(", ")));
    details.push(("price", row.price.as_ref().map(price).unwrap_or_default()));
    details.push((
        "limits",
        row.limits.as_ref().map(limits).unwrap_or_default(),
    ));
    details.push(("fallback", row.fallback.join(", ")));
    let parameters = (!row.parameters.is_empty())
        .then(|| serde_json::to_string(&row.parameters).unwrap_or_default());
    details.push(("parameters", parameters.unwrap_or_default()));
    details.retain(|(_, said)| !said.is_empty());
    details
}

/// Millionths as a person writes them.
fn units(micros: u64) -> String {
    let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
    let part = format!("{part:06}");
    match part.trim_end_matches('0') {
        "" => whole.to_string(),
        part => format!("{whole}.{part}"),
    }
}

fn price(price: &Price) -> String {
    let mut parts = vec![
        format!("{} input", units(price.input)),
        format!("{} output", units(price.output)),
    ];
    if let Some(read) = price.cache_read {
        parts.push(format!("{} read from the cache", units(read)));
    }
    if let Some(written) = price.cache_write {
        parts.push(format!("{} written to it", units(written)));
    }
    format!("{} {} a million tokens", price.currency, parts.join(", "))
}

fn limits(limits: &Limits) -> String {
    let parts = [
        limits.concurrent.map(|most| format!("{most} at once")),
        limits
            .requests_per_minute
            .map(|most| format!("{most} calls a minute")),
        limits
            .tokens_per_minute
            .map(|most| format!("{most} tokens a minute")),
        limits
            .group
            .as_ref()
            .map(|group| format!("as group {group}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_written_as_people_write_them() {
        for (micros, expected) in [
            (1_250_000, "1.25"),
            (10_000_000, "10"),
            (25_000, "0.025"),
            (1, "0.000001"),
            (0, "0"),
        ] {
            assert_eq!(units(micros), expected);
        }
    }
}

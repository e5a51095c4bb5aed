//! Reading a script.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::template::{Template, Templates};

/// The most bytes of a script.
const MAX_BYTES: usize = 1024 * 1024;
/// The longest latency of a turn.
const MAX_LATENCY: Duration = Duration::from_secs(600);

/// A script cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// It is not the YAML of a script.
    #[error("{origin}:{line}:{column}: {why}")]
    Syntax {
        /// Where the script came from.
        origin: String,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
        /// What is wrong.
        why: String,
    },
    /// A turn is wrong.
    #[error("{origin}: turn {turn}: {why}")]
    Turn {
        /// Where the script came from.
        origin: String,
        /// The turn, from 1.
        turn: usize,
        /// What is wrong.
        why: String,
    },
    /// The script as a whole is wrong.
    #[error("{origin}: {why}")]
    Whole {
        /// Where the script came from.
        origin: String,
        /// What is wrong.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    turns: Vec<TurnFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnFile {
    #[serde(default)]
    text: String,
    #[serde(default)]
    calls: Vec<CallFile>,
    latency: Option<String>,
    when: Option<String>,
    repeat: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallFile {
    tool: String,
    #[serde(default = "nothing")]
    arguments: Value,
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

/// A script that was read and whose templates compile.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) origin: String,
    pub(crate) turns: Vec<Turn>,
}

/// One turn.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) text: Template,
    pub(crate) calls: Vec<Call>,
    pub(crate) latency: Duration,
    pub(crate) when: Option<Template>,
    pub(crate) repeat: u32,
}

/// One call of a turn.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tool: String,
    pub(crate) arguments: Arguments,
}

/// Arguments, with templates for texts.
#[derive(Debug)]
pub(crate) enum Arguments {
    Constant(Value),
    Text(Template),
    List(Vec<Arguments>),
    Object(Vec<(String, Arguments)>),
}

impl Script {
    /// Reads a script and compiles its templates.
    pub(crate) fn parse(text: &str, origin: &str) -> Result<(Self, Templates), ScriptError> {
        let whole = |why: String| ScriptError::Whole {
            origin: origin.to_owned(),
            why,
        };
        if text.len() > MAX_BYTES {
            return Err(whole(format!("a script has at most {MAX_BYTES} bytes")));
        }
        let file: File = serde_saphyr::from_str(text).map_err(|error| {
            let (line, column) = error
                .location()
                .map_or((1, 1), |location| (location.line(), location.column()));
            let why = error.without_snippet().to_string();
            ScriptError::Syntax {
                origin: origin.to_owned(),
                line,
                column,
                why,
            }
        })?;
        if file.turns.is_empty() {
            return Err(whole("a script has at least one turn".to_owned()));
        }
        let mut templates = Templates::new();
        let mut turns = Vec::new();
        for (index, turn) in file.turns.into_iter().enumerate() {
            let why = |why: String| ScriptError::Turn {
                origin: origin.to_owned(),
                turn: index + 1,
                why,
            };
            turns.push(Turn::compile(turn, &mut templates).map_err(why)?);
        }
        Ok((
            Self {
                origin: origin.to_owned(),
                turns,
            },
            templates,
        ))
    }
}

impl Turn {
    fn compile(file: TurnFile, templates: &mut Templates) -> Result<Self, String> {
        let mut calls = Vec::new();
        for call in file.calls {
            calls.push(Call {
                tool: call.tool,
                arguments: Arguments::compile(call.arguments, templates)?,
            });
        }
        let repeat = file.repeat.unwrap_or(1);
        if repeat == 0 {
            return Err("repeat is at least 1".to_owned());
        }
        Ok(Self {
            text: templates.compile(file.text)?,
            calls,
            latency: file
                .latency
                .as_deref()
                .map_or(Ok(Duration::ZERO), latency)?,
            when: file.when.map(|when| templates.compile(when)).transpose()?,
            repeat,
        })
    }
}

impl Arguments {
    fn compile(value: Value, templates: &mut Templates) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => match templates.compile(text)? {
                Template::Constant(text) => Self::Constant(Value::String(text)),
                template => Self::Text(template),
            },
            Value::Array(items) => {
                let items: Result<_, _> = items
                    .into_iter()
                    .map(|item| Self::compile(item, templates))
                    .collect();
                Self::List(items?)
            }
            Value::Object(fields) => {
                let fields: Result<_, String> = fields
                    .into_iter()
                    .map(|(name, value)| Ok((name, Self::compile(value, templates)?)))
                    .collect();
                Self::Object(fields?)
            }
            constant => Self::Constant(constant),
        })
    }
}

/// A whole number with `ms` or `s`.
fn latency(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("latency {text:?} is no duration; write for example 200ms or 2s, at most 600s");
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').ok_or_else(wrong)?, 1000),
    };
    let number: u64 = number.trim().parse().map_err(|_error| wrong())?;
    let latency = Duration::from_millis(number.saturating_mul(unit));
    if latency > MAX_LATENCY {
        Err(wrong())
    } else {
        Ok(latency)
    }
}

//! The questions of servers, for programs and for people.

use seaworthy::ports::RunId;
use seaworthy::servers::{Question, Wants};
use seaworthy::state::Call;
use serde::Serialize;
use serde_json::Value;

use super::{clean, text};

/// An item of `questions --json` and of `show --json`.
#[derive(Debug, Serialize)]
pub(crate) struct OpenQuestion {
    pub(crate) call_id: String,
    pub(crate) run_id: String,
    pub(crate) tool: String,
    pub(crate) server: String,
    /// `input`, with a message and the schema of the answer, or `model`, with a conversation.
    pub(crate) wants: Wants,
}

impl OpenQuestion {
    /// The open question of `call`, if it has one.
    pub(crate) fn of(run: &RunId, call: &Call) -> Option<Self> {
        let Question { server, wants, .. } = call.open_question()?;
        Some(Self {
            call_id: call.proposal.call.to_string(),
            run_id: run.to_string(),
            tool: call.proposal.tool.clone(),
            server: server.to_string(),
            wants: wants.clone(),
        })
    }
}

/// A line of `questions`.
pub(crate) fn open(open: &OpenQuestion) -> String {
    format!(
        "{}  {}  {}",
        open.call_id,
        clean(&open.tool),
        asked(&open.wants)
    )
}

/// What a server asks, on one line.
pub(crate) fn asked(wants: &Wants) -> String {
    match wants {
        Wants::Input { message, schema } => {
            let fields = fields(schema).join(", ");
            let fields = match fields.as_str() {
                "" => String::new(),
                fields => format!("  ({})", clean(fields)),
            };
            format!("asks: {}{fields}", text::message(message))
        }
        Wants::Model { messages, .. } => {
            let last = messages.last().map_or("", |said| said.text.as_str());
            format!("wants the model called: {}", text::message(last))
        }
    }
}

/// The names of what is asked for.
fn fields(schema: &Value) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flat_map(serde_json::Map::keys)
        .map(String::as_str)
        .collect()
}

/// How to answer, as it is typed.
pub(crate) fn how(wants: &Wants, call: &str, flag: &str) -> String {
    match wants {
        Wants::Input { schema, .. } => {
            let example: serde_json::Map<String, Value> = fields(schema)
                .into_iter()
                .map(|name| (name.to_owned(), Value::String("…".to_owned())))
                .collect();
            let example = clean(&Value::Object(example).to_string());
            format!("seaworthy answer {call}{flag} --with '{example}'   (or: --decline, --dismiss)")
        }
        Wants::Model { .. } => {
            format!("seaworthy answer {call}{flag} --allow   (or: --decline)")
        }
    }
}

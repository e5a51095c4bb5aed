//! A request as cassettes know it: without what differs between two runs that ask the same.

use std::collections::BTreeMap;
use std::fmt;

use seaworthy_ports::Digest;
use seaworthy_ports::model_provider::{Block, FileBlock, Message, ModelRequest};
use serde_json::{Map, Value, json};

/// What of a request counts, as JSON with sorted members.
///
/// Ids of calls are those of their place; what providers keep for themselves is left out, because it comes back from the
/// cassette as it was recorded. How long to wait and how to cancel are no part of the question.
pub(crate) fn of(request: &ModelRequest) -> Value {
    let mut ids = Ids::default();
    let messages: Vec<Value> = request
        .messages
        .iter()
        .map(|message| ids.message(message))
        .collect();
    let tools: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| {
            json!({
                "name": tool.name, "description": tool.description, "input_schema": tool.input_schema,
            })
        })
        .collect();
    let mut question = json!({
        "model": request.model,
        "instructions": &*request.instructions,
        "messages": messages,
        "tools": tools,
        "output_schema": request.output_schema.as_deref(),
        "max_output_tokens": request.max_output_tokens,
    });
    // Cassettes from before there were parameters have none.
    if !request.parameters.is_empty()
        && let Some(members) = question.as_object_mut()
    {
        members.insert("parameters".to_owned(), json!(*request.parameters));
    }
    sorted(question)
}

/// The hash by which a question is found.
pub(crate) fn digest(question: &Value) -> Digest {
    Digest::of(question.to_string().as_bytes())
}

/// The same with the members of every object in order, whatever order the library keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(members) => {
            let ordered: BTreeMap<String, Value> = members.into_iter().collect();
            let ordered = ordered.into_iter();
            Value::Object(ordered.map(|(name, value)| (name, sorted(value))).collect())
        }
        other => other,
    }
}

/// Ids of calls by the order in which they first appear.
#[derive(Default)]
struct Ids(BTreeMap<String, String>);

impl Ids {
    fn of(&mut self, id: &str) -> String {
        let next = self.0.len().saturating_add(1);
        let placed = self.0.entry(id.to_owned());
        placed.or_insert_with(|| format!("call_{next}")).clone()
    }

    fn message(&mut self, message: &Message) -> Value {
        let blocks: Vec<Value> = message
            .blocks
            .iter()
            .map(|block| self.block(block))
            .collect();
        json!({ "role": message.role, "blocks": blocks })
    }

    fn block(&mut self, block: &Block) -> Value {
        match block {
            Block::Text { text, .. } => json!({ "type": "text", "text": text }),
            Block::Reasoning { text, .. } => json!({ "type": "reasoning", "text": text }),
            Block::Refusal { text } => json!({ "type": "refusal", "text": text }),
            Block::ToolCall(call) => {
                // As JSON where it is: how it was spaced does not count.
                let arguments = call.parsed();
                let arguments = arguments.unwrap_or_else(|| Value::String(call.arguments.clone()));
                json!({
                    "type": "tool_call", "id": self.of(&call.id), "name": call.name,
                    "arguments": arguments,
                })
            }
            Block::ToolResult(result) => {
                let mut told = json!({
                    "type": "tool_result", "id": self.of(&result.id), "name": result.name,
                    "content": result.content, "is_error": result.is_error,
                });
                // Cassettes of results that show nothing have no word for it.
                if !result.media.is_empty()
                    && let Some(told) = told.as_object_mut()
                {
                    let media = result.media.iter().map(file).collect();
                    told.insert("media".to_owned(), Value::Array(media));
                }
                told
            }
            Block::File(file) => self::file(file),
        }
    }
}

fn file(file: &FileBlock) -> Value {
    json!({
        "type": "file", "media_type": file.media_type, "name": file.name,
        // Large, and the same file has the same digest.
        "digest": Digest::of(file.data.as_bytes()),
    })
}

/// Where two questions differ, as a JSON pointer. Never what stands there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The place, such as `/messages/2/blocks/0/text`.
    pub place: String,
    /// Whether it was recorded.
    pub is_recorded: bool,
    /// Whether it is asked.
    pub is_asked: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.is_recorded, self.is_asked) {
            (true, false) => "is missing",
            (false, true) => "is new",
            _ => "is another",
        };
        write!(f, "{} {what}", self.place)
    }
}

/// The most differences that are looked for.
const MOST: usize = 16;

/// Where `asked` differs from `recorded`, the first few places.
pub(crate) fn differences(recorded: &Value, asked: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(recorded, asked, "", &mut found);
    found
}

fn compare(recorded: &Value, asked: &Value, place: &str, found: &mut Vec<Difference>) {
    if found.len() >= MOST || recorded == asked {
        return;
    }
    match (recorded, asked) {
        (Value::Object(before), Value::Object(now)) => objects(before, now, place, found),
        (Value::Array(before), Value::Array(now)) => {
            for at in 0..before.len().max(now.len()) {
                one(before.get(at), now.get(at), &format!("{place}/{at}"), found);
            }
        }
        _ => one_more(place, true, true, found),
    }
}

fn objects(
    before: &Map<String, Value>,
    now: &Map<String, Value>,
    place: &str,
    found: &mut Vec<Difference>,
) {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    for name in names {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        let place = format!("{place}/{escaped}");
        one(before.get(name), now.get(name), &place, found);
    }
}

fn one(before: Option<&Value>, now: Option<&Value>, place: &str, found: &mut Vec<Difference>) {
    match (before, now) {
        (Some(before), Some(now)) => compare(before, now, place, found),
        (None, None) => {}
        (before, now) => one_more(place, before.is_some(), now.is_some(), found),
    }
}

fn one_more(place: &str, is_recorded: bool, is_asked: bool, found: &mut Vec<Difference>) {
    if found.len() < MOST {
        found.push(Difference {
            place: place.to_owned(),
            is_recorded,
            is_asked,
        });
    }
}

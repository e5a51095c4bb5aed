//! Answers that must fit a JSON schema: how each model is asked for one, and what is made of what it says.
//!
//! A model is asked in the way it is best at ([`Way`]). What it says is read the same way whoever said it, from the run's
//! log alone, so that a run that goes on elsewhere, with another model, comes to the same.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use jsonschema::Validator;
use seaworthy_ports::ToolName;
use seaworthy_ports::model_provider::{Block, Message, Role, ToolCallBlock, ToolSpec};
use serde_json::Value;

use crate::agent::Candidate;
use crate::descriptor::Support;

/// The tool by which a model answers that keeps to no output schema. It is never run: its arguments are the answer.
pub const ANSWER_TOOL: &str = "final_answer";
/// How often a run gives an answer back to its model because it does not fit.
pub const MAX_REPAIRS: u32 = 1;
/// The most bytes of an answer.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// How many faults of an answer are told.
const MAX_FAULTS: usize = 5;
/// How many characters of one fault are told.
const MAX_FAULT_CHARS: usize = 300;

/// How a model is asked for an answer that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Its provider holds it to the schema.
    Native,
    /// It calls [`ANSWER_TOOL`].
    Tool,
    /// It is told the schema, and writes JSON.
    Text,
}

impl Way {
    /// The way that suits `candidate`, who has other tools to call or not.
    #[must_use]
    pub fn of(candidate: &Candidate, has_tools: bool) -> Self {
        let supports = candidate.supports();
        let may = |name| supports.get(name) != Some(&Support::Absent);
        if may("structured_output") && (!has_tools || may("schema_with_tools")) {
            Self::Native
        } else if may("tool_use") {
            Self::Tool
        } else {
            Self::Text
        }
    }
}

/// What a model is told beside the conversation.
#[derive(Clone, Debug)]
pub struct Brief {
    /// What it is told first.
    pub instructions: Arc<str>,
    /// What it may call.
    pub tools: Arc<Vec<ToolSpec>>,
    /// What its provider holds it to.
    pub output_schema: Option<Arc<Value>>,
}

/// How the models of an agent are asked for an answer that fits its schema.
#[derive(Clone, Debug)]
pub struct Output {
    native: Brief,
    tool: Brief,
    text: Brief,
}

impl Output {
    /// That of an agent with these instructions and tools.
    ///
    /// # Errors
    ///
    /// In words, why the schema is none, or that a tool has the name of [`ANSWER_TOOL`]; neither happens with a descriptor
    /// that was parsed.
    pub fn new(
        schema: &Value,
        instructions: &Arc<str>,
        tools: &Arc<Vec<ToolSpec>>,
    ) -> Result<Self, String> {
        Contract::compile(schema)?;
        let name = ToolName::new(ANSWER_TOOL).map_err(|error| error.to_string())?;
        if tools.iter().any(|tool| tool.name == name) {
            return Err(format!(
                "a tool of an agent with an output schema cannot be called {ANSWER_TOOL}"
            ));
        }
        let mut with_answer = tools.to_vec();
        with_answer.push(ToolSpec {
            name,
            description: "Gives your final answer and ends your work. Call it once, alone, when the results of all other \
                          calls are there."
                .to_owned(),
            input_schema: schema.clone(),
        });
        let told = |more: &str| -> Arc<str> {
            match instructions.trim_end() {
                "" => more.into(),
                told => format!("{told}\n\n{more}").into(),
            }
        };
        let by_tool = format!(
            "When you are done, give your final answer by calling the tool {ANSWER_TOOL}, alone. Text is not taken as an \
             answer."
        );
        let by_text = format!(
            "Your final answer must be JSON that fits this JSON schema, and nothing but that JSON:\n\n{schema}"
        );
        Ok(Self {
            native: Brief {
                instructions: Arc::clone(instructions),
                tools: Arc::clone(tools),
                output_schema: Some(Arc::new(schema.clone())),
            },
            tool: Brief {
                instructions: told(&by_tool),
                tools: Arc::new(with_answer),
                output_schema: None,
            },
            text: Brief {
                instructions: told(&by_text),
                tools: Arc::clone(tools),
                output_schema: None,
            },
        })
    }

    /// What a model is told that is asked in this way.
    #[must_use]
    pub const fn brief(&self, way: Way) -> &Brief {
        match way {
            Way::Native => &self.native,
            Way::Tool => &self.tool,
            Way::Text => &self.text,
        }
    }
}

/// A compiled output schema.
#[derive(Debug)]
pub struct Contract(Validator);

impl Contract {
    /// Compiles `schema`; nothing is fetched for it.
    ///
    /// # Errors
    ///
    /// In words, why it is no schema.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        jsonschema::options()
            .offline()
            .build(schema)
            .map(Self)
            .map_err(|error| format!("the output schema is no JSON schema: {error}"))
    }

    /// The answer in a message of the model, or what is wrong with it: at least one fault, at most six, each short.
    ///
    /// # Errors
    ///
    /// The faults.
    pub fn read(&self, message: &Message) -> Result<Value, Vec<String>> {
        let mut calls = message.tool_calls();
        let answer = match (calls.next(), calls.next()) {
            (None, _) => in_text(&message.text()),
            (Some(call), None) => in_call(call),
            (Some(_), Some(_)) => Err(format!(
                "{ANSWER_TOOL} was called more than once; give one answer"
            )),
        };
        let answer = answer.map_err(|fault| vec![fault])?;
        let faults = self.faults(&answer);
        if faults.is_empty() {
            Ok(answer)
        } else {
            Err(faults)
        }
    }

    fn faults(&self, answer: &Value) -> Vec<String> {
        let mut found = self.0.iter_errors(answer);
        let mut faults: Vec<String> = found
            .by_ref()
            .take(MAX_FAULTS)
            .map(|fault| {
                let path = fault.instance_path().to_string();
                let place = if path.is_empty() { "the answer" } else { &path };
                format!("{}: {}", short(place), short(&fault.to_string()))
            })
            .collect();
        if found.next().is_some() {
            faults.push("and more".to_owned());
        }
        faults
    }
}

/// Whether the message is an answer, and not the wish to have tools called: it calls nothing, or only [`ANSWER_TOOL`].
#[must_use]
pub fn is_answer(message: &Message) -> bool {
    message.role == Role::Assistant && message.tool_calls().all(|call| call.name == ANSWER_TOOL)
}

/// What the model is told of an answer with these faults.
#[must_use]
pub fn repair(faults: &[String]) -> String {
    let mut told = "The answer does not fit the schema that it must have:\n".to_owned();
    for fault in faults {
        // Writing to a text cannot fail.
        let _written = writeln!(told, "- {fault}");
    }
    told.push_str("Give the whole answer once more, so that it fits. There is no further try.");
    told
}

/// The conversation for whoever does not know [`ANSWER_TOOL`]: what was answered by it, and what came of that, as text.
#[must_use]
pub fn as_text(messages: &[Message]) -> Cow<'_, [Message]> {
    if !messages.iter().any(|message| told(message).is_some()) {
        return Cow::Borrowed(messages);
    }
    let told = |message: &Message| told(message).unwrap_or_else(|| message.clone());
    Cow::Owned(messages.iter().map(told).collect())
}

/// The same of one message; `None`: it stays as it is.
pub(crate) fn told(message: &Message) -> Option<Message> {
    let is_told = |block: &Block| match block {
        Block::ToolCall(call) => call.name == ANSWER_TOOL,
        Block::ToolResult(result) => result.name == ANSWER_TOOL,
        _ => false,
    };
    if !message.blocks.iter().any(is_told) {
        return None;
    }
    let text = |text: &str| Block::Text {
        text: text.to_owned(),
        opaque: None,
    };
    let blocks = message.blocks.iter().map(|block| match block {
        Block::ToolCall(call) if is_told(block) => text(&call.arguments),
        Block::ToolResult(result) if is_told(block) => text(&result.content),
        block => block.clone(),
    });
    Some(Message {
        role: message.role,
        blocks: blocks.collect(),
    })
}

fn in_call(call: &ToolCallBlock) -> Result<Value, String> {
    if call.arguments.len() > MAX_ANSWER_BYTES {
        return Err(too_long());
    }
    match serde_json::from_str(&call.arguments) {
        Ok(answer) => Ok(answer),
        // As everywhere else, no arguments are an empty object.
        Err(_) if call.arguments.trim().is_empty() => Ok(Value::Object(serde_json::Map::new())),
        Err(error) => Err(no_json(&error)),
    }
}

/// The JSON in a text: all of it, or the only fenced block in it.
fn in_text(text: &str) -> Result<Value, String> {
    if text.len() > MAX_ANSWER_BYTES {
        return Err(too_long());
    }
    let whole = match serde_json::from_str(text) {
        Ok(answer) => return Ok(answer),
        Err(error) => no_json(&error),
    };
    let fenced = fenced(text);
    match fenced.as_slice() {
        [] => Err(whole),
        [block] => serde_json::from_str(block).map_err(|error| no_json(&error)),
        [_, _, ..] => {
            Err("the answer has more than one fenced block; give nothing but the JSON".to_owned())
        }
    }
}

/// What stands between lines that begin with three back quotes.
fn fenced(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        // No line within JSON begins so: its texts have no line ends.
        if line.trim_start().starts_with("```") {
            match open.take() {
                None => open = Some(String::new()),
                Some(block) => blocks.push(block),
            }
        } else if let Some(block) = &mut open {
            block.push_str(line);
            block.push('\n');
        }
    }
    blocks.extend(open);
    blocks
}

fn too_long() -> String {
    format!("the answer has more than {MAX_ANSWER_BYTES} bytes")
}

fn no_json(error: &serde_json::Error) -> String {
    format!("the answer is no JSON: {}", short(&error.to_string()))
}

/// The start of a text that may quote an answer of any length.
fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_FAULT_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;

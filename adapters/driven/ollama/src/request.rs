//! A model request as Ollama's chat writes it.

use std::collections::BTreeMap;

use seaworthy_http::failure::refused;
use seaworthy_ports::model_provider::{
    Block, FileBlock, Kind, Message, ModelError, ModelRequest, Role, ToolCallBlock, ToolResultBlock,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::OllamaConfig;
use crate::error::ADAPTER;
use crate::parameters::{Think, only_what_there_is, tells_of_tools, think};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<Think>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<Options<'a>>,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
}

#[derive(Serialize)]
struct Call<'a> {
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: Arguments<'a>,
}

/// Arguments as the model wrote them.
#[derive(Serialize)]
#[serde(untagged)]
enum Arguments<'a> {
    Written(&'a RawValue),
    Nothing(BTreeMap<(), ()>),
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    sort: &'static str,
    function: Definition<'a>,
}

#[derive(Serialize)]
struct Definition<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
}

#[derive(Default, PartialEq, Serialize)]
struct Options<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    num_ctx: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_predict: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop: &'a [String],
}

/// The bytes of the request's body.
pub(crate) fn body(request: &ModelRequest, config: &OllamaConfig) -> Result<Vec<u8>, ModelError> {
    only_what_there_is(request)?;
    let parameters = &request.parameters;
    let options = Options {
        num_ctx: config.context_tokens,
        num_predict: request.max_output_tokens,
        temperature: parameters.temperature,
        top_p: parameters.top_p,
        seed: parameters.seed,
        stop: &parameters.stop,
    };
    let told = request
        .tools
        .iter()
        .filter(|_tool| tells_of_tools(parameters));
    let tools = told.map(|tool| Tool {
        sort: "function",
        function: Definition {
            name: tool.name.as_str(),
            description: &tool.description,
            parameters: &tool.input_schema,
        },
    });
    let body = Body {
        model: &request.model,
        messages: messages(request)?,
        stream: true,
        tools: tools.collect(),
        format: request.output_schema.as_deref(),
        think: think(parameters, config)?,
        options: (options != Options::default()).then_some(options),
    };
    serde_json::to_vec(&body).map_err(|_error| {
        let why = "the request cannot be written as JSON";
        refused(ADAPTER, Kind::InvalidRequest, "stream", why)
    })
}

fn said<'a>(role: &'static str, content: impl Into<String>) -> WireMessage<'a> {
    WireMessage {
        role,
        content: content.into(),
        images: Vec::new(),
        tool_calls: Vec::new(),
        tool_name: None,
    }
}

/// Results come first, in the order of their calls: without ids the order is all that tells them apart.
fn messages(request: &ModelRequest) -> Result<Vec<WireMessage<'_>>, ModelError> {
    let mut all = Vec::with_capacity(request.messages.len().saturating_add(1));
    if !request.instructions.is_empty() {
        all.push(said("system", &*request.instructions));
    }
    let mut calls: Vec<&str> = Vec::new();
    let mut messages = request.messages.iter().peekable();
    while let Some(first) = messages.next() {
        if first.role == Role::Assistant {
            calls = first.tool_calls().map(|call| call.id.as_str()).collect();
            all.push(by_model(first));
            continue;
        }
        let mut side = vec![first];
        while let Some(next) = messages.next_if(|next| next.role == Role::User) {
            side.push(next);
        }
        let mut results: Vec<&ToolResultBlock> = Vec::new();
        for block in side.iter().flat_map(|message| &message.blocks) {
            if let Block::ToolResult(result) = block {
                results.push(result);
            }
        }
        results.sort_by_key(|result| calls.iter().position(|id| *id == result.id));
        all.extend(results.iter().map(|result| WireMessage {
            tool_name: Some(&result.name),
            ..said("tool", &*result.content)
        }));
        for result in results.iter().filter(|result| !result.media.is_empty()) {
            let images = result.media.iter().map(image).collect::<Result<_, _>>()?;
            let said = said("user", format!("The tool {} showed this.", result.name));
            all.push(WireMessage { images, ..said });
        }
        for message in side {
            let images = images(message)?;
            let text = message.text();
            if !text.is_empty() || !images.is_empty() || results.is_empty() {
                all.push(WireMessage {
                    images,
                    ..said("user", text)
                });
            }
        }
    }
    Ok(all)
}

fn images(message: &Message) -> Result<Vec<&str>, ModelError> {
    let mut images = Vec::new();
    for block in &message.blocks {
        match block {
            Block::File(file) => images.push(image(file)?),
            Block::Text { .. }
            | Block::Reasoning { .. }
            | Block::ToolCall(_)
            | Block::ToolResult(_)
            | Block::Refusal { .. } => {}
        }
    }
    Ok(images)
}

fn image(file: &FileBlock) -> Result<&str, ModelError> {
    if !file.media_type.starts_with("image/") {
        let why = "a file of the conversation is no image";
        return Err(refused(ADAPTER, Kind::Unsupported, "stream", why));
    }
    Ok(&file.data)
}

/// Thinking does not go back: templates leave out what belongs to earlier turns.
fn by_model(message: &Message) -> WireMessage<'_> {
    let mut content = message.text();
    for block in &message.blocks {
        if let Block::Refusal { text } = block {
            content.push_str(text);
        }
    }
    WireMessage {
        tool_calls: message.tool_calls().map(call).collect(),
        ..said("assistant", content)
    }
}

/// The server takes objects only. The model reads what was wrong with its arguments in the result.
fn call(call: &ToolCallBlock) -> Call<'_> {
    let arguments = call.arguments.trim();
    let arguments = match serde_json::from_str::<&RawValue>(arguments) {
        Ok(written) if arguments.starts_with('{') => Arguments::Written(written),
        _ => Arguments::Nothing(BTreeMap::new()),
    };
    Call {
        function: Function {
            name: &call.name,
            arguments,
        },
    }
}

//! A model request as Messages writes it.

use std::collections::BTreeMap;

use seaworthy_http::failure::refused;
use seaworthy_ports::model_provider::{
    Block, FileBlock, Kind, Message, ModelError, ModelRequest, OpaqueItem, Role, ToolCallBlock,
    ToolResultBlock,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::AnthropicConfig;
use crate::error::ADAPTER;
use crate::parameters::{
    CacheControl, Choice, Sampling, WireThinking, choice, control, effort, thinking,
};

/// What the opaque item of a thinking block holds: its signature,
pub(crate) const SIGNATURE: &str = "signature";
/// or all of it.
pub(crate) const REDACTED: &str = "redacted";

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Part<'a>>,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<WireThinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(flatten)]
    sampling: Option<Sampling<'a>>,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: Role,
    content: Vec<Part<'a>>,
}

/// A block, with the mark that what goes before it may be kept.
#[derive(Serialize)]
struct Part<'a> {
    #[serde(flatten)]
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    Text {
        text: &'a str,
    },
    Image {
        source: Source<'a>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: Input<'a>,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: Answered<'a>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

/// What a tool answered: its text alone, or that with what it shows.
#[derive(Serialize)]
#[serde(untagged)]
enum Answered<'a> {
    Text(&'a str),
    Blocks(Vec<Content<'a>>),
}

/// Arguments as the model wrote them: their order and numbers are part of what the provider may have kept.
#[derive(Serialize)]
#[serde(untagged)]
enum Input<'a> {
    Written(&'a RawValue),
    Nothing(BTreeMap<(), ()>),
}

#[derive(Serialize)]
struct Source<'a> {
    #[serde(rename = "type")]
    sort: &'static str,
    media_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: &'a Value,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    sort: &'static str,
    schema: &'a Value,
}

/// The bytes of the request's body.
pub(crate) fn body(
    request: &ModelRequest,
    config: &AnthropicConfig,
) -> Result<Vec<u8>, ModelError> {
    let body = Body {
        max_tokens: Some(
            request
                .max_output_tokens
                .unwrap_or(config.max_output_tokens),
        ),
        stream: true,
        sampling: Some(Sampling::of(request, config)?),
        ..asked(request, config)?
    };
    bytes(&body, "stream")
}

/// The bytes of the body that asks for the tokens of the request: all of its input, and nothing about its answer.
pub(crate) fn counted_body(
    request: &ModelRequest,
    config: &AnthropicConfig,
) -> Result<Vec<u8>, ModelError> {
    bytes(&asked(request, config)?, "count")
}

fn bytes(body: &Body<'_>, operation: &'static str) -> Result<Vec<u8>, ModelError> {
    serde_json::to_vec(body).map_err(|_error| {
        let why = "the request cannot be written as JSON";
        refused(ADAPTER, Kind::InvalidRequest, operation, why)
    })
}

fn asked<'a>(request: &'a ModelRequest, config: &AnthropicConfig) -> Result<Body<'a>, ModelError> {
    let control = control(&request.parameters, config);
    let effort = effort(&request.parameters)?;
    let mut system: Vec<Part<'_>> = text(&request.instructions).into_iter().collect();
    // Tools come before the instructions, so this mark covers both.
    if let Some(last) = system.last_mut() {
        last.cache_control = control;
    }
    let mut messages = messages(&request.messages)?;
    // The next turn begins with all of this one. Thinking cannot be marked, but never ends a conversation.
    if let Some(last) = messages
        .last_mut()
        .and_then(|message| message.content.last_mut())
    {
        last.cache_control = control;
    }
    let format = request.output_schema.as_deref().map(|schema| Format {
        sort: "json_schema",
        schema,
    });
    let tools = request.tools.iter().map(|tool| Tool {
        name: tool.name.as_str(),
        description: &tool.description,
        input_schema: &tool.input_schema,
    });
    Ok(Body {
        model: &request.model,
        max_tokens: None,
        stream: false,
        system,
        messages,
        tools: tools.collect(),
        tool_choice: choice(request, config)?,
        thinking: thinking(&request.parameters, config).map(WireThinking::from),
        output_config: (effort.is_some() || format.is_some())
            .then_some(OutputConfig { effort, format }),
        sampling: None,
    })
}

/// Turns of the same side become one, and results of tools come first in it: the provider wants all of them there.
fn messages(messages: &[Message]) -> Result<Vec<WireMessage<'_>>, ModelError> {
    let mut turns: Vec<WireMessage<'_>> = Vec::with_capacity(messages.len());
    for message in messages {
        let mut results = Vec::new();
        let mut others = Vec::new();
        for block in &message.blocks {
            let Some(part) = part(block)? else {
                continue;
            };
            if matches!(part.content, Content::ToolResult { .. }) {
                results.push(part);
            } else {
                others.push(part);
            }
        }
        if results.is_empty() && others.is_empty() {
            continue;
        }
        match turns.last_mut() {
            Some(turn) if turn.role == message.role => {
                let after = turn
                    .content
                    .iter()
                    .take_while(|part| matches!(part.content, Content::ToolResult { .. }))
                    .count();
                let tail = turn.content.split_off(after);
                turn.content.extend(results);
                turn.content.extend(tail);
                turn.content.extend(others);
            }
            _ => {
                results.extend(others);
                turns.push(WireMessage {
                    role: message.role,
                    content: results,
                });
            }
        }
    }
    Ok(turns)
}

/// Text that is nothing but space is refused by the provider.
fn text(text: &str) -> Option<Part<'_>> {
    (!text.trim().is_empty()).then_some(plain(Content::Text { text }))
}

const fn plain(content: Content<'_>) -> Part<'_> {
    Part {
        content,
        cache_control: None,
    }
}

/// `None`: the provider has no place for it.
fn part(block: &Block) -> Result<Option<Part<'_>>, ModelError> {
    Ok(match block {
        Block::Text { text: said, .. } | Block::Refusal { text: said } => text(said),
        Block::Reasoning { text, opaque } => thought(text, opaque.as_ref()).map(plain),
        Block::ToolCall(call) => Some(plain(Content::ToolUse {
            id: &call.id,
            name: &call.name,
            input: input(call),
        })),
        Block::ToolResult(result) => Some(plain(Content::ToolResult {
            tool_use_id: &result.id,
            content: answered(result)?,
            is_error: result.is_error,
        })),
        Block::File(file) => Some(plain(self::file(file)?)),
    })
}

fn answered(result: &ToolResultBlock) -> Result<Answered<'_>, ModelError> {
    if result.media.is_empty() {
        return Ok(Answered::Text(&result.content));
    }
    let said = text(&result.content).map(|part| part.content);
    let mut blocks: Vec<Content<'_>> = said.into_iter().collect();
    for file in &result.media {
        blocks.push(self::file(file)?);
    }
    Ok(Answered::Blocks(blocks))
}

/// Thinking goes back with its signature or not at all.
fn thought<'a>(text: &'a str, opaque: Option<&'a OpaqueItem>) -> Option<Content<'a>> {
    let own = opaque.filter(|item| item.provider == ADAPTER)?;
    let field = |name: &str| own.data.get(name).and_then(Value::as_str);
    match (field(REDACTED), field(SIGNATURE)) {
        (Some(data), _) => Some(Content::RedactedThinking { data }),
        (None, Some(signature)) => Some(Content::Thinking {
            thinking: text,
            signature,
        }),
        (None, None) => None,
    }
}

/// The provider takes objects only. The model reads what was wrong with its arguments in the result.
fn input(call: &ToolCallBlock) -> Input<'_> {
    let arguments = call.arguments.trim();
    let is_object = arguments.starts_with('{');
    match serde_json::from_str::<&RawValue>(arguments) {
        Ok(written) if is_object => Input::Written(written),
        _ => Input::Nothing(BTreeMap::new()),
    }
}

fn file(file: &FileBlock) -> Result<Content<'_>, ModelError> {
    let source = Source {
        sort: "base64",
        media_type: &file.media_type,
        data: &file.data,
    };
    let title = file.name.as_deref();
    match file.media_type.as_str() {
        "image/png" | "image/jpeg" | "image/gif" | "image/webp" => Ok(Content::Image { source }),
        "application/pdf" => Ok(Content::Document { source, title }),
        _ => {
            let why = "a file of the conversation is neither PNG, JPEG, GIF, WebP nor PDF";
            Err(refused(ADAPTER, Kind::Unsupported, "stream", why))
        }
    }
}

//! A model request as `generateContent` writes it.

use std::collections::BTreeMap;

use seaworthy_http::failure::refused;
use seaworthy_ports::model_provider::{
    Block, FileBlock, Kind, Message, ModelError, ModelRequest, OpaqueItem, Role, ToolCallBlock,
    ToolResultBlock,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::{GeminiConfig, Thinking, ThinkingLevel};
use crate::dialect::signs_calls;
use crate::error::ADAPTER;
use crate::parameters::{self, ToolConfig, choice, only_what_there_is};

/// What the opaque item of a part holds.
pub(crate) const SIGNATURE: &str = "thoughtSignature";
/// How ids begin that were made here because the provider gave none; they are not sent.
pub(crate) const UNNAMED: &str = "unnamed_call_";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    /// Only where the address does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Instruction<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Tools<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation_config: Option<GenerationConfig<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Counted<'a> {
    generate_content_request: Body<'a>,
}

#[derive(Serialize)]
struct Instruction<'a> {
    parts: [Part<'a>; 1],
}

#[derive(Serialize)]
struct Content<'a> {
    role: &'static str,
    parts: Vec<Part<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    thought: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline_data: Option<InlineData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_response: Option<FunctionResponse<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InlineData<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
    args: Arguments<'a>,
}

/// Arguments as the model wrote them.
#[derive(Serialize)]
#[serde(untagged)]
enum Arguments<'a> {
    Written(&'a RawValue),
    Nothing(BTreeMap<(), ()>),
}

#[derive(Serialize)]
struct FunctionResponse<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
    response: Response<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Response<'a> {
    Output(&'a str),
    Error(&'a str),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tools<'a> {
    function_declarations: Vec<Declaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    name: &'a str,
    description: &'a str,
    parameters_json_schema: &'a Value,
}

#[derive(Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [String],
}

#[derive(PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    include_thoughts: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
}

/// The whole name of a model. One with a slash says itself what kind of model it is.
pub(crate) fn named(model: &str) -> String {
    let kind = if model.contains('/') { "" } else { "models/" };
    format!("{kind}{model}")
}

/// The bytes of the request's body.
pub(crate) fn body(request: &ModelRequest, config: &GeminiConfig) -> Result<Vec<u8>, ModelError> {
    bytes(&written(request, config)?, "stream")
}

/// The bytes of the body that asks for the tokens of the request.
pub(crate) fn counted_body(
    request: &ModelRequest,
    config: &GeminiConfig,
) -> Result<Vec<u8>, ModelError> {
    let generate_content_request = Body {
        model: Some(named(&request.model)),
        ..written(request, config)?
    };
    let body = Counted {
        generate_content_request,
    };
    bytes(&body, "count")
}

fn bytes(body: &impl Serialize, operation: &'static str) -> Result<Vec<u8>, ModelError> {
    serde_json::to_vec(body).map_err(|_error| {
        let why = "the request cannot be written as JSON";
        refused(ADAPTER, Kind::InvalidRequest, operation, why)
    })
}

fn written<'a>(request: &'a ModelRequest, config: &GeminiConfig) -> Result<Body<'a>, ModelError> {
    let declarations: Vec<Declaration<'_>> = request
        .tools
        .iter()
        .map(|tool| Declaration {
            name: tool.name.as_str(),
            description: &tool.description,
            parameters_json_schema: &tool.input_schema,
        })
        .collect();
    only_what_there_is(request)?;
    let parameters = &request.parameters;
    let schema = request.output_schema.as_deref();
    let generation = GenerationConfig {
        max_output_tokens: request.max_output_tokens,
        response_mime_type: schema.map(|_schema| "application/json"),
        response_json_schema: schema,
        thinking_config: parameters::thinking(&request.model, parameters, config)?.map(thinking),
        temperature: parameters.temperature,
        top_p: parameters.top_p,
        seed: parameters.seed,
        stop_sequences: &parameters.stop,
    };
    Ok(Body {
        model: None,
        contents: contents(&request.messages, signs_calls(&request.model))?,
        system_instruction: (!request.instructions.is_empty()).then(|| Instruction {
            parts: [text(&request.instructions)],
        }),
        tools: (!declarations.is_empty()).then_some([Tools {
            function_declarations: declarations,
        }]),
        tool_config: choice(request),
        generation_config: (generation != GenerationConfig::default()).then_some(generation),
    })
}

fn thinking(thinking: Thinking) -> ThinkingConfig {
    let (thinking_budget, thinking_level) = match thinking {
        Thinking::Budget(tokens) => (Some(tokens), None),
        Thinking::Level(ThinkingLevel::Minimal) => (None, Some("MINIMAL")),
        Thinking::Level(ThinkingLevel::Low) => (None, Some("LOW")),
        Thinking::Level(ThinkingLevel::Medium) => (None, Some("MEDIUM")),
        Thinking::Level(ThinkingLevel::High) => (None, Some("HIGH")),
        Thinking::Level(ThinkingLevel::XHigh) => (None, Some("XHIGH")),
    };
    ThinkingConfig {
        include_thoughts: thinking_budget != Some(0),
        thinking_budget,
        thinking_level,
    }
}

/// Turns of the same side become one. Results come first in it, in the order of their calls: where calls have no ids, the
/// order is all that tells them apart. What they show is in them where the model is of the generation that takes it there
/// (`is_new`), and else behind them all.
fn contents(messages: &[Message], is_new: bool) -> Result<Vec<Content<'_>>, ModelError> {
    let mut turns: Vec<Content<'_>> = Vec::with_capacity(messages.len());
    let mut messages = messages.iter().peekable();
    let mut calls: Vec<&str> = Vec::new();
    while let Some(first) = messages.next() {
        let mut side = vec![first];
        while let Some(next) = messages.next_if(|next| next.role == first.role) {
            side.push(next);
        }
        let blocks = || side.iter().flat_map(|message| &message.blocks);
        let mut results: Vec<&ToolResultBlock> = Vec::new();
        let mut parts = Vec::new();
        for block in blocks() {
            match block {
                Block::ToolResult(result) => results.push(result),
                other => parts.extend(part(other)?),
            }
        }
        results.sort_by_key(|result| calls.iter().position(|id| *id == result.id));
        let mut all = Vec::with_capacity(results.len().saturating_add(parts.len()));
        let mut beside = Vec::new();
        for result in results {
            let mut within = Vec::new();
            for file in &result.media {
                let part = self::file(file)?;
                if is_new && is_shown_within(&file.media_type) {
                    within.push(part);
                } else {
                    beside.push(part);
                }
            }
            all.push(response(result, within));
        }
        all.extend(beside);
        all.extend(parts);
        calls = side
            .iter()
            .flat_map(|message| message.tool_calls())
            .map(|call| call.id.as_str())
            .collect();
        if !all.is_empty() {
            let role = match first.role {
                Role::User => "user",
                Role::Assistant => "model",
            };
            turns.push(Content { role, parts: all });
        }
    }
    Ok(turns)
}

fn text(text: &str) -> Part<'_> {
    Part {
        text: Some(text),
        ..Part::default()
    }
}

/// `None`: the provider has no place for it.
fn part(block: &Block) -> Result<Option<Part<'_>>, ModelError> {
    Ok(match block {
        Block::Text { text: said, opaque } => {
            let thought_signature = signature(opaque.as_ref());
            let is_something = !said.is_empty() || thought_signature.is_some();
            is_something.then(|| Part {
                thought_signature,
                ..text(said)
            })
        }
        Block::Refusal { text: said } => Some(text(said)),
        // A summary of thoughts says nothing to the model, its signature does.
        Block::Reasoning { text: said, opaque } => {
            signature(opaque.as_ref()).map(|signature| Part {
                thought: true,
                thought_signature: Some(signature),
                ..text(said)
            })
        }
        Block::ToolCall(call) => Some(Part {
            function_call: Some(FunctionCall {
                id: sent_id(&call.id),
                name: &call.name,
                args: arguments(call),
            }),
            thought_signature: signature(call.opaque.as_ref()),
            ..Part::default()
        }),
        // The results of a turn come before everything else of it.
        Block::ToolResult(_) => None,
        Block::File(file) => Some(self::file(file)?),
    })
}

/// Whether a result may hold it, which is not so of sounds.
fn is_shown_within(media_type: &str) -> bool {
    media_type.starts_with("image/") || media_type == "application/pdf"
}

fn response<'a>(result: &'a ToolResultBlock, parts: Vec<Part<'a>>) -> Part<'a> {
    Part {
        function_response: Some(FunctionResponse {
            id: sent_id(&result.id),
            name: &result.name,
            response: if result.is_error {
                Response::Error(&result.content)
            } else {
                Response::Output(&result.content)
            },
            parts,
        }),
        ..Part::default()
    }
}

fn signature(opaque: Option<&OpaqueItem>) -> Option<&str> {
    let own = opaque.filter(|item| item.provider == ADAPTER)?;
    own.data.get(SIGNATURE).and_then(Value::as_str)
}

fn sent_id(id: &str) -> Option<&str> {
    (!id.starts_with(UNNAMED)).then_some(id)
}

/// The provider takes objects only. The model reads what was wrong with its arguments in the result.
fn arguments(call: &ToolCallBlock) -> Arguments<'_> {
    let arguments = call.arguments.trim();
    match serde_json::from_str::<&RawValue>(arguments) {
        Ok(written) if arguments.starts_with('{') => Arguments::Written(written),
        _ => Arguments::Nothing(BTreeMap::new()),
    }
}

fn file(file: &FileBlock) -> Result<Part<'_>, ModelError> {
    let media_type = file.media_type.as_str();
    let is_taken = media_type == "application/pdf"
        || ["image/", "audio/", "video/", "text/"]
            .iter()
            .any(|start| media_type.starts_with(start));
    if !is_taken {
        let why = "a file of the conversation is neither image, sound, video, text nor PDF";
        return Err(refused(ADAPTER, Kind::Unsupported, "stream", why));
    }
    Ok(Part {
        inline_data: Some(InlineData {
            mime_type: media_type,
            data: &file.data,
        }),
        ..Part::default()
    })
}

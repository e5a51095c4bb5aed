//! A model request as the Responses API writes it.

use seaworthy_http::failure::refused;
use seaworthy_ports::model_provider::{
    Block, Effort, FileBlock, Kind, Message, ModelError, ModelRequest, OpaqueItem, Parameters,
    Role, ToolCallBlock, ToolResultBlock, ToolSpec,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::ADAPTER;
use crate::config::OpenAiConfig;
use crate::parameters::{Choice, Common, choice};

/// What makes the provider send reasoning in a form that it can be sent back in.
const ENCRYPTED: &[&str] = &["reasoning.encrypted_content"];

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instructions: &'a str,
    input: Vec<Item<'a>>,
    stream: bool,
    store: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    include: &'static [&'static str],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireChoice<'a> {
    Word(&'static str),
    Tool {
        #[serde(rename = "type")]
        sort: &'static str,
        name: &'a str,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    /// As it came.
    Kept(&'a Value),
    Written(Written<'a>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Written<'a> {
    Message {
        role: &'static str,
        content: Vec<Part<'a>>,
        #[serde(flatten)]
        kept: Option<&'a Map<String, Value>>,
    },
    FunctionCall {
        call_id: &'a str,
        name: &'a str,
        arguments: &'a str,
        #[serde(flatten)]
        kept: Option<&'a Map<String, Value>>,
    },
    FunctionCallOutput {
        call_id: &'a str,
        output: Output<'a>,
    },
}

/// Many compatible servers take nothing but text, so text alone is no list.
#[derive(Serialize)]
#[serde(untagged)]
enum Output<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    InputText {
        text: &'a str,
    },
    InputImage {
        image_url: String,
        detail: &'static str,
    },
    InputFile {
        filename: &'a str,
        file_data: String,
    },
    OutputText {
        text: &'a str,
        annotations: [(); 0],
    },
    Refusal {
        refusal: &'a str,
    },
}

/// Unless told otherwise the provider rewrites schemas to what it calls strict.
#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    sort: &'static str,
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
    strict: bool,
}

#[derive(Serialize)]
struct Text<'a> {
    format: Format<'a>,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    sort: &'static str,
    name: &'static str,
    strict: bool,
    schema: &'a Value,
}

#[derive(Serialize)]
struct Reasoning {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<Effort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'static str>,
}

/// The bytes of the request's body.
pub(crate) fn body(request: &ModelRequest, config: &OpenAiConfig) -> Result<Vec<u8>, ModelError> {
    let mut input = Vec::with_capacity(request.messages.len());
    for message in request.messages.iter() {
        match message.role {
            Role::User => from_user(message, &mut input)?,
            Role::Assistant => input.extend(message.blocks.iter().filter_map(from_assistant)),
        }
    }
    let reasons = config
        .encrypted_reasoning
        .unwrap_or_else(|| reasons(&request.model));
    only_what_there_is(&request.parameters)?;
    let effort = request.parameters.reasoning.or(config.reasoning_effort);
    let summary = config.reasoning_summaries.then_some("auto");
    let body = Body {
        model: &request.model,
        instructions: &request.instructions,
        input,
        stream: true,
        store: false,
        include: if reasons { ENCRYPTED } else { &[] },
        tools: request.tools.iter().map(tool).collect(),
        tool_choice: choice(request).map(|choice| match choice {
            Choice::Word(word) => WireChoice::Word(word),
            Choice::Tool(name) => WireChoice::Tool {
                sort: "function",
                name,
            },
        }),
        text: request.output_schema.as_deref().map(|schema| Text {
            format: Format {
                sort: "json_schema",
                name: "answer",
                strict: true,
                schema,
            },
        }),
        reasoning: (effort.is_some() || summary.is_some()).then_some(Reasoning { effort, summary }),
        max_output_tokens: request.max_output_tokens,
        common: Common::of(request, ADAPTER)?,
    };
    serde_json::to_vec(&body).map_err(|_error| {
        let why = "the request cannot be written as JSON";
        refused(ADAPTER, Kind::InvalidRequest, "stream", why)
    })
}

/// Responses has neither sequences that end an answer nor seeds.
fn only_what_there_is(parameters: &Parameters) -> Result<(), ModelError> {
    let why = if !parameters.stop.is_empty() {
        "Responses has no place for the parameter `stop`; Chat Completions has"
    } else if parameters.seed.is_some() {
        "Responses has no place for the parameter `seed`; Chat Completions has"
    } else {
        return Ok(());
    };
    Err(refused(ADAPTER, Kind::Unsupported, "stream", why))
}

/// Whether a model reasons, by its name: asked for encrypted reasoning, one that does not refuses the call.
fn reasons(model: &str) -> bool {
    let model = model.strip_prefix("ft:").unwrap_or(model);
    let plain = ["gpt-3", "gpt-4", "chatgpt-4o", "gpt-5-chat"];
    !plain.iter().any(|family| model.starts_with(family))
}

/// Results come first, as the format wants them directly after the calls.
fn from_user<'a>(message: &'a Message, input: &mut Vec<Item<'a>>) -> Result<(), ModelError> {
    let mut content = Vec::new();
    for block in &message.blocks {
        match block {
            Block::ToolResult(result) => input.push(Item::Written(Written::FunctionCallOutput {
                call_id: &result.id,
                output: output(result)?,
            })),
            Block::Text { text, .. } => content.push(Part::InputText { text }),
            Block::File(file) => content.push(part(file)?),
            Block::Reasoning { .. } | Block::ToolCall(_) | Block::Refusal { .. } => {}
        }
    }
    if !content.is_empty() {
        input.push(Item::Written(Written::Message {
            role: "user",
            content,
            kept: None,
        }));
    }
    Ok(())
}

fn output(result: &ToolResultBlock) -> Result<Output<'_>, ModelError> {
    let text = result.content.as_str();
    if result.media.is_empty() {
        return Ok(Output::Text(text));
    }
    let mut parts = vec![Part::InputText { text }];
    for file in &result.media {
        parts.push(part(file)?);
    }
    Ok(Output::Parts(parts))
}

fn part(file: &FileBlock) -> Result<Part<'_>, ModelError> {
    let FileBlock {
        media_type,
        name,
        data,
    } = file;
    let url = || format!("data:{media_type};base64,{data}");
    match media_type.as_str() {
        "image/png" | "image/jpeg" | "image/gif" | "image/webp" => Ok(Part::InputImage {
            image_url: url(),
            detail: "auto",
        }),
        "application/pdf" => Ok(Part::InputFile {
            filename: name.as_deref().unwrap_or("file.pdf"),
            file_data: url(),
        }),
        _ => {
            let why = "a file of the conversation is neither PNG, JPEG, GIF, WebP nor PDF, which is all that \
                       Responses takes";
            Err(refused(ADAPTER, Kind::Unsupported, "stream", why))
        }
    }
}

/// Reasoning goes back as it came or not at all; nothing else says anything to the provider.
fn from_assistant(block: &Block) -> Option<Item<'_>> {
    let message = |part, kept| {
        Some(Item::Written(Written::Message {
            role: "assistant",
            content: vec![part],
            kept,
        }))
    };
    match block {
        Block::Text { text, opaque } if !text.is_empty() => {
            let annotations = [];
            message(Part::OutputText { text, annotations }, kept(opaque))
        }
        Block::Refusal { text } => message(Part::Refusal { refusal: text }, None),
        Block::Reasoning { opaque, .. } => own(opaque).map(Item::Kept),
        Block::ToolCall(call) => Some(Item::Written(self::call(call))),
        Block::Text { .. } | Block::ToolResult(_) | Block::File(_) => None,
    }
}

fn own(opaque: &Option<OpaqueItem>) -> Option<&Value> {
    let own = opaque.as_ref().filter(|item| item.provider == ADAPTER)?;
    Some(&own.data)
}

fn kept(opaque: &Option<OpaqueItem>) -> Option<&Map<String, Value>> {
    own(opaque).and_then(Value::as_object)
}

fn call(call: &ToolCallBlock) -> Written<'_> {
    // Compatible servers put the arguments into the model's own template and fail for ever on a text that is no JSON. The
    // model reads what was wrong with them in the result.
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&call.arguments).is_ok();
    Written::FunctionCall {
        call_id: &call.id,
        name: &call.name,
        arguments: if is_json { &call.arguments } else { "{}" },
        kept: kept(&call.opaque),
    }
}

fn tool(tool: &ToolSpec) -> Tool<'_> {
    Tool {
        sort: "function",
        name: tool.name.as_str(),
        description: &tool.description,
        parameters: &tool.input_schema,
        strict: false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use seaworthy_ports::{Latch, ToolName};
    use serde_json::json;

    use super::*;

    fn request(messages: Vec<Message>) -> ModelRequest {
        ModelRequest {
            model: "gpt-5-mini".to_owned(),
            instructions: Arc::from(""),
            messages: Arc::new(messages),
            tools: Arc::default(),
            output_schema: None,
            max_output_tokens: None,
            parameters: Arc::default(),
            idle_timeout: Duration::from_secs(1),
            cancel: Latch::never(),
        }
    }

    fn written(request: &ModelRequest, config: &OpenAiConfig) -> Value {
        serde_json::from_slice(&body(request, config).unwrap()).unwrap()
    }

    fn plain() -> OpenAiConfig {
        OpenAiConfig::new(None)
    }

    fn item(provider: &str, data: Value) -> Option<OpaqueItem> {
        Some(OpaqueItem {
            provider: provider.to_owned(),
            data,
        })
    }

    fn assistant(blocks: Vec<Block>) -> Message {
        Message {
            role: Role::Assistant,
            blocks,
        }
    }

    fn call_block(arguments: &str, opaque: Option<OpaqueItem>) -> Block {
        Block::ToolCall(ToolCallBlock {
            id: "c1".to_owned(),
            name: "read".to_owned(),
            arguments: arguments.to_owned(),
            opaque,
        })
    }

    #[test]
    fn what_a_tool_shows_is_in_its_result() {
        let result = Block::ToolResult(ToolResultBlock {
            id: "c1".to_owned(),
            name: "look".to_owned(),
            content: "seen".to_owned(),
            is_error: false,
            media: vec![FileBlock {
                media_type: "image/png".to_owned(),
                name: None,
                data: "QQ==".to_owned(),
            }],
        });
        let answer = Message {
            role: Role::User,
            blocks: vec![result],
        };
        let request = request(vec![
            Message::user("go"),
            assistant(vec![call_block("{}", None)]),
            answer,
        ]);
        assert_eq!(
            written(&request, &plain())["input"][2],
            json!({"type": "function_call_output", "call_id": "c1", "output": [
                {"type": "input_text", "text": "seen"},
                {"type": "input_image", "image_url": "data:image/png;base64,QQ==", "detail": "auto"},
            ]})
        );
    }

    #[test]
    fn a_conversation_keeps_its_order_and_reasoning_returns_as_it_came() {
        let reasoning =
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x=="});
        let thought = Block::Reasoning {
            text: "hm".to_owned(),
            opaque: item(ADAPTER, reasoning.clone()),
        };
        let said = Block::Text {
            text: "I read.".to_owned(),
            opaque: item(ADAPTER, json!({"phase": "commentary"})),
        };
        let result = Block::ToolResult(ToolResultBlock {
            id: "c1".to_owned(),
            name: "read".to_owned(),
            content: "ä".to_owned(),
            is_error: false,
            media: Vec::new(),
        });
        let mut answer = Message::user("and?");
        answer.blocks.push(result);
        let request = request(vec![
            Message::user("go"),
            assistant(vec![thought, said, call_block("{\"path\":\"a\"}", None)]),
            answer,
        ]);
        let written = written(&request, &plain());
        assert_eq!(
            written["input"],
            json!([
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
                reasoning,
                {"type": "message", "role": "assistant", "phase": "commentary",
                    "content": [{"type": "output_text", "text": "I read.", "annotations": []}]},
                {"type": "function_call", "call_id": "c1", "name": "read", "arguments": "{\"path\":\"a\"}"},
                {"type": "function_call_output", "call_id": "c1", "output": "ä"},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "and?"}]},
            ])
        );
        assert_eq!(written["store"], json!(false));
        assert_eq!(written.get("instructions"), None);
    }

    #[test]
    fn items_of_others_do_not_return_not_even_those_of_chat_completions() {
        for provider in ["openai", "anthropic"] {
            let thought = Block::Reasoning {
                text: "hm".to_owned(),
                opaque: item(provider, json!({"type": "reasoning"})),
            };
            let call = call_block("{", item(provider, json!({"extra": 1})));
            let request = request(vec![assistant(vec![thought, call])]);
            assert_eq!(
                written(&request, &plain())["input"],
                json!([{"type": "function_call", "call_id": "c1", "name": "read", "arguments": "{}"}])
            );
        }
    }

    #[test]
    fn encrypted_reasoning_is_asked_for_where_a_model_reasons() {
        let asked = |model: &str, config: &OpenAiConfig| {
            let mut request = request(vec![Message::user("go")]);
            request.model = model.to_owned();
            written(&request, config).get("include").is_some()
        };
        for (model, expected) in [
            ("gpt-5-mini", true),
            ("o4-mini", true),
            ("gpt-5-chat-latest", false),
            ("gpt-4o", false),
            ("ft:gpt-4.1-mini:me", false),
        ] {
            assert_eq!(asked(model, &plain()), expected, "{model}");
            let told = plain().with_encrypted_reasoning(!expected);
            assert_eq!(asked(model, &told), !expected, "{model}");
        }
    }

    #[test]
    fn tools_schema_limits_and_reasoning_are_written() {
        let mut request = request(vec![Message::user("go")]);
        request.tools = Arc::new(vec![ToolSpec {
            name: ToolName::new("read").unwrap(),
            description: "Reads.".to_owned(),
            input_schema: json!({"type": "object"}),
        }]);
        request.output_schema = Some(Arc::new(json!({"type": "object"})));
        request.max_output_tokens = Some(70);
        let config = plain()
            .with_reasoning_effort(Effort::Low)
            .with_reasoning_summaries();
        let now = written(&request, &config);
        assert_eq!(
            now["tools"],
            json!([{"type": "function", "name": "read", "description": "Reads.", "parameters": {"type": "object"}, "strict": false}])
        );
        assert_eq!(
            now["text"]["format"],
            json!({"type": "json_schema", "name": "answer", "strict": true, "schema": {"type": "object"}})
        );
        assert_eq!(now["max_output_tokens"], json!(70));
        assert_eq!(
            now["reasoning"],
            json!({"effort": "low", "summary": "auto"})
        );
    }

    #[test]
    fn files_are_written_where_the_format_has_a_place_for_them() {
        let sent = |media_type: &str| {
            let mut message = Message::user("look");
            message.blocks.push(Block::File(FileBlock {
                media_type: media_type.to_owned(),
                name: None,
                data: "QQ==".to_owned(),
            }));
            body(&request(vec![message]), &plain()).map(|body| {
                let body: Value = serde_json::from_slice(&body).unwrap();
                body["input"][0]["content"][1].clone()
            })
        };
        assert_eq!(
            sent("image/png").unwrap(),
            json!({"type": "input_image", "image_url": "data:image/png;base64,QQ==", "detail": "auto"})
        );
        assert_eq!(
            sent("application/pdf").unwrap(),
            json!({"type": "input_file", "filename": "file.pdf", "file_data": "data:application/pdf;base64,QQ=="})
        );
        for unknown in ["audio/wav", "video/mp4"] {
            assert_eq!(sent(unknown).unwrap_err().kind(), Kind::Unsupported);
        }
    }
}

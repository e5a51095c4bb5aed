//! A model request as Chat Completions writes it.

use seaworthy_http::failure::refused;
use seaworthy_ports::model_provider::{
    Block, Effort, FileBlock, Kind, Message, ModelError, ModelRequest, OpaqueItem, Role,
    ToolCallBlock, ToolResultBlock, ToolSpec,
};
use serde::Serialize;
use serde_json::Value;

use super::ADAPTER;
use crate::config::OpenAiConfig;
use crate::parameters::{Choice, Common, choice, stops};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<Effort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
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
        function: Named<'a>,
    },
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum WireMessage<'a> {
    System {
        content: &'a str,
    },
    User {
        content: Content<'a>,
    },
    Assistant {
        content: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        refusal: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WireCall<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: &'a str,
    },
}

/// Many compatible servers take nothing but text, so text alone is no list.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(String),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text {
        text: &'a str,
    },
    #[serde(rename = "text")]
    Shown {
        text: String,
    },
    ImageUrl {
        image_url: ImageUrl,
    },
    InputAudio {
        input_audio: Audio<'a>,
    },
    File {
        file: File<'a>,
    },
}

#[derive(Serialize)]
struct ImageUrl {
    url: String,
}

#[derive(Serialize)]
struct Audio<'a> {
    data: &'a str,
    format: &'static str,
}

#[derive(Serialize)]
struct File<'a> {
    filename: &'a str,
    file_data: String,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    sort: &'static str,
    function: WireFunction<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<&'a Value>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    sort: &'static str,
    function: WireDefinition<'a>,
}

#[derive(Serialize)]
struct WireDefinition<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    sort: &'static str,
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a Value,
}

/// The bytes of the request's body.
pub(crate) fn body(request: &ModelRequest, config: &OpenAiConfig) -> Result<Vec<u8>, ModelError> {
    let mut messages = Vec::with_capacity(request.messages.len().saturating_add(1));
    if !request.instructions.is_empty() {
        messages.push(WireMessage::System {
            content: &request.instructions,
        });
    }
    for message in request.messages.iter() {
        match message.role {
            Role::User => from_user(message, &mut messages)?,
            Role::Assistant => messages.push(from_assistant(message)),
        }
    }
    let (max_tokens, max_completion_tokens) = if config.legacy_max_tokens {
        (request.max_output_tokens, None)
    } else {
        (None, request.max_output_tokens)
    };
    let body = Body {
        model: &request.model,
        messages,
        stream: true,
        stream_options: StreamOptions {
            include_usage: true,
        },
        tools: request.tools.iter().map(tool).collect(),
        tool_choice: choice(request).map(|choice| match choice {
            Choice::Word(word) => WireChoice::Word(word),
            Choice::Tool(name) => WireChoice::Tool {
                sort: "function",
                function: Named { name },
            },
        }),
        response_format: request
            .output_schema
            .as_deref()
            .map(|schema| ResponseFormat {
                sort: "json_schema",
                json_schema: JsonSchema {
                    name: "answer",
                    strict: true,
                    schema,
                },
            }),
        reasoning_effort: request.parameters.reasoning.or(config.reasoning_effort),
        max_completion_tokens,
        max_tokens,
        stop: stops(request, ADAPTER)?,
        seed: request.parameters.seed,
        common: Common::of(request, ADAPTER)?,
    };
    serde_json::to_vec(&body).map_err(|_error| {
        let why = "the request cannot be written as JSON";
        refused(ADAPTER, Kind::InvalidRequest, "stream", why)
    })
}

/// Results come first, as the format wants them directly after the calls.
fn from_user<'a>(
    message: &'a Message,
    messages: &mut Vec<WireMessage<'a>>,
) -> Result<(), ModelError> {
    let mut parts = Vec::new();
    let mut has_files = false;
    let mut has_results = false;
    // A result has no place for them, so the user shows them behind all results.
    for result in shows(message) {
        has_files = true;
        parts.push(Part::Shown {
            text: format!("The tool {} showed:", result.name),
        });
        for file in &result.media {
            parts.push(part(file)?);
        }
    }
    for block in &message.blocks {
        match block {
            Block::ToolResult(result) => {
                has_results = true;
                messages.push(WireMessage::Tool {
                    tool_call_id: &result.id,
                    content: &result.content,
                });
            }
            Block::Text { text, .. } => parts.push(Part::Text { text }),
            Block::File(file) => {
                has_files = true;
                parts.push(part(file)?);
            }
            Block::Reasoning { .. } | Block::ToolCall(_) | Block::Refusal { .. } => {}
        }
    }
    if !parts.is_empty() || !has_results {
        let content = if has_files {
            Content::Parts(parts)
        } else {
            Content::Text(message.text())
        };
        messages.push(WireMessage::User { content });
    }
    Ok(())
}

/// The results that show something.
fn shows(message: &Message) -> impl Iterator<Item = &ToolResultBlock> {
    message.blocks.iter().filter_map(|block| match block {
        Block::ToolResult(result) if !result.media.is_empty() => Some(result),
        _ => None,
    })
}

fn part(file: &FileBlock) -> Result<Part<'_>, ModelError> {
    let FileBlock {
        media_type,
        name,
        data,
    } = file;
    let url = || format!("data:{media_type};base64,{data}");
    let format = match media_type.as_str() {
        "audio/wav" | "audio/x-wav" | "audio/wave" => Some("wav"),
        "audio/mpeg" | "audio/mp3" => Some("mp3"),
        _ => None,
    };
    if let Some(format) = format {
        return Ok(Part::InputAudio {
            input_audio: Audio { data, format },
        });
    }
    match media_type.as_str() {
        "image/png" | "image/jpeg" | "image/gif" | "image/webp" => Ok(Part::ImageUrl {
            image_url: ImageUrl { url: url() },
        }),
        "application/pdf" => Ok(Part::File {
            file: File {
                filename: name.as_deref().unwrap_or("file.pdf"),
                file_data: url(),
            },
        }),
        _ => {
            let why =
                "a file of the conversation is neither PNG, JPEG, GIF, WebP, WAV, MP3 nor PDF";
            Err(refused(ADAPTER, Kind::Unsupported, "stream", why))
        }
    }
}

/// Reasoning does not go back: the format has no place for it.
fn from_assistant(message: &Message) -> WireMessage<'_> {
    let refusal = message.blocks.iter().find_map(|block| match block {
        Block::Refusal { text } => Some(text.as_str()),
        Block::Text { .. }
        | Block::Reasoning { .. }
        | Block::ToolCall(_)
        | Block::ToolResult(_)
        | Block::File(_) => None,
    });
    let tool_calls: Vec<_> = message.tool_calls().map(call).collect();
    let text = message.text();
    let says_more = refusal.is_some() || !tool_calls.is_empty();
    let content = (!text.is_empty() || !says_more).then_some(text);
    WireMessage::Assistant {
        content,
        refusal,
        tool_calls,
    }
}

fn call(call: &ToolCallBlock) -> WireCall<'_> {
    // Servers that put the arguments into the model's own template fail for ever on a text that is no JSON. The model
    // reads what was wrong with them in the result.
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&call.arguments).is_ok();
    let own = |item: &&OpaqueItem| item.provider == ADAPTER;
    WireCall {
        id: &call.id,
        sort: "function",
        function: WireFunction {
            name: &call.name,
            arguments: if is_json { &call.arguments } else { "{}" },
        },
        extra_content: call.opaque.as_ref().filter(own).map(|item| &item.data),
    }
}

fn tool(tool: &ToolSpec) -> WireTool<'_> {
    WireTool {
        sort: "function",
        function: WireDefinition {
            name: tool.name.as_str(),
            description: &tool.description,
            parameters: &tool.input_schema,
        },
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
            model: "m".to_owned(),
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

    fn call_block(arguments: &str, provider: &str) -> Block {
        Block::ToolCall(ToolCallBlock {
            id: "c1".to_owned(),
            name: "read".to_owned(),
            arguments: arguments.to_owned(),
            opaque: Some(OpaqueItem {
                provider: provider.to_owned(),
                data: json!({"google": {"signature": "x=="}}),
            }),
        })
    }

    fn text(text: &str) -> Block {
        Block::Text {
            text: text.to_owned(),
            opaque: None,
        }
    }

    #[test]
    fn what_a_tool_shows_follows_all_results_before_what_the_user_says() {
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
            blocks: vec![result, text("and?")],
        };
        let mut messages = Vec::new();
        from_user(&answer, &mut messages).unwrap();
        assert_eq!(
            serde_json::to_value(&messages).unwrap(),
            json!([
                {"role": "tool", "tool_call_id": "c1", "content": "seen"},
                {"role": "user", "content": [
                    {"type": "text", "text": "The tool look showed:"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
                    {"type": "text", "text": "and?"},
                ]},
            ])
        );
    }

    #[test]
    fn a_conversation_keeps_its_order_and_results_follow_their_calls() {
        let result = Block::ToolResult(ToolResultBlock {
            id: "c1".to_owned(),
            name: "read".to_owned(),
            content: "ä".to_owned(),
            is_error: false,
            media: Vec::new(),
        });
        let reasoning = Block::Reasoning {
            text: "hm".to_owned(),
            opaque: None,
        };
        let mut request = request(vec![
            Message::user("go"),
            Message {
                role: Role::Assistant,
                blocks: vec![
                    reasoning,
                    text("I read."),
                    call_block("{\"path\":\"a\"}", "other"),
                ],
            },
            Message {
                role: Role::User,
                blocks: vec![text("and?"), result],
            },
            Message {
                role: Role::Assistant,
                blocks: vec![Block::Refusal {
                    text: "no".to_owned(),
                }],
            },
            Message::user("please"),
        ]);
        request.instructions = Arc::from("Be brief.");
        let written = written(&request, &OpenAiConfig::new(None));
        assert_eq!(
            written["messages"],
            json!([
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": "I read.", "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "read", "arguments": "{\"path\":\"a\"}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "ä"},
                {"role": "user", "content": "and?"},
                {"role": "assistant", "content": null, "refusal": "no"},
                {"role": "user", "content": "please"},
            ])
        );
        assert_eq!(written["stream_options"], json!({"include_usage": true}));
        assert_eq!(written.get("tools"), None);
    }

    #[test]
    fn own_opaque_items_return_and_no_others() {
        let sent = |provider: &str| {
            let message = Message {
                role: Role::Assistant,
                blocks: vec![call_block("{}", provider)],
            };
            written(&request(vec![message]), &OpenAiConfig::new(None))["messages"][0]["tool_calls"]
                [0]
            .get("extra_content")
            .cloned()
        };
        assert_eq!(
            sent("openai"),
            Some(json!({"google": {"signature": "x=="}}))
        );
        assert_eq!(sent("gemini"), None);
    }

    #[test]
    fn arguments_that_are_no_json_go_back_as_an_empty_object() {
        for (arguments, sent) in [("{\"a\": 1}", "{\"a\": 1}"), ("", "{}"), ("{\"a\":", "{}")] {
            let message = Message {
                role: Role::Assistant,
                blocks: vec![call_block(arguments, "openai")],
            };
            let written = written(&request(vec![message]), &OpenAiConfig::new(None));
            assert_eq!(
                written["messages"][0]["tool_calls"][0]["function"]["arguments"],
                sent
            );
        }
    }

    #[test]
    fn tools_schema_and_limits_are_written() {
        let mut request = request(vec![Message::user("go")]);
        request.tools = Arc::new(vec![ToolSpec {
            name: ToolName::new("read").unwrap(),
            description: "Reads.".to_owned(),
            input_schema: json!({"type": "object"}),
        }]);
        request.output_schema = Some(Arc::new(json!({"type": "object"})));
        request.max_output_tokens = Some(7);
        let now = written(&request, &OpenAiConfig::new(None));
        let function =
            json!({"name": "read", "description": "Reads.", "parameters": {"type": "object"}});
        assert_eq!(
            now["tools"],
            json!([{"type": "function", "function": function}])
        );
        assert_eq!(
            now["response_format"]["json_schema"]["schema"],
            json!({"type": "object"})
        );
        assert_eq!(
            (&now["max_completion_tokens"], now.get("max_tokens")),
            (&json!(7), None)
        );
        let legacy = written(&request, &OpenAiConfig::new(None).with_legacy_max_tokens());
        assert_eq!(
            (legacy.get("max_completion_tokens"), &legacy["max_tokens"]),
            (None, &json!(7))
        );
    }

    #[test]
    fn files_are_written_where_the_format_has_a_place_for_them() {
        let sent = |media_type: &str| {
            let file = Block::File(FileBlock {
                media_type: media_type.to_owned(),
                name: None,
                data: "QQ==".to_owned(),
            });
            let message = Message {
                role: Role::User,
                blocks: vec![text("look"), file],
            };
            let request = request(vec![message]);
            body(&request, &OpenAiConfig::new(None)).map(|body| {
                let body: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(
                    body["messages"][0]["content"][0],
                    json!({"type": "text", "text": "look"})
                );
                body["messages"][0]["content"][1].clone()
            })
        };
        for (media_type, part) in [
            (
                "image/png",
                json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}),
            ),
            (
                "audio/wav",
                json!({"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}),
            ),
            (
                "application/pdf",
                json!({"type": "file", "file": {"filename": "file.pdf", "file_data": "data:application/pdf;base64,QQ=="}}),
            ),
        ] {
            assert_eq!(sent(media_type).unwrap(), part);
        }
        let error = sent("video/mp4").unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
    }
}

//! Content in the form of the conventions' JSON schemas.

use seaworthy_ports::model_provider::{Block, Message, Role, ToolSpec};
use seaworthy_ports::observer::ModelContent;
use serde_json::{Value, json};

/// The most bytes of one attribute with content. What is longer is left out whole: cut JSON is none.
pub(crate) const MAX_BYTES: usize = 256 * 1024;

/// The attributes of a model call's content: name and JSON.
pub(crate) fn of_model(content: &ModelContent) -> Vec<(&'static str, Value)> {
    let mut attributes = Vec::new();
    if !content.instructions.is_empty() {
        let parts = json!([{ "type": "text", "content": &*content.instructions }]);
        attributes.push(("gen_ai.system_instructions", parts));
    }
    let input: Vec<Value> = content.input.iter().map(message).collect();
    attributes.push(("gen_ai.input.messages", input.into()));
    if let Some(output) = &content.output {
        attributes.push(("gen_ai.output.messages", json!([message(output)])));
    }
    if !content.tools.is_empty() {
        let tools: Vec<Value> = content.tools.iter().map(tool).collect();
        attributes.push(("gen_ai.tool.definitions", tools.into()));
    }
    attributes
}

fn tool(tool: &ToolSpec) -> Value {
    json!({
        "type": "function", "name": tool.name, "description": tool.description,
        "parameters": tool.input_schema,
    })
}

fn message(message: &Message) -> Value {
    let answers_tools = message
        .blocks
        .iter()
        .any(|block| matches!(block, Block::ToolResult(_)));
    let role = match (message.role, answers_tools) {
        (Role::Assistant, _) => "assistant",
        (Role::User, true) => "tool",
        (Role::User, false) => "user",
    };
    let parts: Vec<Value> = message.blocks.iter().map(part).collect();
    json!({ "role": role, "parts": parts })
}

fn part(block: &Block) -> Value {
    match block {
        Block::Text { text, .. } => json!({ "type": "text", "content": text }),
        Block::Reasoning { text, .. } => json!({ "type": "reasoning", "content": text }),
        Block::Refusal { text } => json!({ "type": "refusal", "content": text }),
        Block::ToolCall(call) => {
            let arguments = call
                .parsed()
                .unwrap_or_else(|| Value::String(call.arguments.clone()));
            json!({ "type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments })
        }
        Block::ToolResult(result) => {
            json!({ "type": "tool_call_response", "id": result.id, "response": result.content })
        }
        // The bytes of a file are in no span: they are large, and whoever wants them has the log.
        Block::File(file) => {
            json!({
                "type": "file", "modality": modality(&file.media_type), "mime_type": file.media_type,
                "file_id": file.name.as_deref().unwrap_or("unnamed"),
            })
        }
    }
}

fn modality(media_type: &str) -> &str {
    match media_type.split('/').next() {
        Some(modality @ ("image" | "audio" | "video")) => modality,
        _ => "document",
    }
}

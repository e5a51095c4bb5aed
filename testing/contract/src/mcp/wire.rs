//! What a server offers and answers, as the protocol writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seaworthy_ports::mcp::{
    McpCallResult, McpContent, McpPrompt, McpPromptResult, McpResource, McpResourceContents,
    McpResourceTemplate, ResourceData, TaskStatus,
};
use seaworthy_ports::model_provider::Role;
use serde_json::{Map, Value, json};

use super::script::{Task, Tool};

/// An object of the members that are there.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let members = members.into_iter();
    let there = members.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}

fn text(text: &Option<String>) -> Option<Value> {
    text.clone().map(Value::from)
}

pub(super) fn tool(tool: &Tool) -> Value {
    let hint = |hint: Option<bool>| hint.map(Value::from);
    object([
        ("name", Some(tool.name.clone().into())),
        ("title", text(&tool.title)),
        ("description", Some(tool.description().into())),
        ("inputSchema", Some(tool.input_schema.clone())),
        ("outputSchema", tool.output_schema.clone()),
        (
            "annotations",
            Some(object([
                ("readOnlyHint", hint(tool.hints.read_only)),
                ("destructiveHint", hint(tool.hints.destructive)),
                ("idempotentHint", hint(tool.hints.idempotent)),
                ("openWorldHint", hint(tool.hints.open_world)),
            ])),
        ),
        (
            "execution",
            tool.task
                .as_ref()
                .map(|task| json!({"taskSupport": task.support})),
        ),
    ])
}

pub(super) fn resource(resource: &McpResource) -> Value {
    object([
        ("uri", Some(resource.uri.clone().into())),
        ("name", Some(resource.name.clone().into())),
        ("title", text(&resource.title)),
        ("description", text(&resource.description)),
        ("mimeType", text(&resource.media_type)),
        ("size", resource.size.map(Value::from)),
    ])
}

pub(super) fn template(template: &McpResourceTemplate) -> Value {
    object([
        ("uriTemplate", Some(template.uri_template.clone().into())),
        ("name", Some(template.name.clone().into())),
        ("title", text(&template.title)),
        ("description", text(&template.description)),
        ("mimeType", text(&template.media_type)),
    ])
}

pub(super) fn prompt(prompt: &McpPrompt) -> Value {
    let arguments = prompt.arguments.iter().map(|argument| {
        object([
            ("name", Some(argument.name.clone().into())),
            ("description", text(&argument.description)),
            ("required", Some(argument.required.into())),
        ])
    });
    object([
        ("name", Some(prompt.name.clone().into())),
        ("title", text(&prompt.title)),
        ("description", text(&prompt.description)),
        ("arguments", Some(arguments.collect())),
    ])
}

pub(super) fn filled(prompt: &McpPromptResult) -> Value {
    let messages = prompt.messages.iter().map(|message| {
        let role = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        json!({"role": role, "content": content(&message.content)})
    });
    object([
        ("description", text(&prompt.description)),
        ("messages", Some(messages.collect())),
    ])
}

pub(super) fn contents(contents: &McpResourceContents) -> Value {
    let (text_data, bytes) = match &contents.data {
        ResourceData::Text(text) => (Some(text.clone().into()), None),
        ResourceData::Bytes(bytes) => (None, Some(STANDARD.encode(bytes).into())),
    };
    object([
        ("uri", Some(contents.uri.clone().into())),
        ("mimeType", text(&contents.media_type)),
        ("text", text_data),
        ("blob", bytes),
    ])
}

pub(super) fn content(piece: &McpContent) -> Value {
    let media = |kind: &str, media_type: &str, bytes: &[u8]| json!({"type": kind, "mimeType": media_type, "data": STANDARD.encode(bytes)});
    match piece {
        McpContent::Text(text) => json!({"type": "text", "text": text}),
        McpContent::Image { media_type, bytes } => media("image", media_type, bytes),
        McpContent::Audio { media_type, bytes } => media("audio", media_type, bytes),
        McpContent::Resource(read) => json!({"type": "resource", "resource": contents(read)}),
        McpContent::ResourceLink(linked) => {
            let mut link = resource(linked);
            if let Some(link) = link.as_object_mut() {
                link.insert("type".to_owned(), "resource_link".into());
            }
            link
        }
    }
}

pub(super) fn result(result: &McpCallResult) -> Value {
    object([
        (
            "content",
            Some(result.content.iter().map(content).collect()),
        ),
        ("structuredContent", result.structured.clone()),
        ("isError", result.is_error.then_some(true.into())),
    ])
}

pub(super) fn status(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Working => "working",
        TaskStatus::InputRequired => "input_required",
        TaskStatus::Completed => "completed",
        TaskStatus::Failed => "failed",
        TaskStatus::Cancelled => "cancelled",
    }
}

/// A task as the extension of the protocol version 2026-07-28 writes it.
pub(super) fn kept(task: &Task, id: &str, status: &str) -> Value {
    json!({
        "taskId": id,
        "status": status,
        "statusMessage": task.message,
        "createdAt": "2026-07-28T10:30:00Z",
        "lastUpdatedAt": "2026-07-28T10:30:00Z",
        "ttlMs": null,
        "pollIntervalMs": task.poll_interval,
    })
}

/// A task of this name, standing as `status` says.
pub(super) fn task(task: &Task, id: &str, status: &str) -> Value {
    json!({
        "taskId": id,
        "status": status,
        "statusMessage": task.message,
        "createdAt": "2025-11-25T10:30:00Z",
        "lastUpdatedAt": "2025-11-25T10:30:00Z",
        "ttl": null,
        "pollInterval": task.poll_interval,
    })
}

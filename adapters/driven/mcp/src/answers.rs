//! What servers offer and answer, from the protocol's shapes into the port's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rmcp::model as wire;
use seaworthy_ports::ServerAlias;
use seaworthy_ports::mcp::{
    Hints, McpCallResult, McpContent, McpPrompt, McpPromptArgument, McpPromptMessage,
    McpPromptResult, McpResource, McpResourceContents, McpResourceTemplate, McpTool, ResourceData,
    TaskSupport, tool_name,
};
use seaworthy_ports::model_provider::Role;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Fault;

/// Reads the result of a request.
pub(crate) fn read<T: DeserializeOwned>(result: &[u8]) -> Result<T, Fault> {
    // What is wrong with it would quote it.
    serde_json::from_slice(result).map_err(|_error| {
        Fault::Malformed("the server's answer has another shape than the protocol gives it")
    })
}

fn decoded(text: &str) -> Result<Bytes, Fault> {
    STANDARD.decode(text).map(Bytes::from).map_err(|_error| {
        Fault::Malformed("the server's answer holds bytes that are not in base64")
    })
}

pub(crate) fn tool(
    alias: &ServerAlias,
    tool: wire::Tool,
    task_support: TaskSupport,
) -> Result<McpTool, Fault> {
    let remote = tool.name.into_owned();
    let name = tool_name(alias, &remote)
        .map_err(|_error| Fault::Malformed("the server offers a tool without a name"))?;
    let said = tool.annotations;
    let hint = |which: fn(&wire::ToolAnnotations) -> Option<bool>| said.as_ref().and_then(which);
    Ok(McpTool {
        task_support,
        name,
        remote,
        description: tool.description.unwrap_or_default().into_owned(),
        input_schema: Value::Object((*tool.input_schema).clone()),
        output_schema: tool
            .output_schema
            .map(|schema| Value::Object((*schema).clone())),
        hints: Hints {
            read_only: hint(|said| said.read_only_hint),
            destructive: hint(|said| said.destructive_hint),
            idempotent: hint(|said| said.idempotent_hint),
            open_world: hint(|said| said.open_world_hint),
        },
        title: tool.title.or_else(|| said.and_then(|said| said.title)),
    })
}

pub(crate) fn resource(resource: wire::Resource) -> McpResource {
    McpResource {
        uri: resource.uri,
        name: resource.name,
        title: resource.title,
        description: resource.description,
        media_type: resource.mime_type,
        size: resource.size,
    }
}

pub(crate) fn template(template: wire::ResourceTemplate) -> McpResourceTemplate {
    McpResourceTemplate {
        uri_template: template.uri_template,
        name: template.name,
        title: template.title,
        description: template.description,
        media_type: template.mime_type,
    }
}

pub(crate) fn prompt(prompt: wire::Prompt) -> McpPrompt {
    let arguments = prompt.arguments.unwrap_or_default().into_iter();
    McpPrompt {
        name: prompt.name,
        title: prompt.title,
        description: prompt.description,
        arguments: arguments
            .map(|argument| McpPromptArgument {
                name: argument.name,
                description: argument.description,
                required: argument.required.unwrap_or_default(),
            })
            .collect(),
    }
}

pub(crate) fn contents(contents: wire::ResourceContents) -> Result<McpResourceContents, Fault> {
    let (uri, media_type, data) = match contents {
        wire::ResourceContents::TextResourceContents {
            uri,
            mime_type,
            text,
            ..
        } => (uri, mime_type, ResourceData::Text(text)),
        wire::ResourceContents::BlobResourceContents {
            uri,
            mime_type,
            blob,
            ..
        } => (uri, mime_type, ResourceData::Bytes(decoded(&blob)?)),
        _ => {
            return Err(Fault::Malformed(
                "the server's answer holds contents of an unknown kind",
            ));
        }
    };
    Ok(McpResourceContents {
        uri,
        media_type,
        data,
    })
}

pub(crate) fn content(block: wire::ContentBlock) -> Result<McpContent, Fault> {
    Ok(match block {
        wire::ContentBlock::Text(text) => McpContent::Text(text.text),
        wire::ContentBlock::Image(image) => McpContent::Image {
            bytes: decoded(&image.data)?,
            media_type: image.mime_type,
        },
        wire::ContentBlock::Audio(audio) => McpContent::Audio {
            bytes: decoded(&audio.data)?,
            media_type: audio.mime_type,
        },
        wire::ContentBlock::Resource(embedded) => {
            McpContent::Resource(contents(embedded.resource)?)
        }
        wire::ContentBlock::ResourceLink(link) => McpContent::ResourceLink(resource(link)),
        _ => {
            return Err(Fault::Malformed(
                "the server's answer holds content of an unknown kind",
            ));
        }
    })
}

/// Content that a model answered, as a server is told it; `None` where the protocol has no place for it.
pub(crate) fn block(content: &McpContent) -> Option<wire::ContentBlock> {
    match content {
        McpContent::Text(text) => Some(wire::ContentBlock::text(text)),
        McpContent::Image { media_type, bytes } => Some(wire::ContentBlock::image(
            STANDARD.encode(bytes),
            media_type,
        )),
        McpContent::Audio { media_type, bytes } => Some(wire::ContentBlock::Audio(
            wire::AudioContent::new(STANDARD.encode(bytes), media_type),
        )),
        McpContent::Resource(_) | McpContent::ResourceLink(_) => None,
    }
}

pub(crate) fn role(role: &wire::Role) -> Role {
    match role {
        wire::Role::Assistant => Role::Assistant,
        wire::Role::User => Role::User,
    }
}

pub(crate) fn called(result: wire::CallToolResult) -> Result<McpCallResult, Fault> {
    Ok(McpCallResult {
        is_error: result.is_error.unwrap_or_default(),
        structured: result.structured_content,
        content: result
            .content
            .into_iter()
            .map(content)
            .collect::<Result<_, _>>()?,
    })
}

pub(crate) fn filled(result: wire::GetPromptResult) -> Result<McpPromptResult, Fault> {
    let messages = result.messages.into_iter().map(|message| {
        Ok(McpPromptMessage {
            role: role(&message.role),
            content: content(message.content)?,
        })
    });
    Ok(McpPromptResult {
        description: result.description,
        messages: messages.collect::<Result<_, _>>()?,
    })
}

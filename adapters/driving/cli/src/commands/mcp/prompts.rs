//! `mcp prompts`: the prompts of servers, and one of them filled in.

use std::collections::BTreeMap;

use seaworthy::descriptor::ServerSpec;
use seaworthy::ports::ServerAlias;
use seaworthy::ports::mcp::{McpContent, McpError, McpPromptResult, McpSession, ResourceData};
use seaworthy::servers::Connections;
use serde::Serialize;
use serde_json::{Value, json};

use super::PromptsArgs;
use super::listed::{Offers, list};
use super::servers::Servers;
use crate::commands::Context;
use crate::error::{CliError, Exit};
use crate::output::{Output, brief, clean};

#[derive(Debug, Default, Serialize)]
struct Prompts {
    prompts: Vec<Prompt>,
}

#[derive(Debug, Serialize)]
struct Prompt {
    name: String,
    title: Option<String>,
    description: Option<String>,
    arguments: Vec<Argument>,
}

#[derive(Debug, Serialize)]
struct Argument {
    name: String,
    description: Option<String>,
    required: bool,
}

/// An object of texts, as somebody typed it behind `flag`.
pub(super) fn texts(flag: &str, typed: &str) -> Result<BTreeMap<String, String>, CliError> {
    serde_json::from_str(typed).map_err(|_error| {
        CliError::Usage(format!(
            "{flag}: write an object of texts, such as '{{\"name\": \"value\"}}'"
        ))
    })
}

pub(super) async fn prompts(context: &Context, args: &PromptsArgs) -> Result<Exit, CliError> {
    let arguments = texts("--arguments", &args.arguments)?;
    let servers = Servers::of(context, &args.of.agent, None).await?;
    if let Some(name) = &args.get {
        let alias = servers.only(&args.of.server, "--get")?;
        let filled = fill(&servers.connections, alias, name, arguments).await;
        servers.close().await;
        show(context.output, &filled.map_err(CliError::Server)?)?;
        return Ok(Exit::Succeeded);
    }
    list::<Prompts>(context, &servers, &args.of.server).await
}

async fn fill(
    connections: &Connections,
    alias: &ServerAlias,
    name: &str,
    arguments: BTreeMap<String, String>,
) -> Result<McpPromptResult, String> {
    let session = connections
        .session(alias)
        .await
        .map_err(|error| error.to_string())?;
    let filled = session.prompt(name, arguments).await;
    filled.map_err(|error| {
        format!("{error}; `seaworthy mcp prompts` lists those there are, with their arguments")
    })
}

impl Offers for Prompts {
    async fn ask(
        &mut self,
        session: &dyn McpSession,
        _alias: &ServerAlias,
        _spec: &ServerSpec,
    ) -> Result<(), McpError> {
        let prompts = session.prompts().await?;
        let prompts = prompts.iter().map(|prompt| Prompt {
            name: prompt.name.clone(),
            title: prompt.title.clone(),
            description: prompt.description.clone(),
            arguments: prompt
                .arguments
                .iter()
                .map(|argument| Argument {
                    name: argument.name.clone(),
                    description: argument.description.clone(),
                    required: argument.required,
                })
                .collect(),
        });
        self.prompts = prompts.collect();
        Ok(())
    }

    fn print(&self, output: Output, _alias: &ServerAlias) -> Result<(), CliError> {
        for prompt in &self.prompts {
            let arguments = prompt.arguments.iter().map(|argument| {
                let mark = if argument.required { "" } else { "?" };
                format!(" {}{mark}", argument.name)
            });
            let arguments: String = arguments.collect();
            output.line(&format!(
                "  {}",
                brief(&format!("{}{arguments}", prompt.name), 200)
            ))?;
            if let Some(description) = &prompt.description {
                output.line(&format!("      {}", brief(description.trim(), 100)))?;
            }
        }
        Ok(())
    }
}

/// A piece of a prompt, for programs: bytes by their number alone.
fn told(content: &McpContent) -> Value {
    match content {
        McpContent::Text(text) => json!({ "text": text }),
        McpContent::Image { media_type, bytes } | McpContent::Audio { media_type, bytes } => {
            json!({ "media_type": media_type, "bytes": bytes.len() })
        }
        McpContent::Resource(contents) => match &contents.data {
            ResourceData::Text(text) => json!({ "uri": contents.uri, "text": text }),
            ResourceData::Bytes(bytes) => json!({ "uri": contents.uri, "bytes": bytes.len() }),
        },
        McpContent::ResourceLink(resource) => json!({ "uri": resource.uri }),
    }
}

fn show(output: Output, filled: &McpPromptResult) -> Result<(), CliError> {
    if output.json {
        let messages: Vec<Value> = filled
            .messages
            .iter()
            .map(|message| json!({ "role": message.role, "content": told(&message.content) }))
            .collect();
        return output.json(&json!({
            "description": filled.description,
            "messages": messages,
        }));
    }
    for message in &filled.messages {
        let content = told(&message.content);
        let text = match content.get("text").and_then(Value::as_str) {
            Some(text) => text.to_owned(),
            None => content.to_string(),
        };
        let role = serde_json::to_value(message.role).unwrap_or_default();
        let role = role.as_str().unwrap_or_default();
        output.line(&clean(&format!("{role}: {text}")))?;
    }
    Ok(())
}

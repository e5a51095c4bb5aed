//! `mcp prompts`: the prompts of servers, and one of them filled in.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use seaworthy::ports::ServerAlias;
use seaworthy::ports::mcp::{McpContent, McpPromptResult, ResourceData};
use seaworthy::servers::Connections;
use serde::Serialize;
use serde_json::{Value, json};

use super::PromptsArgs;
use super::servers::Servers;
use crate::commands::Context;
use crate::error::{CliError, Exit};
use crate::output::{Output, Paint, brief, clean};

#[derive(Debug, Serialize)]
struct Server {
    server: ServerAlias,
    /// Why it could not be asked.
    error: Option<String>,
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
    let asking = servers
        .named(&args.of.server)?
        .into_iter()
        .map(|(alias, _spec)| server(&servers.connections, alias));
    let listed: Vec<Server> = join_all(asking).await;
    servers.close().await;
    if context.output.json {
        context.output.json(&listed)?;
    } else {
        print(context.output, &listed)?;
    }
    Ok(if listed.iter().all(|server| server.error.is_none()) {
        Exit::Succeeded
    } else {
        Exit::Failed
    })
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

async fn server(connections: &Connections, alias: &ServerAlias) -> Server {
    let (error, prompts) = match list(connections, alias).await {
        Ok(prompts) => (None, prompts),
        Err(error) => (Some(error), Vec::new()),
    };
    Server {
        server: alias.clone(),
        error,
        prompts,
    }
}

async fn list(connections: &Connections, alias: &ServerAlias) -> Result<Vec<Prompt>, String> {
    let session = connections
        .session(alias)
        .await
        .map_err(|error| error.to_string())?;
    let prompts = session.prompts().await.map_err(|error| error.to_string())?;
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
    Ok(prompts.collect())
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

fn print(output: Output, servers: &[Server]) -> Result<(), CliError> {
    for server in servers {
        output.line(server.server.as_str())?;
        if let Some(error) = &server.error {
            let error = output.paint(Paint::Bad, &clean(error));
            output.line(&format!("  {error}"))?;
        }
        for prompt in &server.prompts {
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
    }
    Ok(())
}

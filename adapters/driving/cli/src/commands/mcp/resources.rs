//! `mcp resources`: what servers have to read.

use futures_util::future::join_all;
use seaworthy::ports::ServerAlias;
use seaworthy::ports::mcp::{McpResourceContents, ResourceData};
use seaworthy::servers::Connections;
use serde::Serialize;
use serde_json::{Value, json};

use super::ResourcesArgs;
use super::servers::Servers;
use crate::commands::Context;
use crate::error::{CliError, Exit};
use crate::output::{Output, Paint, brief, clean};

#[derive(Debug, Serialize)]
struct Server {
    server: ServerAlias,
    /// Why it could not be asked.
    error: Option<String>,
    resources: Vec<Resource>,
    templates: Vec<Resource>,
}

#[derive(Debug, Serialize)]
struct Resource {
    /// What it is read by, or the pattern of that.
    uri: String,
    name: String,
    media_type: Option<String>,
    description: Option<String>,
}

pub(super) async fn resources(context: &Context, args: &ResourcesArgs) -> Result<Exit, CliError> {
    let servers = Servers::of(context, &args.of.agent, None).await?;
    if let Some(uri) = &args.read {
        let alias = servers.only(&args.of.server, "--read")?;
        let read = read(&servers.connections, alias, uri).await;
        servers.close().await;
        show(context.output, &read.map_err(CliError::Server)?)?;
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

async fn read(
    connections: &Connections,
    alias: &ServerAlias,
    uri: &str,
) -> Result<Vec<McpResourceContents>, String> {
    let session = connections
        .session(alias)
        .await
        .map_err(|error| error.to_string())?;
    session
        .read_resource(uri)
        .await
        .map_err(|error| error.to_string())
}

async fn server(connections: &Connections, alias: &ServerAlias) -> Server {
    let mut server = Server {
        server: alias.clone(),
        error: None,
        resources: Vec::new(),
        templates: Vec::new(),
    };
    if let Err(error) = list(connections, &mut server).await {
        server.error = Some(error);
    }
    server
}

async fn list(connections: &Connections, server: &mut Server) -> Result<(), String> {
    let session = connections
        .session(&server.server)
        .await
        .map_err(|error| error.to_string())?;
    if !session.server().resources {
        return Ok(());
    }
    let words = |error: seaworthy::ports::mcp::McpError| error.to_string();
    let resources = session.resources().await.map_err(words)?;
    server.resources = resources
        .iter()
        .map(|resource| Resource {
            uri: resource.uri.clone(),
            name: resource.name.clone(),
            media_type: resource.media_type.clone(),
            description: resource.description.clone(),
        })
        .collect();
    let templates = session.resource_templates().await.map_err(words)?;
    server.templates = templates
        .iter()
        .map(|template| Resource {
            uri: template.uri_template.clone(),
            name: template.name.clone(),
            media_type: template.media_type.clone(),
            description: template.description.clone(),
        })
        .collect();
    Ok(())
}

fn show(output: Output, contents: &[McpResourceContents]) -> Result<(), CliError> {
    if output.json {
        let contents: Vec<Value> = contents
            .iter()
            .map(|contents| {
                let (text, bytes) = match &contents.data {
                    ResourceData::Text(text) => (Some(text), text.len()),
                    ResourceData::Bytes(bytes) => (None, bytes.len()),
                };
                json!({
                    "uri": contents.uri, "media_type": contents.media_type, "text": text, "bytes": bytes,
                })
            })
            .collect();
        return output.json(&contents);
    }
    for contents in contents {
        match &contents.data {
            ResourceData::Text(text) => output.answer(text)?,
            ResourceData::Bytes(bytes) => {
                let media_type = contents.media_type.as_deref().unwrap_or("unknown type");
                output.line(&clean(&format!("({} bytes, {media_type})", bytes.len())))?;
            }
        }
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
        for resource in server.resources.iter().chain(&server.templates) {
            let media_type = resource.media_type.as_deref().unwrap_or_default();
            output.line(&clean(
                format!("  {}  {media_type}", resource.uri).trim_end(),
            ))?;
            if let Some(description) = &resource.description {
                output.line(&format!("      {}", brief(description.trim(), 100)))?;
            }
        }
    }
    Ok(())
}

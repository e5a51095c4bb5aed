//! `mcp resources`: what servers have to read.

use seaworthy::descriptor::ServerSpec;
use seaworthy::ports::ServerAlias;
use seaworthy::ports::mcp::{McpError, McpResourceContents, McpSession, ResourceData};
use seaworthy::servers::Connections;
use serde::Serialize;
use serde_json::{Value, json};

use super::ResourcesArgs;
use super::listed::{Offers, list};
use super::servers::Servers;
use crate::commands::Context;
use crate::error::{CliError, Exit};
use crate::output::{Output, brief, clean};

#[derive(Debug, Default, Serialize)]
struct Resources {
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
    list::<Resources>(context, &servers, &args.of.server).await
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

impl Offers for Resources {
    async fn ask(
        &mut self,
        session: &dyn McpSession,
        _alias: &ServerAlias,
        _spec: &ServerSpec,
    ) -> Result<(), McpError> {
        if !session.server().resources {
            return Ok(());
        }
        let resources = session.resources().await?;
        self.resources = resources
            .iter()
            .map(|resource| Resource {
                uri: resource.uri.clone(),
                name: resource.name.clone(),
                media_type: resource.media_type.clone(),
                description: resource.description.clone(),
            })
            .collect();
        let templates = session.resource_templates().await?;
        self.templates = templates
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

    fn print(&self, output: Output, _alias: &ServerAlias) -> Result<(), CliError> {
        for resource in self.resources.iter().chain(&self.templates) {
            let media_type = resource.media_type.as_deref().unwrap_or_default();
            output.line(&clean(
                format!("  {}  {media_type}", resource.uri).trim_end(),
            ))?;
            if let Some(description) = &resource.description {
                output.line(&format!("      {}", brief(description.trim(), 100)))?;
            }
        }
        Ok(())
    }
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

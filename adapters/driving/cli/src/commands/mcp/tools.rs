//! `mcp tools`: what servers offer, and how the gateway treats it.

use futures_util::future::join_all;
use seaworthy::descriptor::ServerSpec;
use seaworthy::ports::{Digest, ServerAlias, ToolName};
use seaworthy::servers::{Connections, ServedTool};
use seaworthy::tool::{ApprovalRule, Risk, SideEffect};
use serde::Serialize;
use serde_json::Value;

use super::ToolsArgs;
use super::servers::Servers;
use crate::commands::Context;
use crate::error::{CliError, Exit};
use crate::output::{Output, Paint, brief, clean};

#[derive(Debug, Serialize)]
struct Server {
    server: ServerAlias,
    /// Why it could not be asked.
    error: Option<String>,
    name: Option<String>,
    version: Option<String>,
    protocol: Option<String>,
    tools: Vec<Tool>,
}

#[derive(Debug, Serialize)]
struct Tool {
    tool: String,
    /// What models call it.
    name: ToolName,
    allowed: bool,
    /// Why no run can have it.
    fault: Option<String>,
    side_effect: SideEffect,
    risk: Risk,
    approval: ApprovalRule,
    digest: Digest,
    description: String,
    input_schema: Value,
}

pub(super) async fn tools(context: &Context, args: &ToolsArgs) -> Result<Exit, CliError> {
    let servers = Servers::of(context, &args.of.agent, args.log).await?;
    let named = servers.named(&args.of.server)?;
    let asking = named
        .into_iter()
        .map(|(alias, spec)| server(&servers.connections, alias, spec));
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

async fn server(connections: &Connections, alias: &ServerAlias, spec: &ServerSpec) -> Server {
    let mut server = Server {
        server: alias.clone(),
        error: None,
        name: None,
        version: None,
        protocol: None,
        tools: Vec::new(),
    };
    let session = match connections.session(alias).await {
        Ok(session) => session,
        Err(error) => {
            server.error = Some(error.to_string());
            return server;
        }
    };
    let about = session.server();
    server.name = Some(about.name);
    server.version = Some(about.version);
    server.protocol = Some(about.protocol);
    match session.tools().await {
        Ok(tools) => {
            server.tools = tools
                .iter()
                .map(|tool| row(ServedTool::of(alias, tool), spec))
                .collect();
        }
        Err(error) => server.error = Some(error.to_string()),
    }
    server
}

fn row(tool: ServedTool, spec: &ServerSpec) -> Tool {
    let settings = spec.settings(&tool.remote, tool.hints.into());
    Tool {
        allowed: spec.allows(&tool.remote),
        fault: tool.fault(),
        tool: tool.remote,
        name: tool.name,
        side_effect: settings.side_effect,
        risk: settings.risk,
        approval: settings.approval,
        digest: tool.digest,
        description: tool.description,
        input_schema: tool.input_schema,
    }
}

fn print(output: Output, servers: &[Server]) -> Result<(), CliError> {
    for server in servers {
        let about = match (&server.name, &server.version, &server.protocol) {
            (Some(name), Some(version), Some(protocol)) => {
                format!("{name} {version}, protocol {protocol}")
            }
            _ => String::new(),
        };
        output.line(&clean(format!("{}  {about}", server.server).trim_end()))?;
        if let Some(error) = &server.error {
            let error = output.paint(Paint::Bad, &clean(error));
            output.line(&format!("  {error}"))?;
        }
        for tool in &server.tools {
            let word = |value: Option<Value>| {
                let value = value.unwrap_or_default();
                value.as_str().unwrap_or_default().to_owned()
            };
            let approval = match tool.approval {
                ApprovalRule::Required => ", approval",
                ApprovalRule::None => "",
            };
            let note = match (&tool.fault, tool.allowed) {
                (Some(fault), _) => format!("  (cannot be used: {fault})"),
                (None, false) => "  (not allowed)".to_owned(),
                (None, true) => String::new(),
            };
            output.line(&clean(&format!(
                "  {}.{}  {}, {} risk{approval}{note}",
                server.server,
                tool.tool,
                tool.side_effect.as_str(),
                word(serde_json::to_value(tool.risk).ok()),
            )))?;
            if !tool.description.trim().is_empty() {
                output.line(&format!("      {}", brief(tool.description.trim(), 100)))?;
            }
        }
    }
    Ok(())
}

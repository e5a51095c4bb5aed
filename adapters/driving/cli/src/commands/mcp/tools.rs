//! `mcp tools`: what servers offer, and how the gateway treats it.

use seaworthy::descriptor::ServerSpec;
use seaworthy::ports::mcp::{McpError, McpSession};
use seaworthy::ports::{Digest, ServerAlias, ToolName};
use seaworthy::servers::ServedTool;
use seaworthy::tool::{ApprovalRule, Risk, SideEffect};
use serde::Serialize;
use serde_json::Value;

use super::ToolsArgs;
use super::listed::{Offers, list};
use super::servers::Servers;
use crate::commands::Context;
use crate::error::{CliError, Exit};
use crate::output::{Output, brief, clean};

#[derive(Debug, Default, Serialize)]
struct Tools {
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
    list::<Tools>(context, &servers, &args.of.server).await
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

impl Offers for Tools {
    async fn ask(
        &mut self,
        session: &dyn McpSession,
        alias: &ServerAlias,
        spec: &ServerSpec,
    ) -> Result<(), McpError> {
        let about = session.server();
        self.name = Some(about.name);
        self.version = Some(about.version);
        self.protocol = Some(about.protocol);
        let tools = session.tools().await?;
        let rows = tools
            .iter()
            .map(|tool| row(ServedTool::of(alias, tool), spec));
        self.tools = rows.collect();
        Ok(())
    }

    fn title(&self, alias: &ServerAlias) -> String {
        let about = match (&self.name, &self.version, &self.protocol) {
            (Some(name), Some(version), Some(protocol)) => {
                format!("{name} {version}, protocol {protocol}")
            }
            _ => String::new(),
        };
        clean(format!("{alias}  {about}").trim_end())
    }

    fn print(&self, output: Output, alias: &ServerAlias) -> Result<(), CliError> {
        for tool in &self.tools {
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
                "  {alias}.{}  {}, {} risk{approval}{note}",
                tool.tool,
                tool.side_effect.as_str(),
                word(serde_json::to_value(tool.risk).ok()),
            )))?;
            if !tool.description.trim().is_empty() {
                output.line(&format!("      {}", brief(tool.description.trim(), 100)))?;
            }
        }
        Ok(())
    }
}

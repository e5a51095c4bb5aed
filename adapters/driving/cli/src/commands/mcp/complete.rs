//! `mcp complete`: what could be written for an argument of a prompt or a resource template.

use seaworthy::ports::mcp::{Kind, McpCompleting, McpCompletion, McpError};
use serde_json::json;

use super::CompleteArgs;
use super::prompts::texts;
use super::servers::Servers;
use crate::commands::Context;
use crate::error::{CliError, Exit};
use crate::output::brief;

/// More of a value is not shown to a person.
const LONGEST: usize = 200;

pub(super) async fn complete(context: &Context, args: &CompleteArgs) -> Result<Exit, CliError> {
    let of = match (&args.prompt, &args.resource) {
        (Some(name), None) => McpCompleting::Prompt(name.clone()),
        (None, Some(uri)) => McpCompleting::Template(uri.clone()),
        _ => {
            return Err(CliError::Usage(
                "say whose argument it is: --prompt NAME, or --resource TEMPLATE".to_owned(),
            ));
        }
    };
    let question = McpCompletion {
        of,
        argument: args.argument.clone(),
        value: args.value.clone(),
        given: texts("--given", &args.given)?,
    };
    let servers = Servers::of(context, &args.agent, None).await?;
    let (alias, _spec) = servers.server(&args.server)?;
    let completed = match servers.connections.session(alias).await {
        Err(error) => Err(error.to_string()),
        Ok(session) => session
            .complete(question)
            .await
            .map_err(|error| explained(&error)),
    };
    servers.close().await;
    let completed = completed.map_err(CliError::Server)?;
    let output = context.output;
    if output.json {
        output.json(&json!({
            "values": completed.values,
            "total": completed.total,
            "has_more": completed.has_more,
        }))?;
        return Ok(Exit::Succeeded);
    }
    for value in &completed.values {
        output.line(&brief(value, LONGEST))?;
    }
    if completed.has_more {
        output.note(&match completed.total {
            Some(total) => format!("there are more: {total} in all"),
            None => "there are more".to_owned(),
        });
    }
    Ok(Exit::Succeeded)
}

fn explained(error: &McpError) -> String {
    match error.kind() {
        Kind::InvalidArguments | Kind::NotFound => format!(
            "{error}; `seaworthy mcp prompts` lists the prompts that there are, `seaworthy mcp resources` the templates"
        ),
        _ => error.to_string(),
    }
}

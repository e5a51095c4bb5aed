//! `mcp call`: calls a tool once, as whoever types it.

use std::collections::BTreeMap;

use seaworthy::ports::Latch;
use seaworthy::ports::mcp::{Kind, McpCall, McpCallResult, McpError};
use seaworthy::servers::{ConnectError, told};
use serde_json::{Value, json};

use super::CallArgs;
use super::servers::Servers;
use crate::commands::Context;
use crate::error::{CliError, Exit};
use crate::output::{Paint, clean};

pub(super) async fn call(context: &Context, args: &CallArgs) -> Result<Exit, CliError> {
    let wrong = |why: String| CliError::Usage(why);
    let Some((alias, remote)) = args.tool.split_once('.') else {
        return Err(wrong(format!(
            "{:?} names no tool of a server; write SERVER.TOOL",
            args.tool
        )));
    };
    let arguments: Value = serde_json::from_str(&args.arguments)
        .map_err(|error| wrong(format!("--arguments: it is not JSON: {error}")))?;
    if !arguments.is_object() {
        return Err(wrong("--arguments: write an object, such as {}".to_owned()));
    }
    let servers = Servers::of(context, &args.agent, args.log).await?;
    let (alias, spec) = servers.server(alias)?;
    if !spec.allows(remote) {
        return Err(wrong(format!(
            "the descriptor does not allow {alias}.{remote}"
        )));
    }
    let timeout = spec
        .tools
        .get(remote)
        .map_or(spec.floor.timeout, |own| own.timeout);
    let called = match servers.connections.session(alias).await {
        Err(error) => Err(refused(&error)),
        Ok(session) => session
            .call(McpCall {
                tool: remote.to_owned(),
                arguments,
                meta: BTreeMap::new(),
                timeout,
                cancel: Latch::never(),
                on_progress: None,
            })
            .await
            .map_err(|error| explained(&error)),
    };
    servers.close().await;
    match called {
        Ok(result) => shown(context, &result),
        Err(error) => Err(CliError::Server(error)),
    }
}

fn refused(error: &ConnectError) -> String {
    error.to_string()
}

fn explained(error: &McpError) -> String {
    match error.kind() {
        Kind::NotFound => format!("{error}; `seaworthy mcp tools` lists those there are"),
        Kind::InvalidArguments => {
            format!("{error}; `seaworthy mcp tools --json` has the schema of its arguments")
        }
        _ => error.to_string(),
    }
}

fn shown(context: &Context, result: &McpCallResult) -> Result<Exit, CliError> {
    let output = context.output;
    let value = told(result);
    if output.json {
        output.json(&json!({ "is_error": result.is_error, "output": value }))?;
    } else {
        let text = match &value {
            Value::String(text) => text.clone(),
            other => serde_json::to_string_pretty(other).unwrap_or_default(),
        };
        if result.is_error {
            output.note(&output.paint(Paint::Bad, "the tool failed"));
        }
        output.line(&clean(&text))?;
    }
    Ok(if result.is_error {
        Exit::Failed
    } else {
        Exit::Succeeded
    })
}

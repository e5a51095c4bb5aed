//! `mcp`: looks at the servers of a descriptor without a run, and serves agents to others.

mod call;
mod resources;
mod servers;
mod tools;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Context;
use super::mcp_serve::{McpServeArgs, serve};
use crate::error::{CliError, Exit};

pub(super) use servers::{Looked, look_at};

#[derive(Debug, Args)]
pub(crate) struct McpArgs {
    #[command(subcommand)]
    command: McpCommand,
}

#[derive(Debug, Subcommand)]
enum McpCommand {
    /// List the tools of an agent's servers, and how the gateway treats each
    Tools(ServersArgs),
    /// Call a tool of a server, once, without a run: no approval is asked and nothing is recorded
    Call(CallArgs),
    /// List the resources of an agent's servers, or read one
    Resources(ResourcesArgs),
    /// Serve agents as tools, to one client on standard input and output or to many over HTTP, and advance their runs
    Serve(McpServeArgs),
}

/// Which servers of which agent.
#[derive(Debug, Args)]
struct ServersArgs {
    /// The agent's descriptor
    #[arg(value_name = "AGENT.yaml")]
    agent: PathBuf,
    /// Only this server; may be repeated
    #[arg(long, value_name = "ALIAS")]
    server: Vec<String>,
}

#[derive(Debug, Args)]
struct CallArgs {
    /// The agent's descriptor
    #[arg(value_name = "AGENT.yaml")]
    agent: PathBuf,
    /// The tool, as the server names it
    #[arg(value_name = "SERVER.TOOL")]
    tool: String,
    /// Its arguments: an object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    arguments: String,
}

#[derive(Debug, Args)]
struct ResourcesArgs {
    #[command(flatten)]
    of: ServersArgs,
    /// Read this resource of the one server instead
    #[arg(long, value_name = "URI")]
    read: Option<String>,
}

pub(super) async fn mcp(context: &Context, args: McpArgs) -> Result<Exit, CliError> {
    match args.command {
        McpCommand::Tools(args) => tools::tools(context, &args).await,
        McpCommand::Call(args) => call::call(context, &args).await,
        McpCommand::Resources(args) => resources::resources(context, &args).await,
        McpCommand::Serve(args) => Box::pin(serve(context, args)).await,
    }
}

//! `mcp`: looks at the servers of a descriptor without a run, and serves agents to others.

mod call;
mod complete;
mod listed;
mod login;
mod logs;
mod prompts;
mod resources;
mod servers;
mod tools;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use seaworthy::ports::mcp::McpLogLevel;

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
    Tools(ToolsArgs),
    /// Call a tool of a server, once, without a run: no approval is asked and nothing is recorded
    Call(CallArgs),
    /// List the resources of an agent's servers, or read one
    Resources(ResourcesArgs),
    /// List the prompts of an agent's servers, or fill one in
    Prompts(PromptsArgs),
    /// Ask a server what could be written for an argument of a prompt or a resource template
    Complete(CompleteArgs),
    /// Log in to a server that wants a person to: shows an address to open in a browser, and keeps what is granted
    Login(LoginArgs),
    /// Throw away what a login to a server was granted
    Logout(LogoutArgs),
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
struct ToolsArgs {
    #[command(flatten)]
    of: ServersArgs,
    /// Show on standard error what servers log, from this level on: debug, info, notice, warning, error, critical, alert or
    /// emergency; unless said, what the descriptor wants
    #[arg(long, value_name = "LEVEL")]
    log: Option<McpLogLevel>,
}

#[derive(Debug, Args)]
struct PromptsArgs {
    #[command(flatten)]
    of: ServersArgs,
    /// Fill this prompt of the one server in instead
    #[arg(long, value_name = "NAME")]
    get: Option<String>,
    /// What it is filled in with: an object of texts
    #[arg(long, value_name = "JSON", default_value = "{}", requires = "get")]
    arguments: String,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["prompt", "resource"]))]
struct CompleteArgs {
    /// The agent's descriptor
    #[arg(value_name = "AGENT.yaml")]
    agent: PathBuf,
    /// The server, as the descriptor calls it
    #[arg(value_name = "SERVER")]
    server: String,
    /// The prompt whose argument it is
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,
    /// The resource template whose argument it is
    #[arg(long, value_name = "TEMPLATE")]
    resource: Option<String>,
    /// The argument
    #[arg(long, value_name = "NAME")]
    argument: String,
    /// What is written of it so far
    #[arg(
        long,
        value_name = "VALUE",
        default_value = "",
        allow_hyphen_values = true
    )]
    value: String,
    /// The other arguments that are given already: an object of texts
    #[arg(long, value_name = "JSON", default_value = "{}")]
    given: String,
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
    /// Show on standard error what the server logs, from this level on; unless said, what the descriptor wants
    #[arg(long, value_name = "LEVEL")]
    log: Option<McpLogLevel>,
}

#[derive(Debug, Args)]
struct ResourcesArgs {
    #[command(flatten)]
    of: ServersArgs,
    /// Read this resource of the one server instead
    #[arg(long, value_name = "URI")]
    read: Option<String>,
}

#[derive(Debug, Args)]
struct LoginArgs {
    /// The agent's descriptor
    #[arg(value_name = "AGENT.yaml")]
    agent: PathBuf,
    /// The server, as the descriptor calls it
    #[arg(value_name = "SERVER")]
    server: String,
    /// Open the address in this machine's browser
    #[arg(long)]
    open: bool,
    /// The port of 127.0.0.1 that the browser is sent back to; any that is free unless said
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Ask for this besides what the descriptor says; may be repeated
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// How many seconds to wait for the person
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

#[derive(Debug, Args)]
struct LogoutArgs {
    /// The agent's descriptor
    #[arg(value_name = "AGENT.yaml")]
    agent: PathBuf,
    /// The server, as the descriptor calls it
    #[arg(value_name = "SERVER")]
    server: String,
}

pub(super) async fn mcp(context: &Context, args: McpArgs) -> Result<Exit, CliError> {
    match args.command {
        McpCommand::Tools(args) => tools::tools(context, &args).await,
        McpCommand::Call(args) => call::call(context, &args).await,
        McpCommand::Resources(args) => resources::resources(context, &args).await,
        McpCommand::Prompts(args) => prompts::prompts(context, &args).await,
        McpCommand::Complete(args) => complete::complete(context, &args).await,
        McpCommand::Login(args) => Box::pin(login::login(context, &args)).await,
        McpCommand::Logout(args) => login::logout(context, &args).await,
        McpCommand::Serve(args) => Box::pin(serve(context, args)).await,
    }
}

//! `mcp`: the Model Context Protocol.

use clap::{Args, Subcommand};

use super::Context;
use super::mcp_serve::{McpServeArgs, serve};
use crate::error::{CliError, Exit};

#[derive(Debug, Args)]
pub(crate) struct McpArgs {
    #[command(subcommand)]
    command: McpCommand,
}

#[derive(Debug, Subcommand)]
enum McpCommand {
    /// Serve agents as tools, to one client on standard input and output or to many over HTTP, and advance their runs
    Serve(McpServeArgs),
}

pub(super) async fn mcp(context: &Context, args: McpArgs) -> Result<Exit, CliError> {
    match args.command {
        McpCommand::Serve(args) => Box::pin(serve(context, args)).await,
    }
}

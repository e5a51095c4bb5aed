//! What each server of a descriptor has, for programs and for people.

use futures_util::future::join_all;
use seaworthy::descriptor::ServerSpec;
use seaworthy::ports::ServerAlias;
use seaworthy::ports::mcp::{McpError, McpSession};
use seaworthy::servers::Connections;
use serde::Serialize;

use super::servers::Servers;
use crate::commands::Context;
use crate::error::{CliError, Exit};
use crate::output::{Output, Paint, clean};

/// A kind of thing that servers have.
pub(super) trait Offers: Default + Serialize {
    /// Asks a server for it. What was found before an error counts.
    async fn ask(
        &mut self,
        session: &dyn McpSession,
        alias: &ServerAlias,
        spec: &ServerSpec,
    ) -> Result<(), McpError>;

    /// The server's line.
    fn title(&self, alias: &ServerAlias) -> String {
        alias.to_string()
    }

    /// The lines below it.
    fn print(&self, output: Output, alias: &ServerAlias) -> Result<(), CliError>;
}

#[derive(Debug, Serialize)]
struct Listed<T> {
    server: ServerAlias,
    /// Why it could not be asked.
    error: Option<String>,
    #[serde(flatten)]
    offers: T,
}

/// Asks the servers called `aliases`, or all, all at once, takes leave of them and shows what they have.
pub(super) async fn list<T: Offers>(
    context: &Context,
    servers: &Servers,
    aliases: &[String],
) -> Result<Exit, CliError> {
    let asking = servers
        .named(aliases)?
        .into_iter()
        .map(|(alias, spec)| listed(&servers.connections, alias, spec));
    let listed: Vec<Listed<T>> = join_all(asking).await;
    servers.close().await;
    if context.output.json {
        context.output.json(&listed)?;
    } else {
        for server in &listed {
            print(context.output, server)?;
        }
    }
    Ok(if listed.iter().all(|server| server.error.is_none()) {
        Exit::Succeeded
    } else {
        Exit::Failed
    })
}

async fn listed<T: Offers>(
    connections: &Connections,
    alias: &ServerAlias,
    spec: &ServerSpec,
) -> Listed<T> {
    let mut offers = T::default();
    let error = match connections.session(alias).await {
        Ok(session) => {
            let asked = offers.ask(&*session, alias, spec).await;
            asked.err().map(|error| error.to_string())
        }
        Err(error) => Some(error.to_string()),
    };
    Listed {
        server: alias.clone(),
        error,
        offers,
    }
}

fn print<T: Offers>(output: Output, listed: &Listed<T>) -> Result<(), CliError> {
    output.line(&listed.offers.title(&listed.server))?;
    if let Some(error) = &listed.error {
        let error = output.paint(Paint::Bad, &clean(error));
        output.line(&format!("  {error}"))?;
    }
    listed.offers.print(output, &listed.server)
}

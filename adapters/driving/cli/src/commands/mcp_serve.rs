//! `mcp serve`: agents for clients of the Model Context Protocol, and a worker for the runs they start.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use seaworthy::harness::{DEFAULT_QUEUE, HarnessError};
use seaworthy::ports::durable_runtime::{Scope, Worker};
use seaworthy::ports::{Latch, QueueName, Secret};
use seaworthy_mcp_server::http::{
    HttpServer, HttpSettings, IntrospectionSettings, IssuerError, OAuthSettings,
};
use seaworthy_mcp_server::{AgentServer, ServedAgent, ServerSettings, serve_stdio};
use serde_json::json;
use tokio::net::TcpListener;

use super::{Context, id};
use crate::descriptor::{load, utf8};
use crate::drive::check_agent;
use crate::environment::secret;
use crate::error::{CliError, Exit};
use crate::stack::Stack;
use crate::stop::Stop;

/// How long live turns may take once a client on standard input has gone: it will not wait for long.
const STDIO_DRAIN: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct McpServeArgs {
    /// The agents' descriptors: each is a tool, called like the agent
    #[arg(value_name = "AGENT.yaml", required = true)]
    agents: Vec<PathBuf>,
    /// Serve streamable HTTP at this address and /mcp, such as 127.0.0.1:8700 or 8700 [default: one client on standard
    /// input and output]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    http: Option<SocketAddr>,
    /// The environment variable with the token that HTTP clients must show as a bearer token; needed where other machines
    /// can reach the address
    #[arg(long, value_name = "VARIABLE", requires = "http")]
    token_env: Option<String>,
    /// Let in HTTP clients with an access token of this OAuth issuer instead: a JWT (RFC 9068), signed with a key that the
    /// issuer publishes
    #[arg(
        long,
        value_name = "URL",
        requires = "http",
        requires = "oauth_audience",
        conflicts_with = "token_env"
    )]
    oauth_issuer: Option<String>,
    /// The address by which clients know this server, such as https://agents.example/mcp: access tokens must be for it
    #[arg(long, value_name = "URL", requires = "oauth_issuer")]
    oauth_audience: Option<String>,
    /// A scope that access tokens must have; may be repeated
    #[arg(long, value_name = "SCOPE", requires = "oauth_issuer")]
    oauth_scope: Vec<String>,
    /// Ask the issuer about access tokens (RFC 7662): about those that are no JWTs, or about all, so that it is noticed within
    /// half a minute when one is revoked [default: about none; each is a JWT]
    #[arg(
        long,
        value_name = "WHICH",
        requires = "oauth_issuer",
        requires = "oauth_client",
        requires = "oauth_secret_env"
    )]
    oauth_introspect: Option<Asked>,
    /// As whom the issuer is asked: the id that this server has there
    #[arg(long, value_name = "ID", requires = "oauth_introspect")]
    oauth_client: Option<String>,
    /// The environment variable with the secret that belongs to --oauth-client
    #[arg(long, value_name = "VARIABLE", requires = "oauth_introspect")]
    oauth_secret_env: Option<String>,
    /// A further name that HTTP clients may use for this server, such as that of a proxy; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", requires = "http")]
    allow_host: Vec<String>,
    /// Let web pages of this origin call, such as https://app.example; may be repeated
    #[arg(long, value_name = "ORIGIN", requires = "http")]
    allow_origin: Vec<String>,
    /// The queue of the runs that clients start, which this process serves [default: default]
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// How many runs to advance at once; 0: none, workers of the store do
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(0..=1024))]
    concurrency: u16,
    /// Offer no tools to approve or deny calls: approvals are then decided in a terminal
    #[arg(long)]
    no_approvals: bool,
}

/// Which tokens the issuer is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Asked {
    /// Those that are no JWTs
    Opaque,
    /// All
    All,
}

/// An address, or a port of the loopback interface.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_not_one| {
        "it is no address; write IP:PORT, such as 127.0.0.1:8700, or a port".to_owned()
    })
}

pub(super) async fn serve(context: &Context, args: McpServeArgs) -> Result<Exit, CliError> {
    let stop = Stop::listen()?;
    let agents = agents(&args)?;
    let queue: Option<QueueName> = args.queue.as_deref().map(id).transpose()?;
    let token = found("--token-env", args.token_env.as_deref())?;
    let introspection = introspection(&args)?;
    let workspace = utf8(&context.workspace()?, "the workspace")?;
    let stack = context.create_lasting().await?;
    // What is wrong with an agent is said now, not by each of its runs.
    for agent in &agents {
        check_agent(&stack, &agent.descriptor).await?;
    }
    stack.observer.warn();
    let served: Vec<&str> = agents
        .iter()
        .map(|agent| agent.descriptor.metadata.name.as_str())
        .collect();
    let about = format!("{}, runs in {}", served.join(", "), stack.store.url());
    let mut settings = ServerSettings::new(workspace);
    settings.queue.clone_from(&queue);
    settings.decides = !args.no_approvals;
    let harness = stack.harness.clone();
    let server = AgentServer::new(harness, agents, settings, stop.latch.clone())
        .map_err(|error| CliError::Usage(error.to_string()))?;
    let (halt, halted) = Latch::new();
    let worker = worker(&stack, queue, &args)?;
    let oauth = oauth(&stack, &args, introspection);
    let speaking = async {
        let spoken = match args.http {
            Some(address) => {
                let allowed = HttpSettings {
                    token,
                    oauth,
                    hosts: args.allow_host,
                    origins: args.allow_origin,
                };
                over_http(context, server, address, allowed, &about, &stop).await
            }
            None => over_stdio(context, server, &about, &stop).await,
        };
        // Without anybody to work for, live turns finish and the rest waits for the next process.
        halt.set();
        spoken
    };
    let done = Box::pin(work_while(&stack, worker, halted, speaking)).await;
    stack.close().await;
    done?;
    // A server is there to be stopped, or left by its client: this is its success.
    Ok(Exit::Succeeded)
}

fn agents(args: &McpServeArgs) -> Result<Vec<ServedAgent>, CliError> {
    let mut agents = Vec::new();
    for path in &args.agents {
        let (descriptor, folder) = load(path, &[])?;
        agents.push(ServedAgent {
            descriptor,
            base_dir: utf8(&folder, "the folder of the descriptor")?,
        });
    }
    Ok(agents)
}

/// What is in the environment's `variable`, which `flag` names.
fn found(flag: &str, variable: Option<&str>) -> Result<Option<Secret>, CliError> {
    let Some(variable) = variable else {
        return Ok(None);
    };
    secret(variable).map(Some).ok_or_else(|| {
        CliError::Usage(format!(
            "{flag}: the environment has no {variable}, or nothing in it; set it to the secret, not {flag}"
        ))
    })
}

fn introspection(args: &McpServeArgs) -> Result<Option<IntrospectionSettings>, CliError> {
    let secret = found("--oauth-secret-env", args.oauth_secret_env.as_deref())?;
    let (Some(asked), Some(client_id), Some(client_secret)) =
        (args.oauth_introspect, args.oauth_client.clone(), secret)
    else {
        return Ok(None);
    };
    Ok(Some(IntrospectionSettings {
        client_id,
        client_secret,
        asks_about_all: asked == Asked::All,
    }))
}

fn oauth(
    stack: &Stack,
    args: &McpServeArgs,
    introspection: Option<IntrospectionSettings>,
) -> Option<OAuthSettings> {
    Some(OAuthSettings {
        issuer: args.oauth_issuer.clone()?,
        audience: args.oauth_audience.clone()?,
        scopes: args.oauth_scope.clone(),
        introspection,
        clock: Arc::clone(&stack.harness.ports().clock),
    })
}

fn worker(
    stack: &Stack,
    queue: Option<QueueName>,
    args: &McpServeArgs,
) -> Result<Option<Worker>, CliError> {
    if args.concurrency == 0 {
        return Ok(None);
    }
    let queue = match queue {
        Some(queue) => queue,
        None => id(DEFAULT_QUEUE)?,
    };
    let scope = Scope::Queues(BTreeSet::from([queue]));
    let mut worker = stack.worker(scope, args.concurrency.into())?;
    if args.http.is_none() {
        worker.drain = STDIO_DRAIN;
    }
    Ok(Some(worker))
}

/// Advances runs until `speaking` is done and live turns are over. Where runs cannot be advanced, nobody is served either.
async fn work_while(
    stack: &Stack,
    worker: Option<Worker>,
    halted: Latch,
    speaking: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    let working = async {
        match worker {
            Some(worker) => stack.harness.serve(worker, halted).await.map(|_served| ()),
            None => {
                halted.wait().await;
                Ok::<(), HarnessError>(())
            }
        }
    };
    let mut working = pin!(working);
    let mut speaking = pin!(speaking);
    tokio::select! {
        spoken = &mut speaking => {
            let worked = working.await;
            spoken?;
            Ok(worked?)
        }
        worked = &mut working => {
            worked?;
            speaking.await
        }
    }
}

async fn over_stdio(
    context: &Context,
    server: AgentServer,
    about: &str,
    stop: &Stop,
) -> Result<(), CliError> {
    context.output.note(&format!(
        "serving {about} to a client on standard input and output"
    ));
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    serve_stdio(server, input, output, stop.latch.clone())
        .await
        .map_err(|error| CliError::Usage(error.to_string()))
}

async fn over_http(
    context: &Context,
    server: AgentServer,
    address: SocketAddr,
    allowed: HttpSettings,
    about: &str,
    stop: &Stop,
) -> Result<(), CliError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| CliError::io(format!("listen on {address}"), source))?;
    let http = HttpServer::new(listener, allowed)
        .map_err(|error| CliError::Usage(format!("--http: {error}")))?;
    match http.check_issuer().await {
        Ok(()) => {}
        // Runs go on meanwhile, and it may be back before the first client comes.
        Err(error @ IssuerError::Unreachable { .. }) => context.output.note(&format!(
            "warning: {error}; it is asked again when a client comes"
        )),
        Err(error @ IssuerError::Unfit { .. }) => {
            return Err(CliError::Usage(format!("--oauth-issuer: {error}")));
        }
    }
    let url = http.url();
    let output = context.output;
    if output.json {
        output.json(&json!({ "type": "listening", "url": url }))?;
    }
    output.note(&format!(
        "serving {about} at {url}; Ctrl-C or SIGTERM stops"
    ));
    http.serve(server, stop.latch.clone()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        let local: SocketAddr = "127.0.0.1:8700".parse().unwrap();
        assert_eq!(address("8700"), Ok(local));
        assert_eq!(address("127.0.0.1:8700"), Ok(local));
        assert!(address("localhost:8700").is_err());
        assert!(address("0.0.0.0").is_err());
    }
}

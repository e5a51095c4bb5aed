//! `doctor`: what this installation is made of, what it promises and what is missing.

use std::path::PathBuf;

use seaworthy::Ports;
use seaworthy::ports::sandbox::Isolation;
use seaworthy::ports::{AdapterInfo, Durability};
use serde::Serialize;
use serde_json::{Value, json};

use super::Context;
use super::mcp::{self, Looked};
use crate::args::DoctorArgs;
use crate::error::{CliError, Exit};
use crate::kept;
use crate::output::{Output, Paint, clean};
use crate::runtime::Runtime;
use crate::stack::Stack;
use crate::store::Store;

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    workspace: PathBuf,
    store: StoreReport,
    runtime: RuntimeReport,
    adapters: Vec<Adapter>,
    models: Vec<Provider>,
    servers: Vec<Server>,
    missing: Vec<Missing>,
}

#[derive(Debug, Serialize)]
struct StoreReport {
    url: String,
    exists: bool,
    /// Where a database server's large data are.
    data: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct RuntimeReport {
    /// The URL, or `None`: the store's own.
    url: Option<String>,
    /// What it answered, if it had to be asked.
    trouble: Option<String>,
}

#[derive(Debug, Serialize)]
struct Adapter {
    port: &'static str,
    #[serde(flatten)]
    info: AdapterInfo,
    capabilities: Value,
}

#[derive(Debug, Serialize)]
struct Provider {
    provider: &'static str,
    ready: bool,
}

#[derive(Debug, Serialize)]
struct Server {
    alias: String,
    ready: bool,
    /// Why it is not.
    error: Option<String>,
    name: Option<String>,
    version: Option<String>,
    protocol: Option<String>,
    /// How many it has.
    tools: Option<usize>,
}

fn server(looked: Looked) -> Server {
    let (found, error) = match looked.found {
        Ok(found) => (Some(found), None),
        Err(error) => (None, Some(error)),
    };
    let tools = found.as_ref().map(|(_about, tools)| *tools);
    let about = found.map(|(about, _tools)| about);
    Server {
        alias: looked.alias.to_string(),
        ready: about.is_some(),
        error,
        name: about.as_ref().map(|about| about.name.clone()),
        version: about.as_ref().map(|about| about.version.clone()),
        protocol: about.map(|about| about.protocol),
        tools,
    }
}

#[derive(Debug, Serialize)]
struct Missing {
    what: &'static str,
    advice: &'static str,
}

pub(super) async fn doctor(context: &Context, args: &DoctorArgs) -> Result<Exit, CliError> {
    let servers = match &args.agent {
        Some(agent) => mcp::look_at(context, agent).await?,
        None => Vec::new(),
    };
    let all_there = servers.iter().all(|looked| looked.found.is_ok());
    let store = context.store()?;
    let exists = kept::exists(&store).await?;
    if !exists && matches!(store, Store::Postgres { .. }) {
        return Err(CliError::NoStore(store.url()));
    }
    let (stack, temporary) = if exists {
        (
            Stack::open(store.clone(), &context.environment, false).await?,
            None,
        )
    } else {
        // The same adapters on a store that is thrown away: looking must not make one.
        let folder = temporary()?;
        let trial = Store::Sqlite {
            path: folder.join("trial.db"),
            default: false,
        };
        (
            Stack::open(trial, &context.environment, true).await?,
            Some(folder),
        )
    };
    let ports = stack.harness.ports();
    let runtime = runtime(context, &store, ports).await?;
    let openai = context.environment.openai_api_key.is_some();
    let anthropic = context.environment.anthropic_api_key.is_some();
    let gemini = context.environment.gemini_api_key.is_some();
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        workspace: context.workspace()?,
        store: StoreReport {
            url: store.url(),
            exists,
            data: match &store {
                Store::Postgres { data, .. } => Some(data.clone()),
                Store::Sqlite { .. } | Store::Memory => None,
            },
        },
        runtime,
        adapters: adapters(ports),
        models: vec![
            Provider {
                provider: "scripted",
                ready: true,
            },
            Provider {
                provider: "openai",
                ready: openai || context.environment.openai_base_url.is_some(),
            },
            Provider {
                provider: "openai-responses",
                ready: openai || context.environment.openai_base_url.is_some(),
            },
            Provider {
                provider: "anthropic",
                ready: anthropic,
            },
            Provider {
                provider: "gemini",
                ready: gemini,
            },
            Provider {
                provider: "ollama",
                // Its server needs no key; whether it is there, a call shows.
                ready: true,
            },
        ],
        servers: servers.into_iter().map(server).collect(),
        missing: missing(ports, openai, anthropic, gemini),
    };
    stack.close().await;
    if let Some(folder) = temporary {
        // The operating system clears what could not be removed.
        let _left = std::fs::remove_dir_all(folder);
    }
    if context.output.json {
        context.output.json(&report)?;
    } else {
        print(context.output, &report)?;
    }
    Ok(if all_there {
        Exit::Succeeded
    } else {
        Exit::Failed
    })
}

/// Whether a runtime that is not the store's answers.
async fn runtime(
    context: &Context,
    store: &Store,
    ports: &Ports,
) -> Result<RuntimeReport, CliError> {
    let named = Runtime::named(&context.environment, store)?;
    let trouble = match named {
        Some(_) => ports.durable_runtime.queue_limits().await.err(),
        None => None,
    };
    Ok(RuntimeReport {
        url: named.map(|runtime| runtime.to_string()),
        trouble: trouble.map(|error| error.to_string()),
    })
}

fn temporary() -> Result<PathBuf, CliError> {
    let base = std::env::temp_dir();
    let folder = base.join(format!("seaworthy-doctor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|source| {
        CliError::io(
            format!("make a temporary folder in {}", base.display()),
            source,
        )
    })?;
    Ok(folder)
}

fn adapters(ports: &Ports) -> Vec<Adapter> {
    let adapter = |port, info, capabilities| Adapter {
        port,
        info,
        capabilities,
    };
    let Ports {
        state_store,
        durable_runtime,
        blob_store,
        checkpoint_store,
        sandbox,
        models: _,
        mcp,
        secrets: _,
        clock,
        entropy,
        observer,
    } = ports;
    vec![
        adapter(
            "state_store",
            state_store.info(),
            json!(state_store.capabilities()),
        ),
        adapter(
            "durable_runtime",
            durable_runtime.info(),
            json!(durable_runtime.capabilities()),
        ),
        adapter(
            "checkpoint_store",
            checkpoint_store.info(),
            json!(checkpoint_store.capabilities()),
        ),
        adapter(
            "blob_store",
            blob_store.info(),
            json!(blob_store.capabilities()),
        ),
        adapter("sandbox", sandbox.info(), json!(sandbox.capabilities())),
        adapter("mcp", mcp.info(), json!(mcp.capabilities())),
        adapter("clock", clock.info(), json!({})),
        adapter("entropy", entropy.info(), json!({})),
        adapter("observer", observer.info(), json!({})),
    ]
}

fn missing(ports: &Ports, openai: bool, anthropic: bool, gemini: bool) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut add = |absent: bool, what, advice| {
        if absent {
            missing.push(Missing { what, advice });
        }
    };
    add(
        !openai,
        "OPENAI_API_KEY",
        "set it to ask models of provider openai; scripted models need no key",
    );
    add(
        !anthropic,
        "ANTHROPIC_API_KEY",
        "set it to ask models of provider anthropic; scripted models need no key",
    );
    add(
        !gemini,
        "GEMINI_API_KEY",
        "set it to ask models of provider gemini; scripted models need no key",
    );
    add(
        ports.sandbox.capabilities().isolation <= Isolation::Process,
        "isolation of commands",
        "commands of tools run with your rights: run only agents whose tools you trust, or inside a container",
    );
    add(
        ports.state_store.capabilities().durability < Durability::OsCrash,
        "durability",
        "runs do not survive this process or machine: name a file or a server with --store",
    );
    missing
}

fn print(output: Output, report: &Report) -> Result<(), CliError> {
    output.line(&format!("seaworthy  {}", report.version))?;
    output.line(&format!("workspace  {}", report.workspace.display()))?;
    let state = if report.store.exists {
        ""
    } else {
        "  (not there yet; `seaworthy run` makes it)"
    };
    output.line(&format!("store      {}{state}", report.store.url))?;
    if let Some(data) = &report.store.data {
        output.line(&format!(
            "data       {}  (every worker of the store must reach it)",
            data.display()
        ))?;
    }
    match (&report.runtime.url, &report.runtime.trouble) {
        (None, _) => output.line("runtime    the store's own")?,
        (Some(url), None) => output.line(&format!("runtime    {url}"))?,
        (Some(url), Some(trouble)) => output.line(&format!(
            "runtime    {url}  {} {trouble}",
            output.paint(Paint::Attention, "does not answer:")
        ))?,
    }
    output.line("")?;
    for Adapter {
        port,
        info,
        capabilities,
    } in &report.adapters
    {
        let promises = capabilities.as_object().map(promises).unwrap_or_default();
        output.line(
            format!(
                "{port:<17} {} ({} {})  {promises}",
                info.id, info.package, info.version
            )
            .trim_end(),
        )?;
    }
    for Provider { provider, ready } in &report.models {
        output.line(&format!(
            "{:<17} {provider}  {}",
            "model provider",
            if *ready { "ready" } else { "not configured" }
        ))?;
    }
    for server in &report.servers {
        let about = match (
            &server.name,
            &server.version,
            &server.protocol,
            server.tools,
        ) {
            (Some(name), Some(version), Some(protocol), Some(tools)) => {
                format!("ready: {name} {version}, protocol {protocol}, {tools} tools")
            }
            _ => server.error.clone().unwrap_or_default(),
        };
        let line = format!("{:<17} {}  {about}", "mcp server", server.alias);
        output.line(&clean(&line))?;
    }
    for Missing { what, advice } in &report.missing {
        output.line(&format!(
            "{} {what}: {advice}",
            output.paint(Paint::Attention, "missing:")
        ))?;
    }
    Ok(())
}

/// What holds, by name; what does not is not listed.
fn promises(capabilities: &serde_json::Map<String, Value>) -> String {
    let held = capabilities.iter().filter_map(|(name, value)| match value {
        Value::Bool(true) => Some(name.clone()),
        Value::Bool(false) | Value::Null => None,
        Value::String(text) => Some(format!("{name}={text}")),
        other => Some(format!("{name}={other}")),
    });
    held.collect::<Vec<_>>().join(", ")
}

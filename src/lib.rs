//! A durable agent harness whose every part can be swapped.
//!
//! A run can be killed at any instant and goes on elsewhere, without repeating a side effect and with every step on
//! record. Where its log lies, what schedules it, which model answers and where commands run are *ports*; this package
//! re-exports the core, the ports, and one module of adapters for each feature.
//!
//! | feature | module | brings |
//! |---|---|---|
//! | `memory` (default) | `memory` | state store, durable runtime, checkpoint store, blob store; for one process |
//! | `system` (default) | `system` | clock, entropy |
//! | `sqlite` | `sqlite` | state store, durable runtime, checkpoint store; one file |
//! | `postgres` | `postgres` | state store, durable runtime, checkpoint store; any number of machines |
//! | `restate` | `restate` | durable runtime on a Restate server; workers on any number of machines |
//! | `local-fs` | `local_fs` | blob store in a folder |
//! | `mcp` | `mcp` | servers of the Model Context Protocol |
//! | `mcp-server` | `mcp_server` | agents for clients of the Model Context Protocol |
//! | `process` | `process` | sandbox of plain, supervised processes; Linux |
//! | `ring` | | digests about twice as fast where the processor has no instructions for SHA-256; needs a C compiler |
//! | `scripted` | `scripted` | a model that follows a script |
//! | `anthropic` | `anthropic` | models behind Anthropic Messages |
//! | `gemini` | `gemini` | models behind Google's `generateContent` |
//! | `model-decorators` | `model_decorators` | record, replay, timeout, observe and tools by schema around any model |
//! | `ollama` | `ollama` | models behind an Ollama server |
//! | `openai` | `openai` | models behind OpenAI's Chat Completions or a compatible endpoint |
//! | `otlp` | `otlp` | traces and metrics for an OpenTelemetry collector |
//! | `tracing` | `tracing` | what happens, as events of the `tracing` crate |
//!
//! An application chooses an adapter for each field of [`Ports`], makes a [`Harness`] of them, starts runs and serves
//! them:
//!
//! ```
//! use seaworthy::descriptor::Descriptor;
//! use seaworthy::driver::Settings;
//! use seaworthy::harness::worker;
//! use seaworthy::ports::durable_runtime::Scope;
//! use seaworthy::ports::{Latch, WorkerId};
//! use seaworthy::state::Outcome;
//! use seaworthy::{Harness, Ports, Start};
//!
//! async fn ask(ports: Ports, input: &str) -> Result<Option<Outcome>, Box<dyn std::error::Error>> {
//!     let yaml = std::fs::read_to_string("agent.yaml")?;
//!     let descriptor = Descriptor::parse(&yaml, "agent.yaml")?
//!         .materialise(|file| std::fs::read_to_string(file).map_err(|error| error.to_string()))?;
//!     let harness = Harness::new(ports, Settings::default());
//!     let start = Start {
//!         run: None,
//!         descriptor,
//!         input: input.to_owned(),
//!         files: Vec::new(),
//!         session: None,
//!         workspace: "/srv/files".to_owned(),
//!         base_dir: "/srv/agent".to_owned(),
//!         grants_all: None,
//!         queue: None,
//!         trace: None,
//!     };
//!     let run = harness.start(start).await?.run;
//!     // Until the run has ended or waits for somebody. A worker of another process may serve it just as well.
//!     let me = worker(WorkerId::new("embedded")?, Scope::Run(run.clone()), 1);
//!     harness.serve(me, Latch::never()).await?;
//!     Ok(harness.view(&run).await?.state.outcome)
//! }
//! ```
//!
//! `examples/embed.rs` is a whole program. What an adapter has to keep is in `docs/ports/`.

pub use seaworthy_core::{
    Harness, Model, Models, NoMcp, NoModel, NoSecrets, Ports, Secrets, Start, agent, compare,
    context, descriptor, driver, event, files, gateway, harness, history, live, log, machine,
    output, record, replay, servers, signal, stack, state, tool,
};
pub use seaworthy_ports as ports;

#[cfg(feature = "anthropic")]
pub use seaworthy_anthropic as anthropic;
#[cfg(feature = "gemini")]
pub use seaworthy_gemini as gemini;
#[cfg(feature = "local-fs")]
pub use seaworthy_local_fs as local_fs;
#[cfg(feature = "mcp")]
pub use seaworthy_mcp as mcp;
#[cfg(feature = "mcp-server")]
pub use seaworthy_mcp_server as mcp_server;
#[cfg(feature = "memory")]
pub use seaworthy_memory as memory;
#[cfg(feature = "model-decorators")]
pub use seaworthy_model_decorators as model_decorators;
#[cfg(feature = "ollama")]
pub use seaworthy_ollama as ollama;
#[cfg(feature = "openai")]
pub use seaworthy_openai as openai;
#[cfg(feature = "otlp")]
pub use seaworthy_otlp as otlp;
#[cfg(feature = "postgres")]
pub use seaworthy_postgres as postgres;
#[cfg(feature = "process")]
pub use seaworthy_process as process;
#[cfg(feature = "restate")]
pub use seaworthy_restate as restate;
#[cfg(feature = "scripted")]
pub use seaworthy_scripted as scripted;
#[cfg(feature = "sqlite")]
pub use seaworthy_sqlite as sqlite;
#[cfg(feature = "system")]
pub use seaworthy_system as system;
#[cfg(feature = "tracing")]
pub use seaworthy_tracing as tracing;

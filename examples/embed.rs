//! Seaworthy as a library: a stack in memory, a model that follows a script, and a real folder to look at.
//!
//! ```sh
//! cargo run --example embed --features process,scripted
//! ```

use std::error::Error;
use std::sync::Arc;

use seaworthy::descriptor::{Calling, Descriptor, ModelSpec};
use seaworthy::driver::Settings;
use seaworthy::harness::worker;
use seaworthy::memory::{MemoryBlobStore, MemoryCheckpointStore, MemoryRuntime, MemoryStateStore};
use seaworthy::ports::clock::Clock;
use seaworthy::ports::durable_runtime::Scope;
use seaworthy::ports::observer::{Fact, Observer};
use seaworthy::ports::{AdapterInfo, Latch, WorkerId};
use seaworthy::process::{ProcessConfig, ProcessSandbox, Supervisor};
use seaworthy::scripted::ScriptedModel;
use seaworthy::state::Outcome;
use seaworthy::system::{SystemClock, SystemEntropy};
use seaworthy::{Harness, Model, Models, NoMcp, NoModel, NoSecrets, Ports, Start};

const AGENT: &str = "
version: seaworthy.agent_graph.v1
metadata: { name: looker, version: '1.0.0' }
runtime: { entry_agent: looker, max_turns: 4 }
models:
  main: { provider: scripted, script: script.yaml }
agents:
  looker:
    instructions: Say what is in the workspace.
    model: main
    tools: [list]
";

const SCRIPT: &str = "
turns:
  - calls:
      - tool: list
        arguments: { path: . }
  - text: 'I see {{ results[0].output.entries | length }} file: {{ results[0].output.entries[0].name }}'
";

/// Only scripts answer here. An application that asks live models returns their provider for the other kinds.
#[derive(Debug)]
struct Scripts;

impl Models for Scripts {
    fn find(&self, spec: &ModelSpec, calling: Calling) -> Result<Model, NoModel> {
        let (ModelSpec::Scripted { script, origin }, Calling::Native) = (spec, calling) else {
            return Err(NoModel(format!("no provider {} here", spec.provider())));
        };
        let provider =
            ScriptedModel::from_yaml(script, origin).map_err(|error| NoModel(error.to_string()))?;
        Ok(Model {
            provider: Arc::new(provider),
            name: origin.clone(),
        })
    }
}

/// Where metrics and traces would come from.
#[derive(Debug)]
struct Print;

impl Observer for Print {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "print",
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn wants_content(&self) -> bool {
        false
    }

    fn observe(&self, fact: &Fact) {
        if let Fact::ToolCallEnded { tool, duration, .. } = fact {
            write(&format!("{tool} took {duration:?}"));
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn live(workspace: &str, state: &str) -> Result<(), Box<dyn Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let sandbox =
        ProcessSandbox::connect(ProcessConfig::new(state, Supervisor::this_program()?)).await?;
    let ports = Ports {
        state_store: Arc::new(MemoryStateStore::default()),
        durable_runtime: Arc::new(MemoryRuntime::new(Arc::clone(&clock))),
        blob_store: Arc::new(MemoryBlobStore::default()),
        checkpoint_store: Arc::new(MemoryCheckpointStore::default()),
        sandbox: Arc::new(sandbox),
        models: Arc::new(Scripts),
        mcp: Arc::new(NoMcp),
        secrets: Arc::new(NoSecrets),
        clock,
        entropy: Arc::new(SystemEntropy::new()?),
        observer: Arc::new(Print),
    };
    let harness = Harness::new(ports, Settings::default());
    let descriptor =
        Descriptor::parse(AGENT, "agent.yaml")?.materialise(|_script| Ok(SCRIPT.to_owned()))?;
    let start = Start {
        run: None,
        descriptor,
        input: "What is here?".to_owned(),
        files: Vec::new(),
        session: None,
        workspace: workspace.to_owned(),
        base_dir: workspace.to_owned(),
        grants_all: None,
        queue: None,
        trace: None,
    };
    let run = harness.start(start).await?.run;
    harness
        .serve(
            worker(WorkerId::new("embedded")?, Scope::Run(run.clone()), 1),
            Latch::never(),
        )
        .await?;
    match harness.view(&run).await?.state.outcome {
        Some(Outcome::Succeeded { output }) => write(&output),
        other => return Err(format!("the run ended otherwise: {other:?}").into()),
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    // The sandbox starts this program again to supervise commands; then nothing below applies.
    seaworthy::process::supervise_if_asked();
    let folder = std::env::temp_dir().join(format!("seaworthy-embed-{}", std::process::id()));
    let (workspace, state) = (folder.join("workspace"), folder.join("sandbox"));
    std::fs::create_dir_all(&workspace)?;
    std::fs::write(workspace.join("notes.txt"), "Remember the milk.\n")?;
    let text = |path: &std::path::Path| {
        path.to_str()
            .map(str::to_owned)
            .ok_or("the temporary folder is not UTF-8")
    };
    let outcome = live(&text(&workspace)?, &text(&state)?);
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn write(line: &str) {
    use std::io::Write as _;
    // Where nobody reads, nothing is lost.
    let _unread = writeln!(std::io::stdout(), "{line}");
}

//! The stacks that are measured: on SQLite with `synchronous = FULL` and real files, on PostgreSQL, and in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use seaworthy::descriptor::{Descriptor, Materialised};
use seaworthy::driver::Settings;
use seaworthy::harness::worker;
use seaworthy::local_fs::{LocalFs, LocalFsConfig};
use seaworthy::memory::{MemoryBlobStore, MemoryCheckpointStore, MemoryRuntime, MemoryStateStore};
use seaworthy::ports::blob_store::BlobStore;
use seaworthy::ports::checkpoint_store::CheckpointStore;
use seaworthy::ports::clock::Clock;
use seaworthy::ports::durable_runtime::{DurableRuntime, Scope};
use seaworthy::ports::mcp::Mcp;
use seaworthy::ports::observer::{Fact, Observer};
use seaworthy::ports::sandbox::Sandbox;
use seaworthy::ports::state_store::StateStore;
use seaworthy::ports::{AdapterInfo, Latch, RunId, WorkerId};
use seaworthy::postgres::Postgres;
use seaworthy::process::{ProcessConfig, ProcessSandbox, Supervisor};
use seaworthy::sqlite::{Sqlite, SqliteConfig};
use seaworthy::state::Status;
use seaworthy::system::{SystemClock, SystemEntropy};
use seaworthy::{Harness, NoMcp, NoSecrets, Ports, Start};
use seaworthy_fakes::{FakeSandbox, RanCommand};

use crate::Failure;
use crate::counting::{Counting, Seen};
use crate::meter::Meter;
use crate::model::Steady;

const AGENT: &str = "
version: seaworthy.agent_graph.v1
metadata: { name: steady }
runtime: { entry_agent: steady }
models: { main: { provider: openai, model: steady } }
agents:
  steady: { instructions: Go on., model: main, tools: [list] }
";

/// One store with a harness on it.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) harness: Harness,
    pub(crate) store: Arc<Counting>,
    sqlite: Option<(Sqlite, PathBuf)>,
    postgres: Option<Postgres>,
    workspace: PathBuf,
    descriptor: Materialised,
}

/// Where the files are that tools look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// In a folder, reached through the process sandbox.
    OnDisk,
    /// There are none: a tool call costs what the harness adds to it.
    None,
}

#[derive(Debug)]
struct Silent;

impl Observer for Silent {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "silent",
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn wants_content(&self) -> bool {
        false
    }

    fn observe(&self, _fact: &Fact) {}
}

/// What is run.
struct Agent<'a> {
    yaml: &'a str,
    model: Steady,
    mcp: Arc<dyn Mcp>,
}

impl Agent<'_> {
    /// The one without servers.
    fn plain(model: Steady) -> Self {
        Self {
            yaml: AGENT,
            model,
            mcp: Arc::new(NoMcp),
        }
    }
}

/// Everything but the harness that keeps something.
struct Stores {
    state: Arc<dyn StateStore>,
    runtime: Arc<dyn DurableRuntime>,
    checkpoints: Arc<dyn CheckpointStore>,
    blobs: Arc<dyn BlobStore>,
}

/// The file of the database in `folder`.
pub(crate) fn database(folder: &Path) -> PathBuf {
    folder.join("state.db")
}

/// Opens the database in `folder`, which is made where it is missing.
pub(crate) async fn sqlite(folder: &Path, clock: Arc<dyn Clock>) -> Result<Sqlite, Failure> {
    std::fs::create_dir_all(folder)?;
    let config = SqliteConfig::new(database(folder));
    Sqlite::migrate(&config).await?;
    Ok(Sqlite::connect(config, clock).await?)
}

impl Stack {
    /// A stack on the database in `folder`; its runs have as many turns as `model` takes.
    pub(crate) async fn open(folder: &Path, model: Steady, files: Files) -> Result<Self, Failure> {
        let workspace = folder.join("workspace");
        std::fs::create_dir_all(&workspace)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let sqlite = sqlite(folder, Arc::clone(&clock)).await?;
        let blobs = LocalFs::connect(LocalFsConfig::new(folder.join("blobs"))).await?;
        let sandbox: Arc<dyn Sandbox> = match files {
            Files::OnDisk => {
                for file in ["a.txt", "b.txt", "c.txt"] {
                    std::fs::write(workspace.join(file), "some text\n")?;
                }
                let state = folder.join("sandbox");
                let config = ProcessConfig::new(state, Supervisor::this_program()?);
                Arc::new(ProcessSandbox::connect(config).await?)
            }
            Files::None => no_files(),
        };
        let stores = Stores {
            state: sqlite.state_store(),
            runtime: sqlite.durable_runtime(),
            checkpoints: sqlite.checkpoint_store(),
            blobs: blobs.blob_store(),
        };
        let mut stack = Self::on(stores, sandbox, clock, Agent::plain(model), workspace)?;
        stack.sqlite = Some((sqlite, database(folder)));
        Ok(stack)
    }

    /// A stack on a PostgreSQL database, without files. `folder` is for what a database does not keep.
    pub(crate) async fn on_postgres(
        folder: &Path,
        postgres: Postgres,
        model: Steady,
    ) -> Result<Self, Failure> {
        let workspace = folder.join("workspace");
        std::fs::create_dir_all(&workspace)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let blobs = LocalFs::connect(LocalFsConfig::new(folder.join("blobs"))).await?;
        let stores = Stores {
            state: postgres.state_store(),
            runtime: postgres.durable_runtime(),
            checkpoints: postgres.checkpoint_store(),
            blobs: blobs.blob_store(),
        };
        let mut stack = Self::on(stores, no_files(), clock, Agent::plain(model), workspace)?;
        stack.postgres = Some(postgres);
        Ok(stack)
    }

    /// A stack without anything durable.
    pub(crate) fn in_memory(model: Steady) -> Result<Self, Failure> {
        Self::volatile(Agent::plain(model))
    }

    /// The same for an agent with servers.
    pub(crate) fn in_memory_with_servers(
        model: Steady,
        yaml: &str,
        mcp: Arc<dyn Mcp>,
    ) -> Result<Self, Failure> {
        Self::volatile(Agent { yaml, model, mcp })
    }

    fn volatile(agent: Agent<'_>) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let stores = Stores {
            state: Arc::new(MemoryStateStore::default()),
            runtime: Arc::new(MemoryRuntime::new(Arc::clone(&clock))),
            checkpoints: Arc::new(MemoryCheckpointStore::default()),
            blobs: Arc::new(MemoryBlobStore::default()),
        };
        Self::on(stores, no_files(), clock, agent, PathBuf::from("/"))
    }

    fn on(
        stores: Stores,
        sandbox: Arc<dyn Sandbox>,
        clock: Arc<dyn Clock>,
        agent: Agent<'_>,
        workspace: PathBuf,
    ) -> Result<Self, Failure> {
        let model = agent.model;
        let store = Counting::new(stores.state);
        let ports = Ports {
            state_store: Arc::<Counting>::clone(&store),
            durable_runtime: stores.runtime,
            checkpoint_store: stores.checkpoints,
            blob_store: stores.blobs,
            sandbox,
            models: Arc::new(model),
            mcp: agent.mcp,
            secrets: Arc::new(NoSecrets),
            clock,
            entropy: Arc::new(SystemEntropy::new()?),
            observer: Arc::new(Silent),
        };
        let parsed = Descriptor::parse(agent.yaml, "steady.yaml")?;
        let mut descriptor = parsed.materialise(|_file| Err("there is no script".to_owned()))?;
        // More than a descriptor may ask for: runs are made as long as the measurement needs.
        descriptor.runtime.max_turns = u32::try_from(model.turns)?;
        Ok(Self {
            harness: Harness::new(ports, Settings::default()),
            store,
            sqlite: None,
            postgres: None,
            workspace,
            descriptor,
        })
    }

    /// Creates the run `id` without advancing it.
    pub(crate) async fn start(&self, id: String) -> Result<RunId, Failure> {
        let start = Start {
            run: Some(RunId::new(id)?),
            descriptor: self.descriptor.clone(),
            input: "Begin.".to_owned(),
            files: Vec::new(),
            session: None,
            workspace: self.workspace.display().to_string(),
            base_dir: self.workspace.display().to_string(),
            grants_all: None,
            queue: None,
            trace: None,
        };
        Ok(self.harness.start(start).await?.run)
    }

    /// Advances `run` to its end.
    pub(crate) async fn finish(&self, run: &RunId) -> Result<(), Failure> {
        let me = worker(WorkerId::new("bench")?, Scope::Run(run.clone()), 1);
        self.harness.serve(me, Latch::never()).await?;
        let status = self.harness.view(run).await?.status();
        if status == Status::Succeeded {
            Ok(())
        } else {
            Err(format!("run {run} is {}", status.as_str()).into())
        }
    }

    /// Starts so many runs, then serves them, `at_once` at a time, to their end.
    pub(crate) async fn serve_all(&self, runs: usize, at_once: usize) -> Result<Served, Failure> {
        for number in 0..runs {
            self.start(format!("r{number}")).await?;
        }
        self.store.take();
        let meter = self.meter()?;
        let (stop, stopped) = Latch::new();
        let me = worker(WorkerId::new("bench")?, Scope::All, at_once);
        let (served, ()) = tokio::join!(self.harness.serve(me, stopped), async {
            self.store.sealed(runs).await;
            stop.set();
        });
        served?;
        let seen = self.store.take();
        let took = seen
            .iter()
            .map(|seen| seen.at.duration_since(meter.began()))
            .max()
            .ok_or("nothing was appended")?;
        Ok(Served { seen, took, meter })
    }

    pub(crate) fn meter(&self) -> Result<Meter, Failure> {
        match &self.sqlite {
            Some((_sqlite, database)) => Meter::of_database(database),
            None => Ok(Meter::start()),
        }
    }

    pub(crate) async fn close(self) {
        if let Some((sqlite, _database)) = self.sqlite {
            sqlite.close().await;
        }
        if let Some(postgres) = self.postgres {
            postgres.close().await;
        }
    }
}

/// What serving many runs came to.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) seen: Vec<Seen>,
    pub(crate) took: Duration,
    pub(crate) meter: Meter,
}

fn no_files() -> Arc<dyn Sandbox> {
    Arc::new(FakeSandbox::new(|_no_commands| RanCommand::default()))
}

//! The stack that is measured: SQLite with `synchronous = FULL`, real files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy::descriptor::{Descriptor, Materialised};
use seaworthy::driver::Settings;
use seaworthy::local_fs::{LocalFs, LocalFsConfig};
use seaworthy::ports::clock::Clock;
use seaworthy::ports::observer::{Fact, Observer};
use seaworthy::ports::sandbox::Sandbox;
use seaworthy::ports::{AdapterInfo, RunId};
use seaworthy::process::{ProcessConfig, ProcessSandbox, Supervisor};
use seaworthy::sqlite::{Sqlite, SqliteConfig};
use seaworthy::system::{SystemClock, SystemEntropy};
use seaworthy::{Harness, Ports, Start};
use seaworthy_fakes::{FakeSandbox, RanCommand};

use crate::Failure;
use crate::counting::Counting;
use crate::model::Steady;

const AGENT: &str = "
version: seaworthy.agent_graph.v1
metadata: { name: steady }
runtime: { entry_agent: steady }
models: { main: { provider: openai, model: steady } }
agents:
  steady: { instructions: Go on., model: main, tools: [list] }
";

/// One database with a harness on it.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) harness: Harness,
    pub(crate) store: Arc<Counting>,
    sqlite: Sqlite,
    database: PathBuf,
    workspace: PathBuf,
    descriptor: Materialised,
}

/// Where the files are that tools look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// In a folder, reached through the process sandbox.
    OnDisk,
    /// In memory: a tool call costs what the harness adds to it.
    InMemory,
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

    fn observe(&self, _fact: &Fact) {}
}

impl Stack {
    /// Opens the database `name` in `folder`; its runs have as many turns as `model` takes.
    pub(crate) async fn open(
        folder: &Path,
        name: &str,
        model: Steady,
        files: Files,
    ) -> Result<Self, Failure> {
        let folder = folder.join(name);
        let workspace = folder.join("workspace");
        std::fs::create_dir_all(&workspace)?;
        for file in ["a.txt", "b.txt", "c.txt"] {
            std::fs::write(workspace.join(file), "some text\n")?;
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let database = folder.join("state.db");
        let config = SqliteConfig::new(&database);
        Sqlite::migrate(&config).await?;
        let sqlite = Sqlite::connect(config, Arc::clone(&clock)).await?;
        let store = Counting::new(sqlite.state_store());
        let blobs = LocalFs::connect(LocalFsConfig::new(folder.join("blobs"))).await?;
        let sandbox: Arc<dyn Sandbox> = match files {
            Files::OnDisk => {
                let state = folder.join("sandbox");
                let config = ProcessConfig::new(state, Supervisor::this_program()?);
                Arc::new(ProcessSandbox::connect(config).await?)
            }
            Files::InMemory => Arc::new(FakeSandbox::new(|_no_commands| RanCommand::default())),
        };
        let ports = Ports {
            state_store: Arc::<Counting>::clone(&store),
            durable_runtime: sqlite.durable_runtime(),
            checkpoint_store: sqlite.checkpoint_store(),
            blob_store: blobs.blob_store(),
            sandbox,
            models: Arc::new(model),
            clock,
            entropy: Arc::new(SystemEntropy::new()?),
            observer: Arc::new(Silent),
        };
        let parsed = Descriptor::parse(AGENT, "steady.yaml")?;
        let mut descriptor = parsed.materialise(|_file| Err("there is no script".to_owned()))?;
        // More than a descriptor may ask for: runs are made as long as the measurement needs.
        descriptor.runtime.max_turns = u32::try_from(model.turns)?;
        let harness = Harness::new(ports, Settings::default());
        Ok(Self {
            harness,
            store,
            sqlite,
            database,
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
            session: None,
            workspace: self.workspace.display().to_string(),
            base_dir: self.workspace.display().to_string(),
            grants_all: None,
            queue: None,
        };
        Ok(self.harness.start(start).await?.run)
    }

    /// How many transactions the database has committed, as SQLite counts them itself: the field `iChange` of the
    /// write-ahead log's index.
    pub(crate) fn transactions(&self) -> Result<u32, Failure> {
        let mut index = self.database.clone().into_os_string();
        index.push("-shm");
        let header = std::fs::read(index)?;
        let field = header
            .get(8..12)
            .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        Ok(u32::from_ne_bytes(
            field.ok_or("the index of the write-ahead log is too short")?,
        ))
    }

    pub(crate) async fn close(self) {
        self.sqlite.close().await;
    }
}

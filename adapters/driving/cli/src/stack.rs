//! The composition root: every adapter is chosen here, or in `kept` where it depends on the store, and nowhere else.

use std::path::Path;
use std::sync::Arc;

use seaworthy::driver::Settings;
use seaworthy::harness::worker;
use seaworthy::mcp::{McpClient, McpConfig};
use seaworthy::ports::WorkerId;
use seaworthy::ports::clock::Clock;
use seaworthy::ports::durable_runtime::{Scope, Worker};
use seaworthy::ports::entropy::Entropy;
use seaworthy::process::{ProcessConfig, ProcessSandbox, Supervisor};
use seaworthy::system::{SystemClock, SystemEntropy};
use seaworthy::{Harness, Ports};

use crate::environment::Environment;
use crate::error::CliError;
use crate::kept::{Database, Kept};
use crate::models::CliModels;
use crate::observer::CliObserver;
use crate::runtime::Runtime;
use crate::store::{Store, flag_for};
use crate::telemetry::Telemetries;
use crate::work::{Counting, Work};

/// A harness on adapters that are open.
pub(crate) struct Stack {
    pub(crate) harness: Harness,
    pub(crate) observer: Arc<CliObserver>,
    /// The turns of this process.
    pub(crate) work: Arc<Work>,
    pub(crate) store: Store,
    /// What must be added to a command of this user to reach the store and the runtime.
    pub(crate) flag: String,
    database: Database,
    telemetries: Telemetries,
}

impl Stack {
    /// Opens `store`, which must exist unless `create` says otherwise. Its schema is dealt with as [`Kept::open`] says.
    pub(crate) async fn open(
        store: Store,
        environment: &Environment,
        create: bool,
    ) -> Result<Self, CliError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy = SystemEntropy::new().map_err(|error| CliError::Stack {
            part: "randomness",
            why: error.to_string(),
        })?;
        let entropy: Arc<dyn Entropy> = Arc::new(entropy);
        let runtime = Runtime::named(environment, &store)?;
        let kept = Kept::open(&store, &clock, &*entropy, create).await?;
        let mut flag = flag_for(&store);
        if let Some(runtime) = runtime.as_ref().filter(|_| environment.is_runtime_typed) {
            flag.push_str(&runtime.flag());
        }
        let durable_runtime = match runtime {
            Some(runtime) => runtime.open(environment, &clock)?,
            None => kept.durable_runtime,
        };
        let telemetries = Telemetries::start(environment)?;
        let observer = Arc::new(CliObserver::before(
            telemetries.observers(),
            telemetries.write_the_log(),
        ));
        let work = Arc::new(Work::default());
        let ports = Ports {
            state_store: kept.state_store,
            durable_runtime: Arc::new(Counting::new(durable_runtime, Arc::clone(&work))),
            blob_store: kept.blob_store,
            checkpoint_store: kept.checkpoint_store,
            sandbox: Arc::new(sandbox(&kept.sandbox_dir).await?),
            models: Arc::new(CliModels::new(Arc::clone(&clock), environment)),
            mcp: Arc::new(McpClient::new(McpConfig::default())),
            secrets: Arc::new(environment.secrets()),
            clock,
            entropy,
            observer: Arc::<CliObserver>::clone(&observer),
        };
        let settings = Settings {
            environment: environment.for_commands.clone(),
            ..Settings::default()
        };
        let harness = Harness::new(ports, settings);
        Ok(Self {
            harness,
            observer,
            work,
            store,
            flag,
            database: kept.database,
            telemetries,
        })
    }

    /// A worker with a name of its own.
    pub(crate) fn worker(&self, scope: Scope, concurrency: usize) -> Result<Worker, CliError> {
        let id = format!(
            "cli.{}.{:032x}",
            std::process::id(),
            self.harness.ports().entropy.bits()
        );
        let id = WorkerId::new(id).map_err(|error| CliError::Usage(error.to_string()))?;
        Ok(worker(id, scope, concurrency))
    }

    /// Commits what waits and leaves nothing temporary behind.
    pub(crate) async fn close(self) {
        self.database.close().await;
        self.telemetries.close().await;
    }
}

/// Plain processes, which keep what they need in `folder`.
pub(crate) async fn sandbox(folder: &Path) -> Result<ProcessSandbox, CliError> {
    let cannot = |why: String| CliError::Stack {
        part: "the sandbox for commands",
        why,
    };
    let supervisor = Supervisor::this_program().map_err(|error| cannot(error.to_string()))?;
    ProcessSandbox::connect(ProcessConfig::new(folder, supervisor))
        .await
        .map_err(|error| cannot(error.to_string()))
}

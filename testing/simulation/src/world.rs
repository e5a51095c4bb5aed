//! What survives a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use seaworthy_contract::observer::Recorder;
use seaworthy_core::descriptor::{AgentSpec, Calling, Materialised, ModelSpec};
use seaworthy_core::driver::{Driver, Settings};
use seaworthy_core::harness::{Harness, HarnessError, Start};
use seaworthy_core::live::Relay;
use seaworthy_core::stack::{Model, Models, NoModel, NoSecrets, Ports};
use seaworthy_fakes::{
    FakeClock, FakeMcp, FakeMcpServer, FakeMcpTask, FakeMcpTool, FakeRuntime, FakeSandbox, Faults,
    FaultyBlobs, FaultyCheckpoints, FaultyClock, FaultyLogs, FaultyMcp, FaultyModel, FaultyRuntime,
    FaultySandbox, Notifications, SeededEntropy, TableModel, TableTurn,
};
use seaworthy_memory::{MemoryBlobStore, MemoryCheckpointStore, MemoryStateStore};
use seaworthy_ports::model_provider::ModelProvider;
use seaworthy_ports::observer::Fact;
use seaworthy_ports::{InvalidId, RunId, SessionId, TraceContext, WorkerId};

use crate::asking;
use crate::ending::Ending;
use crate::outside::{
    DESCRIPTOR, Effects, Outside, SERVED, agent, desk, desk_tool, is_once, turns,
};
use crate::process::Process;

/// What survives a crash.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) logs: MemoryStateStore,
    blobs: MemoryBlobStore,
    checkpoints: MemoryCheckpointStore,
    pub(crate) runtime: FakeRuntime,
    sandbox: FakeSandbox,
    mcp: FakeMcp,
    desk: FakeMcpServer,
    clock: FakeClock,
    outside: Arc<Outside>,
    model: Arc<dyn ModelProvider>,
    /// Who answers to other names than the first model's.
    others: BTreeMap<String, Arc<dyn ModelProvider>>,
    descriptor: Materialised,
    pub(crate) run: RunId,
    trace: Option<TraceContext>,
    told: Arc<Recorder>,
}

impl World {
    /// A fresh world with a run of every sort of tool, in which nobody ever waits.
    ///
    /// # Errors
    ///
    /// In words, what is wrong with the simulation itself.
    pub fn new() -> Result<Self, String> {
        Self::saying(turns())
    }

    /// A fresh world whose model says `turns` to every run.
    ///
    /// # Errors
    ///
    /// In words, what is wrong with the simulation itself.
    pub fn saying(turns: Vec<TableTurn>) -> Result<Self, String> {
        let outside = Arc::<Outside>::default();
        let commands = Arc::clone(&outside);
        let desk = desk(&outside);
        Ok(Self {
            logs: MemoryStateStore::default(),
            blobs: MemoryBlobStore::default(),
            checkpoints: MemoryCheckpointStore::default(),
            runtime: FakeRuntime::default(),
            sandbox: FakeSandbox::new(move |exec| commands.act(exec)),
            mcp: FakeMcp::new()
                .with_server("desk", desk.clone())
                .map_err(|error| error.to_string())?,
            desk,
            clock: FakeClock::jumping(),
            outside,
            model: Arc::new(TableModel::new(turns)),
            others: BTreeMap::new(),
            descriptor: agent(DESCRIPTOR)?,
            run: RunId::new("simulated").map_err(|error| error.to_string())?,
            trace: None,
            told: Arc::default(),
        })
    }

    /// The same world, whose agent has the tools of the server `desk` instead of commands.
    ///
    /// # Errors
    ///
    /// In words, what is wrong with the simulation itself.
    pub fn served(mut self) -> Result<Self, String> {
        let (before, _agents) = DESCRIPTOR
            .split_once("tools:")
            .ok_or("the descriptor has no tools")?;
        self.descriptor = agent(&format!("{before}{SERVED}"))?;
        Ok(self)
    }

    /// The same world, whose agent has tools of the server `desk` that ask something before they act: `survey` and `vote`
    /// ask the user for a name, `phrase` wants a model called. `vote` must not be repeated.
    ///
    /// # Errors
    ///
    /// In words, what is wrong with the simulation itself.
    pub fn asking(self) -> Result<Self, String> {
        self.asking_like(|tool| tool)
    }

    /// The same world with the same tools, whose calls become tasks like this one: what they ask they ask in the middle.
    ///
    /// # Errors
    ///
    /// In words, what is wrong with the simulation itself.
    pub fn asking_in_tasks(self, task: &FakeMcpTask) -> Result<Self, String> {
        self.asking_like(|tool| tool.with_task(task.clone()))
    }

    fn asking_like(mut self, change: impl Fn(FakeMcpTool) -> FakeMcpTool) -> Result<Self, String> {
        let (before, _agents) = DESCRIPTOR
            .split_once("tools:")
            .ok_or("the descriptor has no tools")?;
        self.descriptor = agent(&format!("{before}{}", asking::SECTIONS))?;
        let tools = asking::TOOLS.into_iter().map(|tool| {
            let outside = Arc::clone(&self.outside);
            change(asking::tool(tool, move |acted| outside.count(acted)))
        });
        self.desk.set_tools(tools.collect());
        Ok(self)
    }

    /// The server `desk`, to change what it offers and to see what it saw.
    #[must_use]
    pub fn desk(&self) -> &FakeMcpServer {
        &self.desk
    }

    /// The tool `name` of the server `desk`, as it is in the beginning.
    #[must_use]
    pub fn desk_tool(&self, name: &'static str) -> FakeMcpTool {
        desk_tool(name, &self.outside)
    }

    /// The same world with another model.
    #[must_use]
    pub fn with_model(mut self, model: Arc<dyn ModelProvider>) -> Self {
        self.model = model;
        self
    }

    /// The same world with another agent.
    #[must_use]
    pub fn with_agent(mut self, change: impl Fn(&mut AgentSpec)) -> Self {
        self.descriptor.agents.values_mut().for_each(change);
        self
    }

    /// The same world, in which this is said of every model's capabilities.
    #[must_use]
    pub fn with_capability(mut self, name: &'static str, has: bool) -> Self {
        for alias in self.descriptor.models.values_mut() {
            let capabilities = &mut alias.settings.capabilities;
            capabilities.insert(name.to_owned(), has);
        }
        self
    }

    /// The store of checkpoints that all processes share.
    #[must_use]
    pub fn checkpoints(&self) -> &MemoryCheckpointStore {
        &self.checkpoints
    }

    /// The same world, whose run is started in a trace of somebody else's.
    #[must_use]
    pub fn within(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    /// What all processes have told their observer, in order.
    #[must_use]
    pub fn told(&self) -> Vec<Fact> {
        self.told.told()
    }

    /// The same world with another section of models: in YAML, with `main` among its aliases.
    ///
    /// # Errors
    ///
    /// In words, what is wrong with the section.
    pub fn with_aliases(mut self, section: &str) -> Result<Self, String> {
        let text = DESCRIPTOR.replace("  main: { provider: openai, model: table }", section);
        self.descriptor = agent(&text)?;
        Ok(self)
    }

    /// The same world, in which `model` answers to this provider's name of a model.
    #[must_use]
    pub fn with_other(mut self, name: &str, model: Arc<dyn ModelProvider>) -> Self {
        self.others.insert(name.to_owned(), model);
        self
    }

    /// The same world in the time of `clock`, wake-ups included.
    #[must_use]
    pub fn on_clock(mut self, clock: &FakeClock) -> Self {
        self.clock = clock.clone();
        self.runtime = self.runtime.on_clock(clock.clone());
        self
    }

    /// The same world with hints like these.
    #[must_use]
    pub fn with_notifications(mut self, notifications: Notifications) -> Self {
        self.runtime = self.runtime.with_notifications(notifications);
        self
    }

    /// The same world seen by those who are about another run of it.
    #[must_use]
    pub fn about(&self, run: RunId) -> Self {
        Self {
            run,
            ..self.clone()
        }
    }

    /// From now on verifiers say of everything that it did not happen: a world in which things happen twice, to see that
    /// this is found out.
    pub fn let_verifiers_lie(&self) {
        self.outside.let_verifiers_lie();
    }

    /// The runtime that all processes share.
    #[must_use]
    pub fn runtime(&self) -> &FakeRuntime {
        &self.runtime
    }

    /// A process in this world. `number` makes its worker and its chance its own.
    ///
    /// # Errors
    ///
    /// In words, what is wrong with the simulation itself.
    pub fn process(&self, number: u64, faults: Faults) -> Result<Process, String> {
        let faulty = |model: &Arc<dyn ModelProvider>| -> Arc<dyn ModelProvider> {
            Arc::new(FaultyModel::new(Arc::clone(model), faults.clone()))
        };
        let models = ByName {
            first: faulty(&self.model),
            others: self
                .others
                .iter()
                .map(|(name, model)| (name.clone(), faulty(model)))
                .collect(),
        };
        let ports = Ports {
            state_store: Arc::new(FaultyLogs::new(Arc::new(self.logs.clone()), faults.clone())),
            durable_runtime: Arc::new(FaultyRuntime::new(
                Arc::new(self.runtime.clone()),
                faults.clone(),
            )),
            blob_store: Arc::new(FaultyBlobs::new(
                Arc::new(self.blobs.clone()),
                faults.clone(),
            )),
            checkpoint_store: Arc::new(FaultyCheckpoints::new(
                Arc::new(self.checkpoints.clone()),
                faults.clone(),
            )),
            sandbox: Arc::new(FaultySandbox::new(
                Arc::new(self.sandbox.clone()),
                faults.clone(),
            )),
            models: Arc::new(models),
            mcp: Arc::new(FaultyMcp::new(Arc::new(self.mcp.clone()), faults.clone())),
            secrets: Arc::new(NoSecrets),
            clock: Arc::new(FaultyClock::new(
                Arc::new(self.clock.clone()),
                faults.clone(),
            )),
            entropy: Arc::new(SeededEntropy::new(number)),
            observer: Arc::<Recorder>::clone(&self.told),
        };
        let worker =
            WorkerId::new(format!("worker_{number}")).map_err(|error| error.to_string())?;
        let driver = Driver::new(
            ports.clone(),
            Settings::default(),
            Relay::default(),
            worker.clone(),
        );
        Ok(Process {
            world: self.clone(),
            harness: Harness::new(ports, Settings::default()),
            driver: Arc::new(driver),
            worker,
            dead: faults.dead(),
        })
    }

    /// Goes on with processes without faults until the run has ended, answering whatever it waits for truthfully.
    ///
    /// # Errors
    ///
    /// In words: a run that is stuck, or a port that failed.
    pub async fn finish(&self, first: u64) -> Result<Ending, String> {
        let process = self.process(first, Faults::none())?;
        for _round in 0..100 {
            if process.live_once().await? {
                return process.ending().await;
            }
        }
        Err("the run is stuck".to_owned())
    }

    /// The run's id.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// What starts the run, with another input if `input` says so.
    ///
    /// # Errors
    ///
    /// A session id that is none.
    pub fn start(&self, input: &str) -> Result<Start, HarnessError> {
        Ok(Start {
            run: Some(self.run.clone()),
            descriptor: self.descriptor.clone(),
            input: input.to_owned(),
            files: Vec::new(),
            session: Some(self.session()?),
            workspace: "/workspace".to_owned(),
            base_dir: "/base".to_owned(),
            grants_all: None,
            queue: None,
            trace: self.trace.clone(),
        })
    }

    pub(crate) fn session(&self) -> Result<SessionId, InvalidId> {
        SessionId::new(format!("session_of_{}", self.run))
    }

    /// How often commands acted, by name and idempotency key.
    #[must_use]
    pub fn acted(&self) -> Effects {
        self.outside.acted()
    }

    /// How often commands acted that must act only once.
    #[must_use]
    pub fn once(&self) -> Effects {
        let mut acted = self.acted();
        acted.retain(|name, _times| {
            let name = name.split_once(' ').map_or("", |(name, _key)| name);
            is_once(name)
        });
        acted
    }
}

#[derive(Debug)]
struct ByName {
    first: Arc<dyn ModelProvider>,
    others: BTreeMap<String, Arc<dyn ModelProvider>>,
}

impl Models for ByName {
    fn find(&self, spec: &ModelSpec, _calling: Calling) -> Result<Model, NoModel> {
        Ok(Model {
            provider: Arc::clone(self.others.get(spec.name()).unwrap_or(&self.first)),
            name: spec.name().to_owned(),
        })
    }
}

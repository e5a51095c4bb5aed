//! What survives a crash, and a process in front of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{Either, select};
use seaworthy_contract::observer::Recorder;
use seaworthy_core::descriptor::{AgentSpec, Calling, Descriptor, Materialised, ModelSpec};
use seaworthy_core::driver::{Driver, Settings};
use seaworthy_core::event::{Resolution, WaitReason};
use seaworthy_core::harness::{Harness, HarnessError, Start, Verified, View};
use seaworthy_core::live::Relay;
use seaworthy_core::stack::{Model, Models, NoModel, NoSecrets, Ports};
use seaworthy_core::state::{CallStatus, RunState, Status};
use seaworthy_fakes::{
    FakeClock, FakeMcp, FakeMcpServer, FakeMcpTool, FakeRuntime, FakeSandbox, Faults, FaultyBlobs,
    FaultyCheckpoints, FaultyClock, FaultyLogs, FaultyMcp, FaultyModel, FaultyRuntime,
    FaultySandbox, McpFault, Notifications, RanCommand, SeededEntropy, TableModel, TableTurn,
};
use seaworthy_memory::{MemoryBlobStore, MemoryCheckpointStore, MemoryStateStore};
use seaworthy_ports::durable_runtime::{DurableRuntime as _, ScheduleState, Then};
use seaworthy_ports::model_provider::{Message, ModelProvider};
use seaworthy_ports::observer::Fact;
use seaworthy_ports::sandbox::Exec;
use seaworthy_ports::{InvalidId, Latch, RunId, SessionId, TraceContext, WorkerId};
use serde_json::{Value, json};

use crate::asking;

/// How often commands acted.
pub type Effects = BTreeMap<String, u32>;

/// Tools whose second effect is one too many.
pub const ONCE: [&str; 3] = ["send", "pay", "shout"];

/// The agent under test: tools of every side effect, in parallel, with and without verifier and approval.
const DESCRIPTOR: &str = r#"
version: seaworthy.agent_graph.v1
metadata: { name: simulated }
runtime: { entry_agent: worker, max_turns: 64 }
models:
  main: { provider: openai, model: table }
tools:
  look: { description: Look., input_schema: { type: object }, command: [look], side_effect: read_only }
  store: { description: Store., input_schema: { type: object }, command: [store], side_effect: idempotent }
  send: { description: Send., input_schema: { type: object }, command: [send], verify: [send, --verify] }
  pay:
    description: Pay.
    input_schema: { type: object }
    command: [pay]
    verify: [pay, --verify]
    approval: required
  shout: { description: Shout., input_schema: { type: object }, command: [shout] }
agents:
  worker: { instructions: Work., model: main, tools: [look, store, send, pay, shout] }
"#;

/// The tools of the server.
const DESK: [&str; 4] = ["look", "store", "send", "pay"];

/// The same agent with the tools of a server.
const SERVED: &str = r#"mcp_servers:
  desk:
    url: https://desk.invalid/mcp
    risk: medium
    tools:
      look: { side_effect: read_only, risk: low }
      store: { side_effect: idempotent }
      pay: { approval: required }
agents:
  worker: { instructions: Work., model: main, tools: ["desk.*"] }
"#;

/// A tool of the server, which counts how often it acted for its key as commands do.
fn desk_tool(name: &'static str, outside: &Arc<Outside>) -> FakeMcpTool {
    let outside = Arc::clone(outside);
    FakeMcpTool::new(name, move |call| {
        let key = call.meta.get("seaworthy/idempotency_key");
        let key = key.and_then(Value::as_str).unwrap_or_default();
        let name = format!("desk__{name}");
        outside.count(format!("{name} {key}"));
        std::future::ready(Ok::<_, McpFault>(json!({ "command": name, "padding": "" })))
    })
    .with_description("Does it.")
}

/// Whether a second effect of this tool is one too many.
fn is_once(tool: &str) -> bool {
    ONCE.contains(&tool.strip_prefix("desk__").unwrap_or(tool))
}

/// A turn that wants these tools called; `granted`: a person grants what needs an approval.
#[must_use]
pub fn turn(text: &str, calls: &[&str], granted: bool) -> TableTurn {
    TableTurn {
        text: text.to_owned(),
        calls: calls
            .iter()
            .enumerate()
            .map(|(index, tool)| {
                let arguments = json!({ "text": text, "index": index, "granted": granted });
                ((*tool).to_owned(), arguments)
            })
            .collect(),
    }
}

fn turns() -> Vec<TableTurn> {
    vec![
        turn("look around", &["look", "store", "send"], true),
        turn("twice on purpose", &["send", "send", "unknown"], true),
        turn("pay and shout", &["pay", "shout", "look"], true),
        turn("pay once more", &["pay"], false),
        turn("all done", &[], true),
    ]
}

/// What survives a crash.
#[derive(Clone, Debug)]
pub struct World {
    logs: MemoryStateStore,
    blobs: MemoryBlobStore,
    checkpoints: MemoryCheckpointStore,
    runtime: FakeRuntime,
    sandbox: FakeSandbox,
    mcp: FakeMcp,
    desk: FakeMcpServer,
    clock: FakeClock,
    outside: Arc<Outside>,
    model: Arc<dyn ModelProvider>,
    /// Who answers to other names than the first model's.
    others: BTreeMap<String, Arc<dyn ModelProvider>>,
    descriptor: Materialised,
    run: RunId,
    trace: Option<TraceContext>,
    told: Arc<Recorder>,
}

/// What commands act on.
#[derive(Debug, Default)]
struct Outside {
    /// How often each command acted, by name and idempotency key.
    effects: Mutex<Effects>,
    /// Verifiers deny what happened.
    lies: AtomicBool,
}

impl Outside {
    /// Something acted.
    fn count(&self, acted: String) {
        let mut effects = locked(&self.effects);
        let times = effects.entry(acted).or_default();
        *times = times.saturating_add(1);
    }
}

/// How a run ended, without what may differ between two ways to the same end.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// How it stands.
    pub status: Status,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Each call by number, and where it stands.
    pub calls: Vec<(u32, String, Value)>,
    /// How often each call acted that must not act twice, by tool and number.
    pub once: Effects,
    /// The session's messages.
    pub session: usize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outside {
    /// What a command does: it counts how often it acted for its key.
    fn act(&self, exec: &Exec) -> RanCommand {
        let name = exec.argv.first().cloned().unwrap_or_default();
        let key = exec
            .env
            .get("SEAWORTHY_IDEMPOTENCY_KEY")
            .cloned()
            .unwrap_or_default();
        let verify = exec
            .argv
            .get(1)
            .is_some_and(|argument| argument == "--verify");
        let mut effects = locked(&self.effects);
        let acted = format!("{name} {key}");
        // Large enough to leave the record for the blob store.
        let padding = if name == "look" {
            "x".repeat(40_000)
        } else {
            String::new()
        };
        let stdout = json!({ "command": name, "padding": padding }).to_string();
        if verify {
            let happened = effects.contains_key(&acted) && !self.lies.load(Ordering::Relaxed);
            let code = i32::from(!happened);
            return RanCommand { code, stdout };
        }
        let times = effects.entry(acted).or_default();
        *times = times.saturating_add(1);
        RanCommand { code: 0, stdout }
    }
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
        let desk = DESK
            .into_iter()
            .map(|tool| desk_tool(tool, &outside))
            .fold(FakeMcpServer::new("desk"), FakeMcpServer::with_tool);
        let descriptor = Descriptor::parse(DESCRIPTOR, "simulated.yaml")
            .and_then(|descriptor| descriptor.materialise(|_path| Err("no files".to_owned())))
            .map_err(|errors| errors.to_string())?;
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
            descriptor,
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
        let text = format!("{before}{SERVED}");
        self.descriptor = Descriptor::parse(&text, "served.yaml")
            .and_then(|descriptor| descriptor.materialise(|_path| Err("no files".to_owned())))
            .map_err(|errors| errors.to_string())?;
        Ok(self)
    }

    /// The same world, whose agent has tools of the server `desk` that ask something before they act: `survey` and `vote`
    /// ask the user for a name, `phrase` wants a model called. `vote` must not be repeated.
    ///
    /// # Errors
    ///
    /// In words, what is wrong with the simulation itself.
    pub fn asking(mut self) -> Result<Self, String> {
        let (before, _agents) = DESCRIPTOR
            .split_once("tools:")
            .ok_or("the descriptor has no tools")?;
        let text = format!("{before}{}", asking::SECTIONS);
        self.descriptor = Descriptor::parse(&text, "asking.yaml")
            .and_then(|descriptor| descriptor.materialise(|_path| Err("no files".to_owned())))
            .map_err(|errors| errors.to_string())?;
        let tools = asking::TOOLS.into_iter().map(|tool| {
            let outside = Arc::clone(&self.outside);
            asking::tool(tool, move |acted| outside.count(acted))
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
        self.descriptor = Descriptor::parse(&text, "simulated.yaml")
            .and_then(|descriptor| descriptor.materialise(|_path| Err("no files".to_owned())))
            .map_err(|errors| errors.to_string())?;
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
        self.outside.lies.store(true, Ordering::Relaxed);
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

    fn session(&self) -> Result<SessionId, InvalidId> {
        SessionId::new(format!("session_of_{}", self.run))
    }

    /// How often commands acted, by name and idempotency key.
    #[must_use]
    pub fn acted(&self) -> Effects {
        locked(&self.outside.effects).clone()
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

/// What does not survive a crash.
#[derive(Clone, Debug)]
pub struct Process {
    world: World,
    harness: Harness,
    driver: Arc<Driver>,
    worker: WorkerId,
    dead: Latch,
}

impl Process {
    /// Does one thing for the run: starts it, delivers it, or answers it. Returns whether the run has ended; a process that
    /// dies on the way returns `false`.
    ///
    /// # Errors
    ///
    /// In words: what failed that no fault explains.
    pub async fn live_once(&self) -> Result<bool, String> {
        let life = std::pin::pin!(self.life());
        let death = std::pin::pin!(self.dead.wait());
        match select(life, death).await {
            Either::Left((ended, _death)) => ended,
            Either::Right(((), _life)) => Ok(false),
        }
    }

    async fn life(&self) -> Result<bool, String> {
        self.start()
            .await
            .map_err(|error| format!("start: {error}"))?;
        let then = self.deliver().await;
        let view = self
            .view()
            .await
            .map_err(|error| format!("view: {error}"))?;
        if view.state.status().is_terminal() {
            return Ok(then.is_none() || then == Some(Then::Done));
        }
        if view.state.waiting.is_some() {
            self.answer(&view.state)
                .await
                .map_err(|error| format!("answer: {error}"))?;
        }
        Ok(false)
    }

    /// Delivers the run once.
    pub async fn deliver(&self) -> Option<Then> {
        self.deliver_run(&self.world.run).await
    }

    /// Delivers `run` once.
    pub async fn deliver_run(&self, run: &RunId) -> Option<Then> {
        self.world
            .runtime
            .deliver_to(&self.worker, run, &*self.driver)
            .await
    }

    /// Whose leases its deliveries are.
    #[must_use]
    pub fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// Starts the run.
    ///
    /// # Errors
    ///
    /// The harness's.
    pub async fn start(&self) -> Result<(), HarnessError> {
        let start = self.world.start("go")?;
        self.harness.start(start).await.map(|_started| ())
    }

    /// The run as it stands.
    ///
    /// # Errors
    ///
    /// The harness's.
    pub async fn view(&self) -> Result<View, HarnessError> {
        self.harness.view(&self.world.run).await
    }

    /// Grants and denies payments as their arguments say, and tells the truth about calls in doubt.
    ///
    /// # Errors
    ///
    /// The harness's, but for what was answered before.
    pub async fn answer(&self, state: &RunState) -> Result<(), HarnessError> {
        for call in state.open_calls() {
            let id = &call.proposal.call;
            let answered = match call.status {
                CallStatus::AwaitingApproval => {
                    let granted = call.proposal.arguments.get("granted") == Some(&json!(true));
                    self.harness.decide(id, granted, "tester", None).await
                }
                CallStatus::InDoubt { .. } => {
                    let acted = format!("{} {}", call.proposal.tool, call.proposal.idempotency_key);
                    let happened = self.world.acted().contains_key(&acted);
                    let output = json!({ "command": call.proposal.tool, "padding": "" });
                    let resolution = if happened {
                        Resolution::Happened { output }
                    } else {
                        Resolution::DidNotHappen
                    };
                    self.harness.resolve(id, resolution, "tester").await
                }
                CallStatus::AwaitingAnswer => {
                    let reply = asking::reply(call);
                    self.harness.answer(id, reply, "tester").await
                }
                _ => continue,
            };
            match answered {
                Ok(_) | Err(HarnessError::Answered(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The harness, to call what an application calls.
    #[must_use]
    pub fn harness(&self) -> &Harness {
        &self.harness
    }

    /// What the run waits for, if it does.
    ///
    /// # Errors
    ///
    /// In words.
    pub async fn waits_for(&self) -> Result<Option<WaitReason>, String> {
        let view = self.view().await.map_err(|error| error.to_string())?;
        Ok(view.state.waiting.map(|waiting| waiting.reason))
    }

    /// How the run ended; its log is verified on the way.
    ///
    /// # Errors
    ///
    /// In words: a log that does not verify, or a port that failed.
    pub async fn ending(&self) -> Result<Ending, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let verified: Verified = self
            .harness
            .verify(&self.world.run)
            .await
            .map_err(|error| words(&error))?;
        if !verified.faults.is_empty() {
            return Err(format!("the log does not verify: {:?}", verified.faults));
        }
        let state = self.view().await.map_err(|error| words(&error))?.state;
        let acted = self.world.acted();
        let mut once = Effects::new();
        let mut calls = Vec::new();
        for (number, call) in &state.calls {
            let output = match &call.status {
                CallStatus::Succeeded { output, .. } => output.clone(),
                _ => Value::Null,
            };
            calls.push((*number, call.status.as_str().to_owned(), output));
            let tool = &call.proposal.tool;
            let times = acted.get(&format!("{tool} {}", call.proposal.idempotency_key));
            if let Some(times) = times
                && is_once(tool)
            {
                once.insert(format!("{tool} {number}"), *times);
            }
        }
        let session = self.session().await?;
        Ok(Ending {
            status: state.status(),
            messages: state.messages.to_vec(),
            calls,
            once,
            session,
        })
    }

    async fn session(&self) -> Result<usize, String> {
        use futures_util::StreamExt as _;
        use seaworthy_ports::state_store::{Seq, StateStore as _};
        let session = self.world.session().map_err(|error| error.to_string())?;
        let records = self
            .world
            .logs
            .read(&seaworthy_ports::LogId::session(&session), Seq::ZERO);
        Ok(records.count().await)
    }

    /// Whether the runtime has forgotten nothing it must know: the run is finished for it too.
    ///
    /// # Errors
    ///
    /// In words.
    pub async fn is_finished(&self) -> Result<bool, String> {
        Ok(self.schedule().await? == Some(ScheduleState::Finished))
    }

    /// What the runtime knows of the run; `None`: nothing.
    ///
    /// # Errors
    ///
    /// In words.
    pub async fn schedule(&self) -> Result<Option<ScheduleState>, String> {
        let known = self
            .world
            .runtime
            .describe(&self.world.run)
            .await
            .map_err(|error| error.to_string())?;
        Ok(known.map(|known| known.state))
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

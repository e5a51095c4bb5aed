//! A whole schedule: several workers, people, faults, and what must hold afterwards whatever happened.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_executor::block_on;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use seaworthy_core::event::Event;
use seaworthy_core::harness::HarnessError;
use seaworthy_core::machine::{self, Step};
use seaworthy_core::record::Link;
use seaworthy_core::state::{CallStatus, RunState, Stamp, Status};
use seaworthy_core::tool::SideEffect;
use seaworthy_fakes::{FakeClock, Faults};
use seaworthy_ports::RunId;
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::ScheduleState;
use seaworthy_ports::model_provider::check_history;

use crate::chance::Chance;
use crate::ending::{Ending, same};
use crate::executor::Executor;
use crate::outside::{Effects, ONCE};
use crate::plan::{Plan, ProcessPlan};
use crate::process::Process;
use crate::replaying::reproduce;
use crate::world::World;

/// How long a lease lives after its worker's last sign of life.
const LEASE: Duration = Duration::from_secs(15);
/// How long a worker with nothing to do waits before it looks again.
const POLL: Duration = Duration::from_millis(500);
/// How often a person reopens a run that failed.
const REOPENINGS: u32 = 10;

/// A schedule that broke a promise, with all that is needed to see it again.
#[derive(Debug)]
pub struct Broken {
    /// The seed of the schedule.
    pub seed: u64,
    /// The promise, and what was seen.
    pub why: String,
    plan: Plan,
    calls: Vec<(String, Vec<&'static str>)>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, why, .. } = self;
        writeln!(f, "seed {seed}: {why}")?;
        writeln!(
            f,
            "replay: {}={seed} cargo test -p seaworthy-simulation --test random_schedules",
            crate::SEED_VARIABLE
        )?;
        writeln!(
            f,
            "keep it: add a line `{seed}` with what it found to testing/simulation/tests/seeds.txt"
        )?;
        write!(f, "{}", self.plan)?;
        for (process, calls) in &self.calls {
            writeln!(f, "{process} made {} calls:", calls.len())?;
            for (number, call) in calls.iter().enumerate() {
                write!(f, " {number}:{call}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Lives through the schedule of `seed`, and holds every promise against what came of it.
///
/// # Errors
///
/// The first broken promise.
pub fn simulate(seed: u64) -> Result<(), Box<Broken>> {
    simulate_in(seed, |_world| {})
}

/// [`simulate`] in a world that `spoil` has done something to.
///
/// # Errors
///
/// The first broken promise.
pub fn simulate_in(seed: u64, spoil: impl FnOnce(&World)) -> Result<(), Box<Broken>> {
    let plan = Plan::new(seed);
    let traces = RefCell::default();
    let outcome = live(&plan, seed, &traces, spoil);
    outcome.map_err(|why| {
        let calls = traces.into_inner();
        let calls = calls
            .into_iter()
            .map(|(process, faults): (String, Faults)| (process, faults.calls()));
        Box::new(Broken {
            seed,
            why,
            plan,
            calls: calls.collect(),
        })
    })
}

type Traces = RefCell<Vec<(String, Faults)>>;

fn live(plan: &Plan, seed: u64, traces: &Traces, spoil: impl FnOnce(&World)) -> Result<(), String> {
    let undisturbed = block_on(World::saying(plan.turns.clone())?.finish(1))?;
    let clock = FakeClock::new();
    let world = World::saying(plan.turns.clone())?
        .on_clock(&clock)
        .with_notifications(plan.notifications);
    spoil(&world);
    let runs: Vec<World> = (0..plan.runs)
        .map(|number| RunId::new(format!("run_{number}")).map(|run| world.about(run)))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let stage = Stage {
        clock: &clock,
        sandbox_fails: plan.sandbox_fails,
        chance: Chance::new(!seed),
        processes: Cell::new(0),
        open: Cell::new(runs.len()),
        traces,
        broken: RefCell::default(),
    };
    let mut tasks = Executor::new(&clock, stage.chance.clone());
    for (place, processes) in plan.workers.iter().enumerate() {
        let name = format!("worker {place}");
        tasks.add(name.clone(), stage.worker(&world, name, processes));
    }
    for (run, processes) in runs.iter().zip(&plan.people) {
        let name = format!("person of {}", run.run());
        tasks.add(name.clone(), stage.person(run, name, processes));
    }
    if let (Some(after), Some(run)) = (plan.cancel, runs.first()) {
        tasks.add("canceller", stage.canceller(run, after));
    }
    tasks.run().map_err(|stuck| stuck.to_string())?;
    if let Some(broken) = stage.broken.take() {
        return Err(broken);
    }
    block_on(check(plan, &world, &runs, &undisturbed))
}

/// What all tasks of a schedule share.
struct Stage<'a> {
    clock: &'a FakeClock,
    sandbox_fails: bool,
    chance: Chance,
    processes: Cell<u64>,
    /// Runs that have not ended.
    open: Cell<usize>,
    traces: &'a Traces,
    broken: RefCell<Option<String>>,
}

impl Stage<'_> {
    async fn sleep(&self, time: Duration) {
        self.clock.sleep_until(self.clock.now().plus(time)).await;
    }

    fn fail(&self, why: impl fmt::Display) {
        let mut broken = self.broken.borrow_mut();
        if broken.is_none() {
            *broken = Some(why.to_string());
        }
    }

    fn process(&self, world: &World, name: &str, plan: &ProcessPlan) -> Option<(Process, Faults)> {
        let number = self.processes.get().saturating_add(1);
        self.processes.set(number);
        let faults = plan
            .faults(self.sandbox_fails)
            .on_clock(Arc::new(self.clock.clone()))
            .interleaved();
        let trace = (format!("{name}, process {number}"), faults.clone());
        self.traces.borrow_mut().push(trace);
        match world.process(number, faults.clone()) {
            Ok(process) => Some((process, faults)),
            Err(why) => {
                self.fail(why);
                None
            }
        }
    }

    /// A place of a worker: processes that serve one after the other, each until it dies.
    async fn worker(&self, world: &World, name: String, processes: &[ProcessPlan]) {
        for plan in processes.iter().chain([&ProcessPlan::calm()]) {
            let Some((process, faults)) = self.process(world, &name, plan) else {
                return;
            };
            let ended = {
                let served = select(
                    Box::pin(self.serve(world, &process)),
                    Box::pin(self.lose_lease_when_paused(world, &process, &faults, plan)),
                );
                let dead = faults.dead();
                let death = std::pin::pin!(dead.wait());
                matches!(select(served, death).await, Either::Left(_))
            };
            if ended {
                return;
            }
            self.sleep(LEASE).await;
            world.runtime().take_over(process.worker(), plan.is_told);
        }
    }

    async fn serve(&self, world: &World, process: &Process) {
        loop {
            let due = world.runtime().due();
            match due.get(self.chance.below(due.len())) {
                Some(run) => {
                    process.deliver_run(run).await;
                }
                // What ended is delivered once more, so that the runtime knows it, too.
                None if self.open.get() == 0 && world.runtime().unfinished().is_empty() => return,
                None => self.sleep(POLL).await,
            }
        }
    }

    /// A process that stands still keeps no lease; when it goes on, another has what it had.
    async fn lose_lease_when_paused(
        &self,
        world: &World,
        process: &Process,
        faults: &Faults,
        plan: &ProcessPlan,
    ) {
        faults.paused().wait().await;
        self.sleep(LEASE).await;
        world.runtime().take_over(process.worker(), plan.is_told);
        self.sleep(plan.pause).await;
        faults.resume();
        std::future::pending().await
    }

    /// Somebody who starts a run, answers what it asks, and reopens it when it fails, until it has ended.
    async fn person(&self, world: &World, name: String, processes: &[ProcessPlan]) {
        for plan in processes.iter().chain([&ProcessPlan::calm()]) {
            let Some((process, faults)) = self.process(world, &name, plan) else {
                break;
            };
            let life = std::pin::pin!(async {
                let resumed = async {
                    faults.paused().wait().await;
                    self.sleep(plan.pause).await;
                    faults.resume();
                    std::future::pending::<()>().await;
                };
                let attended = std::pin::pin!(self.attend(&process));
                select(attended, std::pin::pin!(resumed)).await;
            });
            let dead = faults.dead();
            let death = std::pin::pin!(dead.wait());
            if matches!(select(life, death).await, Either::Left(_)) {
                break;
            }
        }
        self.open.set(self.open.get().saturating_sub(1));
    }

    async fn attend(&self, process: &Process) {
        loop {
            // Whoever wants a run tries again until it is accepted.
            match process.start().await {
                Ok(()) => break,
                Err(HarnessError::Mismatch { .. }) => return self.fail("the run is another one"),
                Err(_) => self.sleep(POLL).await,
            }
        }
        let mut is_queued = true;
        loop {
            self.sleep(Duration::from_millis(self.chance.below(4_000) as u64))
                .await;
            let Ok(view) = process.view().await else {
                continue;
            };
            // Whoever was told that it did not work tries again, too.
            if !is_queued {
                is_queued = process.harness().requeue(view.state.run()).await.is_ok();
            }
            match view.state.status() {
                Status::Succeeded | Status::Cancelled => return,
                Status::Failed if view.state.reopened >= REOPENINGS => {
                    return self.fail(format!("the run fails always: {:?}", view.state.outcome));
                }
                Status::Failed => {
                    let _tried_again = process.harness().reopen(view.state.run(), "person").await;
                    // A crash between the two leaves a run that only this puts right.
                    is_queued = process.harness().requeue(view.state.run()).await.is_ok();
                }
                Status::Waiting => {
                    let _tried_again = process.answer(&view.state).await;
                }
                Status::Queued | Status::Running => {}
            }
        }
    }

    async fn canceller(&self, world: &World, after: Duration) {
        self.sleep(after).await;
        let Some((process, _faults)) = self.process(world, "canceller", &ProcessPlan::calm())
        else {
            return;
        };
        loop {
            match process.harness().cancel(world.run(), "boss", None).await {
                Ok(()) | Err(HarnessError::WrongStatus { .. }) => return,
                // Not started yet, or written to all the time.
                Err(_) => self.sleep(POLL).await,
            }
        }
    }
}

/// What must hold whatever happened.
async fn check(
    plan: &Plan,
    world: &World,
    runs: &[World],
    undisturbed: &Ending,
) -> Result<(), String> {
    let mut known = Effects::new();
    for run in runs {
        let process = run.process(u64::MAX, Faults::none())?;
        let state = process
            .view()
            .await
            .map_err(|error| error.to_string())?
            .state;
        let name = run.run();
        truthful(&state, &world.acted(), &mut known).map_err(|why| format!("{name}: {why}"))?;
        conversation(&process, run.run()).await?;
        let ending = process.ending().await?;
        match process.schedule().await? {
            Some(ScheduleState::Finished) => {}
            // It was cancelled between its first record and its submission.
            None if state.attempt == 0 => {}
            known => return Err(format!("{name}: for the runtime it is {known:?}")),
        }
        let may_differ = plan.sandbox_fails || ending.status == Status::Cancelled;
        if ending.status == Status::Cancelled && plan.cancel.is_none() {
            return Err(format!("{name}: it is cancelled, and nobody did it"));
        }
        if !may_differ {
            same(undisturbed, &ending).map_err(|why| format!("{name}: {why}"))?;
        }
    }
    for (number, run) in (0..).zip(runs) {
        reproduce(run, u64::MAX.saturating_sub(number))
            .await
            .map_err(|why| format!("{}, replayed strictly: {why}", run.run()))?;
    }
    match world.acted().keys().find(|key| !known.contains_key(*key)) {
        Some(key) => Err(format!(
            "{key} happened, and no call on record asked for it"
        )),
        None => Ok(()),
    }
}

/// The ledger says of every call what the world knows of it.
fn truthful(state: &RunState, acted: &Effects, known: &mut Effects) -> Result<(), String> {
    for call in state.calls.values() {
        let (id, tool) = (&call.proposal.call, &call.proposal.tool);
        let key = format!("{tool} {}", call.proposal.idempotency_key);
        let times = acted.get(&key).copied().unwrap_or(0);
        known.insert(key, times);
        if ONCE.contains(&tool.as_str()) && times > 1 {
            return Err(format!("{id} ({tool}) happened {times} times"));
        }
        let is_wrong = match &call.status {
            CallStatus::Succeeded { .. } => times == 0,
            CallStatus::Proposed | CallStatus::AwaitingApproval => times > 0,
            CallStatus::Failed {
                no_effect: true, ..
            }
            | CallStatus::Reserved => {
                call.proposal.side_effect == SideEffect::NonIdempotent && times > 0
            }
            CallStatus::Deferred(_) => times == 0,
            CallStatus::Failed { .. }
            | CallStatus::Running { .. }
            | CallStatus::AwaitingAnswer
            | CallStatus::InDoubt { .. } => false,
        };
        if is_wrong {
            let status = call.status.as_str();
            return Err(format!(
                "{id} ({tool}) is {status} and happened {times} times"
            ));
        }
    }
    Ok(())
}

/// Whenever the model was asked, and if it were asked now, a provider would continue the conversation.
async fn conversation(process: &Process, run: &RunId) -> Result<(), String> {
    let mut records = process.harness().records(run, Link::default());
    let mut state: Option<RunState> = None;
    while let Some(loaded) = records.next().await {
        let loaded = loaded.map_err(|error| error.to_string())?;
        let event = loaded.envelope.event().map_err(|error| error.to_string())?;
        let stamp = Stamp {
            link: loaded.link,
            at: loaded.envelope.at,
            attempt: loaded.envelope.attempt,
        };
        match &mut state {
            None => state = RunState::begin(event, stamp).ok(),
            Some(state) => {
                if matches!(event, Event::ModelCalled(_)) {
                    continues(state)?;
                }
                state
                    .apply(event, stamp)
                    .map_err(|error| error.to_string())?;
            }
        }
    }
    match state {
        Some(state) if machine::next(&state) == Step::CallModel => continues(&state),
        Some(_) => Ok(()),
        None => Err(format!("{run} does not begin")),
    }
}

fn continues(state: &RunState) -> Result<(), String> {
    check_history(&state.messages)
        .map_err(|fault| format!("{} at record {}: {fault}", state.run(), state.link.seq))
}

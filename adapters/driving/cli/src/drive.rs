//! Advances one run, or follows whoever does, until it ends or waits for a person; then says how it stands.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use seaworthy::Secrets;
use seaworthy::agent::Agent;
use seaworthy::descriptor::{Materialised, ServerSpec};
use seaworthy::event::WaitReason;
use seaworthy::harness::{HarnessError, View};
use seaworthy::ports::durable_runtime::Scope;
use seaworthy::ports::{Latch, RunId, ServerAlias};
use seaworthy::replay::{DEVIATED, Mode};
use seaworthy::servers::{MissingLogin, MissingSecret, Place, check_login};
use seaworthy::state::{Call, CallStatus, Outcome, RunState, Status};
use serde::Deserialize as _;

use crate::asked;
use crate::error::{CliError, Exit};
use crate::models::chosen;
use crate::output::{Output, Paint, clean, json, question, say, text};
use crate::progress::{Follower, POLL, Shown};
use crate::stack::Stack;
use crate::stop::Stop;
use crate::store::Store;
use crate::typed::{Typed, typed};

/// How long a live turn may take after Ctrl-C: an answer that is nearly there should count.
const DRAIN: Duration = Duration::from_secs(2);
/// How often a run that neither ends nor waits nor moves is served again before that is an error.
const MAX_IDLE: u32 = 50;

/// How to advance a run.
pub(crate) struct Drive {
    /// Who grants every approval, if anybody.
    pub(crate) grants_all: Option<&'static str>,
    /// Who sits at the terminal.
    pub(crate) user: String,
}

/// What a run that is parked needs.
enum Need {
    /// It has ended.
    Nothing,
    /// Serve it again.
    Serve,
    /// Time.
    Time,
    /// A person.
    Person,
}

/// Refuses to advance a run whose model this installation cannot ask, because the run would fail for good, or whose servers
/// take a secret that is not here.
pub(crate) async fn check_agent(
    stack: &Stack,
    descriptor: &Materialised,
) -> Result<Agent, CliError> {
    let ports = stack.harness.ports();
    let agent = Agent::new(descriptor, &*ports.models)
        .map_err(|error| CliError::Usage(error.to_string()))?;
    for pick in &agent.server_tools {
        let server = agent.servers.get(&pick.server);
        let mut secrets = server.into_iter().flat_map(ServerSpec::secrets);
        if let Some(name) = secrets.find(|name| ports.secrets.find(name).is_none()) {
            let missing = MissingSecret {
                alias: pick.server.clone(),
                name: name.to_owned(),
            };
            return Err(CliError::Usage(missing.to_string()));
        }
        if let Some(missing) = missing_login(&pick.server, server, &*ports.secrets).await {
            return Err(CliError::Usage(missing.to_string()));
        }
    }
    Ok(agent)
}

/// The login to a server that nobody has made here.
async fn missing_login(
    alias: &ServerAlias,
    spec: Option<&ServerSpec>,
    secrets: &dyn Secrets,
) -> Option<MissingLogin> {
    // Nothing is started for it.
    let place = Place {
        workspace: PathBuf::new(),
        base_dir: PathBuf::new(),
        environment: BTreeMap::new(),
        sandbox: None,
    };
    let server = seaworthy::servers::server(alias, spec?, &place, secrets).ok()?;
    check_login(&server).await.err()
}

/// The same for a run that exists. A strict replay asks no model, so it needs none.
pub(crate) async fn check_run(stack: &Stack, state: &RunState) -> Result<(), CliError> {
    let replay = state.submitted.replay.as_ref();
    if replay.is_some_and(|origin| origin.mode == Mode::Strict) {
        return Ok(());
    }
    // A descriptor that this version cannot read ends the run with an error that says so.
    match Materialised::deserialize(&state.submitted.descriptor) {
        Ok(descriptor) => check_agent(stack, &descriptor).await.map(|_agent| ()),
        Err(_unreadable) => Ok(()),
    }
}

/// Where advancing a run ended.
pub(crate) enum Driven {
    /// The process was asked to stop.
    Stopped(Exit),
    /// The run has ended, or waits for a person.
    Rests(Box<View>, Shown),
}

impl Driven {
    /// Says how the run stands. The exit is its outcome.
    pub(crate) fn conclude(self, stack: &Stack, output: Output) -> Result<Exit, CliError> {
        match self {
            Self::Stopped(exit) => Ok(exit),
            Self::Rests(view, shown) => conclude(stack, output, &view, &shown),
        }
    }
}

/// Advances `run` and shows it.
pub(crate) async fn drive(
    stack: &Stack,
    output: Output,
    run: &RunId,
    drive: &Drive,
    stop: &Stop,
    mut shown: Shown,
) -> Result<Driven, CliError> {
    let mut idle = (seaworthy::ports::state_store::Seq::ZERO, 0_u32);
    loop {
        let follower = Follower::start(&stack.harness, &stack.observer, run, output, shown);
        shown = serve(stack, run, stop, follower).await?;
        let view = stack.harness.view(run).await?;
        if let Some(exit) = stopped(stack, output, &view, stop) {
            return Ok(Driven::Stopped(exit));
        }
        let head = view.state.link.seq;
        idle = if idle.0 == head {
            (head, idle.1.saturating_add(1))
        } else {
            (head, 0)
        };
        let need = need(stack, output, &view, drive, stop).await?;
        if let Some(exit) = stopped(stack, output, &view, stop) {
            return Ok(Driven::Stopped(exit));
        }
        match need {
            Need::Nothing | Need::Person => return Ok(Driven::Rests(Box::new(view), shown)),
            Need::Time => wait(stack, &view.state, stop).await?,
            Need::Serve if idle.1 > MAX_IDLE => {
                return Err(CliError::Usage(format!(
                    "run {run} does not go on, and its log does not say why; `seaworthy verify {run}` checks it"
                )));
            }
            Need::Serve if idle.1 > 0 => tokio::time::sleep(POLL).await,
            Need::Serve => {}
        }
    }
}

/// Says how to go on with a run that has not ended, if this process was asked to stop.
fn stopped(stack: &Stack, output: Output, view: &View, stop: &Stop) -> Option<Exit> {
    if view.state.outcome.is_some() {
        return None;
    }
    let exit = stop.exit()?;
    if output.json {
        // Where nobody reads, nothing is lost.
        let _closed = output.json(&json::Run::of(view));
    }
    let run = view.state.run();
    let flag = &stack.flag;
    output.note(&format!(
        "stopped; nothing is lost: seaworthy resume {run}{flag}"
    ));
    Some(exit)
}

/// Serves `run` until it is parked or done, this process is asked to stop, or there is no hope.
async fn serve(
    stack: &Stack,
    run: &RunId,
    stop: &Stop,
    mut follower: Follower,
) -> Result<Shown, CliError> {
    let mut worker = stack.worker(Scope::Run(run.clone()), 1)?;
    worker.drain = DRAIN;
    let (end, ended) = Latch::new();
    let mut hopeless = None;
    let served = {
        let mut serving = std::pin::pin!(stack.harness.serve(worker, ended));
        tokio::select! {
            served = &mut serving => served,
            () = stop.latch.wait() => {
                end.set();
                serving.await
            }
            why = follower.hopeless() => {
                hopeless = Some(why);
                end.set();
                serving.await
            }
        }
    };
    let followed = follower.finish().await;
    if let Some(why) = hopeless {
        return Err(CliError::Trouble {
            run: run.clone(),
            why,
        });
    }
    served?;
    followed
}

async fn need(
    stack: &Stack,
    output: Output,
    view: &View,
    drive: &Drive,
    stop: &Stop,
) -> Result<Need, CliError> {
    let state = &view.state;
    if state.outcome.is_some() {
        return Ok(Need::Nothing);
    }
    let Some(waiting) = state.waiting else {
        return Ok(Need::Serve);
    };
    if matches!(
        waiting.reason,
        WaitReason::ModelDeferred | WaitReason::ModelLimit | WaitReason::Task
    ) {
        return Ok(Need::Time);
    }
    let open: Vec<&Call> = open_approvals(state).collect();
    let mut answered = answer_questions(stack, output, state, drive, stop).await?;
    if output.can_ask
        && !answered
        && state
            .open_calls()
            .any(|call| call.open_question().is_some())
    {
        return Ok(Need::Person);
    }
    for call in &open {
        let Some(approval) = &call.approval else {
            continue;
        };
        // Nobody agrees in advance to a change of a tool that nobody has seen.
        let grants_all = drive.grants_all.filter(|_by| approval.accepts.is_none());
        let (granted, by) = if let Some(by) = grants_all {
            (true, by)
        } else if output.can_ask {
            match ask(output, call, stop).await? {
                Some(granted) => (granted, drive.user.as_str()),
                None => return Ok(Need::Person),
            }
        } else {
            continue;
        };
        answered = true;
        match stack.harness.decide(&approval.id, granted, by, None).await {
            // Somebody else was first; their answer is on its way.
            Ok(_) | Err(HarnessError::Answered(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(if answered { Need::Serve } else { Need::Person })
}

/// Has the open questions of servers answered by whoever sits at the terminal, and says whether any was.
async fn answer_questions(
    stack: &Stack,
    output: Output,
    state: &RunState,
    drive: &Drive,
    stop: &Stop,
) -> Result<bool, CliError> {
    let mut answered = false;
    for call in state.open_calls() {
        let Some(question) = call.open_question().filter(|_| output.can_ask) else {
            continue;
        };
        let tool = &call.proposal.tool;
        let Some(reply) = asked::ask(output, tool, question, stop).await? else {
            return Ok(answered);
        };
        answered = true;
        let id = &call.proposal.call;
        match stack.harness.answer(id, reply, &drive.user).await {
            // Somebody else was first; their answer is on its way.
            Ok(_) | Err(HarnessError::Answered(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(answered)
}

fn open_approvals(state: &RunState) -> impl Iterator<Item = &Call> {
    state
        .open_calls()
        .filter(|call| call.status == CallStatus::AwaitingApproval)
}

/// Asks whoever sits at the terminal. `None`: not now.
async fn ask(output: Output, call: &Call, stop: &Stop) -> Result<Option<bool>, CliError> {
    let proposal = &call.proposal;
    let risk = serde_json::to_value(proposal.risk)
        .ok()
        .and_then(|risk| risk.as_str().map(str::to_owned));
    let arguments = serde_json::to_string_pretty(&proposal.arguments).unwrap_or_default();
    if let Some(now) = call.approval.as_ref().and_then(|approval| approval.accepts) {
        output.note(&format!(
            "\nThe server of {} has changed it since the run began; approving the call accepts the change to {now}.\n`seaworthy \
             events` shows what it is now.",
            clean(&proposal.tool)
        ));
    }
    output.note(&format!(
        "\n{} {}  ({}, risk {})\n{}",
        output.paint(Paint::Attention, "Approve"),
        clean(&proposal.tool),
        proposal.side_effect.as_str(),
        risk.as_deref().unwrap_or("unknown"),
        clean(&arguments)
    ));
    loop {
        say("[y]es, [n]o, [q]uit and decide later: ");
        let Typed::Line(line) = typed(stop).await? else {
            return Ok(None);
        };
        match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(Some(true)),
            "n" | "no" => return Ok(Some(false)),
            "q" | "quit" => return Ok(None),
            _ => {}
        }
    }
}

/// Until the time the run waits for, a change of its log, or a stop.
async fn wait(stack: &Stack, state: &RunState, stop: &Stop) -> Result<(), CliError> {
    let ports = stack.harness.ports();
    let until = state
        .waiting
        .and_then(|waiting| waiting.until)
        .unwrap_or_else(|| ports.clock.now());
    let log = seaworthy::log::run_log(state.run());
    while ports.clock.now() < until && !stop.latch.is_set() {
        let head = ports
            .state_store
            .head(&log)
            .await
            .map_err(HarnessError::from)?;
        if head.is_none_or(|head| head.seq != state.link.seq) {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = ports.clock.sleep_until(until) => {}
            () = stop.latch.wait() => {}
        }
    }
    Ok(())
}

/// Says how the run stands.
pub(crate) fn conclude(
    stack: &Stack,
    output: Output,
    view: &View,
    shown: &Shown,
) -> Result<Exit, CliError> {
    let state = &view.state;
    let run = state.run();
    let exit = match state.status() {
        Status::Failed if has_deviated(state) => Exit::Deviated,
        Status::Succeeded => Exit::Succeeded,
        Status::Failed => Exit::Failed,
        Status::Cancelled => Exit::Cancelled,
        Status::Queued | Status::Running | Status::Waiting => Exit::Waiting,
    };
    let said = if output.json {
        output.json(&json::Run::of(view))
    } else {
        say_outcome(output, state, shown)
    };
    match said {
        // Nobody reads; the outcome is in the exit code all the same.
        Ok(()) | Err(CliError::OutputClosed) => {}
        Err(error) => return Err(error),
    }
    let flag = &stack.flag;
    if let (Some(origin), Some(_ended)) = (&state.submitted.replay, &state.outcome) {
        let source = &origin.source;
        output.note(&format!(
            "beside the run it replays: seaworthy compare {source} {run}{flag}"
        ));
    }
    match &state.outcome {
        Some(Outcome::Failed { .. }) if exit == Exit::Deviated => {}
        Some(Outcome::Failed { .. }) => {
            output.note(&format!(
                "to try again on the same log: seaworthy reopen {run}{flag}"
            ));
        }
        Some(_) => {}
        None if stack.store == Store::Memory => {
            output.note("the store was memory: the run ends with this process; answer with --yes, or name a file with --store");
        }
        None => advise(output, state, flag),
    }
    Ok(exit)
}

fn has_deviated(state: &RunState) -> bool {
    matches!(&state.outcome, Some(Outcome::Failed { code, .. }) if code == DEVIATED)
}

fn say_outcome(output: Output, state: &RunState, shown: &Shown) -> Result<(), CliError> {
    let run = state.run();
    let scripted = chosen(&state.submitted.descriptor).is_some_and(|model| model.is_scripted());
    let by = if scripted {
        " by a script, not a live model"
    } else {
        ""
    };
    match &state.outcome {
        Some(Outcome::Succeeded { output: answer }) => {
            let seen =
                output.live && output.stdout_terminal && shown.streamed.as_ref() == Some(answer);
            if !seen {
                output.answer(answer)?;
            }
            let turns = state.turns;
            let word = output.paint(Paint::Good, "succeeded");
            output.note(&format!(
                "{word}: run {run}, {turns} model turns{by}, {} tool calls",
                state.calls.len()
            ));
        }
        Some(Outcome::Failed { code, message }) => {
            let word = output.paint(Paint::Bad, "failed");
            output.note(&format!(
                "{word}: run {run}: {}: {}",
                clean(code),
                clean(message)
            ));
        }
        Some(Outcome::Cancelled { by, reason }) => {
            let reason = reason
                .as_deref()
                .map(|reason| format!(": {}", clean(reason)))
                .unwrap_or_default();
            output.note(&format!(
                "{}: run {run}, by {}{reason}",
                output.paint(Paint::Bad, "cancelled"),
                clean(by)
            ));
        }
        None => {
            let why = state
                .waiting
                .map_or("a worker", |waiting| text::wait(waiting.reason));
            output.note(&format!(
                "{}: run {run}, for {why}",
                output.paint(Paint::Attention, "waiting")
            ));
        }
    }
    Ok(())
}

/// How to go on with a run that waits.
pub(crate) fn advise(output: Output, state: &RunState, flag: &str) {
    for call in open_approvals(state) {
        let proposal = &call.proposal;
        output.note(&format!(
            "  {} {}",
            clean(&proposal.tool),
            text::arguments(&proposal.arguments)
        ));
        if let Some(approval) = &call.approval {
            output.note(&format!(
                "    seaworthy approve {}{flag}   (or: seaworthy deny {}{flag})",
                approval.id, approval.id
            ));
        }
    }
    for call in state.open_calls() {
        if let Some(question) = call.open_question() {
            let id = call.proposal.call.as_str();
            output.note(&format!(
                "  {} {}",
                clean(&call.proposal.tool),
                question::asked(&question.wants)
            ));
            output.note(&format!("    {}", question::how(&question.wants, id, flag)));
        }
        if let CallStatus::InDoubt { reason } = &call.status {
            let id = &call.proposal.call;
            output.note(&format!(
                "  {} {}: {}",
                clean(&call.proposal.tool),
                text::arguments(&call.proposal.arguments),
                text::message(reason)
            ));
            output.note(&format!(
                "    seaworthy resolve {id}{flag} --happened [--result JSON]   (or: --did-not-happen)"
            ));
        }
    }
    output.note(&format!("  then: seaworthy resume {}{flag}", state.run()));
}

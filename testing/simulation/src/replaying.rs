//! What must hold of every strict replay.

use futures_util::StreamExt as _;
use seaworthy_core::event::Event;
use seaworthy_core::record::Link;
use seaworthy_core::replay::Replay;
use seaworthy_core::state::{Call, RunState};
use seaworthy_fakes::Faults;
use seaworthy_ports::RunId;
use seaworthy_ports::observer::Fact;

use crate::process::Process;
use crate::world::World;

/// How often a run may be delivered before it counts as stuck.
const DELIVERIES: u32 = 100;

/// Replays the ended run of `world` strictly: it comes to the same end, and nothing happens on the way.
///
/// # Errors
///
/// In words: what deviates, or a port that failed.
pub async fn reproduce(world: &World, number: u64) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let process = world.process(number, Faults::none())?;
    let source = process.view().await.map_err(|error| words(&error))?.state;
    let (acted, asked) = (world.acted(), times_asked(world));
    let run = RunId::new(format!("replay_of_{}", world.run())).map_err(|error| words(&error))?;
    let replay = Replay {
        run: Some(run.clone()),
        ..Replay::new(world.run().clone())
    };
    let started = process.harness().replay(replay).await;
    started.map_err(|error| words(&error))?;
    let replaying = world.about(run).process(number, Faults::none())?;
    let state = run_out(&replaying).await?;
    if state.outcome != source.outcome {
        return Err(format!(
            "it ends with {:?}, not {:?}",
            state.outcome, source.outcome
        ));
    }
    if state.messages != source.messages {
        return Err("the conversations differ".to_owned());
    }
    let ended = |state: &RunState| -> Vec<_> {
        let calls = state
            .calls
            .iter()
            .filter(|(_number, call)| call.has_ended());
        calls
            .map(|(number, Call { status, .. })| (*number, status.clone()))
            .collect()
    };
    if ended(&state) != ended(&source) {
        return Err("the results of calls differ".to_owned());
    }
    if world.acted() != acted || times_asked(world) != asked {
        return Err("something happened".to_owned());
    }
    if state.usage != seaworthy_ports::model_provider::Usage::default() {
        return Err(format!("it used {:?}", state.usage));
    }
    replaying.ending().await?;
    only_replayed(&replaying, state.run()).await?;
    let now = process.view().await.map_err(|error| words(&error))?.state;
    if now.link != source.link {
        return Err("the source has other records than before".to_owned());
    }
    Ok(())
}

/// Delivers the run of `process` until it has ended or waits for somebody.
///
/// # Errors
///
/// In words: a run that does neither, or a port that failed.
pub async fn run_out(process: &Process) -> Result<RunState, String> {
    for _delivery in 0..DELIVERIES {
        process.deliver().await;
        let view = process.view().await.map_err(|error| error.to_string())?;
        if view.state.outcome.is_some() || view.state.waiting.is_some() {
            return Ok(view.state);
        }
    }
    Err("the run is stuck".to_owned())
}

/// How often a model was asked.
fn times_asked(world: &World) -> usize {
    let told = world.told();
    let is_asked = |fact: &&Fact| matches!(fact, Fact::ModelCallStarted { .. });
    told.iter().filter(is_asked).count()
}

async fn only_replayed(process: &Process, run: &RunId) -> Result<(), String> {
    let mut records = process.harness().records(run, Link::default());
    while let Some(loaded) = records.next().await {
        let loaded = loaded.map_err(|error| error.to_string())?;
        let event = loaded.envelope.event().map_err(|error| error.to_string())?;
        if matches!(
            event,
            Event::ModelCalled(_) | Event::ToolStarted { .. } | Event::ReplayDeviated(_)
        ) {
            return Err(format!("its record {} says {event:?}", loaded.link.seq));
        }
    }
    Ok(())
}

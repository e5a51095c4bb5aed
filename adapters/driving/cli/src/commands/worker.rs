//! `worker`: serves every run of the store.

use seaworthy::ports::durable_runtime::Scope;
use serde_json::json;

use super::Context;
use crate::args::WorkerArgs;
use crate::error::{CliError, Exit};
use crate::stop::Stop;

pub(super) async fn worker(context: &Context, args: &WorkerArgs) -> Result<Exit, CliError> {
    let stop = Stop::listen()?;
    let store = context.lasting()?;
    let stack = crate::stack::Stack::open(store, &context.environment, true).await?;
    stack.observer.warn();
    let output = context.output;
    output.note(&format!(
        "serving {}; Ctrl-C or SIGTERM stops after live turns",
        stack.store.url()
    ));
    let worker = stack.worker(Scope::All, args.concurrency.into())?;
    let served = stack.harness.serve(worker, stop.latch.clone()).await;
    stack.close().await;
    let served = served?;
    if output.json {
        output.json(&json!({ "turns": served.turns, "panicked": served.panicked, "revoked": served.revoked }))?;
    }
    output.note(&format!("stopped after {} turns", served.turns));
    // A worker is there to be stopped: this is its success.
    Ok(Exit::Succeeded)
}

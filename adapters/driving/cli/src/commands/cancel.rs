//! `cancel`: ends a run.

use seaworthy::ports::RunId;
use serde_json::json;

use super::{Context, id};
use crate::args::CancelArgs;
use crate::error::{CliError, Exit};

pub(super) async fn cancel(context: &Context, args: CancelArgs) -> Result<Exit, CliError> {
    let run: RunId = id(&args.run)?;
    let stack = context.open().await?;
    stack
        .harness
        .cancel(&run, &context.environment.user, args.reason)
        .await?;
    if context.output.json {
        context
            .output
            .json(&json!({ "run_id": run, "status": "cancelled" }))?;
    }
    context.output.note(&format!("run {run} is cancelled"));
    stack.close().await;
    Ok(Exit::Succeeded)
}

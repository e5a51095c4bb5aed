//! `reopen`: a failed run goes on.

use seaworthy::ports::RunId;
use serde_json::json;

use super::{Context, id};
use crate::args::RunRef;
use crate::error::{CliError, Exit};

pub(super) async fn reopen(context: &Context, args: &RunRef) -> Result<Exit, CliError> {
    let run: RunId = id(&args.run)?;
    let stack = context.open().await?;
    stack
        .harness
        .reopen(&run, &context.environment.user)
        .await?;
    if context.output.json {
        context
            .output
            .json(&json!({ "run_id": run, "status": "queued" }))?;
    }
    let flag = &stack.flag;
    context.output.note(&format!(
        "reopened; where no worker serves the store: seaworthy resume {run}{flag}"
    ));
    stack.close().await;
    Ok(Exit::Succeeded)
}

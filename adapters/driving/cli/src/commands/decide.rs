//! `approve` and `deny`: a person's answer.

use seaworthy::ports::CallId;
use serde_json::json;

use super::{Context, id};
use crate::args::DecideArgs;
use crate::error::{CliError, Exit};

pub(super) async fn decide(
    context: &Context,
    args: DecideArgs,
    granted: bool,
) -> Result<Exit, CliError> {
    let approval: CallId = id(&args.approval)?;
    let stack = context.open().await?;
    let by = &context.environment.user;
    let run = stack
        .harness
        .decide(&approval, granted, by, args.reason.clone())
        .await?;
    if context.output.json {
        context.output.json(&json!({
            "approval_id": approval, "run_id": run, "granted": granted, "by": by, "reason": args.reason,
        }))?;
    }
    let word = if granted { "approved" } else { "denied" };
    let flag = &stack.flag;
    context.output.note(&format!(
        "{word}; where no worker serves the store: seaworthy resume {run}{flag}"
    ));
    stack.close().await;
    Ok(Exit::Succeeded)
}

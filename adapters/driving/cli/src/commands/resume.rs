//! `resume`: continues a run.

use seaworthy::ports::RunId;

use super::{Context, id};
use crate::args::ResumeArgs;
use crate::drive::{Drive, check_run, conclude, drive};
use crate::error::{CliError, Exit};
use crate::progress::Shown;
use crate::stack::Stack;
use crate::stop::Stop;

/// Who grants approvals of a run continued with `--yes`.
const GRANTED_BY: &str = "resume --yes";

pub(super) async fn resume(context: &Context, args: &ResumeArgs) -> Result<Exit, CliError> {
    let run: RunId = id(&args.run)?;
    let stack = context.open().await?;
    let exit = advance(context, &stack, &run, args).await;
    stack.close().await;
    exit
}

async fn advance(
    context: &Context,
    stack: &Stack,
    run: &RunId,
    args: &ResumeArgs,
) -> Result<Exit, CliError> {
    let view = stack.harness.view(run).await?;
    if view.state.outcome.is_some() {
        context
            .output
            .note(&format!("run {run} has ended before; this is its outcome"));
        return conclude(stack, context.output, &view, &Shown::default());
    }
    check_run(stack, &view.state).await?;
    // After a crash between the log's end and the runtime's note of it.
    stack.harness.requeue(run).await?;
    let how = Drive {
        grants_all: args.yes.then_some(GRANTED_BY),
        user: context.environment.user.clone(),
    };
    let stop = Stop::listen()?;
    let shown = Shown::before(&view.state);
    let driven = drive(stack, context.output, run, &how, &stop, shown).await?;
    driven.conclude(stack, context.output)
}

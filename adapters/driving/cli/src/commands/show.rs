//! `show`: one run.

use seaworthy::ports::RunId;

use super::{Context, id};
use crate::args::RunRef;
use crate::error::{CliError, Exit};
use crate::output::json::Run;
use crate::output::text;

pub(super) async fn show(context: &Context, args: &RunRef) -> Result<Exit, CliError> {
    let run: RunId = id(&args.run)?;
    let view = context.open().await?.harness.view(&run).await?;
    let run = Run::of(&view);
    if context.output.json {
        context.output.json(&run)?;
    } else {
        context.output.line(&text::run(&run))?;
    }
    Ok(Exit::Succeeded)
}

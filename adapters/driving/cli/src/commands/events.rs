//! `events`: a run's records.

use futures_util::StreamExt as _;
use seaworthy::ports::RunId;
use seaworthy::record::Link;

use super::{Context, id};
use crate::args::EventsArgs;
use crate::error::{CliError, Exit};
use crate::output::json::Record;
use crate::output::text;
use crate::progress::POLL;

pub(super) async fn events(context: &Context, args: &EventsArgs) -> Result<Exit, CliError> {
    let run: RunId = id(&args.run)?;
    let stack = context.open().await?;
    let output = context.output;
    let mut link = Link::default();
    loop {
        // Asked for before the records, so that the end is never shown as such while records are missing.
        let ended = args.follow && stack.harness.view(&run).await?.state.outcome.is_some();
        let mut records = stack.harness.records(&run, link);
        while let Some(loaded) = records.next().await {
            let loaded = loaded?;
            if output.json {
                output.json(&Record::of(&loaded))?;
            } else {
                output.line(&text::record(&loaded))?;
            }
            link = loaded.link;
        }
        if link == Link::default() {
            return Err(seaworthy::harness::HarnessError::UnknownRun(run).into());
        }
        if ended || !args.follow {
            return Ok(Exit::Succeeded);
        }
        tokio::time::sleep(POLL).await;
    }
}

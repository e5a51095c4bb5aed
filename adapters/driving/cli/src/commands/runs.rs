//! `runs`: what runs there are.

use std::num::NonZeroU32;

use seaworthy::ports::RunId;
use seaworthy::ports::durable_runtime::ScheduleState;
use seaworthy::ports::state_store::{Head, Labels};
use seaworthy::state::Status;

use super::Context;
use crate::args::RunsArgs;
use crate::error::{CliError, Exit};
use crate::output::json::Listed;
use crate::output::text;
use crate::stack::Stack;

/// How many heads are asked for at once.
const PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);

pub(super) async fn runs(context: &Context, args: &RunsArgs) -> Result<Exit, CliError> {
    let listed = match context.open_if_any().await? {
        Some(stack) => list(&stack, args).await?,
        None => Vec::new(),
    };
    if context.output.json {
        context.output.json(&listed)?;
    } else {
        for run in &listed {
            context.output.line(&text::listed(run))?;
        }
    }
    Ok(Exit::Succeeded)
}

async fn list(stack: &Stack, args: &RunsArgs) -> Result<Vec<Listed>, CliError> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    // A run whose worker died is labelled as running and shown as queued.
    let label = match args.status.as_deref() {
        Some("queued") | None => None,
        Some(status) => Some(status.to_owned()),
    };
    let labels: Labels = label
        .map(|status| ("status".to_owned(), status))
        .into_iter()
        .collect();
    let (mut listed, mut page) = (Vec::new(), None);
    loop {
        let heads = stack.harness.runs(labels.clone(), PAGE, page).await?;
        for head in heads.items {
            let status = status(stack, &head).await?;
            if args.status.as_ref().is_none_or(|wanted| *wanted == status) {
                let updated_at = stack.harness.updated_at(&head).await?;
                listed.push(Listed::of(&head, status, updated_at));
            }
            if listed.len() >= limit {
                return Ok(listed);
            }
        }
        page = heads.next;
        if page.is_none() {
            return Ok(listed);
        }
    }
}

async fn status(stack: &Stack, head: &Head) -> Result<String, CliError> {
    let labelled = head.labels.get("status").cloned().unwrap_or_default();
    if labelled != Status::Running.as_str() {
        return Ok(labelled);
    }
    let Ok(run) = RunId::new(head.log.name.as_str()) else {
        return Ok(labelled);
    };
    let schedule = stack.harness.ports().durable_runtime.describe(&run).await?;
    Ok(match schedule.map(|schedule| schedule.state) {
        Some(ScheduleState::Due { .. }) | None => Status::Queued.as_str().to_owned(),
        Some(_) => labelled,
    })
}

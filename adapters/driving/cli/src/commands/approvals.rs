//! `approvals`: what runs ask a person.

use std::num::NonZeroU32;

use super::Context;
use crate::error::{CliError, Exit};
use crate::output::json::Open;
use crate::output::text;
use crate::stack::Stack;

/// How many waiting runs are read at once.
const PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
/// How many approvals are listed.
const MAX_LISTED: usize = 10_000;

pub(super) async fn approvals(context: &Context) -> Result<Exit, CliError> {
    let open = match context.open_if_any().await? {
        Some(stack) => list(&stack).await?,
        None => Vec::new(),
    };
    if context.output.json {
        context.output.json(&open)?;
        return Ok(Exit::Succeeded);
    }
    for approval in &open {
        context.output.line(&text::open(approval))?;
    }
    if open.is_empty() {
        context.output.note("no run waits for an approval");
    }
    Ok(Exit::Succeeded)
}

async fn list(stack: &Stack) -> Result<Vec<Open>, CliError> {
    let (mut open, mut page) = (Vec::new(), None);
    loop {
        let asked = stack.harness.approvals(PAGE, page).await?;
        open.extend(asked.items.iter().map(Open::of));
        page = asked.next;
        if page.is_none() || open.len() >= MAX_LISTED {
            return Ok(open);
        }
    }
}

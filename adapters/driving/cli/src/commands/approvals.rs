//! `approvals`: what runs ask a person.

use super::{Context, waiting};
use crate::error::{CliError, Exit};
use crate::output::json::Open;
use crate::output::text;

pub(super) async fn approvals(context: &Context) -> Result<Exit, CliError> {
    let open = match context.open_if_any().await? {
        Some(stack) => {
            let page_of = async |limit, page| stack.harness.approvals(limit, page).await;
            waiting::all(page_of, |asked| Some(Open::of(asked))).await?
        }
        None => Vec::new(),
    };
    waiting::show(context, &open, text::open, "no run waits for an approval")
}

//! What runs ask of persons, listed.

use std::num::NonZeroU32;

use seaworthy::harness::{Asked, HarnessError};
use seaworthy::ports::state_store::{Page, PageToken};
use serde::Serialize;

use super::Context;
use crate::error::{CliError, Exit};

/// How many of the runs that ask something are read at once.
const PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
/// How many items are listed.
const MAX_LISTED: usize = 10_000;

/// Every `item` of the pages, in their order.
pub(super) async fn all<T>(
    mut page_of: impl AsyncFnMut(NonZeroU32, Option<PageToken>) -> Result<Page<Asked>, HarnessError>,
    item: impl Fn(&Asked) -> Option<T>,
) -> Result<Vec<T>, CliError> {
    let (mut items, mut page) = (Vec::new(), None);
    loop {
        let asked = page_of(PAGE, page).await?;
        items.extend(asked.items.iter().filter_map(&item));
        page = asked.next;
        if page.is_none() || items.len() >= MAX_LISTED {
            return Ok(items);
        }
    }
}

/// Shows the items, each as a `line`, or `none` where there are none.
pub(super) fn show<T: Serialize>(
    context: &Context,
    items: &[T],
    line: impl Fn(&T) -> String,
    none: &str,
) -> Result<Exit, CliError> {
    if context.output.json {
        context.output.json(&items)?;
        return Ok(Exit::Succeeded);
    }
    for item in items {
        context.output.line(&line(item))?;
    }
    if items.is_empty() {
        context.output.note(none);
    }
    Ok(Exit::Succeeded)
}

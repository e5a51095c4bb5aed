//! `migrate`: brings a store to the schema of this version.

use serde_json::json;

use super::Context;
use crate::error::{CliError, Exit};
use crate::kept;

pub(super) async fn migrate(context: &Context) -> Result<Exit, CliError> {
    let store = context.lasting()?;
    let migrated = kept::migrate(&store).await?;
    if context.output.json {
        context
            .output
            .json(&json!({ "store": store.url(), "from": migrated.from, "to": migrated.to }))?;
        return Ok(Exit::Succeeded);
    }
    let url = store.url();
    let to = migrated.to;
    context.output.line(&match migrated.from {
        None => format!("{url} is made, with schema version {to}"),
        Some(from) if from == to => format!("{url} has schema version {to} already"),
        Some(from) => format!("{url} is brought from schema version {from} to {to}"),
    })?;
    Ok(Exit::Succeeded)
}

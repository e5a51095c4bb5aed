//! The folders that a server is to work in.

use seaworthy_ports::mcp::{MAX_ROOTS, McpRoot};
use serde_json::{Value, json};

use crate::error::Fault;

/// What a server asks to learn of them.
pub(crate) const LIST: &str = "roots/list";

/// Refuses what no server can be told of.
pub(crate) fn check(roots: &[McpRoot]) -> Result<(), Fault> {
    if roots.len() > MAX_ROOTS {
        return Err(Fault::Rejected(
            "there are more folders than a server is told of",
        ));
    }
    if !roots.iter().all(McpRoot::is_folder) {
        return Err(Fault::Rejected(
            "the address of a folder that the server is to work in is none",
        ));
    }
    Ok(())
}

/// The answer to [`LIST`]. Where there are no roots, it is not asked, or refused.
pub(crate) fn answer(roots: &[McpRoot]) -> Value {
    let roots = roots.iter().map(|root| match &root.name {
        Some(name) => json!({"uri": root.uri, "name": name}),
        None => json!({"uri": root.uri}),
    });
    json!({"roots": roots.collect::<Vec<_>>()})
}

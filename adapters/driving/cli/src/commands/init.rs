//! `init`: a starter agent that runs as it is.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use serde_json::json;

use super::Context;
use crate::args::InitArgs;
use crate::error::{CliError, Exit};

/// Name, content, permissions.
const FILES: [(&str, &str, u32); 3] = [
    (
        "agent.yaml",
        include_str!("../../starter/agent.yaml"),
        0o644,
    ),
    (
        "script.yaml",
        include_str!("../../starter/script.yaml"),
        0o644,
    ),
    (
        "publish.sh",
        include_str!("../../starter/publish.sh"),
        0o755,
    ),
];

pub(super) fn init(context: &Context, args: &InitArgs) -> Result<Exit, CliError> {
    let dir = &args.dir;
    let named = dir.display();
    fs::create_dir_all(dir)
        .map_err(|source| CliError::io(format!("make the folder {named}"), source))?;
    if let Some((name, ..)) = FILES
        .iter()
        .find(|(name, ..)| dir.join(name).symlink_metadata().is_ok())
    {
        return Err(CliError::Usage(format!(
            "{named} has a file {name} already; name another folder"
        )));
    }
    for (name, content, mode) in FILES {
        let path = dir.join(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .and_then(|mut file| file.write_all(content.as_bytes()))
            .map_err(|source| CliError::io(format!("write {}", path.display()), source))?;
    }
    if context.output.json {
        let files: Vec<_> = FILES.iter().map(|(name, ..)| name).collect();
        context
            .output
            .json(&json!({ "dir": dir, "files": files }))?;
    }
    context.output.note(&format!(
        "a starter agent is in {named}; run it: seaworthy run {named}/agent.yaml"
    ));
    Ok(Exit::Succeeded)
}

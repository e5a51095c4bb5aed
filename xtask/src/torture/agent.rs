//! The agent under torture: a script with five non-idempotent tools, three idempotent ones and parallel calls.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::failure::Failure;

/// Tools that must happen at most once.
pub(super) const NON_IDEMPOTENT: [&str; 5] = ["charge", "ship", "mail", "book", "post"];
/// Tools that may happen again.
pub(super) const IDEMPOTENT: [&str; 3] = ["tag", "index", "cache"];

/// The calls of each model turn; those of one turn run at once.
const TURNS: [&[&str]; 7] = [
    &["charge", "ship", "tag"],
    &["mail"],
    &["book", "index", "cache", "mail"],
    &["post"],
    &["charge", "ship", "mail", "book", "tag", "index"],
    &["ship", "post"],
    &["charge", "cache", "book"],
];

/// A tool that keeps a journal of its own. It does something halfway between its beginning and its answer.
const TOOL: &str = r#"#!/bin/sh
# tool.sh NAME [--verify]
set -eu
name=$1
key=$SEAWORTHY_IDEMPOTENCY_KEY
journal=effects/$name
# The arguments are one line without an end, which `read` takes for a failure.
IFS= read -r arguments || [ -n "$arguments" ]
note() { printf '%s %s %s\n' "$1" "$key" "$$" >>"$journal"; }
answer() { printf '{"tool":"%s","arguments":%s}\n' "$name" "$arguments"; }
if [ "${2-}" = --verify ]; then
    if grep -q "^effect $key " "$journal"; then
        note yes
        answer
        exit 0
    fi
    note no
    exit 1
fi
note begin
sleep 0.06
note effect
sleep 0.06
note end
answer
"#;

/// A folder with the agent, its runs and its stores.
#[derive(Debug)]
pub(super) struct Bench {
    /// The `seaworthy` binary.
    pub(super) program: PathBuf,
    folder: TempDir,
}

impl Bench {
    pub(super) fn new(program: PathBuf) -> Result<Self, Failure> {
        let folder = TempDir::with_prefix("seaworthy-torture-")
            .map_err(|error| Failure::new(format!("no folder for the torture: {error}")))?;
        let bench = Self { program, folder };
        let agent = bench.folder().join("agent");
        make(&agent)?;
        write(&agent.join("agent.yaml"), &descriptor())?;
        write(&agent.join("script.yaml"), &script())?;
        let tool = agent.join("tool.sh");
        write(&tool, TOOL)?;
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755))
            .map_err(|error| Failure::new(format!("{}: {error}", tool.display())))?;
        Ok(bench)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn descriptor(&self) -> PathBuf {
        self.folder().join("agent").join("agent.yaml")
    }

    /// The folder is not removed.
    pub(super) fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    /// A new workspace for `run`, with empty journals.
    pub(super) fn workspace(&self, run: &str) -> Result<PathBuf, Failure> {
        let workspace = self.folder().join(run).join("workspace");
        make(&workspace.join("effects"))?;
        for tool in NON_IDEMPOTENT.iter().chain(&IDEMPOTENT) {
            write(&workspace.join("effects").join(tool), "")?;
        }
        Ok(workspace)
    }
}

fn make(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)
        .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))
}

fn write(path: &Path, content: &str) -> Result<(), Failure> {
    fs::write(path, content).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn descriptor() -> String {
    let mut tools = String::new();
    let mut add = |name: &str, side_effect: &str, approval: &str, verify: bool| {
        tools.push_str(&format!(
            "  {name}:\n    description: Does {name}.\n    input_schema: {{ type: object, required: [n], properties: \
             {{ n: {{ type: integer }} }} }}\n    command: [./tool.sh, {name}]\n    side_effect: {side_effect}\n    \
             risk: low\n    approval: {approval}\n    timeout: 30s\n"
        ));
        if verify {
            tools.push_str(&format!("    verify: [./tool.sh, {name}, --verify]\n"));
        }
    };
    for name in NON_IDEMPOTENT {
        add(
            name,
            "non_idempotent",
            if name == "post" { "required" } else { "none" },
            true,
        );
    }
    for name in IDEMPOTENT {
        add(name, "idempotent", "none", false);
    }
    let names: Vec<&str> = NON_IDEMPOTENT.iter().chain(&IDEMPOTENT).copied().collect();
    format!(
        "version: seaworthy.agent_graph.v1\nmetadata: {{ name: tortured }}\nruntime: {{ entry_agent: main, max_turns: 20 }}\n\
         models:\n  main: {{ provider: scripted, script: script.yaml }}\ntools:\n{tools}agents:\n  main:\n    instructions: \
         Do it.\n    model: main\n    tools: [{}]\n",
        names.join(", ")
    )
}

fn script() -> String {
    let mut script = "turns:\n".to_owned();
    let mut number = 0;
    for calls in TURNS {
        script.push_str("  - text: On it.\n    latency: 60ms\n    calls:\n");
        for tool in calls {
            number += 1;
            script.push_str(&format!(
                "      - {{ tool: {tool}, arguments: {{ n: {number} }} }}\n"
            ));
        }
    }
    // The answer shows every result, so that two runs with the same answer had the same results.
    script.push_str(
        "  - text: \"{% for one in results %}{{ one.output.tool }}={{ one.output.arguments.n }} {% endfor %}\"\n    \
         latency: 60ms\n",
    );
    script
}

/// How many calls of `tools` a run makes.
pub(super) fn calls_of(tools: &[&str]) -> usize {
    TURNS
        .iter()
        .flat_map(|calls| calls.iter())
        .filter(|call| tools.contains(call))
        .count()
}

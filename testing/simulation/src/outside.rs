//! The agent of a run, its tools, and what they do to the outside.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seaworthy_core::descriptor::{Descriptor, Materialised};
use seaworthy_fakes::{FakeMcpServer, FakeMcpTool, McpFault, RanCommand, TableTurn};
use seaworthy_ports::sandbox::Exec;
use serde_json::{Value, json};

/// How often commands acted.
pub type Effects = BTreeMap<String, u32>;

/// Tools whose second effect is one too many.
pub const ONCE: [&str; 3] = ["send", "pay", "shout"];

/// The agent under test: tools of every side effect, in parallel, with and without verifier and approval.
pub(crate) const DESCRIPTOR: &str = r#"
version: seaworthy.agent_graph.v1
metadata: { name: simulated }
runtime: { entry_agent: worker, max_turns: 64 }
models:
  main: { provider: openai, model: table }
tools:
  look: { description: Look., input_schema: { type: object }, command: [look], side_effect: read_only }
  store: { description: Store., input_schema: { type: object }, command: [store], side_effect: idempotent }
  send: { description: Send., input_schema: { type: object }, command: [send], verify: [send, --verify] }
  pay:
    description: Pay.
    input_schema: { type: object }
    command: [pay]
    verify: [pay, --verify]
    approval: required
  shout: { description: Shout., input_schema: { type: object }, command: [shout] }
agents:
  worker: { instructions: Work., model: main, tools: [look, store, send, pay, shout] }
"#;

/// The tools of the server.
const DESK: [&str; 4] = ["look", "store", "send", "pay"];

/// The same agent with the tools of a server.
pub(crate) const SERVED: &str = r#"mcp_servers:
  desk:
    url: https://desk.invalid/mcp
    risk: medium
    tools:
      look: { side_effect: read_only, risk: low }
      store: { side_effect: idempotent }
      pay: { approval: required }
agents:
  worker: { instructions: Work., model: main, tools: ["desk.*"] }
"#;

/// A tool of the server, which counts how often it acted for its key as commands do.
pub(crate) fn desk_tool(name: &'static str, outside: &Arc<Outside>) -> FakeMcpTool {
    let outside = Arc::clone(outside);
    FakeMcpTool::new(name, move |call| {
        let key = call.meta.get("seaworthy/idempotency_key");
        let key = key.and_then(Value::as_str).unwrap_or_default();
        let name = format!("desk__{name}");
        outside.count(format!("{name} {key}"));
        std::future::ready(Ok::<_, McpFault>(json!({ "command": name, "padding": "" })))
    })
    .with_description("Does it.")
}

/// Whether a second effect of this tool is one too many.
pub(crate) fn is_once(tool: &str) -> bool {
    ONCE.contains(&tool.strip_prefix("desk__").unwrap_or(tool))
}

/// A turn that wants these tools called; `granted`: a person grants what needs an approval.
#[must_use]
pub fn turn(text: &str, calls: &[&str], granted: bool) -> TableTurn {
    TableTurn {
        text: text.to_owned(),
        calls: calls
            .iter()
            .enumerate()
            .map(|(index, tool)| {
                let arguments = json!({ "text": text, "index": index, "granted": granted });
                ((*tool).to_owned(), arguments)
            })
            .collect(),
    }
}

pub(crate) fn turns() -> Vec<TableTurn> {
    vec![
        turn("look around", &["look", "store", "send"], true),
        turn("twice on purpose", &["send", "send", "unknown"], true),
        turn("pay and shout", &["pay", "shout", "look"], true),
        turn("pay once more", &["pay"], false),
        turn("all done", &[], true),
    ]
}

/// The agent of a descriptor.
pub(crate) fn agent(text: &str) -> Result<Materialised, String> {
    Descriptor::parse(text, "simulated.yaml")
        .and_then(|descriptor| descriptor.materialise(|_path| Err("no files".to_owned())))
        .map_err(|errors| errors.to_string())
}

/// The server with all of its tools.
pub(crate) fn desk(outside: &Arc<Outside>) -> FakeMcpServer {
    DESK.into_iter()
        .map(|tool| desk_tool(tool, outside))
        .fold(FakeMcpServer::new("desk"), FakeMcpServer::with_tool)
}

/// What commands act on.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// How often each command acted, by name and idempotency key.
    effects: Mutex<Effects>,
    /// Verifiers deny what happened.
    lies: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outside {
    /// Something acted.
    pub(crate) fn count(&self, acted: String) {
        let mut effects = locked(&self.effects);
        let times = effects.entry(acted).or_default();
        *times = times.saturating_add(1);
    }

    /// What a command does: it counts how often it acted for its key.
    pub(crate) fn act(&self, exec: &Exec) -> RanCommand {
        let name = exec.argv.first().cloned().unwrap_or_default();
        let key = exec
            .env
            .get("SEAWORTHY_IDEMPOTENCY_KEY")
            .cloned()
            .unwrap_or_default();
        let verify = exec
            .argv
            .get(1)
            .is_some_and(|argument| argument == "--verify");
        let mut effects = locked(&self.effects);
        let acted = format!("{name} {key}");
        // Large enough to leave the record for the blob store.
        let padding = if name == "look" {
            "x".repeat(40_000)
        } else {
            String::new()
        };
        let stdout = json!({ "command": name, "padding": padding }).to_string();
        if verify {
            let happened = effects.contains_key(&acted) && !self.lies.load(Ordering::Relaxed);
            let code = i32::from(!happened);
            return RanCommand { code, stdout };
        }
        let times = effects.entry(acted).or_default();
        *times = times.saturating_add(1);
        RanCommand { code: 0, stdout }
    }

    /// How often commands acted.
    pub(crate) fn acted(&self) -> Effects {
        locked(&self.effects).clone()
    }

    pub(crate) fn let_verifiers_lie(&self) {
        self.lies.store(true, Ordering::Relaxed);
    }
}

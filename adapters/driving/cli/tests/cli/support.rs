//! A folder of its own for each test, with agents in it, and the program under test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The longest anything here may take; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with an agent and a workspace.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    /// A folder with a workspace that is a project of its own.
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir_all(dir.path().join("work/.git")).unwrap();
        Self { dir }
    }

    /// A folder with an agent whose model follows `turns` and may call the tools of [`TOOLS`].
    pub(crate) fn with_script(turns: &str) -> Self {
        let place = Self::new();
        place.write("agent.yaml", &agent("tester", 16));
        place.write("script.yaml", turns);
        place.write_tool("append.sh", APPEND);
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn write_tool(&self, name: &str, text: &str) {
        self.write(name, text);
        fs::set_permissions(
            self.dir.path().join(name),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
    }

    /// The lines of a file of the workspace; none where it is absent.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.work().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The program with these arguments, in this place, without a terminal and without keys.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
        command
            .args(args)
            .args(["--workspace", "work"])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove("ANTHROPIC_API_KEY")
            .env_remove("ANTHROPIC_BASE_URL")
            .env_remove("GEMINI_API_KEY")
            .env_remove("GEMINI_BASE_URL")
            .env_remove("OLLAMA_API_KEY")
            .env_remove("OLLAMA_BASE_URL")
            .env_remove("OPENAI_API_KEY")
            .env_remove("OPENAI_BASE_URL")
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .env_remove("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT")
            .env_remove("OTEL_SERVICE_NAME")
            .env_remove("SEAWORTHY_OTEL_GENAI")
            .env_remove("TRACEPARENT")
            .env_remove("TRACESTATE")
            .env_remove("SEAWORTHY_LOG")
            .env_remove("SEAWORTHY_STORE")
            .env_remove("SEAWORTHY_DATA")
            .env_remove("SEAWORTHY_RUNTIME")
            .env_remove("RESTATE_AUTH_TOKEN")
            .env("USER", "tester");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().unwrap())
    }

    /// The JSON that a command prints.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let done = self.run(&[args, &["--json"]].concat());
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        serde_json::from_str(&done.stdout).unwrap()
    }

    pub(crate) fn show(&self, run: &str) -> Value {
        self.json(&["show", run])
    }

    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    pub(crate) fn wait_for_file(&self, name: &str) {
        until(|| self.work().join(name).exists());
    }
}

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        let done = Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!done.stderr.contains("panicked"), "{done:?}");
        done
    }

    /// Every line of standard output as JSON.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

pub(crate) fn finish(child: Child) -> Done {
    Done::of(child.wait_with_output().unwrap())
}

/// Waits for something that other processes bring about.
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "it did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal by name, such as `TERM`.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Kills the process as a crash would, and nothing else.
pub(crate) fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The descriptor of an agent with [`TOOLS`].
pub(crate) fn agent(name: &str, max_turns: u32) -> String {
    format!(
        "version: seaworthy.agent_graph.v1
metadata: {{ name: {name} }}
runtime: {{ entry_agent: {name}, max_turns: {max_turns} }}
models:
  main: {{ provider: scripted, script: script.yaml }}
{TOOLS}
agents:
  {name}:
    instructions: Do as the script says.
    model: main
    tools: [list, note, ask, doubt, sure]
"
    )
}

/// `note` just appends, `ask` needs an approval, `doubt` cannot be verified, `sure` can.
const TOOLS: &str = "
tools:
  note:
    description: Append a line.
    input_schema: { type: object }
    command: [./append.sh, note]
    side_effect: idempotent
    risk: low
    approval: none
  ask:
    description: Append a line, after an approval.
    input_schema: { type: object }
    command: [./append.sh, ask]
    side_effect: non_idempotent
    risk: high
    approval: required
  doubt:
    description: Append a line and take long to answer.
    input_schema: { type: object }
    command: [./append.sh, doubt, slowly]
    side_effect: non_idempotent
    risk: low
    approval: none
  sure:
    description: Append a line, take long to answer, and know about it afterwards.
    input_schema: { type: object }
    command: [./append.sh, sure, slowly]
    verify: [./append.sh, sure, verify]
    side_effect: non_idempotent
    risk: low
    approval: none
";

/// Appends the call's key to a file named after the tool. `slowly` answers only once a file `go` is there.
const APPEND: &str = r#"#!/bin/sh
set -eu
if [ "${2-}" = verify ]; then
    [ -e "$1" ] || exit 1
    exec grep -F "$SEAWORTHY_IDEMPOTENCY_KEY" "$1"
fi
cat >/dev/null
echo "$SEAWORTHY_IDEMPOTENCY_KEY" >>"$1"
if [ "${2-}" = slowly ]; then
    while [ ! -e go ]; do sleep 0.05; done
fi
echo "{\"done\": \"$1\"}"
"#;

/// A script that calls each of `tools` once, one a turn, and then says `Done.`
pub(crate) fn script(tools: &[&str]) -> String {
    let calls: String = tools
        .iter()
        .map(|tool| format!("  - calls:\n      - tool: {tool}\n        arguments: {{}}\n"))
        .collect();
    format!("turns:\n{calls}  - text: Done.\n")
}

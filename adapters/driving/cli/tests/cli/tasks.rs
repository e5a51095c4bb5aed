//! Calls that a server keeps as tasks: whoever asks after them may be another process than the one that made the call.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{Place, kill, until};

/// A process that keeps its one task in files: it begins with `began` and is done once `go` is there.
const SERVER: &str = r#"#!/bin/sh
while IFS= read -r line; do
    id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    status=working
    if [ -e go ]; then status=completed; fi
    task='"taskId":"the one","createdAt":"2025-11-25T10:30:00Z","lastUpdatedAt":"2025-11-25T10:30:00Z","ttl":null,"pollInterval":50,"status":'
    case $line in
    *'"initialize"'*)
        result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"tasks":{"requests":{"tools":{"call":{}}}}},"serverInfo":{"name":"slow","version":"1"}}' ;;
    *'"tools/list"'*)
        result='{"tools":[{"name":"build","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}}]}' ;;
    *'"tools/call"'*)
        echo call >>began
        result="{\"task\":{$task\"working\"}}" ;;
    *'"tasks/get"'*)
        echo poll >>polled
        result="{$task\"$status\"}" ;;
    *'"tasks/result"'*) result='{"content":[{"type":"text","text":"built"}]}' ;;
    *) continue ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;

const SCRIPT: &str = "turns:
  - calls: [{ tool: slow__build, arguments: {} }]
  - text: \"Done: {{ last[0].text }}\"
";

fn place(server: &str) -> Place {
    let place = Place::new();
    place.write(
        "agent.yaml",
        &format!(
            "version: seaworthy.agent_graph.v1
metadata: {{ name: building }}
runtime: {{ entry_agent: building, max_turns: 8 }}
models:
  main: {{ provider: scripted, script: script.yaml }}
mcp_servers:
  slow:
    {server}
    risk: low
    tools:
      build: {{ task: true, task_timeout: 1h }}
agents:
  building:
    instructions: Do as the script says.
    model: main
    tools: [\"slow.*\"]
"
        ),
    );
    place.write("script.yaml", SCRIPT);
    place.write_tool("server.sh", SERVER);
    place
}

#[test]
fn a_task_of_a_process_outlives_the_worker_that_began_it() {
    let place = place("command: [./server.sh]");
    let child = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    place.wait_for_file("polled");
    until(|| place.show("r1")["calls"][0]["status"] == "deferred");
    kill(child);
    fs::write(place.work().join("go"), "").unwrap();
    let done = place.run(&["resume", "r1"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done: built\n"),
        "{done:?}"
    );
    assert_eq!(place.lines("began").len(), 1, "it was called twice");
    assert_eq!(place.show("r1")["attempt"], 2);
    assert_eq!(place.json(&["verify", "r1"])["ok"], true);
    let replayed = place.run(&["replay", "r1"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert_eq!(place.lines("began").len(), 1);
}

/// The same server at an address, which any process reaches.
#[derive(Default)]
struct Slow {
    begun: AtomicUsize,
    polls: AtomicUsize,
    is_done: AtomicBool,
}

impl Slow {
    fn serve() -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let slow = Arc::<Self>::default();
        let serving = Arc::clone(&slow);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let slow = Arc::clone(&serving);
                std::thread::spawn(move || while slow.answer(&connection).is_some() {});
            }
        });
        (slow, url)
    }

    /// Answers one request; `None`: the connection is over.
    fn answer(&self, mut connection: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(connection);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            (reader.read_line(&mut head).ok()? > 0).then_some(())?;
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_it = name.eq_ignore_ascii_case("content-length");
            is_it.then(|| value.trim().parse().ok()).flatten()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let answer = match serde_json::from_slice::<Value>(&body) {
            Ok(message) if head.starts_with("POST") => self.message(&message),
            _ => None,
        };
        let text = match (answer, head.starts_with("GET")) {
            (Some(answer), _) => {
                let body = answer.to_string();
                let bytes = body.len();
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n{body}"
                )
            }
            (None, true) => {
                "HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n".to_owned()
            }
            (None, false) => "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        connection.write_all(text.as_bytes()).ok()
    }

    fn message(&self, message: &Value) -> Option<Value> {
        let id = message.get("id")?;
        let method = message["method"].as_str().unwrap_or_default();
        let task = |status: &str| {
            json!({
                "taskId": "the one", "status": status, "ttl": null, "pollInterval": 50,
                "createdAt": "2025-11-25T10:30:00Z", "lastUpdatedAt": "2025-11-25T10:30:00Z",
            })
        };
        let result = match method {
            "initialize" => json!({
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}}},
                "serverInfo": {"name": "slow", "version": "1"},
            }),
            "tools/list" => json!({"tools": [{
                "name": "build", "inputSchema": {"type": "object"},
                "execution": {"taskSupport": "optional"},
            }]}),
            "tools/call" => {
                self.begun.fetch_add(1, Ordering::SeqCst);
                json!({"task": task("working")})
            }
            "tasks/get" => {
                self.polls.fetch_add(1, Ordering::SeqCst);
                let is_done = self.is_done.load(Ordering::SeqCst);
                task(if is_done { "completed" } else { "working" })
            }
            "tasks/cancel" => task("cancelled"),
            "tasks/result" => json!({"content": [{"type": "text", "text": "built"}]}),
            _ => json!({}),
        };
        Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }

    fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }
}

#[test]
fn a_run_whose_task_is_at_an_address_waits_without_a_worker() {
    let (slow, url) = Slow::serve();
    let place = place(&format!("url: {url}"));
    let child = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    until(|| slow.polls() > 0 && place.show("r1")["waiting_for"] == "task");
    kill(child);
    slow.is_done.store(true, Ordering::SeqCst);
    let done = place.run(&["resume", "r1"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done: built\n"),
        "{done:?}"
    );
    assert_eq!(slow.begun.load(Ordering::SeqCst), 1);
    let events = place.run(&["events", "r1", "--json"]);
    let deferred = events
        .json_lines()
        .iter()
        .filter(|record| record["type"] == "tool_deferred")
        .count();
    assert!(deferred >= 2, "{events:?}");
    assert_eq!(place.json(&["verify", "r1"])["ok"], true);
}

#[test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
fn the_reference_server_does_its_research_as_a_task() {
    let packages = std::env::var("SEAWORTHY_TEST_MCP").unwrap();
    let (_url, packages) = packages.split_once('#').unwrap();
    let place = place(&format!(
        "command: [node, {packages}/server-everything/dist/index.js, stdio]"
    ));
    place.write(
        "script.yaml",
        "turns:
  - calls: [{ tool: slow__simulate_research_query_b3243ea3, arguments: { topic: ships } }]
  - text: \"{{ last[0].text }}\"
",
    );
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("Research Report: ships"), "{done:?}");
    let events = place.run(&["events", "r1", "--json"]);
    assert!(events.stdout.contains("tool_deferred"), "{events:?}");
    assert_eq!(place.run(&["replay", "r1"]).code, 0);
}

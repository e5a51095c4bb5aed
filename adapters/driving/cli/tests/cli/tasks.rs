//! Calls that a server keeps as tasks: whoever asks after them may be another process than the one that made the call.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::desk::{self, agent, calling, events, go, said};
use crate::support::{Place, kill, until};

/// A process that keeps its one task in files: it begins with `began` and is done once `go` is there.
fn server() -> String {
    desk::server(
        r#"status=working
    if [ -e go ]; then status=completed; fi
    task='"taskId":"the one","createdAt":"2025-11-25T10:30:00Z","lastUpdatedAt":"2025-11-25T10:30:00Z","ttl":null,"pollInterval":50,"status":'"#,
        r#"*'"initialize"'*)
        result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"tasks":{"requests":{"tools":{"call":{}}}}},"serverInfo":{"name":"slow","version":"1"}}' ;;
    *'"tools/list"'*)
        result='{"tools":[{"name":"build","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}}]}' ;;
    *'"tools/call"'*)
        echo call >>began
        result="{\"task\":{$task\"working\"}}" ;;
    *'"tasks/get"'*)
        echo poll >>polled
        result="{$task\"$status\"}" ;;
    *'"tasks/result"'*) result='{"content":[{"type":"text","text":"built"}]}' ;;"#,
    )
}

fn place(server: &str) -> Place {
    let tools = "tools: { build: { task: true, task_timeout: 1h } }";
    let agent = agent("slow", &[server, "risk: low", tools]);
    desk::place(&agent, &calling("slow__build"), &self::server())
}

#[test]
fn a_task_of_a_process_outlives_the_worker_that_began_it() {
    let place = place(desk::SCRIPT);
    let child = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    place.wait_for_file("polled");
    until(|| place.show("r1")["calls"][0]["status"] == "deferred");
    kill(child);
    go(&place);
    said(&place.run(&["resume", "r1"]), "Done: built");
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
    said(&place.run(&["resume", "r1"]), "Done: built");
    assert_eq!(slow.begun.load(Ordering::SeqCst), 1);
    assert!(events(&place, "tool_deferred") >= 2);
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
    assert!(events(&place, "tool_deferred") >= 1);
    assert_eq!(place.run(&["replay", "r1"]).code, 0);
}

//! `mcp serve`: what a client sees of the real program, on standard input and output and over HTTP, killed and started again.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::support::{Done, Place, finish, kill, script, signal};

const LONG: u64 = 50;
const AUDIENCE: &str = "https://agents.example/mcp";

/// A client that speaks lines to a server of its own.
struct Client {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Client {
    fn start(place: &Place, extra: &[&str]) -> Self {
        let mut child = place
            .command(&[&["mcp", "serve", "agent.yaml"], extra].concat())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut client = Self {
            child,
            input,
            output,
            next: 0,
        };
        let hello = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "tester", "version": "1" },
        });
        let about = client.ask("initialize", hello);
        assert_eq!(about["result"]["serverInfo"]["name"], "seaworthy");
        client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        client
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.input.as_mut().unwrap(), "{message}").unwrap();
    }

    /// Sends a request and does not wait for its answer.
    fn post(&mut self, method: &str, params: Value) -> u64 {
        self.next += 1;
        let id = self.next;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// The answer to a request. Every line is a message of the protocol.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.post(method, params);
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "no answer");
            let message: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(message["jsonrpc"], "2.0");
            if message["id"] == id {
                return message;
            }
        }
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments });
        self.ask("tools/call", params)["result"]["structuredContent"].clone()
    }

    /// Leaves, as a client does: the server ends by itself.
    fn leave(mut self) -> Done {
        drop(self.input.take());
        finish(self.child)
    }
}

#[test]
fn a_run_outlives_the_server_that_was_killed_in_the_middle_of_it() {
    let place = Place::with_script(&script(&["note", "sure"]));
    let ask = json!({ "input": "Go.", "run_id": "r1", "wait_seconds": LONG });
    let mut first = Client::start(&place, &[]);
    first.post("tools/call", json!({ "name": "tester", "arguments": ask }));
    // The call has acted and not answered.
    place.wait_for_file("sure");
    kill(first.child);

    let mut second = Client::start(&place, &[]);
    // The same call made again finds the run, which goes on without having done anything twice.
    let done = second.call("tester", ask);
    assert_eq!(
        (&done["run_id"], &done["status"]),
        (&json!("r1"), &json!("succeeded")),
        "{done}"
    );
    assert_eq!(done["answer"], "Done.");
    assert_eq!(done["attempt"], 2);
    assert_eq!(
        (place.lines("note").len(), place.lines("sure").len()),
        (1, 1)
    );
    let left = second.leave();
    assert_eq!((left.code, left.stdout.as_str()), (0, ""), "{left:?}");
    assert_eq!(place.json(&["verify", "r1"])["ok"], true);
    assert_eq!(place.json(&["runs"]).as_array().unwrap().len(), 1);
}

#[test]
fn what_a_client_approves_happens_and_a_terminal_sees_the_same_run() {
    let place = Place::with_script(&script(&["ask"]));
    let mut client = Client::start(&place, &[]);
    let waits = client.call("tester", json!({ "input": "Go.", "wait_seconds": LONG }));
    assert_eq!(waits["waiting_for"], "approval", "{waits}");
    let run = waits["run_id"].as_str().unwrap().to_owned();
    assert_eq!(place.show(&run)["status"], "waiting");
    let approval = waits["approvals"][0]["approval_id"].clone();
    let done = client.call(
        "run_approve",
        json!({ "approval_id": approval, "wait_seconds": LONG }),
    );
    assert_eq!(done["answer"], "Done.", "{done}");
    assert_eq!(place.lines("ask").len(), 1);
    let page = client.ask("resources/read", json!({ "uri": waits["records_uri"] }));
    let text = page["result"]["contents"][0]["text"].as_str().unwrap();
    assert!(text.contains("MCP client tester"), "{text}");
    assert_eq!(client.leave().code, 0);
}

#[test]
fn a_server_that_advances_nothing_leaves_runs_to_workers() {
    let place = Place::with_script(&script(&["note"]));
    let mut client = Client::start(
        &place,
        &["--concurrency", "0", "--queue", "mcp", "--no-approvals"],
    );
    let listed = client.ask("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert!(tools.iter().all(|tool| tool["name"] != "run_approve"));
    let queued = client.call(
        "tester",
        json!({ "input": "Go.", "run_id": "r1", "wait_seconds": 0 }),
    );
    assert_eq!(queued["status"], "queued");
    let worker = place.start(&["worker", "--queue", "mcp"]);
    let done = client.call("run_wait", json!({ "run_id": "r1", "wait_seconds": LONG }));
    assert_eq!(done["answer"], "Done.", "{done}");
    signal(&worker, "TERM");
    assert_eq!(finish(worker).code, 0);
    assert_eq!(client.leave().code, 0);
}

/// Where a server that serves HTTP listens, as it says, and the rest of what it says.
fn listening(child: &mut Child) -> (BufReader<ChildStdout>, SocketAddr) {
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let listening: Value = serde_json::from_str(&line).unwrap();
    let url = listening["url"].as_str().unwrap();
    let address = url
        .strip_prefix("http://")
        .and_then(|rest| rest.strip_suffix("/mcp"));
    (output, address.unwrap().parse().unwrap())
}

/// One request over HTTP and its answer, head and body.
fn exchange(address: SocketAddr, token: Option<&str>, body: &Value) -> String {
    use std::io::Read as _;

    let body = body.to_string();
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\naccept: application/json, text/event-stream\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n{}\r\n",
        body.len(),
        token.unwrap_or_default(),
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn over_http_the_token_lets_in_and_is_never_shown() {
    const TOKEN: &str = "canary-token-0123456789";
    let place = Place::with_script(&script(&[]));
    // Nobody reads a pipe while the server runs, and it says a lot here.
    let log = place.path().join("log");
    let mut child = place
        .command(&[
            "mcp",
            "serve",
            "agent.yaml",
            "--http",
            "0",
            "--token-env",
            "AGENTS_TOKEN",
            "--json",
        ])
        .env("AGENTS_TOKEN", TOKEN)
        .env("SEAWORTHY_LOG", "trace")
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let (_output, address) = listening(&mut child);
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "tester", "arguments": { "input": "Go.", "wait_seconds": LONG } },
    });
    assert!(exchange(address, None, &call).starts_with("HTTP/1.1 401"));
    let done = exchange(address, Some(TOKEN), &call);
    assert!(
        done.starts_with("HTTP/1.1 200") && done.contains("Done."),
        "{done}"
    );
    signal(&child, "TERM");
    let stopped = finish(child);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    let log = fs::read_to_string(log).unwrap();
    assert!(!log.is_empty() && !log.contains(TOKEN) && !done.contains(TOKEN));
}

#[test]
fn a_server_that_would_not_be_safe_does_not_start() {
    let place = Place::with_script(&script(&[]));
    place.write(
        "twin.yaml",
        &fs::read_to_string(place.path().join("agent.yaml")).unwrap(),
    );
    let oauth = format!(
        "agent.yaml --http 0 --oauth-issuer https://id.example --oauth-audience {AUDIENCE}"
    );
    let with_oauth = |more: &str| format!("{oauth} {more}");
    for (args, why) in [
        ("agent.yaml --http 0.0.0.0:0", "bearer token"),
        ("agent.yaml --http localhost", "IP:PORT"),
        ("agent.yaml --token-env X", "--http"),
        ("agent.yaml --http 0 --token-env NOT_SET", "NOT_SET"),
        (
            &oauth.replace("https://id.example", "http://id.example"),
            "no issuer",
        ),
        (
            "agent.yaml --http 0 --oauth-issuer https://id.example",
            "--oauth-audience",
        ),
        (&with_oauth("--token-env X"), "cannot be used with"),
        (
            &with_oauth("--oauth-introspect opaque --oauth-secret-env PATH"),
            "--oauth-client",
        ),
        (
            &with_oauth("--oauth-introspect all --oauth-client me"),
            "--oauth-secret-env",
        ),
        (
            &with_oauth("--oauth-introspect all --oauth-client me --oauth-secret-env NOT_SET"),
            "NOT_SET",
        ),
        (
            &with_oauth("--oauth-introspect some --oauth-client me --oauth-secret-env PATH"),
            "opaque, all",
        ),
        (&with_oauth("--oauth-client me"), "--oauth-introspect"),
        (
            "agent.yaml --http 0 --oauth-introspect all --oauth-client me --oauth-secret-env PATH",
            "--oauth-issuer",
        ),
        ("agent.yaml twin.yaml", "two agents"),
        ("missing.yaml", "missing.yaml"),
        ("agent.yaml --store memory:", "memory:"),
        ("", "AGENT.yaml"),
    ] {
        let words = ["mcp", "serve"].into_iter().chain(args.split_whitespace());
        let done = place.run(&words.collect::<Vec<_>>());
        assert_eq!(done.code, 2, "{args:?} {done:?}");
        assert!(done.stderr.contains(why), "{args:?} {done:?}");
        assert_eq!(done.stdout, "");
    }
}

#[test]
fn an_issuer_that_is_down_is_waited_for_and_a_wrong_one_is_an_error() {
    let place = Place::with_script(&script(&[]));
    let serve = |issuer: &str| {
        let mut args = vec!["mcp", "serve", "agent.yaml", "--http", "0"];
        args.extend(["--oauth-issuer", issuer, "--oauth-audience", AUDIENCE]);
        place.command(&[&args[..], &["--oauth-scope", "agents", "--json"]].concat())
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Something is there that is no issuer.
    let answering = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let none = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(none.as_bytes()).unwrap();
        }
    });
    let wrong = finish(serve(&url).spawn().unwrap());
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("no metadata"), "{wrong:?}");
    answering.join().unwrap();
    // Now nothing is.
    let mut child = serve(&url).spawn().unwrap();
    let (_output, address) = listening(&mut child);
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let told = exchange(address, None, &ping);
    assert!(told.starts_with("HTTP/1.1 401"), "{told}");
    let document =
        "resource_metadata=\"https://agents.example/.well-known/oauth-protected-resource/mcp\"";
    assert!(
        told.contains(document) && told.contains("scope=\"agents\""),
        "{told}"
    );
    assert!(exchange(address, Some("garbage"), &ping).starts_with("HTTP/1.1 401"));
    signal(&child, "TERM");
    assert_eq!(finish(child).code, 0);
}

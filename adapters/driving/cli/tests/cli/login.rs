//! Logging in to a server and out again, with an authorisation server and a browser of the test's own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Done, Place, finish};

/// What each path is answered with: a status and a body.
type Answers = Arc<Mutex<BTreeMap<&'static str, (&'static str, Value)>>>;

/// A server that wants a login, its authorisation server, and an agent that uses it.
struct Guarded {
    place: Place,
    answers: Answers,
}

impl Guarded {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let answers = Answers::default();
        let (own, at) = (Arc::clone(&answers), origin.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &at, &own);
            }
        });
        let place = Place::new();
        place.write("agent.yaml", &agent(&origin));
        place.write("script.yaml", "turns: [{ text: Done. }]\n");
        Self { place, answers }
    }

    fn says(&self, path: &'static str, status: &'static str, body: Value) {
        self.answers.lock().unwrap().insert(path, (status, body));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        command.env("XDG_DATA_HOME", self.place.path().join("data"));
        command
    }

    fn run(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().unwrap())
    }

    /// The program while it waits for the browser, and the address that it shows.
    fn login(&self, args: &[&str]) -> (Child, String) {
        let args = [&["mcp", "login", "agent.yaml", "guarded"], args].concat();
        let mut child = self.command(&args).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let address = said.by_ref().lines().map(Result::unwrap).find_map(|line| {
            line.trim()
                .starts_with("http")
                .then(|| line.trim().to_owned())
        });
        child.stderr = Some(said.into_inner());
        (child, address.unwrap())
    }

    fn kept(&self) -> Vec<fs::DirEntry> {
        let folder = self.place.path().join("data/seaworthy/mcp-tokens");
        let all = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map(Result::unwrap);
        all.filter(|entry| entry.path().extension().is_some_and(|it| it == "json"))
            .collect()
    }
}

fn agent(origin: &str) -> String {
    format!(
        "version: seaworthy.agent_graph.v1
metadata: {{ name: helper }}
runtime: {{ entry_agent: helper }}
models:
  main: {{ provider: scripted, script: script.yaml }}
mcp_servers:
  guarded:
    url: {origin}/mcp
    auth: {{ type: oauth, scopes: [read] }}
  open:
    url: {origin}/open
    auth: {{ type: oauth }}
  plain:
    url: {origin}/mcp
agents:
  helper:
    instructions: Help.
    model: main
    tools: [\"guarded.*\"]
"
    )
}

fn answer(mut stream: TcpStream, origin: &str, answers: &Answers) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let told = answers.lock().unwrap().get(path).cloned();
    let (status, told) = told.unwrap_or_else(|| usual(path, &head, &body, origin));
    let told = told.to_string();
    let whole = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{told}",
        told.len()
    );
    let _gone = stream.write_all(whole.as_bytes());
}

fn usual(path: &str, head: &str, body: &str, origin: &str) -> (&'static str, Value) {
    let told = match path {
        "/.well-known/oauth-protected-resource/mcp" => {
            json!({ "resource": format!("{origin}/mcp"), "authorization_servers": [origin] })
        }
        "/.well-known/oauth-authorization-server" => json!({
            "issuer": origin,
            "authorization_endpoint": format!("{origin}/authorize"),
            "token_endpoint": format!("{origin}/token"),
            "registration_endpoint": format!("{origin}/register"),
            "code_challenge_methods_supported": ["S256"],
        }),
        "/register" => return ("201 Created", json!({ "client_id": "me" })),
        "/token" if body.contains("code=canary-code") => json!({
            "access_token": "canary-access", "refresh_token": "canary-refresh", "token_type": "Bearer",
        }),
        "/token" => return ("400 Bad Request", json!({ "error": "invalid_grant" })),
        "/mcp" if !head.contains("authorization: bearer canary-access\r\n") => {
            return ("401 Unauthorized", json!({}));
        }
        "/mcp" | "/open" => return served(body),
        _ => return ("404 Not Found", json!({})),
    };
    ("200 OK", told)
}

fn served(body: &str) -> (&'static str, Value) {
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    let result = match asked["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
            "serverInfo": { "name": "guarded", "version": "1" },
        }),
        Some("tools/list") => {
            json!({ "tools": [{ "name": "look", "inputSchema": { "type": "object" } }] })
        }
        Some(_) => return ("202 Accepted", json!({})),
        None => return ("405 Method Not Allowed", json!({})),
    };
    let told = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result });
    ("200 OK", told)
}

/// A parameter of an address, as it is written there.
fn parameter<'a>(address: &'a str, name: &str) -> &'a str {
    let (_place, query) = address.split_once('?').unwrap();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter_map(|(known, value)| (known == name).then_some(value));
    values.next().unwrap()
}

/// The browser that was sent to `address` comes back and says this.
fn come_back(address: &str, says: &str) -> String {
    let redirect = parameter(address, "redirect_uri").replace("%3A", ":");
    let redirect = redirect.replace("%2F", "/");
    let place = redirect.strip_prefix("http://").unwrap();
    let place = place.strip_suffix("/callback").unwrap();
    let state = parameter(address, "state");
    let mut stream = TcpStream::connect(place).unwrap();
    let asked = format!("GET /callback?{says}&state={state} HTTP/1.1\r\nHost: {place}\r\n\r\n");
    stream.write_all(asked.as_bytes()).unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

fn says_nothing(done: &Done) {
    let said = format!("{}{}", done.stdout, done.stderr);
    assert!(!said.contains("canary"), "{said}");
}

#[test]
fn somebody_logs_in_uses_the_server_and_logs_out() {
    let guarded = Guarded::new();
    // Until then everything that needs the server says what to type.
    let hint = "seaworthy mcp login AGENT.yaml guarded";
    for args in [
        &["mcp", "tools", "agent.yaml", "--server", "guarded"][..],
        &["doctor", "agent.yaml"],
        &["run", "agent.yaml", "--input", "?"],
    ] {
        let done = guarded.run(args);
        assert_ne!(done.code, 0, "{args:?} {done:?}");
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(said.contains(hint), "{args:?} {done:?}");
    }
    let (child, address) = guarded.login(&["--json", "--scope", "write"]);
    assert_eq!(parameter(&address, "scope"), "read+write");
    let page = come_back(&address, "code=canary-code");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    let done = finish(child);
    assert_eq!(done.code, 0, "{done:?}");
    says_nothing(&done);
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        told,
        json!({ "server": "guarded", "logged_in": true, "tools": 1 })
    );
    let kept = guarded.kept();
    assert_eq!(kept.len(), 1);
    let mode = kept[0].metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let done = guarded.run(&["mcp", "tools", "agent.yaml", "--server", "guarded"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("look"), "{done:?}");
    // A second login asks again, and takes the place of the first.
    let (child, address) = guarded.login(&[]);
    come_back(&address, "code=canary-code");
    let done = finish(child);
    assert_eq!((done.code, guarded.kept().len()), (0, 1), "{done:?}");
    assert!(
        done.stdout
            .contains("logged in to guarded, which offers 1 tools"),
        "{done:?}"
    );

    let logout = ["mcp", "logout", "agent.yaml", "guarded"];
    let done = guarded.run(&[&logout[..], &["--json"]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(told, json!({ "server": "guarded", "logged_out": true }));
    assert!(guarded.kept().is_empty());
    let done = guarded.run(&logout);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stdout.contains("nobody was logged in to guarded"),
        "{done:?}"
    );
}

#[test]
fn a_login_that_comes_to_nothing_says_why_and_keeps_nothing() {
    let guarded = Guarded::new();
    let (child, address) = guarded.login(&[]);
    come_back(&address, "error=access_denied&error_description=canary");
    let done = finish(child);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("did not grant"), "{done:?}");
    says_nothing(&done);
    // A code that the authorisation server does not know.
    let (child, address) = guarded.login(&[]);
    come_back(&address, "code=canary-other");
    let done = finish(child);
    assert_eq!(done.code, 1, "{done:?}");
    says_nothing(&done);
    // Nobody comes back.
    let (child, _address) = guarded.login(&["--timeout", "1"]);
    let done = finish(child);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.stderr
            .contains("nobody came back from the browser within 1 s"),
        "{done:?}"
    );
    // The port that it wants is another's.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let done = guarded.run(&["mcp", "login", "agent.yaml", "guarded", "--port", &port]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("no port"), "{done:?}");
    // The authorisation server wants to know its clients beforehand.
    guarded.says("/register", "403 Forbidden", json!({ "error": "canary" }));
    let done = guarded.run(&["mcp", "login", "agent.yaml", "guarded"]);
    assert_eq!(done.code, 1, "{done:?}");
    says_nothing(&done);
    assert!(guarded.kept().is_empty());
}

#[test]
fn a_browser_is_opened_where_that_is_wanted_and_a_server_may_let_everybody_in() {
    let guarded = Guarded::new();
    guarded.place.write_tool(
        "bin/xdg-open",
        "#!/bin/sh\nprintf %s \"$1\" >opened.new && mv opened.new opened\n",
    );
    let mut command = guarded.command(&["mcp", "login", "agent.yaml", "guarded", "--open"]);
    let path = std::env::var("PATH").unwrap();
    let bin = guarded.place.path().join("bin");
    command.env("PATH", format!("{}:{path}", bin.display()));
    let child = command.spawn().unwrap();
    let opened = guarded.place.path().join("opened");
    crate::support::until(|| opened.exists());
    let address = fs::read_to_string(opened).unwrap();
    come_back(&address, "code=canary-code");
    let done = finish(child);
    assert_eq!(done.code, 0, "{done:?}");

    let done = guarded.run(&["mcp", "login", "agent.yaml", "open"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("open lets everybody in"), "{done:?}");
    let done = guarded.run(&["mcp", "login", "agent.yaml", "open", "--json"]);
    let told: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(told["logged_in"], false);
}

#[test]
fn what_cannot_be_meant_is_said_before_anybody_is_asked() {
    let guarded = Guarded::new();
    for (args, words) in [
        (&["login", "agent.yaml"][..], "SERVER"),
        (&["login", "agent.yaml", "nobody"], "nobody"),
        (&["login", "agent.yaml", "plain"], "type: oauth"),
        (&["login", "missing.yaml", "guarded"], "missing.yaml"),
        (
            &["login", "agent.yaml", "guarded", "--timeout", "0"],
            "--timeout",
        ),
        (
            &["login", "agent.yaml", "guarded", "--port", "65536"],
            "--port",
        ),
        (&["logout", "agent.yaml", "plain"], "type: oauth"),
        (&["logout", "agent.yaml", "nobody"], "nobody"),
    ] {
        let done = guarded.run(&[&["mcp"], args].concat());
        assert_eq!(done.code, 2, "{args:?} {done:?}");
        assert!(done.stderr.contains(words), "{args:?} {done:?}");
    }
    for which in ["login", "logout"] {
        let mut homeless = guarded.command(&["mcp", which, "agent.yaml", "guarded"]);
        homeless.env_remove("HOME").env_remove("XDG_DATA_HOME");
        let done = Done::of(homeless.output().unwrap());
        assert_eq!(done.code, 2, "{which} {done:?}");
        assert!(done.stderr.contains("XDG_DATA_HOME"), "{which} {done:?}");
    }
}

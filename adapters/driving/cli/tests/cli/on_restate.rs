//! The program with a Restate server for its runtime: each test has a server and handlers of its own.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::on_postgres::{OnServer, server};
use crate::support::{Done, Place, finish, kill, script, signal, until};

/// A server on data of its own. It is killed when this is dropped.
struct Server {
    _folder: TempDir,
    process: Child,
    ingress: u16,
    admin: u16,
}

impl Server {
    fn start() -> Self {
        /// Somebody else may take a port before the server does.
        const STARTS: u32 = 5;
        let mut starts = (0..STARTS).filter_map(|_start| Self::start_at(free_ports()));
        starts.next().unwrap()
    }

    /// The server on these ports, once it answers; `None`: it has ended.
    fn start_at([ingress, admin, node]: [u16; 3]) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        // A test that needs it is ignored where there is none, so it is there.
        let process = Command::new(std::env::var_os("SEAWORTHY_TEST_RESTATE_PROGRAM").unwrap())
            .env("RESTATE_NODE_NAME", "test")
            .env("RESTATE_BASE_DIR", folder.path())
            .env("RESTATE_BIND_IP", "127.0.0.1")
            .env("RESTATE_LISTEN_MODE", "tcp")
            .env("RESTATE_BIND_PORT", node.to_string())
            .env("RESTATE_INGRESS__BIND_PORT", ingress.to_string())
            .env("RESTATE_ADMIN__BIND_PORT", admin.to_string())
            .env("RESTATE_DEFAULT_NUM_PARTITIONS", "2")
            .env("RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE", "64MiB")
            .env("RESTATE_DISABLE_TELEMETRY", "true")
            // What is lost with the machine is the test's loss alone, and there are many tests.
            .env("RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_FSYNC", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self {
            _folder: folder,
            process,
            ingress,
            admin,
        };
        let mut has_ended = false;
        until(|| {
            has_ended = server.process.try_wait().unwrap().is_some();
            has_ended || is_well(ingress, "/restate/health") && is_well(admin, "/health")
        });
        (!has_ended).then_some(server)
    }

    fn runtime(&self) -> String {
        format!("restate:http://127.0.0.1:{}", self.ingress)
    }

    /// Serves the handlers, on a free port, and returns when the server knows them.
    fn handlers(&self, place: &Place) -> Child {
        let admin = format!("http://127.0.0.1:{}", self.admin);
        let mut handlers = place
            .command(&[
                "handlers",
                "--listen",
                "127.0.0.1:0",
                "--admin",
                &admin,
                "--json",
            ])
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = handlers.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert!(line.contains("handlers"), "{line}");
        handlers
    }
}

/// Ports at which nobody listens, below those that the system gives to connections.
fn free_ports() -> [u16; 3] {
    const FIRST: u16 = 10_000;
    const MANY: u64 = 20_000;
    // All at once, so that they differ.
    let listeners: [TcpListener; 3] = std::array::from_fn(|_| {
        loop {
            let port = FIRST + u16::try_from(RandomState::new().hash_one(0) % MANY).unwrap();
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                break listener;
            }
        }
    });
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn is_well(port: u16, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let asked = write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    );
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    asked.is_ok() && read.is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// The program with this runtime.
fn run(place: &Place, runtime: &str, args: &[&str]) -> Done {
    place.run(&[args, &["--runtime", runtime]].concat())
}

fn has_succeeded(place: &Place, run: &str) -> bool {
    place.show(run)["status"] == "succeeded"
}

fn end(process: Child) {
    signal(&process, "TERM");
    let done = finish(process);
    assert_eq!(done.code, 0, "{done:?}");
}

#[test]
#[cfg_attr(
    not(has_restate),
    ignore = "needs a Restate server: cargo xtask test starts one"
)]
fn a_run_that_parked_under_the_store_s_runtime_is_finished_under_restate() {
    let place = Place::with_script(&script(&["ask", "note"]));
    let asking = place.run(&["run", "agent.yaml", "--run-id", "r"]);
    assert_eq!(asking.code, 3, "{asking:?}");
    let server = Server::start();
    let handlers = server.handlers(&place);
    let runtime = server.runtime();
    // Restate does not know it yet; resuming makes it known, and it still waits.
    let resumed = run(&place, &runtime, &["resume", "r"]);
    assert_eq!(resumed.code, 3, "{resumed:?}");
    let worker = place.start(&["worker", "--runtime", &runtime]);
    let approved = run(&place, &runtime, &["approve", "r.c1"]);
    assert_eq!(approved.code, 0, "{approved:?}");
    assert!(
        approved.stderr.contains("seaworthy resume r "),
        "{approved:?}"
    );
    let flag = format!(" --runtime {runtime}");
    assert!(approved.stderr.contains(&flag), "{approved:?}");
    until(|| has_succeeded(&place, "r"));
    assert_eq!(place.lines("ask").len(), 1);
    assert_eq!(place.lines("note").len(), 1);
    assert_eq!(place.json(&["verify", "r"])["ok"], true);
    end(worker);
    end(handlers);
}

#[test]
#[cfg_attr(
    not(has_restate),
    ignore = "needs a Restate server: cargo xtask test starts one"
)]
fn a_worker_that_was_killed_is_replaced_and_nothing_is_done_twice() {
    let place = Place::with_script(&script(&["sure", "note"]));
    let server = Server::start();
    let handlers = server.handlers(&place);
    let runtime = server.runtime();
    let worker = place.start(&["worker", "--runtime", &runtime]);
    let run_it = ["run", "agent.yaml", "--run-id", "r", "--detach"];
    let submitted = run(&place, &runtime, &run_it);
    assert_eq!(submitted.code, 0, "{submitted:?}");
    until(|| !place.lines("sure").is_empty());
    kill(worker);
    place.write("work/go", "");
    let heir = place.start(&["worker", "--runtime", &runtime]);
    until(|| has_succeeded(&place, "r"));
    assert_eq!(place.lines("sure").len(), 1);
    assert_eq!(place.json(&["verify", "r"])["ok"], true);
    end(heir);
    end(handlers);
}

#[test]
#[cfg_attr(
    not(has_restate),
    ignore = "needs a Restate server: cargo xtask test starts one"
)]
fn handlers_that_were_killed_are_replaced_at_another_address() {
    let place = Place::with_script(&script(&["ask"]));
    let server = Server::start();
    let first = server.handlers(&place);
    let runtime = server.runtime();
    let asking = run(&place, &runtime, &["run", "agent.yaml", "--run-id", "r"]);
    assert_eq!(asking.code, 3, "{asking:?}");
    kill(first);
    let second = server.handlers(&place);
    assert_eq!(run(&place, &runtime, &["approve", "r.c1"]).code, 0);
    let resumed = run(&place, &runtime, &["resume", "r"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(place.lines("ask").len(), 1);
    end(second);
}

#[test]
#[cfg_attr(
    not(has_restate),
    ignore = "needs a Restate server: cargo xtask test starts one"
)]
fn doctor_shows_the_store_and_the_runtime_and_whether_it_answers() {
    let place = Place::with_script(&script(&[]));
    let server = Server::start();
    let runtime = server.runtime();
    let doctor = || -> Value {
        let done = run(&place, &runtime, &["doctor", "--json"]);
        serde_json::from_str(&done.stdout).unwrap()
    };
    let without = doctor();
    assert_eq!(without["runtime"]["url"], runtime.as_str());
    assert!(without["runtime"]["trouble"].is_string(), "{without}");
    let handlers = server.handlers(&place);
    let with = doctor();
    assert!(with["runtime"]["trouble"].is_null(), "{with}");
    assert_eq!(with["adapters"][0]["port"], "state_store");
    assert_eq!(with["adapters"][0]["id"], "sqlite");
    assert_eq!(with["adapters"][1]["port"], "durable_runtime");
    assert_eq!(with["adapters"][1]["id"], "restate");
    end(handlers);
}

/// What passes on its way to a database server is counted.
struct Passage {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Passage {
    fn to(server: &str) -> Self {
        let (_user, rest) = server.split_once('@').unwrap();
        let server = rest.split_once('/').unwrap().0.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bytes = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&bytes);
        std::thread::spawn(move || {
            for asking in listener.incoming() {
                let (asking, answering) = (asking.unwrap(), TcpStream::connect(&server).unwrap());
                let back = (answering.try_clone().unwrap(), asking.try_clone().unwrap());
                let (there, none) = (Arc::clone(&count), Arc::default());
                std::thread::spawn(move || pass(asking, answering, &there));
                std::thread::spawn(move || pass(back.0, back.1, &none));
            }
        });
        Self { address, bytes }
    }
}

/// Until either side ends.
fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(many @ 1..) = from.read(&mut bytes) {
        count.fetch_add(many as u64, Ordering::SeqCst);
        if to.write_all(&bytes[..many]).is_err() {
            break;
        }
    }
    let _ended = to.shutdown(std::net::Shutdown::Both);
}

#[test]
#[cfg_attr(
    not(all(has_restate, has_postgres)),
    ignore = "needs a Restate and a PostgreSQL server: cargo xtask test starts both"
)]
fn idle_workers_on_a_server_are_told_by_restate_and_ask_nobody() {
    /// Several times as long as whoever polls would wait.
    const IDLE: Duration = Duration::from_secs(5);
    let passage = Passage::to(&server());
    let here = OnServer::with_script(&script(&["note", "ask"])).called_at(passage.address);
    let restate = Server::start();
    let handlers = restate.handlers(&here.place);
    let runtime = restate.runtime();
    let with = |args: &[&str]| here.run(&[args, &["--runtime", &runtime]].concat());
    assert_eq!(here.run(&["migrate"]).code, 0);
    let worker = || here.start(&["worker", "--runtime", &runtime]);
    let workers = [worker(), worker()];
    for run in ["r0", "r1", "r2"] {
        let submitted = with(&["run", "agent.yaml", "--run-id", run, "--detach"]);
        assert_eq!(submitted.code, 0, "{submitted:?}");
    }
    let all = |status: &str| {
        let runs = here.json(&["runs", "--status", status]);
        runs.as_array().unwrap().len() == 3
    };
    until(|| all("waiting"));
    // What the turns left to do, they do at once.
    let still = || {
        let before = passage.bytes.load(Ordering::SeqCst);
        std::thread::sleep(IDLE);
        passage.bytes.load(Ordering::SeqCst) == before
    };
    until(still);
    for approval in here.json(&["approvals"]).as_array().unwrap() {
        let approved = with(&["approve", approval["approval_id"].as_str().unwrap()]);
        assert_eq!(approved.code, 0, "{approved:?}");
    }
    until(|| all("succeeded"));
    assert_eq!(here.place.lines("note").len(), 3);
    assert_eq!(here.place.lines("ask").len(), 3);
    workers.into_iter().for_each(end);
    end(handlers);
}

#[test]
fn a_runtime_that_is_none_or_outlives_its_store_is_refused() {
    let place = Place::with_script(&script(&[]));
    for args in [
        &[
            "runs",
            "--runtime",
            "restate:nowhere",
            "--store",
            "sqlite:x.db",
        ][..],
        &[
            "run",
            "agent.yaml",
            "--runtime",
            "restate:http://127.0.0.1:1",
            "--store",
            "memory:",
        ],
    ] {
        let done = place.run(args);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.contains("--runtime"), "{done:?}");
    }
}

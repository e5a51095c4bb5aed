//! What the tests of this crate share: a server of a test's own, and handlers that it calls.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::DurableRuntime;
use seaworthy_ports::{Latch, LatchSetter};
use seaworthy_restate::{Handlers, Restate, RestateConfig, register};
use seaworthy_system::SystemClock;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// How often another server is started where one ended at once: somebody else may have taken one of its ports.
const STARTS: u32 = 5;

#[cfg(has_restate)]
const PROGRAM: &str = env!("SEAWORTHY_TEST_RESTATE_PROGRAM");
#[cfg(not(has_restate))]
const PROGRAM: &str = "";

/// A server on data of its own, and its handlers in this process.
pub(crate) struct Server {
    folder: TempDir,
    ports: [u16; 3],
    syncs: bool,
    process: Mutex<Child>,
    handlers: Mutex<Option<Serving>>,
}

struct Serving {
    address: SocketAddr,
    stop: LatchSetter,
    thread: JoinHandle<()>,
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

impl Server {
    /// A fresh server that answers and knows the handlers.
    ///
    /// What is lost with the machine is the test's loss alone, and there are many tests: it does not sync.
    pub(crate) async fn start() -> Self {
        Self::start_that_syncs(false).await
    }

    /// The same, which survives the loss of power if `syncs`, as a server does unless told otherwise.
    pub(crate) async fn start_that_syncs(syncs: bool) -> Self {
        let mut starts = 0;
        loop {
            let folder = TempDir::new().expect("a folder");
            let ports = free_ports();
            let process = Mutex::new(started(&folder, ports, syncs));
            let server = Self {
                folder,
                ports,
                syncs,
                process,
                handlers: Mutex::default(),
            };
            if server.answers().await {
                server.serve_handlers().await;
                return server;
            }
            starts += 1;
            assert!(starts < STARTS, "a server that stays alive: {PROGRAM}");
        }
    }

    pub(crate) fn ingress(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    pub(crate) fn admin(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[1])
    }

    /// Another handle on the same runtime, as another process would have.
    pub(crate) fn runtime(&self) -> Arc<dyn DurableRuntime> {
        runtime(&self.ingress(), clock())
    }

    /// Kills it in the middle of whatever it does, and starts it again on its data.
    pub(crate) async fn crash(&self) {
        self.kill();
        *self.process.lock().expect("no panic") = started(&self.folder, self.ports, self.syncs);
        assert!(self.answers().await, "a server that is alive again");
    }

    pub(crate) fn kill(&self) {
        let mut process = self.process.lock().expect("no panic");
        process.kill().expect("a process");
        process.wait().expect("its end");
    }

    /// What it has in memory, in kilobytes.
    pub(crate) fn memory(&self) -> u64 {
        let id = self.process.lock().expect("no panic").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix("kB"));
        number.expect("a size").trim().parse().expect("a number")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.process.lock().expect("no panic").id();
        let id = i32::try_from(id).ok().and_then(Pid::from_raw);
        kill_process(id.expect("an id"), signal).expect("a signal");
    }

    /// Serves the handlers on a thread of their own, so that nothing that a test does to its own threads stops them.
    pub(crate) async fn serve_handlers(&self) {
        let (stop, stopped) = Latch::new();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let free = SocketAddr::from(([127, 0, 0, 1], 0));
                let handlers = Handlers::bind(free).await.expect("a port");
                tell.send(handlers.address()).expect("a test");
                let served = handlers.serve(clock(), None, stopped).await;
                served.expect("handlers");
            });
        });
        let address = told.recv().expect("an address");
        let serving = Serving {
            address,
            stop,
            thread,
        };
        *self.handlers.lock().expect("no panic") = Some(serving);
        let uri = format!("http://{address}");
        let registered = register(&self.admin(), None, &uri).await;
        registered.expect("a registration");
    }

    /// Takes the handlers away, in order.
    pub(crate) fn stop_handlers(&self) {
        if let Some(serving) = self.handlers.lock().expect("no panic").take() {
            serving.stop.set();
            serving.thread.join().expect("no panic");
        }
    }

    /// Waits until it answers; `false`: it has ended.
    async fn answers(&self) -> bool {
        let client = tokio::net::TcpStream::connect;
        let deadline = Instant::now() + PATIENCE;
        for (port, path) in [
            (self.ports[0], "/restate/health"),
            (self.ports[1], "/health"),
        ] {
            loop {
                if let Ok(stream) = client(("127.0.0.1", port)).await
                    && is_well(stream, path).await
                {
                    break;
                }
                assert!(Instant::now() < deadline, "a server that answers");
                tokio::time::sleep(Duration::from_millis(20)).await;
                let ended = self.process.lock().expect("no panic").try_wait();
                if ended.expect("a process").is_some() {
                    return false;
                }
            }
        }
        true
    }
}

async fn is_well(mut stream: tokio::net::TcpStream, path: &str) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let question = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let asked = stream.write_all(question.as_bytes()).await;
    let read = stream.read_to_string(&mut answer).await;
    asked.is_ok() && read.is_ok() && answer.starts_with("HTTP/1.1 200")
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut process = self.process.lock().expect("no panic");
        // Fails where it has ended, which is what is wanted.
        let _ended = process.kill();
        let _reaped = process.wait();
        if let Some(serving) = self.handlers.lock().expect("no panic").take() {
            serving.stop.set();
        }
    }
}

pub(crate) fn runtime(ingress: &str, clock: Arc<dyn Clock>) -> Arc<dyn DurableRuntime> {
    Arc::new(Restate::new(RestateConfig::new(ingress), clock).expect("an address"))
}

/// Ports at which nobody listens, below those that the system gives to connections: whoever is started there again finds
/// them free.
fn free_ports() -> [u16; 3] {
    const FIRST: u16 = 10_000;
    const MANY: u64 = 20_000;
    // All at once, so that they differ.
    let listeners: [TcpListener; 3] = std::array::from_fn(|_| {
        loop {
            let any = RandomState::new().hash_one(0) % MANY;
            let port = FIRST + u16::try_from(any).expect("a port");
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                break listener;
            }
        }
    });
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

fn started(folder: &TempDir, [ingress, admin, node]: [u16; 3], syncs: bool) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.path().join("log"));
    Command::new(PROGRAM)
        .env("RESTATE_NODE_NAME", "test")
        .env("RESTATE_BASE_DIR", folder.path().join("data"))
        .env("RESTATE_BIND_IP", "127.0.0.1")
        .env("RESTATE_LISTEN_MODE", "tcp")
        .env("RESTATE_BIND_PORT", node.to_string())
        .env("RESTATE_INGRESS__BIND_PORT", ingress.to_string())
        .env("RESTATE_ADMIN__BIND_PORT", admin.to_string())
        .env("RESTATE_DEFAULT_NUM_PARTITIONS", "2")
        .env("RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE", "64MiB")
        .env("RESTATE_DISABLE_TELEMETRY", "true")
        .env(
            "RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_FSYNC",
            (!syncs).to_string(),
        )
        .stdin(Stdio::null())
        .stdout(log.expect("a log"))
        .stderr(Stdio::null())
        .spawn()
        .expect("a server")
}

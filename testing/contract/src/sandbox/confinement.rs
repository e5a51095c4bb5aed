//! SB-5: what commands can escape must match what is declared to be enforced, both ways.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_ports::sandbox::SandboxSession;

use super::Harness;
use super::policies::strictest;
use super::world::{CANARY, World, env, ran, sh, text};
use crate::outcome::{Halt, Outcome, broken, holds, ok, same};
use crate::process::inside;

/// Opens a session that asks for all that is declared.
async fn confined(world: &World) -> Result<Arc<dyn SandboxSession>, Halt> {
    let mut spec = world.ground.spec(1)?;
    spec.policy = strictest(world.sandbox.capabilities());
    let outside = text(&world.outside())?;
    let host = std::process::id().to_string();
    spec.env
        .extend(env([("OUTSIDE", &*outside), ("HOST", &*host)]));
    world.open_with(spec).await
}

/// None may pass if that is declared, and some must if not.
fn matches(capability: &str, is_declared: bool, ways: &str, passed: &[&str]) -> Outcome {
    if is_declared {
        let did = format!("let commands try {ways}, which is declared to be impossible");
        return same(did, passed, &[]);
    }
    holds(
        !passed.is_empty(),
        format!("let commands try {ways}"),
        format!("{capability} declared, for nothing gets out"),
        "it is not declared",
    )
}

/// SB-5.
pub async fn what_commands_can_read_outside_is_what_is_declared<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = confined(&world).await?;
    // Where nothing can be read at all, nothing that fails proves anything.
    ok(
        "wrote a file",
        session.write("inside", Bytes::from_static(b"mine")).await,
    )?;
    let read = ran(&*session, sh("cat inside")).await?;
    same(
        "read a file of the workspace with a command",
        &read.stdout.bytes[..],
        b"mine",
    )?;
    // What this process was started with, if the system shows it.
    let environment = fs::read("/proc/self/environ").unwrap_or_default();
    let ways = [
        ("an absolute path", r#"cat "$OUTSIDE/canary""#),
        ("a parent path", "cat ../outside/canary"),
        (
            "a symbolic link",
            r#"ln -s "$OUTSIDE" link; cat link/canary"#,
        ),
        ("/proc/self/root", r#"cat "/proc/self/root$OUTSIDE/canary""#),
        (
            "the root of the process that has opened the session",
            r#"cat "/proc/$HOST/root$OUTSIDE/canary""#,
        ),
        (
            "a link that is swapped while it is used",
            r#"mkdir spot; i=0; while [ $i -lt 50 ]; do
                 ln -s "$OUTSIDE" spot/link; cat spot/link/canary && break
                 rm spot/link; i=$((i + 1)); done"#,
        ),
        (
            "the environment of the process that has opened the session",
            r#"cat "/proc/$HOST/environ""#,
        ),
    ];
    let mut passed = Vec::new();
    for (way, script) in ways {
        let said = ran(&*session, sh(script)).await?.stdout.bytes;
        let is_environment = !environment.is_empty() && said == environment;
        if said == CANARY || is_environment {
            passed.push(way);
        }
    }
    let is_declared = world.sandbox.capabilities().filesystem_read;
    matches("filesystem_read", is_declared, "to read outside", &passed)
}

/// SB-5.
pub async fn what_commands_can_write_outside_is_what_is_declared<H: Harness>(
    harness: H,
) -> Outcome {
    let world = World::new(&harness)?;
    let session = confined(&world).await?;
    let wrote = ran(&*session, sh("echo >inside")).await?;
    let found = ok("asked for a file", session.stat("inside").await)?;
    holds(
        found.is_some(),
        "wrote a file of the workspace with a command",
        "the file",
        wrote.status,
    )?;
    let ways = [
        ("an absolute path", r#"echo >"$OUTSIDE/NEW""#),
        ("a parent path", "echo >../outside/NEW"),
        (
            "a symbolic link",
            r#"ln -s "$OUTSIDE" link; echo >link/NEW"#,
        ),
        ("/proc/self/root", r#"echo >"/proc/self/root$OUTSIDE/NEW""#),
        (
            "the root of the process that has opened the session",
            r#"echo >"/proc/$HOST/root$OUTSIDE/NEW""#,
        ),
        ("a move", r#"echo >moved; mv moved "$OUTSIDE/NEW""#),
        ("a removal", r#"rm "$OUTSIDE/canary" && echo >removed"#),
    ];
    let mut passed = Vec::new();
    for (way, script) in ways {
        let new = world.outside().join("NEW");
        ran(&*session, sh(script)).await?;
        // On this side: what a command believes to be outside may be a place of its own.
        if new.exists() || !world.outside().join("canary").exists() {
            passed.push(way);
        }
        let _absent_if_refused = fs::remove_file(new);
    }
    let is_declared = world.sandbox.capabilities().filesystem_write;
    matches("filesystem_write", is_declared, "to write outside", &passed)
}

/// What waits outside to be reached.
struct Shore {
    tcp: TcpListener,
    udp: UdpSocket,
    #[cfg(target_os = "linux")]
    name: (String, std::os::unix::net::UnixListener),
}

impl Shore {
    fn new(world: &World) -> Result<Self, Halt> {
        Self::bind(world).map_err(|error| broken("listened on the loopback", "success", error))
    }

    fn bind(world: &World) -> std::io::Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        tcp.set_nonblocking(true)?;
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        udp.set_nonblocking(true)?;
        #[cfg(target_os = "linux")]
        let name = {
            use std::os::linux::net::SocketAddrExt as _;
            use std::os::unix::net::{SocketAddr, UnixListener};

            let name = world.outside().to_string_lossy().replace(['/', ' '], "_");
            let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
            listener.set_nonblocking(true)?;
            (name, listener)
        };
        #[cfg(not(target_os = "linux"))]
        let _no_abstract_names = world;
        Ok(Self {
            tcp,
            udp,
            #[cfg(target_os = "linux")]
            name,
        })
    }

    /// What a process in the sandbox is asked to do.
    fn job(&self) -> std::io::Result<String> {
        let (tcp, udp) = (self.tcp.local_addr()?, self.udp.local_addr()?);
        #[cfg(target_os = "linux")]
        let job = format!("reach tcp={tcp} udp={udp} abstract={}", self.name.0);
        #[cfg(not(target_os = "linux"))]
        let job = format!("reach tcp={tcp} udp={udp}");
        Ok(job)
    }

    /// What has come.
    fn reached(&self) -> Vec<&'static str> {
        let mut reached = Vec::new();
        if self.tcp.accept().is_ok() {
            reached.push("a connection to the loopback");
        }
        if self.udp.recv(&mut [0; 8]).is_ok() {
            reached.push("a datagram to the loopback, as a question for a name is one");
        }
        #[cfg(target_os = "linux")]
        if self.name.1.accept().is_ok() {
            reached.push("a connection to an abstract socket");
        }
        reached
    }
}

/// How long a process in the sandbox waits for an answer.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(3);

/// Tries in a process in the sandbox to get out, and leaves the file `tried` in its folder.
pub(super) fn reach(targets: &[String]) -> Outcome {
    for target in targets {
        // What is refused has not got out, and the other side sees what has.
        let _got_out_or_not = match target.split_once('=') {
            Some(("tcp", address)) => address
                .parse()
                .map(|address| std::net::TcpStream::connect_timeout(&address, ANSWER).map(drop)),
            Some(("udp", address)) => Ok(UdpSocket::bind("127.0.0.1:0")
                .and_then(|socket| socket.send_to(b"x", address).map(drop))),
            #[cfg(target_os = "linux")]
            Some(("abstract", name)) => Ok(reach_abstract(name)),
            _ => Ok(Ok(())),
        };
    }
    let tried = fs::write("tried", "");
    tried.map_err(|error| broken("wrote into the workspace", "success", error))
}

#[cfg(target_os = "linux")]
fn reach_abstract(name: &str) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixStream};

    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop)
}

/// SB-5.
pub async fn what_commands_can_reach_by_network_is_what_is_declared<H: Harness>(
    harness: H,
) -> Outcome {
    let world = World::new(&harness)?;
    let enforced = world.sandbox.capabilities();
    let session = confined(&world).await?;
    let command = world.ground.tell(harness.another_process());
    let command = command.ok_or(Halt::NotCheckable("the harness starts no process"))?;
    let shore = Shore::new(&world)?;
    let job = shore.job();
    let job = job.map_err(|error| broken("looked where it listens", "addresses", error))?;
    let mut exec = inside(&command, &job).ok_or(Halt::NotCheckable(
        "the command of a process of the harness is no UTF-8",
    ))?;
    if enforced.filesystem_read
        && let Some(program) = exec.argv.first_mut()
    {
        let copied = fs::copy(&program, world.work().join("program"));
        copied.map_err(|error| broken("copied a program into the workspace", "success", error))?;
        "./program".clone_into(program);
    }
    let _says_nothing = ran(&*session, exec).await?;
    let tried = ok("asked for a file", session.stat("tried").await)?;
    if tried.is_none() {
        return Err(Halt::NotCheckable(
            "the program of the harness does not run in the sandbox",
        ));
    }
    matches(
        "network",
        enforced.network,
        "to reach the host's network",
        &shore.reached(),
    )
}

//! One server: its folder, its process, its log.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::account::Account;
use super::install::installed;
use crate::failure::Failure;

/// The most that making a server's data may take, on a machine that does much else.
const PREPARING: Duration = Duration::from_secs(120);
/// The most that a server may take until it answers; after a crash it reads its log first, and some read a lot of code
/// before.
const STARTING: Duration = Duration::from_secs(300);
/// The most that a server may take to answer whether it is there.
const ANSWERING: Duration = Duration::from_secs(1);
/// How often another port is tried: between finding a free one and using it, somebody else may take it.
const PORTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);
/// What is shown of the log of a server that failed.
const LINES_SHOWN: usize = 30;

/// What a kind of server is made of.
pub(super) trait Service: Debug + Send {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// The commands that make its data, in order. They run as the server's account.
    fn prepare(&mut self, place: &Place) -> Result<Vec<Command>, Failure>;

    /// The command that is the server: it stays in the foreground and writes its log to its outputs.
    fn command(&self, place: &Place, port: u16) -> Command;

    /// Whether it refuses to run as root; most do not.
    fn refuses_root(&self) -> bool {
        false
    }

    /// Whether it answers.
    fn is_ready(&self, place: &Place, port: u16) -> bool;

    /// Where clients find it: at the port, unless it says more.
    fn url(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }

    /// The signals that stop it, with how long each may take. SIGKILL comes last by itself.
    fn stop(&self) -> &'static [(Signal, Duration)];

    /// The signal that ends it at once, as a crash would, with its children.
    fn crash(&self) -> Signal {
        Signal::KILL
    }
}

/// The folder of a server.
#[derive(Clone, Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// Where the server keeps what it keeps.
    pub(super) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The end of the log.
    fn said(&self) -> String {
        let bytes = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(LINES_SHOWN);
        lines
            .get(from..)
            .unwrap_or_default()
            .iter()
            .map(|line| format!("    {line}\n"))
            .collect()
    }

    /// Removes everything.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        fs::remove_dir_all(&self.0)
            .map_err(|error| Failure::new(format!("{} is left behind: {error}", self.0.display())))
    }
}

/// A server that answers.
#[derive(Debug)]
pub(super) struct Server {
    service: Box<dyn Service>,
    account: Account,
    place: Place,
    port: u16,
    child: Child,
    /// Whether it ends with this process, even where this process is killed.
    is_bound: bool,
}

impl Server {
    /// Makes the data and starts the server, on `port` if that is free.
    pub(super) fn start(
        mut service: Box<dyn Service>,
        port: Option<u16>,
        is_bound: bool,
    ) -> Result<Self, Failure> {
        let account = if service.refuses_root() {
            Account::without_rights()?
        } else {
            Account::Same
        };
        let prefix = format!("seaworthy-{}-", service.name());
        let folder = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir()
            .map_err(|error| Failure::new(format!("no folder for a server: {error}")))?;
        let place = Place::at(folder.path());
        account.own(place.folder())?;
        for mut command in service.prepare(&place)? {
            account.applied_to(&mut command);
            finish(command, &place, service.name())?;
        }
        let mut wanted = port;
        let mut tries = 0;
        let (child, port) = loop {
            let port = free_port(wanted.take())?;
            tries += 1;
            match launch(&*service, account, &place, port, is_bound) {
                Ok(child) => break (child, port),
                Err(_another) if tries < PORTS && is_taken(port) => {}
                Err(failure) => return Err(failure),
            }
        };
        // From here on it is removed when the server is stopped.
        let _path = folder.keep();
        Ok(Self {
            service,
            account,
            place,
            port,
            child,
            is_bound,
        })
    }

    pub(super) fn url(&self) -> String {
        self.service.url(self.port)
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Ends it as a crash would and starts it again on the same data and port.
    pub(super) fn restart(&mut self) -> Result<(), Failure> {
        let crash = [(self.service.crash(), STARTING)];
        end(&mut self.child, &crash)?;
        self.child = launch(
            &*self.service,
            self.account,
            &self.place,
            self.port,
            self.is_bound,
        )?;
        Ok(())
    }

    /// Stops it and removes its folder.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        end(&mut self.child, self.service.stop())?;
        self.place.remove()
    }
}

/// Starts the process and waits until it answers.
fn launch(
    service: &dyn Service,
    account: Account,
    place: &Place,
    port: u16,
    is_bound: bool,
) -> Result<Child, Failure> {
    let name = service.name();
    let mut command = service.command(place, port);
    if is_bound {
        command = bound(command, service.crash());
    }
    account.applied_to(&mut command);
    with_log(&mut command, place)?;
    // Ctrl-C is for whoever uses the server.
    command.process_group(0);
    let mut child = spawn(command, name)?;
    let until = Instant::now() + STARTING;
    loop {
        if let Some(status) = ended(&mut child)? {
            return Err(Failure::new(format!(
                "{name} ended while it started, with {status}. It said:\n{}",
                place.said()
            )));
        }
        if service.is_ready(place, port) {
            return Ok(child);
        }
        if Instant::now() >= until {
            end(&mut child, service.stop())?;
            return Err(Failure::new(format!(
                "{name} did not answer within {} s. It said:\n{}",
                STARTING.as_secs(),
                place.said()
            )));
        }
        sleep(PAUSE);
    }
}

/// The same command, ended by `signal` when the thread that starts it ends, as far as the system has the means. Its outputs
/// are set afterwards; the account is switched before, because the kernel forgets the signal when it
/// is switched behind.
pub(crate) fn bound(command: Command, signal: Signal) -> Command {
    let Some(setpriv) = installed("setpriv") else {
        return command;
    };
    let mut wrapped = Command::new(setpriv);
    wrapped
        .args(["--pdeathsig", name(signal), "--"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

/// What `setpriv` calls a signal.
const fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::INT => "INT",
        Signal::QUIT => "QUIT",
        Signal::TERM => "TERM",
        _ => "KILL",
    }
}

/// Runs a command to its end, within bounds.
fn finish(mut command: Command, place: &Place, name: &str) -> Result<(), Failure> {
    with_log(&mut command, place)?;
    let mut child = spawn(command, name)?;
    let until = Instant::now() + PREPARING;
    let status = loop {
        match ended(&mut child)? {
            Some(status) => break Some(status),
            None if Instant::now() >= until => {
                end(&mut child, &[])?;
                break None;
            }
            None => sleep(PAUSE),
        }
    };
    match status {
        Some(status) if status.success() => Ok(()),
        ended => {
            let how = ended.map_or("no end".to_owned(), |status| status.to_string());
            Err(Failure::new(format!(
                "the data of {name} cannot be made in {}: {how}. It said:\n{}",
                place.folder().display(),
                place.said()
            )))
        }
    }
}

fn with_log(command: &mut Command, place: &Place) -> Result<(), Failure> {
    let path = place.log();
    let failed = |error| Failure::new(format!("{}: {error}", path.display()));
    let log =
        || -> std::io::Result<File> { OpenOptions::new().create(true).append(true).open(&path) };
    command
        .current_dir(place.folder())
        .stdin(Stdio::null())
        .stdout(log().map_err(failed)?)
        .stderr(log().map_err(failed)?);
    Ok(())
}

fn spawn(mut command: Command, name: &str) -> Result<Child, Failure> {
    command
        .spawn()
        .map_err(|error| Failure::new(format!("{name} cannot be started: {error}")))
}

fn ended(child: &mut Child) -> Result<Option<ExitStatus>, Failure> {
    child
        .try_wait()
        .map_err(|error| Failure::new(format!("wait: {error}")))
}

/// Ends a process with one signal after the other, the last of them SIGKILL.
fn end(child: &mut Child, signals: &[(Signal, Duration)]) -> Result<(), Failure> {
    for (signal, patience) in signals {
        if let Some(process) = pid(child.id()) {
            // Fails where it has ended, which is what is wanted.
            let _gone = kill_process(process, *signal);
        }
        let until = Instant::now() + *patience;
        while Instant::now() < until {
            if ended(child)?.is_some() {
                return Ok(());
            }
            sleep(PAUSE);
        }
    }
    let _gone = child.kill();
    child
        .wait()
        .map(|_status| ())
        .map_err(|error| Failure::new(format!("wait: {error}")))
}

/// Whether a server of HTTP on this port answers a `GET` of `path` with status 200.
pub(super) fn answers(port: u16, path: &str) -> bool {
    let asked = || -> std::io::Result<bool> {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut connection = TcpStream::connect_timeout(&address, ANSWERING)?;
        connection.set_read_timeout(Some(ANSWERING))?;
        connection.set_write_timeout(Some(ANSWERING))?;
        // In one piece: `write!` sends each part by itself, and a server that answers after the first resets the rest.
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        let mut status = [0; 12];
        connection.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    asked().unwrap_or(false)
}

pub(super) fn pid(process: u32) -> Option<Pid> {
    i32::try_from(process).ok().and_then(Pid::from_raw)
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

/// `wanted` if it is free, else one that the system chooses.
fn free_port(wanted: Option<u16>) -> Result<u16, Failure> {
    if let Some(port) = wanted.filter(|port| listen(*port).is_ok()) {
        return Ok(port);
    }
    listen(0)
        .and_then(|socket| socket.local_addr())
        .map(|address| address.port())
        .map_err(|error| Failure::new(format!("no free port on the loopback interface: {error}")))
}

/// Whether somebody listens on this port.
pub(super) fn is_taken(port: u16) -> bool {
    listen(port).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that answers once it has written `ready`, and counts its starts.
    #[derive(Debug)]
    struct Shell(&'static str);

    const GOOD: &str =
        "trap 'exit 0' TERM; echo started >>count; touch ready; while :; do sleep 0.01; done";

    impl Service for Shell {
        fn name(&self) -> &'static str {
            "shell"
        }

        fn prepare(&mut self, _place: &Place) -> Result<Vec<Command>, Failure> {
            let mut command = Command::new("sh");
            command.args(["-c", "echo prepared >count"]);
            Ok(vec![command])
        }

        fn command(&self, _place: &Place, _port: u16) -> Command {
            let mut command = Command::new("sh");
            command.args(["-c", self.0]);
            command
        }

        fn refuses_root(&self) -> bool {
            true
        }

        fn is_ready(&self, place: &Place, _port: u16) -> bool {
            place.folder().join("ready").exists()
        }

        fn url(&self, port: u16) -> String {
            format!("shell://127.0.0.1:{port}")
        }

        fn stop(&self) -> &'static [(Signal, Duration)] {
            const { &[(Signal::TERM, Duration::from_secs(30))] }
        }

        fn crash(&self) -> Signal {
            Signal::KILL
        }
    }

    #[test]
    fn a_server_is_started_started_again_and_stopped_and_leaves_nothing() {
        let mut server = Server::start(Box::new(Shell(GOOD)), None, true).unwrap();
        let (folder, port) = (server.place().folder().to_path_buf(), server.port());
        fs::remove_file(folder.join("ready")).unwrap();
        server.restart().unwrap();
        let count = fs::read_to_string(folder.join("count")).unwrap();
        assert_eq!(count, "prepared\nstarted\nstarted\n");
        assert_eq!(server.url(), format!("shell://127.0.0.1:{port}"));
        server.stop().unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_server_that_ends_while_it_starts_is_told_with_its_log() {
        let failure = Server::start(Box::new(Shell("echo no room; exit 3")), None, false);
        let told = failure.unwrap_err().to_string();
        assert!(told.contains("no room") && told.contains('3'), "{told}");
    }

    #[test]
    fn only_status_200_is_an_answer() {
        for (said, expected) in [("200 OK", true), ("503 Loading", false), ("", false)] {
            let socket = listen(0).unwrap();
            let port = socket.local_addr().unwrap().port();
            let answering = std::thread::spawn(move || {
                let (mut connection, _peer) = socket.accept().unwrap();
                let mut asked = [0; 256];
                let _length = connection.read(&mut asked).unwrap();
                let answer = format!("HTTP/1.1 {said}\r\n\r\n");
                connection.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(answers(port, "/health"), expected, "{said}");
            answering.join().unwrap();
        }
    }

    #[test]
    fn a_port_that_is_taken_is_not_insisted_on() {
        let taken = listen(0).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(is_taken(port));
        assert_ne!(free_port(Some(port)).unwrap(), port);
        let free = free_port(None).unwrap();
        assert_eq!(free_port(Some(free)).unwrap(), free);
    }
}

//! A process that holds one server for another process, and stops it when that one ends, however it ends.
//!
//! What binds them is a pipe: the supervisor reads its standard input, which ends with whoever holds the other end. Each
//! answer is one line of JSON on its standard output.

use std::io::{BufRead as _, BufReader, Write as _, stdin, stdout};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::Kind;
use super::server::Server;
use super::standing::Standing;
use crate::failure::Failure;

/// The supervisor keeps to bounds of its own; this is longer than them.
const PATIENCE: Duration = Duration::from_secs(480);
const RESTART: &str = "restart";

/// Holds a server until standard input ends.
pub(super) fn supervise(kind: Kind, standing: &Standing) -> Result<(), Failure> {
    let mut server = match Server::start(kind.service(), standing.port(kind), true) {
        Ok(server) => server,
        Err(failure) => {
            answer(&Err(failure));
            return Ok(());
        }
    };
    // Without it the next server has another port, which is no more than slow.
    let _unkept = standing.remember_port(kind, server.port());
    answer(&Ok(server.url()));
    for line in stdin().lock().lines() {
        match line.as_deref() {
            Ok(RESTART) => answer(&server.restart().map(|()| server.url())),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    server.stop()
}

fn answer(result: &Result<String, Failure>) {
    let line = match result {
        Ok(url) => json!({ "url": url }),
        Err(failure) => json!({ "error": failure.to_string() }),
    };
    // Whoever asked may have ended; then standard input ends too.
    let _unread = writeln!(stdout(), "{line}").and_then(|()| stdout().flush());
}

/// A server that a supervisor holds for this process.
#[derive(Debug)]
pub(crate) struct Supervised {
    child: Child,
    /// Closed, it ends the supervisor.
    requests: Option<ChildStdin>,
    answers: Receiver<String>,
    url: String,
}

impl Supervised {
    /// Starts a server, whose programs must be there. It is told where the servers are that were `found` before.
    pub(super) fn start(
        kind: Kind,
        standing: &Standing,
        found: &[(Kind, String)],
    ) -> Result<Self, Failure> {
        let failed = |error| Failure::new(format!("no supervisor can be started: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .args(["services", "supervise", kind.name(), "--standing"])
            .arg(standing.folder())
            .envs(found.iter().map(|(kind, url)| (kind.variable(), url)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C ends this process, and with it the pipe.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let requests = child.stdin.take();
        let (sender, answers) = channel();
        if let Some(output) = child.stdout.take() {
            let _ends_with_the_pipe = thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let mut supervised = Self {
            child,
            requests,
            answers,
            url: String::new(),
        };
        supervised.url = supervised.answer()?;
        Ok(supervised)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends the server as a crash would, and starts it again on its data.
    pub(crate) fn restart(&mut self) -> Result<(), Failure> {
        let asked = match &mut self.requests {
            Some(requests) => writeln!(requests, "{RESTART}").and_then(|()| requests.flush()),
            None => return Err(Failure::new("the supervisor was stopped before")),
        };
        asked.map_err(|error| Failure::new(format!("the supervisor has ended: {error}")))?;
        self.answer().map(|_same_url| ())
    }

    /// Stops the server and waits until its data are removed.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn answer(&self) -> Result<String, Failure> {
        let line = self.answers.recv_timeout(PATIENCE).map_err(|error| {
            Failure::new(match error {
                RecvTimeoutError::Timeout => "the supervisor of a server does not answer",
                RecvTimeoutError::Disconnected => "the supervisor of a server has ended",
            })
        })?;
        let value: Value = serde_json::from_str(&line).unwrap_or_default();
        let text = |name| value.get(name).and_then(Value::as_str);
        match (text("url"), text("error")) {
            (Some(url), _) => Ok(url.to_owned()),
            (None, Some(error)) => Err(Failure::new(error)),
            (None, None) => Err(Failure::new(format!(
                "the supervisor of a server says {line:?}"
            ))),
        }
    }

    fn end(&mut self) {
        drop(self.requests.take());
        // It stops its server within bounds.
        let _status = self.child.wait();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.end();
    }
}

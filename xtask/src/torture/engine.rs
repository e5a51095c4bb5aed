//! A Restate server under the fleet, with the handlers that it calls.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::agent::Bench;
use super::process::Running;
use crate::failure::Failure;
use crate::services::{Kind, Supervised, bound, restate};

/// A server and its handlers, which are a process of the program under test.
#[derive(Debug)]
pub(super) struct Engine {
    server: Supervised,
    handlers: Option<Running>,
    address: String,
    errors: PathBuf,
    /// How often something of it was made to end.
    ends: u32,
}

impl Engine {
    pub(super) fn start(bench: &Bench) -> Result<Self, Failure> {
        let server = Kind::Restate.of_its_own()?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|error| Failure::new(format!("no free port: {error}")))?;
        let mut engine = Self {
            server,
            handlers: None,
            address: free.to_string(),
            errors: bench.folder().join("handlers"),
            ends: 0,
        };
        engine.tend(bench)?;
        Ok(engine)
    }

    /// What `--runtime` says.
    pub(super) fn runtime(&self) -> Result<String, Failure> {
        Ok(format!("restate:{}", self.addresses()?.0))
    }

    fn addresses(&self) -> Result<(&str, &str), Failure> {
        restate::addresses(self.server.url())
            .ok_or_else(|| Failure::new("the URL of the server has not both of its addresses"))
    }

    /// Starts the handlers where there are none.
    pub(super) fn tend(&mut self, bench: &Bench) -> Result<(), Failure> {
        let has_ended = match &mut self.handlers {
            Some(handlers) => handlers.wait(Duration::ZERO)?.is_some(),
            None => true,
        };
        if !has_ended {
            return Ok(());
        }
        let mut command = Command::new(&bench.program);
        command.args(["handlers", "--listen", &self.address]);
        command.args(["--admin", self.addresses()?.1]);
        let errors = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.errors)
            .map_err(|error| Failure::new(format!("{}: {error}", self.errors.display())))?;
        let mut command = bound(command, Signal::KILL);
        command.stderr(errors);
        self.handlers = Some(Running::start(command)?);
        Ok(())
    }

    /// Ends the server as a crash would and starts it again, or kills the handlers, in turn.
    pub(super) fn end_something(&mut self) -> Result<(), Failure> {
        self.ends += 1;
        if self.ends.is_multiple_of(2) {
            return self.server.restart();
        }
        self.handlers
            .take()
            .map_or(Ok(()), |mut handlers| handlers.kill())
    }

    pub(super) fn stop(self) {
        drop(self.handlers);
        self.server.stop();
    }
}

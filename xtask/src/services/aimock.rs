//! aimock: the formats of several providers by one server that nobody here wrote.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::install;
use super::server::{Place, Service, answers};
use crate::failure::Failure;
use crate::workspace;

const PACKAGE: &str = "@copilotkit/aimock@1.43.0";
/// The folder of this version.
const FOLDER: &str = "aimock-1.43.0";
/// What it answers, relative to the workspace.
const ANSWERS: &str = "testing/servers/aimock.json";

/// A server that answers as the tests' file says.
#[derive(Debug, Default)]
pub(super) struct Aimock {
    program: PathBuf,
    answers: PathBuf,
}

/// Makes sure that there is a server to start.
pub(super) fn provide() -> Result<(), Failure> {
    if install::installed("node").is_none() {
        return Err(Failure::new(
            "there is no node in PATH, which aimock runs on",
        ));
    }
    folder().map(|_folder| ())
}

fn folder() -> Result<PathBuf, Failure> {
    install::packages(FOLDER, "npm", |folder| {
        let folder = folder.display().to_string();
        let rest = ["--no-audit", "--no-fund", "--ignore-scripts", PACKAGE];
        let first = ["install".to_owned(), "--prefix".to_owned(), folder];
        first.into_iter().chain(rest.map(str::to_owned)).collect()
    })
}

impl Service for Aimock {
    fn name(&self) -> &'static str {
        "aimock"
    }

    fn prepare(&mut self, _place: &Place) -> Result<Vec<Command>, Failure> {
        self.program = folder()?.join("node_modules/@copilotkit/aimock/dist/cli.js");
        self.answers = workspace::root()?.join(ANSWERS);
        Ok(Vec::new())
    }

    fn command(&self, _place: &Place, port: u16) -> Command {
        let mut node = Command::new("node");
        node.arg(&self.program)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--strict", "--log-level", "warn", "--fixtures"])
            .arg(&self.answers);
        node
    }

    fn is_ready(&self, _place: &Place, port: u16) -> bool {
        answers(port, "/health")
    }

    fn stop(&self) -> &'static [(Signal, Duration)] {
        const { &[(Signal::TERM, Duration::from_secs(5))] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_on_the_loopback_interface_only_and_answers_nothing_else() {
        let command = Aimock::default().command(&Place::at("/nowhere"), 5);
        let args: Vec<&str> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        for arg in ["127.0.0.1", "5", "--strict"] {
            assert!(args.contains(&arg), "{arg}");
        }
        assert!(PACKAGE.ends_with(FOLDER.trim_start_matches("aimock-")));
        assert!(workspace::root().unwrap().join(ANSWERS).is_file());
    }
}

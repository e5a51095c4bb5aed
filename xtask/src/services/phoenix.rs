//! Phoenix, a backend of OpenTelemetry that nobody here wrote: it takes spans, keeps them, and gives them back.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::install;
use super::server::{Place, Service, answers};
use crate::failure::Failure;
use crate::workspace;

/// The folder of this version: 625 MB.
const FOLDER: &str = "arize-phoenix-20.26.0";
/// Every package of it with its version, relative to the workspace.
const PACKAGES: &str = "testing/servers/phoenix.txt";
/// It listens for gRPC on every interface, and can be told nothing else: this has it listen on the loopback interface.
const PROGRAM: &str = r#"
import sys
import grpc.aio
listen = grpc.aio.Server.add_insecure_port
def on_loopback(server, address):
    return listen(server, address.replace("[::]", "127.0.0.1"))
grpc.aio.Server.add_insecure_port = on_loopback
from phoenix.server.main import main
sys.argv[1:] = ["serve"]
main()
"#;

/// A backend with a database of its own.
#[derive(Debug, Default)]
pub(super) struct Phoenix {
    packages: PathBuf,
}

/// Makes sure that there is a server to start.
pub(super) fn provide() -> Result<(), Failure> {
    folder().map(|_folder| ())
}

fn folder() -> Result<PathBuf, Failure> {
    install::pinned(FOLDER, &workspace::root()?.join(PACKAGES))
}

impl Service for Phoenix {
    fn name(&self) -> &'static str {
        "phoenix"
    }

    fn prepare(&mut self, _place: &Place) -> Result<Vec<Command>, Failure> {
        self.packages = folder()?;
        Ok(Vec::new())
    }

    fn command(&self, place: &Place, port: u16) -> Command {
        let mut python = Command::new("python3");
        python
            .args(["-c", PROGRAM])
            .env("PYTHONPATH", &self.packages)
            .env("PHOENIX_WORKING_DIR", place.data())
            .env("PHOENIX_HOST", "127.0.0.1")
            .env("PHOENIX_PORT", port.to_string())
            // It has no way to leave the other one out; a port of the system's choice is in nobody's way.
            .env("PHOENIX_GRPC_PORT", "0")
            .env("PHOENIX_TELEMETRY_ENABLED", "false")
            .env("PHOENIX_ALLOW_EXTERNAL_RESOURCES", "false");
        python
    }

    fn is_ready(&self, _place: &Place, port: u16) -> bool {
        answers(port, "/healthz")
    }

    fn stop(&self) -> &'static [(Signal, Duration)] {
        const { &[(Signal::TERM, Duration::from_secs(10))] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_named_for_the_version_in_it() {
        assert!(install::is_pinned(FOLDER, PACKAGES), "{FOLDER}");
    }

    #[test]
    fn it_listens_on_the_loopback_interface_only_and_tells_nobody_of_it() {
        let command = Phoenix::default().command(&Place::at("/nowhere"), 5);
        let said = |name: &str| {
            let mut told = command.get_envs();
            let (_name, value) = told.find(|(told, _value)| *told == name).unwrap();
            value.unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(said("PHOENIX_HOST"), "127.0.0.1");
        assert_eq!(said("PHOENIX_PORT"), "5");
        assert_eq!(said("PHOENIX_TELEMETRY_ENABLED"), "false");
        assert!(PROGRAM.contains("127.0.0.1"));
    }
}

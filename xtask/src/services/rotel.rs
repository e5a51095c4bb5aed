//! Rotel, an OpenTelemetry collector that nobody here wrote: it writes down every span it gets.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::install;
use super::server::{Place, Service};
use crate::failure::Failure;

/// The version that is installed where there is none.
const VERSION: &str = "0.0.1a15";
const PROGRAM: &str = "rotel-agent";
/// What the folder of exactly that is called.
const FOLDER: &str = "rotel-0.0.1a15";

/// A collector that keeps nothing but its log.
#[derive(Debug, Default)]
pub(super) struct Rotel {
    /// The server's folder.
    folder: PathBuf,
}

/// Makes sure that there is a collector to start.
pub(super) fn provide() -> Result<(), Failure> {
    if install::installed(PROGRAM).is_some() {
        return Ok(());
    }
    install::pip(FOLDER, &[&format!("rotel=={VERSION}")])?;
    program()?
        .map(|_program| ())
        .ok_or_else(|| Failure::new("the package that was installed did not bring the collector"))
}

fn program() -> Result<Option<PathBuf>, Failure> {
    let packaged = install::packages_folder(FOLDER)?
        .join("rotel")
        .join(PROGRAM);
    Ok(install::installed(PROGRAM).or_else(|| packaged.is_file().then_some(packaged)))
}

impl Service for Rotel {
    fn name(&self) -> &'static str {
        "rotel"
    }

    /// A copy of the program in the server's folder: its account may not reach the workspace.
    fn prepare(&mut self, place: &Place) -> Result<Vec<Command>, Failure> {
        let program = program()?
            .ok_or_else(|| Failure::new("the collector was there and is not any more"))?;
        self.folder = place.folder().to_owned();
        fs::copy(program, self.folder.join(PROGRAM))
            .map_err(|error| Failure::new(format!("the collector cannot be copied: {error}")))?;
        Ok(Vec::new())
    }

    fn command(&self, place: &Place, port: u16) -> Command {
        let mut rotel = Command::new(place.folder().join(PROGRAM));
        rotel
            .arg("start")
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{port}")])
            // It has no way to leave the other one out; a port of the system's choice is in nobody's way.
            .args(["--otlp-grpc-endpoint", "127.0.0.1:0"])
            .args(["--exporter", "blackhole"])
            .args(["--debug-log", "traces", "--debug-log", "metrics"])
            .args(["--debug-log-verbosity", "detailed"])
            .arg("--pid-file")
            .arg(place.folder().join("pid"))
            .arg("--log-file")
            .arg(place.folder().join("unused"))
            .env("NO_COLOR", "1");
        rotel
    }

    fn is_ready(&self, _place: &Place, port: u16) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
    }

    /// Behind the `#`: where it writes down what it gets.
    fn url(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}#{}/log", self.folder.display())
    }

    fn stop(&self) -> &'static [(Signal, Duration)] {
        const { &[(Signal::TERM, Duration::from_secs(10))] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_on_the_loopback_interface_only() {
        let command = Rotel::default().command(&Place::at("/nowhere"), 5);
        let args: Vec<&str> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        for pair in [
            ["--otlp-http-endpoint", "127.0.0.1:5"],
            ["--otlp-grpc-endpoint", "127.0.0.1:0"],
        ] {
            assert!(args.windows(2).any(|two| two == pair), "{pair:?}");
        }
    }
}

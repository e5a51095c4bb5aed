//! The reference servers of the Model Context Protocol. One of them listens at an address; the others are programs that
//! tests start themselves, so the URL says after its `#` in which folder they lie.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::install;
use super::server::{Place, Service, is_taken};
use crate::failure::Failure;

/// The folder of this version.
const FOLDER: &str = "mcp-2026.8.31";
const PACKAGES: [&str; 3] = [
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
    "@modelcontextprotocol/server-memory@2026.8.31",
];
/// The server listens on every interface, and can be told nothing else: this has it listen on the loopback interface.
const LOOPBACK: &str = "data:text/javascript,import net from 'node:net';\
const listen = net.Server.prototype.listen;\
net.Server.prototype.listen = function (port, ...rest) {\
  const done = rest.filter((each) => typeof each === 'function');\
  return listen.call(this, { port: Number(port), host: '127.0.0.1' }, ...done);\
};";

/// A server with a tool, a resource and a prompt of every kind.
#[derive(Debug, Default)]
pub(super) struct Mcp {
    packages: PathBuf,
}

/// Makes sure that there are servers to start.
pub(super) fn provide() -> Result<(), Failure> {
    install::node()?;
    folder().map(|_folder| ())
}

fn folder() -> Result<PathBuf, Failure> {
    install::npm(FOLDER, &PACKAGES)
}

impl Service for Mcp {
    fn name(&self) -> &'static str {
        "mcp"
    }

    fn prepare(&mut self, _place: &Place) -> Result<Vec<Command>, Failure> {
        self.packages = folder()?.join("node_modules/@modelcontextprotocol");
        Ok(Vec::new())
    }

    fn command(&self, _place: &Place, port: u16) -> Command {
        let mut node = Command::new("node");
        node.args(["--import", LOOPBACK])
            .arg(self.packages.join("server-everything/dist/index.js"))
            .arg("streamableHttp")
            .env("PORT", port.to_string());
        node
    }

    fn refuses_root(&self) -> bool {
        false
    }

    fn is_ready(&self, _place: &Place, port: u16) -> bool {
        is_taken(port)
    }

    fn url(&self, port: u16) -> String {
        // A server that `up` has started is asked for its URL by another process, which has prepared nothing.
        let packages = install::packages_folder(FOLDER).unwrap_or_default();
        let packages = packages.join("node_modules/@modelcontextprotocol");
        format!("http://127.0.0.1:{port}/mcp#{}", packages.display())
    }

    fn stop(&self) -> &'static [(Signal, Duration)] {
        const { &[(Signal::TERM, Duration::from_secs(5))] }
    }

    fn crash(&self) -> Signal {
        Signal::KILL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_on_the_loopback_interface_alone() {
        let command = Mcp::default().command(&Place::at("/nowhere"), 5);
        let args: Vec<&str> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        assert!(args.contains(&"streamableHttp"));
        assert!(args.iter().any(|arg| arg.contains("host: '127.0.0.1'")));
        for package in PACKAGES {
            assert!(package.ends_with(FOLDER.trim_start_matches("mcp-")));
        }
    }
}

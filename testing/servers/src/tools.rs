//! The tools of the Model Context Protocol that `cargo xtask services` has installed.

use std::path::PathBuf;
use std::process::Command;

/// Has servers that the tools start listen on the loopback interface: they can be told nothing else. Some look at their
/// port at once, so the socket is bound before anything is waited for.
const LOOPBACK: &str = "data:text/javascript,import net from 'node:net';\
const listen = net.Server.prototype.listen;\
net.Server.prototype.listen = function (port, ...rest) {\
  const done = rest.filter((each) => typeof each === 'function');\
  return listen.call(this, net._createServerHandle('127.0.0.1', Number(port), 4), ...done);\
};";

/// Where the tools are.
#[derive(Clone, Debug)]
pub struct Tools {
    packages: PathBuf,
    node: PathBuf,
}

impl Tools {
    /// The tools that the environment names.
    ///
    /// # Panics
    ///
    /// If it names none.
    #[must_use]
    pub fn installed() -> Self {
        Self::of("SEAWORTHY_TEST_MCP_TOOLS")
    }

    /// Those of them that are no release yet.
    ///
    /// # Panics
    ///
    /// If the environment names none.
    #[must_use]
    pub fn next() -> Self {
        Self::of("SEAWORTHY_TEST_MCP_NEXT")
    }

    fn of(variable: &str) -> Self {
        let place = std::env::var(variable).unwrap();
        let (packages, node) = place.split_once('#').unwrap();
        Self {
            packages: packages.into(),
            node: node.into(),
        }
    }

    /// The command that runs a script of a package.
    #[must_use]
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new(&self.node);
        command
            .args(["--import", LOOPBACK])
            .arg(self.packages.join(script));
        command
    }
}

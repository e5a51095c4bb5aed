//! An issuer of access tokens that nobody here wrote: `oidc-provider`, with a client for each way to sign.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::install;
use super::server::{Place, Service, is_taken};
use crate::failure::Failure;

/// The folder of this version.
const FOLDER: &str = "oidc-provider-9.13.3";
const PACKAGE: &str = "oidc-provider@9.13.3";
/// What makes an issuer of the package.
const SCRIPT: &str = include_str!("issuer.mjs");

/// An issuer for machines.
#[derive(Debug, Default)]
pub(super) struct Issuer {
    packages: PathBuf,
}

/// Makes sure that there is an issuer to start.
pub(super) fn provide() -> Result<(), Failure> {
    install::node()?;
    folder().map(|_folder| ())
}

fn folder() -> Result<PathBuf, Failure> {
    install::npm(FOLDER, &[PACKAGE])
}

impl Service for Issuer {
    fn name(&self) -> &'static str {
        "issuer"
    }

    fn prepare(&mut self, _place: &Place) -> Result<Vec<Command>, Failure> {
        self.packages = folder()?;
        Ok(Vec::new())
    }

    fn command(&self, _place: &Place, port: u16) -> Command {
        let mut node = Command::new("node");
        let package = "node_modules/oidc-provider/lib/index.js";
        node.args(["--input-type=module", "--eval", SCRIPT])
            .env("PACKAGE", self.packages.join(package))
            .env("PORT", port.to_string());
        node
    }

    fn is_ready(&self, _place: &Place, port: u16) -> bool {
        is_taken(port)
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
        assert!(SCRIPT.contains("listen(port, '127.0.0.1')"));
        assert_eq!(PACKAGE.replace('@', "-"), FOLDER);
    }
}

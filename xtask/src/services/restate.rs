//! Restate, from the npm registry. Its licence, BUSL-1.1, allows development and tests; nothing of it is part of this project.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::install;
use super::server::{Place, Service, answers};
use crate::failure::Failure;

/// What is installed. The version is one that was tried.
const PACKAGE: &str = "@restatedev/restate-server@1.7.12";
/// What the folder of exactly that is called.
const FOLDER: &str = "restate-1.7.12";
/// The folder of the platforms' programs within what was installed.
const PLATFORMS: &str = "node_modules/@restatedev";
/// What stands between the address of the ingress and that of the admin API.
const ADMIN: &str = "/?admin=";
/// The variable of the environment that names the program, for tests that start servers of their own with it; where it is
/// set already, that is the program.
pub(super) const PROGRAM: &str = "SEAWORTHY_TEST_RESTATE_PROGRAM";

/// A server of one node, which nobody but this machine reaches.
#[derive(Debug, Default)]
pub(super) struct Restate {
    program: PathBuf,
    admin: u16,
    node: u16,
}

/// Makes sure that there is a server to start.
pub(super) fn provide() -> Result<(), Failure> {
    if program()?.is_some() {
        return Ok(());
    }
    install::packages(FOLDER, "npm", |folder| {
        let mut args: Vec<String> = ["install", "--no-audit", "--no-fund", "--ignore-scripts"]
            .map(str::to_owned)
            .to_vec();
        args.extend([
            "--loglevel=error".to_owned(),
            "--prefix".to_owned(),
            folder.display().to_string(),
            PACKAGE.to_owned(),
        ]);
        args
    })?;
    if program()?.is_some() {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "{PACKAGE} has no program for this platform"
        )))
    }
}

/// The addresses of the ingress and of the admin API that a URL of this service names.
pub(crate) fn addresses(url: &str) -> Option<(&str, &str)> {
    url.split_once(ADMIN)
}

/// The server's program, if it is there: the one that was named, the one that was installed here, or that of the search
/// path.
pub(super) fn program() -> Result<Option<PathBuf>, Failure> {
    if let Some(named) = std::env::var_os(PROGRAM).filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        return if named.is_file() {
            Ok(Some(named))
        } else {
            Err(Failure::new(format!(
                "{PROGRAM} names {}, which is no file",
                named.display()
            )))
        };
    }
    Ok(within(&install::packages_folder(FOLDER)?.join(PLATFORMS))
        .or_else(|| install::installed("restate-server")))
}

fn within(platforms: &Path) -> Option<PathBuf> {
    let packages = fs::read_dir(platforms).ok()?.flatten();
    let mut programs = packages.map(|package| package.path().join("bin/restate-server"));
    programs.find(|program| program.is_file())
}

impl Service for Restate {
    fn name(&self) -> &'static str {
        "restate"
    }

    fn refuses_root(&self) -> bool {
        // Its program lies in the target folder, which others may not reach.
        false
    }

    fn prepare(&mut self, _place: &Place) -> Result<Vec<Command>, Failure> {
        self.program = program()?
            .ok_or_else(|| Failure::new("restate-server was there and is not any more"))?;
        let listen = || {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|listener| Ok((listener.local_addr()?.port(), listener)))
                .map_err(|error| Failure::new(format!("no free port: {error}")))
        };
        // Both at once, so that they differ.
        let ((admin, _first), (node, _second)) = (listen()?, listen()?);
        (self.admin, self.node) = (admin, node);
        Ok(Vec::new())
    }

    fn command(&self, place: &Place, port: u16) -> Command {
        let mut restate = Command::new(&self.program);
        restate
            .env("RESTATE_NODE_NAME", "seaworthy")
            .env("RESTATE_BASE_DIR", place.data())
            .env("RESTATE_BIND_IP", "127.0.0.1")
            .env("RESTATE_LISTEN_MODE", "tcp")
            .env("RESTATE_BIND_PORT", self.node.to_string())
            .env("RESTATE_INGRESS__BIND_PORT", port.to_string())
            .env("RESTATE_ADMIN__BIND_PORT", self.admin.to_string())
            .env("RESTATE_DEFAULT_NUM_PARTITIONS", "4")
            .env("RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE", "128MiB")
            .env("RESTATE_DISABLE_TELEMETRY", "true")
            .env("RESTATE_LOG_DISABLE_ANSI_CODES", "true");
        restate
    }

    fn is_ready(&self, _place: &Place, port: u16) -> bool {
        answers(port, "/restate/health") && answers(self.admin, "/health")
    }

    fn url(&self, port: u16) -> String {
        format!(
            "http://127.0.0.1:{port}{ADMIN}http://127.0.0.1:{}",
            self.admin
        )
    }

    fn stop(&self) -> &'static [(Signal, Duration)] {
        const { &[(Signal::TERM, Duration::from_secs(5))] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_on_the_loopback_interface_only_and_tells_nobody_of_itself() {
        let command = Restate::default().command(&Place::at("/nowhere"), 5);
        for (name, value) in [
            ("RESTATE_BIND_IP", "127.0.0.1"),
            ("RESTATE_LISTEN_MODE", "tcp"),
            ("RESTATE_INGRESS__BIND_PORT", "5"),
            ("RESTATE_DISABLE_TELEMETRY", "true"),
        ] {
            let setting = (name.as_ref(), Some(value.as_ref()));
            assert!(command.get_envs().any(|one| one == setting), "{name}");
        }
    }

    #[test]
    fn a_url_names_both_addresses() {
        let server = Restate {
            admin: 7,
            ..Restate::default()
        };
        let url = server.url(5);
        let both = ("http://127.0.0.1:5", "http://127.0.0.1:7");
        assert_eq!(addresses(&url), Some(both));
    }

    #[test]
    fn the_program_of_the_platform_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(within(&folder.path().join("absent")), None);
        let bin = folder.path().join("restate-server-some-platform/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("restate-server"), "").unwrap();
        let found = within(folder.path());
        assert_eq!(found, Some(bin.join("restate-server")));
    }
}

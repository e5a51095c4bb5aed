//! Restate, from the npm registry. Its licence, BUSL-1.1, allows development and tests; nothing of it is part of this project.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::install;
use super::server::{Place, Service};
use crate::failure::Failure;

/// What is installed. The version is one that was tried.
const PACKAGE: &str = "@restatedev/restate-server@1.7.12";
/// What the folder of exactly that is called.
const FOLDER: &str = "restate-1.7.12";
/// The folder of the platforms' programs within what was installed.
const PLATFORMS: &str = "node_modules/@restatedev";
/// What stands between the address of the ingress and that of the admin API.
const ADMIN: &str = "/?admin=";
const LOOK: Duration = Duration::from_secs(2);

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

/// The server's program, if it is there.
pub(super) fn program() -> Result<Option<PathBuf>, Failure> {
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
        // Whoever wraps the command takes its arguments and not its environment.
        let mut restate = Command::new("env");
        for setting in [
            "RESTATE_NODE_NAME=seaworthy".to_owned(),
            format!("RESTATE_BASE_DIR={}", place.data().display()),
            "RESTATE_BIND_IP=127.0.0.1".to_owned(),
            "RESTATE_LISTEN_MODE=tcp".to_owned(),
            format!("RESTATE_BIND_PORT={}", self.node),
            format!("RESTATE_INGRESS__BIND_PORT={port}"),
            format!("RESTATE_ADMIN__BIND_PORT={}", self.admin),
            "RESTATE_DEFAULT_NUM_PARTITIONS=4".to_owned(),
            "RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE=128MiB".to_owned(),
            "RESTATE_DISABLE_TELEMETRY=true".to_owned(),
            "RESTATE_LOG_DISABLE_ANSI_CODES=true".to_owned(),
        ] {
            restate.arg(setting);
        }
        restate.arg(&self.program);
        restate
    }

    fn is_ready(&self, _place: &Place, port: u16) -> bool {
        is_well(port, "/restate/health") && is_well(self.admin, "/health")
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

    fn crash(&self) -> Signal {
        Signal::KILL
    }
}

fn is_well(port: u16, path: &str) -> bool {
    let look = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(LOOK))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok::<_, std::io::Error>(status)
    };
    look().is_ok_and(|status| &status == b"HTTP/1.1 200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_on_the_loopback_interface_only_and_tells_nobody_of_itself() {
        let command = Restate::default().command(&Place::at("/nowhere"), 5);
        let args: Vec<&str> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        for setting in [
            "RESTATE_BIND_IP=127.0.0.1",
            "RESTATE_LISTEN_MODE=tcp",
            "RESTATE_INGRESS__BIND_PORT=5",
            "RESTATE_DISABLE_TELEMETRY=true",
        ] {
            assert!(args.contains(&setting), "{setting}");
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

//! PostgreSQL, from what the system has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::install;
use super::server::{Place, Service};
use crate::failure::Failure;

/// Where Debian and its like keep each version's programs, which are not in the search path.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The superuser of the server, and its database.
const USER: &str = "seaworthy";
const DATABASE: &str = "postgres";
/// Tests run at once, each with pools of its own.
const CONNECTIONS: u32 = 400;

/// A server with one superuser and no password, which nobody but this machine reaches.
#[derive(Debug, Default)]
pub(super) struct Postgres {
    programs: PathBuf,
}

/// Makes sure that there is a server to start.
pub(super) fn provide() -> Result<(), Failure> {
    if programs().is_some() {
        return Ok(());
    }
    let without = |why: String| {
        Failure::new(format!(
            "no initdb and postgres under {DEBIAN}, in PATH or where pg_config points; {why}"
        ))
    };
    install::debian(&["postgresql"]).map_err(|failure| without(failure.to_string()))?;
    if programs().is_some() {
        Ok(())
    } else {
        Err(without(
            "the package that was installed did not bring them".to_owned(),
        ))
    }
}

/// The folder with the newest server there is.
fn programs() -> Option<PathBuf> {
    newest(Path::new(DEBIAN))
        .or_else(|| {
            let initdb = install::installed("initdb")?.canonicalize().ok()?;
            usable(initdb.parent()?.to_path_buf())
        })
        .or_else(|| {
            let said = Command::new("pg_config").arg("--bindir").output().ok()?;
            usable(PathBuf::from(String::from_utf8(said.stdout).ok()?.trim()))
        })
}

/// The answer of the server at `url` to a question with one answer, without headings; `None` where there is no `psql`.
pub(crate) fn ask(url: &str, question: &str) -> Option<Result<String, Failure>> {
    let psql = programs().map(|programs| programs.join("psql"));
    let psql = psql
        .filter(|psql| psql.is_file())
        .or_else(|| install::installed("psql"))?;
    let output = Command::new(psql)
        .args([
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--command",
            question,
        ])
        .arg(url)
        .output();
    Some(match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => Err(Failure::new(format!(
            "psql: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
        Err(error) => Err(Failure::new(format!("psql: {error}"))),
    })
}

fn newest(folder: &Path) -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, usable(entry.path().join("bin"))?))
        })
        .collect();
    versions.sort();
    versions.pop().map(|(_version, programs)| programs)
}

fn usable(folder: PathBuf) -> Option<PathBuf> {
    ["initdb", "postgres"]
        .iter()
        .all(|program| folder.join(program).is_file())
        .then_some(folder)
}

impl Service for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn prepare(&mut self, place: &Place) -> Result<Vec<Command>, Failure> {
        self.programs = programs()
            .ok_or_else(|| Failure::new("initdb and postgres were there and are not any more"))?;
        let mut initdb = Command::new(self.programs.join("initdb"));
        initdb
            .arg("--pgdata")
            .arg(place.data())
            .args(["--username", USER, "--auth", "trust"])
            .args(["--encoding", "UTF8", "--locale", "C"])
            .arg("--no-instructions");
        Ok(vec![initdb])
    }

    fn command(&self, place: &Place, port: u16) -> Command {
        let mut postgres = Command::new(self.programs.join("postgres"));
        postgres.arg("-D").arg(place.data());
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "unix_socket_directories=".to_owned(),
            "fsync=on".to_owned(),
            format!("max_connections={CONNECTIONS}"),
            "logging_collector=off".to_owned(),
            "log_destination=stderr".to_owned(),
        ] {
            postgres.arg("-c").arg(setting);
        }
        postgres
    }

    fn refuses_root(&self) -> bool {
        true
    }

    /// As `pg_ctl` finds out: the eighth line of the file that also keeps others out.
    fn is_ready(&self, place: &Place, _port: u16) -> bool {
        fs::read_to_string(place.data().join("postmaster.pid"))
            .is_ok_and(|text| text.lines().nth(7).map(str::trim) == Some("ready"))
    }

    fn url(&self, port: u16) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/{DATABASE}")
    }

    /// A fast shutdown, which ends sessions, and one that leaves recovery to the next start.
    fn stop(&self) -> &'static [(Signal, Duration)] {
        const {
            &[
                (Signal::INT, Duration::from_secs(10)),
                (Signal::QUIT, Duration::from_secs(10)),
            ]
        }
    }

    fn crash(&self) -> Signal {
        Signal::QUIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_is_whole_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        for (version, programs) in [
            ("9", &["initdb", "postgres"][..]),
            ("15", &["initdb", "postgres"]),
            ("17", &["initdb"]),
            ("common", &["initdb", "postgres"]),
        ] {
            let bin = folder.path().join(version).join("bin");
            fs::create_dir_all(&bin).unwrap();
            for program in programs {
                fs::write(bin.join(program), "").unwrap();
            }
        }
        let expected = folder.path().join("15/bin");
        assert_eq!(newest(folder.path()), Some(expected));
        assert_eq!(newest(&folder.path().join("absent")), None);
    }

    #[test]
    fn it_listens_on_the_loopback_interface_only_and_syncs() {
        let place = Place::at("/nowhere");
        let command = Postgres::default().command(&place, 5);
        let args: Vec<&str> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=on",
            "port=5",
        ] {
            assert!(args.contains(&setting), "{setting}");
        }
    }
}

//! What `up` has started, and which ports were used last.
//!
//! A port that stays the same keeps the URL the same, by which cargo decides whether tests are compiled anew.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use super::Kind;
use super::server::{Place, Server, pid};
use crate::failure::Failure;
use crate::workspace;

/// The folder where it is written down.
#[derive(Clone, Debug)]
pub(super) struct Standing(PathBuf);

/// A server that `up` has started and that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) url: String,
    pub(super) process: u32,
    pub(super) folder: PathBuf,
}

impl Standing {
    pub(super) fn of_workspace() -> Result<Self, Failure> {
        let target = workspace::metadata(&workspace::root()?)?.target_directory;
        Ok(Self(target.join("services").into_std_path_buf()))
    }

    pub(super) const fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Nothing is known, and nothing is kept.
    pub(super) fn nowhere() -> Self {
        Self(PathBuf::from("/dev/null"))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    fn file(&self, kind: Kind) -> PathBuf {
        self.0.join(format!("{}.json", kind.name()))
    }

    fn port_file(&self, kind: Kind) -> PathBuf {
        self.0.join(format!("{}.port", kind.name()))
    }

    /// The port of the last server of this kind.
    pub(super) fn port(&self, kind: Kind) -> Option<u16> {
        fs::read_to_string(self.port_file(kind))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Keeps the port for the next server.
    pub(super) fn remember_port(&self, kind: Kind, port: u16) -> Result<(), Failure> {
        self.write(&self.port_file(kind), &port.to_string())
    }

    /// Keeps what `down` needs.
    pub(super) fn remember(&self, kind: Kind, server: &Server) -> Result<(), Failure> {
        self.remember_port(kind, server.port())?;
        let process = server.process();
        let started = started_at(process)
            .ok_or_else(|| Failure::new(format!("{} ended at once", kind.name())))?;
        let known = json!({
            "url": server.url(), "process": process, "started": started,
            "folder": server.place().folder(),
        });
        self.write(&self.file(kind), &format!("{known:#}\n"))
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Failure> {
        fs::create_dir_all(&self.0)
            .and_then(|()| fs::write(path, text))
            .map_err(|error| Failure::new(format!("{} cannot be written: {error}", path.display())))
    }

    fn read(&self, kind: Kind) -> Result<Option<(Known, u64)>, Failure> {
        let path = self.file(kind);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Failure::new(format!(
                    "{} cannot be read: {error}",
                    path.display()
                )));
            }
        };
        parse(&text).map(Some).ok_or_else(|| {
            Failure::new(format!(
                "{} is damaged; stop the server that it is about, if there is one, and remove it",
                path.display()
            ))
        })
    }

    /// The server of this kind that is up.
    pub(super) fn alive(&self, kind: Kind) -> Result<Option<Known>, Failure> {
        let known = self.read(kind)?;
        Ok(known
            .filter(|(known, started)| started_at(known.process) == Some(*started))
            .map(|(known, _started)| known))
    }

    /// Stops the server that is up, removes its data, and says whether there was one.
    pub(super) fn stop(&self, kind: Kind) -> Result<bool, Failure> {
        let Some((known, started)) = self.read(kind)? else {
            return Ok(false);
        };
        let lives = || started_at(known.process) == Some(started);
        let service = kind.service();
        let last = (Signal::KILL, Duration::from_secs(10));
        for (signal, patience) in service.stop().iter().chain([&last]) {
            if !lives() {
                break;
            }
            if let Some(process) = pid(known.process) {
                // Fails where it has ended, which is what is wanted.
                let _gone = kill_process(process, *signal);
            }
            let until = Instant::now() + *patience;
            while lives() && Instant::now() < until {
                sleep(Duration::from_millis(10));
            }
        }
        if lives() {
            return Err(Failure::new(format!(
                "process {} does not end; is it yours?",
                known.process
            )));
        }
        if known.folder.exists() {
            Place::at(&known.folder).remove()?;
        }
        let path = self.file(kind);
        fs::remove_file(&path).map_err(|error| {
            Failure::new(format!("{} cannot be removed: {error}", path.display()))
        })?;
        Ok(true)
    }
}

fn parse(text: &str) -> Option<(Known, u64)> {
    let value: Value = serde_json::from_str(text).ok()?;
    let known = Known {
        url: value.get("url")?.as_str()?.to_owned(),
        process: value.get("process")?.as_u64()?.try_into().ok()?,
        folder: value.get("folder")?.as_str()?.into(),
    };
    Some((known, value.get("started")?.as_u64()?))
}

/// When a process started, in ticks since the machine did; with its id, this names it for good. `None`: it has ended.
fn started_at(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may contain anything.
    let (_name, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    (fields.next()? != "Z").then_some(())?;
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_the_moment_it_started() {
        let me = std::process::id();
        assert!(started_at(me).is_some_and(|ticks| ticks > 0));
        assert_eq!(started_at(me), started_at(me));
        assert_eq!(started_at(u32::MAX), None);
    }

    #[test]
    fn what_is_written_down_of_another_process_is_not_alive() {
        let folder = tempfile::tempdir().unwrap();
        let standing = Standing::at(folder.path().join("services"));
        assert_eq!(standing.alive(Kind::Postgres).unwrap(), None);
        let me = std::process::id();
        let known = |started: u64| {
            json!({ "url": "u", "process": me, "started": started, "folder": "/f" }).to_string()
        };
        let file = standing.file(Kind::Postgres);
        standing
            .write(&file, &known(started_at(me).unwrap()))
            .unwrap();
        let alive = standing.alive(Kind::Postgres).unwrap().unwrap();
        assert_eq!((alive.url.as_str(), alive.process), ("u", me));
        standing.write(&file, &known(1)).unwrap();
        assert_eq!(standing.alive(Kind::Postgres).unwrap(), None);
        standing.write(&file, "{}").unwrap();
        assert!(standing.alive(Kind::Postgres).is_err());
    }

    #[test]
    fn the_port_is_kept_for_the_next_server() {
        let folder = tempfile::tempdir().unwrap();
        let standing = Standing::at(folder.path().to_path_buf());
        assert_eq!(standing.port(Kind::Postgres), None);
        standing.remember_port(Kind::Postgres, 5433).unwrap();
        assert_eq!(standing.port(Kind::Postgres), Some(5433));
    }
}

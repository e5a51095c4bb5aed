//! The workers of a fleet.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::failure::Failure;
use crate::torture::agent::Bench;
use crate::torture::chance::Chance;
use crate::torture::process::{Running, Subject, Variable};

/// A worker, or the place of one that has ended.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) subject: Subject,
    pub(super) environment: Vec<Variable>,
    /// What it has said, in this life.
    pub(super) said: PathBuf,
    pub(super) running: Option<Running>,
    pub(super) stopped_until: Option<Instant>,
}

impl Worker {
    pub(super) fn start(&mut self, bench: &Bench) -> Result<(), Failure> {
        // What an earlier life said is nobody's any more; that it is not there is fine.
        let _absent = fs::remove_file(&self.said);
        self.running = Some(
            self.subject
                .telling_worker(bench, &self.environment, &self.said)?,
        );
        Ok(())
    }

    /// Whether it has served in this life.
    fn has_served(&self) -> bool {
        fs::read_to_string(&self.said).is_ok_and(|said| said.contains("\"health\""))
    }

    /// Starts it again where it has ended by itself. That is a fault unless it found no server as it started.
    pub(super) fn look_after(&mut self, bench: &Bench) -> Result<Option<String>, Failure> {
        let ended = match &mut self.running {
            Some(running) => running.wait(Duration::ZERO)?,
            None => None,
        };
        let mut fault = None;
        if let Some(status) = ended {
            self.running = None;
            if self.has_served() || status.code() != Some(2) {
                fault = Some(format!(
                    "{} ended by itself with {status}: {}",
                    self.subject.run,
                    last(&self.subject.errors())
                ));
            }
        }
        if self.running.is_none() {
            self.start(bench)?;
        }
        Ok(fault)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        self.running
            .as_ref()
            .map_or(Ok(()), |running| running.signal(signal))
    }

    pub(super) fn go_on(&mut self) -> Result<(), Failure> {
        self.stopped_until = None;
        self.signal(Signal::CONT)
    }
}

/// The end of what was complained of.
pub(super) fn last(errors: &str) -> String {
    let lines: Vec<&str> = errors.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n    ")
}

/// A worker that is not stopped.
pub(super) fn one_of<'a>(workers: &'a mut [Worker], chance: &mut Chance) -> Option<&'a mut Worker> {
    let mut free: Vec<&mut Worker> = workers
        .iter_mut()
        .filter(|worker| worker.stopped_until.is_none())
        .collect();
    let at = chance.below(free.len())?;
    (at < free.len()).then(|| free.swap_remove(at))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::PATIENCE;
    use super::*;
    use crate::torture::checks::tests::program;

    /// A worker whose program is this script.
    pub(in crate::torture::fleet) fn worker(bench: &Bench) -> Worker {
        let subject = Subject::on_server(bench, "worker-0".to_owned(), "postgres://none").unwrap();
        Worker {
            said: subject.workspace.join("said"),
            subject,
            environment: Vec::new(),
            running: None,
            stopped_until: None,
        }
    }

    #[test]
    fn a_worker_that_ends_by_itself_is_found_unless_it_had_no_server_yet() {
        for (script, is_fault) in [
            ("exit 2", false),
            ("exit 1", true),
            ("exit 0", true),
            ("echo '{\"health\":1}'; exit 2", true),
            ("kill -9 $$", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let bench = Bench::new(program(folder.path(), script)).unwrap();
            let mut worker = worker(&bench);
            worker.start(&bench).unwrap();
            let ended = worker.running.as_mut().unwrap().wait(PATIENCE).unwrap();
            assert!(ended.is_some(), "{script}");
            let fault = worker.look_after(&bench).unwrap();
            assert_eq!(fault.is_some(), is_fault, "{script}: {fault:?}");
        }
    }
}

//! Other processes that work on the same store, and their deaths.
//!
//! What only the death of a process shows is tried with processes: the test binary is started once more, runs one test
//! that is otherwise ignored, and is killed or stopped there. An adapter's author writes that test and says how it is
//! started:
//!
//! ```text
//! fn another_process(&self) -> Option<Command> {
//!     seaworthy_contract::process::this_test("a_process_of_a_scenario", self.folder.path())
//! }
//!
//! #[test]
//! #[ignore = "scenarios start it in a process of its own"]
//! fn a_process_of_a_scenario() -> Outcome {
//!     seaworthy_contract::state_store::work(async |folder| open(folder).await)
//! }
//! ```
//!
//! A program without tests gives [`this_program`] with arguments that make it call the same `work`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use seaworthy_ports::Latch;
use seaworthy_ports::sandbox::Exec;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::outcome::{Halt, Outcome, broken, patience};
use crate::suite::block_on;

const PLACE: &str = "SEAWORTHY_CONTRACT_PLACE";
const JOB: &str = "SEAWORTHY_CONTRACT_JOB";
const JOURNAL: &str = "SEAWORTHY_CONTRACT_JOURNAL";
const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// This test binary once more, running its test `name` alone, ignored or not. `place` is what `work` hands to the closure
/// that opens the store there. `None`: the system does not say which program this is.
pub fn this_test(name: &str, place: impl AsRef<OsStr>) -> Option<Command> {
    this_program([name, "--exact", "--include-ignored", "--nocapture"], place)
}

/// This program once more, with these arguments, which make it call `work`. `place` is what `work` hands to the closure
/// that opens the store there. `None`: the system does not say which program this is.
pub fn this_program<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    place: impl AsRef<OsStr>,
) -> Option<Command> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.args(arguments).env(PLACE, place);
    Some(command)
}

/// What a process is asked to do. Each port has its own jobs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) place: OsString,
    pub(crate) words: Vec<String>,
    pub(crate) journal: Journal,
}

/// What `command` and `job` come to where the process is started inside a sandbox, which gives it an environment of its
/// own. `None`: it cannot be said in UTF-8.
pub(crate) fn inside(command: &Command, job: &str) -> Option<Exec> {
    let text = |text: &OsStr| text.to_str().map(str::to_owned);
    let mut argv = vec![text(command.get_program())?];
    for argument in command.get_args() {
        argv.push(text(argument)?);
    }
    let mut env = BTreeMap::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            env.insert(text(name)?, text(value)?);
        }
    }
    env.insert(JOB.to_owned(), job.to_owned());
    // Which it does not write.
    env.insert(JOURNAL.to_owned(), String::new());
    Some(Exec {
        argv,
        cwd: String::new(),
        env,
        stdin: Bytes::new(),
        timeout: patience(),
        cancel: Latch::never(),
        on_output: None,
    })
}

/// Does the job that this process was started for; nothing where it was started for none.
pub(crate) fn work<F: Future<Output = Outcome>>(run: impl FnOnce(Job) -> F) -> Outcome {
    let (Ok(job), Some(journal)) = (std::env::var(JOB), std::env::var_os(JOURNAL)) else {
        return Ok(());
    };
    block_on(run(Job {
        place: std::env::var_os(PLACE).unwrap_or_default(),
        words: job.split_whitespace().map(str::to_owned).collect(),
        journal: Journal(journal.into()),
    }))
}

/// Returns when whoever started this process lets it go, or is dead.
pub(crate) async fn let_go() {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let _closed = io::stdin().read_to_end(&mut Vec::new());
        let _nobody_waits = tell.send(());
    });
    let _let_go = told.await;
}

/// Lines of several processes in the order in which they were written.
#[derive(Clone, Debug)]
pub(crate) struct Journal(PathBuf);

impl Journal {
    /// `command`, told to do `job` and to write here.
    pub(crate) fn hire(&self, mut command: Command, job: &str) -> Command {
        command.env(JOB, job).env(JOURNAL, &self.0);
        command
    }

    /// In one write at the end of the file, so that lines neither mix nor overwrite each other.
    pub(crate) fn write(&self, line: &str) -> Outcome {
        let written = OpenOptions::new()
            .append(true)
            .open(&self.0)
            .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        written.map_err(|error| broken("wrote into the journal", "success", error))
    }

    /// What was written so far; a line without its end does not count.
    pub(crate) fn lines(&self) -> Result<Vec<String>, Halt> {
        let text = fs::read_to_string(&self.0)
            .map_err(|error| broken("read the journal", "success", error))?;
        let whole = text
            .rfind('\n')
            .map_or("", |end| text.get(..end).unwrap_or_default());
        Ok(whole.lines().map(str::to_owned).collect())
    }
}

/// The processes of one scenario, and their journal.
#[derive(Debug)]
pub(crate) struct Crew {
    _folder: TempDir,
    pub(crate) journal: Journal,
}

impl Crew {
    pub(crate) fn new() -> Result<Self, Halt> {
        let failed = |error: io::Error| broken("made a journal", "a file", error);
        let folder = tempfile::tempdir().map_err(failed)?;
        let path = folder.path().join("journal");
        File::create(&path).map_err(failed)?;
        Ok(Self {
            _folder: folder,
            journal: Journal(path),
        })
    }

    /// `command`, told to do `job`.
    pub(crate) fn hire(&self, command: Command, job: &str) -> Command {
        self.journal.hire(command, job)
    }

    /// Starts a process that does `job`.
    pub(crate) fn start(&self, command: Option<Command>, job: &str) -> Result<Process, Halt> {
        let command = command.ok_or(Halt::NotCheckable("the harness starts no process"))?;
        let child = self
            .hire(command, job)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| broken("started a process", "a process", error))?;
        Ok(Process {
            child,
            journal: self.journal.clone(),
        })
    }
}

/// A process of a scenario. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    journal: Journal,
}

impl Process {
    /// Waits until the journal fulfils `condition`, which this process must live to see.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        condition: impl Fn(&[String]) -> bool,
    ) -> Outcome {
        let deadline = Instant::now() + patience();
        loop {
            if condition(&self.journal.lines()?) {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                return Err(broken(
                    format!("waited until {what}"),
                    "a process that lives to see it",
                    status,
                ));
            }
            if Instant::now() >= deadline {
                let lines = self.journal.lines()?;
                let last = lines.iter().rev().take(5).collect::<Vec<_>>();
                return Err(broken(
                    format!("waited until {what}"),
                    "that it comes about",
                    last,
                ));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Ends it with SIGKILL, or what the system has for it.
    pub(crate) fn kill(&mut self) -> Outcome {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(|_status| ())
            .map_err(|error| broken("killed a process", "its end", error))
    }

    /// Stops it with SIGSTOP: it is there and does nothing.
    pub(crate) fn stop(&self) -> Outcome {
        #[cfg(unix)]
        return self.signal(rustix::process::Signal::STOP);
        #[cfg(not(unix))]
        Err(Halt::NotCheckable("this system cannot stop a process"))
    }

    /// Lets it go on with SIGCONT.
    pub(crate) fn go_on(&self) -> Outcome {
        #[cfg(unix)]
        return self.signal(rustix::process::Signal::CONT);
        #[cfg(not(unix))]
        Err(Halt::NotCheckable("this system cannot stop a process"))
    }

    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) -> Outcome {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .ok_or_else(|| broken("asked for the id of a process", "an id", self.child.id()))?;
        rustix::process::kill_process(id, signal)
            .map_err(|error| broken("sent a signal to a process", "success", error))
    }

    /// Lets it go and waits for its end, which must be a success.
    pub(crate) async fn end(mut self) -> Outcome {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + patience();
        loop {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(broken("let a process go", "a good end", status)),
                None if Instant::now() >= deadline => {
                    return Err(broken("let a process go", "its end", "none in good time"));
                }
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, Halt> {
        self.child
            .try_wait()
            .map_err(|error| broken("looked after a process", "success", error))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails where it has ended, which is what is wanted.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

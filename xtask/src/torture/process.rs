//! Processes: the binary under test, and what it may have left behind.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::agent::Bench;
use crate::failure::Failure;
use crate::services::bound;

const PAUSE: Duration = Duration::from_millis(2);

/// A variable of a process's environment.
pub(super) type Variable = (&'static str, String);

/// One run of the agent: its id, its store and where its processes write to.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) run: String,
    pub(super) store: String,
    /// The folder for what a database server does not keep.
    data: Option<PathBuf>,
    /// What makes it advance, where that is not the store.
    runtime: Option<String>,
    pub(super) workspace: PathBuf,
    errors: PathBuf,
}

impl Subject {
    /// A run with a workspace and, unless `store` is shared, a store of its own.
    pub(super) fn new(bench: &Bench, run: String, shared: Option<&str>) -> Result<Self, Failure> {
        let workspace = bench.workspace(&run)?;
        let own = bench.folder().join(&run);
        let store = match shared {
            Some(name) => bench.folder().join(name),
            None => own.join("state.db"),
        };
        Ok(Self {
            run,
            store: format!("sqlite:{}", store.display()),
            data: None,
            runtime: None,
            workspace,
            errors: own.join("stderr"),
        })
    }

    /// A run with a workspace of its own, in the store of a server.
    pub(super) fn on_server(bench: &Bench, run: String, store: &str) -> Result<Self, Failure> {
        let workspace = bench.workspace(&run)?;
        let errors = bench.folder().join(&run).join("stderr");
        Ok(Self {
            run,
            store: store.to_owned(),
            data: Some(bench.folder().join("data")),
            runtime: None,
            workspace,
            errors,
        })
    }

    /// The same with this runtime.
    pub(super) fn with_runtime(mut self, runtime: Option<&str>) -> Self {
        self.runtime = runtime.map(str::to_owned);
        self
    }

    /// The arguments that start the run or continue it.
    pub(super) fn start(&self, bench: &Bench, child: &[&str]) -> Result<Running, Failure> {
        let descriptor = bench.descriptor();
        let mut command = self.command(bench);
        command
            .arg("run")
            .arg(descriptor)
            .args(["--yes", "--run-id", &self.run])
            .args(child);
        self.spawn(command)
    }

    pub(super) fn resume(&self, bench: &Bench) -> Result<Running, Failure> {
        let mut command = self.command(bench);
        command.args(["resume", &self.run]);
        self.spawn(command)
    }

    pub(super) fn worker(&self, bench: &Bench) -> Result<Running, Failure> {
        let mut command = self.command(bench);
        command.arg("worker");
        self.spawn(command)
    }

    /// A worker that says every second how it goes, into `said`.
    pub(super) fn telling_worker(
        &self,
        bench: &Bench,
        environment: &[Variable],
        said: &Path,
    ) -> Result<Running, Failure> {
        let mut command = self.command(bench);
        command.args(["worker", "--concurrency", "8", "--health-every", "1"]);
        // Nobody else would end it: it waits for a server that went with this program.
        let mut command = bound(command, Signal::KILL);
        command
            .envs(environment.iter().cloned())
            .stdout(appended(said)?);
        self.spawn_telling(command)
    }

    fn command(&self, bench: &Bench) -> Command {
        let mut command = Command::new(&bench.program);
        command.args(["--json", "--store", &self.store]);
        if let Some(data) = &self.data {
            command.arg("--data").arg(data);
        }
        if let Some(runtime) = &self.runtime {
            command.args(["--runtime", runtime]);
        }
        command.arg("--workspace").arg(&self.workspace);
        command
    }

    fn spawn(&self, mut command: Command) -> Result<Running, Failure> {
        command.stdout(Stdio::null());
        self.spawn_telling(command)
    }

    fn spawn_telling(&self, mut command: Command) -> Result<Running, Failure> {
        let child = command
            .stdin(Stdio::null())
            .stderr(appended(&self.errors)?)
            .spawn()
            .map_err(|error| {
                Failure::new(format!(
                    "{}: {error}",
                    Path::new(command.get_program()).display()
                ))
            })?;
        Ok(Running(child))
    }

    /// What `seaworthy WHAT RUN --json` prints, and its exit code.
    pub(super) fn ask(&self, bench: &Bench, what: &str) -> Result<(Value, Option<i32>), Failure> {
        self.ask_for(bench, &[what, &self.run])
    }

    /// The same of any command.
    pub(super) fn ask_for(
        &self,
        bench: &Bench,
        what: &[&str],
    ) -> Result<(Value, Option<i32>), Failure> {
        let output = self
            .command(bench)
            .args(what)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failure::new(format!("seaworthy {}: {error}", what.join(" "))))?;
        let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Ok((value, output.status.code()))
    }

    /// What its processes have written on standard error.
    pub(super) fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }
}

/// A file to which a process adds what it says.
fn appended(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

/// A process of the binary under test. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Running(Child);

impl Running {
    /// Starts a process that nobody listens to but for what the command says.
    pub(super) fn start(mut command: Command) -> Result<Self, Failure> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        child.map(Self).map_err(|error| {
            let program = Path::new(command.get_program()).display();
            Failure::new(format!("{program}: {error}"))
        })
    }

    /// How it ended, if it did within `patience`.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>, Failure> {
        let until = Instant::now() + patience;
        loop {
            let ended = self
                .0
                .try_wait()
                .map_err(|error| Failure::new(format!("wait: {error}")))?;
            if ended.is_some() || Instant::now() >= until {
                return Ok(ended);
            }
            sleep(PAUSE);
        }
    }

    /// Ends it with SIGKILL: this process only, none that it has started.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        self.0
            .kill()
            .and_then(|()| self.0.wait())
            .map(|_status| ())
            .map_err(|error| Failure::new(format!("kill: {error}")))
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let gone = || Failure::new("the process has no id");
        let pid = i32::try_from(self.0.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(gone)?;
        kill_process(pid, signal).map_err(|error| Failure::new(format!("signal: {error}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails where it has ended, which is what is wanted.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Processes that still work in `folder` after `patience`, each as a fault.
pub(super) fn left_behind(folder: &Path, patience: Duration) -> Vec<String> {
    let until = Instant::now() + patience;
    loop {
        let found = working_in(folder);
        if found.is_empty() || Instant::now() >= until {
            return found;
        }
        sleep(Duration::from_millis(50));
    }
}

fn working_in(folder: &Path) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return vec!["/proc cannot be read, so nobody knows what was left behind".to_owned()];
    };
    let myself = std::process::id().to_string();
    let mut found = Vec::new();
    for process in processes.flatten() {
        let name = process.file_name();
        let is_process = name
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_process || name == OsStr::new(&myself) {
            continue;
        }
        // Those of other users, and those that have just ended, cannot be read; none of them is ours.
        let works_there =
            fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        let arguments = File::open(process.path().join("cmdline"))
            .and_then(std::io::read_to_string)
            .unwrap_or_default();
        let names_it = folder
            .to_str()
            .is_some_and(|folder| arguments.contains(folder));
        if works_there || names_it {
            let arguments = arguments.replace('\0', " ");
            found.push(format!(
                "process {} was left behind: {arguments}",
                name.to_string_lossy()
            ));
        }
    }
    found
}

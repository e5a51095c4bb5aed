//! Sandboxes with a bug: plain processes behind a wrapper that does one thing wrong.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seaworthy_contract::{process, sandbox as sb};
use seaworthy_ports::sandbox::{
    Captured, Enforcement, Exec, ExecOutput, ExitStatus, FileContent, Kind, Limits, Listing,
    Metadata, OutputChunk, OutputSink, OutputStream, Policy, Sandbox, SandboxError, SandboxProcess,
    SandboxSession, SandboxSpec,
};
use seaworthy_ports::{AdapterInfo, Latch, RunId, async_trait};
use seaworthy_process::{ProcessConfig, ProcessSandbox, Supervisor};
use tempfile::TempDir;

pub(crate) const NONE: u8 = 0;
/// Has limits of memory and CPU time.
pub(crate) const LIMITED: u8 = 1;
/// Lets no command near what is outside.
pub(crate) const CONFINED: u8 = 2;
pub(crate) const ACCEPTS_ANY: u8 = 10;
pub(crate) const FORGETS_LIMITS: u8 = 11;
pub(crate) const REJECTS_WHAT_IS_MISSING: u8 = 12;
pub(crate) const SIGNALS_AS_CODES: u8 = 20;
pub(crate) const LOSES_EMPTY_ARGUMENTS: u8 = 21;
pub(crate) const CUTS_IN_SILENCE: u8 = 22;
pub(crate) const IGNORES_FOLDER: u8 = 23;
pub(crate) const IGNORES_CANCELLATION: u8 = 30;
pub(crate) const IGNORES_TIMEOUT: u8 = 31;
pub(crate) const SPARES_DESCENDANTS: u8 = 32;
pub(crate) const HIDES_TIME: u8 = 33;
pub(crate) const INHERITS: u8 = 40;
pub(crate) const ADDS_PATH: u8 = 41;
pub(crate) const FOLLOWS_LINKS: u8 = 50;
pub(crate) const CHECKS_THEN_USES: u8 = 51;
pub(crate) const TAMES_PATHS: u8 = 52;
pub(crate) const UNSORTED: u8 = 53;
pub(crate) const LEAVES_FORKS: u8 = 54;
pub(crate) const BOASTS_OF_READS: u8 = 55;
pub(crate) const BOASTS_OF_NETWORK: u8 = 56;
pub(crate) const HIDES_CONFINEMENT: u8 = 57;
pub(crate) const SHOWS_LATE: u8 = 60;
pub(crate) const SHOWS_NO_ERRORS: u8 = 61;
pub(crate) const ORPHANS: u8 = 70;
pub(crate) const HIDES_DEATH: u8 = 71;
pub(crate) const ONE_ATTEMPT: u8 = 80;
pub(crate) const FENCES_NO_WRITES: u8 = 81;
pub(crate) const TAKES_OVER_EARLY: u8 = 82;
pub(crate) const ONE_RUN: u8 = 83;
pub(crate) const HIDES_FENCING: u8 = 84;

/// How the adapter asks a program to supervise, which is also the name of the test that does.
const MARK: &str = "__seaworthy_supervise";

/// A test program says on its output which tests it runs, and that would be the command's output. So its own output goes
/// nowhere and the command's is kept at another number until the test begins.
const SUPERVISOR: &str =
    "#!/bin/sh\nexec 8>&1 >/dev/null\nexec \"$PROGRAM\" \"$@\" --test-threads=1\n";

/// Supervises a command if that is what this program was started for. It does not return then.
pub(crate) fn supervise_if_asked() {
    if std::env::args_os().nth(1).as_deref() == Some(OsStr::new(MARK)) {
        let output = File::options().write(true).open("/proc/self/fd/8").unwrap();
        rustix::stdio::dup2_stdout(&output).unwrap();
        drop(output);
    }
    seaworthy_process::supervise_if_asked();
}

/// A folder with the bug, the supervisor and what the adapter keeps.
pub(crate) struct Broken {
    bug: u8,
    folder: TempDir,
    sandbox: Arc<dyn Sandbox>,
}

async fn connect(folder: &Path, bug: u8, is_child: bool) -> Arc<dyn Sandbox> {
    let config = ProcessConfig::new(
        folder.join("state"),
        Supervisor::at(folder.join("supervisor")),
    );
    let inner = ProcessSandbox::connect(config).await.unwrap();
    Arc::new(BrokenSandbox {
        inner,
        bug,
        is_child,
    })
}

/// The sandbox in a process of a scenario.
pub(crate) async fn of_process(folder: OsString) -> Arc<dyn Sandbox> {
    let folder = PathBuf::from(folder);
    let bug = *fs::read(folder.join("bug")).unwrap().first().unwrap();
    connect(&folder, bug, true).await
}

#[async_trait]
impl sb::Harness for Broken {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bug = super::chosen();
        fs::write(folder.path().join("bug"), [bug]).unwrap();
        let program = std::env::current_exe().unwrap();
        let script = SUPERVISOR.replace("$PROGRAM", program.to_str().unwrap());
        let supervisor = folder.path().join("supervisor");
        fs::write(&supervisor, script).unwrap();
        fs::set_permissions(&supervisor, fs::Permissions::from_mode(0o755)).unwrap();
        let sandbox = connect(folder.path(), bug, false).await;
        Self {
            bug,
            folder,
            sandbox,
        }
    }

    fn sandbox(&self) -> Arc<dyn Sandbox> {
        Arc::clone(&self.sandbox)
    }

    async fn without_its_means(&self) -> Option<Result<(), SandboxError>> {
        let config = ProcessConfig::new(self.folder.path(), Supervisor::at("/no/such/supervisor"));
        let missing = ProcessSandbox::connect(config).await.map(drop);
        Some(match self.bug {
            REJECTS_WHAT_IS_MISSING => Err(SandboxError::new(
                Kind::Rejected,
                "broken",
                "connect",
                "the configuration is wrong",
            )),
            _ => missing,
        })
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_process_with_sandboxes", self.folder.path())
    }
}

#[derive(Debug)]
struct BrokenSandbox {
    inner: ProcessSandbox,
    bug: u8,
    is_child: bool,
}

#[async_trait]
impl Sandbox for BrokenSandbox {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> Enforcement {
        let mut enforced = self.inner.capabilities();
        match self.bug {
            LIMITED | FORGETS_LIMITS => {
                enforced.memory = true;
                enforced.cpu = true;
            }
            CONFINED => {
                enforced.filesystem_read = true;
                enforced.filesystem_write = true;
            }
            HIDES_TIME => enforced.wall_time = false,
            BOASTS_OF_READS => enforced.filesystem_read = true,
            BOASTS_OF_NETWORK => enforced.network = true,
            HIDES_DEATH => enforced.dies_with_opener = false,
            HIDES_FENCING => enforced.fencing = false,
            _ => {}
        }
        enforced
    }

    async fn open(&self, mut spec: SandboxSpec) -> Result<Arc<dyn SandboxSession>, SandboxError> {
        let limits = spec.limits;
        let enforced = self.capabilities();
        match self.bug {
            ACCEPTS_ANY => {
                spec.policy = Policy::UNCONFINED;
                spec.limits = Limits::default();
            }
            INHERITS => {
                for (name, value) in std::env::vars().filter(|(name, _)| name != "PATH") {
                    spec.env.entry(name).or_insert(value);
                }
            }
            ADDS_PATH => {
                let path = || "/usr/bin:/bin".to_owned();
                spec.env.entry("PATH".to_owned()).or_insert_with(path);
            }
            ONE_ATTEMPT => spec.owner.attempt = 1,
            ONE_RUN => spec.owner.run = RunId::new("run").unwrap(),
            TAKES_OVER_EARLY if spec.owner.attempt > 1 => survive(&spec.workspace.join("life")),
            _ => {}
        }
        // What is declared beyond what plain processes have is taken, and seen to here or not at all.
        if enforced.memory {
            spec.limits.memory_bytes = None;
            spec.limits.cpu_time = None;
        }
        spec.policy.deny_read_outside &= !enforced.filesystem_read;
        spec.policy.deny_write_outside &= !enforced.filesystem_write;
        spec.policy.deny_network &= !enforced.network;
        let (workspace, is_escape) = (spec.workspace.clone(), spec.env.contains_key("HOST"));
        Ok(Arc::new(BrokenSession {
            inner: self.inner.open(spec).await?,
            bug: self.bug,
            is_child: self.is_child,
            limits,
            is_escape,
            workspace,
        }))
    }
}

#[derive(Debug)]
struct BrokenSession {
    inner: Arc<dyn SandboxSession>,
    bug: u8,
    is_child: bool,
    limits: Limits,
    /// Whether its commands are the suite's tries to escape.
    is_escape: bool,
    workspace: PathBuf,
}

/// A process that nobody ends holds the pipe at `path`, if there is one.
fn survive(path: &Path) {
    if let Ok(pipe) = File::options().write(true).open(path) {
        let survivor = Command::new("sleep")
            .arg("15")
            .stdin(Stdio::null())
            .stdout(pipe)
            .stderr(Stdio::null())
            .spawn();
        drop(survivor.unwrap());
    }
}

/// As `exec`, under the limits of a shell.
fn limited(exec: &mut Exec, limits: Limits) {
    let mut script = String::new();
    if let Some(memory) = limits.memory_bytes {
        script.push_str(&format!("ulimit -v {}; ", memory / 1024));
    }
    if let Some(time) = limits.cpu_time {
        script.push_str(&format!("ulimit -t {}; ", time.as_secs()));
    }
    script.push_str("exec \"$@\"");
    let words = ["sh", "-c", &script, "sh"].map(str::to_owned);
    exec.argv.splice(0..0, words);
}

fn nothing(code: i32) -> ExecOutput {
    let nothing = Captured {
        bytes: Bytes::new(),
        total: 0,
    };
    ExecOutput {
        status: ExitStatus::Code(code),
        stdout: nothing.clone(),
        stderr: nothing,
        duration: Duration::ZERO,
    }
}

/// Shows each output of a command that has ended.
fn show_late(show: &OutputSink, output: &ExecOutput) {
    for (stream, captured) in [
        (OutputStream::Stdout, &output.stdout),
        (OutputStream::Stderr, &output.stderr),
    ] {
        let bytes = captured.bytes.clone();
        show(&OutputChunk { stream, bytes });
    }
}

impl BrokenSession {
    /// Whether a command is stopped by a wall that only plays at being one: it knows how the suite's commands climb.
    fn is_walled(&self, exec: &Exec) -> bool {
        let script = exec.argv.join(" ");
        let climbs = ["outside", "OUTSIDE", "/proc/"].map(|word| script.contains(word));
        matches!(self.bug, CONFINED | HIDES_CONFINEMENT) && self.is_escape && climbs.contains(&true)
    }

    fn spoil(&self, exec: &mut Exec) {
        match self.bug {
            LIMITED if self.limits != Limits::default() => limited(exec, self.limits),
            LOSES_EMPTY_ARGUMENTS => exec.argv.retain(|word| !word.is_empty()),
            IGNORES_FOLDER => exec.cwd.clear(),
            IGNORES_CANCELLATION => exec.cancel = Latch::never(),
            IGNORES_TIMEOUT => exec.timeout = Duration::from_secs(3_600),
            SHOWS_LATE => exec.on_output = None,
            SHOWS_NO_ERRORS => {
                exec.on_output = exec.on_output.take().map(|show| -> OutputSink {
                    Arc::new(move |chunk| {
                        if chunk.stream == OutputStream::Stdout {
                            show(chunk);
                        }
                    })
                });
            }
            _ => {}
        }
    }

    /// Where a path leads, as far as the bug looks. `None`: it looks as far as it should.
    async fn taken(&self, path: &str) -> Option<Result<PathBuf, SandboxError>> {
        let outside = || SandboxError::new(Kind::Outside, "broken", "path", "outside");
        let place = self.workspace.join(path);
        let is_relative = path.split('/').all(|part| part != "..") && !path.starts_with('/');
        match self.bug {
            FOLLOWS_LINKS | CHECKS_THEN_USES if !is_relative => Some(Err(outside())),
            FOLLOWS_LINKS => Some(Ok(place)),
            CHECKS_THEN_USES => {
                // What is to be written need not be there yet, but its folder must.
                let found = fs::canonicalize(&place);
                let found = found.or_else(|_| fs::canonicalize(place.parent().unwrap()));
                let is_within = found.is_ok_and(|found| found.starts_with(&self.workspace));
                tokio::time::sleep(Duration::from_millis(1)).await;
                Some(if is_within { Ok(place) } else { Err(outside()) })
            }
            _ => None,
        }
    }
}

fn tamed(bug: u8, path: &str) -> &str {
    match bug {
        TAMES_PATHS => path.trim_start_matches('/'),
        _ => path,
    }
}

fn failed(error: std::io::Error) -> SandboxError {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => Kind::NotFound,
        _ => Kind::Denied,
    };
    SandboxError::new(kind, "broken", "file", "failed")
}

#[async_trait]
impl SandboxSession for BrokenSession {
    async fn exec(&self, mut exec: Exec) -> Result<ExecOutput, SandboxError> {
        if self.is_walled(&exec) {
            return Ok(nothing(1));
        }
        let shown = exec.on_output.clone();
        let pipe = exec.env.get("LIFE").map(|name| self.workspace.join(name));
        let survive = || pipe.iter().for_each(|pipe| survive(pipe));
        if self.bug == ORPHANS && self.is_child {
            survive();
        }
        self.spoil(&mut exec);
        let mut output = self.inner.exec(exec).await?;
        match (self.bug, output.status) {
            (SIGNALS_AS_CODES, ExitStatus::Signal(number)) => {
                output.status = ExitStatus::Code(128 + number);
            }
            (CUTS_IN_SILENCE, _) => output.stdout.total = output.stdout.bytes.len() as u64,
            (SPARES_DESCENDANTS, ExitStatus::TimedOut | ExitStatus::Cancelled) => survive(),
            // As the commands end that leave somebody behind.
            (LEAVES_FORKS, ExitStatus::Code(3)) => survive(),
            (SHOWS_LATE, _) => shown.iter().for_each(|show| show_late(show, &output)),
            _ => {}
        }
        Ok(output)
    }

    async fn spawn(&self, mut exec: Exec) -> Result<Box<dyn SandboxProcess>, SandboxError> {
        self.spoil(&mut exec);
        self.inner.spawn(exec).await
    }

    async fn read(&self, path: &str, offset: u64, limit: u64) -> Result<FileContent, SandboxError> {
        let Some(place) = self.taken(path).await else {
            return self.inner.read(tamed(self.bug, path), offset, limit).await;
        };
        let place = place?;
        // Only what lies behind a link is read with the bug, so that all else stays as it is.
        match fs::canonicalize(&place) {
            Ok(found) if !found.starts_with(&self.workspace) => {}
            _ => return self.inner.read(path, offset, limit).await,
        }
        let bytes = Bytes::from(fs::read(place).map_err(failed)?);
        let size = bytes.len() as u64;
        Ok(FileContent { bytes, size })
    }

    async fn write(&self, path: &str, content: Bytes) -> Result<(), SandboxError> {
        let path = tamed(self.bug, path);
        let wrote = self.inner.write(path, content.clone()).await;
        match wrote {
            Err(error) if error.kind() == Kind::Fenced && self.bug == FENCES_NO_WRITES => {
                fs::write(self.workspace.join(path), content).map_err(failed)
            }
            wrote => wrote,
        }
    }

    async fn list(&self, path: &str, limit: usize) -> Result<Listing, SandboxError> {
        let mut listing = self.inner.list(tamed(self.bug, path), limit).await?;
        if self.bug == UNSORTED {
            listing.entries.reverse();
        }
        Ok(listing)
    }

    async fn stat(&self, path: &str) -> Result<Option<Metadata>, SandboxError> {
        self.inner.stat(tamed(self.bug, path)).await
    }

    async fn remove(&self, path: &str) -> Result<(), SandboxError> {
        self.inner.remove(tamed(self.bug, path)).await
    }

    async fn close(&self, last: bool) -> Result<(), SandboxError> {
        self.inner.close(last).await
    }
}

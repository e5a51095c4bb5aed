//! A workspace, a state directory and a sandbox for one test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use seaworthy_ports::sandbox::*;
use seaworthy_ports::{Latch, RunId};
use seaworthy_process::{ProcessConfig, ProcessSandbox, Supervisor};

pub(crate) const SUPERVISOR: &str = env!("CARGO_BIN_EXE_seaworthy-supervisor");
pub(crate) const RUN: &str = "run_1";

pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) sandbox: ProcessSandbox,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        let sandbox = connect(folder.path()).await;
        Self { folder, sandbox }
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    pub(crate) fn spec(&self, attempt: u32) -> SandboxSpec {
        spec(self.folder.path(), attempt)
    }

    pub(crate) async fn open(&self, attempt: u32) -> Arc<dyn SandboxSession> {
        self.sandbox.open(self.spec(attempt)).await.unwrap()
    }
}

pub(crate) async fn connect(folder: &Path) -> ProcessSandbox {
    let config = ProcessConfig::new(folder.join("state"), Supervisor::at(SUPERVISOR));
    ProcessSandbox::connect(config).await.unwrap()
}

pub(crate) fn spec(folder: &Path, attempt: u32) -> SandboxSpec {
    SandboxSpec {
        policy: Policy::UNCONFINED,
        workspace: folder.join("work"),
        limits: Limits::default(),
        env: env(&[("PATH", "/usr/local/bin:/usr/bin:/bin")]),
        owner: Owner {
            run: RunId::new(RUN).unwrap(),
            attempt,
        },
    }
}

pub(crate) fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn argv(argv: &[&str]) -> Exec {
    Exec {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        cwd: String::new(),
        env: BTreeMap::new(),
        stdin: Bytes::new(),
        timeout: Duration::from_secs(60),
        cancel: Latch::never(),
        on_output: None,
    }
}

pub(crate) fn sh(script: &str) -> Exec {
    argv(&["sh", "-c", script])
}

/// Waits for something outside of this process, which no clock can be driven for.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process runs; a zombie does not.
pub(crate) fn runs(pid: i32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Whether a process was stopped by a signal and has not gone on.
pub(crate) fn is_stopped(pid: i32) -> bool {
    state(pid) == Some('T')
}

fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The process id that a command has written to a file, once it has.
pub(crate) async fn pid_in(path: &Path) -> i32 {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    until("a process id", || read().ends_with('\n')).await;
    read().trim().parse().unwrap()
}

/// The process ids of all children of this process, zombies included.
pub(crate) fn children() -> String {
    let mut all = String::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let list = task.unwrap().path().join("children");
        all.push_str(&std::fs::read_to_string(list).unwrap_or_default());
    }
    all
}

//! The workspace of a scenario, what lies around it, and the commands that run in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_ports::sandbox::{
    Exec, ExecOutput, ExitStatus, Limits, Owner, Policy, Sandbox, SandboxError, SandboxSession,
    SandboxSpec,
};
use seaworthy_ports::{Latch, RunId};
use tempfile::TempDir;

use super::Harness;
use crate::outcome::{Halt, Outcome, broken, id, ok, patience, same, within};

/// How a process of a scenario learns of the ground that it shares with the scenario.
const GROUND: &str = "SEAWORTHY_CONTRACT_GROUND";
const PATH: &str = "SEAWORTHY_CONTRACT_PATH";
/// What lies outside, where no command should find it.
pub(super) const CANARY: &str = "the canary sings\n";

/// Where a scenario takes place: `work`, the workspace, and `outside` beside it with a canary in it.
#[derive(Debug)]
pub(super) struct Ground {
    folder: PathBuf,
    path: String,
}

impl Ground {
    /// That of the scenario that has started this process.
    pub(super) fn of_process() -> Result<Self, Halt> {
        let (Some(folder), Ok(path)) = (std::env::var_os(GROUND), std::env::var(PATH)) else {
            return Err(broken(
                "looked for the ground of the scenario",
                "a folder and a path in the environment",
                "none",
            ));
        };
        Ok(Self {
            folder: folder.into(),
            path,
        })
    }

    /// As `command`, which learns of this ground.
    pub(super) fn tell(&self, command: Option<Command>) -> Option<Command> {
        let mut command = command?;
        command.env(GROUND, &self.folder).env(PATH, &self.path);
        Some(command)
    }

    pub(super) fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    pub(super) fn outside(&self) -> PathBuf {
        self.folder.join("outside")
    }

    /// A folder of its own for each scenario makes a run of its own, also where sandboxes share an engine.
    pub(super) fn spec(&self, attempt: u32) -> Result<SandboxSpec, Halt> {
        self.spec_of("a", attempt)
    }

    pub(super) fn spec_of(&self, run: &str, attempt: u32) -> Result<SandboxSpec, Halt> {
        let name = self
            .folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        Ok(SandboxSpec {
            policy: Policy::UNCONFINED,
            workspace: self.work(),
            limits: Limits::default(),
            env: env([("PATH", &*self.path)]),
            owner: Owner {
                run: id(RunId::new(format!("run_{name}_{run}")))?,
                attempt,
            },
        })
    }
}

/// A ground, and the sandbox on it.
#[derive(Debug)]
pub(super) struct World {
    _folder: TempDir,
    pub(super) ground: Ground,
    pub(super) sandbox: Arc<dyn Sandbox>,
}

impl World {
    pub(super) fn new<H: Harness>(harness: &H) -> Result<Self, Halt> {
        let failed = |error| broken("made a workspace", "a folder", error);
        let folder = tempfile::tempdir_in(harness.workspaces()).map_err(failed)?;
        // Commands compare it with what they are told, so no link may be in it.
        let place = fs::canonicalize(folder.path()).map_err(failed)?;
        let ground = Ground {
            folder: place,
            path: harness.path(),
        };
        fs::create_dir(ground.work()).map_err(failed)?;
        fs::create_dir(ground.outside()).map_err(failed)?;
        fs::write(ground.outside().join("canary"), CANARY).map_err(failed)?;
        Ok(Self {
            _folder: folder,
            ground,
            sandbox: harness.sandbox(),
        })
    }

    pub(super) fn work(&self) -> PathBuf {
        self.ground.work()
    }

    pub(super) fn outside(&self) -> PathBuf {
        self.ground.outside()
    }

    /// Opens a session for an attempt of the scenario's run.
    pub(super) async fn open(&self, attempt: u32) -> Result<Arc<dyn SandboxSession>, Halt> {
        self.open_with(self.ground.spec(attempt)?).await
    }

    pub(super) async fn open_with(
        &self,
        spec: SandboxSpec,
    ) -> Result<Arc<dyn SandboxSession>, Halt> {
        let did = format!("opened a session for attempt {}", spec.owner.attempt);
        ok(&did, within(&did, self.sandbox.open(spec)).await?)
    }

    /// What lies outside must be as it was.
    pub(super) fn is_untouched_outside(&self, did: &str) -> Outcome {
        let mut found = Vec::new();
        let failed = |error| broken("looked outside the workspace", "success", error);
        for entry in fs::read_dir(self.outside()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let content = fs::read(entry.path()).unwrap_or_default();
            found.push((entry.file_name(), Bytes::from(content)));
        }
        let canary = (OsString::from("canary"), Bytes::from(CANARY));
        same(
            format!("{did}, and looked outside the workspace"),
            found,
            vec![canary],
        )
    }
}

pub(super) fn env<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<String, String> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    pairs.into_iter().map(owned).collect()
}

/// A command that may take as long as anything is waited for.
pub(super) fn argv<'a>(words: impl IntoIterator<Item = &'a str>) -> Exec {
    Exec {
        argv: words.into_iter().map(str::to_owned).collect(),
        cwd: String::new(),
        env: BTreeMap::new(),
        stdin: Bytes::new(),
        timeout: patience(),
        cancel: Latch::never(),
        on_output: None,
    }
}

pub(super) fn sh(script: &str) -> Exec {
    argv(["sh", "-c", script])
}

/// Runs a command to its end, which it must come to.
pub(super) async fn ran(session: &dyn SandboxSession, exec: Exec) -> Result<ExecOutput, Halt> {
    let did = format!("ran {}", shown(&exec));
    ok(&did, within(&did, session.exec(exec)).await?)
}

/// Runs a script that only prepares something.
pub(super) async fn prepared(session: &dyn SandboxSession, script: &str) -> Outcome {
    let output = ran(session, sh(script)).await?;
    let seen = (output.status, output.stderr.bytes);
    same(
        format!("ran `{script}`"),
        seen,
        (ExitStatus::Code(0), Bytes::new()),
    )
}

/// Tries to run a command.
pub(super) async fn tried(
    session: &dyn SandboxSession,
    exec: Exec,
) -> Result<Result<ExecOutput, SandboxError>, Halt> {
    let did = format!("ran {}", shown(&exec));
    within(&did, session.exec(exec)).await
}

pub(super) fn shown(exec: &Exec) -> String {
    format!("`{}`", exec.argv.join(" "))
}

/// Text of a path, which goes into a command's environment.
pub(super) fn text(path: &Path) -> Result<String, Halt> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or(Halt::NotCheckable(
        "the folder for workspaces has a path that is no UTF-8",
    ))
}

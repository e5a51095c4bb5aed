//! Opening sessions.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::process::Signal;
use seaworthy_ports::AdapterInfo;
use seaworthy_ports::sandbox::{
    Enforcement, Isolation, Kind, Limits, Policy, Sandbox, SandboxError, SandboxSession,
    SandboxSpec,
};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::config::ProcessConfig;
use crate::error::{self, ADAPTER};
use crate::fence::{Claim, PATIENCE, PAUSE, Progress, Refusal, Sweeper};
use crate::protocol::Fence;
use crate::session::{self, ProcessSession};

/// What this adapter enforces, and no more.
const ENFORCEMENT: Enforcement = Enforcement {
    isolation: Isolation::Process,
    filesystem_read: false,
    filesystem_write: false,
    network: false,
    memory: false,
    cpu: false,
    processes: false,
    wall_time: true,
    dies_with_opener: true,
    fencing: true,
};

/// The largest bound on the commands of a session.
const MOST_COMMANDS: usize = 65_536;

/// Runs commands as processes with the rights of this one's user.
#[derive(Clone, Debug)]
pub struct ProcessSandbox {
    /// With an absolute state directory that exists.
    config: Arc<ProcessConfig>,
    sweeper: Arc<Sweeper>,
}

impl ProcessSandbox {
    /// Prepares the state directory and looks for what the adapter needs.
    ///
    /// Dropping the future leaves at most an empty state directory.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] with what is missing: the supervisor, `/proc` with the lists of children (a kernel built
    /// with `CONFIG_PROC_CHILDREN`), or the signal that tells of a child's end. [`Kind::Rejected`] for a state
    /// directory whose path is not UTF-8, or for no commands at all or more than 65536; otherwise what the system says
    /// about the state directory.
    pub async fn connect(config: ProcessConfig) -> Result<Self, SandboxError> {
        let config = spawn_blocking(move || prepare(config))
            .await
            .map_err(|_| session::shutting_down("connect"))??;
        Ok(Self {
            config: Arc::new(config),
            sweeper: Arc::default(),
        })
    }

    /// Takes the run over from earlier attempts, waiting until they have ended.
    async fn take(fence: &Fence) -> Result<Claim, SandboxError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let step = fence.clone();
            let taking = spawn_blocking(move || step.take())
                .await
                .map_err(|_| session::shutting_down("open"))?;
            match taking {
                Ok(Progress::Done(claim)) => return Ok(claim),
                Ok(Progress::Waiting) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
                Ok(Progress::Waiting) => {
                    return Err(error::new(
                        Kind::Unavailable,
                        "open",
                        "commands of an earlier attempt do not end, though they have been told to; let its worker go \
                         on if it is stopped, or kill it",
                    ));
                }
                Err(Refusal::Fenced) => return Err(error::fenced("open")),
                Err(Refusal::Io(source)) => {
                    return Err(error::own_means("open", "the state directory", source));
                }
            }
        }
    }
}

fn prepare(config: ProcessConfig) -> Result<ProcessConfig, SandboxError> {
    let rejected = |why| error::new(Kind::Rejected, "connect", why);
    let failed = |source| error::io("connect", "the state directory", source);
    if !(1..=MOST_COMMANDS).contains(&config.max_commands) {
        return Err(rejected(
            "at least one command must be allowed to run at once, and at most 65536",
        ));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.state_dir)
        .map_err(failed)?;
    let state_dir: PathBuf = fs::canonicalize(&config.state_dir).map_err(failed)?;
    if state_dir.to_str().is_none() {
        return Err(rejected("the state directory's path is not UTF-8"));
    }
    let thread = std::process::id();
    if !fs::exists(format!("/proc/self/task/{thread}/children")).unwrap_or(false) {
        return Err(error::new(
            Kind::Unavailable,
            "connect",
            "mount /proc, with a kernel that has CONFIG_PROC_CHILDREN",
        ));
    }
    if is_ignored(SIGCHLD) {
        return Err(error::new(
            Kind::Unavailable,
            "connect",
            "this process was started with SIGCHLD ignored, so the ends of commands cannot be seen; start it with \
             the signal at its default (env --default-signal=CHLD)",
        ));
    }
    let supervisor = config.supervisor.path();
    if !supervisor.is_absolute() || !supervisor.is_file() {
        return Err(error::new(
            Kind::Unavailable,
            "connect",
            "there is no supervisor at the configured path, which must be absolute; install \
             seaworthy-supervisor there",
        ));
    }
    Ok(ProcessConfig {
        state_dir,
        ..config
    })
}

/// The kernel's number of the signal that tells of a child's end.
const SIGCHLD: u32 = Signal::CHILD.as_raw().unsigned_abs();

/// Whether this process ignores a signal, and with it whatever it starts.
fn is_ignored(signal: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| (mask >> (signal - 1)) & 1 == 1)
}

/// SB-1.
fn refuse_what_is_not_enforced(policy: Policy, limits: Limits) -> Result<(), SandboxError> {
    let unenforced = [
        (policy.isolation > ENFORCEMENT.isolation, "that isolation"),
        (
            policy.deny_read_outside,
            "denying reads outside the workspace",
        ),
        (
            policy.deny_write_outside,
            "denying writes outside the workspace",
        ),
        (policy.deny_network, "denying the network"),
        (limits.memory_bytes.is_some(), "a memory limit"),
        (limits.cpu_time.is_some(), "a limit of CPU time"),
        (limits.processes.is_some(), "a limit of processes"),
    ];
    match unenforced.iter().find(|(is_asked, _)| *is_asked) {
        None => Ok(()),
        Some((_, what)) => Err(error::new(
            Kind::Unsupported,
            "open",
            format!("plain processes cannot enforce {what}; use a stronger sandbox"),
        )),
    }
}

#[async_trait]
impl Sandbox for ProcessSandbox {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: ADAPTER,
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn capabilities(&self) -> Enforcement {
        ENFORCEMENT
    }

    async fn open(&self, spec: SandboxSpec) -> Result<Arc<dyn SandboxSession>, SandboxError> {
        refuse_what_is_not_enforced(spec.policy, spec.limits)?;
        session::check_env(&spec.env, "open")?;
        let workspace = spec.workspace;
        let (config, sweeper) = (Arc::clone(&self.config), Arc::clone(&self.sweeper));
        let root = spawn_blocking(move || {
            sweeper.sweep_if_due(&config.state_dir);
            Dir::open_ambient_dir(workspace, ambient_authority())
                .map_err(|source| error::io("open", "the workspace", source))
        })
        .await
        .map_err(|_| session::shutting_down("open"))??;
        let fence = Fence {
            stem: self.config.state_dir.join(spec.owner.run.as_str()),
            attempt: spec.owner.attempt,
        };
        let claim = Self::take(&fence).await?;
        let session = ProcessSession::new(Arc::clone(&self.config), root, fence, claim, spec.env);
        Ok(Arc::new(session))
    }
}

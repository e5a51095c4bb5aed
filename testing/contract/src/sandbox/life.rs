//! Whether a command lives, or anything that it has started.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use seaworthy_ports::sandbox::{Exec, SandboxSession};
use tokio::time::Instant;

use super::world::{prepared, ran, sh};
use crate::outcome::{Halt, Outcome, broken, holds, patience};

/// What a command says through its own pipe, so that a session's PATH and shell are all that is needed.
const LIFE: &str = "LIFE";
const LOOK_AGAIN: Duration = Duration::from_millis(3);
/// How many [`FAMILY`] has.
pub(super) const ALL: usize = 4;
/// A command with a child, a grandchild whose parent is gone, and one that has left for a session of its own. They do not
/// listen to signals that can be caught, and they say that they live and hold the pipe until they are dead. Should
/// nobody kill them, they end before long.
pub(super) const FAMILY: &str = r#"
    trap '' TERM INT HUP
    (printf x; exec sleep 40) >"$LIFE" &
    ( (printf x; exec sleep 40) >"$LIFE" & )
    setsid sh -c 'printf x; exec sleep 40' >"$LIFE" &
    echo begun
    printf x >"$LIFE"
    exec sleep 40
"#;

/// The reading end of a pipe in the workspace.
#[derive(Debug)]
pub(super) struct Life {
    name: String,
    pipe: File,
    born: usize,
}

impl Life {
    /// Makes a pipe of this name in `work`, the workspace of the session.
    pub(super) async fn new(
        session: &dyn SandboxSession,
        work: &Path,
        name: &str,
    ) -> Result<Self, Halt> {
        let has_tools = ran(session, sh("command -v setsid && command -v mkfifo")).await?;
        if has_tools.status != seaworthy_ports::sandbox::ExitStatus::Code(0) {
            return Err(Halt::NotCheckable(
                "commands have no setsid or no mkfifo in their PATH",
            ));
        }
        prepared(session, &format!("mkfifo {name}")).await?;
        let pipe = open(&work.join(name))?;
        let mut life = Self {
            name: name.to_owned(),
            pipe,
            born: 0,
        };
        let mut probe = life.lend(sh(r#"printf x >"$LIFE""#));
        probe.timeout = patience() / 2;
        let _blocks_if_nobody_reads = ran(session, probe).await?;
        life.look()?;
        if life.born != 1 {
            return Err(Halt::NotCheckable(
                "a pipe in the workspace does not reach this process",
            ));
        }
        life.born = 0;
        Ok(life)
    }

    /// As `exec`, which finds the pipe in its environment.
    pub(super) fn lend(&self, mut exec: Exec) -> Exec {
        exec.env.insert(LIFE.to_owned(), self.name.clone());
        exec
    }

    /// Whether nobody holds the pipe. Takes in what was said.
    fn look(&mut self) -> Result<bool, Halt> {
        let mut buffer = [0; 64];
        loop {
            match self.pipe.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => self.born += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken("read a pipe in the workspace", "success", error)),
            }
        }
    }

    /// How many have said that they live.
    pub(super) fn born(&mut self) -> Result<usize, Halt> {
        self.look()?;
        Ok(self.born)
    }

    /// Waits until `count` have said that they live.
    pub(super) async fn are_born(&mut self, count: usize) -> Outcome {
        let deadline = Instant::now() + patience();
        while self.born()? < count && Instant::now() < deadline {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        holds(
            self.born == count,
            "waited for a command and all that it starts",
            format!("{count} that say that they live"),
            self.born,
        )
    }

    /// Whether all are dead, now or before long.
    pub(super) async fn ends_within(&mut self, limit: Duration) -> Result<bool, Halt> {
        let deadline = Instant::now() + limit;
        loop {
            if self.look()? {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// All must be dead before long.
    pub(super) async fn ends(&mut self, did: &str) -> Outcome {
        self.ended(did, patience()).await
    }

    /// All must be dead by now.
    pub(super) async fn has_ended(&mut self, did: &str) -> Outcome {
        self.ended(did, Duration::ZERO).await
    }

    async fn ended(&mut self, did: &str, limit: Duration) -> Outcome {
        holds(
            self.ends_within(limit).await?,
            did,
            "nothing that the command has started to live",
            "something holds the command's pipe open",
        )
    }
}

/// The reading end, which waits neither for a writer nor for what it says.
#[cfg(unix)]
fn open(path: &Path) -> Result<File, Halt> {
    use rustix::fs::{Mode, OFlags};

    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|_absent| Halt::NotCheckable("a pipe that a command makes is not seen from here"))
}

#[cfg(not(unix))]
fn open(_path: &Path) -> Result<File, Halt> {
    Err(Halt::NotCheckable("this system has no pipes in folders"))
}

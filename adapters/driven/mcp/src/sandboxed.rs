//! A server inside a sandbox session: messages on its standard input and output, one to a line.
//!
//! One task has the process, because a process of a sandbox does one thing at a time. It reads and writes in turns, so that
//! a server that takes nothing before somebody has read what it says is not waited for. Whatever becomes of the connection,
//! the task stays until the process is gone; where the runtime itself ends, the sandbox kills it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use seaworthy_ports::Latch;
use seaworthy_ports::mcp::StdioCommand;
use seaworthy_ports::sandbox::{
    Exec, Kind, OutputStream, SandboxError, SandboxProcess, SandboxSession,
};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::connection::Outbox;
use crate::error::Fault;
use crate::frame::Splitter;
use crate::inbox::Inbox;
use crate::stdio::{Pipe, line, take};

/// How long a server may live. Its session's end is what ends it; sandboxes want a number.
const LIFE: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// How long a server that takes nothing is waited for before it is listened to again.
const TURN: Duration = Duration::from_millis(10);

const ENDED: Fault = Fault::Gone("the server's process ended before it answered");

impl Pipe {
    /// Starts a process inside `sandbox`, which has `grace` to go once its input is closed.
    pub(crate) async fn start_inside(
        sandbox: &dyn SandboxSession,
        command: &StdioCommand,
        inbox: &Arc<Inbox>,
        grace: Duration,
    ) -> Result<(Self, Arc<dyn Outbox>), Fault> {
        let process = sandbox.spawn(exec(command)?).await.map_err(fault)?;
        let (pipe, outbox, ends) = Self::new();
        let server = Server {
            process,
            inbox: Arc::clone(inbox),
            outbox: Arc::downgrade(&outbox),
            splitter: Splitter::new(),
        };
        tokio::spawn(async move {
            server.live(ends.queued, ends.ended, grace).await;
            drop(ends.is_gone);
        });
        Ok((pipe, outbox))
    }
}

fn exec(command: &StdioCommand) -> Result<Exec, Fault> {
    let cwd = command.cwd.to_str();
    let env = command.env.iter();
    Ok(Exec {
        argv: command.argv.clone(),
        cwd: cwd
            .ok_or(Fault::Rejected(
                "the server's folder has a name that is not UTF-8",
            ))?
            .to_owned(),
        env: env
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect(),
        stdin: Bytes::new(),
        timeout: LIFE,
        cancel: Latch::never(),
        on_output: None,
    })
}

/// Nothing has begun. The sandbox's own words may name the program, and nothing more is worth knowing than what follows.
fn fault(error: SandboxError) -> Fault {
    match error.kind() {
        Kind::Unsupported => Fault::Unsupported("the sandbox starts no servers"),
        Kind::Rejected => Fault::Rejected("the sandbox does not take the server's command"),
        Kind::NotFound | Kind::WrongType => Fault::Unreachable(
            "the server's program or its folder does not exist inside the sandbox",
        ),
        Kind::Outside => Fault::Rejected("the server's folder is outside the sandbox"),
        Kind::Denied => Fault::Unreachable("the server's program may not be executed"),
        Kind::Fenced => Fault::Unreachable("another worker has taken the sandbox over"),
        Kind::Unavailable | Kind::NoSpace => {
            Fault::Unreachable("the sandbox cannot start the server's process now")
        }
    }
}

/// A process and those it is connected with.
struct Server {
    process: Box<dyn SandboxProcess>,
    inbox: Arc<Inbox>,
    outbox: Weak<dyn Outbox>,
    splitter: Splitter,
}

impl Server {
    /// Passes messages on until the process ends or is to go, then sees to its end.
    async fn live(
        mut self,
        queue: mpsc::Receiver<Bytes>,
        mut ended: watch::Receiver<bool>,
        grace: Duration,
    ) {
        let may_go_by_itself = self.talk(queue, &mut ended).await;
        self.inbox.end(ENDED);
        if may_go_by_itself {
            let _late = timeout(grace, self.process.close_stdin()).await;
            // What it still says is read, so that it is not kept from going.
            let leaving = async { while self.process.output().await.is_some() {} };
            let _late = timeout(grace, leaving).await;
        }
        // With everything that it has started; one that is gone already has left nothing.
        let _gone = self.process.kill().await;
    }

    /// Returns whether the process may go by itself: somebody has asked for its end, or it has nothing more to say.
    async fn talk(
        &mut self,
        mut queue: mpsc::Receiver<Bytes>,
        ended: &mut watch::Receiver<bool>,
    ) -> bool {
        let mut next: Option<Bytes> = None;
        loop {
            let is_waiting = next.is_some();
            tokio::select! {
                // Without anybody who could ask, it is too late for manners.
                ordered = ended.wait_for(|is_ordered| *is_ordered) => return ordered.is_ok(),
                chunk = self.process.output() => {
                    let Some(chunk) = chunk else { return true };
                    // Its standard error is nobody's business.
                    if chunk.stream == OutputStream::Stdout && !self.heard(&chunk.bytes) {
                        return false;
                    }
                }
                message = queue.recv(), if !is_waiting => match message {
                    Some(message) => next = Some(line(&message)),
                    None => return false,
                },
                () = std::future::ready(()), if is_waiting => {}
            }
            if let Some(message) = &next {
                match timeout(TURN, self.process.write(message.clone())).await {
                    Ok(Ok(())) => next = None,
                    Ok(Err(_takes_no_more)) => return true,
                    // A write that is given up has written nothing.
                    Err(_full) => {}
                }
            }
        }
    }

    /// Returns whether anybody is left who listens.
    fn heard(&mut self, bytes: &[u8]) -> bool {
        let Some(outbox) = self.outbox.upgrade() else {
            return false;
        };
        take(&mut self.splitter, bytes, &self.inbox, &outbox);
        true
    }
}

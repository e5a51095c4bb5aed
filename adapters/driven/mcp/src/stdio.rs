//! A server as a process of this host: messages on its standard input and output, one to a line.
//!
//! The process leads a group of its own, and what it starts goes with it. Three tasks serve it: one writes, one reads, and
//! one, the keeper, waits for its end or brings it about. Whatever becomes of the connection, the keeper stays until the
//! process is gone and nobody of its group is left; where the runtime itself ends, the group is killed as it is dropped.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use seaworthy_ports::mcp::StdioCommand;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::connection::Outbox;
use crate::error::Fault;
use crate::frame::{Frame, Splitter};
use crate::inbox::Inbox;

/// The most messages that wait to be written.
const QUEUE: usize = 64;
/// How much is read at once.
const READ: usize = 64 * 1024;
/// How long the output of a process is read on that has ended, where somebody else holds it open.
const LAST_WORDS: Duration = Duration::from_secs(1);

const ENDED: Fault = Fault::Unreachable("the server's process has ended");

/// The way to a process. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Pipe {
    queue: mpsc::Sender<Bytes>,
    /// Tells the keeper to bring the end about; dropped, at once.
    end: watch::Sender<bool>,
    /// Is dropped when the process is gone.
    gone: watch::Receiver<()>,
}

/// What the tasks of a process go by.
pub(crate) struct Ends {
    /// Messages that wait to be written.
    pub(crate) queued: mpsc::Receiver<Bytes>,
    /// The order to bring the end about.
    pub(crate) ended: watch::Receiver<bool>,
    /// Is dropped when the process is gone.
    pub(crate) is_gone: watch::Sender<()>,
}

#[derive(Debug)]
struct Queue(mpsc::Sender<Bytes>);

#[async_trait]
impl Outbox for Queue {
    async fn send(&self, message: Bytes) -> Result<(), Fault> {
        self.0.send(message).await.map_err(|_message| ENDED)
    }
}

impl Pipe {
    /// Starts a process, which has `grace` for each step of going.
    pub(crate) fn start(
        command: &StdioCommand,
        inbox: &Arc<Inbox>,
        grace: Duration,
    ) -> Result<(Self, Arc<dyn Outbox>), Fault> {
        let (mut child, input, output) = spawn(command)?;
        let group = Group(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(Pid::from_raw),
        );
        let (pipe, outbox, ends) = Self::new();
        let Ends {
            queued,
            ended,
            is_gone,
        } = ends;
        tokio::spawn(write(input, queued, ended.clone()));
        let (read_all, all_read) = watch::channel(());
        let reader = tokio::spawn(read(
            output,
            Arc::clone(inbox),
            Arc::downgrade(&outbox),
            read_all,
        ));
        let inbox = Arc::clone(inbox);
        tokio::spawn(async move {
            let mut rest = all_read.clone();
            keep(&mut child, group, ended, all_read, grace).await;
            if timeout(LAST_WORDS, rest.changed()).await.is_err() {
                reader.abort();
            }
            inbox.end(Fault::Gone("the server's process ended before it answered"));
            drop(is_gone);
        });
        Ok((pipe, outbox))
    }

    /// The way to a process that does not run yet, and its other ends.
    pub(crate) fn new() -> (Self, Arc<dyn Outbox>, Ends) {
        let (queue, queued) = mpsc::channel(QUEUE);
        let (end, ended) = watch::channel(false);
        let (is_gone, gone) = watch::channel(());
        let outbox: Arc<dyn Outbox> = Arc::new(Queue(queue.clone()));
        let ends = Ends {
            queued,
            ended,
            is_gone,
        };
        (Self { queue, end, gone }, outbox, ends)
    }

    /// Waits for room in the queue.
    pub(crate) async fn room(&self) -> Result<mpsc::Permit<'_, Bytes>, Fault> {
        self.queue.reserve().await.map_err(|_closed| ENDED)
    }

    /// Brings the end about and waits for it. Dropping the future leaves that to the keeper.
    pub(crate) async fn close(&self) {
        self.end.send_replace(true);
        let mut gone = self.gone.clone();
        // Nothing is ever sent: the channel ends with the process.
        let _ended = gone.changed().await;
    }
}

fn spawn(command: &StdioCommand) -> Result<(Child, ChildStdin, ChildStdout), Fault> {
    let Some((program, arguments)) = command.argv.split_first() else {
        return Err(Fault::Rejected("the command of the server is empty"));
    };
    let variables = command.env.iter();
    let mut process = Command::new(program);
    process
        .args(arguments)
        .env_clear()
        .envs(variables.map(|(name, value)| (name, value.expose())))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    if !command.cwd.as_os_str().is_empty() {
        process.current_dir(&command.cwd);
    }
    // The error of the system may name the program, and nothing more is worth knowing than what follows.
    let mut child = process.spawn().map_err(|error| {
        Fault::Unreachable(match error.kind() {
            std::io::ErrorKind::NotFound => {
                "the server's program or its folder does not exist; its PATH is the configured one alone"
            }
            std::io::ErrorKind::PermissionDenied => "the server's program may not be executed",
            _ => "the server's process cannot be started",
        })
    })?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(input), Some(output)) => Ok((child, input, output)),
        _ => Err(Fault::Unreachable(
            "the server's process has no standard input and output",
        )),
    }
}

/// Writes messages, each on a line, until the process is to go or takes no more.
async fn write(
    mut input: ChildStdin,
    mut queue: mpsc::Receiver<Bytes>,
    mut ended: watch::Receiver<bool>,
) {
    let writing = async {
        while let Some(message) = queue.recv().await {
            if input.write_all(&line(&message)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        _ordered = ended.wait_for(|is_ordered| *is_ordered) => {}
    }
}

/// Reads messages until the output ends.
async fn read(
    mut output: ChildStdout,
    inbox: Arc<Inbox>,
    outbox: std::sync::Weak<dyn Outbox>,
    _read_all: watch::Sender<()>,
) {
    let mut splitter = Splitter::new();
    let mut buffer = vec![0; READ];
    loop {
        let many = match output.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(many) => many,
        };
        let Some(outbox) = outbox.upgrade() else {
            break;
        };
        let read = buffer.get(..many).unwrap_or_default();
        take(&mut splitter, read, &inbox, &outbox);
    }
    inbox.end(Fault::Gone("the server's process ended before it answered"));
}

/// A message with the end of its line. One write for most messages: a server may read what there is as a line of its own.
pub(crate) fn line(message: &Bytes) -> Bytes {
    let mut line = Vec::with_capacity(message.len().saturating_add(1));
    line.extend_from_slice(message);
    line.push(b'\n');
    line.into()
}

/// Takes what a process has written.
pub(crate) fn take(
    splitter: &mut Splitter,
    bytes: &[u8],
    inbox: &Arc<Inbox>,
    outbox: &Arc<dyn Outbox>,
) {
    splitter.feed(bytes, |frame| match frame {
        Frame::Whole(message) => inbox.take(&message, outbox),
        Frame::TooLarge(Some(id)) => inbox.answered(id, Err(Fault::TooLarge)),
        Frame::TooLarge(None) => {}
    });
}

/// A group of processes. Dropping it kills whoever is in it.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // It may have no member any more.
            let _nobody = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Waits for the end of a process, or brings it about.
async fn keep(
    child: &mut Child,
    group: Group,
    mut ended: watch::Receiver<bool>,
    mut all_read: watch::Receiver<()>,
    grace: Duration,
) {
    let is_asked = tokio::select! {
        _exited = child.wait() => false,
        // A server that closes its output has nothing more to say, and is asked to go.
        _closed = all_read.changed() => true,
        // Without anybody who could ask, it is too late for manners.
        ordered = ended.wait_for(|is_ordered| *is_ordered) => ordered.is_ok(),
    };
    if is_asked && timeout(grace, child.wait()).await.is_err() {
        group.signal(Signal::TERM);
        let _exited = timeout(grace, child.wait()).await;
    }
    // Those it started and left behind, and itself if it is still there. The number of the group is nobody else's before
    // its last member is gone; where none is left, this comes too soon after for the number to be given out again.
    drop(group);
    let _exited = child.wait().await;
}

//! The worker's end of a supervised command.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Stdio;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cap_std::fs::Dir;
use rustix::process::{Pid, Signal, kill_process};
use seaworthy_ports::sandbox::{ExitStatus, Kind, OutputChunk, OutputStream, SandboxError};
use seaworthy_ports::{Latch, LatchSetter};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::config::Supervisor;
use crate::error;
use crate::leftovers::kill_family;
use crate::protocol::{self, CHUNK, HEADER, Job, MAX_JOB, MAX_REPORT, Report, Step};
use crate::supervisor::MARK;

/// How long a supervisor gets to end a command before the caller is told that it could not.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How long it gets before the worker helps: the command may be stopping it as fast as it is woken.
const ALONE: Duration = Duration::from_millis(250);

/// How often a supervisor is woken in case the command, or somebody else, has stopped it.
const WAKE_EVERY: Duration = Duration::from_secs(1);

/// How many pieces of output wait for whoever reads them. Then the command waits.
const OUTPUT_QUEUE: usize = 8;

/// Standard input to come.
pub(crate) enum Input {
    Bytes(Bytes),
    End,
}

/// How it went, once it is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Ended(ExitStatus),
    /// What the supervisor reported instead of an end.
    Refused(Report),
    /// The supervisor went away without a report.
    Lost,
    /// The supervisor did not manage to end it in time.
    Stuck,
}

impl Outcome {
    pub(crate) fn into_result(self, operation: &'static str) -> Result<ExitStatus, SandboxError> {
        let report = match self {
            Self::Ended(status) => return Ok(status),
            Self::Lost => {
                return Err(error::new(
                    Kind::Unavailable,
                    operation,
                    "the supervisor of the command went away; was it killed, or is it no \
                     seaworthy supervisor?",
                )
                .with_unknown_effect());
            }
            Self::Stuck => {
                return Err(error::new(
                    Kind::Unavailable,
                    operation,
                    "the command cannot be killed; the system may be waiting for a device",
                )
                .with_unknown_effect());
            }
            Self::Refused(report) => report,
        };
        Err(match report {
            Report::Fenced { started: false } => error::fenced(operation),
            Report::Fenced { started: true } => error::fenced(operation).with_unknown_effect(),
            Report::NoProgram { path: true } => {
                error::new(Kind::NotFound, operation, "no such program in PATH")
            }
            Report::NoProgram { path: false } => error::new(
                Kind::NotFound,
                operation,
                "the environment has no PATH to find the program in; set one or give the \
                 program's path",
            ),
            Report::Failed { step, errno } => {
                let source = io::Error::from_raw_os_error(errno);
                match step {
                    Step::Run => error::io(operation, "the program could not be run", source),
                    Step::Adopt => error::new(
                        Kind::Unavailable,
                        operation,
                        "the supervisor cannot adopt what the command starts; it needs /proc, with a kernel that \
                         has CONFIG_PROC_CHILDREN",
                    )
                    .with_source(source),
                    Step::Fence => error::new(
                        Kind::Unavailable,
                        operation,
                        "the supervisor cannot use the state directory; is it still there, and may this user write \
                         to it?",
                    )
                    .with_source(source),
                    Step::Watch => error::new(
                        Kind::Unavailable,
                        operation,
                        "the supervisor could not watch the command and ended it",
                    )
                    .with_source(source)
                    .with_unknown_effect(),
                }
            }
            Report::Version(_) => error::new(
                Kind::Unavailable,
                operation,
                "the supervisor is of another release than this program",
            ),
            Report::Started | Report::Code(_) | Report::Signal(_) | Report::Killed => {
                error::new(Kind::Unavailable, operation, "the supervisor is confused")
                    .with_unknown_effect()
            }
        })
    }
}

/// Ends the command when set or dropped.
#[derive(Debug)]
pub(crate) struct KillSwitch(LatchSetter);

impl KillSwitch {
    pub(crate) fn kill(&self) {
        self.0.set();
    }
}

impl Drop for KillSwitch {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// What ends a command from outside.
pub(crate) struct Ends {
    pub(crate) timeout: Duration,
    pub(crate) cancel: Latch,
    /// The session's end.
    pub(crate) closing: Latch,
}

/// A command that runs, or is about to.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) kill: KillSwitch,
    pub(crate) input: mpsc::Sender<Input>,
    pub(crate) output: mpsc::Receiver<OutputChunk>,
    outcome: watch::Receiver<Option<Outcome>>,
    started: watch::Receiver<bool>,
}

impl Running {
    /// How it ended, once it has. Dropping the future changes nothing.
    pub(crate) async fn outcome(&self) -> Outcome {
        let mut outcome = self.outcome.clone();
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.unwrap_or(Outcome::Lost),
            Err(_) => Outcome::Lost, // the runtime is shutting down
        }
    }

    /// Returns once it runs, with how it went if that is over already.
    pub(crate) async fn started(&self) -> Option<Outcome> {
        let mut started = self.started.clone();
        let _either = started.wait_for(|started| *started).await;
        *self.outcome.borrow()
    }
}

/// Starts `job` in `folder`. Blocks for as long as starting a process takes; must be called within a runtime.
///
/// From here on a task of its own sees to it that the command ends and is waited for, whoever loses interest.
pub(crate) fn start(
    supervisor: &Supervisor,
    folder: &Dir,
    job: &Job,
    first: Bytes,
    ends: Ends,
    permit: OwnedSemaphorePermit,
    operation: &'static str,
) -> Result<Running, SandboxError> {
    let message = encode(job, operation)?;
    let failed = |source| error::own_means(operation, "no pipe to the supervisor", source);
    let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
    let cut = ours.try_clone().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let (reader, writer) = UnixStream::from_std(ours).map_err(failed)?.into_split();

    let child = spawn(supervisor, folder, theirs.into());
    let mut child = child.map_err(|source| {
        error::own_means(operation, "the supervisor cannot be started", source)
    })?;

    let (send_output, output) = mpsc::channel(OUTPUT_QUEUE);
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(pump(stdout, OutputStream::Stdout, send_output.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(pump(stderr, OutputStream::Stderr, send_output));
    }
    let (input, receive_input) = mpsc::channel(1);
    let feeder = tokio::spawn(feed(writer, message, first, receive_input)).abort_handle();
    let (kill, killed) = Latch::new();
    let (send_outcome, outcome) = watch::channel(None);
    let (send_started, started) = watch::channel(false);
    let driver = Driver {
        child,
        reports: Reports::new(reader),
        cut,
        feeder,
        killed,
        ends,
        started: send_started,
        outcome: send_outcome,
        _permit: permit,
    };
    tokio::spawn(driver.run());
    Ok(Running {
        kill: KillSwitch(kill),
        input,
        output,
        outcome,
        started,
    })
}

fn encode(job: &Job, operation: &'static str) -> Result<Vec<u8>, SandboxError> {
    let too_large = || {
        error::new(
            Kind::Rejected,
            operation,
            "arguments and environment are too large",
        )
    };
    let job = serde_json::to_vec(job).map_err(|_| too_large())?;
    if job.len() > MAX_JOB {
        return Err(too_large());
    }
    let mut message = protocol::header(protocol::JOB, job.len()).to_vec();
    message.extend(job);
    Ok(message)
}

fn spawn(supervisor: &Supervisor, folder: &Dir, control: OwnedFd) -> io::Result<Child> {
    // The folder is entered by its handle: what is at its path may have changed since it was checked.
    let folder = format!("/proc/self/fd/{}", folder.as_raw_fd());
    Command::new(supervisor.path())
        .arg0("seaworthy-supervisor")
        .arg(MARK)
        .env_clear()
        .current_dir(folder)
        .stdin(Stdio::from(control))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Passes output on until it ends or nobody wants it.
async fn pump(
    mut pipe: impl AsyncRead + Unpin,
    stream: OutputStream,
    to: mpsc::Sender<OutputChunk>,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let read = tokio::select! {
            read = pipe.read_buf(&mut buffer) => read,
            // What has escaped a killed supervisor may hold the other end for ever.
            () = to.closed() => return,
        };
        match read {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let bytes = buffer.split().freeze();
        if to.send(OutputChunk { stream, bytes }).await.is_err() {
            return;
        }
    }
}

/// Sends the job and standard input. Then it only holds its half: giving that back would end the command.
async fn feed(
    mut writer: OwnedWriteHalf,
    job: Vec<u8>,
    first: Bytes,
    mut more: mpsc::Receiver<Input>,
) {
    let sent = async {
        writer.write_all(&job).await?;
        send_input(&mut writer, &first).await?;
        while let Some(input) = more.recv().await {
            match input {
                Input::Bytes(bytes) => send_input(&mut writer, &bytes).await?,
                Input::End => {
                    let end = protocol::header(protocol::INPUT_END, 0);
                    return writer.write_all(&end).await;
                }
            }
        }
        Ok(())
    };
    // It fails when the supervisor is gone, which the driver finds out by itself.
    let _sent: io::Result<()> = sent.await;
    drop(more);
    std::future::pending().await
}

async fn send_input(writer: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    for chunk in bytes.chunks(CHUNK) {
        writer
            .write_all(&protocol::header(protocol::INPUT, chunk.len()))
            .await?;
        writer.write_all(chunk).await?;
    }
    Ok(())
}

/// Sees one command to its end.
struct Driver {
    child: Child,
    reports: Reports,
    /// The same socket as the feeder's, to close it while the feeder is writing.
    cut: StdUnixStream,
    feeder: AbortHandle,
    killed: Latch,
    ends: Ends,
    started: watch::Sender<bool>,
    outcome: watch::Sender<Option<Outcome>>,
    _permit: OwnedSemaphorePermit,
}

impl Driver {
    async fn run(mut self) {
        let outcome = self.outcome().await;
        self.feeder.abort();
        if matches!(outcome, Outcome::Stuck) {
            // Nobody waits for what may never end, but it keeps its permit.
            self.outcome.send_replace(Some(outcome));
        }
        if let (Outcome::Lost, Some(supervisor)) = (outcome, self.supervisor()) {
            // Something killed the supervisor. What is left without it is ended as far as it can be found.
            let _ended = spawn_blocking(move || kill_family(supervisor)).await;
        }
        let _reaped = self.child.wait().await;
        self.outcome.send_replace(Some(outcome));
        self.started.send_replace(true);
    }

    async fn outcome(&mut self) -> Outcome {
        let timeout = tokio::time::sleep(self.ends.timeout);
        tokio::pin!(timeout);
        let mut wake = interval_at(Instant::now() + WAKE_EVERY, WAKE_EVERY);
        wake.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let because = loop {
            tokio::select! {
                biased;
                report = self.reports.next() => {
                    if let Some(outcome) = self.judge(report) {
                        return outcome;
                    }
                }
                _ = wake.tick() => self.wake(),
                () = self.killed.wait() => break ExitStatus::Cancelled,
                () = self.ends.cancel.wait() => break ExitStatus::Cancelled,
                () = self.ends.closing.wait() => break ExitStatus::Cancelled,
                () = &mut timeout => break ExitStatus::TimedOut,
            }
        };
        let _told = self.cut.shutdown(Shutdown::Write);
        tokio::time::timeout(KILL_PATIENCE, self.end(because))
            .await
            .unwrap_or(Outcome::Stuck)
    }

    /// Waits for the supervisor to end the command, which it has been told to, and helps if that takes long.
    async fn end(&mut self, because: ExitStatus) -> Outcome {
        let mut is_helped = false;
        loop {
            self.wake();
            let Ok(report) = tokio::time::timeout(ALONE, self.reports.next()).await else {
                if let Some(supervisor) = self.supervisor() {
                    is_helped = true;
                    let _killed = spawn_blocking(move || kill_family(supervisor)).await;
                }
                continue;
            };
            match report {
                Some(Report::Killed) => return Outcome::Ended(because),
                // Our own doing.
                Some(Report::Signal(signal)) if is_helped && signal == Signal::KILL.as_raw() => {
                    return Outcome::Ended(because);
                }
                report => {
                    if let Some(outcome) = self.judge(report) {
                        return outcome;
                    }
                }
            }
        }
    }

    /// Makes a supervisor go on that was stopped: it ends nothing while it is. One that was not takes no notice.
    fn wake(&self) {
        if let Some(supervisor) = self.supervisor() {
            let _woken = kill_process(supervisor, Signal::CONT);
        }
    }

    /// The supervisor's process id, which is its own until it is waited for.
    fn supervisor(&self) -> Option<Pid> {
        self.child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
    }

    /// What a report means; `None` if another one follows.
    fn judge(&self, report: Option<Report>) -> Option<Outcome> {
        Some(match report {
            None => Outcome::Lost,
            Some(Report::Started) => {
                self.started.send_replace(true);
                return None;
            }
            Some(Report::Code(code)) => Outcome::Ended(ExitStatus::Code(code)),
            Some(Report::Signal(signal)) => Outcome::Ended(ExitStatus::Signal(signal)),
            // It thinks that we have asked for it.
            Some(Report::Killed) => Outcome::Ended(ExitStatus::Cancelled),
            Some(refused) => Outcome::Refused(refused),
        })
    }
}

/// The supervisor's reports.
struct Reports {
    socket: OwnedReadHalf,
    buffer: BytesMut,
}

impl Reports {
    fn new(socket: OwnedReadHalf) -> Self {
        Self {
            socket,
            buffer: BytesMut::new(),
        }
    }

    /// The next report; `None` if none will come. Dropping the future loses nothing.
    async fn next(&mut self) -> Option<Report> {
        loop {
            if let Some(header) = self.buffer.first_chunk::<HEADER>() {
                let (tag, length) = protocol::parse(*header);
                if tag != protocol::REPORT || length > MAX_REPORT {
                    return None;
                }
                if let Some(report) = self.buffer.get(HEADER..HEADER + length) {
                    let report = serde_json::from_slice(report).ok();
                    let _read = self.buffer.split_to(HEADER + length);
                    return report;
                }
            }
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

//! The process between worker and command. One thread, no runtime: it is on the path of every command.
//!
//! It leads a session of its own, without a terminal. The command leads a process group of its own in it, so that a
//! script's `kill 0` does not reach the supervisor.

mod family;
mod program;
mod wire;

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, io, process};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, set_child_subreaper,
    set_parent_process_death_signal, setsid, waitid,
};

use self::wire::{Control, Pending};
use crate::fence::{Guard, PAUSE, Refusal, Registration};
use crate::protocol::{Job, Report, Step, VERSION};

/// The first argument of a program that is asked to supervise.
pub(crate) const MARK: &str = "__seaworthy_supervise";

/// Exit codes of the supervisor itself, for whoever looks at it from outside. Workers read reports.
const DONE: i32 = 0;
const NO_WORKER: i32 = 70; // EX_SOFTWARE

/// How often those are buried that a command has left behind and that have ended.
const BURY_EVERY: Duration = Duration::from_secs(1);

static HOOKED: AtomicBool = AtomicBool::new(false);

/// Makes this program its own supervisor of commands. Call it first thing in `main`, before threads are started.
///
/// Returns at once in every ordinary start. In a start by [`ProcessSandbox`](crate::ProcessSandbox), which it
/// recognises by the first argument, it supervises one command and ends the process.
pub fn supervise_if_asked() {
    HOOKED.store(true, Ordering::Release);
    if env::args_os().nth(1).as_deref() == Some(OsStr::new(MARK)) {
        process::exit(run());
    }
}

pub(crate) fn is_hooked() -> bool {
    HOOKED.load(Ordering::Acquire)
}

fn run() -> i32 {
    let Ok(stdin) = io::stdin().as_fd().try_clone_to_owned() else {
        return NO_WORKER;
    };
    let mut control = Control::new(UnixStream::from(stdin));
    // A worker that dies before it has said what to do leaves nothing to do.
    let Ok(job) = control.job() else {
        return NO_WORKER;
    };
    let report = supervise(&mut control, job).unwrap_or_else(|report| report);
    // After everything is dead: whoever reads it may rely on that. A dead worker reads nothing.
    let _read = control.report(report);
    DONE
}

fn failed(step: Step) -> impl Fn(Errno) -> Report {
    move |errno| Report::Failed {
        step,
        errno: errno.raw_os_error(),
    }
}

fn failed_io(step: Step) -> impl Fn(io::Error) -> Report {
    move |error| Report::Failed {
        step,
        errno: error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
    }
}

/// `Err` when nothing was started.
fn supervise(control: &mut Control, job: Job) -> Result<Report, Report> {
    if job.version != VERSION {
        return Err(Report::Version(VERSION));
    }
    // Only a group leader is refused, which has no terminal to be rid of in any start by a worker.
    let _leader = setsid();
    // A command can stop its supervisor, which then ends nothing. The death of the worker wakes it.
    set_parent_process_death_signal(Some(Signal::CONT)).map_err(failed(Step::Adopt))?;
    set_child_subreaper(Some(getpid())).map_err(failed(Step::Adopt))?;
    family::check().map_err(failed_io(Step::Adopt))?;
    let (_guard, registration) = admit(control, &job)?;

    let mut command = Command::new(program::find(&job)?);
    command
        .args(job.argv.iter().skip(1))
        .env_clear()
        .envs(&job.env)
        .process_group(0)
        .stdin(if job.input {
            Stdio::piped()
        } else {
            Stdio::null()
        });
    if let Some(name) = job.argv.first() {
        command.arg0(name);
    }
    let mut child = command.spawn().map_err(failed_io(Step::Run))?;
    let input = child.stdin.take();
    // The handle is not waited on: `family` reaps the command with everything else.
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return Err(failed(Step::Watch)(Errno::SRCH));
    };
    let report = watch(control, &registration, pid, input).unwrap_or_else(failed(Step::Watch));
    family::end(pid);
    Ok(report)
}

/// Waits for permission to act, and gives up when the worker does.
fn admit(control: &Control, job: &Job) -> Result<(Guard, Registration), Report> {
    let refused = |refusal| match refusal {
        Refusal::Fenced => Report::Fenced { started: false },
        Refusal::Io(error) => failed_io(Step::Fence)(error),
    };
    let guard = loop {
        if let Some(guard) = job.fence.try_enter().map_err(refused)? {
            break guard;
        }
        if control.is_cut(PAUSE).map_err(failed(Step::Fence))? {
            return Err(Report::Killed);
        }
    };
    let registration = job.fence.register().map_err(refused)?;
    if control
        .is_cut(Duration::ZERO)
        .map_err(failed(Step::Fence))?
    {
        return Err(Report::Killed);
    }
    Ok((guard, registration))
}

/// Feeds the command until it ends or has to.
fn watch(
    control: &mut Control,
    registration: &Registration,
    command: Pid,
    input: Option<ChildStdin>,
) -> Result<Report, Errno> {
    let ended: OwnedFd = pidfd_open(command, PidfdFlags::empty())?;
    if control.report(Report::Started).is_err() {
        return Ok(Report::Killed);
    }
    if let Some(pipe) = &input {
        fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    }
    let mut pending = Pending::new(input);
    let mut buried = Instant::now();
    loop {
        let control_wants = if control.has_room(&pending) {
            PollFlags::IN | PollFlags::RDHUP
        } else {
            PollFlags::RDHUP
        };
        let mut fds = vec![
            PollFd::new(&ended, PollFlags::IN),
            PollFd::new(&registration.bell, PollFlags::IN),
            PollFd::from_borrowed_fd(control.as_fd(), control_wants),
        ];
        if let Some(pipe) = pending.waits_for() {
            fds.push(PollFd::from_borrowed_fd(pipe, PollFlags::OUT));
        }
        match poll(&mut fds, Some(&timespec(BURY_EVERY))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let mut ready = fds.iter().map(PollFd::revents);
        let mut next = || ready.next().unwrap_or(PollFlags::empty());
        let (has_ended, bell, worker, pipe) = (next(), next(), next(), next());
        drop(fds);
        if buried.elapsed() >= BURY_EVERY {
            family::bury_all_but(command);
            buried = Instant::now();
        }
        if !has_ended.is_empty() {
            return outcome(command);
        }
        if !bell.is_empty() {
            return Ok(Report::Fenced { started: true });
        }
        if worker.intersects(PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR) {
            return Ok(Report::Killed);
        }
        if worker.contains(PollFlags::IN) && control.receive(&mut pending).is_err() {
            return Ok(Report::Killed);
        }
        if !pipe.is_empty() {
            pending.feed();
        }
    }
}

/// How the command ended. It stays a zombie, so that its process group keeps its number until `family` has ended it.
fn outcome(command: Pid) -> Result<Report, Errno> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = loop {
        match waitid(WaitId::Pid(command), options) {
            Err(Errno::INTR) => {}
            other => break other?.ok_or(Errno::CHILD)?,
        }
    };
    if let Some(code) = status.exit_status() {
        Ok(Report::Code(code))
    } else {
        let signal = status.terminating_signal().ok_or(Errno::INVAL)?;
        Ok(Report::Signal(signal))
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

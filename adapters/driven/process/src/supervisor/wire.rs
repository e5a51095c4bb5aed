//! The supervisor's end of the protocol.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::ChildStdin;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::timespec;
use crate::protocol::{self, CHUNK, HEADER, Job, MAX_JOB, Report};

/// The socket to the worker.
pub(super) struct Control {
    socket: UnixStream,
    /// Of the message that is coming in.
    header: Vec<u8>,
    /// How much of its input is still to come.
    left: usize,
    buffer: Vec<u8>,
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Control {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            header: Vec::with_capacity(HEADER),
            left: 0,
            buffer: vec![0; CHUNK],
        }
    }

    pub(super) fn job(&mut self) -> io::Result<Job> {
        let mut header = [0; HEADER];
        self.socket.read_exact(&mut header)?;
        let (tag, length) = protocol::parse(header);
        if tag != protocol::JOB || length > MAX_JOB {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut job = vec![0; length];
        self.socket.read_exact(&mut job)?;
        Ok(serde_json::from_slice(&job)?)
    }

    /// Reports are far smaller than the socket's buffer, so this does not block.
    pub(super) fn report(&mut self, report: Report) -> io::Result<()> {
        let report = serde_json::to_vec(&report)?;
        let mut message = protocol::header(protocol::REPORT, report.len()).to_vec();
        message.extend(report);
        self.socket.write_all(&message)
    }

    /// Whether the worker has closed its side, or does within `wait`.
    pub(super) fn is_cut(&self, wait: Duration) -> Result<bool, Errno> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        match poll(&mut fds, Some(&timespec(wait))) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Whether more may be read: the command has taken what was read before.
    pub(super) fn has_room(&self, pending: &Pending) -> bool {
        pending.bytes.is_empty()
    }

    /// Reads once, without blocking when called after `poll`.
    pub(super) fn receive(&mut self, pending: &mut Pending) -> io::Result<()> {
        let read = match self.socket.read(&mut self.buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut rest = self.buffer.get(..read).unwrap_or_default();
        while !rest.is_empty() {
            if self.left > 0 {
                let (now, later) = rest.split_at(self.left.min(rest.len()));
                self.left -= now.len();
                pending.push(now);
                rest = later;
                continue;
            }
            let (now, later) = rest.split_at((HEADER - self.header.len()).min(rest.len()));
            self.header.extend_from_slice(now);
            rest = later;
            if let Ok(header) = <[u8; HEADER]>::try_from(self.header.as_slice()) {
                self.header.clear();
                match protocol::parse(header) {
                    (protocol::INPUT, length) => self.left = length,
                    (protocol::INPUT_END, 0) => pending.end(),
                    _ => return Err(ErrorKind::InvalidData.into()),
                }
            }
        }
        pending.feed();
        Ok(())
    }
}

/// Standard input that the command has not taken yet: at most one read of the socket.
pub(super) struct Pending {
    /// `None` once it is closed, by either side; what comes later is dropped.
    pipe: Option<ChildStdin>,
    bytes: Vec<u8>,
    written: usize,
    is_last: bool,
}

impl Pending {
    /// `pipe` does not block.
    pub(super) fn new(pipe: Option<ChildStdin>) -> Self {
        Self {
            pipe,
            bytes: Vec::with_capacity(CHUNK),
            written: 0,
            is_last: false,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.pipe.is_some() {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn end(&mut self) {
        self.is_last = true;
    }

    /// The pipe, if there is something to write into it.
    pub(super) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        let pipe = self.pipe.as_ref()?;
        (!self.bytes.is_empty()).then(|| pipe.as_fd())
    }

    /// Writes as much as goes.
    pub(super) fn feed(&mut self) {
        while let Some(pipe) = &mut self.pipe {
            let rest = self.bytes.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match pipe.write(rest) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.pipe = None, // the command reads no more, which is its right
            }
        }
        self.bytes.clear();
        self.written = 0;
        if self.is_last {
            self.pipe = None;
        }
    }
}

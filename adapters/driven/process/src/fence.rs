//! Keeps earlier attempts of a run from acting once a later one has opened a session (SB-8).
//!
//! Per run, in the state directory:
//!
//! * `<run>.fence` holds the attempt that may act. Whoever acts for it (a supervisor as long as it lives, a file
//!   operation as long as one system call takes) holds the file's lock shared and has read its own attempt in it.
//!   It is written with the lock held exclusively, so after a write nobody acts for an earlier attempt, and whoever
//!   wakes up later reads an attempt that is not its own.
//! * `<run>.live/want-<attempt>` says that this attempt is coming: from here on nobody may start to act for an earlier
//!   one, which is what makes the exclusive lock come free. Each open session of the attempt holds its lock shared.
//! * `<run>.live/sup-<attempt>-<pid>` is a pipe that a living supervisor reads: a byte in it means *end*. Unlike a
//!   process id it cannot be mistaken for another process: a pipe without a reader has no supervisor.
//!
//! Nothing here is synced to disk: who could be fenced dies with the operating system.
//!
//! The last `close` of a run removes all of it; what runs without one leave is removed by [`sweep`].

mod sweep;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

pub(crate) use self::sweep::Sweeper;
use crate::protocol::Fence;

/// How long earlier attempts get to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How often a lock is tried.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// Why somebody may not act.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A later attempt has the run, or the run has ended.
    Fenced,
    /// The state directory fails.
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Permission to act, held as long as this lives.
#[derive(Debug)]
pub(crate) struct Guard(#[expect(dead_code, reason = "dropping it gives the lock back")] File);

/// The sign of an open session, held as long as this lives: its run is not swept.
#[derive(Debug)]
pub(crate) struct Claim(#[expect(dead_code, reason = "dropping it gives the lock back")] File);

/// What one try came to.
#[derive(Debug)]
pub(crate) enum Progress<T> {
    /// Nobody acts for the run any more who must not.
    Done(T),
    /// Somebody still does. They have been told to end; try again.
    Waiting,
}

impl Fence {
    fn file(&self) -> PathBuf {
        with_suffix(&self.stem, ".fence")
    }

    fn live(&self) -> PathBuf {
        with_suffix(&self.stem, ".live")
    }

    /// One try to take the run over. It never waits.
    pub(crate) fn take(&self) -> Result<Progress<Claim>, Refusal> {
        let live = self.live();
        if self.wanted()? > Some(self.attempt) {
            return Err(Refusal::Fenced);
        }
        let Some(claim) = announce(&live, self.attempt)? else {
            return Ok(Progress::Waiting);
        };
        let fence = open_or_create(&self.file())?;
        let held = read_attempt(&fence)?;
        if held == Some(self.attempt) && self.wanted()? == held {
            return Ok(Progress::Done(claim));
        }
        self.end_supervisors(|attempt| attempt < self.attempt)?;
        match fence.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Progress::Waiting),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // The last close of the run may have removed the file between opening and locking it.
        if !is_at(&fence, &self.file())? {
            return Ok(Progress::Waiting);
        }
        if self.wanted()? > Some(self.attempt) || read_attempt(&fence)? > Some(self.attempt) {
            return Err(Refusal::Fenced);
        }
        write_attempt(&fence, self.attempt)?;
        for (name, entry) in entries(&live)? {
            if matches!(entry, Entry::Want(attempt) if attempt < self.attempt) {
                remove(&live.join(name))?;
            }
        }
        Ok(Progress::Done(claim))
    }

    /// Permission to act for this attempt. `None` while somebody holds the lock exclusively, which is for a moment only.
    pub(crate) fn try_enter(&self) -> Result<Option<Guard>, Refusal> {
        let fence = match File::open(self.file()) {
            Ok(fence) => fence,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Refusal::Fenced),
            Err(error) => return Err(error.into()),
        };
        match fence.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        if read_attempt(&fence)? != Some(self.attempt) || self.wanted()? > Some(self.attempt) {
            return Err(Refusal::Fenced);
        }
        Ok(Some(Guard(fence)))
    }

    /// One try to forget the run. [`Progress::Done`] as well if it is not this attempt's to forget.
    pub(crate) fn forget(&self) -> Result<Progress<()>, Refusal> {
        let fence = match OpenOptions::new().read(true).write(true).open(self.file()) {
            Ok(fence) => fence,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Progress::Done(())),
            Err(error) => return Err(error.into()),
        };
        if read_attempt(&fence)? != Some(self.attempt) || self.wanted()? > Some(self.attempt) {
            return Ok(Progress::Done(()));
        }
        self.end_supervisors(|attempt| attempt <= self.attempt)?;
        match fence.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Progress::Waiting),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        if !is_at(&fence, &self.file())?
            || read_attempt(&fence)? != Some(self.attempt)
            || self.wanted()? > Some(self.attempt)
        {
            return Ok(Progress::Done(()));
        }
        // Emptied first: whoever has it open already must not read its own attempt in it.
        fence.set_len(0)?;
        remove(&self.file())?;
        let live = self.live();
        for (name, entry) in entries(&live)? {
            if entry.attempt() <= self.attempt {
                remove(&live.join(name))?;
            }
        }
        remove_empty(&live)?;
        Ok(Progress::Done(()))
    }

    /// Tells the supervisors of these attempts to end, and forgets those that have.
    fn end_supervisors(&self, which: impl Fn(u32) -> bool) -> io::Result<()> {
        let live = self.live();
        for (name, entry) in entries(&live)? {
            let Entry::Supervisor { attempt, pid } = entry else {
                continue;
            };
            if !which(attempt) {
                continue;
            }
            let path = live.join(name);
            match bell(&path, OpenOptions::new().write(true)) {
                Ok(mut bell) => {
                    // Full means that it has been told often enough; a closed one that it ends now.
                    let _told = bell.write(&[0]);
                    // It may have been stopped together with the command.
                    if let Some(pid) = Pid::from_raw(pid) {
                        let _woken = kill_process(pid, Signal::CONT);
                    }
                }
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::NXIO) => remove(&path)?, // nobody reads: it is dead
                    Some(Errno::NOENT) => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// The highest attempt that has announced itself.
    fn wanted(&self) -> io::Result<Option<u32>> {
        let wanted = entries(&self.live())?
            .into_iter()
            .filter_map(|(_, entry)| match entry {
                Entry::Want(attempt) => Some(attempt),
                Entry::Supervisor { .. } => None,
            });
        Ok(wanted.max())
    }

    /// Makes this process known as a living supervisor.
    pub(crate) fn register(&self) -> Result<Registration, Refusal> {
        let name = format!("sup-{}-{}", self.attempt, std::process::id());
        let path = self.live().join(name);
        let made = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
        match made(&path) {
            // Left by a supervisor that was killed and whose process id came round again.
            Err(Errno::EXIST) => remove(&path).map(|()| made(&path))?,
            other => other,
        }
        .map_err(not_found_is_fenced)?;
        // Reading and writing: without a writer of its own, the pipe would be at its end after the first bell.
        let bell = bell(&path, OpenOptions::new().read(true).write(true)).map_err(|error| {
            // A later attempt took it for a dead supervisor's: it was made, but not open yet.
            Errno::from_io_error(&error).map_or(Refusal::Io(error), not_found_is_fenced)
        })?;
        Ok(Registration { path, bell })
    }
}

/// A living supervisor's entry; dropping it removes the entry.
#[derive(Debug)]
pub(crate) struct Registration {
    path: PathBuf,
    /// Readable once the supervisor has been told to end.
    pub(crate) bell: File,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.path);
    }
}

fn not_found_is_fenced(errno: Errno) -> Refusal {
    if errno == Errno::NOENT {
        Refusal::Fenced
    } else {
        Refusal::Io(errno.into())
    }
}

/// What a name in the `live` folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Want(u32),
    Supervisor { attempt: u32, pid: i32 },
}

impl Entry {
    fn parse(name: &str) -> Option<Self> {
        if let Some(attempt) = name.strip_prefix("want-") {
            return Some(Self::Want(attempt.parse().ok()?));
        }
        let (attempt, pid) = name.strip_prefix("sup-")?.split_once('-')?;
        Some(Self::Supervisor {
            attempt: attempt.parse().ok()?,
            pid: pid.parse().ok()?,
        })
    }

    fn attempt(self) -> u32 {
        match self {
            Self::Want(attempt) | Self::Supervisor { attempt, .. } => attempt,
        }
    }
}

fn entries(live: &Path) -> io::Result<Vec<(String, Entry)>> {
    let folder = match fs::read_dir(live) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in folder {
        if let Ok(name) = entry?.file_name().into_string()
            && let Some(entry) = Entry::parse(&name)
        {
            found.push((name, entry));
        }
    }
    Ok(found)
}

/// Announces an attempt, or joins those that have. `None` if what it needs is being swept or forgotten just now.
fn announce(live: &Path, attempt: u32) -> io::Result<Option<Claim>> {
    match DirBuilder::new().recursive(true).mode(0o700).create(live) {
        // It was there a moment ago and is gone.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        other => other?,
    }
    let path = live.join(format!("want-{attempt}"));
    let announcement = match open_or_create(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    claim(announcement, &path)
}

/// `None` if the announcement is being swept, or was after it had been opened.
fn claim(announcement: File, path: &Path) -> io::Result<Option<Claim>> {
    match announcement.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    Ok(is_at(&announcement, path)?.then_some(Claim(announcement)))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn open_or_create(path: &Path) -> io::Result<File> {
    private().create(true).open(path)
}

fn bell(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    options.custom_flags(flags).open(path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a folder unless something is in it.
fn remove_empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error)
            if !matches!(
                Errno::from_io_error(&error),
                Some(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST)
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// `None` in a file that is empty or was being written when the system died: it fences nobody and admits nobody.
fn read_attempt(file: &File) -> io::Result<Option<u32>> {
    let mut text = [0; 16];
    let mut read = 0;
    while let Some(free) = text.get_mut(read..)
        && !free.is_empty()
    {
        match file.read_at(free, read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    let text = text.get(..read).unwrap_or_default();
    let text = std::str::from_utf8(text).ok();
    Ok(text
        .and_then(|text| text.strip_suffix('\n'))
        .and_then(|digits| digits.parse().ok()))
}

/// One write of fixed length, so that a reader sees the old or the new attempt.
fn write_attempt(file: &File, attempt: u32) -> io::Result<()> {
    file.write_all_at(format!("{attempt:010}\n").as_bytes(), 0)
}

fn with_suffix(stem: &Path, suffix: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn fence(state: &tempfile::TempDir, attempt: u32) -> Fence {
        Fence {
            stem: state.path().join("run-1"),
            attempt,
        }
    }

    impl Fence {
        /// Nobody is in the way.
        pub(crate) fn enter(&self) -> Result<Guard, Refusal> {
            self.try_enter().map(Option::unwrap)
        }
    }

    fn is_done<T>(progress: Result<Progress<T>, Refusal>) -> bool {
        matches!(progress.unwrap(), Progress::Done(_))
    }

    #[test]
    fn a_later_attempt_takes_over_and_the_earlier_one_is_refused() {
        let state = tempfile::tempdir().unwrap();
        let (first, second) = (fence(&state, 1), fence(&state, 2));
        assert!(is_done(first.take()));
        assert!(is_done(first.take()));
        drop(first.enter().unwrap());
        assert!(is_done(second.take()));
        assert!(matches!(first.enter(), Err(Refusal::Fenced)));
        assert!(matches!(first.take(), Err(Refusal::Fenced)));
        drop(second.enter().unwrap());
    }

    #[test]
    fn a_takeover_waits_for_those_who_act_and_lets_no_more_of_them_in() {
        let state = tempfile::tempdir().unwrap();
        let (first, second) = (fence(&state, 1), fence(&state, 2));
        assert!(is_done(first.take()));
        let acting = first.enter().unwrap();
        assert!(!is_done(second.take()));
        assert!(matches!(first.enter(), Err(Refusal::Fenced)));
        assert!(matches!(second.enter(), Err(Refusal::Fenced)));
        drop(acting);
        assert!(is_done(second.take()));
        drop(second.enter().unwrap());
    }

    #[test]
    fn an_attempt_that_died_while_taking_over_does_not_let_the_next_one_skip_the_wait() {
        let state = tempfile::tempdir().unwrap();
        let (first, second, third) = (fence(&state, 1), fence(&state, 2), fence(&state, 3));
        assert!(is_done(first.take()));
        let acting = first.enter().unwrap();
        assert!(!is_done(second.take()));
        assert!(!is_done(second.take()));
        assert!(!is_done(third.take()));
        drop(acting);
        assert!(is_done(third.take()));
        assert!(matches!(second.take(), Err(Refusal::Fenced)));
    }

    #[test]
    fn a_supervisor_is_told_to_end_and_a_dead_ones_entry_goes() {
        let state = tempfile::tempdir().unwrap();
        let (first, second) = (fence(&state, 1), fence(&state, 2));
        assert!(is_done(first.take()));
        let dead = first.live().join("sup-1-4000000");
        mknodat(CWD, &dead, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let acting = first.enter().unwrap();
        let registration = first.register().unwrap();
        assert!(!is_done(second.take()));
        assert_eq!((&registration.bell).read(&mut [0; 8]).unwrap(), 1);
        assert!(!dead.exists());
        drop((registration, acting));
        assert!(is_done(second.take()));
    }

    #[test]
    fn a_forgotten_run_leaves_no_file_and_admits_nobody() {
        let state = tempfile::tempdir().unwrap();
        let (first, second) = (fence(&state, 1), fence(&state, 2));
        assert!(is_done(first.take()));
        assert!(is_done(second.take()));
        assert!(is_done(first.forget()));
        drop(second.enter().unwrap());
        let acting = second.enter().unwrap();
        assert!(!is_done(second.forget()));
        drop(acting);
        assert!(is_done(second.forget()));
        assert!(is_done(second.forget()));
        assert!(matches!(second.enter(), Err(Refusal::Fenced)));
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_torn_fence_admits_nobody_and_stops_nobody() {
        let state = tempfile::tempdir().unwrap();
        let (first, second) = (fence(&state, 1), fence(&state, 2));
        assert!(is_done(first.take()));
        fs::write(first.file(), "00000").unwrap();
        assert!(matches!(first.enter(), Err(Refusal::Fenced)));
        assert!(is_done(second.take()));
        drop(second.enter().unwrap());
    }
}

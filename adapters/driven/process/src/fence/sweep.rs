//! Removes what runs leave in the state directory that no session closed for good: those that were cancelled while
//! nobody worked on them, and those whose last worker died.
//!
//! What is removed fences nobody any more, so three things must hold. No session of the run is open on this host: each
//! holds the lock of its attempt's announcement, also in a process that is paused. Nobody acts: whoever does holds the
//! lock of the fence. And the run has been left alone for long: a worker that sleeps between being given a run and
//! opening its session holds nothing yet, so time alone tells of it. A session that opens meanwhile either holds its
//! announcement first, and the run stays, or finds it locked and tries again after the sweep, as for a new run.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use super::{Entry, entries, is_at, remove, remove_empty};
use crate::protocol::Fence;

/// How long a run must have been left alone.
const LEFT_ALONE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How often a process sweeps at most.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many runs go in one sweep, so that the `open` that does it is not held up for long.
const MAX_RUNS: usize = 1000;

/// Sweeps now and then.
#[derive(Debug, Default)]
pub(crate) struct Sweeper(Mutex<Option<Instant>>);

impl Sweeper {
    /// Sweeps unless this process has done so lately. What cannot be removed stays for the next time.
    pub(crate) fn sweep_if_due(&self, state_dir: &Path) {
        let Ok(mut last) = self.0.try_lock() else {
            return;
        };
        if last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        *last = Some(Instant::now());
        if let Some(before) = SystemTime::now().checked_sub(LEFT_ALONE) {
            let _rest_stays = sweep(state_dir, before);
        }
    }
}

/// Removes what runs that were left alone since `before` have left.
fn sweep(state_dir: &Path, before: SystemTime) -> io::Result<()> {
    let mut swept = 0;
    for entry in fs::read_dir(state_dir)? {
        let name = entry?.file_name();
        let run = name.to_str().and_then(|name| {
            name.strip_suffix(".fence")
                .or_else(|| name.strip_suffix(".live"))
        });
        let Some(run) = run else {
            continue;
        };
        let run = Fence {
            stem: state_dir.join(run),
            attempt: 0,
        };
        // One run that cannot be looked at does not keep the others.
        if run.sweep(before).unwrap_or(false) {
            swept += 1;
        }
        if swept == MAX_RUNS {
            break;
        }
    }
    Ok(())
}

impl Fence {
    /// Removes all of the run, whichever attempt has it. Says whether it did.
    fn sweep(&self, before: SystemTime) -> io::Result<bool> {
        let (path, live) = (self.file(), self.live());
        for path in [&path, &live] {
            match fs::metadata(path) {
                Ok(found) if found.modified()? >= before => return Ok(false),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // Without one, the last to open a session died between its announcement and the fence.
        let fence = match lock(&path)? {
            Lock::Held(fence) => Some(fence),
            Lock::Absent => None,
            Lock::Busy => return Ok(false),
        };
        let entries = entries(&live)?;
        let mut announcements = Vec::new();
        for (name, entry) in &entries {
            if matches!(entry, Entry::Want(_)) {
                match lock(&live.join(name))? {
                    Lock::Held(announcement) => announcements.push(announcement),
                    Lock::Absent => {}
                    Lock::Busy => return Ok(false),
                }
            }
        }
        if let Some(fence) = fence {
            // Emptied first: whoever has it open already must not read its own attempt in it.
            fence.set_len(0)?;
            remove(&path)?;
        }
        for (name, _) in entries {
            remove(&live.join(name))?;
        }
        remove_empty(&live)?;
        Ok(true)
    }
}

enum Lock {
    /// Exclusively, as long as the file is open.
    Held(File),
    Busy,
    Absent,
}

fn lock(path: &Path) -> io::Result<Lock> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::Absent),
        other => other?,
    };
    match file.try_lock() {
        Ok(()) if is_at(&file, path)? => Ok(Lock::Held(file)),
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(Lock::Busy),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::{Progress, Refusal};
    use super::*;

    fn fence(state: &tempfile::TempDir, run: &str, attempt: u32) -> Fence {
        Fence {
            stem: state.path().join(run),
            attempt,
        }
    }

    fn take(fence: &Fence) -> super::super::Claim {
        match fence.take().unwrap() {
            Progress::Done(claim) => claim,
            Progress::Waiting => panic!("somebody is in the way"),
        }
    }

    /// Makes a run look as if nothing had happened to it for some time.
    fn age(fence: &Fence) {
        let past = SystemTime::now() - LEFT_ALONE - Duration::from_secs(60);
        for path in [fence.file(), fence.live()] {
            File::open(path).unwrap().set_modified(past).unwrap();
        }
    }

    fn left(state: &tempfile::TempDir) -> Vec<PathBuf> {
        let mut left: Vec<_> = fs::read_dir(state.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        left.sort();
        left
    }

    #[test]
    fn a_run_that_was_left_alone_is_swept_and_another_stays() {
        let state = tempfile::tempdir().unwrap();
        let (old, new) = (fence(&state, "old", 3), fence(&state, "new", 3));
        drop((take(&old), take(&new)));
        // What a killed supervisor leaves goes too.
        fs::write(old.live().join("sup-3-4000000"), "").unwrap();
        age(&old);
        Sweeper::default().sweep_if_due(state.path());
        assert_eq!(left(&state), [new.file(), new.live()]);
        drop(new.enter().unwrap());
        // Whoever had it is refused; whoever comes next starts afresh.
        assert!(matches!(old.enter(), Err(Refusal::Fenced)));
        let next = fence(&state, "old", 4);
        let _claim = take(&next);
        drop(next.enter().unwrap());
    }

    #[test]
    fn a_run_with_an_open_session_is_not_swept_however_old() {
        let state = tempfile::tempdir().unwrap();
        let run = fence(&state, "run", 1);
        let (one, two) = (take(&run), take(&run));
        drop(one);
        age(&run);
        Sweeper::default().sweep_if_due(state.path());
        drop(run.enter().unwrap());
        drop(two);
        age(&run);
        Sweeper::default().sweep_if_due(state.path());
        assert!(left(&state).is_empty());
    }

    #[test]
    fn a_run_that_somebody_acts_for_is_not_swept() {
        let state = tempfile::tempdir().unwrap();
        let run = fence(&state, "run", 1);
        drop(take(&run));
        // As a supervisor does whose worker was killed.
        let acting = run.enter().unwrap();
        age(&run);
        Sweeper::default().sweep_if_due(state.path());
        assert_eq!(left(&state).len(), 2);
        drop(acting);
        Sweeper::default().sweep_if_due(state.path());
        assert!(left(&state).is_empty());
    }

    #[test]
    fn an_announcement_without_a_fence_is_swept_too() {
        let state = tempfile::tempdir().unwrap();
        let run = fence(&state, "run", 1);
        drop(take(&run));
        age(&run);
        fs::remove_file(run.file()).unwrap();
        Sweeper::default().sweep_if_due(state.path());
        assert!(left(&state).is_empty());
    }

    #[test]
    fn a_process_sweeps_once_in_a_while() {
        let state = tempfile::tempdir().unwrap();
        let sweeper = Sweeper::default();
        sweeper.sweep_if_due(state.path());
        let run = fence(&state, "run", 1);
        drop(take(&run));
        age(&run);
        sweeper.sweep_if_due(state.path());
        assert_eq!(left(&state).len(), 2);
    }

    #[test]
    fn a_session_that_opens_while_its_run_is_swept_waits_and_starts_afresh() {
        let state = tempfile::tempdir().unwrap();
        let run = fence(&state, "run", 1);
        drop(take(&run));
        let swept = match lock(&run.live().join("want-1")).unwrap() {
            Lock::Held(swept) => swept,
            _ => panic!("nobody has it"),
        };
        assert!(matches!(run.take().unwrap(), Progress::Waiting));
        // Another has the file open when the sweep removes it, and locks it too late.
        let path = run.live().join("want-1");
        let late = File::open(&path).unwrap();
        remove(&path).unwrap();
        drop(swept);
        assert!(super::super::claim(late, &path).unwrap().is_none());
        let _claim = take(&run);
        drop(run.enter().unwrap());
    }

    #[test]
    fn sessions_that_open_and_sweeps_never_meet_halfway() {
        /// A race that is seldom met proves nothing.
        const OFTEN: u32 = 2000;
        let state = tempfile::tempdir().unwrap();
        let run = fence(&state, "run", 1);
        let (swept, opened) = (AtomicU32::new(0), AtomicU32::new(0));
        let until = Instant::now() + Duration::from_secs(60);
        let is_over = || {
            let often = |count: &AtomicU32| count.load(Ordering::Relaxed) >= OFTEN;
            (often(&swept) && often(&opened)) || Instant::now() > until
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Everything is old enough for a sweep from the future.
                let before = SystemTime::now() + LEFT_ALONE;
                while !is_over() {
                    // What is opened anew in the middle of it ends it.
                    if run.sweep(before).unwrap_or(false) {
                        swept.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            scope.spawn(|| {
                while !is_over() {
                    if let Progress::Done(claim) = run.take().unwrap() {
                        // An open session may act, if not at once: a sweep locks what it then sees it has to leave.
                        while run.try_enter().unwrap().is_none() {}
                        drop(claim);
                        opened.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        });
        assert!(swept.into_inner() >= OFTEN && opened.into_inner() >= OFTEN);
    }
}

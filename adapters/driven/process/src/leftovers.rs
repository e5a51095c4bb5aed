//! Ends what a supervisor cannot end: because it was killed, or because the command keeps stopping it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What forks faster than it is killed is given up on after this time: the caller waits, and asks again if it likes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Kills all processes of the session that `supervisor` leads or led, and all that descend from it, but not itself.
///
/// Once the supervisor is dead, what has left its session no longer descends from it and is not found.
///
/// Call it before `supervisor` is waited for: until then its number cannot become that of another process.
pub(crate) fn kill_family(supervisor: Pid) {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut found = false;
        for member in members(&processes(), supervisor.as_raw_nonzero().get()) {
            found |= kill(member);
        }
        if !found || Instant::now() > until {
            return;
        }
    }
}

/// Whether there was anything to kill.
fn kill(member: Process) -> bool {
    let Some(pid) = Pid::from_raw(member.pid) else {
        return false;
    };
    // The handle is opened, then the process is looked at again: so it cannot be another one of the same number.
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    let is_the_same = process(member.pid).is_some_and(|now| {
        (now.parent, now.session, now.start) == (member.parent, member.session, member.start)
    });
    // One that has got another parent meanwhile is found again in the next round.
    !is_the_same || pidfd_send_signal(handle, Signal::KILL).is_ok()
}

/// What `/proc` says about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    is_alive: bool,
    parent: i32,
    session: i32,
    /// In clock ticks since the system has started.
    start: u64,
}

fn processes() -> BTreeMap<i32, Process> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(process) = pid.and_then(process) {
            found.insert(process.pid, process);
        }
    }
    found
}

fn process(pid: i32) -> Option<Process> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may hold anything, parentheses too.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?; // after the group
    let start = fields.nth(15)?.parse().ok()?;
    Some(Process {
        pid,
        is_alive: !matches!(state, "Z" | "X"),
        parent,
        session,
        start,
    })
}

/// Those that live and are in the leader's session or descend from it. A parent that is gone ends the line.
fn members(all: &BTreeMap<i32, Process>, leader: i32) -> Vec<Process> {
    let descends = |process: &Process| {
        let mut seen = BTreeSet::new();
        let mut ancestor = process.parent;
        // What was read at different moments might even go in a circle.
        while ancestor != leader && seen.insert(ancestor) {
            match all.get(&ancestor) {
                Some(next) => ancestor = next.parent,
                None => return false,
            }
        }
        ancestor == leader
    };
    all.values()
        .filter(|process| process.is_alive && process.pid != leader)
        .filter(|process| process.session == leader || descends(process))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_pass_for_a_state_or_a_session() {
        let stat = "12 (a) Z 1 2 3) S 4 5 6 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9";
        let read = Process {
            pid: 12,
            is_alive: true,
            parent: 4,
            session: 6,
            start: 777,
        };
        assert_eq!(parse(12, stat), Some(read));
        assert_eq!(parse(12, "12 (a"), None);
    }

    #[test]
    fn a_process_is_read_as_the_system_knows_it() {
        // A child that leads its own session: the session of this process may be out of sight, as in a container, and
        // so may its parent.
        let mut child = std::process::Command::new("setsid")
            .args(["sleep", "60"])
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        let seen = loop {
            let seen = process(pid).unwrap();
            if seen.session == pid || Instant::now() > until {
                break seen;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        child.kill().unwrap();
        let killed = process(pid).unwrap();
        child.wait().unwrap();

        assert_eq!(seen.pid, pid);
        assert_eq!(seen.session, pid);
        assert_eq!(seen.parent, i32::try_from(std::process::id()).unwrap());
        assert!(seen.is_alive && seen.start > 0);
        assert_eq!(killed.start, seen.start);
        assert_eq!(process(pid), None);
    }

    #[test]
    fn the_family_is_the_session_and_all_descendants_without_the_dead_the_leader_and_strangers() {
        let all: BTreeMap<_, _> = [
            (10, 1, 10, true),  // the leader
            (11, 10, 10, true), // the command
            (12, 11, 12, true), // its child, in a session of its own
            (13, 12, 13, true), // and that one's
            (14, 1, 10, true),  // an orphan of the session
            (15, 11, 10, false),
            (16, 1, 16, true),
            (17, 99, 17, true), // whose parent was not seen
            (18, 19, 18, true),
            (19, 18, 18, true),
        ]
        .map(|(pid, parent, session, is_alive)| {
            let process = Process {
                pid,
                is_alive,
                parent,
                session,
                start: 0,
            };
            (pid, process)
        })
        .into();
        let found: Vec<_> = members(&all, 10).iter().map(|member| member.pid).collect();
        assert_eq!(found, [11, 12, 13, 14]);
    }
}

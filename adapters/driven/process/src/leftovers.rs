//! What a killed supervisor leaves behind.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A command that forks faster than it is killed is given up on.
const ROUNDS: usize = 100;

/// Kills all processes of the session that `leader` leads or led.
///
/// Call it before `leader` is waited for: until then its number cannot become that of another session.
pub(crate) fn kill_session(leader: Pid) {
    for _ in 0..ROUNDS {
        if !kill_once(leader).unwrap_or(false) {
            return;
        }
    }
}

/// Whether there was anything to kill.
fn kill_once(leader: Pid) -> io::Result<bool> {
    let mut found = false;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        if !is_alive_in(pid, leader) {
            continue;
        }
        // The handle is opened, then the process is looked at again: so it cannot be another one of the same number.
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
            && is_alive_in(pid, leader)
        {
            found |= pidfd_send_signal(handle, Signal::KILL).is_ok();
        }
    }
    Ok(found)
}

fn is_alive_in(pid: Pid, leader: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| {
        state_and_session(&stat).is_some_and(|(state, session)| {
            !matches!(state, "Z" | "X") && session == leader.as_raw_nonzero().get()
        })
    })
}

/// The name in parentheses may hold anything, parentheses too.
fn state_and_session(stat: &str) -> Option<(&str, i32)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let session = fields.nth(2)?.parse().ok()?; // after the parent and the group
    Some((state, session))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_pass_for_a_state_or_a_session() {
        let stat = "12 (a) Z 1 2 3) S 4 5 6 0 -1 4194560";
        assert_eq!(state_and_session(stat), Some(("S", 6)));
        assert_eq!(state_and_session("12 (a"), None);
    }
}

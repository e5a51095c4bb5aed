//! Ends everything a command has started.

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpgid, getpgrp, kill_process, kill_process_group, wait,
};

/// Whether the kernel tells a process its children.
pub(crate) fn check() -> io::Result<()> {
    children().map(drop)
}

/// Kills the command, its process group and all descendants, and returns once they are gone.
///
/// The supervisor is their reaper: a process whose parent dies becomes its child. So it is enough to kill children
/// until there are none, and only children are killed one by one, because a child's id cannot be taken by another
/// process before it is waited for. Groups go in one stroke, which a group that forks without end does not survive.
pub(crate) fn end(command: Pid) {
    let ours = getpgrp();
    let _gone = kill_process_group(command, Signal::KILL);
    loop {
        // The list is missing only when it cannot be read just now; waiting then returns for what was killed before.
        for child in children().unwrap_or_default() {
            let _gone = kill_process(child, Signal::KILL);
            if let Ok(group) = getpgid(Some(child))
                && group != ours
            {
                let _gone = kill_process_group(group, Signal::KILL);
            }
        }
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return, // CHILD: there is nobody left
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}

fn children() -> io::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let list = fs::read_to_string(task?.path().join("children"))?;
        found.extend(
            list.split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .filter_map(Pid::from_raw),
        );
    }
    Ok(found)
}

//! Ends everything a command has started.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::thread;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpgid, getpgrp, kill_process, kill_process_group, wait, waitpid,
};

use crate::fence::PAUSE;

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
        let listed = children();
        let mut groups = BTreeSet::new();
        for child in listed.iter().flatten() {
            let child = *child;
            let _gone = kill_process(child, Signal::KILL);
            // Once for each group: killing one takes as long as it is large, with the dead in it.
            if let Ok(group) = getpgid(Some(child))
                && group != ours
                && groups.insert(group.as_raw_nonzero())
            {
                let _gone = kill_process_group(group, Signal::KILL);
            }
        }
        // Without the list there may be somebody who was not killed, and must not be waited for.
        let options = match &listed {
            Ok(_) => WaitOptions::empty(),
            Err(_) => {
                thread::sleep(PAUSE);
                WaitOptions::NOHANG
            }
        };
        match wait(options) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return, // CHILD: there is nobody left
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}

/// Gives back the process ids of those the command has left to the supervisor and that have ended since: they would
/// pile up as long as it runs. Its own stays, so that its process group keeps its number.
pub(crate) fn bury_all_but(command: Pid) {
    for child in children().unwrap_or_default() {
        if child != command {
            let _lives_on = waitpid(Some(child), WaitOptions::NOHANG);
        }
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

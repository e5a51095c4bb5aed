//! Finds the program of a job.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::protocol::{Job, Report, Step};

/// As `execvp` does it, but with the `PATH` of the job and nothing instead of a missing one.
pub(crate) fn find(job: &Job) -> Result<PathBuf, Report> {
    let name = job.argv.first().map_or("", String::as_str);
    if name.contains('/') {
        return Ok(name.into());
    }
    let path = job.env.get("PATH");
    let mut denied = false;
    for folder in path.iter().flat_map(|path| path.split(':')) {
        // An empty entry is the working directory; with `./` before it, it is not looked up again.
        let folder = if folder.is_empty() { "." } else { folder };
        let candidate = Path::new(folder).join(name);
        let candidate = if candidate.is_absolute() {
            candidate
        } else {
            Path::new(".").join(candidate)
        };
        if name.is_empty() || !candidate.is_file() {
            continue;
        }
        match access(&candidate, Access::EXEC_OK) {
            Ok(()) => return Ok(candidate),
            Err(_) => denied = true,
        }
    }
    Err(if denied {
        Report::Failed {
            step: Step::Run,
            errno: Errno::ACCESS.raw_os_error(),
        }
    } else {
        Report::NoProgram {
            path: path.is_some(),
        }
    })
}

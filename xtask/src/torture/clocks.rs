//! Clocks that are wrong, for some workers: libfaketime between them and the system.

use std::fs;
use std::path::{Path, PathBuf};

use super::process::Variable;
use crate::services::debian;

/// Where Debian and its like keep the library, by the machine's architecture.
const FOLDER: &str = "/usr/lib";
/// For programs with threads first.
const NAMES: [&str; 2] = ["libfaketimeMT.so.1", "libfaketime.so.1"];
/// By how much clocks are off, by the number of the worker; the rest are right.
const OFFSETS: [Option<&str>; 4] = [None, Some("+3600s"), Some("-3600s"), None];

/// What makes a worker's clock wrong.
#[derive(Debug)]
pub(super) struct Clocks(PathBuf);

impl Clocks {
    /// The library, installed where that is allowed. `Err`: why there is none.
    pub(super) fn find() -> Result<Self, String> {
        if let Some(library) = library(Path::new(FOLDER)) {
            return Ok(Self(library));
        }
        debian(&["libfaketime"]).map_err(|failure| failure.to_string())?;
        library(Path::new(FOLDER))
            .map(Self)
            .ok_or_else(|| "the package libfaketime brought no library".to_owned())
    }

    /// The environment of the worker of this number.
    pub(super) fn of(&self, worker: usize) -> Vec<Variable> {
        let Some(offset) = OFFSETS.get(worker % OFFSETS.len()).copied().flatten() else {
            return Vec::new();
        };
        let library = self.0.display().to_string();
        // What passes is measured on the monotonic clock, which is right everywhere.
        [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME", offset),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec()
    }
}

fn library(folder: &Path) -> Option<PathBuf> {
    let machines: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("faketime"))
        .collect();
    NAMES.iter().find_map(|name| {
        machines
            .iter()
            .map(|machine| machine.join(name))
            .find(|file| file.is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_clocks_are_fast_some_slow_and_some_right() {
        let clocks = Clocks("/lib.so".into());
        let off = |worker| {
            let variables = clocks.of(worker);
            variables
                .into_iter()
                .find_map(|(name, value)| (name == "FAKETIME").then_some(value))
        };
        assert_eq!(off(0), None);
        assert_eq!(off(1).as_deref(), Some("+3600s"));
        assert_eq!(off(6).as_deref(), Some("-3600s"));
    }

    #[test]
    fn the_library_for_programs_with_threads_is_preferred() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(library(folder.path()), None);
        let there = folder.path().join("x86_64-linux-gnu/faketime");
        fs::create_dir_all(&there).unwrap();
        fs::write(there.join(NAMES[1]), "").unwrap();
        assert_eq!(library(folder.path()), Some(there.join(NAMES[1])));
        fs::write(there.join(NAMES[0]), "").unwrap();
        assert_eq!(library(folder.path()), Some(there.join(NAMES[0])));
    }
}

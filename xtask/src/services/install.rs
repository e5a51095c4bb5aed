//! Packages of Debian and npm, where this program may install them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::step::execute;

/// Set to `no`, nothing is installed.
const PERMISSION: &str = "SEAWORTHY_INSTALL";

/// Where a program lies, if the search path has it.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Installs Debian packages: as root, where there is `apt-get`, unless the environment forbids it.
pub(crate) fn debian(packages: &[&str]) -> Result<(), Failure> {
    let names = packages.join(" ");
    if let Some(why) = why_not() {
        return Err(Failure::new(format!(
            "{why}. Install it: `apt-get install {names}`, or what your system calls it"
        )));
    }
    eprintln!("installing with apt-get: {names}");
    // A list that is out of date may do; a package that is in none may not.
    let _stale = execute(apt(&["update", "-q"]));
    let mut command = apt(&["install", "-q", "-y", "--no-install-recommends"]);
    command.args(packages);
    execute(command)
}

/// Installs a package of the npm registry into `folder`, unless the environment forbids it. None of its scripts are run.
pub(crate) fn npm(folder: &std::path::Path, package: &str) -> Result<(), Failure> {
    let without = |why: &str| {
        Failure::new(format!(
            "{why}. Install it: `npm install {package}` in {}",
            folder.display()
        ))
    };
    if std::env::var(PERMISSION).is_ok_and(|value| value == "no") {
        return Err(without(&format!("{PERMISSION}=no forbids installing")));
    }
    if installed("npm").is_none() {
        return Err(without("there is no npm to install with"));
    }
    eprintln!("installing with npm: {package}");
    let mut command = Command::new("npm");
    command
        .args(["install", "--prefix"])
        .arg(folder)
        .args([
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--loglevel=error",
        ])
        .arg(package)
        .stdin(Stdio::null())
        // What this program prints there may be for other programs.
        .stdout(std::io::stderr());
    execute(command).map_err(|failure| without(&failure.to_string()))
}

fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        // What this program prints there may be for other programs.
        .stdout(std::io::stderr());
    command
}

/// Why nothing can be installed from here, if so.
fn why_not() -> Option<String> {
    if std::env::var(PERMISSION).is_ok_and(|value| value == "no") {
        Some(format!("{PERMISSION}=no forbids installing"))
    } else if installed("apt-get").is_none() {
        Some("there is no apt-get to install with".to_owned())
    } else if !rustix::process::geteuid().is_root() {
        Some("only root may install".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_where_the_search_path_has_it() {
        assert!(installed("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(installed("no-such-program-at-all"), None);
    }
}

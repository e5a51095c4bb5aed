//! Packages, where this program may install them: of Debian on the system, of others in a folder of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::step::execute;
use crate::workspace;

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

/// The folder into which an installer puts packages of exactly these versions, below the target folder: nothing of the
/// system is changed. What is there already is taken; a folder that is there is whole, because it gets its name last.
pub(super) fn packages(
    name: &str,
    installer: &str,
    args: impl FnOnce(&Path) -> Vec<String>,
) -> Result<PathBuf, Failure> {
    let folder = packages_folder(name)?;
    if folder.is_dir() {
        return Ok(folder);
    }
    if is_forbidden() {
        return Err(Failure::new(format!(
            "{PERMISSION}=no forbids installing {name}"
        )));
    }
    let program = installed(installer)
        .ok_or_else(|| Failure::new(format!("there is no {installer} to install {name} with")))?;
    eprintln!("installing with {installer}: {name}");
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", folder.display()));
    let parent = folder.parent().unwrap_or(&folder);
    fs::create_dir_all(parent).map_err(failed)?;
    let unfinished = tempfile::tempdir_in(parent).map_err(failed)?;
    let mut command = Command::new(program);
    command
        .args(args(unfinished.path()))
        .current_dir(unfinished.path())
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    execute(command)?;
    match fs::rename(unfinished.path(), &folder) {
        // Another process may have been faster.
        Err(_error) if folder.is_dir() => Ok(folder),
        renamed => renamed.map(|()| folder.clone()).map_err(failed),
    }
}

/// Whether there is a node to run packages of npm on.
pub(super) fn node() -> Result<(), Failure> {
    match installed("node") {
        Some(_program) => Ok(()),
        None => Err(Failure::new("there is no node in PATH, which it runs on")),
    }
}

/// The folder into which npm puts packages of exactly these versions.
pub(super) fn npm(name: &str, wanted: &[&str]) -> Result<PathBuf, Failure> {
    packages(name, "npm", |folder| {
        let folder = folder.display().to_string();
        let first = ["install".to_owned(), "--prefix".to_owned(), folder];
        // Some want a newer Node than npm runs on, which is no fault where they run on another.
        let rest = [
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--loglevel=error",
        ];
        let rest = rest.into_iter().chain(wanted.iter().copied());
        first.into_iter().chain(rest.map(str::to_owned)).collect()
    })
}

/// Packages of Python of exactly these versions, with nothing that they depend on.
pub(super) fn pip(name: &str, wanted: &[&str]) -> Result<PathBuf, Failure> {
    packages(name, "python3", |folder| {
        pip_installs(folder, wanted.iter().map(|one| (*one).to_owned()))
    })
}

/// Packages of Python, of exactly the versions that the file `list` has, with nothing that is not in it.
pub(super) fn pinned(name: &str, list: &Path) -> Result<PathBuf, Failure> {
    packages(name, "python3", |folder| {
        pip_installs(
            folder,
            ["--requirement".to_owned(), list.display().to_string()],
        )
    })
}

/// What Python is told to install into `folder`.
fn pip_installs(folder: &Path, what: impl IntoIterator<Item = String>) -> Vec<String> {
    let before = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
        "--target",
    ];
    let before = before.map(str::to_owned).into_iter();
    before
        .chain([folder.display().to_string()])
        .chain(what)
        .collect()
}

/// Whether the folder is named for a version that the file `list` has, relative to the workspace, which leaves none open.
#[cfg(test)]
pub(super) fn is_pinned(folder: &str, list: &str) -> bool {
    let list = fs::read_to_string(workspace::root().unwrap().join(list)).unwrap();
    let (name, version) = folder.rsplit_once('-').unwrap();
    let wanted = format!("{name}=={version}");
    list.lines().any(|line| line == wanted) && list.lines().all(|line| line.contains("=="))
}

/// Where [`packages`] puts what is called so.
pub(super) fn packages_folder(name: &str) -> Result<PathBuf, Failure> {
    let target = workspace::metadata(&workspace::root()?)?.target_directory;
    Ok(target
        .join("services")
        .join("packages")
        .join(name)
        .into_std_path_buf())
}

fn is_forbidden() -> bool {
    std::env::var(PERMISSION).is_ok_and(|value| value == "no")
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
    if is_forbidden() {
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

//! `cargo xtask conformance`: which adapter was seen to keep which clause, as a page.
//!
//! Every contract test keeps its verdict as a file where the environment names a folder. This collects those of the
//! adapters' crates and writes `docs/conformance.md` from them, or compares.

mod collect;
mod page;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata};

use crate::failure::Failure;
use crate::services::Session;
use crate::step::{cargo_command, execute};
use crate::{clauses, test, workspace};

/// The environment variable that names the folder.
pub(crate) const FOLDER: &str = "SEAWORTHY_CONTRACT_REPORT";

/// The crate of the suites.
const CONTRACT: &str = "seaworthy-contract";

/// The page.
pub(crate) const PAGE: &str = "docs/conformance.md";

/// Arguments of `cargo xtask conformance`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Compare the page with what would be written, and write nothing
    #[arg(long)]
    check: bool,
}

/// Runs the contract tests of the adapters and writes the page, or compares it.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let root = workspace::root()?;
    let metadata = workspace::metadata(&root)?;
    let folder = empty_folder(&metadata)?;
    let packages: Vec<String> = adapters(&metadata).into_iter().collect();
    let filters = filters(&root)?;
    let mut command = contract_tests(&root, test::has_nextest(&root), &packages, &filters);
    command.env(FOLDER, &folder);
    // A page without the adapters of a server that is missing would be wrong.
    let session = Session::start_for_conformance()?;
    session.tell(&mut command);
    let tests = execute(command);
    session.stop();
    if args.check {
        tests?;
        return check(&root, &metadata, &folder);
    }
    let page = render(&root, &metadata, &folder)?;
    fs::write(root.join(PAGE), page)
        .map_err(|error| Failure::new(format!("{PAGE} cannot be written: {error}")))?;
    println!("{PAGE} is written");
    tests
}

/// Compares the page with what the tests left in `folder`.
pub(crate) fn check(root: &Path, metadata: &Metadata, folder: &Path) -> Result<(), Failure> {
    let rendered = render(root, metadata, folder)?;
    let written = match fs::read_to_string(root.join(PAGE)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::new(format!("{PAGE} cannot be read: {error}"))),
    };
    Failure::unless_empty(
        &page::differences(&written, &rendered),
        "If the adapters are as they should be, write the page anew with `cargo xtask conformance` and commit it.",
    )?;
    println!("{PAGE} says what the contract tests say");
    Ok(())
}

/// The page.
fn render(root: &Path, metadata: &Metadata, folder: &Path) -> Result<String, Failure> {
    let adapters = adapters(metadata);
    let found = collect::collect(folder, &adapters)?;
    Failure::unless_empty(
        &found.gaps(&adapters),
        "A test ended without a verdict, or did not run: the page would have holes.",
    )?;
    Ok(page::render(&clauses::of_ports(root)?, &found))
}

/// A folder in the target folder with nothing in it.
pub(crate) fn empty_folder(metadata: &Metadata) -> Result<PathBuf, Failure> {
    let folder = metadata
        .target_directory
        .join("conformance")
        .into_std_path_buf();
    let failed = |error| Failure::new(format!("{} cannot be emptied: {error}", folder.display()));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::create_dir_all(&folder).map_err(failed)?;
    Ok(folder)
}

/// The crates of adapters whose tests run a suite.
pub(crate) fn adapters(metadata: &Metadata) -> BTreeSet<String> {
    let is_adapter = |package: &&cargo_metadata::Package| {
        let folder = package
            .manifest_path
            .strip_prefix(&metadata.workspace_root)
            .map(|path| path.as_str().replace('\\', "/"))
            .unwrap_or_default();
        let runs_a_suite = package.dependencies.iter().any(|dependency| {
            dependency.name == CONTRACT && dependency.kind == DependencyKind::Development
        });
        runs_a_suite
            && (folder.starts_with("adapters/driven/")
                || folder.starts_with("adapters/decorators/"))
    };
    let packages = metadata.workspace_packages().into_iter();
    packages
        .filter(is_adapter)
        .map(|package| package.name.to_string())
        .collect()
}

/// What the paths of contract tests contain: their suite's module, which is named like the port, or one beside it.
pub(crate) fn filters(root: &Path) -> Result<Vec<String>, Failure> {
    let ports = clauses::of_ports(root)?;
    Ok(ports
        .into_keys()
        .flat_map(|port| [format!("{port}::"), format!("{port}_")])
        .collect())
}

/// The command that runs the tests of `packages` whose paths contain one of `filters`.
pub(crate) fn contract_tests(
    root: &Path,
    with_nextest: bool,
    packages: &[String],
    filters: &[String],
) -> Command {
    let mut command = if with_nextest {
        cargo_command(root, ["nextest", "run", "--no-fail-fast"])
    } else {
        cargo_command(root, ["test", "--no-fail-fast", "--tests"])
    };
    for package in packages {
        command.args(["--package", package]);
    }
    if !with_nextest {
        command.arg("--");
    }
    command.args(filters);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_adapters_are_the_crates_of_their_folder_that_run_a_suite() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let adapters = adapters(&workspace::metadata(&root).unwrap());
        for one in ["seaworthy-memory", "seaworthy-sqlite", "seaworthy-system"] {
            assert!(adapters.contains(one), "{one}");
        }
        for no_adapter in ["seaworthy-contract", "seaworthy-cli", "xtask"] {
            assert!(!adapters.contains(no_adapter), "{no_adapter}");
        }
    }

    #[test]
    fn contract_tests_are_selected_alike_with_and_without_nextest() {
        let root = Path::new(".");
        let args = |with_nextest| {
            let packages = ["a".to_owned()];
            let filters = ["clock::".to_owned()];
            let command = contract_tests(root, with_nextest, &packages, &filters);
            let args = command
                .get_args()
                .map(|arg| arg.to_str().unwrap().to_owned());
            args.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(args(true), "nextest run --no-fail-fast --package a clock::");
        assert_eq!(
            args(false),
            "test --no-fail-fast --tests --package a -- clock::"
        );
    }
}

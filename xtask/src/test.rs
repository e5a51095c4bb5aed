//! `cargo xtask test`: everything that can be tested on this machine.

use std::path::Path;

use crate::failure::Failure;
use crate::services::{Kind, Session};
use crate::step::{cargo_command, execute, step, succeeds};
use crate::{conformance, workspace};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Args {
    /// Passed on to `cargo nextest run`, or to `cargo test` where nextest is not installed. With a selection of tests
    /// the examples in the documentation are left out
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Runs the tests, then the examples in the documentation, both even if the first fail. The contract tests among them
/// leave their verdicts, with which docs/conformance.md is compared. Servers that tests need are started before and
/// stopped afterwards.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let root = workspace::root()?;
    let with_nextest = has_nextest(&root);
    if !with_nextest {
        println!("cargo-nextest is not installed; using cargo test, which is slower");
    }
    let (session, missing) = Session::start_what_there_is()?;
    let advice = "A test's name says what it expects; run it alone with `cargo xtask test NAME`.";
    // The variables are set for cargo itself, because what tests are ignored is decided when they are compiled.
    let cargo = |args: Vec<&str>| {
        let mut command = cargo_command(&root, args);
        session.tell(&mut command);
        command
    };
    let command = || cargo(test_args(with_nextest, &args.args));
    if !args.args.is_empty() {
        return step("tests", advice, || execute(command()));
    }
    let metadata = workspace::metadata(&root)?;
    let verdicts = conformance::empty_folder(&metadata)?;
    let mut failed = Vec::new();
    let tests = step("tests", advice, || {
        let mut command = command();
        command.env(conformance::FOLDER, &verdicts);
        execute(command)
    });
    if tests.is_err() {
        failed.push("tests");
    }
    let examples = step(
        "examples in the documentation",
        "An example no longer compiles or does not hold: mend it, users copy it.",
        || execute(cargo(vec!["test", "--doc", "--workspace"])),
    );
    if examples.is_err() {
        failed.push("examples in the documentation");
    }
    let mut gaps = missing.clone();
    gaps.retain(|kind| kind.is_in_conformance());
    if !gaps.is_empty() {
        let names: Vec<&str> = gaps.iter().map(|kind| kind.name()).collect();
        println!(
            "{} is not compared, because there is no {}",
            conformance::PAGE,
            names.join(", no ")
        );
    } else if tests.is_ok() {
        // What failed says more than a page that tells of it.
        let conformance = step(
            "conformance",
            "The page says which adapter keeps which clause; users choose by it.",
            || conformance::check(&root, &metadata, &verdicts),
        );
        if conformance.is_err() {
            failed.push("conformance");
        }
    }
    session.stop();
    if failed.is_empty() {
        println!("{}", summary(&missing));
        Ok(())
    } else {
        Err(Failure::new(format!("failed: {}", failed.join(", "))))
    }
}

/// What is said of tests of which none failed.
fn summary(missing: &[Kind]) -> String {
    let names: Vec<&str> = missing.iter().map(|kind| kind.name()).collect();
    if names.is_empty() {
        "all tests passed".to_owned()
    } else {
        format!(
            "all tests passed but those that need {}, which were ignored",
            names.join(", ")
        )
    }
}

pub(crate) fn has_nextest(root: &Path) -> bool {
    succeeds(cargo_command(root, ["nextest", "--version"]))
}

fn names_package(arg: &str) -> bool {
    arg == "--package"
        || arg.starts_with("--package=")
        || (arg.starts_with("-p") && !arg.starts_with("--"))
}

/// The arguments of cargo that run the tests.
fn test_args(with_nextest: bool, extra: &[String]) -> Vec<&str> {
    let mut args = if with_nextest {
        vec!["nextest", "run"]
    } else {
        vec!["test"]
    };
    // One failure hides no other.
    args.push("--no-fail-fast");
    // Cargo does not look at --package where --workspace stands.
    if !extra.iter().any(|arg| names_package(arg)) {
        args.push("--workspace");
    }
    // All targets but the documentation, which is a step of its own.
    if !with_nextest && extra.is_empty() {
        args.extend(["--lib", "--bins", "--tests", "--examples"]);
    }
    args.extend(extra.iter().map(String::as_str));
    args
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{Cli, Command};

    #[test]
    fn extra_arguments_reach_the_runner_as_they_are() {
        let cli =
            Cli::try_parse_from(["xtask", "test", "-p", "xtask", "--no-capture", "name"]).unwrap();
        let Command::Test(args) = cli.command else {
            panic!("another subcommand");
        };
        let passed = test_args(true, &args.args);
        assert_eq!(
            passed,
            [
                "nextest",
                "run",
                "--no-fail-fast",
                "-p",
                "xtask",
                "--no-capture",
                "name"
            ]
        );
    }

    #[test]
    fn the_whole_workspace_is_tested_unless_packages_are_named() {
        let passed = |extra: &str| test_args(true, &[extra.to_owned()]).contains(&"--workspace");
        assert!(passed("name") && passed("--profile=ci"));
        assert!(!passed("--package=xtask") && !passed("-pxtask"));
    }

    #[test]
    fn a_server_that_is_missing_is_told_of() {
        assert_eq!(summary(&[]), "all tests passed");
        assert!(summary(&[Kind::Postgres]).contains("postgres"));
    }

    #[test]
    fn without_nextest_cargo_runs_the_same_tests() {
        let passed = test_args(false, &[]);
        assert_eq!(passed.first(), Some(&"test"));
        assert!(passed.contains(&"--workspace"));
        assert!(!passed.contains(&"--doc"));
    }
}

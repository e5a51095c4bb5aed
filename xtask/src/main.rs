//! Automation of the Seaworthy workspace: `cargo xtask --help`.
//!
//! One file per subcommand. It uses nothing of the workspace, so that it builds and judges while the rest is broken.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a command line"
)]

mod bench;
mod ci;
mod clauses;
mod conformance;
mod docs;
mod failure;
mod layering;
mod markdown;
mod services;
mod soak;
mod step;
mod test;
mod torture;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Automation of the Seaworthy workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs all tests of the workspace and the examples in its documentation
    Test(test::Args),
    /// Runs every check that a change must pass, in order, and says what failed
    Ci(ci::Args),
    /// Checks that crates depend on each other only as docs/architecture.md allows
    Layering,
    /// Checks that the clauses of ports, their pages and the contract suites agree
    Clauses,
    /// Checks that what README.md and docs/ name exists: links, paths, crates, clauses, commands
    Docs,
    /// Writes docs/conformance.md, which adapter keeps which clause, from the contract tests of all adapters
    Conformance(conformance::Args),
    /// Repeats the contract tests of the adapters, each round with another seed
    Soak(soak::Args),
    /// Starts real servers for tests in temporary folders, and stops them
    Services(services::Args),
    /// Kills runs at random moments and checks that nothing happened twice
    Torture(torture::Args),
    /// Measures the release build against what it must reach
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Test(args) => test::run(&args),
        Command::Ci(args) => ci::run(&args),
        Command::Layering => layering::run(),
        Command::Clauses => clauses::run(),
        Command::Docs => docs::run(),
        Command::Conformance(args) => conformance::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Services(args) => return finish(services::run(&args)),
        Command::Torture(args) => torture::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    finish(result.map(|()| ExitCode::SUCCESS))
}

fn finish(result: Result<ExitCode, Failure>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

//! `cargo xtask bench`: runs the benchmark, which lies in testing/bench because it uses the workspace's crates.

use crate::failure::Failure;
use crate::step::{cargo_command, execute};
use crate::workspace;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Measure less, for a first impression
    #[arg(long)]
    quick: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Measure only this: store, many, long, runtime, cold or postgres
    #[arg(long, value_name = "GROUP")]
    only: Vec<String>,
}

/// Builds the benchmark with optimisations and runs it. Its report is also written to target/bench.json.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let root = workspace::root()?;
    let report = workspace::metadata(&root)?
        .target_directory
        .join("bench.json");
    let mut command = cargo_command(
        &root,
        [
            "run",
            "--quiet",
            "--release",
            "--package",
            "seaworthy-bench",
            "--",
        ],
    );
    command.arg("--report").arg(report);
    if args.quick {
        command.arg("--quick");
    }
    if args.json {
        command.arg("--json");
    }
    for group in &args.only {
        command.arg("--only").arg(group);
    }
    execute(command)
}

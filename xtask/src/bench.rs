//! `cargo xtask bench`: runs the benchmark, which lies in testing/bench because it uses the workspace's crates.

use crate::failure::Failure;
use crate::services::{Kind, Session};
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
    /// Measure only this: small, store, many, long, runtime, cold or postgres
    #[arg(long, value_name = "GROUP")]
    only: Vec<String>,
}

/// The group of single operations, which a program of its own measures.
const SMALL: &str = "small";
/// Belongs to that group: what a streamed chunk costs.
const STREAMING: &str = "streaming";

impl Args {
    fn wants_small(&self) -> bool {
        !self.json && (self.only.is_empty() || self.only.iter().any(|group| group == SMALL))
    }

    /// Whether anything but single operations is measured.
    fn wants_large(&self) -> bool {
        self.only.is_empty() || self.only.iter().any(|group| group != SMALL)
    }

    fn wants_postgres(&self) -> bool {
        self.only.is_empty() || self.only.iter().any(|group| group == Kind::Postgres.name())
    }
}

/// Builds the benchmark with optimisations and runs it. Its report is also written to target/bench.json. A database server
/// is started before and stopped afterwards; where there can be none, the rows about it are skipped.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let root = workspace::root()?;
    if args.wants_small() {
        let bench = [
            "bench",
            "--quiet",
            "--profile",
            "release",
            "--package",
            "seaworthy-bench",
            "--bench",
            SMALL,
            "--bench",
            STREAMING,
        ];
        execute(cargo_command(&root, bench))?;
    }
    if !args.wants_large() {
        return if args.json {
            let why = "single operations have no report as JSON: leave --json out, or measure more";
            Err(Failure::new(why))
        } else {
            Ok(())
        };
    }
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
    for group in args.only.iter().filter(|group| *group != SMALL) {
        command.arg("--only").arg(group);
    }
    let session = if args.wants_postgres() {
        Session::start(&[Kind::Postgres]).unwrap_or_else(|failure| {
            eprintln!("nothing is measured on PostgreSQL: {failure}");
            Session::default()
        })
    } else {
        Session::default()
    };
    session.tell(&mut command);
    let measured = execute(command);
    session.stop();
    measured
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_started_only_where_something_is_measured_on_it() {
        let wants = |only: &[&str]| {
            let args = Args {
                quick: false,
                json: false,
                only: only.iter().map(|group| (*group).to_owned()).collect(),
            };
            args.wants_postgres()
        };
        assert!(wants(&[]) && wants(&["store", "postgres"]));
        assert!(!wants(&["store", "cold"]));
    }

    #[test]
    fn single_operations_are_measured_with_all_or_when_asked_for() {
        let args = |json, only: &[&str]| Args {
            quick: false,
            json,
            only: only.iter().map(|group| (*group).to_owned()).collect(),
        };
        let all = args(false, &[]);
        assert!(all.wants_small() && all.wants_large());
        let small = args(false, &["small"]);
        assert!(small.wants_small() && !small.wants_large());
        let other = args(false, &["store"]);
        assert!(!other.wants_small() && other.wants_large());
        // The report for programs is that of the other one alone.
        assert!(!args(true, &[]).wants_small());
    }
}

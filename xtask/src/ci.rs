//! `cargo xtask ci`: every check that a change must pass.

use std::path::Path;
use std::time::Instant;

use clap::ValueEnum;

use crate::failure::Failure;
use crate::step::{cargo_command, execute, seconds, step};
use crate::{clauses, docs, layering, test, workspace};

/// Arguments of `cargo xtask ci`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Run these steps only; may be repeated
    #[arg(long, value_enum, value_name = "STEP")]
    only: Vec<Step>,
    /// Leave these steps out; may be repeated
    #[arg(long, value_enum, value_name = "STEP")]
    except: Vec<Step>,
    /// Stop at the first step that fails
    #[arg(long)]
    fail_fast: bool,
}

impl Args {
    fn steps(&self) -> Vec<Step> {
        Step::value_variants()
            .iter()
            .copied()
            .filter(|step| self.only.is_empty() || self.only.contains(step))
            .filter(|step| !self.except.contains(step))
            .collect()
    }
}

/// A step, in the order in which they run: what is quick and most often wrong comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting
    Fmt,
    /// Who depends on whom
    Layering,
    /// Clauses in code, pages and suites
    Clauses,
    /// Warnings of the compiler and of clippy, in every target
    Clippy,
    /// Every feature of the façade on its own
    Features,
    /// The examples build
    Examples,
    /// What the documentation names exists
    Docs,
    /// The API documentation has no broken link
    Rustdoc,
    /// All tests
    Test,
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Layering => "layering",
            Self::Clauses => "clauses",
            Self::Clippy => "clippy",
            Self::Features => "features",
            Self::Examples => "examples",
            Self::Docs => "docs",
            Self::Rustdoc => "rustdoc",
            Self::Test => "test",
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::Fmt => "Run `cargo fmt --all`.",
            Self::Layering => "The table of who may depend on whom is in docs/architecture.md.",
            Self::Clauses => {
                "A clause is one sentence in three places: the trait, docs/ports/, testing/contract/."
            }
            Self::Clippy => {
                "Mend the cause; where the lint is wrong, use #[expect(lint, reason = \"…\")] at that place."
            }
            Self::Features => "Users turn on one feature; it must build without the others.",
            Self::Examples => "Users copy the examples; they build against the façade alone.",
            Self::Docs => {
                "Documentation may name only what exists: mend the page or bring back what it names."
            }
            Self::Rustdoc => "A link in a doc comment leads nowhere, or to something private.",
            Self::Test => {
                "A test's name says what it expects; run it alone with `cargo xtask test NAME`."
            }
        }
    }

    fn run(self, root: &Path) -> Result<(), Failure> {
        let cargo = |args: &[&str]| execute(cargo_command(root, args));
        match self {
            Self::Fmt => cargo(&["fmt", "--all", "--check"]),
            Self::Layering => layering::run(),
            Self::Clauses => clauses::run(),
            Self::Clippy => cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--locked",
                "--",
                "-D",
                "warnings",
            ]),
            Self::Features => features(root),
            Self::Examples => cargo(&["build", "--workspace", "--examples", "--locked"]),
            Self::Docs => {
                // The pages are checked against what the binary says of itself.
                cargo(&["build", "--package", "seaworthy-cli", "--locked"])?;
                docs::run()
            }
            Self::Rustdoc => {
                // Libraries only: the binary `seaworthy` would overwrite the pages of the library of that name.
                let mut command = cargo_command(
                    root,
                    ["doc", "--workspace", "--lib", "--no-deps", "--locked"],
                );
                command.env("RUSTDOCFLAGS", "-Dwarnings");
                execute(command)
            }
            Self::Test => test::run(&test::Args::default()),
        }
    }
}

/// Runs the steps; all of them, so that one run shows everything that is wrong.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let root = workspace::root()?;
    let start = Instant::now();
    let mut failed = Vec::new();
    for one in args.steps() {
        if step(one.name(), one.advice(), || one.run(&root)).is_err() {
            failed.push(one.name());
            if args.fail_fast {
                break;
            }
        }
    }
    let took = seconds(start.elapsed());
    if failed.is_empty() {
        println!("every step passed, {took}");
        Ok(())
    } else {
        Err(Failure::new(format!(
            "failed: {} ({took})",
            failed.join(", ")
        )))
    }
}

/// Checks the façade without features, then with each of them alone.
fn features(root: &Path) -> Result<(), Failure> {
    let metadata = workspace::metadata(root)?;
    let facade = metadata
        .root_package()
        .ok_or_else(|| Failure::new("the root of the workspace is no package"))?;
    let check = [
        "check",
        "--package",
        &facade.name,
        "--no-default-features",
        "--locked",
    ];
    execute(cargo_command(root, check))?;
    let mut broken = Vec::new();
    for feature in facade.features.keys().filter(|name| *name != "default") {
        println!("feature {feature}");
        let args = check.into_iter().chain(["--features", feature]);
        if execute(cargo_command(root, args)).is_err() {
            broken.push(format!("the feature {feature} does not build alone"));
        }
    }
    Failure::unless_empty(
        &broken,
        "Try one with `cargo check -p seaworthy --no-default-features -F FEATURE`.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(only: &[Step], except: &[Step]) -> Args {
        Args {
            only: only.to_vec(),
            except: except.to_vec(),
            fail_fast: false,
        }
    }

    #[test]
    fn all_steps_run_unless_some_are_named() {
        assert_eq!(args(&[], &[]).steps(), Step::value_variants());
        assert_eq!(
            args(&[Step::Docs, Step::Fmt], &[]).steps(),
            [Step::Fmt, Step::Docs]
        );
        assert!(!args(&[], &[Step::Test]).steps().contains(&Step::Test));
    }

    #[test]
    fn a_step_is_called_what_its_output_calls_it() {
        for step in Step::value_variants() {
            let value = step.to_possible_value().unwrap();
            assert_eq!(value.get_name(), step.name());
        }
    }
}

//! `cargo xtask soak`: the contract tests again and again, each round with another seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use regex::Regex;

use crate::failure::Failure;
use crate::services::Session;
use crate::step::{cargo_command, execute, seconds};
use crate::{conformance, test, torture, workspace};

/// The environment variable that replaces the seed of the suites.
const SEED: &str = "SEAWORTHY_CONTRACT_SEED";

#[expect(
    clippy::expect_used,
    reason = "the pattern is a constant that the tests cover"
)]
static FAILED: LazyLock<Regex> = LazyLock::new(|| {
    // A line of nextest with its crate and test, or one of cargo test.
    Regex::new(r"(?m)^ +(?:TRY \d+ )?(?:FAIL|ABORT|TIMEOUT|SIG[A-Z]+|LEAK-FAIL) +\[[^\]]*\](?: +\([ 0-9/]+\))? +(\S.*?) *$|^test (\S+)(?: - .*)? \.\.\. FAILED$")
        .expect("a valid pattern")
});

/// Arguments of `cargo xtask soak`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// How many rounds
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// The seed of the first round; each round has the next one [default: one that nobody chose]
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Only the tests of this crate; may be repeated [default: every adapter that runs a suite]
    #[arg(long, short, value_name = "CRATE")]
    package: Vec<String>,
    /// Leave out tests whose path contains this, such as the name of a profile; may be repeated
    #[arg(long, value_name = "PART")]
    skip: Vec<String>,
    /// Only tests whose path contains one of these [default: the contract tests]
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

/// Runs the rounds; all of them, so that one says how often what fails.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let root = workspace::root()?;
    let with_nextest = test::has_nextest(&root);
    let packages = if args.package.is_empty() {
        let metadata = workspace::metadata(&root)?;
        conformance::adapters(&metadata).into_iter().collect()
    } else {
        args.package.clone()
    };
    let filters = if args.filters.is_empty() {
        conformance::filters(&root)?
    } else {
        args.filters.clone()
    };
    let (session, _missing) = Session::start_what_there_is()?;
    let command = || {
        let mut command = conformance::contract_tests(&root, with_nextest, &packages, &filters);
        session.tell(&mut command);
        if with_nextest {
            command.args([
                "--status-level",
                "fail",
                "--final-status-level",
                "none",
                "--",
            ]);
        }
        for part in &args.skip {
            command.args(["--skip", part]);
        }
        command
    };
    build(&root, with_nextest, &packages, &session)?;
    let first = args.seed.unwrap_or_else(torture::any_seed);
    println!("{} rounds, the first with the seed {first}", args.times);
    let mut summary = Summary::default();
    for round in 0..args.times {
        let seed = first.wrapping_add(round.into());
        let mut command = command();
        command
            .env(SEED, seed.to_string())
            .env_remove(conformance::FOLDER);
        let start = Instant::now();
        let output = command
            .output()
            .map_err(|error| Failure::new(format!("the tests cannot be started: {error}")))?;
        let took = start.elapsed();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let is_good = output.status.success();
        summary.take(seed, is_good, &text, took);
        let word = if is_good { "ok" } else { "FAILED" };
        println!(
            "round {}/{}, seed {seed}: {word}, {}",
            round + 1,
            args.times,
            seconds(took)
        );
        if !is_good {
            println!("{}", text.trim_end());
        }
    }
    session.stop();
    summary.tell(args.times)
}

/// Builds what the rounds run, so that their durations are those of tests.
fn build(
    root: &Path,
    with_nextest: bool,
    packages: &[String],
    session: &Session,
) -> Result<(), Failure> {
    let mut command = if with_nextest {
        cargo_command(root, ["nextest", "run", "--no-run"])
    } else {
        cargo_command(root, ["test", "--no-run", "--tests"])
    };
    for package in packages {
        command.args(["--package", package]);
    }
    session.tell(&mut command);
    execute(command)
}

/// What the rounds came to.
#[derive(Debug, Default)]
struct Summary {
    rounds_failed: u32,
    took: Duration,
    /// Seeds by what failed with them.
    failed: BTreeMap<String, Vec<u64>>,
}

impl Summary {
    fn take(&mut self, seed: u64, is_good: bool, text: &str, took: Duration) {
        self.took += took;
        if is_good {
            return;
        }
        self.rounds_failed += 1;
        let mut tests = failed_tests(text);
        if tests.is_empty() {
            tests.push("no test, but the run".to_owned());
        }
        for test in tests {
            self.failed.entry(test).or_default().push(seed);
        }
    }

    fn tell(&self, times: u32) -> Result<(), Failure> {
        let took = seconds(self.took);
        if self.rounds_failed == 0 {
            println!("all {times} rounds passed, {took}");
            return Ok(());
        }
        let findings: Vec<String> = self
            .failed
            .iter()
            .map(|(test, seeds)| {
                let shown: Vec<String> = seeds.iter().take(5).map(u64::to_string).collect();
                format!(
                    "{test}: {} times, with the seeds {}",
                    seeds.len(),
                    shown.join(", ")
                )
            })
            .collect();
        println!("{} of {times} rounds failed, {took}", self.rounds_failed);
        Failure::unless_empty(
            &findings,
            "One round with a seed: `cargo xtask soak --times 1 --seed SEED`, with -p CRATE and a part of the test's name.",
        )
    }
}

/// The tests that failed, by what their runner prints; each once.
fn failed_tests(text: &str) -> Vec<String> {
    let mut tests: Vec<String> = FAILED
        .captures_iter(text)
        .filter_map(|found| found.get(1).or_else(|| found.get(2)))
        .map(|test| test.as_str().to_owned())
        .collect();
    tests.sort();
    tests.dedup();
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXTEST: &str = "
        FAIL [   0.512s] (1/3) seaworthy-sqlite::contract state_store::it_holds
     SIGABRT [   0.512s] seaworthy-sqlite::contract state_store::it_survives
     Summary [   2.768s] 122 tests run: 120 passed, 2 failed, 25 skipped
        FAIL [   0.512s] (1/3) seaworthy-sqlite::contract state_store::it_holds
";
    const CARGO: &str = "
test state_store::it_holds ... FAILED
test state_store::it_survives ... ok
test result: FAILED. 1 passed; 1 failed
";

    #[test]
    fn what_failed_is_read_from_both_runners_and_counted_once() {
        assert_eq!(
            failed_tests(NEXTEST),
            [
                "seaworthy-sqlite::contract state_store::it_holds",
                "seaworthy-sqlite::contract state_store::it_survives"
            ]
        );
        assert_eq!(failed_tests(CARGO), ["state_store::it_holds"]);
    }

    #[test]
    fn rounds_that_fail_are_told_with_their_seeds() {
        let mut summary = Summary::default();
        summary.take(7, true, "", Duration::ZERO);
        assert!(summary.tell(1).is_ok());
        summary.take(8, false, CARGO, Duration::ZERO);
        summary.take(9, false, "error: it does not build", Duration::ZERO);
        let told = summary.tell(3).unwrap_err().to_string();
        for part in [
            "state_store::it_holds: 1 times, with the seeds 8",
            "no test, but the run: 1 times, with the seeds 9",
        ] {
            assert!(told.contains(part), "{told}");
        }
    }
}

//! `cargo xtask torture`: kills runs at random moments and holds what is left against what must be.
//!
//! The program under test is the `seaworthy` binary, as users run it. What its tools did to the world is read from
//! their own journals, never from what Seaworthy says about them.

mod agent;
mod chance;
mod checks;
mod clocks;
mod engine;
mod fleet;
mod kill;
mod process;
mod proxy;
mod stop;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::services::Kind;
use crate::step::{cargo_command, execute, seconds};
use crate::workspace;

use agent::Bench;
use chance::Chance;
pub(crate) use chance::any_seed;
use checks::Totals;

/// Arguments of `cargo xtask torture`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where the runs are kept
    #[arg(long, value_enum, value_name = "STORE", default_value_t = Store::Sqlite)]
    store: Store,
    /// On a server: what makes the runs advance [default: the store]
    #[arg(long, value_enum, value_name = "RUNTIME")]
    runtime: Option<Runtime>,
    /// Where the server of that runtime cannot be had, say so and leave it at that
    #[arg(long, requires = "runtime")]
    where_possible: bool,
    /// In files: kill at least so many times
    #[arg(long, value_name = "N", default_value_t = 100)]
    kills: u32,
    /// In files: over at least so many runs [default: 20]; on a server: this many [default: 20]
    #[arg(long, value_name = "N")]
    runs: Option<u32>,
    /// On a server: this many workers
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=64))]
    workers: u16,
    /// Give up after so long [default: 270, on a server 160]
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// How many runs at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: u32,
    /// Repeat the delays of an earlier torture; where they fall is up to the machine [default: another one each time]
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Torture the release build
    #[arg(long)]
    release: bool,
    /// Torture this program instead of building one
    #[arg(long, value_name = "FILE", conflicts_with = "release")]
    program: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Where runs are kept, and with that what can happen to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    /// Files: runs are killed and continued, one process each
    Sqlite,
    /// A database server: a fleet of workers on it
    Postgres,
}

/// What makes runs advance, where that is not the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Runtime {
    /// A Restate server
    Restate,
}

/// Runs the torture and reports what was seen.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match args.store {
        Store::Sqlite if args.runtime.is_some() => Err(Failure::new(
            "--runtime is for a fleet; say --store postgres too",
        )),
        Store::Sqlite => in_files(args),
        Store::Postgres => on_server(args),
    }
}

/// A fleet of workers on one server.
fn on_server(args: &Args) -> Result<(), Failure> {
    if args.where_possible
        && args.runtime == Some(Runtime::Restate)
        && let Err(failure) = Kind::Restate.provide()
    {
        println!("There is no Restate server here, so nothing is TORTURED on one:\n{failure}");
        return Ok(());
    }
    let root = workspace::root()?;
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build(&root, args.release)?,
    };
    let seed = args.seed.unwrap_or_else(any_seed);
    let start = Instant::now();
    let deadline = start + Duration::from_secs(args.seconds.unwrap_or(160));
    if !args.json {
        println!("seed {seed}");
    }
    let bench = Bench::new(program)?;
    let mut chance = Chance::new(seed);
    let reference = kill::reference(&bench, deadline)?;
    let plan = fleet::Plan {
        runs: args.runs.unwrap_or(20),
        workers: args.workers.into(),
        jobs: args.jobs.max(1),
        deadline,
        on_restate: args.runtime == Some(Runtime::Restate),
    };
    let (totals, storm) = match fleet::torture(&bench, &plan, &reference, &mut chance) {
        Ok(done) => done,
        Err(failure) => {
            let kept = bench.keep();
            return Err(Failure::new(format!(
                "{failure}\nEverything is kept in {}. Seed: {seed}",
                kept.display()
            )));
        }
    };
    let mut faults = totals.faults.clone();
    faults.extend(process::left_behind(bench.folder(), Duration::from_secs(5)));
    if args.json {
        let took = start.elapsed().as_secs_f64();
        let report = json!({
            "seed": seed, "seconds": took, "fleet": shown(&totals), "storm": storm.shown(), "faults": faults,
        });
        println!("{report:#}");
    } else {
        for (name, value) in ROWS {
            println!("{name:<42}{:>8}", value(&totals));
        }
        println!("storm: {}", storm.shown());
        println!("took {}", seconds(start.elapsed()));
    }
    if !faults.is_empty() {
        let kept = bench.keep();
        let advice = format!("Everything is kept in {}. Seed: {seed}", kept.display());
        return Failure::unless_empty(&faults, &advice);
    }
    Ok(())
}

/// Runs in files, killed and continued.
fn in_files(args: &Args) -> Result<(), Failure> {
    let root = workspace::root()?;
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build(&root, args.release)?,
    };
    let seed = args.seed.unwrap_or_else(any_seed);
    let start = Instant::now();
    let (runs, seconds_given) = (args.runs.unwrap_or(20), args.seconds.unwrap_or(270));
    let deadline = start + Duration::from_secs(seconds_given);
    if !args.json {
        println!("seed {seed}");
    }
    let bench = Bench::new(program)?;
    let mut chance = Chance::new(seed);
    let reference = kill::reference(&bench, deadline)?;
    let plan = kill::Plan {
        kills: args.kills,
        runs,
        jobs: args.jobs.max(1),
        deadline,
    };
    let killed = kill::torture(&bench, &plan, &reference, &mut chance)?;
    let stopped = stop::torture(&bench, &reference, deadline, &mut chance)?;
    let mut faults = killed.faults.clone();
    faults.extend(stopped.faults.iter().cloned());
    if killed.kills < args.kills || killed.runs < runs {
        faults.push(format!(
            "only {} kills over {} runs in {} s; give it more time with --seconds",
            killed.kills, killed.runs, seconds_given
        ));
    }
    faults.extend(process::left_behind(bench.folder(), Duration::from_secs(5)));
    if args.json {
        let took = start.elapsed().as_secs_f64();
        let report = json!({
            "seed": seed, "seconds": took, "killed": shown(&killed), "stopped": shown(&stopped), "faults": faults,
        });
        println!("{report:#}");
    } else {
        table(&killed, &stopped);
        println!("took {}", seconds(start.elapsed()));
    }
    if !faults.is_empty() {
        let kept = bench.keep();
        let advice = format!("Everything is kept in {}. Seed: {seed}", kept.display());
        return Failure::unless_empty(&faults, &advice);
    }
    Ok(())
}

/// Builds the binary, and says where it is.
fn build(root: &Path, release: bool) -> Result<PathBuf, Failure> {
    let mut command = cargo_command(root, ["build", "--quiet", "--package", "seaworthy-cli"]);
    if release {
        command.arg("--release");
    }
    execute(command)?;
    let target = workspace::metadata(root)?.target_directory;
    let profile = if release { "release" } else { "debug" };
    Ok(target.into_std_path_buf().join(profile).join("seaworthy"))
}

type Row = (&'static str, fn(&Totals) -> u64);

const ROWS: [Row; 9] = [
    ("runs", |totals| u64::from(totals.runs)),
    ("kills (SIGKILL) or stops (SIGSTOP)", |totals| {
        u64::from(totals.kills)
    }),
    ("attempts", |totals| totals.attempts),
    ("non-idempotent effects", |totals| totals.effects),
    ("  begun again after the verifier's no", |totals| {
        totals.begun_again
    }),
    ("  resolved by the verifier: it happened", |totals| {
        totals.verified_yes
    }),
    ("  resolved by the verifier: it did not", |totals| {
        totals.verified_no
    }),
    ("idempotent effects repeated", |totals| totals.repeated),
    ("faults", |totals| totals.faults.len() as u64),
];

fn table(killed: &Totals, stopped: &Totals) {
    println!("{:<42}{:>8}{:>9}", "", "killed", "stopped");
    for (name, value) in ROWS {
        println!("{name:<42}{:>8}{:>9}", value(killed), value(stopped));
    }
}

fn shown(totals: &Totals) -> Value {
    json!({
        "runs": totals.runs,
        "kills": totals.kills,
        "attempts": totals.attempts,
        "non_idempotent_effects": totals.effects,
        "begun_again": totals.begun_again,
        "verified_yes": totals.verified_yes,
        "verified_no": totals.verified_no,
        "idempotent_repeated": totals.repeated,
        "faults": totals.faults.len(),
    })
}

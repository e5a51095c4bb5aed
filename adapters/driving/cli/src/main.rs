//! The command line of Seaworthy: the one place where adapters are put together and the environment is read.

mod args;
mod asked;
mod attach;
mod commands;
mod descriptor;
mod drive;
mod environment;
mod error;
mod kept;
mod models;
mod observer;
mod output;
mod postgres_url;
mod progress;
mod runtime;
mod stack;
mod stop;
mod store;
mod telemetry;
mod typed;
mod work;

use std::process::ExitCode;

use crate::commands::Context;
use crate::environment::Environment;
use crate::error::{CliError, Exit};

/// Runs make many small objects on one thread and drop them on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A supervised command starts this program again; then nothing below applies.
    seaworthy::process::supervise_if_asked();
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let environment = Environment::read();
    let quiet = cli.command.provokes_warnings().then_some("off");
    observer::log_to_stderr(environment.log_filter.as_deref().or(quiet));
    let json = cli.common.json;
    let exit = match run(cli, environment) {
        Ok(exit) => exit,
        // Whoever read the output has seen enough.
        Err(CliError::OutputClosed) => Exit::Succeeded,
        Err(error) => {
            output::report(&error, json);
            error.exit()
        }
    };
    exit.into()
}

fn run(cli: args::Cli, environment: Environment) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| CliError::Io {
            doing: "start the runtime".to_owned(),
            source,
        })?;
    let context = Context::new(cli.common, environment);
    let outcome = runtime.block_on(commands::run(&context, cli.command));
    // A question that nobody answered must not hold the process.
    runtime.shutdown_background();
    outcome
}

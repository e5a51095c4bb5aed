//! Measures what durability costs, against what it may cost at most: appends per run, the cost of a step early and late
//! in a long run, the throughput of many runs against what SQLite itself reaches, and the time to start and to resume.
//!
//! Everything runs on the adapters that the command line uses. Only the model is another one: it answers at once and in
//! constant time, so that nothing of it is measured. Where runs are held against SQLite, the sandbox is another one too.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a command line"
)]

mod counting;
mod model;
mod raw;
mod report;
mod run;
mod stack;
mod throughput;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use report::Report;

/// The one that the command line has too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What any step of the benchmark fails with: a person reads it.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Measures Seaworthy.
#[derive(Debug, Parser)]
#[command(name = "seaworthy-bench")]
struct Args {
    /// Measure less, for a first impression; limits that are missed are only shown
    #[arg(long)]
    quick: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Also write the report here, as JSON. The databases lie beside it while they are measured
    #[arg(long, value_name = "FILE", default_value = "bench.json")]
    report: PathBuf,
}

fn main() -> ExitCode {
    seaworthy::process::supervise_if_asked();
    let args = Args::parse();
    match measured(&args) {
        Ok(report) => ExitCode::from(u8::from(!args.quick && !report.holds())),
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measured(args: &Args) -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(measure(args))?;
    let json = format!("{:#}\n", report.json());
    std::fs::write(&args.report, &json)?;
    if args.json {
        print!("{json}");
    } else {
        print!("{}", report.table());
    }
    Ok(report)
}

async fn measure(args: &Args) -> Result<Report, Failure> {
    let beside = match args.report.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => ".".as_ref(),
    };
    // Not the folder for temporary files, which may well be in memory.
    let folder = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(beside)?;
    let mut report = Report::new(args.quick);
    run::appends(folder.path(), &mut report).await?;
    run::long(folder.path(), args.quick, &mut report).await?;
    throughput::measure(folder.path(), args.quick, &mut report).await?;
    Ok(report)
}

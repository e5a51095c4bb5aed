//! Measures what durability costs, against what it may cost at most: the stores against what their databases reach by
//! hand, the harness against the stores, and what waiting, starting and resuming take.
//!
//! Everything runs on the adapters that the command line uses. Only the model is another one: it answers at once and in
//! constant time, so that nothing of it is measured. Most tools are called in a sandbox without files, for the same
//! reason; rows about files say so.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a command line"
)]

mod child;
mod clock;
mod counting;
mod long;
mod many;
mod mcp;
mod meter;
mod model;
mod postgres;
mod raw;
mod report;
mod runtime;
mod stack;
mod store;
mod streamed;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use child::Part;
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
    /// Measure less, for a first impression; goals that are missed are only shown
    #[arg(long)]
    quick: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Measure only this
    #[arg(long, value_enum)]
    only: Vec<Group>,
    /// Also write the report here, as JSON. The databases lie beside it while they are measured
    #[arg(long, value_name = "FILE", default_value = "bench.json")]
    report: PathBuf,
    /// What the benchmark runs itself for; `--report` names its folder then
    #[arg(long, value_enum, hide = true)]
    part: Option<Part>,
}

/// Rows that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Group {
    /// Stores against their databases
    Store,
    /// Many agent runs at once
    Many,
    /// One long run
    Long,
    /// Parked and due runs
    Runtime,
    /// A process that starts
    Cold,
    /// Answers that stream in
    Streamed,
    /// Calls of a server's tools
    Mcp,
    /// Everything on Postgres
    Postgres,
}

fn main() -> ExitCode {
    seaworthy::process::supervise_if_asked();
    let args = Args::parse();
    match measured(&args) {
        Ok(holds) => ExitCode::from(u8::from(!args.quick && !holds)),
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Says that a part of the benchmark begins, and when.
fn begin(part: &str, began: std::time::Instant) {
    eprintln!("[{:>4} s] {part}", began.elapsed().as_secs());
}

/// Measures and prints. Returns whether every goal is reached.
fn measured(args: &Args) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if let Some(part) = args.part {
        runtime.block_on(child::run(part, &args.report))?;
        return Ok(true);
    }
    let report = runtime.block_on(measure(args))?;
    let json = format!("{:#}\n", report.json());
    std::fs::write(&args.report, &json)?;
    if args.json {
        print!("{json}");
    } else {
        print!("{}", report.table());
    }
    Ok(report.holds())
}

async fn measure(args: &Args) -> Result<Report, Failure> {
    let beside = match args.report.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Not the folder for temporary files, which may well be in memory.
    let folder = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(beside)?;
    let (folder, quick) = (folder.path(), args.quick);
    let mut report = Report::new(quick, meter::machine(folder));
    let report_in = &mut report;
    let began = std::time::Instant::now();
    let wanted = |group| args.only.is_empty() || args.only.contains(&group);
    if wanted(Group::Store) {
        begin("stores against their databases", began);
        store::measure(folder, quick, report_in).await?;
    }
    if wanted(Group::Many) {
        begin("many runs at once", began);
        many::measure(folder, quick, report_in).await?;
    }
    if wanted(Group::Long) {
        begin("one long run", began);
        long::measure(folder, quick, report_in).await?;
    }
    if wanted(Group::Runtime) {
        begin("parked and due runs", began);
        runtime::measure(folder, quick, report_in).await?;
    }
    if wanted(Group::Cold) {
        begin("a process that starts", began);
        child::cold(folder, quick, report_in)?;
    }
    if wanted(Group::Streamed) {
        begin("answers that stream in", began);
        streamed::measure(quick, report_in)?;
    }
    if wanted(Group::Mcp) {
        begin("calls of a server's tools", began);
        mcp::measure(quick, report_in).await?;
    }
    if wanted(Group::Postgres) {
        begin("PostgreSQL", began);
        postgres::measure(folder, quick, report_in).await?;
    }
    Ok(report)
}

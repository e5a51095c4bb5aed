//! What only a process of its own can show: its start, and its memory. The benchmark runs itself for that.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use seaworthy::harness::worker;
use seaworthy::ports::durable_runtime::Scope;
use seaworthy::ports::{Latch, WorkerId};

use crate::Failure;
use crate::meter::{PROFILED, memory};
use crate::model::{Steady, Wish};
use crate::report::{Goal, Report, Row, median, millis};
use crate::runtime;
use crate::stack::{Files, Stack};

/// What the benchmark does in a process of its own.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Part {
    /// Starts a run on a new database and says when its first step is durable.
    Cold,
    /// Serves with nothing to do, and says what that takes.
    Idle,
    /// Is a server of the Model Context Protocol until its input ends.
    McpServer,
    /// Runs in memory and nothing else, for a profiler.
    Volatile,
    /// Runs on SQLite and nothing else, for a profiler.
    Many,
    /// Makes a long run; once there is one, resumes it and does nothing else, for a profiler.
    Resume,
}

/// How long a worker is watched doing nothing.
const IDLE: Duration = Duration::from_secs(4);

/// Does `part` in `folder`.
pub(crate) async fn run(part: Part, folder: &Path) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    match part {
        Part::Cold => {
            let model = Steady {
                turns: 2,
                calls: 1,
                wish: Wish::LIST,
            };
            let stack = Stack::open(folder, model, Files::OnDisk).await?;
            let run = stack.start("cold".to_owned()).await?;
            let me = worker(WorkerId::new("cold")?, Scope::Run(run), 1);
            // The first append says that the run exists, the second that a worker has it; the third is its first step,
            // the model's answer with the intent of its call.
            let (served, told) = tokio::join!(stack.harness.serve(me, Latch::never()), async {
                stack.store.appended(3).await;
                writeln!(out, "durable")?;
                out.flush()
            });
            served?;
            told?;
            stack.close().await;
        }
        Part::Idle => {
            let looks = runtime::idle(folder, IDLE).await?;
            let memory = memory().map_or_else(String::new, |memory| memory.to_string());
            writeln!(out, "{looks} {memory}")?;
        }
        Part::McpServer => crate::mcp::server::serve()?,
        Part::Volatile => {
            PROFILED.store(true, Ordering::Relaxed);
            crate::many::volatile(256, 64).await?;
        }
        Part::Many => {
            PROFILED.store(true, Ordering::Relaxed);
            let model = Steady {
                turns: 5,
                calls: 3,
                wish: Wish::LIST,
            };
            let stack = Stack::open(folder, model, Files::None).await?;
            stack.serve_all(256, 64).await?;
            stack.close().await;
        }
        Part::Resume => {
            let model = Steady {
                turns: 2_220,
                calls: 1,
                wish: Wish::LIST,
            };
            let stack = Stack::open(folder, model, Files::None).await?;
            let run = seaworthy::ports::RunId::new("long")?;
            if seaworthy::log::load(stack.harness.ports(), &run)
                .await?
                .is_none()
            {
                stack.start(run.to_string()).await?;
                stack.finish(&run).await?;
                stack.close().await;
                return Ok(());
            }
            for _ in 0..5 {
                let loaded = seaworthy::log::load(stack.harness.ports(), &run).await?;
                std::hint::black_box(loaded);
            }
            stack.close().await;
        }
    }
    Ok(())
}

fn command(part: &str, folder: &Path) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--part").arg(part).arg("--report").arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// From the start of a process to the first durable step of a run on a new database.
pub(crate) fn cold(folder: &Path, quick: bool, report: &mut Report) -> Result<(), Failure> {
    let rounds = if quick { 5 } else { 20 };
    let mut times = Vec::new();
    for round in 0..rounds {
        let folder = folder.join(format!("cold-{round}"));
        let began = Instant::now();
        let mut child = command("cold", &folder)?.spawn()?;
        let mut out = child.stdout.take().ok_or("the child has no output")?;
        let mut first = [0];
        let read = out.read_exact(&mut first);
        times.push(millis(began.elapsed()));
        let ended = child.wait()?;
        read?;
        if !ended.success() {
            return Err(format!("a part of the benchmark ended with {ended}").into());
        }
    }
    let time = median(times).ok_or("nothing was started")?;
    report.add(
        Row::new(
            "cold start: from process start to the first durable step, new file",
            time,
            "ms",
        )
        .goal(Goal::Most(40.0)),
    );
    Ok(())
}

/// What an idle worker takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) looks_a_second: f64,
    pub(crate) memory: Option<u64>,
}

/// Watches an idle worker on the database in `folder`.
pub(crate) fn idle(folder: &Path) -> Result<Idle, Failure> {
    let output = command("idle", folder)?.output()?;
    if !output.status.success() {
        return Err(format!("a part of the benchmark ended with {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut words = text.split_whitespace();
    let looks = words.next().ok_or("the child said nothing")?;
    Ok(Idle {
        looks_a_second: looks.parse()?,
        memory: words.next().and_then(|memory| memory.parse().ok()),
    })
}

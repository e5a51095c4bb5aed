//! `conform`: tries every clause of a port on the adapter that a store stands for.
//!
//! What is at the store's URL is never touched. Every scenario has a store of its own, in a temporary folder beside it: the
//! file system under test is the one that the runs are on. On a server it is a schema of its own in the same database.

mod memory;
mod on_disk;
mod on_server;
mod processes;
mod system;

use std::io;
use std::path::Path;
use std::time::Duration;

use seaworthy_contract::{
    Level, Report, Step, blob_store as bl, checkpoint_store as ck, clock as cl,
    durable_runtime as dr, entropy as en, sandbox as sb, state_store as ss,
};
use tempfile::TempDir;

use super::Context;
use crate::args::{ConformArgs, ConformPort};
use crate::error::{CliError, Exit};
use crate::output::{Output, say};
use crate::stop::Stop;
use crate::store::Store;

pub(super) async fn conform(context: &Context, args: &ConformArgs) -> Result<Exit, CliError> {
    let stop = Stop::listen()?;
    let (folder, home) = match context.store()? {
        Store::Memory => (None, Home::Process),
        Store::Sqlite { path, .. } => (Some(folder_beside(&path)?), Home::Disk),
        Store::Postgres { url, data, .. } => {
            on_server::prepare(&url).await?;
            (Some(folder_beside(&data)?), Home::Server)
        }
    };
    if let Some(folder) = &folder {
        on_disk::prepare(folder.path()).await?;
    }
    let output = context.output;
    // Whoever panics is in the report, and some are asked to.
    std::panic::set_hook(Box::new(|_panic| {}));
    let report = tokio::select! {
        biased;
        () = stop.latch.wait() => None,
        report = Box::pin(report(args.port, home, |step| progress(output, step))) => Some(report),
    };
    drop(std::panic::take_hook());
    if output.live {
        say(CLEAR);
    }
    if let Some(folder) = folder {
        let path = folder.keep();
        if let Err(error) = remove(&path).await {
            output.note(&format!("{} is left behind: {error}", path.display()));
        }
    }
    let schemas = on_server::clear().await;
    if !schemas.is_empty() {
        output.note(&format!(
            "schemas that are left behind: {}",
            schemas.join(", ")
        ));
    }
    let Some(report) = report else {
        return Ok(stop.exit().unwrap_or(Exit::Succeeded));
    };
    if output.json {
        output.json(&report)?;
    } else {
        output.answer(&report.to_string())?;
    }
    Ok(match report.level() {
        Level::Broken => Exit::Failed,
        Level::Partial | Level::Full => Exit::Succeeded,
    })
}

/// Does what the scenario that started this process asks for.
pub(super) async fn process(args: &ConformArgs) -> Result<Exit, CliError> {
    let port = args.port;
    // It makes a runtime of its own.
    let worked = tokio::task::spawn_blocking(move || match port {
        ConformPort::StateStore => ss::work(async |place| match on_server::is_meant(&place) {
            true => on_server::logs(place).await,
            false => on_disk::logs(place).await,
        }),
        ConformPort::DurableRuntime => dr::work(async |place| match on_server::is_meant(&place) {
            true => on_server::runs(place).await,
            false => on_disk::runs(place).await,
        }),
        ConformPort::CheckpointStore => ck::work(async |place| match on_server::is_meant(&place) {
            true => on_server::checkpoints(place).await,
            false => on_disk::checkpoints(place).await,
        }),
        ConformPort::BlobStore => bl::work(on_disk::blobs),
        ConformPort::Sandbox => sb::work(processes::sandbox),
        ConformPort::Clock | ConformPort::Entropy => Ok(()),
    });
    match worked.await {
        Ok(Ok(())) => Ok(Exit::Succeeded),
        Ok(Err(_)) | Err(_) => Ok(Exit::Failed),
    }
}

/// Where the adapter under test keeps what it keeps.
#[derive(Clone, Copy, Debug)]
enum Home {
    Process,
    Disk,
    Server,
}

/// One arm for each suite.
async fn report(port: ConformPort, home: Home, tell: impl FnMut(Step) + Send) -> Report {
    use Home::{Disk, Process, Server};
    match (port, home) {
        (ConformPort::StateStore, Disk) => ss::run_telling::<on_disk::Logs>(tell).await,
        (ConformPort::StateStore, Server) => ss::run_telling::<on_server::Logs>(tell).await,
        (ConformPort::StateStore, Process) => ss::run_telling::<memory::Logs>(tell).await,
        (ConformPort::DurableRuntime, Disk) => dr::run_telling::<on_disk::Runs>(tell).await,
        (ConformPort::DurableRuntime, Server) => dr::run_telling::<on_server::Runs>(tell).await,
        (ConformPort::DurableRuntime, Process) => dr::run_telling::<memory::Runs>(tell).await,
        (ConformPort::CheckpointStore, Disk) => ck::run_telling::<on_disk::Checkpoints>(tell).await,
        (ConformPort::CheckpointStore, Server) => {
            ck::run_telling::<on_server::Checkpoints>(tell).await
        }
        (ConformPort::CheckpointStore, Process) => {
            ck::run_telling::<memory::Checkpoints>(tell).await
        }
        // Large data are in a folder there too.
        (ConformPort::BlobStore, Disk | Server) => bl::run_telling::<on_disk::Blobs>(tell).await,
        (ConformPort::BlobStore, Process) => bl::run_telling::<memory::Blobs>(tell).await,
        (ConformPort::Sandbox, _) => sb::run_telling::<processes::Commands>(tell).await,
        (ConformPort::Clock, _) => cl::run_telling::<system::Time>(tell).await,
        (ConformPort::Entropy, _) => en::run_telling::<system::Chance>(tell).await,
    }
}

/// A temporary folder in the nearest folder above the file `path` that exists.
fn folder_beside(path: &Path) -> Result<TempDir, CliError> {
    let above = path.ancestors().skip(1).find(|folder| folder.is_dir());
    let above = above.unwrap_or(Path::new("/"));
    tempfile::Builder::new()
        .prefix(".seaworthy_conform_")
        .tempdir_in(above)
        .map_err(|source| {
            let doing = format!("make a temporary folder in {}", above.display());
            CliError::io(doing, source)
        })
}

/// Removes a folder in which a store that was just dropped may still be writing.
async fn remove(folder: &Path) -> io::Result<()> {
    const TRIES: u32 = 50;
    for _another in 1..TRIES {
        if std::fs::remove_dir_all(folder).is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::remove_dir_all(folder)
}

/// Back to the beginning of the line, which is empty then.
const CLEAR: &str = "\r\u{1b}[K";

/// Shows what is being tried where a person watches.
fn progress(output: Output, step: Step) {
    const WIDTH: usize = 60;
    if output.live {
        let Step {
            number,
            of,
            clause,
            scenario,
        } = step;
        let sentence = crate::output::brief(&scenario.replace('_', " "), WIDTH);
        say(&format!("{CLEAR}{number:>3}/{of} {clause:<6} {sentence}"));
    }
}

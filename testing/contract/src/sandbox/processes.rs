//! SB-7, and SB-8 across processes: what becomes of commands whose process is killed, or stopped and taken over from.

use std::ffi::OsString;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, select};
use seaworthy_ports::sandbox::{Sandbox, SandboxError};

use super::Harness;
use super::confinement::reach;
use super::life::{ALL, FAMILY, Life};
use super::world::{Ground, World, argv, sh};
use crate::outcome::{Outcome, declared, ok, same};
use crate::process::{self, Crew, Job, Journal, Process};

/// The pipe that the commands of another process hold.
const PIPE: &str = "life";
const HOLD: &str = "hold";

/// Does in this process what a scenario asks for: runs commands until it is killed, or tells what it is refused. Does
/// nothing where no scenario asks. `open` connects to the sandbox in the place that the harness named.
pub fn work<F: Future<Output = Arc<dyn Sandbox>>>(open: impl FnOnce(OsString) -> F) -> Outcome {
    process::work(|job| async move {
        let Job {
            place,
            words,
            journal,
        } = job;
        match words.split_first() {
            Some((word, targets)) if word == "reach" => reach(targets),
            _hold => {
                let work = std::pin::pin!(async { hold(&*open(place).await, &journal).await });
                let orphan = std::pin::pin!(process::let_go());
                match select(work, orphan).await {
                    Either::Left((worked, _)) => worked,
                    Either::Right(_) => Ok(()),
                }
            }
        }
    })
}

fn told<T>(result: Result<T, SandboxError>) -> String {
    match result {
        Ok(_done) => "done".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Runs a command that does not end by itself, as the first attempt. Only somebody who was taken over from gets further.
async fn hold(sandbox: &dyn Sandbox, journal: &Journal) -> Outcome {
    let ground = Ground::of_process()?;
    let opened = sandbox.open(ground.spec(1)?).await;
    let session = ok("opened a session in another process", opened)?;
    let mut family = sh(FAMILY);
    family.env.insert("LIFE".to_owned(), PIPE.to_owned());
    let _killed = session.exec(family).await;
    let zombie = Bytes::from_static(b"zombie");
    let tries = [
        ("exec", told(session.exec(argv(["true"])).await)),
        ("write", told(session.write("zombie", zombie.clone()).await)),
        ("replace", told(session.write("kept", zombie).await)),
        ("remove", told(session.remove("kept").await)),
        ("open", told(sandbox.open(ground.spec(1)?).await)),
    ];
    for (what, told) in tries {
        journal.write(&format!("{what} {told}"))?;
    }
    Ok(())
}

/// Another process whose commands run, and the pipe that they hold.
async fn holder<H: Harness>(
    harness: &H,
    world: &World,
    crew: &Crew,
) -> Result<(Process, Life), crate::outcome::Halt> {
    // Of a run of its own, so that it has no part in what is tried.
    let session = world.open_with(world.ground.spec_of("pipe", 1)?).await?;
    let mut life = Life::new(&*session, &world.work(), PIPE).await?;
    let command = world.ground.tell(harness.another_process());
    let process = crew.start(command, HOLD)?;
    life.are_born(ALL).await?;
    Ok((process, life))
}

/// SB-7.
pub async fn commands_die_with_a_process_that_is_killed<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let is_declared = world.sandbox.capabilities().dies_with_opener;
    let outcome = async {
        let crew = Crew::new()?;
        let (mut process, mut life) = holder(&harness, &world, &crew).await?;
        process.kill()?;
        life.ends("killed the process that had opened the session")
            .await?;
        // Whoever takes over finds nothing in the way.
        let next = world.open(2).await?;
        let wrote = next.write("mine", Bytes::new()).await;
        ok("wrote a file as the next attempt", wrote)
    };
    declared("dies_with_opener", is_declared, outcome.await)
}

/// SB-8.
pub async fn a_process_that_was_stopped_is_fenced_when_it_goes_on<H: Harness>(
    harness: H,
) -> Outcome {
    let world = World::new(&harness)?;
    let is_declared = world.sandbox.capabilities().fencing;
    let outcome = async {
        let crew = Crew::new()?;
        let (mut process, mut life) = holder(&harness, &world, &crew).await?;
        process.stop()?;
        let next = world.open(2).await?;
        life.has_ended("opened a session for the attempt after that of a stopped process")
            .await?;
        let content = Bytes::from_static(b"kept");
        ok("wrote a file", next.write("kept", content.clone()).await)?;
        process.go_on()?;
        process
            .until("the process that goes on has tried to act", |lines| {
                lines.len() >= 5
            })
            .await?;
        let expected = ["exec", "write", "replace", "remove", "open"];
        same(
            "let a stopped process go on after another one has taken over",
            crew.journal.lines()?,
            expected.map(|what| format!("{what} Fenced")).to_vec(),
        )?;
        let did = "looked at what it tried to write";
        same(did, ok(did, next.stat("zombie").await)?, None)?;
        let kept = ok(did, next.read("kept", 0, 99).await)?;
        same(did, kept.bytes, content)?;
        process.end().await
    };
    declared("fencing", is_declared, outcome.await)
}

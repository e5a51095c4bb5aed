//! SB-8 within one process.

use bytes::Bytes;
use seaworthy_ports::sandbox::{ExitStatus, Kind, SandboxSession};

use super::Harness;
use super::life::{ALL, FAMILY, Life};
use super::world::{World, argv, ran, sh, tried};
use crate::outcome::{Outcome, broken, declared, ok, refused, same, within};

/// Everything by which a session acts must be refused.
async fn is_fenced(session: &dyn SandboxSession) -> Outcome {
    let by = |what: &str| format!("{what} in a session of an earlier attempt");
    let ran = tried(session, sh("echo >zombie")).await?;
    refused(by("ran a command"), ran, Kind::Fenced)?;
    let spawned = within("spawned a command", session.spawn(sh("echo >zombie"))).await?;
    if spawned.as_ref().err().map(|error| error.kind()) != Some(Kind::Fenced) {
        let seen = spawned.map_err(|error| error.kind());
        return Err(broken(by("spawned a command"), "the error Fenced", seen));
    }
    let content = Bytes::from_static(b"zombie");
    let wrote = session.write("zombie", content.clone()).await;
    refused(by("wrote a file"), wrote, Kind::Fenced)?;
    let wrote = session.write("kept", content).await;
    refused(by("replaced a file"), wrote, Kind::Fenced)?;
    refused(
        by("removed a file"),
        session.remove("kept").await,
        Kind::Fenced,
    )
}

async fn fenced(world: &World) -> Outcome {
    let first = world.open(1).await?;
    let content = Bytes::from_static(b"kept");
    ok("wrote a file", first.write("kept", content.clone()).await)?;
    let second = world.open(2).await?;
    is_fenced(&*first).await?;
    let late = world.sandbox.open(world.ground.spec(1)?);
    let late = within("opened a session for an earlier attempt", late).await?;
    refused(
        "opened a session for an earlier attempt",
        late,
        Kind::Fenced,
    )?;
    // Nor does its end touch what the later one has.
    ok("closed the earlier session", first.close(true).await)?;
    let output = ran(&*second, argv(["true"])).await?;
    same(
        "ran a command of the later attempt",
        output.status,
        ExitStatus::Code(0),
    )?;
    let did = "looked in the later attempt at what the earlier one tried to write";
    same(did, ok(did, second.stat("zombie").await)?, None)?;
    same(
        did,
        ok(did, second.read("kept", 0, 99).await)?.bytes,
        content,
    )
}

/// SB-8.
pub async fn an_earlier_attempt_is_refused_all_that_acts<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let is_declared = world.sandbox.capabilities().fencing;
    declared("fencing", is_declared, fenced(&world).await)
}

/// SB-8.
pub async fn neither_the_same_attempt_nor_another_run_is_fenced<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let one = world.open(4).await?;
    let spawned = one.spawn(argv(["cat"])).await;
    let mut process = ok("spawned `cat`", spawned)?;
    let two = world.open(4).await?;
    let other = world.open_with(world.ground.spec_of("b", 9)?).await?;
    for (whose, session) in [
        ("the first session", &one),
        ("a second session of the same attempt", &two),
        ("a session of another run", &other),
    ] {
        let did = format!("ran a command in {whose}");
        same(
            did,
            ran(&**session, argv(["true"])).await?.status,
            ExitStatus::Code(0),
        )?;
        let wrote = session.write("a", Bytes::new()).await;
        ok(format!("wrote a file in {whose}"), wrote)?;
    }
    ok(
        "closed the session of another run for good",
        within("closed a session", other.close(true)).await?,
    )?;
    ok("ended the input of `cat`", process.close_stdin().await)?;
    let ended = within("waited for `cat`", process.wait()).await?;
    same(
        "waited for a command that ran meanwhile",
        ok("waited for `cat`", ended)?,
        ExitStatus::Code(0),
    )
}

async fn dead_once_open(world: &World) -> Outcome {
    let first = world.open(1).await?;
    let mut life = Life::new(&*first, &world.work(), "life").await?;
    let exec = life.lend(sh(FAMILY));
    let take_over = async {
        life.are_born(ALL).await?;
        let _second = world.open(2).await?;
        life.has_ended("opened a session for a later attempt").await
    };
    let (output, taken) = tokio::join!(tried(&*first, exec), take_over);
    taken?;
    match output? {
        Ok(output) if matches!(output.status, ExitStatus::Code(_) | ExitStatus::TimedOut) => {
            Err(broken(
                "looked how a command ended that was taken over from",
                "the error Fenced, or that it was killed",
                output.status,
            ))
        }
        Ok(_killed) => Ok(()),
        refusal => refused(
            "looked how a command ended that was taken over from",
            refusal,
            Kind::Fenced,
        ),
    }
}

/// SB-8.
pub async fn commands_of_an_earlier_attempt_are_dead_once_a_later_one_is_open<H: Harness>(
    harness: H,
) -> Outcome {
    let world = World::new(&harness)?;
    let is_declared = world.sandbox.capabilities().fencing;
    declared("fencing", is_declared, dead_once_open(&world).await)
}

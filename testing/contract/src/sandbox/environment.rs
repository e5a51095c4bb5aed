//! SB-4: the environment of commands.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_ports::sandbox::{Kind, SandboxSession};

use super::Harness;
use super::world::{World, argv, env, ran, tried};
use crate::outcome::{Halt, Outcome, broken, ok, refused, same, within};

/// What `env` prints, line by line, in any order.
fn lines(printed: &[u8]) -> BTreeSet<String> {
    let printed = String::from_utf8_lossy(printed);
    printed.lines().map(str::to_owned).collect()
}

fn expected(env: &BTreeMap<String, String>) -> BTreeSet<String> {
    let line = |(name, value)| format!("{name}={value}");
    env.iter().map(line).collect()
}

/// This process must have variables that a command could inherit, or looking for them proves nothing.
fn canaries(spec: &BTreeMap<String, String>) -> Outcome {
    let is_canary = |name: &str| !spec.contains_key(name);
    if std::env::vars_os().any(|(name, _)| name.to_str().is_some_and(is_canary)) {
        Ok(())
    } else {
        Err(Halt::NotCheckable(
            "this process has no variables that a command could inherit",
        ))
    }
}

/// Where `env` is, for a session without PATH.
async fn found_env(session: &dyn SandboxSession) -> Result<String, Halt> {
    let found = ran(session, argv(["sh", "-c", "command -v env"])).await?;
    Ok(String::from_utf8_lossy(&found.stdout.bytes)
        .trim_end()
        .to_owned())
}

/// SB-4.
pub async fn the_environment_is_what_was_asked_for_and_nothing_more<H: Harness>(
    harness: H,
) -> Outcome {
    let world = World::new(&harness)?;
    let mut spec = world.ground.spec(1)?;
    canaries(&spec.env)?;
    spec.env
        .extend(env([("A", "1"), ("B", "2"), ("EMPTY", "")]));
    let mut all = spec.env.clone();
    let session = world.open_with(spec).await?;
    let output = ran(&*session, argv(["env"])).await?;
    same(
        "ran `env` in a session with an environment",
        lines(&output.stdout.bytes),
        expected(&all),
    )?;
    let more = env([("B", "3"), ("C", "4 = 5 $A 'ü'")]);
    all.extend(more.clone());
    let mut exec = argv(["env"]);
    exec.env = more;
    let output = ran(&*session, exec.clone()).await?;
    let did = "ran `env` with an environment of its own beside the session's";
    same(did, lines(&output.stdout.bytes), expected(&all))?;

    let mut process = ok("spawned `env`", session.spawn(exec).await)?;
    let mut said = Vec::new();
    while let Some(chunk) = within("listened to `env`", process.output()).await? {
        said.extend_from_slice(&chunk.bytes);
    }
    same(
        did.replacen("ran", "spawned", 1),
        lines(&said),
        expected(&all),
    )?;

    for name in ["", "A=B", "A\0"] {
        let mut exec = argv(["env"]);
        exec.env = env([(name, "")]);
        let did = format!("ran a command with a variable named {name:?}");
        refused(did, tried(&*session, exec).await?, Kind::Rejected)?;
    }
    Ok(())
}

/// SB-4.
pub async fn a_session_without_environment_has_none<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let program = found_env(&*world.open(1).await?).await?;
    let mut spec = world.ground.spec(1)?;
    spec.env.clear();
    canaries(&spec.env)?;
    let session = world.open_with(spec).await?;
    let output = ran(&*session, argv([&*program])).await?;
    same(
        "ran `env` in a session without environment",
        lines(&output.stdout.bytes),
        BTreeSet::new(),
    )?;
    // Without PATH, nothing is found by its name alone.
    match tried(&*session, argv(["env"])).await? {
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        other => Err(broken(
            "ran `env` by its name in a session without PATH",
            "the error NotFound",
            other.map_err(|error| error.kind()),
        )),
    }
}

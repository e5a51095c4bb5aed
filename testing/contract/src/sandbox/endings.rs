//! SB-3: commands that are ended, and SB-5: those that end by themselves and leave others behind.

use std::time::Duration;

use bytes::Bytes;
use seaworthy_ports::Latch;
use seaworthy_ports::sandbox::{ExecOutput, ExitStatus, Kind, SandboxError};
use tokio::time::Instant;

use super::Harness;
use super::life::{ALL, FAMILY, Life};
use super::world::{World, ran, sh, tried};
use crate::outcome::{Halt, Outcome, broken, holds, ok, refused, same, within};

const SECOND: Duration = Duration::from_secs(1);
/// A machine with other work takes its time. Only what is late each time is late; the timeouts grow, for a command must
/// have begun before one of them.
const TIMEOUTS: [Duration; 4] = [
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// How a command was ended that should have been.
#[derive(Debug)]
struct Ended {
    /// How long after it should have been.
    after: Duration,
    /// Whether all that it had started was dead within the second.
    all: bool,
}

impl Ended {
    async fn since(due: Instant, life: &mut Life) -> Result<Self, Halt> {
        let after = due.elapsed();
        let all = life.ends_within(SECOND.saturating_sub(after)).await?;
        Ok(Self { after, all })
    }

    const fn is_in_time(&self) -> bool {
        self.after.as_millis() <= SECOND.as_millis() && self.all
    }
}

fn never_in_time(did: &str, seen: &[Ended]) -> Halt {
    let expected = "its end and that of all it started, within a second, at least once";
    broken(did, expected, seen)
}

/// What came of a command that was ended must say so.
fn says(did: &str, output: Result<ExecOutput, SandboxError>, expected: ExitStatus) -> Outcome {
    let output = ok(did, output)?;
    same(did, output.status, expected)?;
    same(
        format!("{did}, and looked at what it had said"),
        output.stdout.bytes,
        Bytes::from_static(b"begun\n"),
    )
}

/// SB-3.
pub async fn a_timeout_kills_all_within_a_second_and_keeps_what_was_said<H: Harness>(
    harness: H,
) -> Outcome {
    let did = "ran a command past its timeout";
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let mut seen = Vec::new();
    for (number, timeout) in TIMEOUTS.into_iter().enumerate() {
        let mut life = Life::new(&*session, &world.work(), &format!("life{number}")).await?;
        let mut exec = life.lend(sh(FAMILY));
        exec.timeout = timeout;
        let due = Instant::now() + timeout;
        let output = tried(&*session, exec).await?;
        let ended = Ended::since(due, &mut life).await?;
        if life.born()? < ALL {
            continue;
        }
        says(did, output, ExitStatus::TimedOut)?;
        if ended.is_in_time() {
            return holds(
                world.sandbox.capabilities().wall_time,
                "compared what it declares with what holds",
                "wall_time declared, for it holds",
                "it is not declared",
            );
        }
        seen.push(ended);
    }
    Err(never_in_time(did, &seen))
}

/// SB-3.
pub async fn a_cancellation_kills_all_within_a_second<H: Harness>(harness: H) -> Outcome {
    let did = "cancelled a command";
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let mut seen = Vec::new();
    for number in 0..3 {
        let mut life = Life::new(&*session, &world.work(), &format!("life{number}")).await?;
        let (setter, cancel) = Latch::new();
        let mut exec = life.lend(sh(FAMILY));
        exec.cancel = cancel;
        // Of the machine's time, not of its own: it is the cancellation that must end it.
        exec.timeout *= 2;
        let cancelling = async {
            let born = life.are_born(ALL).await;
            setter.set();
            born.map(|()| Instant::now())
        };
        let (output, due) = tokio::join!(tried(&*session, exec), cancelling);
        let ended = Ended::since(due?, &mut life).await?;
        says(did, output?, ExitStatus::Cancelled)?;
        if ended.is_in_time() {
            return Ok(());
        }
        seen.push(ended);
    }
    Err(never_in_time(did, &seen))
}

/// SB-3.
pub async fn a_command_that_never_stops_talking_is_cancelled<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let mut life = Life::new(&*session, &world.work(), "life").await?;
    let (setter, cancel) = Latch::new();
    let script = "exec 7>$LIFE; printf x >&7; while :; do echo words words words; done";
    let mut exec = life.lend(sh(script));
    exec.cancel = cancel;
    exec.timeout *= 2;
    let cancelling = async {
        let born = life.are_born(1).await;
        setter.set();
        born
    };
    let (output, born) = tokio::join!(ran(&*session, exec), cancelling);
    born?;
    let output = output?;
    same(
        "cancelled a command that talks without end",
        output.status,
        ExitStatus::Cancelled,
    )?;
    life.ends("cancelled a command that talks without end")
        .await
}

/// SB-3.
pub async fn a_command_that_was_cancelled_before_never_runs<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let (setter, cancel) = Latch::new();
    setter.set();
    let mut exec = sh("echo >ran");
    exec.cancel = cancel.clone();
    let output = ran(&*session, exec).await?;
    let did = "ran a command that was cancelled before";
    same(did, output.status, ExitStatus::Cancelled)?;
    let left = ok("looked for what it does", session.stat("ran").await)?;
    same(did, left, None)
}

/// SB-3.
pub async fn a_dropped_call_leaves_nothing<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let mut life = Life::new(&*session, &world.work(), "life").await?;
    let exec = life.lend(sh(FAMILY));
    tokio::select! {
        ended = session.exec(exec) => {
            return Err(broken("ran a command of forty seconds", "no end yet", ended.map_err(|error| error.kind())));
        }
        born = life.are_born(ALL) => born?,
    }
    life.ends("dropped a call").await
}

/// SB-3.
pub async fn a_spawned_command_leaves_nothing_however_it_is_ended<H: Harness>(
    harness: H,
) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    for how in ["killed", "dropped", "cancelled", "timed-out"] {
        let mut life = Life::new(&*session, &world.work(), how).await?;
        let (setter, cancel) = Latch::new();
        let mut exec = life.lend(sh(FAMILY));
        exec.cancel = cancel;
        exec.timeout *= 2;
        if how == "timed-out" {
            exec.timeout = Duration::from_millis(400);
        }
        let did = format!("spawned a command that was {how}");
        let mut process = ok(&did, within(&did, session.spawn(exec)).await?)?;
        if how != "timed-out" {
            life.are_born(ALL).await?;
        }
        let expected = match how {
            "killed" => {
                ok(&did, within(&did, process.kill()).await?)?;
                ExitStatus::Cancelled
            }
            "cancelled" => {
                setter.set();
                ExitStatus::Cancelled
            }
            "timed-out" => ExitStatus::TimedOut,
            _dropped => {
                drop(process);
                life.ends(&did).await?;
                continue;
            }
        };
        let ended = ok(&did, within(&did, process.wait()).await?)?;
        same(&did, ended, expected)?;
        life.ends(&did).await?;
    }
    Ok(())
}

/// SB-3.
pub async fn closing_leaves_nothing_and_takes_no_more<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let mut life = Life::new(&*session, &world.work(), "life").await?;
    let mut process = ok(
        "spawned a command",
        session.spawn(life.lend(sh(FAMILY))).await,
    )?;
    life.are_born(ALL).await?;
    ok(
        "closed the session",
        within("closed the session", session.close(false)).await?,
    )?;
    life.has_ended("closed the session of a command").await?;
    let ended = within("waited for a command of a closed session", process.wait()).await?;
    holds(
        !matches!(ended, Ok(ExitStatus::Code(_) | ExitStatus::TimedOut)),
        "waited for a command of a closed session",
        "that it was killed",
        ended.map_err(|error| error.kind()),
    )?;
    let late = tried(&*session, sh("echo >ran")).await?;
    refused("ran a command in a closed session", late, Kind::Rejected)?;
    let late = session.write("written", Bytes::new()).await;
    refused("wrote in a closed session", late, Kind::Rejected)?;
    for last in [true, true] {
        ok(
            "closed it again",
            within("closed it again", session.close(last)).await?,
        )?;
    }
    Ok(())
}

/// SB-5.
pub async fn what_a_command_leaves_running_is_killed<H: Harness>(harness: H) -> Outcome {
    let world = World::new(&harness)?;
    let session = world.open(1).await?;
    let forks = [
        ("a child", r#"(printf x; exec sleep 40) >"$LIFE" &"#),
        (
            "a child with the command's outputs",
            r#"(printf x >&7; exec sleep 40) 7>"$LIFE" &"#,
        ),
        (
            "a grandchild whose parent is gone",
            r#"( (printf x; exec sleep 40) >"$LIFE" & )"#,
        ),
        (
            "one in a session of its own",
            r#"setsid sh -c 'printf x; exec sleep 40' >"$LIFE" &"#,
        ),
        (
            "a grandchild in a session of its own",
            r#"setsid sh -c '(printf x; exec sleep 40) & exit' >"$LIFE" &"#,
        ),
    ];
    for (number, (what, fork)) in forks.into_iter().enumerate() {
        let mut life = Life::new(&*session, &world.work(), &format!("life{number}")).await?;
        let script = format!("{fork}\nuntil [ -e go{number} ]; do sleep 0.01; done; exit 3");
        let exec = life.lend(sh(&script));
        let let_go = async {
            life.are_born(1).await?;
            let go = session.write(&format!("go{number}"), Bytes::new()).await;
            ok("let the command end", go)
        };
        let (output, let_go) = tokio::join!(ran(&*session, exec), let_go);
        let_go?;
        let did = format!("ran a command that leaves {what} running");
        same(&did, output?.status, ExitStatus::Code(3))?;
        life.ends(&did).await?;
    }
    Ok(())
}

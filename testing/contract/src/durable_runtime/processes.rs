//! DR-14: workers in several processes, some of which are killed or stopped.
//!
//! Each process tells in a common journal what its turns see. A run has a number of signals; every turn consumes the first
//! that waits and comes again, so the signals that a delivery brings say which turns before it have counted. A turn that is
//! told that its lease is gone answers with the worst: everything is consumed, and the run is done. If anybody listens, the
//! journal shows it.

use std::ffi::OsString;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use seaworthy_ports::SessionId;
use seaworthy_ports::durable_runtime::{
    DurableRuntime, Next, Schedule, ScheduleState, Scope, Submit, Then, Turn, Worker,
};

use super::Harness;
use super::journal::{Run, judge};
use super::stage::{
    DONE, POLL, Runtime, Serving, consumed, does, is_finished, names, next, schedule, send, signal,
    submission, submit,
};
use crate::chance::{Chance, seed};
use crate::outcome::{Halt, Outcome, at_once, broken, declared, holds, id, patience, same};
use crate::process::{self, Crew, Job, Journal, Process};

/// The processes go by real time, so it is short.
const LEASE: Duration = Duration::from_millis(1_500);
/// Longer than the lease, and long enough for somebody else to notice.
const PAUSE: Duration = Duration::from_millis(2_300);
/// How many signals a run of the torture has, and so how many turns of it count.
const SIGNALS: usize = 6;
const RUNS: usize = 60;
const FINISH: &str = "finish";

/// Does in this process what a scenario asks for: serves runs, until it is let go or killed. Does nothing where no
/// scenario asks. `open` opens the runtime in the place that the harness named, on this machine's time.
pub fn work<F: Future<Output = Arc<dyn DurableRuntime>>>(
    open: impl FnOnce(OsString) -> F,
) -> Outcome {
    process::work(|job| async move {
        let Job {
            place,
            words,
            journal,
        } = job;
        let (what, name) = match words.as_slice() {
            [what, name] => (what.clone(), name.clone()),
            other => return Err(broken("started a process", "a job and a name", other)),
        };
        let runtime = open(place).await;
        let worker = Worker {
            id: id(name.parse())?,
            scope: Scope::All,
            concurrency: 2,
            lease: LEASE,
            poll: POLL,
            drain: Duration::from_secs(5),
        };
        let advance = does(move |turn| {
            let (journal, name, holds) = (journal.clone(), name.clone(), what == "hold");
            async move {
                if holds {
                    hold(turn, &name, &journal).await
                } else {
                    count(turn, &name, &journal).await
                }
            }
        });
        let serving = Serving::start(&runtime, worker, advance);
        process::let_go().await;
        serving.stop().await.map(|_served| ())
    })
}

/// A line that cannot be written must not go unnoticed, and a turn can only panic.
#[expect(clippy::panic, reason = "the scenario misses the line")]
fn tell(journal: &Journal, word: &str, name: &str, turn: (&str, u32), rest: &str) {
    let (run, delivery) = turn;
    if let Err(error) = journal.write(&format!("{word} {name} {run} {delivery} {rest}")) {
        panic!("{error:?}");
    }
}

/// What a turn answers that has lost its lease: nobody may listen.
fn the_worst(turn: &Turn) -> Next {
    consumed(&turn.signals, DONE)
}

/// Consumes the first signal, and is done with the last.
async fn count(turn: Turn, name: &str, journal: &Journal) -> Next {
    let began = Instant::now();
    let run = turn.run.to_string();
    let key = (run.as_str(), turn.delivery);
    tell(journal, "begin", name, key, &names(&turn.signals).join(","));
    // Some take long, so that several are alive at any moment.
    let long = 20 + u64::from(turn.delivery) * 37 % 90;
    tokio::time::sleep(Duration::from_millis(long)).await;
    if began.elapsed() >= LEASE {
        // It was stopped. Unless nobody else wanted the run, it is told.
        let told = std::pin::pin!(turn.revoked.wait());
        let _told = tokio::time::timeout(2 * LEASE, told).await;
    }
    if turn.revoked.is_set() {
        tell(journal, "revoked", name, key, "");
        return the_worst(&turn);
    }
    tell(journal, "end", name, key, "");
    let first = turn.signals.get(..1).unwrap_or_default();
    consumed(
        first,
        if turn.signals.len() > 1 {
            Then::Again {
                after: Duration::ZERO,
            }
        } else {
            DONE
        },
    )
}

/// Lives until it is told to finish, or that its lease is gone.
async fn hold(mut turn: Turn, name: &str, journal: &Journal) -> Next {
    let run = turn.run.to_string();
    let key = (run.as_str(), turn.delivery);
    tell(journal, "begin", name, key, &names(&turn.signals).join(","));
    let mut seen = turn.signals.clone();
    let is_revoked = {
        let revoked = std::pin::pin!(turn.revoked.wait());
        let finishes = std::pin::pin!(async {
            while !seen.iter().any(|signal| signal.id.as_str() == FINISH) {
                match turn.mail.next().await {
                    Some(signal) => seen.push(signal),
                    // The next delivery brings what the mail did not.
                    None => return false,
                }
            }
            true
        });
        match select(revoked, finishes).await {
            Either::Left(_) => None,
            Either::Right((finishes, _)) => Some(finishes),
        }
    };
    match is_revoked {
        None => {
            tell(journal, "revoked", name, key, "");
            the_worst(&turn)
        }
        Some(true) => {
            tell(journal, "end", name, key, "");
            consumed(&seen, DONE)
        }
        Some(false) => next(Then::Park { wake_at: None }),
    }
}

/// What a scenario needs of the harness; all or nothing.
async fn on_machine_time<H: Harness>(harness: &H) -> Result<Runtime, Halt> {
    harness
        .handle_on_machine_time()
        .await
        .ok_or(Halt::NotCheckable("the harness starts no process"))
}

fn begins(lines: &[String], name: &str) -> bool {
    let prefix = format!("begin {name} ");
    lines.iter().any(|line| line.starts_with(&prefix))
}

/// DR-14.
pub async fn a_killed_process_is_replaced_by_another<H: Harness>(harness: H) -> Outcome {
    let is_declared = harness.runtime().capabilities().distributed;
    declared("distributed", is_declared, killed(&harness).await)
}

async fn killed<H: Harness>(harness: &H) -> Outcome {
    let crew = Crew::new()?;
    let runtime = on_machine_time(harness).await?;
    submit(&runtime, submission("r")?).await?;
    for name in ["s1", "s2"] {
        send(&runtime, "r", signal(name)?).await?;
    }
    let mut victim = crew.start(harness.another_process(), "hold victim")?;
    victim
        .until("a process has begun the turn", |lines| {
            begins(lines, "victim")
        })
        .await?;
    let mut heir = crew.start(harness.another_process(), "hold heir")?;
    victim.kill()?;
    let died = Instant::now();
    heir.until("another process has begun the turn", |lines| {
        begins(lines, "heir")
    })
    .await?;
    // The machine may be busy, but a bound there is.
    let bound = LEASE + POLL + patience() / 3;
    holds(
        died.elapsed() <= bound,
        "killed a process in its turn",
        format!("a delivery to another within {bound:?}"),
        died.elapsed(),
    )?;
    send(&runtime, "r", signal(FINISH)?).await?;
    is_finished(&runtime, "r").await?;
    heir.end().await?;
    let lines = crew.journal.lines()?;
    let first_two: Vec<&str> = lines.iter().take(2).map(String::as_str).collect();
    same(
        "looked at what the processes told",
        first_two,
        vec!["begin victim r 1 s1,s2", "begin heir r 2 s1,s2"],
    )
}

/// DR-14.
pub async fn a_process_stopped_past_its_lease_sees_it_and_changes_nothing<H: Harness>(
    harness: H,
) -> Outcome {
    let is_declared = harness.runtime().capabilities().distributed;
    declared("distributed", is_declared, stopped(&harness).await)
}

async fn stopped<H: Harness>(harness: &H) -> Outcome {
    let crew = Crew::new()?;
    let runtime = on_machine_time(harness).await?;
    submit(&runtime, submission("r")?).await?;
    for name in ["s1", "s2"] {
        send(&runtime, "r", signal(name)?).await?;
    }
    let mut zombie = crew.start(harness.another_process(), "hold zombie")?;
    zombie
        .until("a process has begun the turn", |lines| {
            begins(lines, "zombie")
        })
        .await?;
    zombie.stop()?;
    let mut heir = crew.start(harness.another_process(), "hold heir")?;
    heir.until("another process has begun the turn", |lines| {
        begins(lines, "heir")
    })
    .await?;
    let before = schedule(&runtime, "r").await?;
    zombie.go_on()?;
    zombie
        .until(
            "the stopped process was told that its lease is gone",
            |lines| {
                lines
                    .iter()
                    .any(|line| line.starts_with("revoked zombie r 1"))
            },
        )
        .await?;
    // By its end it has said its worst.
    zombie.end().await?;
    let after = schedule(&runtime, "r").await?;
    let told = |schedule: &Option<Schedule>| {
        schedule.as_ref().map(|schedule| {
            let holder = match &schedule.state {
                ScheduleState::Leased { worker, .. } => worker.to_string(),
                other => format!("{other:?}"),
            };
            (holder, schedule.deliveries, schedule.signals)
        })
    };
    same(
        "compared the run before and after the late end of a turn",
        told(&after),
        told(&before),
    )?;
    same(
        "asked who holds the run",
        told(&after),
        Some(("heir".to_owned(), 2, 2)),
    )?;
    send(&runtime, "r", signal(FINISH)?).await?;
    is_finished(&runtime, "r").await?;
    heir.end().await?;
    let lines = crew.journal.lines()?;
    let heirs: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|line| line.contains(" heir "))
        .take(1)
        .collect();
    same(
        "looked at what the heir told",
        heirs,
        vec!["begin heir r 2 s1,s2"],
    )
}

/// DR-14.
pub async fn processes_killed_and_stopped_at_random_serve_every_run<H: Harness>(
    harness: H,
) -> Outcome {
    let is_declared = harness.runtime().capabilities().distributed;
    declared("distributed", is_declared, tortured(&harness).await)
}

/// Three processes, one of which is spared; the others are killed and replaced, or stopped past their lease.
async fn tortured<H: Harness>(harness: &H) -> Outcome {
    const WORKERS: usize = 3;
    const FATES: [bool; 6] = [true, false, true, true, false, true];
    let crew = Crew::new()?;
    let runtime = on_machine_time(harness).await?;
    let mut chance = Chance::new(seed());
    let mut runs = many_runs(&runtime).await?;
    let mut number = 0;
    let mut start = |crew: &Crew| -> Result<(String, Process), Halt> {
        let name = format!("w{number}");
        number += 1;
        let process = crew.start(harness.another_process(), &format!("count {name}"))?;
        Ok((name, process))
    };
    let mut processes = Vec::new();
    for _worker in 0..WORKERS {
        processes.push(start(&crew)?);
    }
    for (name, process) in &mut processes {
        process
            .until("every process has begun a turn", |lines| {
                begins(lines, name)
            })
            .await?;
    }
    for is_killed in FATES {
        tokio::time::sleep(Duration::from_millis(50 + chance.below(300))).await;
        let at = 1 + usize::try_from(chance.below(WORKERS as u64 - 1)).unwrap_or(0);
        let Some((name, process)) = processes.get_mut(at) else {
            continue;
        };
        if is_killed {
            crew.journal.write(&format!("kill {name}"))?;
            process.kill()?;
            if let Some(place) = processes.get_mut(at) {
                *place = start(&crew)?;
            }
        } else {
            crew.journal.write(&format!("stop {name}"))?;
            process.stop()?;
            tokio::time::sleep(PAUSE).await;
            process.go_on()?;
        }
    }
    for Run { run, .. } in &runs {
        is_finished(&runtime, run).await?;
    }
    for (_name, process) in processes {
        process.end().await?;
    }
    for run in &mut runs {
        let left = schedule(&runtime, &run.run).await?;
        run.deliveries = left.map_or(0, |left| left.deliveries);
    }
    judge(&crew.journal.lines()?, SIGNALS, &runs)
}

/// Two runs of each of some sessions, and some of none, with all their signals.
async fn many_runs(runtime: &Runtime) -> Result<Vec<Run>, Halt> {
    let calls = (0..RUNS).map(|number| {
        let runtime = Arc::clone(runtime);
        async move {
            let (run, session) = (
                format!("r{number}"),
                (number % 3 > 0).then(|| format!("session{}", number / 3)),
            );
            let of_session = session.clone().map(SessionId::new).map(id).transpose()?;
            submit(
                &runtime,
                Submit {
                    session: of_session,
                    ..submission(&run)?
                },
            )
            .await?;
            for number in 1..=SIGNALS {
                send(&runtime, &run, signal(&format!("s{number}"))?).await?;
            }
            Ok(Run {
                run,
                session,
                deliveries: 0,
            })
        }
    });
    at_once(calls).await?.into_iter().collect()
}

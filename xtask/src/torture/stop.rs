//! Processes stopped with SIGSTOP past their lease and continued, while another one takes their runs over.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::agent::Bench;
use super::chance::Chance;
use super::checks::{Totals, check};
use super::kill::{fault, must_succeed};
use super::process::Subject;
use crate::failure::Failure;

/// Longer than a lease, which is 15 s.
const STOPPED: Duration = Duration::from_secs(17);
/// How many runs the stopped worker holds.
const RUNS: usize = 6;
/// The store of both workers.
const STORE: &str = "stopped.db";
/// How long what was taken over may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two workers on one store, and two processes on one run, with one of each pair stopped.
pub(super) fn torture(
    bench: &Bench,
    reference: &Value,
    deadline: Instant,
    chance: &mut Chance,
) -> Result<Totals, Failure> {
    if Instant::now() + STOPPED >= deadline {
        let faults = vec![
            "no time was left for the workers to be stopped; give it more with --seconds"
                .to_owned(),
        ];
        return Ok(Totals {
            faults,
            ..Totals::default()
        });
    }
    let mut totals = Totals::default();
    let mut queued = Vec::new();
    for number in 0..RUNS {
        let subject = Subject::new(bench, format!("stopped-{number}"), Some(STORE))?;
        let mut queueing = subject.start(bench, &["--detach"])?;
        totals
            .faults
            .extend(must_succeed(&mut queueing, &subject, "run --detach")?);
        queued.push(subject);
    }
    let followed = Subject::new(bench, "followed".to_owned(), None)?;
    let workers = Subject::new(bench, "workers".to_owned(), Some(STORE))?;

    // The first of each pair gets hold of the runs, because the second comes later.
    let mut first = workers.worker(bench)?;
    let mut leader = followed.start(bench, &[])?;
    sleep(chance.millis(250, 700));
    let mut second = workers.worker(bench)?;
    let mut follower = followed.start(bench, &[])?;
    sleep(chance.millis(100, 500));
    first.signal(Signal::STOP)?;
    leader.signal(Signal::STOP)?;
    totals.kills += 2;
    sleep(STOPPED);
    // The first ones wake up in the middle of what the second ones do.
    first.signal(Signal::CONT)?;
    leader.signal(Signal::CONT)?;

    totals.faults.extend(must_succeed(
        &mut leader,
        &followed,
        "the process that was stopped",
    )?);
    totals.faults.extend(must_succeed(
        &mut follower,
        &followed,
        "the process that followed",
    )?);
    let until = Instant::now() + PATIENCE;
    for subject in queued.iter().chain([&followed]) {
        let seen = if ends(bench, subject, until)? {
            check(bench, subject, Some(reference))?.0
        } else {
            fault(subject, "it did not end after it was taken over".to_owned())
        };
        if seen.attempts < 2 {
            totals.faults.push(format!(
                "{}: nobody took it over, so nothing was shown",
                subject.run
            ));
        }
        totals.add(seen);
    }
    for (worker, who) in [
        (&mut first, "the worker that was stopped"),
        (&mut second, "the other worker"),
    ] {
        worker.signal(Signal::TERM)?;
        totals.faults.extend(must_succeed(worker, &workers, who)?);
    }
    Ok(totals)
}

fn ends(bench: &Bench, subject: &Subject, until: Instant) -> Result<bool, Failure> {
    loop {
        let (shown, _exit) = subject.ask(bench, "show")?;
        let status = shown.get("status").and_then(Value::as_str);
        if matches!(status, Some("succeeded" | "failed" | "cancelled")) {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        sleep(Duration::from_millis(250));
    }
}

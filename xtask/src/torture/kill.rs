//! Runs killed with SIGKILL at random moments, and continued each time by a new process.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::agent::Bench;
use super::chance::Chance;
use super::checks::{Totals, check};
use super::process::{Running, Subject};
use crate::failure::Failure;

/// How much torture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) kills: u32,
    pub(super) runs: u32,
    pub(super) jobs: u32,
    pub(super) deadline: Instant,
}

impl Plan {
    /// After so many kills a run is left alone. More than its share, because others end before they had theirs.
    fn kills_a_run(&self) -> u32 {
        self.kills
            .div_ceil(self.runs.max(1))
            .saturating_mul(2)
            .max(1)
    }
}

/// A process that does nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(90);
/// The store that every other run shares.
const SHARED: &str = "shared.db";

/// The summary of a run that nobody disturbs, which must itself be as it should.
pub(super) fn reference(bench: &Bench, deadline: Instant) -> Result<Value, Failure> {
    let subject = Subject::new(bench, "undisturbed".to_owned(), None)?;
    let mut running = subject.start(bench, &[])?;
    let patience = deadline.saturating_duration_since(Instant::now());
    let ended = running.wait(patience)?;
    if !ended.is_some_and(|status| status.success()) {
        let (shown, _exit) = subject.ask(bench, "show")?;
        let words = format!(
            "the undisturbed run ended with {ended:?}: {shown:#}\n{}",
            subject.errors()
        );
        return Err(Failure::new(words));
    }
    let (totals, summary) = check(bench, &subject, None)?;
    Failure::unless_empty(&totals.faults, "This run was not disturbed at all.")?;
    Ok(summary)
}

/// Tortures runs, several at once, until there were enough kills over enough runs, or the time is up.
pub(super) fn torture(
    bench: &Bench,
    plan: &Plan,
    reference: &Value,
    chance: &mut Chance,
) -> Result<Totals, Failure> {
    let next = AtomicU32::new(0);
    let totals = Mutex::new(Totals::default());
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs {
            let mut chance = chance.split();
            let (next, totals, failed) = (&next, &totals, &failed);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let enough = number >= plan.runs && lock(totals).kills >= plan.kills;
                    if enough || Instant::now() >= plan.deadline || lock(failed).is_some() {
                        return;
                    }
                    match one(bench, plan, number, reference, &mut chance) {
                        Ok(seen) => lock(totals).add(seen),
                        Err(failure) => *lock(failed) = Some(failure),
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(failure) => Err(failure),
        None => Ok(totals.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One run, killed again and again until it ends.
fn one(
    bench: &Bench,
    plan: &Plan,
    number: u32,
    reference: &Value,
    chance: &mut Chance,
) -> Result<Totals, Failure> {
    let shared = number.is_multiple_of(2).then_some(SHARED);
    let subject = Subject::new(bench, format!("killed-{number}"), shared)?;
    let mut kills = 0;
    let mut exists = false;
    let ended = loop {
        // A run whose process was killed before it created the run is unknown to `resume`.
        let mut running = if exists && chance.percent(50) {
            subject.resume(bench)?
        } else {
            subject.start(bench, &[])?
        };
        let is_spared = kills >= plan.kills_a_run() || Instant::now() >= plan.deadline;
        let patience = if is_spared { PATIENCE } else { moment(chance) };
        match running.wait(patience)? {
            Some(status) => break status.code(),
            None if is_spared => break None,
            None => {
                running.kill()?;
                kills += 1;
                exists = exists || is_known(bench, &subject)?;
            }
        }
    };
    let mut seen = match ended {
        Some(0) => check(bench, &subject, Some(reference))?.0,
        Some(code) => fault(&subject, format!("a process ended with exit code {code}")),
        None => fault(
            &subject,
            format!("stuck: no end within {} s", PATIENCE.as_secs()),
        ),
    };
    seen.kills = kills;
    Ok(seen)
}

/// Often within the work, sometimes while a process starts.
fn moment(chance: &mut Chance) -> Duration {
    if chance.percent(20) {
        chance.millis(1, 60)
    } else {
        chance.millis(60, 700)
    }
}

fn is_known(bench: &Bench, subject: &Subject) -> Result<bool, Failure> {
    Ok(subject.ask(bench, "show")?.1 == Some(0))
}

pub(super) fn fault(subject: &Subject, words: String) -> Totals {
    let errors = subject.errors();
    let last: Vec<&str> = errors.lines().rev().take(5).collect();
    let said = last.into_iter().rev().collect::<Vec<_>>().join("\n    ");
    Totals {
        runs: 1,
        faults: vec![format!("{}: {words}\n    {said}", subject.run)],
        ..Totals::default()
    }
}

/// Waits for a process that must end well.
pub(super) fn must_succeed(
    running: &mut Running,
    subject: &Subject,
    who: &str,
) -> Result<Option<String>, Failure> {
    Ok(match running.wait(PATIENCE)? {
        Some(status) if status.success() => None,
        Some(status) => Some(format!(
            "{}: {who} ended with {status}: {}",
            subject.run,
            subject.errors()
        )),
        None => Some(format!(
            "{}: {who} did not end within {} s",
            subject.run,
            PATIENCE.as_secs()
        )),
    })
}

//! What a seed stands for: what the model says, who is there, and what befalls them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use seaworthy_fakes::{Fault, Faults, Notifications, TableTurn};

use crate::chance::Chance;
use crate::outside::turn;

/// One schedule, all of it chosen by its seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the model says to each run.
    pub turns: Vec<TableTurn>,
    /// How many runs there are.
    pub runs: usize,
    /// For each place of a worker, the processes that take it one after the other; behind them one without faults.
    pub workers: Vec<Vec<ProcessPlan>>,
    /// For each run, the processes of the person who starts and answers it; behind them one without faults.
    pub people: Vec<Vec<ProcessPlan>>,
    /// Who ends the first run, and when, if anybody does.
    pub cancel: Option<Duration>,
    /// What becomes of hints.
    pub notifications: Notifications,
    /// Commands may fail, so that the run may go another way than undisturbed.
    pub sandbox_fails: bool,
}

/// What befalls one process.
#[derive(Clone, Debug)]
pub struct ProcessPlan {
    /// The faults by number of the call.
    pub faults: BTreeMap<usize, Fault>,
    /// Whether it sees that its lease is gone, where it lives on.
    pub is_told: bool,
    /// How long it stays paused after its lease is gone: less than tools may take, or their end would be another one.
    pub pause: Duration,
}

/// Calls of a process that faults are drawn for: a short undisturbed run makes about as many.
const CALLS: usize = 60;

impl Plan {
    /// The schedule of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let chance = Chance::new(seed);
        let runs = 1 + chance.below(2);
        let processes = |most: usize| -> Vec<ProcessPlan> {
            (0..chance.below(most + 1))
                .map(|_number| ProcessPlan::new(&chance))
                .collect()
        };
        Self {
            turns: turns(&chance),
            runs,
            workers: (0..1 + chance.below(2))
                .map(|_place| processes(4))
                .collect(),
            people: (0..runs).map(|_run| processes(2)).collect(),
            cancel: chance
                .once_in(4)
                .then(|| Duration::from_millis(chance.below(30_000) as u64)),
            notifications: chance
                .one_of(&[
                    Notifications::Prompt,
                    Notifications::Lost,
                    Notifications::Repeated,
                ])
                .unwrap_or_default(),
            sandbox_fails: chance.once_in(4),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            runs,
            cancel,
            notifications,
            sandbox_fails,
            ..
        } = self;
        writeln!(
            f,
            "{runs} runs, cancelled: {cancel:?}, hints: {notifications:?}, commands may fail: {sandbox_fails}"
        )?;
        for turn in &self.turns {
            let calls: Vec<&str> = turn.calls.iter().map(|(tool, _)| tool.as_str()).collect();
            writeln!(f, "{}: {}", turn.text, calls.join(", "))?;
        }
        for (name, places) in [("worker", &self.workers), ("person of run", &self.people)] {
            for (place, processes) in places.iter().enumerate() {
                for process in processes {
                    let ProcessPlan {
                        faults,
                        is_told,
                        pause,
                    } = process;
                    writeln!(
                        f,
                        "{name} {place}: {faults:?}, told of its lost lease: {is_told}, paused for {pause:?} more"
                    )?;
                }
            }
        }
        Ok(())
    }
}

fn turns(chance: &Chance) -> Vec<TableTurn> {
    const TOOLS: [&str; 7] = ["look", "store", "send", "send", "pay", "shout", "unknown"];
    let mut turns: Vec<TableTurn> = (0..1 + chance.below(4))
        .map(|number| {
            let calls: Vec<&str> = (0..1 + chance.below(4))
                .filter_map(|_call| chance.one_of(&TOOLS))
                .collect();
            turn(&format!("turn {number}"), &calls, !chance.once_in(3))
        })
        .collect();
    turns.push(turn("done", &[], true));
    turns
}

impl ProcessPlan {
    /// Nothing befalls it.
    pub(crate) const fn calm() -> Self {
        Self {
            faults: BTreeMap::new(),
            is_told: true,
            pause: Duration::ZERO,
        }
    }

    fn new(chance: &Chance) -> Self {
        let mut faults = BTreeMap::new();
        for _fault in 0..1 + chance.below(4) {
            // Early calls more often: a process that dies early meets no other fault.
            let number = chance.below(1 + chance.below(CALLS));
            let delay = Duration::from_millis(1 + chance.below(5_000) as u64);
            let fault = chance.one_of(&[
                Fault::CrashBefore,
                Fault::CrashAfter,
                Fault::FailBefore,
                Fault::FailAfter,
                Fault::Pause,
                Fault::Delay(delay),
                Fault::Duplicate,
            ]);
            // Some failures are outages, longer than whoever tries again has patience.
            let fails = matches!(fault, Some(Fault::FailBefore | Fault::FailAfter));
            let length = if fails && chance.once_in(3) { 12 } else { 1 };
            faults.extend((number..number + length).zip(std::iter::repeat(fault)));
        }
        let faults = faults
            .into_iter()
            .filter_map(|(number, fault)| Some((number, fault?)));
        Self {
            faults: faults.collect(),
            is_told: chance.once_in(2),
            pause: Duration::from_millis(chance.below(30_000) as u64),
        }
    }

    /// The faults, where they may be: no sandbox runs a command twice of itself, and unless `sandbox_fails` commands do
    /// not fail.
    pub(crate) fn faults(&self, sandbox_fails: bool) -> Faults {
        let faults = self.faults.clone();
        Faults::by(move |number, name| {
            let fault = faults.get(&number).copied()?;
            let fits = name != "sandbox exec"
                || match fault {
                    Fault::Duplicate => false,
                    Fault::FailBefore | Fault::FailAfter => sandbox_fails,
                    _ => true,
                };
            fits.then_some(fault)
        })
    }
}

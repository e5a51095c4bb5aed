//! Tasks in an order that a seed chooses, in time that moves only when nobody can do anything.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use seaworthy_fakes::FakeClock;
use seaworthy_ports::clock::Clock as _;

use crate::chance::Chance;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

struct Task<'a> {
    name: String,
    future: Pin<Box<dyn Future<Output = ()> + 'a>>,
    woken: Arc<Flag>,
}

/// Runs tasks on one thread. Which of those that can go on goes on is chance; time moves, to the next instant that
/// somebody sleeps for, only when none can.
pub struct Executor<'a> {
    tasks: Vec<Task<'a>>,
    clock: FakeClock,
    chance: Chance,
}

/// The tasks did not come to their end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stuck: {why}; not done: {}", tasks.join(", "))]
pub struct Stuck {
    /// What there was too much of, or nothing of.
    pub why: &'static str,
    /// The tasks that were left.
    pub tasks: Vec<String>,
}

/// The most time that the tasks may need together: far more than any run of a simulation.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The most steps of tasks: a task that never waits would go on for ever.
const STEPS: u32 = 5_000_000;

impl<'a> Executor<'a> {
    /// No tasks yet.
    #[must_use]
    pub fn new(clock: &FakeClock, chance: Chance) -> Self {
        Self {
            tasks: Vec::new(),
            clock: clock.clone(),
            chance,
        }
    }

    /// Adds a task.
    pub fn add(&mut self, name: impl Into<String>, task: impl Future<Output = ()> + 'a) {
        self.tasks.push(Task {
            name: name.into(),
            future: Box::pin(task),
            woken: Arc::new(Flag(AtomicBool::new(true))),
        });
    }

    /// Runs all tasks to their end.
    ///
    /// # Errors
    ///
    /// [`Stuck`] if they do not come to it.
    pub fn run(mut self) -> Result<(), Stuck> {
        let until = self.clock.now().plus(LONGEST);
        for _step in 0..STEPS {
            if self.tasks.is_empty() {
                return Ok(());
            }
            let ready: Vec<usize> = (0..self.tasks.len())
                .filter(|index| {
                    let task = self.tasks.get(*index);
                    task.is_some_and(|task| task.woken.0.load(Ordering::Acquire))
                })
                .collect();
            match self.chance.one_of(&ready) {
                Some(index) => self.step(index),
                None if self.clock.now() > until => return Err(self.stuck("a day has passed")),
                None if self.clock.advance_to_next_wake() => {}
                None => return Err(self.stuck("nobody can go on, and nobody waits for a time")),
            }
        }
        Err(self.stuck("the tasks never rest"))
    }

    fn step(&mut self, index: usize) {
        let Some(task) = self.tasks.get_mut(index) else {
            return;
        };
        task.woken.0.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&task.woken));
        let polled = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            self.tasks.swap_remove(index);
        }
    }

    fn stuck(&self, why: &'static str) -> Stuck {
        let tasks = self.tasks.iter().map(|task| task.name.clone()).collect();
        Stuck { why, tasks }
    }
}

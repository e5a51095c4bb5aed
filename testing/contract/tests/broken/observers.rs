//! Observers with a bug: one that passes facts on to a list, by way of a short queue while the list is held up.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex};

use seaworthy_contract::observer::Harness;
use seaworthy_ports::observer::{Fact, Observer};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{AdapterInfo, RunId, async_trait};

pub(crate) const NONE: u8 = 0;
pub(crate) const PANICS_WHEN_LOST: u8 = 1;
pub(crate) const COUNTS_NOTHING: u8 = 2;
pub(crate) const CANNOT_TELL_A_LONG_TIME: u8 = 3;
pub(crate) const WAITS: u8 = 4;
pub(crate) const NO_BOUND: u8 = 5;
pub(crate) const SLEEPS: u8 = 6;
pub(crate) const NEEDS_A_RUNTIME: u8 = 7;
pub(crate) const NEWEST_FIRST: u8 = 8;
pub(crate) const ADDS_ENVIRONMENT: u8 = 9;
pub(crate) const SHOWS_ITS_KEY: u8 = 10;
pub(crate) const FEEDS_BACK: u8 = 11;

const SECRET: &str = "key-8f1c2a";
const QUEUE: usize = 64;
const LIST: usize = 10_000;

pub(crate) struct Broken(Arc<Bad>);

#[async_trait]
impl Harness for Broken {
    async fn start() -> Self {
        Self(Arc::new(Bad {
            bug: super::chosen(),
            ..Bad::default()
        }))
    }

    fn observer(&self) -> Arc<dyn Observer> {
        Arc::<Bad>::clone(&self.0)
    }

    async fn lose_backend(&self) -> bool {
        self.0.state.lock().unwrap().is_lost = true;
        true
    }

    async fn hold_up(&self) -> Option<Box<dyn Send>> {
        self.0.state.lock().unwrap().is_held = true;
        Some(Box::new(Held(Arc::clone(&self.0))))
    }

    fn dropped(&self) -> Option<u64> {
        Some(self.0.state.lock().unwrap().dropped)
    }

    async fn told(&self) -> Option<Vec<(RunId, Seq)>> {
        Some(self.0.state.lock().unwrap().told.clone())
    }

    async fn written(&self) -> Option<String> {
        Some(self.0.state.lock().unwrap().written.clone())
    }

    fn secret(&self) -> Option<String> {
        Some(SECRET.to_owned())
    }

    async fn application(&self, observer: Arc<dyn Observer>) -> String {
        let run = RunId::new("r").unwrap();
        observer.observe(&Fact::AttemptStarted { run, attempt: 1 });
        let noticed = !self.0.state.lock().unwrap().written.is_empty();
        // An application that goes by what its observer has noticed.
        let again = self.0.bug == FEEDS_BACK && noticed;
        format!("answered, asked again: {again}")
    }
}

struct Held(Arc<Bad>);

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap();
        state.is_held = false;
        let queue: Vec<Fact> = state.queue.drain(..).collect();
        queue
            .iter()
            .for_each(|fact| self.0.pass_on(&mut state, fact));
        drop(state);
        self.0.goes_on.notify_all();
    }
}

#[derive(Default)]
struct State {
    is_lost: bool,
    is_held: bool,
    dropped: u64,
    queue: VecDeque<Fact>,
    told: Vec<(RunId, Seq)>,
    written: String,
}

#[derive(Default)]
struct Bad {
    bug: u8,
    state: Mutex<State>,
    goes_on: Condvar,
}

impl Bad {
    fn pass_on(&self, state: &mut State, fact: &Fact) {
        if state.told.len() >= LIST {
            state.dropped += 1;
            return;
        }
        if let Fact::RecordsAppended { run, head, .. } = fact {
            let at = if self.bug == NEWEST_FIRST {
                0
            } else {
                state.told.len()
            };
            state.told.insert(at, (run.clone(), *head));
        }
        writeln!(state.written, "{}", fact.run()).unwrap();
        if self.bug == ADDS_ENVIRONMENT {
            let environment: Vec<_> = std::env::vars_os().collect();
            writeln!(state.written, "{environment:?}").unwrap();
        }
    }
}

impl fmt::Debug for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.bug == SHOWS_ITS_KEY {
            SECRET
        } else {
            "…"
        };
        f.debug_struct("Bad").field("key", &key).finish()
    }
}

impl Observer for Bad {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "broken",
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn observe(&self, fact: &Fact) {
        match (self.bug, fact) {
            (SLEEPS, _) => std::thread::sleep(std::time::Duration::from_millis(1)),
            (NEEDS_A_RUNTIME, _) => drop(tokio::runtime::Handle::current()),
            (CANNOT_TELL_A_LONG_TIME, Fact::ToolCallEnded { duration, .. }) => {
                let _micros = u64::try_from(duration.as_micros()).unwrap();
            }
            _ => {}
        }
        let mut state = self.state.lock().unwrap();
        if state.is_lost {
            assert!(self.bug != PANICS_WHEN_LOST, "the backend is gone");
            state.dropped += u64::from(self.bug != COUNTS_NOTHING);
            return;
        }
        if self.bug == WAITS {
            state = self
                .goes_on
                .wait_while(state, |state| state.is_held)
                .unwrap();
        }
        if !state.is_held {
            self.pass_on(&mut state, fact);
        } else if state.queue.len() < QUEUE || self.bug == NO_BOUND {
            state.queue.push_back(fact.clone());
        } else {
            state.dropped += 1;
        }
    }
}

//! Observers with a bug: one that passes facts on to a list, by way of a short queue while the list is held up.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use seaworthy_contract::observer::Harness;
use seaworthy_ports::observer::{
    AttemptEnd, Execution, Fact, Observer, Span, ToolCallOutcome, ToolContent,
};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{
    AdapterInfo, CallId, RunId, SpanId, Timestamp, ToolName, TraceContext, TraceId, WorkerId,
    async_trait,
};

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
pub(crate) const PASSES_CONTENT_ON: u8 = 12;
/// Bugs of the application that tells it.
pub(crate) const TELLS_ALL: u8 = 13;
pub(crate) const FORGETS_AN_END: u8 = 14;
pub(crate) const ENDS_TOO_LATE: u8 = 15;
pub(crate) const TELLS_AGAIN: u8 = 16;
pub(crate) const REPLAYS: u8 = 17;
pub(crate) const A_TRACE_FOR_EACH_ATTEMPT: u8 = 18;
pub(crate) const NO_PARENT: u8 = 19;

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
        tell(&*observer, self.0.bug);
        let noticed = !self.0.state.lock().unwrap().written.is_empty();
        // An application that goes by what its observer has noticed.
        let again = self.0.bug == FEEDS_BACK && noticed;
        format!("answered, asked again: {again}")
    }
}

/// Two attempts of a run: the first calls a tool and dies, the second calls the model again.
fn tell(observer: &dyn Observer, bug: u8) {
    let run = RunId::new("r").unwrap();
    let whole = TraceContext::new(TraceId::of(b"r"), SpanId::of(b"r"));
    let span = |attempt: u32, part: &str| {
        let at = format!("{attempt} {part}");
        let other = TraceContext::new(TraceId::of(&attempt.to_le_bytes()), SpanId::of(b"r"));
        let within = if bug == A_TRACE_FOR_EACH_ATTEMPT {
            &other
        } else {
            &whole
        };
        Span {
            context: within.at(SpanId::of(at.as_bytes())),
            parent: (bug != NO_PARENT).then(|| whole.span()),
            started: Timestamp::from_millis(0),
        }
    };
    let mut facts = Vec::new();
    for attempt in 1..=2 {
        let worker = WorkerId::new("w").unwrap();
        let (call, tool) = (CallId::new("r.c1").unwrap(), ToolName::new("tool").unwrap());
        let execution = if attempt == 1 || bug == REPLAYS {
            Execution::First
        } else {
            Execution::Again
        };
        let part = if bug == TELLS_AGAIN { 1 } else { attempt };
        facts.push(Fact::AttemptStarted {
            run: run.clone(),
            attempt,
            worker: worker.clone(),
            span: span(attempt, "attempt"),
        });
        facts.push(Fact::ToolCallStarted {
            run: run.clone(),
            attempt,
            call: call.clone(),
            tool: tool.clone(),
            side_effect: "idempotent",
            execution,
            span: span(part, "tool"),
        });
        if observer.wants_content() || bug == TELLS_ALL {
            facts.push(Fact::ToolCallContent {
                run: run.clone(),
                span: span(part, "tool"),
                content: ToolContent {
                    arguments: Arc::new(serde_json::json!({})),
                    result: None,
                },
            });
        }
        let ended = Fact::ToolCallEnded {
            run: run.clone(),
            attempt,
            agent: "agent".into(),
            call,
            tool,
            side_effect: "idempotent",
            execution,
            served_by: None,
            outcome: ToolCallOutcome::Cancelled,
            error: None,
            span: span(part, "tool"),
            duration: Duration::ZERO,
        };
        let attempt_ended = Fact::AttemptEnded {
            run: run.clone(),
            attempt,
            worker,
            end: AttemptEnd::Abandoned,
            span: span(attempt, "attempt"),
            duration: Duration::ZERO,
        };
        match bug {
            FORGETS_AN_END => facts.push(attempt_ended),
            ENDS_TOO_LATE => facts.extend([attempt_ended, ended]),
            _ => facts.extend([ended, attempt_ended]),
        }
    }
    facts.iter().for_each(|fact| observer.observe(fact));
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
        if let (PASSES_CONTENT_ON, Fact::ToolCallContent { content, .. }) = (self.bug, fact) {
            writeln!(state.written, "{}", content.arguments).unwrap();
        }
        // Enough of it: all of it with each fact takes its time.
        if self.bug == ADDS_ENVIRONMENT && state.written.len() < 100_000 {
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

    fn wants_content(&self) -> bool {
        false
    }

    fn observe(&self, fact: &Fact) {
        match (self.bug, fact) {
            (SLEEPS, _) => std::thread::sleep(Duration::from_millis(1)),
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

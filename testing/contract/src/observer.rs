//! The suite of [`Observer`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use seaworthy_ports::model_provider::{FinishReason, Kind, Usage};
use seaworthy_ports::observer::{
    Fact, ModelCallEnd, Observer, ParkReason, RunEnd, ToolCallOutcome,
};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{AdapterInfo, CallId, RunId, ToolName};

use crate::Adapter;
use crate::outcome::{Halt, Outcome, at_once, broken, holds, id, patience, same, within};

/// Makes an observer for a scenario, and does to what is behind it what no caller can.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// An observer that was told nothing.
    async fn start() -> Self;

    /// The observer.
    fn observer(&self) -> Arc<dyn Observer>;

    /// Takes away for good what it passes facts on to. `false`: it passes on nothing that could be taken away.
    async fn lose_backend(&self) -> bool {
        false
    }

    /// Holds up what it passes facts on to, as a full pipe or a slow server would, until what this returns is dropped.
    /// `None`: there is nothing to hold up.
    async fn hold_up(&self) -> Option<Box<dyn Send>> {
        None
    }

    /// How many facts it has dropped. `None`: it drops none, because it passes on none.
    fn dropped(&self) -> Option<u64> {
        None
    }

    /// Run and head of each [`Fact::RecordsAppended`] that has come out at its other end, in the order in which they
    /// came. `None`: nothing comes out.
    async fn told(&self) -> Option<Vec<(RunId, Seq)>> {
        None
    }

    /// All that has come out at its other end, as text. `None`: nothing comes out.
    async fn written(&self) -> Option<String> {
        None
    }

    /// A secret that the observer was given, such as the key of its backend.
    fn secret(&self) -> Option<String> {
        None
    }

    /// Does the work of an application that tells `observer` its facts, and returns what it came to.
    async fn application(&self, observer: Arc<dyn Observer>) -> String {
        work(observer).await
    }
}

/// What the adapter says of itself.
pub fn about<H: Harness>(harness: &H) -> Adapter {
    Adapter::new(harness.observer().info())
}

/// The list of scenarios; everything else is made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __observer_scenarios {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then! { $($arguments)* [
            "OB-1" every_sort_of_fact_is_taken
            "OB-1" a_lost_backend_costs_facts_that_are_counted
            "OB-2" fifty_thousand_facts_take_a_moment
            "OB-2" a_backend_that_is_held_up_holds_nobody_up
            "OB-3" facts_are_taken_from_any_thread
            "OB-3" the_facts_of_a_run_come_out_in_their_order
            "OB-4" nothing_is_added_to_a_fact
            "OB-4" debug_output_shows_neither_the_environment_nor_a_secret
            "OB-5" work_comes_to_the_same_with_and_without_it
        ] }
    };
}

crate::__observer_scenarios! { __runner observer }

/// Makes one test of each scenario of the `Observer` suite.
#[macro_export]
macro_rules! observer_contract {
    (harness: $harness:ty $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::__observer_scenarios! { __tests ($) observer, $harness, $($excluded)? }
    };
}

/// Facts that fill any buffer with a bound.
const MANY: u64 = 100_000;

fn run_named(name: &str) -> Result<RunId, Halt> {
    id(RunId::new(name))
}

fn appended(run: &RunId, head: u64) -> Fact {
    Fact::RecordsAppended {
        run: run.clone(),
        head: Seq(head),
        records: 1,
        bytes: 100,
        duration: Duration::from_millis(1),
    }
}

/// Each sort of fact, with the smallest and the largest that it can hold.
fn every_sort() -> Result<Vec<Fact>, Halt> {
    let long = "r".repeat(200);
    let mut facts = Vec::new();
    for (name, number, duration, text) in [
        ("r", 0, Duration::ZERO, ""),
        (
            &*long,
            u32::MAX,
            Duration::MAX,
            "\u{1F6A2}\n\"%s\0\u{1b}[31m",
        ),
    ] {
        let (run, call) = (
            run_named(name)?,
            id(CallId::new(format!("{name}.c{number}")))?,
        );
        let tool = id(ToolName::new("tool"))?;
        let (provider, model): (Arc<str>, Arc<str>) = (text.into(), text.repeat(1_000).into());
        facts.extend([
            Fact::AttemptStarted {
                run: run.clone(),
                attempt: number,
            },
            Fact::ModelCallStarted {
                run: run.clone(),
                attempt: number,
                provider: Arc::clone(&provider),
                model: Arc::clone(&model),
            },
            Fact::ToolCallStarted {
                run: run.clone(),
                call: call.clone(),
                tool: tool.clone(),
                side_effect: "read_only",
            },
            Fact::RecordsAppended {
                run: run.clone(),
                head: Seq(u64::from(number)),
                records: number,
                bytes: u64::from(number),
                duration,
            },
            Fact::RunStalled {
                run: run.clone(),
                message: text.into(),
            },
        ]);
        for end in [
            ModelCallEnd::Finished(FinishReason::Stop),
            ModelCallEnd::Failed(Kind::Network),
        ] {
            facts.push(Fact::ModelCallEnded {
                run: run.clone(),
                attempt: number,
                provider: Arc::clone(&provider),
                model: Arc::clone(&model),
                usage: Usage::default(),
                end,
                duration,
            });
        }
        for outcome in [
            ToolCallOutcome::Succeeded,
            ToolCallOutcome::Failed,
            ToolCallOutcome::Refused,
            ToolCallOutcome::Cancelled,
            ToolCallOutcome::InDoubt,
        ] {
            facts.push(Fact::ToolCallEnded {
                run: run.clone(),
                call: call.clone(),
                tool: tool.clone(),
                side_effect: "non_idempotent",
                outcome,
                duration,
            });
        }
        for reason in [
            ParkReason::Approval,
            ParkReason::InDoubt,
            ParkReason::Timer,
            ParkReason::Signal,
            ParkReason::Child,
            ParkReason::Provider,
        ] {
            facts.push(Fact::RunParked {
                run: run.clone(),
                reason,
            });
        }
        for status in [RunEnd::Succeeded, RunEnd::Failed, RunEnd::Cancelled] {
            facts.push(Fact::RunEnded {
                run: run.clone(),
                status,
            });
        }
    }
    Ok(facts)
}

/// OB-1.
pub async fn every_sort_of_fact_is_taken<H: Harness>(harness: H) -> Outcome {
    let observer = harness.observer();
    for fact in every_sort()? {
        observer.observe(&fact);
    }
    Ok(())
}

/// Tells facts until one is dropped; so many that a buffer with a bound is full long before.
fn fill<H: Harness>(harness: &H, did: &str) -> Outcome {
    let (observer, run) = (harness.observer(), run_named("r")?);
    let dropped = || {
        let dropped = harness.dropped();
        dropped.ok_or_else(|| broken(did, "a count of dropped facts", "none"))
    };
    let before = dropped()?;
    for head in 1..=MANY {
        observer.observe(&appended(&run, head));
        if dropped()? > before {
            return Ok(());
        }
    }
    Err(broken(
        format!("{did}, and told {MANY} facts"),
        "some of them dropped and counted",
        "none",
    ))
}

/// OB-1.
pub async fn a_lost_backend_costs_facts_that_are_counted<H: Harness>(harness: H) -> Outcome {
    if !harness.lose_backend().await {
        return Err(Halt::NotCheckable("it has no backend to lose"));
    }
    fill(&harness, "took its backend away")
}

/// OB-2.
pub async fn fifty_thousand_facts_take_a_moment<H: Harness>(harness: H) -> Outcome {
    let (observer, run) = (harness.observer(), run_named("r")?);
    // Writing or sending each of them would take minutes.
    let telling = async {
        for part in 0..500 {
            let (observer, run) = (Arc::clone(&observer), run.clone());
            let told = tokio::task::spawn_blocking(move || {
                (1..=100).for_each(|head| observer.observe(&appended(&run, part * 100 + head)));
            });
            told.await
                .map_err(|error| broken("told fifty thousand facts", "no panic", error))?;
        }
        Ok(())
    };
    within("told fifty thousand facts", telling).await?
}

/// OB-2.
pub async fn a_backend_that_is_held_up_holds_nobody_up<H: Harness>(harness: H) -> Outcome {
    let held = harness.hold_up().await;
    let held = held.ok_or(Halt::NotCheckable("it has no backend to hold up"))?;
    let (observer, first) = (harness.observer(), appended(&run_named("r")?, 1));
    let told = tokio::task::spawn_blocking(move || observer.observe(&first));
    let told = within("told a fact while its backend is held up", told).await;
    let outcome = match told {
        Ok(_returned) => fill(&harness, "held its backend up"),
        Err(halt) => Err(halt),
    };
    drop(held);
    outcome
}

/// Tells `facts` of eight runs, each from a thread of its own that knows no runtime.
async fn tell_from_threads(observer: &Arc<dyn Observer>, facts: u64) -> Outcome {
    let mut threads = Vec::new();
    for number in 0..8 {
        let (observer, run) = (Arc::clone(observer), run_named(&format!("run{number}"))?);
        threads.push(std::thread::spawn(move || {
            (1..=facts).for_each(|head| observer.observe(&appended(&run, head)));
        }));
    }
    let joined = tokio::task::spawn_blocking(|| {
        let ends = threads.into_iter().map(|thread| thread.join().is_ok());
        ends.filter(|is_well| !is_well).count()
    });
    let panicked = within("told facts from eight threads", joined).await?;
    let panicked = panicked.map_err(|error| broken("joined the threads", "no panic", error))?;
    same(
        "told facts from eight threads and counted those that panicked",
        panicked,
        0,
    )
}

/// OB-3.
pub async fn facts_are_taken_from_any_thread<H: Harness>(harness: H) -> Outcome {
    tell_from_threads(&harness.observer(), 500).await
}

/// OB-3.
pub async fn the_facts_of_a_run_come_out_in_their_order<H: Harness>(harness: H) -> Outcome {
    let none = || Halt::NotCheckable("nothing comes out of it");
    harness.told().await.ok_or_else(none)?;
    tell_from_threads(&harness.observer(), 200).await?;
    let deadline = tokio::time::Instant::now() + patience();
    for number in 0..8 {
        let run = run_named(&format!("run{number}"))?;
        let heads = loop {
            let told = harness.told().await.ok_or_else(none)?;
            let heads: Vec<Seq> = told
                .into_iter()
                .filter(|(of, _head)| *of == run)
                .map(|(_of, head)| head)
                .collect();
            if !heads.is_empty() {
                break heads;
            }
            holds(
                tokio::time::Instant::now() < deadline,
                format!("told 200 facts of {run} and waited for them"),
                "some to come out",
                "none",
            )?;
            tokio::time::sleep(Duration::from_millis(3)).await;
        };
        let mut ordered = heads.clone();
        ordered.sort_unstable();
        ordered.dedup();
        same(
            format!("looked at what came out of the facts of {run}"),
            heads,
            ordered,
        )?;
    }
    Ok(())
}

/// What must not come out anywhere: paths of this process's environment, which no fact holds, and the secret.
fn canaries<H: Harness>(harness: &H) -> Vec<String> {
    std::env::vars_os()
        .filter_map(|(_name, value)| value.into_string().ok())
        .filter(|value| value.len() >= 8 && value.contains(['/', '\\']))
        .chain(harness.secret())
        .collect()
}

fn holds_none_of(canaries: &[String], what: &str, text: &str) -> Outcome {
    // Which one it is must not be shown either.
    let found = canaries
        .iter()
        .filter(|canary| text.contains(canary.as_str()))
        .count();
    same(
        format!("looked for values of the environment and its secret in {what}"),
        found,
        0,
    )
}

/// OB-4.
pub async fn nothing_is_added_to_a_fact<H: Harness>(harness: H) -> Outcome {
    let none = || Halt::NotCheckable("nothing comes out of it");
    harness.written().await.ok_or_else(none)?;
    let (observer, run) = (harness.observer(), run_named("r")?);
    for head in 1..=20 {
        observer.observe(&appended(&run, head));
    }
    let deadline = tokio::time::Instant::now() + patience();
    loop {
        let text = harness.written().await.ok_or_else(none)?;
        holds_none_of(&canaries(&harness), "what came out", &text)?;
        if !text.is_empty() {
            return Ok(());
        }
        holds(
            tokio::time::Instant::now() < deadline,
            "told 20 facts and waited for them",
            "some to come out",
            "none",
        )?;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// OB-4.
pub async fn debug_output_shows_neither_the_environment_nor_a_secret<H: Harness>(
    harness: H,
) -> Outcome {
    let observer = harness.observer();
    observer.observe(&appended(&run_named("r")?, 1));
    let shown = format!("{observer:?}");
    holds_none_of(&canaries(&harness), "its debug output", &shown)
}

/// Takes note of nothing.
#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "nobody",
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn observe(&self, _fact: &Fact) {}
}

/// What an application does with the observer that it was given: tells it of each step, and goes on.
async fn work(observer: Arc<dyn Observer>) -> String {
    let runs = (0..4_u64).map(|number| {
        let observer = Arc::clone(&observer);
        async move {
            let mut sum = number;
            let Ok(run) = run_named(&format!("run{number}")) else {
                return (number, sum);
            };
            for head in 1..=100 {
                let fact = appended(&run, head);
                let told = fact.clone();
                observer.observe(&told);
                sum = sum.wrapping_mul(31).wrapping_add(u64::from(fact == told));
                tokio::task::yield_now().await;
            }
            observer.observe(&Fact::RunEnded {
                run,
                status: RunEnd::Succeeded,
            });
            (number, sum)
        }
    });
    let mut ended = at_once(runs).await.map_err(|halt| format!("{halt:?}"));
    if let Ok(ended) = &mut ended {
        ended.sort_unstable();
    }
    let folder = std::env::current_dir().ok();
    format!("{ended:?} in {folder:?}")
}

/// OB-5.
pub async fn work_comes_to_the_same_with_and_without_it<H: Harness>(harness: H) -> Outcome {
    let without = harness.application(Arc::new(Nobody)).await;
    let with = harness.application(harness.observer()).await;
    same("did the same work with it and without", with, without)
}

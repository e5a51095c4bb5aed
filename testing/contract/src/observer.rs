//! The suite of [`Observer`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use seaworthy_ports::mcp::{McpLogLevel, McpLogMessage};
use seaworthy_ports::observer::{Fact, Observer};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{AdapterInfo, RunId, ServerAlias};

use crate::Adapter;
use crate::outcome::{Halt, Outcome, at_once, broken, holds, id, patience, same, within};

mod facts;
mod told;

use facts::{a_span, appended, every_sort, facts_of_a_run, model_content, run_named, tool_content};
pub use told::{Recorder, check};

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
            "OB-4" content_that_was_not_asked_for_is_not_passed_on
            "OB-4" content_is_told_only_to_who_asks_for_it
            "OB-4" debug_output_shows_neither_the_environment_nor_a_secret
            "OB-5" work_comes_to_the_same_with_and_without_it
            "OB-6" all_that_started_is_told_to_have_ended
            "OB-7" no_work_is_told_twice
            "OB-8" all_of_a_run_is_in_its_trace
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
const MANY: usize = 100_000;

/// OB-1.
pub async fn every_sort_of_fact_is_taken<H: Harness>(harness: H) -> Outcome {
    let observer = harness.observer();
    for fact in every_sort()? {
        observer.observe(&fact);
    }
    Ok(())
}

/// Tells facts until one is dropped; so many that a buffer with a bound is full long before.
async fn fill<H: Harness>(harness: &H, did: &str) -> Outcome {
    let (observer, run) = (harness.observer(), run_named("r")?);
    let dropped = || {
        let dropped = harness.dropped();
        dropped.ok_or_else(|| broken(did, "a count of dropped facts", "none"))
    };
    let before = dropped()?;
    // Of every sort: a backend may be needed for some of them only.
    let facts = facts_of_a_run(&run);
    for fact in facts.iter().cycle().take(MANY) {
        observer.observe(fact);
        if dropped()? > before {
            return Ok(());
        }
    }
    // What is handed to the backend all the same is lost a little later.
    let deadline = tokio::time::Instant::now() + patience();
    while dropped()? == before {
        holds(
            tokio::time::Instant::now() < deadline,
            format!("{did}, and told {MANY} facts"),
            "some of them dropped and counted",
            "none",
        )?;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    Ok(())
}

/// OB-1.
pub async fn a_lost_backend_costs_facts_that_are_counted<H: Harness>(harness: H) -> Outcome {
    if !harness.lose_backend().await {
        return Err(Halt::NotCheckable("it has no backend to lose"));
    }
    fill(&harness, "took its backend away").await
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
        Ok(_returned) => fill(&harness, "held its backend up").await,
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
pub async fn content_that_was_not_asked_for_is_not_passed_on<H: Harness>(harness: H) -> Outcome {
    const CONTENT: &str = "content-5d31f0";
    let none = || Halt::NotCheckable("nothing comes out of it");
    harness.written().await.ok_or_else(none)?;
    let observer = harness.observer();
    if observer.wants_content() {
        return Err(Halt::NotCheckable("it asks for content"));
    }
    let (run, span) = (run_named("r")?, a_span("s", 1, Duration::ZERO));
    observer.observe(&Fact::ModelCallContent {
        run: run.clone(),
        span: span.clone(),
        content: model_content(CONTENT),
    });
    observer.observe(&Fact::ToolCallContent {
        run: run.clone(),
        span,
        content: tool_content(CONTENT),
    });
    observer.observe(&Fact::ServerLogContent {
        run: run.clone(),
        server: id(ServerAlias::new("server"))?,
        message: McpLogMessage::new(McpLogLevel::Error, Some(CONTENT), CONTENT),
    });
    observer.observe(&appended(&run, 1));
    let deadline = tokio::time::Instant::now() + patience();
    loop {
        let text = harness.written().await.ok_or_else(none)?;
        holds(
            !text.contains(CONTENT),
            "told content to an observer that asks for none",
            "none to come out",
            "it came out",
        )?;
        if !text.is_empty() {
            return Ok(());
        }
        holds(
            tokio::time::Instant::now() < deadline,
            "told facts and waited for them",
            "some to come out",
            "none",
        )?;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// OB-4.
pub async fn content_is_told_only_to_who_asks_for_it<H: Harness>(harness: H) -> Outcome {
    told::content(&facts_of(&harness, Recorder::default()).await, false)
}

/// What the application tells `recorder`.
async fn facts_of<H: Harness>(harness: &H, recorder: Recorder) -> Vec<Fact> {
    let recorder = Arc::new(recorder);
    let _came_to = harness.application(Arc::<Recorder>::clone(&recorder)).await;
    recorder.told()
}

/// OB-6.
pub async fn all_that_started_is_told_to_have_ended<H: Harness>(harness: H) -> Outcome {
    told::ends(&facts_of(&harness, Recorder::default()).await)
}

/// OB-7.
pub async fn no_work_is_told_twice<H: Harness>(harness: H) -> Outcome {
    told::once(&facts_of(&harness, Recorder::of_content()).await)
}

/// OB-8.
pub async fn all_of_a_run_is_in_its_trace<H: Harness>(harness: H) -> Outcome {
    told::spans(&facts_of(&harness, Recorder::of_content()).await)
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

    fn wants_content(&self) -> bool {
        false
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
            for fact in facts_of_a_run(&run) {
                let told = fact.clone();
                observer.observe(&told);
                sum = sum.wrapping_mul(31).wrapping_add(u64::from(fact == told));
                tokio::task::yield_now().await;
            }
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

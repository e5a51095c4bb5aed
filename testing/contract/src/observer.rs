//! The suite of [`Observer`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use seaworthy_ports::model_provider::{Block, FinishReason, Kind, Message, Role, Usage};
use seaworthy_ports::observer::{
    AttemptEnd, Execution, Fact, ModelCallEnd, ModelContent, Observer, ParkReason, RunEnd, Span,
    ToolCallOutcome, ToolContent,
};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{
    AdapterInfo, CallId, RunId, SpanId, Timestamp, ToolName, TraceContext, TraceId, WorkerId,
};
use serde_json::json;

use crate::Adapter;
use crate::outcome::{Halt, Outcome, at_once, broken, holds, id, patience, same, within};

mod told;

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

/// A span at the beginning of time or at its end.
fn a_span(name: &str, number: u32, length: Duration) -> Span {
    let name = format!("{name} {number}");
    let context = TraceContext::new(TraceId::of(b"trace"), SpanId::of(name.as_bytes()));
    Span {
        context,
        parent: (number > 0).then(|| SpanId::of(b"whole")),
        started: Timestamp::from_millis(if length.is_zero() { i64::MIN } else { i64::MAX }),
    }
}

fn model_content(text: &str) -> ModelContent {
    ModelContent {
        instructions: text.into(),
        input: Arc::new(vec![Message::user(text)]),
        tools: Arc::default(),
        output: Some(Arc::new(Message {
            role: Role::Assistant,
            blocks: vec![Block::Text {
                text: text.to_owned(),
                opaque: None,
            }],
        })),
    }
}

fn tool_content(text: &str) -> ToolContent {
    ToolContent {
        arguments: Arc::new(json!({ "text": text })),
        result: Some(Arc::new(json!(text))),
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
        let worker = id(WorkerId::new("w"))?;
        let span = a_span(text, number, duration);
        facts.extend([
            Fact::AttemptStarted {
                run: run.clone(),
                attempt: number,
                worker: worker.clone(),
                span: span.clone(),
            },
            Fact::ModelCallStarted {
                run: run.clone(),
                attempt: number,
                provider: Arc::clone(&provider),
                model: Arc::clone(&model),
                span: span.clone(),
            },
            Fact::ModelCallContent {
                run: run.clone(),
                span: span.clone(),
                content: model_content(text),
            },
            Fact::ToolCallContent {
                run: run.clone(),
                span: span.clone(),
                content: tool_content(text),
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
            AttemptEnd::Ended,
            AttemptEnd::Parked,
            AttemptEnd::Stalled,
            AttemptEnd::Abandoned,
        ] {
            facts.push(Fact::AttemptEnded {
                run: run.clone(),
                attempt: number,
                worker: worker.clone(),
                end,
                span: span.clone(),
                duration,
            });
        }
        for end in [
            ModelCallEnd::Finished(FinishReason::Stop),
            ModelCallEnd::Failed(Kind::Network),
        ] {
            let most = (number > 0).then_some(u64::MAX);
            facts.push(Fact::ModelCallEnded {
                run: run.clone(),
                attempt: number,
                agent: Arc::clone(&model),
                session: None,
                provider: Arc::clone(&provider),
                model: Arc::clone(&model),
                answered_by: most.map(|_most| Arc::clone(&model)),
                request_id: most.map(|_most| text.into()),
                usage: Usage {
                    input_tokens: most,
                    cache_read_tokens: most,
                    cache_write_tokens: most,
                    output_tokens: most,
                    reasoning_tokens: most,
                },
                end,
                span: span.clone(),
                first_chunk: most.map(|_most| duration),
                duration,
            });
        }
        for execution in [Execution::First, Execution::Again, Execution::Verify] {
            facts.push(Fact::ToolCallStarted {
                run: run.clone(),
                attempt: number,
                call: call.clone(),
                tool: tool.clone(),
                side_effect: "read_only",
                execution,
                span: span.clone(),
            });
            for outcome in [
                ToolCallOutcome::Succeeded,
                ToolCallOutcome::Failed,
                ToolCallOutcome::Refused,
                ToolCallOutcome::Cancelled,
                ToolCallOutcome::InDoubt,
            ] {
                facts.push(Fact::ToolCallEnded {
                    run: run.clone(),
                    attempt: number,
                    agent: Arc::clone(&model),
                    call: call.clone(),
                    tool: tool.clone(),
                    side_effect: "non_idempotent",
                    execution,
                    outcome,
                    error: Some(text.into()),
                    span: span.clone(),
                    duration,
                });
            }
        }
        for reason in [
            ParkReason::Approval,
            ParkReason::InDoubt,
            ParkReason::Timer,
            ParkReason::Signal,
            ParkReason::Child,
            ParkReason::Provider,
            ParkReason::Limit,
        ] {
            facts.push(Fact::RunParked {
                run: run.clone(),
                reason,
            });
        }
        for status in [RunEnd::Succeeded, RunEnd::Failed, RunEnd::Cancelled] {
            facts.push(Fact::RunEnded {
                run: run.clone(),
                agent: Arc::clone(&model),
                session: None,
                attempts: number,
                status,
                error: Some(text.into()),
                usage: Usage::default(),
                model_calls: number,
                tool_calls: number,
                span: span.clone(),
                duration,
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

/// The facts of a run of one attempt, with a model call and a tool call.
fn facts_of_a_run(run: &RunId) -> Vec<Fact> {
    let name = |part: &str| format!("{run} {part}");
    let whole = SpanId::of(name("whole").as_bytes());
    let context = TraceContext::new(TraceId::of(run.as_str().as_bytes()), whole);
    let span = |part: &str| Span {
        context: context.at(SpanId::of(name(part).as_bytes())),
        parent: Some(whole),
        started: Timestamp::from_millis(1_000),
    };
    let mut facts = Vec::new();
    let (Ok(worker), Ok(tool), Ok(call)) = (
        WorkerId::new("w"),
        ToolName::new("tool"),
        CallId::new(format!("{run}.c1")),
    ) else {
        return facts;
    };
    let (attempt, duration) = (1, Duration::from_millis(5));
    let (agent, provider, model): (Arc<str>, Arc<str>, Arc<str>) =
        ("agent".into(), "provider".into(), "model".into());
    facts.extend([
        Fact::AttemptStarted {
            run: run.clone(),
            attempt,
            worker: worker.clone(),
            span: span("attempt"),
        },
        Fact::ModelCallStarted {
            run: run.clone(),
            attempt,
            provider: Arc::clone(&provider),
            model: Arc::clone(&model),
            span: span("model"),
        },
        Fact::ModelCallEnded {
            run: run.clone(),
            attempt,
            agent: Arc::clone(&agent),
            session: None,
            provider,
            model,
            answered_by: None,
            request_id: None,
            usage: Usage::default(),
            end: ModelCallEnd::Finished(FinishReason::ToolCalls),
            span: span("model"),
            first_chunk: Some(duration),
            duration,
        },
        Fact::ToolCallStarted {
            run: run.clone(),
            attempt,
            call: call.clone(),
            tool: tool.clone(),
            side_effect: "read_only",
            execution: Execution::First,
            span: span("tool"),
        },
        Fact::ToolCallEnded {
            run: run.clone(),
            attempt,
            agent: Arc::clone(&agent),
            call,
            tool,
            side_effect: "read_only",
            execution: Execution::First,
            outcome: ToolCallOutcome::Succeeded,
            error: None,
            span: span("tool"),
            duration,
        },
    ]);
    facts.extend((1..=100).map(|head| appended(run, head)));
    facts.extend([
        Fact::RunEnded {
            run: run.clone(),
            agent,
            session: None,
            attempts: attempt,
            status: RunEnd::Succeeded,
            error: None,
            usage: Usage::default(),
            model_calls: 1,
            tool_calls: 1,
            span: Span {
                context: context.clone(),
                parent: None,
                started: Timestamp::from_millis(1_000),
            },
            duration,
        },
        Fact::AttemptEnded {
            run: run.clone(),
            attempt,
            worker,
            end: AttemptEnd::Ended,
            span: span("attempt"),
            duration,
        },
    ]);
    facts
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

//! The suite of the port, and what a subscriber gets.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use seaworthy_contract::observer::Harness;
use seaworthy_ports::model_provider::{FinishReason, Parameters, Usage};
use seaworthy_ports::observer::{Fact, ModelAsked, ModelCallEnd, Observer, ParkReason, Span};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{RunId, SpanId, Timestamp, TraceContext, TraceId};
use seaworthy_tracing::TracingObserver;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Default)]
struct Page {
    text: String,
    is_held: bool,
}

/// Where a subscriber writes; it can be held up, as a full pipe would be.
#[derive(Clone, Default)]
struct Paper(Arc<(Mutex<Page>, Condvar)>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (page, goes_on) = &*self.0;
        let mut page = goes_on
            .wait_while(page.lock().unwrap(), |page| page.is_held)
            .unwrap();
        page.text.push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Paper {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

struct Held(Paper);

impl Drop for Held {
    fn drop(&mut self) {
        let (page, goes_on) = &*self.0.0;
        page.lock().unwrap().is_held = false;
        goes_on.notify_all();
    }
}

struct Writing {
    paper: Paper,
    observer: Arc<TracingObserver>,
}

impl Writing {
    fn up_to(level: tracing::Level) -> Self {
        let paper = Paper::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(paper.clone())
            .with_ansi(false)
            .finish();
        let observer =
            tracing::subscriber::with_default(subscriber, || TracingObserver::with_queue(4_096));
        Self {
            paper,
            observer: Arc::new(observer.unwrap()),
        }
    }

    fn text(&self) -> String {
        self.paper.0.0.lock().unwrap().text.clone()
    }
}

#[async_trait]
impl Harness for Writing {
    async fn start() -> Self {
        Self::up_to(tracing::Level::DEBUG)
    }

    fn observer(&self) -> Arc<dyn Observer> {
        Arc::<TracingObserver>::clone(&self.observer)
    }

    async fn hold_up(&self) -> Option<Box<dyn Send>> {
        self.paper.0.0.lock().unwrap().is_held = true;
        Some(Box::new(Held(self.paper.clone())))
    }

    fn dropped(&self) -> Option<u64> {
        Some(self.observer.dropped())
    }

    async fn told(&self) -> Option<Vec<(RunId, Seq)>> {
        let field = |line: &str, name: &str| {
            let (_before, rest) = line.split_once(name)?;
            rest.split_whitespace().next().map(str::to_owned)
        };
        let appended = |line: &str| {
            let head = field(line, " head=")?.parse().ok()?;
            Some((RunId::new(field(line, " run=")?).ok()?, Seq(head)))
        };
        Some(self.text().lines().filter_map(appended).collect())
    }

    async fn written(&self) -> Option<String> {
        Some(self.text())
    }
}

seaworthy_contract::observer_contract! {
    harness: Writing,
    not_checkable: {
        a_lost_backend_costs_facts_that_are_counted: "a subscriber cannot be taken away from who has it",
    }
}

#[test]
fn what_nobody_listens_to_is_not_handed_over_and_costs_nothing() {
    let writing = Writing::up_to(tracing::Level::WARN);
    let run = RunId::new("r").unwrap();
    writing.observer.observe(&Fact::RunParked {
        run: run.clone(),
        reason: ParkReason::Approval,
    });
    writing.observer.observe(&Fact::RunStalled {
        run,
        message: "the store is gone".into(),
    });
    writing.observer.flush();
    let text = writing.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("the store is gone"));
    assert_eq!(writing.observer.dropped(), 0);
}

#[test]
fn a_model_call_says_how_it_was_asked() {
    let writing = Writing::up_to(tracing::Level::INFO);
    let asked = ModelAsked {
        max_output_tokens: Some(512),
        is_structured: false,
        parameters: Arc::new(Parameters {
            seed: Some(7),
            stop: vec!["END".to_owned()],
            temperature: Some(0.25),
            ..Parameters::default()
        }),
    };
    writing.observer.observe(&Fact::ModelCallEnded {
        run: RunId::new("r").unwrap(),
        attempt: 1,
        agent: "a".into(),
        session: None,
        provider: "p".into(),
        model: "m".into(),
        asked,
        answered_by: None,
        request_id: None,
        usage: Usage::default(),
        end: ModelCallEnd::Finished(FinishReason::Stop),
        span: Span {
            context: TraceContext::new(TraceId::of(b"t"), SpanId::of(b"s")),
            parent: None,
            started: Timestamp::from_millis(0),
        },
        first_chunk: None,
        duration: Duration::ZERO,
    });
    writing.observer.flush();
    let text = writing.text();
    for field in [
        "max_tokens=512",
        "temperature=0.25",
        "seed=7",
        "stop=[\"END\"]",
    ] {
        assert!(text.contains(field), "{field}: {text}");
    }
    assert!(!text.contains("top_p"), "{text}");
}

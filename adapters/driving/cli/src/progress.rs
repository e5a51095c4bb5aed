//! Shows a run while it goes on: facts from its log, text as the model writes it.
//!
//! Facts come from the log alone, so that a process that only follows shows the same as the one that advances the run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _};
use seaworthy::Harness;
use seaworthy::event::{Event, ToolProposed};
use seaworthy::live::{Live, Watch};
use seaworthy::log::Loaded;
use seaworthy::ports::{CallId, Latch, LatchSetter, RunId};
use seaworthy::record::Link;
use seaworthy::state::RunState;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::CliError;
use crate::observer::CliObserver;
use crate::output::{Output, Paint, clean, json, question, say, text};

/// How often the log is looked at when another process writes it.
pub(crate) const POLL: Duration = Duration::from_millis(200);

/// How long a run may be kept from going on by a failing port before this process gives up on it. A worker never does.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was shown, so that nothing is shown twice.
#[derive(Default)]
pub(crate) struct Shown {
    /// Where the log was read up to.
    pub(crate) link: Link,
    /// The newest answer of the model, if a person saw it being written in full.
    pub(crate) streamed: Option<String>,
    /// The calls that were proposed so far.
    calls: BTreeMap<CallId, Named>,
}

impl Shown {
    /// Everything up to where `state` stands.
    pub(crate) fn before(state: &RunState) -> Self {
        let calls = state
            .calls
            .values()
            .map(|call| (call.proposal.call.clone(), Named::of(&call.proposal)))
            .collect();
        Self {
            link: state.link,
            streamed: None,
            calls,
        }
    }
}

/// Follows one run until it is told to finish.
pub(crate) struct Follower {
    finish: LatchSetter,
    hopeless: watch::Receiver<Option<String>>,
    task: JoinHandle<Result<Shown, CliError>>,
}

impl Follower {
    /// Shows what happens in `run` behind `shown`.
    pub(crate) fn start(
        harness: &Harness,
        observer: &Arc<CliObserver>,
        run: &RunId,
        output: Output,
        shown: Shown,
    ) -> Self {
        let (finish, finished) = Latch::new();
        let printer = Printer {
            output,
            shown,
            writing: String::new(),
            trouble: None,
        };
        let (give_up, hopeless) = watch::channel(None);
        let (harness, observer, watch) =
            (harness.clone(), Arc::clone(observer), harness.watch(run));
        let run = run.clone();
        let task = tokio::spawn(async move {
            let watched = Watched {
                harness,
                observer,
                run,
                watch,
                came: None,
                give_up,
            };
            watched.follow(printer, finished).await
        });
        Self {
            finish,
            hopeless,
            task,
        }
    }

    /// Returns once a failing port has kept the run from going on for too long, with what fails.
    pub(crate) async fn hopeless(&mut self) -> String {
        match self.hopeless.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            // The follower broke; how the run stands is seen when serving it ends.
            Err(_) => std::future::pending().await,
        }
    }

    /// Shows what is left in the log and stops. A log that cannot be read is an error.
    pub(crate) async fn finish(self) -> Result<Shown, CliError> {
        self.finish.set();
        self.task.await.unwrap_or_else(|broken| {
            Err(CliError::Stack {
                part: "showing progress",
                why: broken.to_string(),
            })
        })
    }
}

/// Where the follower looks.
struct Watched {
    harness: Harness,
    observer: Arc<CliObserver>,
    run: RunId,
    watch: Watch,
    /// What came from `watch` and is not shown yet.
    came: Option<Live>,
    give_up: watch::Sender<Option<String>>,
}

impl Watched {
    async fn follow(mut self, mut printer: Printer, finished: Latch) -> Result<Shown, CliError> {
        loop {
            tokio::select! {
                biased;
                Some(live) = self.watch.next() => {
                    if printer.is_writing() {
                        printer.live(&live);
                        continue;
                    }
                    // What is on record was there before the model began to speak.
                    self.came = Some(live);
                }
                () = self.observer.grown() => {}
                () = finished.wait() => {}
                () = tokio::time::sleep(POLL) => {}
            }
            let last = finished.is_set();
            let mut records = self.harness.records(&self.run, printer.shown.link);
            while let Some(loaded) = records.next().await {
                let loaded = loaded?;
                let event = loaded.envelope.event().ok();
                if let Some(Event::ModelCalled(called)) = &event {
                    self.finish_text(&mut printer, &called.message.text());
                }
                printer.record(&loaded, event);
                printer.shown.link = loaded.link;
            }
            if let Some(live) = self.came.take() {
                printer.live(&live);
            }
            if let Some((since, message)) = &printer.trouble
                && since.elapsed() > PATIENCE
            {
                self.give_up.send_replace(Some(message.clone()));
            }
            if last {
                printer.end_text();
                return Ok(printer.shown);
            }
        }
    }

    /// Shows what is left of the answer `said`. Its pieces came before its record did; those of the next answer may have
    /// come as well.
    fn finish_text(&mut self, printer: &mut Printer, said: &str) {
        while printer.writing != said {
            let next = self
                .came
                .take()
                .or_else(|| self.watch.next().now_or_never().flatten());
            let Some(live) = next else { return };
            printer.live(&live);
        }
    }
}

/// What is known of a call for showing it.
struct Named {
    tool: String,
    arguments: String,
}

impl Named {
    fn of(call: &ToolProposed) -> Self {
        Self {
            tool: clean(&call.tool),
            arguments: text::arguments(&call.arguments),
        }
    }
}

struct Printer {
    output: Output,
    shown: Shown,
    /// What the model has written since its last answer came on record.
    writing: String,
    /// What keeps the run from going on, and since when.
    trouble: Option<(Instant, String)>,
}

/// How much of an answer is kept to know whether all of it was seen.
const MAX_SEEN: usize = 1024 * 1024;

impl Printer {
    fn live(&mut self, live: &Live) {
        if let Live::Trouble { message } = live {
            let known = self
                .trouble
                .as_ref()
                .is_some_and(|(_since, before)| before == message);
            let since = self
                .trouble
                .as_ref()
                .map_or_else(Instant::now, |(since, _before)| *since);
            self.trouble = Some((since, message.clone()));
            if !known {
                self.end_text();
                self.fact(Paint::Bad, "trouble", &text::message(message));
            }
        }
        if let Live::Text { delta } = live
            && self.writing.len() < MAX_SEEN
        {
            self.writing.push_str(delta);
        }
        if self.output.json {
            // The run goes on where nobody reads any more.
            let _closed = self.output.json(&json::live(live));
        } else if let Live::Text { delta } = live
            && self.output.live
        {
            say(&clean(delta));
        }
    }

    /// Whether the model is in the middle of an answer.
    const fn is_writing(&self) -> bool {
        !self.writing.is_empty()
    }

    /// Ends the line that the model was writing on.
    fn end_text(&mut self) {
        if self.output.live && !self.writing.is_empty() && !self.writing.ends_with('\n') {
            say("\n");
        }
        self.writing.clear();
    }

    /// `event` is what the record says, if this version understands it.
    fn record(&mut self, loaded: &Loaded, event: Option<Event>) {
        self.trouble = None;
        if self.output.json {
            self.writing.clear();
            let _closed = self.output.json(&json::Record::of(loaded));
            return;
        }
        if let Some(Event::ModelCalled(called)) = &event {
            let said = called.message.text();
            let seen = self.output.live && self.writing == said;
            if !seen && called.message.tool_calls().next().is_some() && !said.trim().is_empty() {
                self.fact(Paint::Faint, "says", &text::message(&said));
            }
            self.shown.streamed = seen.then_some(said);
        }
        self.end_text();
        if let Some(event) = event {
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::AttemptStarted { .. }
            | Event::RunSubmitted(_)
            | Event::SessionLoaded { .. }
            | Event::ToolDecided { .. }
            | Event::SignalReceived { .. }
            // How the run ended is said by whoever started showing it.
            | Event::RunSucceeded { .. }
            | Event::RunFailed { .. }
            | Event::RunCancelled { .. } => {}
            Event::ContextCompacted(compacted) => {
                self.fact(Paint::Faint, "shortens", &text::shortened(&compacted));
            }
            Event::ContextNotCompacted(kept) => {
                let why = format!("the conversation, which is not shortened: {}: {}", kept.code, text::message(&kept.message));
                self.fact(Paint::Attention, "keeps", &why);
            }
            Event::ModelCalled(called) => {
                if !called.failed_tries.is_empty() {
                    self.fact(Paint::Attention, "tried", &text::tries(&called.failed_tries));
                }
            }
            Event::ToolsListed(listed) => self.fact(Paint::Faint, "lists", &text::served(&listed)),
            Event::ToolChanged(now) => {
                let what = format!("{} was changed by its server {}", clean(now.name.as_str()), now.server);
                self.fact(Paint::Attention, "changed", &what);
            }
            Event::ModelReplayed(replayed) => {
                let said = replayed.called.message.text();
                let what = format!("{} as in record {}: {}", clean(&replayed.called.model), replayed.from, text::message(&said));
                self.fact(Paint::Faint, "replays", &what);
            }
            Event::ToolReplayed(replayed) => {
                let what = format!("{} as in record {}: {}", self.in_full(&replayed.call), replayed.from, text::recalled(&replayed.result));
                self.fact(Paint::Faint, "replays", &what);
            }
            Event::ReplayDeviated(deviated) => {
                self.fact(Paint::Bad, "deviates", &text::message(&deviated.to_string()));
            }
            Event::ModelFailed { code, message, tries, .. } => {
                let why = format!("model: {code} after {tries} tries: {}", text::message(&message));
                self.fact(Paint::Bad, "failed", &why);
            }
            Event::AnswerRejected { faults, .. } => {
                let why = format!("the answer, which does not fit its schema: {}", text::message(&faults.join("; ")));
                self.fact(Paint::Attention, "rejects", &why);
            }
            Event::ToolProposed(call) => {
                self.shown.calls.insert(call.call.clone(), Named::of(&call));
            }
            Event::ApprovalRequested { approval, call, .. } => {
                let what = format!("{}  [{approval}]", self.in_full(&call));
                self.fact(Paint::Attention, "asks", &what);
            }
            Event::ApprovalDecided { approval, granted, by, .. } => {
                let (paint, word) = if granted { (Paint::Good, "approved") } else { (Paint::Bad, "denied") };
                self.fact(paint, word, &format!("{} by {}", self.name(&approval), clean(&by)));
            }
            Event::ToolStarted { call } => self.fact(Paint::Faint, "calls", &self.in_full(&call)),
            Event::ToolSucceeded { call, duration_ms, .. } => {
                self.fact(Paint::Good, "ok", &format!("{} ({})", self.name(&call), text::duration(duration_ms)));
            }
            Event::ToolFailed { call, code, message, .. } => {
                self.fact(Paint::Bad, "failed", &format!("{}: {code}: {}", self.name(&call), text::message(&message)));
            }
            Event::QuestionAsked { call, question } => {
                let what = format!("{} {}  [{call}]", self.name(&call), question::asked(&question.wants));
                self.fact(Paint::Attention, "asks", &what);
            }
            Event::QuestionAnswered { by, call, reply, .. } => {
                self.fact(Paint::Good, text::replied(&reply), &format!("{} by {}", self.name(&call), clean(&by)));
            }
            Event::QuestionSampled(sampled) => {
                let what = format!("{} asked {}", self.name(&sampled.call), clean(&sampled.sample.model));
                self.fact(Paint::Faint, "model", &what);
            }
            Event::ToolDeferred(deferred) => {
                let said = deferred.message.map(|said| format!(": {}", text::message(&said))).unwrap_or_default();
                let what = format!("{}{said}", self.name(&deferred.call));
                self.fact(Paint::Faint, "task", &what);
            }
            Event::ToolInDoubt { call, reason } => {
                let what = format!("{}: {}  [{call}]", self.in_full(&call), text::message(&reason));
                self.fact(Paint::Attention, "in doubt", &what);
            }
            Event::ToolResolved { call, resolution, by } => {
                let what = format!("{} {}, says {}", self.name(&call), text::resolved(&resolution), clean(&by));
                self.fact(Paint::Good, "resolved", &what);
            }
            Event::RunWaiting { reason, until } => {
                let until = until.map(|until| format!(" (until {until})")).unwrap_or_default();
                self.fact(Paint::Attention, "waits", &format!("for {}{until}", text::wait(reason)));
            }
            Event::RunReopened { by } => self.fact(Paint::Attention, "reopened", &format!("by {}", clean(&by))),
        }
    }

    fn fact(&self, paint: Paint, word: &str, what: &str) {
        self.output.note(&format!(
            "{} {what}",
            self.output.paint(paint, &format!("{word:>8}"))
        ));
    }

    fn name(&self, call: &CallId) -> String {
        self.shown
            .calls
            .get(call)
            .map_or_else(|| call.to_string(), |named| named.tool.clone())
    }

    fn in_full(&self, call: &CallId) -> String {
        self.shown.calls.get(call).map_or_else(
            || call.to_string(),
            |named| format!("{} {}", named.tool, named.arguments),
        )
    }
}

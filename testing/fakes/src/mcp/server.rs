//! A server: what it offers, what it does wrong, and what it saw.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use seaworthy_ports::mcp::{
    McpCompleted, McpCompletion, McpLogLevel, McpPrompt, McpPromptResult, McpResource,
    McpResourceContents, McpResourceTemplate, McpServerInfo,
};
use seaworthy_ports::{Latch, LatchSetter, Secret};

use super::grants::{Grants, McpTokens};
use super::task::Tasks;
use super::{FakeMcpTool, McpFault};
use crate::locked;

/// Something that happened at a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum McpSeen {
    /// It was started or reached, for the first time or again.
    Started,
    /// It was asked for a page of this list: `tools`, `resources`, `templates` or `prompts`.
    Listed(&'static str),
    /// This tool was called. What it was called with, the tool knows.
    Called(String),
    /// The caller of this tool no longer waits.
    Cancelled(String),
    /// This resource was read.
    Read(String),
    /// This prompt was filled in.
    Prompted(String),
    /// It was asked what could be written for this argument.
    Completed(String),
    /// It was told that log messages of this level are wanted, and of those that matter more.
    LogLevel(McpLogLevel),
    /// A task of this tool was asked after; empty: one that it does not know.
    Polled(String),
    /// What a task of this tool came to was fetched.
    Fetched(String),
    /// It was asked what it must know to go on with a task of this tool.
    Listened(String),
    /// A task of this tool was to end.
    CalledOff(String),
    /// It was asked for new tokens.
    Refreshed,
    /// It was closed, let go or died.
    Ended,
}

/// How a server starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum McpStart {
    /// At once.
    #[default]
    Ready,
    /// Not at all.
    Fails,
    /// It is there and never says a word.
    Silent,
}

type Filling = dyn Fn(&BTreeMap<String, String>) -> McpPromptResult + Send + Sync;
type Read = Result<Vec<McpResourceContents>, McpFault>;
type Reading = dyn Fn(&str) -> Option<Read> + Send + Sync;
type Completing = dyn Fn(&McpCompletion) -> Result<McpCompleted, McpFault> + Send + Sync;
type Watching = dyn Fn(&McpSeen) + Send + Sync;

/// What a server offers, and how.
#[derive(Clone)]
pub(super) struct Offer {
    pub(super) info: McpServerInfo,
    pub(super) tools: Vec<FakeMcpTool>,
    pub(super) resources: Vec<McpResource>,
    pub(super) templates: Vec<McpResourceTemplate>,
    pub(super) prompts: Vec<(McpPrompt, Arc<Filling>)>,
    pub(super) reads: Vec<Arc<Reading>>,
    pub(super) complete: Option<Arc<Completing>>,
    pub(super) page: usize,
    pub(super) is_endless: bool,
    start: McpStart,
    watch: Option<Arc<Watching>>,
}

struct State {
    offer: Mutex<Offer>,
    /// How often lists have changed.
    changes: AtomicU64,
    faults: Mutex<VecDeque<McpFault>>,
    grants: Grants,
    seen: Mutex<Vec<McpSeen>>,
    tasks: Mutex<Tasks>,
    lines: Mutex<Vec<Weak<Line>>>,
}

/// A server that lives in the test. Clones are the same server.
#[derive(Clone)]
pub struct FakeMcpServer(Arc<State>);

impl fmt::Debug for FakeMcpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeMcpServer({:?})", self.offer().info.name)
    }
}

impl FakeMcpServer {
    /// A server of this name that offers nothing.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(Arc::new(State {
            offer: Mutex::new(Offer {
                info: McpServerInfo {
                    name: name.into(),
                    version: "1".to_owned(),
                    protocol: "2025-11-25".to_owned(),
                    instructions: None,
                    tools: false,
                    resources: false,
                    prompts: false,
                    completions: false,
                    logging: false,
                },
                tools: Vec::new(),
                resources: Vec::new(),
                templates: Vec::new(),
                prompts: Vec::new(),
                reads: Vec::new(),
                complete: None,
                page: usize::MAX,
                is_endless: false,
                start: McpStart::Ready,
                watch: None,
            }),
            changes: AtomicU64::new(0),
            faults: Mutex::default(),
            grants: Grants::default(),
            seen: Mutex::default(),
            tasks: Mutex::default(),
            lines: Mutex::default(),
        }))
    }

    fn with(self, change: impl FnOnce(&mut Offer)) -> Self {
        change(&mut locked(&self.0.offer));
        self
    }

    /// The same with a tool more.
    #[must_use]
    pub fn with_tool(self, tool: FakeMcpTool) -> Self {
        self.with(|offer| {
            offer.info.tools = true;
            offer.tools.push(tool);
        })
    }

    /// The same with a resource more, which reads as `contents`.
    #[must_use]
    pub fn with_resource(self, resource: McpResource, contents: Vec<McpResourceContents>) -> Self {
        let uri = resource.uri.clone();
        self.with(|offer| offer.resources.push(resource))
            .with_reading(move |asked| (asked == uri).then(|| Ok(contents.clone())))
    }

    /// The same with a template more. What its resources read as, [`with_reading`](Self::with_reading) says.
    #[must_use]
    pub fn with_template(self, template: McpResourceTemplate) -> Self {
        self.with(|offer| {
            offer.info.resources = true;
            offer.templates.push(template);
        })
    }

    /// The same with resources that are read and not listed. `None`: it is not one of these.
    #[must_use]
    pub fn with_reading(
        self,
        read: impl Fn(&str) -> Option<Result<Vec<McpResourceContents>, McpFault>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.with(|offer| {
            offer.info.resources = true;
            offer.reads.push(Arc::new(read));
        })
    }

    /// The same with a prompt more, which is filled in by `fill`.
    #[must_use]
    pub fn with_prompt(
        self,
        prompt: McpPrompt,
        fill: impl Fn(&BTreeMap<String, String>) -> McpPromptResult + Send + Sync + 'static,
    ) -> Self {
        self.with(|offer| {
            offer.info.prompts = true;
            offer.prompts.push((prompt, Arc::new(fill)));
        })
    }

    /// The same, suggesting what could be written for arguments.
    #[must_use]
    pub fn with_completions(
        self,
        complete: impl Fn(&McpCompletion) -> Result<McpCompleted, McpFault> + Send + Sync + 'static,
    ) -> Self {
        self.with(|offer| {
            offer.info.completions = true;
            offer.complete = Some(Arc::new(complete));
        })
    }

    /// The same, saying that it logs. What it logs, its tools say ([`FakeMcpCall::log`](super::FakeMcpCall::log)).
    #[must_use]
    pub fn with_logging(self) -> Self {
        self.with(|offer| offer.info.logging = true)
    }

    /// The same with a version of its own.
    #[must_use]
    pub fn with_version(self, version: impl Into<String>) -> Self {
        self.with(|offer| offer.info.version = version.into())
    }

    /// The same, speaking this version of the protocol.
    #[must_use]
    pub fn with_protocol(self, version: impl Into<String>) -> Self {
        self.with(|offer| offer.info.protocol = version.into())
    }

    /// The same with words on how it wants to be used.
    #[must_use]
    pub fn with_instructions(self, instructions: impl Into<String>) -> Self {
        self.with(|offer| offer.info.instructions = Some(instructions.into()))
    }

    /// The same with lists in pages of so many entries; of one, for 0.
    #[must_use]
    pub fn with_pages_of(self, entries: usize) -> Self {
        self.with(|offer| offer.page = entries.max(1))
    }

    /// The same with lists that always have one page more: the first again.
    #[must_use]
    pub fn with_endless_lists(self) -> Self {
        self.with(|offer| offer.is_endless = true)
    }

    /// The same, starting as `start` says.
    #[must_use]
    pub fn with_start(self, start: McpStart) -> Self {
        self.with(|offer| offer.start = start)
    }

    /// The same, with this becoming of the tokens that it is shown. Callers without OAuth are let in.
    #[must_use]
    pub fn with_tokens(self, tokens: McpTokens) -> Self {
        self.0.grants.set(tokens);
        self
    }

    /// The same, taking `token` besides those that it gave.
    #[must_use]
    pub fn with_good_token(self, token: Secret) -> Self {
        self.0.grants.take(token);
        self
    }

    /// The same, telling `watch` of everything it sees, at once.
    #[must_use]
    pub fn watched_by(self, watch: impl Fn(&McpSeen) + Send + Sync + 'static) -> Self {
        self.with(|offer| offer.watch = Some(Arc::new(watch)))
    }

    /// Offers `tools` from now on, and says that its list has changed.
    pub fn set_tools(&self, tools: Vec<FakeMcpTool>) {
        locked(&self.0.offer).tools = tools;
        self.0.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Starts as `start` says from now on.
    pub fn set_start(&self, start: McpStart) {
        locked(&self.0.offer).start = start;
    }

    /// Lets the next request that no other fault waits for meet `fault`; a tool that is called does not run.
    pub fn fail_next(&self, fault: McpFault) {
        locked(&self.0.faults).push_back(fault);
    }

    /// Dies: calls in flight fail, and the next one starts it again.
    pub fn die(&self) {
        let lines = std::mem::take(&mut *locked(&self.0.lines));
        for line in lines {
            if let Some(line) = line.upgrade() {
                line.end();
            }
        }
    }

    /// Forgets every task.
    pub fn forget_tasks(&self) {
        locked(&self.0.tasks).forget();
    }

    pub(super) fn tasks(&self) -> &Mutex<Tasks> {
        &self.0.tasks
    }

    /// What it saw so far, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<McpSeen> {
        locked(&self.0.seen).clone()
    }

    pub(super) fn note(&self, seen: McpSeen) {
        let watch = locked(&self.0.offer).watch.clone();
        locked(&self.0.seen).push(seen.clone());
        if let Some(watch) = watch {
            watch(&seen);
        }
    }

    pub(super) fn offer(&self) -> Offer {
        locked(&self.0.offer).clone()
    }

    pub(super) fn grants(&self) -> &Grants {
        &self.0.grants
    }

    pub(super) fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    /// The fault that waits for the next request, if it is one that strikes before the server does anything.
    pub(super) fn fault_at_the_door(&self) -> Option<McpFault> {
        let mut faults = locked(&self.0.faults);
        let at_the_door = faults.front().is_some_and(|fault| {
            matches!(
                fault,
                McpFault::Unauthorized | McpFault::Forbidden | McpFault::LostSession
            )
        });
        at_the_door.then(|| faults.pop_front()).flatten()
    }

    pub(super) fn fault(&self) -> Option<McpFault> {
        locked(&self.0.faults).pop_front()
    }

    /// A connection, and whether anybody will ever speak on it.
    pub(super) fn start(&self) -> Option<(Arc<Line>, McpStart)> {
        let start = self.offer().start;
        if start == McpStart::Fails {
            return None;
        }
        let (setter, dead) = Latch::new();
        let line = Arc::new(Line {
            server: self.clone(),
            setter,
            dead,
            ended: Mutex::new(false),
        });
        let mut lines = locked(&self.0.lines);
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(&line));
        drop(lines);
        self.note(McpSeen::Started);
        Some((line, start))
    }
}

/// A connection. The server's side of it ends with it.
pub(super) struct Line {
    server: FakeMcpServer,
    setter: LatchSetter,
    pub(super) dead: Latch,
    ended: Mutex<bool>,
}

impl Line {
    pub(super) fn end(&self) {
        if !std::mem::replace(&mut *locked(&self.ended), true) {
            self.server.note(McpSeen::Ended);
            self.setter.set();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end();
    }
}

//! Tools that are closures of the test.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use seaworthy_ports::mcp::{
    Elicitation, Elicited, Hints, McpCallResult, McpContent, McpHost, McpLogLevel, McpRoot,
    Progress, ProgressSink, Sampled, Sampling, TaskId, TaskSupport,
};
use seaworthy_ports::model_provider::Role;
use seaworthy_ports::{Latch, LatchSetter, ServerAlias};
use serde_json::{Value, json};

use super::calls::fits;
use super::logs::Logs;
use super::{FakeMcpServer, FakeMcpTask};

/// The version of the protocol that begins without `initialize`, where servers decide which calls become tasks.
pub(super) const STATELESS: &str = "2026-07-28";

/// What a request meets instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum McpFault {
    /// The server dies.
    Dies,
    /// Nothing comes, ever.
    Silence,
    /// The answer breaks the protocol.
    Garbled,
    /// The answer is larger than a message may be.
    TooLarge,
    /// The server answers with the JSON-RPC error of this code.
    Refused(i64),
    /// 401, before the server does anything.
    Unauthorized,
    /// 403, before the server does anything.
    Forbidden,
    /// The server no longer knows the session, before it does anything.
    LostSession,
}

/// What a tool answers. Text, data and whole results become one by `into`.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeMcpAnswer(pub McpCallResult);

impl From<McpCallResult> for FakeMcpAnswer {
    fn from(result: McpCallResult) -> Self {
        Self(result)
    }
}

impl From<&str> for FakeMcpAnswer {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for FakeMcpAnswer {
    fn from(text: String) -> Self {
        Self(McpCallResult {
            is_error: false,
            structured: None,
            content: vec![McpContent::Text(text)],
        })
    }
}

impl From<Value> for FakeMcpAnswer {
    /// Data, and its text beside it as the protocol wants it.
    fn from(data: Value) -> Self {
        Self(McpCallResult {
            is_error: false,
            content: vec![McpContent::Text(data.to_string())],
            structured: Some(data),
        })
    }
}

type Answering = BoxFuture<'static, Result<FakeMcpAnswer, McpFault>>;
type Handler = dyn Fn(FakeMcpCall) -> Answering + Send + Sync;

/// A tool of a [`FakeMcpServer`]. It takes any object, says nothing of its effects and promises no data unless told to.
#[derive(Clone)]
pub struct FakeMcpTool {
    pub(super) remote: String,
    pub(super) title: Option<String>,
    pub(super) description: String,
    pub(super) input_schema: Value,
    pub(super) output_schema: Option<Value>,
    pub(super) hints: Hints,
    pub(super) task: Option<FakeMcpTask>,
    handler: Arc<Handler>,
}

impl fmt::Debug for FakeMcpTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeMcpTool({:?})", self.remote)
    }
}

impl FakeMcpTool {
    /// A tool that the server calls `remote` and that does `run`. A call that is cancelled or times out drops the future.
    pub fn new<A, F>(
        remote: impl Into<String>,
        run: impl Fn(FakeMcpCall) -> F + Send + Sync + 'static,
    ) -> Self
    where
        A: Into<FakeMcpAnswer>,
        F: Future<Output = Result<A, McpFault>> + Send + 'static,
    {
        Self {
            remote: remote.into(),
            title: None,
            description: String::new(),
            input_schema: json!({"type": "object"}),
            output_schema: None,
            hints: Hints::default(),
            task: None,
            handler: Arc::new(move |call| {
                let running = run(call);
                async move { running.await.map(Into::into) }.boxed()
            }),
        }
    }

    /// A tool that always gives the same answer.
    pub fn answering(remote: impl Into<String>, answer: impl Into<FakeMcpAnswer>) -> Self {
        let answer = answer.into();
        Self::new(remote, move |_call| {
            std::future::ready(Ok::<_, McpFault>(answer.clone()))
        })
    }

    /// The same with a name for people.
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// The same with what it does, in words.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// The same with the JSON schema of its arguments.
    #[must_use]
    pub fn with_input_schema(mut self, schema: Value) -> Self {
        self.input_schema = schema;
        self
    }

    /// The same with the JSON schema of its data.
    #[must_use]
    pub fn with_output_schema(mut self, schema: Value) -> Self {
        self.output_schema = Some(schema);
        self
    }

    /// The same with what the server says of its effects.
    #[must_use]
    pub const fn with_hints(mut self, hints: Hints) -> Self {
        self.hints = hints;
        self
    }

    /// The same, whose calls become tasks like this one. It runs when it is called, or each time that it is
    /// listened to if the task asks; its answer is kept until it is fetched.
    #[must_use]
    pub fn with_task(mut self, task: FakeMcpTask) -> Self {
        self.task = Some(task);
        self
    }

    /// Whether its calls become tasks, at a server that speaks this version of the protocol.
    pub(super) fn task_support(&self, protocol: &str) -> TaskSupport {
        let support = self.task.as_ref().map(|task| task.support);
        match support.unwrap_or_default() {
            TaskSupport::Forbidden => TaskSupport::Forbidden,
            _ if protocol == STATELESS => TaskSupport::ServerDecides,
            support => support,
        }
    }

    pub(super) fn run(&self, call: FakeMcpCall) -> Answering {
        (self.handler)(call)
    }
}

/// A call as a tool sees it.
#[derive(Clone)]
pub struct FakeMcpCall {
    /// Its arguments, which fit the tool's schema.
    pub arguments: Value,
    /// What was sent along.
    pub meta: BTreeMap<String, Value>,
    pub(super) server: FakeMcpServer,
    pub(super) alias: ServerAlias,
    pub(super) on_progress: Option<ProgressSink>,
    /// Who answers questions to the user, and who calls models; `None`: nobody does.
    pub(super) user: Option<Arc<dyn McpHost>>,
    pub(super) model: Option<Arc<dyn McpHost>>,
    /// The task that it asks for.
    pub(super) task: Option<TaskId>,
    /// What its questions are called, where they have names.
    pub(super) keys: Option<Arc<Keys>>,
    pub(super) roots: Vec<McpRoot>,
    pub(super) logs: Arc<Logs>,
}

impl fmt::Debug for FakeMcpCall {
    /// Without arguments and metadata: they are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeMcpCall({})", self.alias)
    }
}

impl FakeMcpCall {
    /// The server, to change what it offers or to let it die.
    #[must_use]
    pub fn server(&self) -> FakeMcpServer {
        self.server.clone()
    }

    /// Tells how far it is, if the caller wants to know.
    pub fn progress(&self, done: f64, total: Option<f64>) {
        if let Some(sink) = &self.on_progress {
            sink(Progress { done, total });
        }
    }

    /// Says something of the server's own work. It reaches whoever wants such messages, if anybody does.
    pub fn log(&self, level: McpLogLevel, logger: Option<&str>, text: &str) {
        self.logs.take(level, logger, text);
    }

    /// Asks which folders the server is to work in. `None`: there are none to ask for.
    #[must_use]
    pub fn roots(&self) -> Option<Vec<McpRoot>> {
        (!self.roots.is_empty()).then(|| self.roots.clone())
    }

    /// Whether somebody answers questions to the user.
    #[must_use]
    pub fn may_elicit(&self) -> bool {
        self.user.is_some()
    }

    /// Whether somebody calls models.
    #[must_use]
    pub fn may_sample(&self) -> bool {
        self.model.is_some()
    }

    /// Asks the user. `None`: there is nobody to ask.
    pub async fn elicit(&self, message: impl Into<String>, schema: Value) -> Option<Elicited> {
        let question = Elicitation {
            server: self.alias.clone(),
            message: message.into(),
            schema: schema.clone(),
            task: self.task.clone(),
            key: self.keys.as_ref().map(|keys| keys.next()),
        };
        let answer = self.user.as_ref()?.elicit(question).await;
        Some(match answer {
            Elicited::Accepted(value) if !fits(&schema, &value) => Elicited::Declined,
            other => other,
        })
    }

    /// Wants a model called on the host's account.
    pub async fn sample(
        &self,
        instructions: Option<String>,
        messages: Vec<(Role, McpContent)>,
        max_tokens: u32,
    ) -> Sampled {
        let question = Sampling {
            server: self.alias.clone(),
            instructions,
            messages,
            max_tokens,
            task: self.task.clone(),
            key: self.keys.as_ref().map(|keys| keys.next()),
        };
        let sampled = match &self.model {
            Some(host) => host.sample(question).await,
            None => Sampled::Refused,
        };
        if let (Some(keys), Sampled::Refused) = (&self.keys, &sampled) {
            keys.refused.set();
            // There is no way of telling the server, which waits.
            return pending().await;
        }
        sampled
    }
}

/// The names of a task's questions, as the protocol version has them that begins without `initialize`.
#[derive(Debug)]
pub(super) struct Keys {
    given: AtomicUsize,
    /// Is set when a model call is refused.
    refused: LatchSetter,
}

impl Keys {
    /// Those after so many that have their answers, and what is set when a model call is refused.
    pub(super) fn after(answered: usize) -> (Self, Latch) {
        let (refused, is_refused) = Latch::new();
        let given = AtomicUsize::new(answered);
        (Self { given, refused }, is_refused)
    }

    fn next(&self) -> String {
        let before = self.given.fetch_add(1, Ordering::Relaxed);
        format!("question {}", before + 1)
    }
}

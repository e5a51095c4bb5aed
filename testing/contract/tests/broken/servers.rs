//! Sessions with a bug, over servers that live in the test. The bug is the thread's and no parameter of the harness: the list
//! of scenarios is long, and the compiler would go through all of it for each bug.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use seaworthy_contract::mcp::{Harness, Journal, STATELESS_PROTOCOL, Script};
use seaworthy_fakes::FakeMcp;
use seaworthy_ports::mcp::{
    Authorization, Elicitation, Elicited, Hints, HostTakes, Kind, Mcp, McpCall, McpCallResult,
    McpCapabilities, McpCompleted, McpCompletion, McpError, McpHost, McpPrompt, McpPromptResult,
    McpResource, McpResourceContents, McpResourceTemplate, McpServer, McpServerInfo, McpSession,
    McpStarted, McpTask, McpTasks, McpTool, OAuthGrant, Sampled, Sampling, TaskId, TaskStatus,
    TaskSupport, Transport, tool_name,
};
use seaworthy_ports::{AdapterInfo, Effect, Latch, ServerAlias, async_trait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{servers_said, tokens};
use crate::in_process;

pub(crate) const NONE: u8 = 0;
pub(crate) const FIRST_PAGE: u8 = 1;
pub(crate) const ASKS_AGAIN: u8 = 2;
pub(crate) const STALE_LIST: u8 = 3;
pub(crate) const FAILED_IS_ERROR: u8 = 5;
pub(crate) const CERTAIN_DEATH: u8 = 6;
pub(crate) const CALLS_TWICE: u8 = 7;
pub(crate) const STAYS_DEAD: u8 = 8;
pub(crate) const NO_TIMEOUT: u8 = 9;
pub(crate) const DEAF_TO_CANCEL: u8 = 10;
pub(crate) const NO_PROGRESS: u8 = 11;
pub(crate) const NO_METADATA: u8 = 12;
pub(crate) const CLOSES_NOTHING: u8 = 13;
pub(crate) const OWN_NAMES: u8 = 14;
pub(crate) const FIRST_OF_TWINS: u8 = 15;
pub(crate) const HARMLESS: u8 = 16;
pub(crate) const ANY_ARGUMENTS: u8 = 17;
pub(crate) const NO_HOST: u8 = 18;
pub(crate) const SECRET_SAMPLING: u8 = 19;
pub(crate) const DIES_OF_SIZE: u8 = 20;
pub(crate) const CUTS_LISTS: u8 = 21;
pub(crate) const QUOTES: u8 = 22;
pub(crate) const SHOWS_ADDRESS: u8 = 23;
pub(crate) const REFRESHES_NOTHING: u8 = 24;
pub(crate) const FOLLOWS_REDIRECTS: u8 = 25;
pub(crate) const FORGIVES_SCHEMAS: u8 = 26;
pub(crate) const DIES_OF_HUGE: u8 = 27;
pub(crate) const SECRET_TASKS: u8 = 28;
pub(crate) const LOSES_TASKS: u8 = 29;
pub(crate) const WANTS_TASKS_ALONE: u8 = 30;
pub(crate) const BELIEVES_TOOLS: u8 = 31;
pub(crate) const HIDES_SUPPORT: u8 = 32;
pub(crate) const ANY_TASK: u8 = 33;
pub(crate) const WAITS_FOR_TASKS: u8 = 34;
pub(crate) const BELIEVES_IN_LOST: u8 = 35;
pub(crate) const ANYBODYS_TASK: u8 = 36;
pub(crate) const GUESSES_STATUS: u8 = 37;
pub(crate) const MAKES_UP_NAMES: u8 = 38;
pub(crate) const TASK_AS_ANSWER: u8 = 39;
pub(crate) const ENDS_NOTHING: u8 = 40;
pub(crate) const FAILED_IS_FINE: u8 = 41;
pub(crate) const ASKING_IS_WORK: u8 = 42;
pub(crate) const ANY_TASK_DATA: u8 = 43;
pub(crate) const LONG_MESSAGES: u8 = 44;
pub(crate) const TAKES_ALL: u8 = 46;
pub(crate) const EVERYBODY_REFRESHES: u8 = 47;
pub(crate) const KEEPS_OLD_REFRESH: u8 = 48;
pub(crate) const KNOWS_NO_OTHERS: u8 = 49;
pub(crate) const KEEPS_LATER: u8 = 50;
pub(crate) const TRIES_AGAIN: u8 = 51;
pub(crate) const BELIEVES_METADATA: u8 = 52;
pub(crate) const NOT_FOR_ITSELF: u8 = 53;
pub(crate) const NAMELESS_QUESTIONS: u8 = 80;
pub(crate) const REFUSES_FOR_THE_USER: u8 = 81;
pub(crate) const ENDS_WHAT_IT_LEAVES: u8 = 82;
pub(crate) const HEARS_NOBODY: u8 = 83;
pub(crate) const KEYLESS_QUESTIONS: u8 = 84;
pub(crate) const HEARS_REFUSALS: u8 = 85;

pub(crate) use super::servers_said::{
    ANY_COMPLETION, ANY_ROOT, COMPLETES_FOR_EVER, COMPLETES_NOTHING, CUTS_IN_SECRET,
    DROPS_IN_SECRET, FORGETS_GIVEN, HUNDRED_IS_ALL, INVENTS_ROOTS, LOGS_TOO_MUCH, LOUD, NEEDS_LOGS,
    NO_LOGGER, NO_ROOTS, QUIET, WAITS_FOR_LEVEL,
};
pub(crate) const KNOWS_NO_STATELESS: u8 = 70;
pub(crate) const ANSWERS_ONCE: u8 = 71;
pub(crate) const CERTAIN_HALF: u8 = 72;
pub(crate) const FORGIVES_QUESTIONS: u8 = 73;
pub(crate) const DECIDES_ITSELF: u8 = 74;

pub(crate) struct Broken {
    inner: FakeMcp,
    bug: u8,
}

#[async_trait]
impl Harness for Broken {
    async fn start() -> Self {
        Self {
            inner: in_process::adapter(),
            bug: super::chosen(),
        }
    }

    fn mcp(&self) -> Arc<dyn Mcp> {
        Arc::new(Adapter {
            inner: self.inner.clone(),
            bug: self.bug,
        })
    }

    async fn server(&self, script: &Script, journal: &Journal) -> Option<Transport> {
        in_process::play(&self.inner, script, journal)
    }
}

#[derive(Debug)]
struct Adapter {
    inner: FakeMcp,
    bug: u8,
}

#[async_trait]
impl Mcp for Adapter {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> McpCapabilities {
        let mut capabilities = self.inner.capabilities();
        if self.bug == SECRET_SAMPLING {
            capabilities.sampling = false;
        }
        if self.bug == SECRET_TASKS {
            capabilities.tasks = false;
        }
        capabilities
    }

    async fn connect(&self, mut server: McpServer) -> Result<Arc<dyn McpSession>, McpError> {
        match &mut server.transport {
            Transport::StreamableHttp(endpoint) if self.bug == SHOWS_ADDRESS => {
                if let Some((_, address)) = endpoint.url.split_once('@') {
                    endpoint.url = format!("http://{address}");
                }
            }
            Transport::StreamableHttp(endpoint) if self.bug == REFRESHES_NOTHING => {
                endpoint.authorization = Authorization::None;
            }
            Transport::StreamableHttp(endpoint) if self.bug == FOLLOWS_REDIRECTS => {
                if let Authorization::Bearer(token) = &endpoint.authorization {
                    follow(&endpoint.url, token.expose()).await;
                }
            }
            Transport::StreamableHttp(endpoint) if self.bug == BELIEVES_METADATA => {
                if let Authorization::OAuth(oauth) = &endpoint.authorization {
                    tokens::believe(&endpoint.url, oauth).await;
                }
            }
            Transport::StreamableHttp(endpoint) => {
                if let Authorization::OAuth(oauth) = &mut endpoint.authorization {
                    let is_for_itself = oauth.grant == OAuthGrant::ClientCredentials;
                    oauth.tokens = tokens::broken(self.bug, Arc::clone(&oauth.tokens));
                    if self.bug == KNOWS_NO_OTHERS {
                        oauth.tokens.load().await?;
                    }
                    if self.bug == NOT_FOR_ITSELF && is_for_itself {
                        endpoint.authorization = Authorization::None;
                    }
                }
            }
            Transport::Stdio(_) => {}
        }
        if self.bug == NO_HOST {
            server.host = None;
        }
        if self.bug == TAKES_ALL
            && let Some(host) = server.host.take()
        {
            server.host = Some(Arc::new(TakesAll(host)));
        }
        if [NAMELESS_QUESTIONS, KEYLESS_QUESTIONS, REFUSES_FOR_THE_USER].contains(&self.bug)
            && let Some(host) = server.host.take()
        {
            server.host = Some(Arc::new(Forgetful(host, self.bug)));
        }
        if self.bug == ANSWERS_ONCE
            && let Some(host) = server.host.take()
        {
            let has_answered = Mutex::default();
            server.host = Some(Arc::new(AnswersOnce { host, has_answered }));
        }
        let server = servers_said::changed(self.bug, server);
        let again = server.clone();
        let session = self.inner.connect(server).await?;
        if let Some(refused) = servers_said::refused(self.bug, &again, &*session) {
            return Err(refused);
        }
        if self.bug == KNOWS_NO_STATELESS && session.server().protocol == STATELESS_PROTOCOL {
            return Err(error(Kind::Unsupported, "the version is not known"));
        }
        Ok(Arc::new(Session {
            bug: self.bug,
            inner: session,
            mcp: self.inner.clone(),
            config: again,
            tools: Mutex::default(),
            is_dead: Mutex::default(),
            begun: Mutex::default(),
        }))
    }
}

/// Takes every question, whatever the host within takes.
#[derive(Debug)]
struct TakesAll(Arc<dyn McpHost>);

#[async_trait]
impl McpHost for TakesAll {
    async fn elicit(&self, question: Elicitation) -> Elicited {
        self.0.elicit(question).await
    }

    async fn sample(&self, question: Sampling) -> Sampled {
        self.0.sample(question).await
    }
}

/// Forgets what a question is about, or that nobody has answered it.
#[derive(Debug)]
struct Forgetful(Arc<dyn McpHost>, u8);

#[async_trait]
impl McpHost for Forgetful {
    fn takes(&self) -> HostTakes {
        self.0.takes()
    }

    async fn elicit(&self, mut question: Elicitation) -> Elicited {
        let is_hasty = self.1 == REFUSES_FOR_THE_USER && question.task.is_some();
        if self.1 == NAMELESS_QUESTIONS {
            question.task = None;
        }
        if self.1 == KEYLESS_QUESTIONS {
            question.key = None;
        }
        let answer = self.0.elicit(question);
        if is_hasty {
            return answer.now_or_never().unwrap_or(Elicited::Cancelled);
        }
        answer.await
    }

    async fn sample(&self, question: Sampling) -> Sampled {
        self.0.sample(question).await
    }
}

/// Answers the first question of a session, and no other.
#[derive(Debug)]
struct AnswersOnce {
    host: Arc<dyn McpHost>,
    has_answered: Mutex<bool>,
}

#[async_trait]
impl McpHost for AnswersOnce {
    fn takes(&self) -> HostTakes {
        self.host.takes()
    }

    async fn elicit(&self, question: Elicitation) -> Elicited {
        if std::mem::replace(&mut *self.has_answered.lock().unwrap(), true) {
            return Elicited::Declined;
        }
        self.host.elicit(question).await
    }

    async fn sample(&self, question: Sampling) -> Sampled {
        self.host.sample(question).await
    }
}

/// Sends `token` wherever a server that does not want it says it should go.
async fn follow(url: &str, token: &str) {
    let ask = async |url: &str| {
        let address = url.strip_prefix("http://")?.split('/').next()?;
        let mut connection = TcpStream::connect(address).await.ok()?;
        let request = format!("POST / HTTP/1.1\r\nauthorization: Bearer {token}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.ok()?;
        let location = answer
            .lines()
            .find_map(|line| line.strip_prefix("location: "));
        location.map(str::to_owned)
    };
    if let Some(elsewhere) = ask(url).await {
        let _nothing = ask(&elsewhere).await;
    }
}

#[derive(Debug)]
struct Session {
    bug: u8,
    inner: Arc<dyn McpSession>,
    mcp: FakeMcp,
    config: McpServer,
    tools: Mutex<Option<Arc<[McpTool]>>>,
    is_dead: Mutex<bool>,
    begun: Mutex<Vec<TaskId>>,
}

fn error(kind: Kind, message: impl Into<String>) -> McpError {
    McpError::new(kind, "broken", "call", message)
}

impl Session {
    fn alias(&self) -> ServerAlias {
        self.config.alias.clone()
    }

    /// Whether this is a death, and not the end of the session.
    async fn is_open_after(&self, failed: &McpError) -> bool {
        failed.kind() == Kind::Unavailable && self.inner.tools().await.is_ok()
    }

    /// The tools that the server lists, with the bug that the list has.
    fn changed(&self, tools: Arc<[McpTool]>) -> Arc<[McpTool]> {
        let mut changed = tools.to_vec();
        match self.bug {
            HARMLESS => {
                for tool in &mut changed {
                    tool.hints = Hints {
                        destructive: None,
                        ..tool.hints
                    };
                }
            }
            OWN_NAMES => {
                for tool in &mut changed {
                    let own: String = tool
                        .remote
                        .to_lowercase()
                        .chars()
                        .filter(|letter| letter.is_ascii_lowercase())
                        .collect();
                    if let Ok(name) = tool_name(&self.alias(), &own) {
                        tool.name = name;
                    }
                }
            }
            HIDES_SUPPORT => {
                for tool in &mut changed {
                    tool.task_support = TaskSupport::Forbidden;
                }
            }
            BELIEVES_TOOLS if self.inner.server().name == "undeclared" => {
                for tool in changed.iter_mut().filter(|tool| tool.remote != "echo") {
                    tool.task_support = TaskSupport::Optional;
                }
            }
            DECIDES_ITSELF if self.inner.server().protocol == STATELESS_PROTOCOL => {
                for tool in &mut changed {
                    tool.task_support = TaskSupport::Optional;
                }
            }
            _ => return tools,
        }
        changed.into()
    }
}

fn nothing() -> McpCallResult {
    McpCallResult {
        is_error: false,
        structured: None,
        content: Vec::new(),
    }
}

fn working(id: TaskId) -> McpTask {
    McpTask {
        id,
        status: TaskStatus::Working,
        message: None,
        poll_interval: None,
        ttl: None,
    }
}

impl Session {
    fn tasks(&self) -> &dyn McpTasks {
        self.inner.as_tasks().unwrap()
    }

    /// A task as the session tells of it.
    fn told(&self, mut task: McpTask) -> McpTask {
        match self.bug {
            ASKING_IS_WORK if task.status == TaskStatus::InputRequired => {
                task.status = TaskStatus::Working;
            }
            LONG_MESSAGES => task.message = Some("x".repeat(100_000)),
            _ => {}
        }
        task
    }
}

#[async_trait]
impl McpTasks for Session {
    async fn start_task(&self, call: McpCall, ttl: Duration) -> Result<McpStarted, McpError> {
        let tool = call.tool.clone();
        let at_once = call.clone();
        match self.tasks().start_task(call, ttl).await {
            Ok(McpStarted::Task(task)) => {
                self.begun.lock().unwrap().push(task.id.clone());
                Ok(McpStarted::Task(self.told(task)))
            }
            Ok(McpStarted::Answered(_)) if self.bug == WANTS_TASKS_ALONE => {
                Err(error(Kind::Malformed, "it is no task").with_unknown_effect())
            }
            Err(failed) if self.bug == ANY_TASK && failed.kind() == Kind::Unsupported => {
                self.inner.call(at_once).await.map(McpStarted::Answered)
            }
            Err(failed) if self.bug == MAKES_UP_NAMES && failed.kind() == Kind::Malformed => {
                let id = TaskId::new(format!("task of {tool}")).unwrap();
                Ok(McpStarted::Task(working(id)))
            }
            other => other,
        }
    }

    async fn task(&self, id: &TaskId) -> Result<McpTask, McpError> {
        if self.bug == LOSES_TASKS && !self.begun.lock().unwrap().contains(id) {
            return Err(error(Kind::NotFound, "another session has it"));
        }
        match self.tasks().task(id).await {
            Ok(task) => Ok(self.told(task)),
            Err(failed) => {
                let is_about = |tool: &str| id.as_str().starts_with(tool);
                let is_believed = match self.bug {
                    BELIEVES_IN_LOST => failed.kind() == Kind::NotFound,
                    ANYBODYS_TASK => is_about("another"),
                    GUESSES_STATUS => is_about("garbage"),
                    _ => false,
                };
                if is_believed {
                    return Ok(working(id.clone()));
                }
                Err(failed)
            }
        }
    }

    async fn task_result(&self, id: &TaskId, tool: &str) -> Result<McpCallResult, McpError> {
        match self.tasks().task_result(id, tool).await {
            Ok(result) if self.bug == FAILED_IS_FINE && result.is_error => Ok(nothing()),
            Err(failed) if self.bug == ANY_TASK_DATA && failed.kind() == Kind::Malformed => {
                Ok(nothing())
            }
            other => other,
        }
    }

    async fn task_input(&self, id: &TaskId, within: Duration) -> Result<(), McpError> {
        match self.tasks().task_input(id, within).await {
            Err(failed) if self.bug == HEARS_REFUSALS && failed.kind() == Kind::Unsupported => {
                Ok(())
            }
            Err(failed) if self.bug == HEARS_NOBODY && failed.kind() == Kind::NotFound => Ok(()),
            Err(failed) if self.bug == ENDS_WHAT_IT_LEAVES => {
                self.tasks().cancel_task(id).await?;
                Err(failed)
            }
            other => other,
        }
    }

    async fn cancel_task(&self, id: &TaskId) -> Result<McpTask, McpError> {
        if self.bug == ENDS_NOTHING {
            let mut task = self.tasks().task(id).await?;
            task.status = TaskStatus::Cancelled;
            return Ok(task);
        }
        self.tasks().cancel_task(id).await
    }
}

#[async_trait]
impl McpSession for Session {
    fn server(&self) -> McpServerInfo {
        self.inner.server()
    }

    async fn tools(&self) -> Result<Arc<[McpTool]>, McpError> {
        match self.bug {
            ASKS_AGAIN => {
                self.inner.tools().await?;
                let again = self.mcp.connect(self.config.clone()).await?;
                again.tools().await
            }
            STALE_LIST => {
                if let Some(known) = self.tools.lock().unwrap().clone() {
                    return Ok(known);
                }
                let tools = self.inner.tools().await?;
                *self.tools.lock().unwrap() = Some(Arc::clone(&tools));
                Ok(tools)
            }
            FIRST_OF_TWINS => match self.inner.tools().await {
                Err(error) if error.kind() == Kind::Malformed => Ok([].into()),
                other => other,
            },
            CUTS_LISTS => match self.inner.tools().await {
                Err(error) if error.kind() == Kind::TooLarge => Ok([].into()),
                other => other,
            },
            _ => Ok(self.changed(self.inner.tools().await?)),
        }
    }

    async fn call(&self, mut call: McpCall) -> Result<McpCallResult, McpError> {
        let arguments = call.arguments.to_string();
        match self.bug {
            NO_TIMEOUT => call.timeout = Duration::from_secs(600),
            DEAF_TO_CANCEL => call.cancel = Latch::never(),
            NO_PROGRESS => call.on_progress = None,
            NO_METADATA => call.meta.clear(),
            FORGIVES_SCHEMAS if call.tool.starts_with("pointing") => {
                call.tool = "echo".to_owned();
            }
            ANY_ARGUMENTS if call.tool == "strict" => call.tool = "echo".to_owned(),
            STAYS_DEAD if *self.is_dead.lock().unwrap() => {
                return Err(error(Kind::Unavailable, "the server is gone"));
            }
            _ => {}
        }
        let answer = self.inner.call(call.clone()).await;
        match answer {
            Ok(answer) if self.bug == FAILED_IS_ERROR && answer.is_error => {
                Err(error(Kind::Server, "the tool failed"))
            }
            Ok(answer) => Ok(answer),
            Err(failed) => match self.bug {
                TASK_AS_ANSWER if call.tool == "unasked" => Ok(nothing()),
                FORGIVES_QUESTIONS if call.tool == "asks_forever" => Ok(nothing()),
                CERTAIN_HALF if call.tool == "asks_and_dies" => {
                    Err(error(failed.kind(), "the server had only asked"))
                }
                WAITS_FOR_TASKS if call.tool == "research" => Ok(nothing()),
                TRIES_AGAIN if failed.kind() == Kind::Authentication => {
                    let again = self.mcp.connect(self.config.clone()).await?;
                    again.call(call).await
                }
                CERTAIN_DEATH if self.is_open_after(&failed).await => {
                    Err(error(Kind::Unavailable, "the server died"))
                }
                CALLS_TWICE if self.is_open_after(&failed).await => self.inner.call(call).await,
                STAYS_DEAD
                    if (failed.kind(), failed.effect()) == (Kind::Unavailable, Effect::Unknown) =>
                {
                    *self.is_dead.lock().unwrap() = true;
                    Err(failed)
                }
                DIES_OF_SIZE if failed.kind() == Kind::TooLarge => {
                    self.inner.close().await?;
                    Err(failed)
                }
                DIES_OF_HUGE if call.tool == "huge" => {
                    self.inner.close().await?;
                    Err(failed)
                }
                QUOTES => {
                    let quoting = error(failed.kind(), format!("it was called with {arguments}"));
                    Err(match failed.effect() {
                        Effect::Unknown => quoting.with_unknown_effect(),
                        Effect::None => quoting,
                    })
                }
                _ => Err(failed),
            },
        }
    }

    fn as_tasks(&self) -> Option<&dyn McpTasks> {
        Some(self)
    }

    async fn resources(&self) -> Result<Arc<[McpResource]>, McpError> {
        self.inner.resources().await
    }

    async fn resource_templates(&self) -> Result<Arc<[McpResourceTemplate]>, McpError> {
        self.inner.resource_templates().await
    }

    async fn read_resource(&self, uri: &str) -> Result<Vec<McpResourceContents>, McpError> {
        self.inner.read_resource(uri).await
    }

    async fn prompts(&self) -> Result<Arc<[McpPrompt]>, McpError> {
        let prompts = self.inner.prompts().await?;
        if self.bug == FIRST_PAGE {
            return Ok(prompts.iter().take(2).cloned().collect());
        }
        Ok(prompts)
    }

    async fn prompt(
        &self,
        name: &str,
        arguments: BTreeMap<String, String>,
    ) -> Result<McpPromptResult, McpError> {
        self.inner.prompt(name, arguments).await
    }

    async fn complete(&self, asked: McpCompletion) -> Result<McpCompleted, McpError> {
        servers_said::complete(self.bug, &*self.inner, asked).await
    }

    async fn close(&self) -> Result<(), McpError> {
        if self.bug == CLOSES_NOTHING {
            return Ok(());
        }
        self.inner.close().await
    }
}

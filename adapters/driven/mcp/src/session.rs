//! A session: one connection after another, and whatever is asked of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::header::HeaderMap;
use rmcp::model as wire;
use seaworthy_ports::mcp::{
    McpCall, McpCallResult, McpCompleted, McpCompletion, McpError, McpPrompt, McpPromptResult,
    McpResource, McpResourceContents, McpResourceTemplate, McpServer, McpServerInfo, McpSession,
    McpStarted, McpTasks, McpTool, TaskSupport,
};
use seaworthy_ports::{Latch, LatchSetter};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::answers;
use crate::config::McpConfig;
use crate::connection::{Connection, Request};
use crate::error::Fault;
use crate::handshake;
use crate::modern;
use crate::oauth::Keeper;
use crate::roots;
use crate::rounds;
use crate::tasks;

/// How long a server is left alone that failed twice in a row, and at most after it failed often.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// A session with one server.
pub(crate) struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    server: McpServer,
    config: McpConfig,
    /// The tokens that the server wants, if it does.
    keeper: Option<Arc<Keeper>>,
    info: Mutex<McpServerInfo>,
    /// Held while a connection is made, so that only one is.
    current: tokio::sync::Mutex<Current>,
    closing: LatchSetter,
    is_closing: Latch,
}

#[derive(Default)]
struct Current {
    connection: Option<Arc<Connection>>,
    /// How many connections in a row could not be made, or ended before they answered anything.
    misses: u32,
    not_before: Option<Instant>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("server", &self.inner.server.alias)
            .field("is_closed", &self.inner.is_closing.is_set())
            .finish_non_exhaustive()
    }
}

const CLOSED: Fault = Fault::Rejected("the session is closed");

/// The parameters of a call.
#[derive(Serialize)]
struct CallParams<'a> {
    name: &'a str,
    arguments: &'a Value,
    #[serde(rename = "_meta", skip_serializing_if = "BTreeMap::is_empty")]
    meta: BTreeMap<&'a str, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<tasks::Wanted>,
}

impl Current {
    /// A connection ended or could not be made.
    fn missed(&mut self) {
        self.misses = self.misses.saturating_add(1);
        let doublings = self.misses.saturating_sub(2).min(16);
        let delay = FIRST_DELAY
            .saturating_mul(1 << doublings)
            .min(LONGEST_DELAY);
        self.not_before = (self.misses > 1).then(|| Instant::now() + delay);
    }

    /// The connection that is there, if it still is.
    fn alive(&mut self) -> Option<Arc<Connection>> {
        let connection = self.connection.as_ref()?;
        if !connection.inbox().has_ended() {
            return Some(Arc::clone(connection));
        }
        if connection.inbox().has_answered() {
            self.misses = 0;
        }
        self.missed();
        self.connection = None;
        None
    }
}

impl Session {
    pub(crate) async fn begin(server: McpServer, config: McpConfig) -> Result<Self, McpError> {
        let began = async {
            roots::check(&server.roots)?;
            let keeper = Keeper::of(&server)?;
            let (connection, info) =
                handshake::connect(&server, &config, keeper.as_ref(), false).await?;
            Ok::<_, Fault>((keeper, connection, info))
        };
        let (keeper, connection, info) = Box::pin(began)
            .await
            .map_err(|fault| fault.into_error("connect", false))?;
        let current = Current {
            connection: Some(Arc::new(connection)),
            ..Current::default()
        };
        let (closing, is_closing) = Latch::new();
        Ok(Self {
            inner: Arc::new(Inner {
                server,
                config,
                keeper,
                info: Mutex::new(info),
                current: tokio::sync::Mutex::new(current),
                closing,
                is_closing,
            }),
        })
    }

    /// Asks the connection for something, and once more if the server has lost the session or its version.
    pub(crate) async fn with<'a, T>(
        &'a self,
        mut ask: impl FnMut(Arc<Connection>) -> BoxFuture<'a, Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        let connection = self.inner.connected().await?;
        let answer = ask(Arc::clone(&connection)).await;
        if !matches!(answer, Err(Fault::SessionLost | Fault::VersionLost)) {
            return self.unless_closed(answer);
        }
        self.inner.forget(&connection).await;
        let connection = self.inner.connected().await?;
        let answer = ask(Arc::clone(&connection)).await;
        if matches!(answer, Err(Fault::SessionLost | Fault::VersionLost)) {
            self.inner.forget(&connection).await;
        }
        self.unless_closed(answer)
    }

    /// What could not be sent because the session was closed in between.
    fn unless_closed<T>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        match answer {
            Err(Fault::Unreachable(_)) if self.inner.is_closing.is_set() => Err(CLOSED),
            answer => answer,
        }
    }

    /// When an answer is late that is no call's.
    pub(crate) fn until(&self) -> Instant {
        Instant::now() + self.inner.server.request_timeout
    }

    /// A request that changes nothing.
    pub(crate) async fn ask(&self, method: &'static str, params: Value) -> Result<Bytes, Fault> {
        self.ask_until(method, params, self.until()).await
    }

    /// The same, answered by then.
    pub(crate) async fn ask_until(
        &self,
        method: &'static str,
        params: Value,
        until: Instant,
    ) -> Result<Bytes, Fault> {
        self.with(|connection| {
            let params = params.clone();
            Box::pin(async move { asked(&connection, method, &params, until).await })
        })
        .await
    }

    async fn attempt<'a>(
        &'a self,
        call: &'a McpCall,
        task: Option<Duration>,
        until: Instant,
        was_sent: &'a AtomicBool,
    ) -> Result<McpStarted, Fault> {
        self.with(|connection| {
            Box::pin(async move {
                if !self.info().tools {
                    return Err(Fault::NotFound("the server has no tools"));
                }
                let tools = connection.tools(&self.inner.server.alias, until).await?;
                tools.check_arguments(&call.tool, &call.arguments)?;
                if task.is_some() && tools.support(&call.tool)? == TaskSupport::Forbidden {
                    return Err(Fault::Unsupported("calls of the tool do not become tasks"));
                }
                let request = Request {
                    method: "tools/call",
                    until,
                    progress: call.on_progress.clone(),
                    may_be_task: task.is_some(),
                    was_sent,
                };
                // Where the server decides, nobody says how long it is to keep its task.
                let ttl = task.filter(|_ttl| !connection.is_stateless());
                let sent = |id| params(call, ttl, id);
                let headers = if connection.has_headers() {
                    tools.mirrored(&call.tool, &call.arguments)?
                } else {
                    HeaderMap::new()
                };
                let result = rounds::ask(&connection, request, headers, sent).await?;
                if task.is_some()
                    && let Some(task) = tasks::created(&result, connection.is_stateless())?
                {
                    return Ok(McpStarted::Task(task));
                }
                let result: wire::CallToolResult = answers::read(&result)?;
                let result = answers::called(result)?;
                if !result.is_error {
                    tools.check_data(&call.tool, result.structured.as_ref())?;
                }
                Ok(McpStarted::Answered(result))
            })
        })
        .await
    }

    /// Makes a call once, and lets it become a task that is kept for so long.
    pub(crate) async fn place(
        &self,
        call: &McpCall,
        task: Option<Duration>,
        was_sent: &AtomicBool,
    ) -> Result<McpStarted, Fault> {
        let until = Instant::now() + call.timeout;
        if self.inner.is_closing.is_set() {
            return Err(CLOSED);
        }
        if call.cancel.is_set() {
            return Err(Fault::Cancelled);
        }
        tokio::select! {
            biased;
            answer = self.attempt(call, task, until, was_sent) => answer,
            () = call.cancel.wait() => Err(Fault::Cancelled),
            () = sleep_until(until) => Err(Fault::Timeout),
        }
    }

    /// Refuses data that the tool said it would not answer. One that is no longer there promises nothing.
    pub(crate) async fn promised(&self, tool: &str, data: Option<&Value>) -> Result<(), Fault> {
        self.with(|connection| {
            Box::pin(async move {
                if !self.info().tools {
                    return Ok(());
                }
                let tools = connection
                    .tools(&self.inner.server.alias, self.until())
                    .await?;
                match tools.check_data(tool, data) {
                    Err(Fault::NotFound(_)) => Ok(()),
                    checked => checked,
                }
            })
        })
        .await
    }

    pub(crate) fn info(&self) -> McpServerInfo {
        self.inner
            .info
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A request that changes nothing.
pub(crate) async fn asked(
    connection: &Connection,
    method: &'static str,
    params: &Value,
    until: Instant,
) -> Result<Bytes, Fault> {
    let request = Request {
        method,
        until,
        progress: None,
        may_be_task: false,
        was_sent: &AtomicBool::new(false),
    };
    rounds::ask(connection, request, HeaderMap::new(), |_id| params).await
}

fn params(call: &McpCall, task: Option<Duration>, id: u64) -> CallParams<'_> {
    const TOKEN: &str = "progressToken";
    let meta = call.meta.iter();
    let mut meta: BTreeMap<_, _> = meta
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    // It is the connection's own to give: a token of the caller's would be heard by nobody.
    meta.remove(TOKEN);
    if call.on_progress.is_some() {
        meta.insert(TOKEN, id.into());
    }
    CallParams {
        name: &call.tool,
        arguments: &call.arguments,
        meta,
        task: task.map(tasks::Wanted::new),
    }
}

impl Inner {
    /// The connection, made again if it has ended.
    async fn connected(&self) -> Result<Arc<Connection>, Fault> {
        if self.is_closing.is_set() {
            return Err(CLOSED);
        }
        tokio::select! {
            biased;
            () = self.is_closing.wait() => Err(CLOSED),
            connection = self.connect() => connection,
        }
    }

    async fn connect(&self) -> Result<Arc<Connection>, Fault> {
        let mut current = self.current.lock().await;
        if let Some(alive) = current.alive() {
            return Ok(alive);
        }
        let left = current
            .not_before
            .map(|then| then.saturating_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Err(Fault::TooSoon(left));
        }
        let was_modern = {
            let info = self.info.lock().unwrap_or_else(PoisonError::into_inner);
            info.protocol == modern::VERSION
        };
        let keeper = self.keeper.as_ref();
        match handshake::connect(&self.server, &self.config, keeper, was_modern).await {
            Ok((connection, info)) => {
                *self.info.lock().unwrap_or_else(PoisonError::into_inner) = info;
                let connection = Arc::new(connection);
                current.connection = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(fault) => {
                current.missed();
                // No call was made yet, so none can have been lost.
                Err(match fault {
                    Fault::Gone(why) => Fault::Unreachable(why),
                    fault => fault,
                })
            }
        }
    }

    /// The server no longer knows this connection's session; the next one is begun without delay.
    async fn forget(&self, lost: &Arc<Connection>) {
        let mut current = self.current.lock().await;
        if current
            .connection
            .as_ref()
            .is_some_and(|connection| Arc::ptr_eq(connection, lost))
        {
            current.connection = None;
        }
    }

    async fn close(&self) {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.connection.take() {
            connection.close(self.config.grace).await;
        }
    }
}

#[async_trait]
impl McpSession for Session {
    fn server(&self) -> McpServerInfo {
        self.info()
    }

    async fn tools(&self) -> Result<Arc<[McpTool]>, McpError> {
        let listed = self.with(|connection| {
            Box::pin(async move {
                if !self.info().tools {
                    return Ok(Arc::default());
                }
                let tools = connection
                    .tools(&self.inner.server.alias, self.until())
                    .await?;
                Ok(Arc::clone(&tools.all))
            })
        });
        listed
            .await
            .map_err(|fault| fault.into_error("tools", false))
    }

    async fn call(&self, call: McpCall) -> Result<McpCallResult, McpError> {
        let was_sent = AtomicBool::new(false);
        let answer = match self.place(&call, None, &was_sent).await {
            Ok(McpStarted::Answered(result)) => Ok(result),
            Ok(McpStarted::Task(_)) => Err(Fault::Malformed("the server began a task unasked")),
            Err(fault) => Err(fault),
        };
        answer.map_err(|fault| fault.into_error("call", was_sent.load(Ordering::Relaxed)))
    }

    fn as_tasks(&self) -> Option<&dyn McpTasks> {
        Some(self)
    }

    async fn resources(&self) -> Result<Arc<[McpResource]>, McpError> {
        let listed = self.with(|connection| {
            Box::pin(async move {
                if !self.info().resources {
                    return Ok(Arc::default());
                }
                connection.resources(self.until()).await
            })
        });
        listed
            .await
            .map_err(|fault| fault.into_error("resources", false))
    }

    async fn resource_templates(&self) -> Result<Arc<[McpResourceTemplate]>, McpError> {
        let listed = self.with(|connection| {
            Box::pin(async move {
                if !self.info().resources {
                    return Ok(Arc::default());
                }
                connection.templates(self.until()).await
            })
        });
        listed
            .await
            .map_err(|fault| fault.into_error("resource_templates", false))
    }

    async fn read_resource(&self, uri: &str) -> Result<Vec<McpResourceContents>, McpError> {
        let read = async {
            let result = self.ask("resources/read", json!({"uri": uri})).await?;
            let result: wire::ReadResourceResult = answers::read(&result)?;
            let contents = result.contents.into_iter().map(answers::contents);
            contents.collect::<Result<_, _>>()
        };
        read.await
            .map_err(|fault| fault.into_error("read_resource", false))
    }

    async fn prompts(&self) -> Result<Arc<[McpPrompt]>, McpError> {
        let listed = self.with(|connection| {
            Box::pin(async move {
                if !self.info().prompts {
                    return Ok(Arc::default());
                }
                connection.prompts(self.until()).await
            })
        });
        listed
            .await
            .map_err(|fault| fault.into_error("prompts", false))
    }

    async fn prompt(
        &self,
        name: &str,
        arguments: BTreeMap<String, String>,
    ) -> Result<McpPromptResult, McpError> {
        let filled = async {
            let params = json!({"name": name, "arguments": arguments});
            let result = self.ask("prompts/get", params).await?;
            answers::filled(answers::read(&result)?)
        };
        filled
            .await
            .map_err(|fault| fault.into_error("prompt", false))
    }

    async fn complete(&self, completion: McpCompletion) -> Result<McpCompleted, McpError> {
        self.completed(&completion)
            .await
            .map_err(|fault| fault.into_error("complete", false))
    }

    async fn close(&self) -> Result<(), McpError> {
        self.inner.closing.set();
        let inner = Arc::clone(&self.inner);
        // On its own, so that it goes on if this future is dropped.
        let _ended = tokio::spawn(async move { inner.close().await }).await;
        Ok(())
    }
}

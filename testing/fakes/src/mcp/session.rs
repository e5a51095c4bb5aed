//! A session: what a real adapter does between a caller and a server.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::{Either, select, select_all};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::mcp::{
    Authorization, Kind, MAX_LISTED, MAX_MESSAGE_BYTES, McpCall, McpCallResult, McpCapabilities,
    McpContent, McpError, McpPrompt, McpPromptResult, McpResource, McpResourceContents,
    McpResourceTemplate, McpServer, McpServerInfo, McpSession, McpTasks, McpTool, OAuth,
    OAuthTokens, ResourceData, TaskSupport, Transport, tool_name,
};
use seaworthy_ports::{Latch, LatchSetter};
use serde_json::Value;

use super::server::{Line, Offer};
use super::{
    FakeMcp, FakeMcpAnswer, FakeMcpCall, FakeMcpServer, FakeMcpTool, McpFault, McpSeen, McpStart,
    error,
};
use crate::locked;

/// Whether `value` has `schema`; no, if that is none. Nothing is fetched for it.
pub(super) fn fits(schema: &Value, value: &Value) -> bool {
    jsonschema::options()
        .offline()
        .build(schema)
        .is_ok_and(|validator| validator.is_valid(value))
}

/// A list with the connection and the number of changes that it was read at.
type Cached<T> = Option<(u64, u64, Arc<[T]>)>;

#[derive(Default)]
struct Cache {
    tools: Cached<McpTool>,
    resources: Cached<McpResource>,
    templates: Cached<McpResourceTemplate>,
    prompts: Cached<McpPrompt>,
}

/// The connection at present.
struct Current {
    line: Arc<Line>,
    info: McpServerInfo,
    /// How many connections there were before.
    number: u64,
}

/// Tokens, if they were looked for, and those for which no others are given.
#[derive(Default)]
struct Tokens {
    known: Option<Option<OAuthTokens>>,
    refused: Option<Option<OAuthTokens>>,
}

pub(super) struct Session {
    pub(super) server: FakeMcpServer,
    config: McpServer,
    clock: Arc<dyn Clock>,
    capabilities: McpCapabilities,
    current: Mutex<Current>,
    cache: Mutex<Cache>,
    tokens: Mutex<Tokens>,
    close: LatchSetter,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.config.alias)
    }
}

/// Why nobody waits for an answer any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Dead,
    Closed,
    Cancelled,
    Late,
}

/// A request: what it is for, whether it may change anything, and how long it may take.
pub(super) struct Request {
    pub(super) operation: &'static str,
    /// The tool that is called. Everything else only reads.
    pub(super) tool: Option<String>,
    pub(super) timeout: Duration,
    pub(super) cancel: Latch,
}

impl Request {
    pub(super) fn failed(&self, kind: Kind, message: &str) -> McpError {
        error(kind, self.operation, message)
    }

    /// An error after the server may have acted.
    fn lost(&self, kind: Kind, message: &str) -> McpError {
        let error = self.failed(kind, message);
        if self.tool.is_some() {
            error.with_unknown_effect()
        } else {
            error
        }
    }
}

/// Tells the server that a call which is dropped has been cancelled.
struct InFlight<'a> {
    server: &'a FakeMcpServer,
    tool: Option<String>,
}

impl InFlight<'_> {
    fn settle(&mut self) {
        self.tool = None;
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(tool) = self.tool.take() {
            self.server.note(McpSeen::Cancelled(tool));
        }
    }
}

impl Session {
    pub(super) async fn connect(
        server: FakeMcpServer,
        config: McpServer,
        mcp: &FakeMcp,
    ) -> Result<Self, McpError> {
        let line = dial(&server, &config, &*mcp.clock, "connect", pending()).await?;
        let current = Current {
            line,
            info: server.offer().info,
            number: 0,
        };
        Ok(Self {
            server,
            config,
            clock: Arc::clone(&mcp.clock),
            capabilities: mcp.capabilities,
            current: Mutex::new(current),
            cache: Mutex::default(),
            tokens: Mutex::default(),
            close: Latch::new().0,
        })
    }

    pub(super) fn request(&self, operation: &'static str) -> Request {
        Request {
            operation,
            tool: None,
            timeout: self.config.request_timeout,
            cancel: Latch::never(),
        }
    }

    fn is_closed(&self) -> bool {
        self.close.latch().is_set()
    }

    fn live(&self) -> Option<(Arc<Line>, u64)> {
        let current = locked(&self.current);
        let line = Arc::clone(&current.line);
        (!line.dead.is_set()).then_some((line, current.number))
    }

    /// The connection, made again if it is gone.
    async fn line(&self, operation: &'static str) -> Result<(Arc<Line>, u64), McpError> {
        if self.is_closed() {
            return Err(error(Kind::Rejected, operation, "the session is closed"));
        }
        if let Some(live) = self.live() {
            return Ok(live);
        }
        let closed = self.close.latch();
        let fresh = dial(&self.server, &self.config, &*self.clock, operation, async {
            closed.wait().await;
        })
        .await?;
        let mut current = locked(&self.current);
        if current.line.dead.is_set() {
            *current = Current {
                line: fresh,
                info: self.server.offer().info,
                number: current.number + 1,
            };
        }
        // `close` looks at the connection after it has said so; one made in between is nobody's.
        if self.is_closed() {
            current.line.end();
            return Err(error(Kind::Rejected, operation, "the session is closed"));
        }
        Ok((Arc::clone(&current.line), current.number))
    }

    /// Gets past the server's door: refreshes tokens once and begins a new session once, if it is asked to.
    pub(super) async fn enter(&self, request: &Request) -> Result<(Arc<Line>, u64), McpError> {
        let (mut refreshed, mut renewed) = (false, false);
        let oauth = self.oauth();
        loop {
            let line = self.line(request.operation).await?;
            let shown = match oauth {
                Some(oauth) => self.shown(oauth).await?,
                None => None,
            };
            let is_known = oauth.is_none() || self.server.grants().lets_in(shown.as_ref());
            let fault = if is_known {
                self.server.fault_at_the_door()
            } else {
                Some(McpFault::Unauthorized)
            };
            match fault {
                None => return Ok(line),
                Some(McpFault::Unauthorized) if !refreshed && self.refresh(shown).await? => {
                    refreshed = true;
                }
                Some(McpFault::LostSession) if !renewed => {
                    line.0.end();
                    renewed = true;
                }
                Some(fault) => return Err(judged(request, fault)),
            }
        }
    }

    fn oauth(&self) -> Option<&OAuth> {
        let Transport::StreamableHttp(endpoint) = &self.config.transport else {
            return None;
        };
        match &endpoint.authorization {
            Authorization::OAuth(oauth) => Some(oauth),
            _ => None,
        }
    }

    /// The tokens that requests are made with.
    async fn shown(&self, oauth: &OAuth) -> Result<Option<OAuthTokens>, McpError> {
        if let Some(known) = &locked(&self.tokens).known {
            return Ok(known.clone());
        }
        let kept = oauth.tokens.load().await?;
        Ok(locked(&self.tokens).known.get_or_insert(kept).clone())
    }

    /// Gets other tokens than those that were `shown`. `false`: there are none to be had.
    async fn refresh(&self, shown: Option<OAuthTokens>) -> Result<bool, McpError> {
        let Some(oauth) = self.oauth() else {
            return Ok(false);
        };
        if locked(&self.tokens).refused.as_ref() == Some(&shown) {
            return Ok(false);
        }
        let _alone = oauth.tokens.lock().await?;
        let kept = oauth.tokens.load().await?;
        if kept != shown {
            locked(&self.tokens).known = Some(kept);
            return Ok(true);
        }
        self.server.note(McpSeen::Refreshed);
        let Some(fresh) = self.server.grants().give(kept.as_ref()) else {
            locked(&self.tokens).refused = Some(shown);
            return Ok(false);
        };
        oauth.tokens.save(fresh.clone()).await?;
        locked(&self.tokens).known = Some(Some(fresh));
        Ok(true)
    }

    /// Does `work` at the server, once, and gives up on it when it must.
    pub(super) async fn ask<T, F: Future<Output = Result<T, McpFault>> + Send>(
        &self,
        request: &Request,
        line: &Line,
        seen: McpSeen,
        work: impl FnOnce() -> F,
    ) -> Result<T, McpError> {
        if request.cancel.is_set() {
            return Err(request.failed(Kind::Cancelled, "it was cancelled before it was sent"));
        }
        self.server.note(seen);
        let mut in_flight = InFlight {
            server: &self.server,
            tool: request.tool.clone(),
        };
        let fault = self.server.fault();
        let answer = async {
            match fault {
                Some(fault) => Err(fault),
                None => work().await,
            }
        };
        let closed = self.close.latch();
        let ends = [
            async {
                line.dead.wait().await;
                End::Dead
            }
            .boxed(),
            async {
                closed.wait().await;
                End::Closed
            }
            .boxed(),
            async {
                request.cancel.wait().await;
                End::Cancelled
            }
            .boxed(),
        ];
        let given_up = select_all(ends).map(|(end, _, _)| end);
        let answer = async {
            match answer.await {
                Err(McpFault::Silence) => pending().await,
                other => other,
            }
        };
        let end = match select(pin!(answer), given_up).await {
            Either::Left((answer, _)) => {
                in_flight.settle();
                if answer.as_ref().err() == Some(&McpFault::Dies) {
                    line.end();
                }
                return answer.map_err(|fault| judged(request, fault));
            }
            Either::Right((end, _)) => end,
        };
        if matches!(end, End::Dead | End::Closed) {
            in_flight.settle();
        }
        Err(ended(request, end))
    }

    /// Ends `work` when its time is up.
    pub(super) async fn in_time<T>(
        &self,
        request: &Request,
        work: impl Future<Output = Result<T, McpError>> + Send,
    ) -> Result<T, McpError> {
        let until = self.clock.now().plus(request.timeout);
        match select(pin!(work), self.clock.sleep_until(until)).await {
            Either::Left((done, _)) => done,
            Either::Right(_) => Err(ended(request, End::Late)),
        }
    }

    /// A whole list, from the cache if it is still good.
    async fn list<T: Clone + Send + Sync>(
        &self,
        operation: &'static str,
        what: &'static str,
        cached: impl Fn(&mut Cache) -> &mut Cached<T> + Send + Sync,
        entries: impl Fn(&Offer) -> Result<Vec<T>, &'static str> + Send + Sync,
    ) -> Result<Arc<[T]>, McpError> {
        let request = self.request(operation);
        let (_, number) = self.line(operation).await?;
        let changes = self.server.changes();
        if let Some((connection, at, list)) = cached(&mut locked(&self.cache)).clone()
            && (connection, at) == (number, changes)
        {
            return Ok(list);
        }
        let mut list = Vec::new();
        let connection = loop {
            let from = list.len();
            let page = self.in_time(&request, async {
                let (line, number) = self.enter(&request).await?;
                let page = self.ask(&request, &line, McpSeen::Listed(what), || async {
                    let offer = self.server.offer();
                    let all = entries(&offer).map_err(|_why| McpFault::Garbled)?;
                    let start = if offer.is_endless { 0 } else { from };
                    let page: Vec<T> = all.iter().skip(start).take(offer.page).cloned().collect();
                    let is_last = !offer.is_endless && from + page.len() >= all.len();
                    Ok((page, is_last))
                });
                Ok((page.await?, number))
            });
            let ((page, is_last), number) = page.await?;
            // A page of nothing that has a successor would be turned for ever.
            if list.len() + page.len() > MAX_LISTED || (page.is_empty() && !is_last) {
                return Err(request.failed(Kind::TooLarge, "the list has no end"));
            }
            list.extend(page);
            if is_last {
                break number;
            }
        };
        let list: Arc<[T]> = list.into();
        *cached(&mut locked(&self.cache)) = Some((connection, changes, Arc::clone(&list)));
        Ok(list)
    }

    /// What a tool is to know of a call.
    pub(super) fn seen_by_tool(&self, call: &McpCall) -> FakeMcpCall {
        let takes = self.config.host.as_ref().map(|host| host.takes());
        let host = |declared: bool, takes: Option<bool>| {
            (declared && takes == Some(true))
                .then(|| self.config.host.clone())
                .flatten()
        };
        FakeMcpCall {
            task: None,
            arguments: call.arguments.clone(),
            meta: call.meta.clone(),
            server: self.server.clone(),
            alias: self.config.alias.clone(),
            on_progress: call.on_progress.clone(),
            user: host(
                self.capabilities.elicitation,
                takes.map(|takes| takes.elicitation),
            ),
            model: host(
                self.capabilities.sampling,
                takes.map(|takes| takes.sampling),
            ),
        }
    }

    /// The tool, if it takes the arguments.
    pub(super) async fn find(
        &self,
        request: &Request,
        call: &McpCall,
    ) -> Result<McpTool, McpError> {
        let tools = self.tools().await?;
        let listed = tools.iter().find(|tool| tool.remote == call.tool);
        let listed = listed.ok_or_else(|| unknown(request))?;
        if !call.arguments.is_object() || !fits(&listed.input_schema, &call.arguments) {
            return Err(request.failed(
                Kind::InvalidArguments,
                "the arguments do not fit the input schema",
            ));
        }
        Ok(listed.clone())
    }

    pub(super) async fn run(
        &self,
        request: &Request,
        call: McpCall,
    ) -> Result<McpCallResult, McpError> {
        let listed = self.find(request, &call).await?;
        let (line, _) = self.enter(request).await?;
        let tool = self.tool(&call.tool).ok_or_else(|| unknown(request))?;
        let seen = McpSeen::Called(call.tool.clone());
        let answer = self.ask(request, &line, seen, || async {
            match &tool.task {
                Some(task) if task.is_eager => Err(McpFault::Garbled),
                Some(task) if task.support == TaskSupport::Required && !task.is_immediate => {
                    Err(McpFault::Refused(-32601))
                }
                _ => tool.run(self.seen_by_tool(&call)).await,
            }
        });
        let FakeMcpAnswer(result) = answer.await?;
        if size(&result) > MAX_MESSAGE_BYTES {
            return Err(judged(request, McpFault::TooLarge));
        }
        self.keeps(request, listed.output_schema.as_ref(), result)
    }

    /// The result, if it is what the tool promised.
    pub(super) fn keeps(
        &self,
        request: &Request,
        schema: Option<&Value>,
        result: McpCallResult,
    ) -> Result<McpCallResult, McpError> {
        let keeps = schema.filter(|_| !result.is_error).is_none_or(|schema| {
            let data = result.structured.as_ref();
            data.is_some_and(|data| fits(schema, data))
        });
        if keeps {
            Ok(result)
        } else {
            Err(request.lost(Kind::Malformed, "the result does not fit the output schema"))
        }
    }

    pub(super) fn tool(&self, remote: &str) -> Option<FakeMcpTool> {
        let offer = self.server.offer();
        offer.tools.into_iter().find(|tool| tool.remote == remote)
    }
}

fn unknown(request: &Request) -> McpError {
    request.failed(Kind::NotFound, "the server has no such tool")
}

/// Makes a connection, unless the server fails to start, is silent for too long or nobody wants it any more.
async fn dial(
    server: &FakeMcpServer,
    config: &McpServer,
    clock: &dyn Clock,
    operation: &'static str,
    closed: impl Future<Output = ()> + Send,
) -> Result<Arc<Line>, McpError> {
    let Some((line, start)) = server.start() else {
        return Err(error(
            Kind::Unavailable,
            operation,
            "the server does not start",
        ));
    };
    if start != McpStart::Silent {
        return Ok(line);
    }
    let until = clock.now().plus(config.connect_timeout);
    let late = clock.sleep_until(until);
    match select(pin!(closed), late).await {
        Either::Left(_) => Err(error(Kind::Rejected, operation, "the session is closed")),
        Either::Right(_) => Err(error(Kind::Timeout, operation, "the server says nothing")),
    }
}

/// The error that a server's fault is for its caller. The server's words are not in it.
fn judged(request: &Request, fault: McpFault) -> McpError {
    match fault {
        McpFault::Dies | McpFault::Silence => {
            request.lost(Kind::Unavailable, "the server died before it answered")
        }
        McpFault::Garbled => request.lost(Kind::Malformed, "the answer breaks the protocol"),
        McpFault::TooLarge => request.lost(Kind::TooLarge, "the answer is too large"),
        McpFault::Refused(-32602) => {
            request.failed(Kind::InvalidArguments, "the server refused the arguments")
        }
        McpFault::Refused(-32601) => {
            request.failed(Kind::Unsupported, "the server does not know the method")
        }
        McpFault::Refused(-32002) => request.failed(Kind::NotFound, "the server has no such thing"),
        McpFault::Refused(_) => request.lost(Kind::Server, "the server answered with an error"),
        McpFault::Unauthorized => {
            request.failed(Kind::Authentication, "the server takes no such credentials")
        }
        McpFault::Forbidden => request.failed(Kind::Permission, "the server does not allow it"),
        McpFault::LostSession => request.failed(Kind::Unavailable, "the server keeps no session"),
    }
}

fn ended(request: &Request, end: End) -> McpError {
    match end {
        End::Dead => request.lost(Kind::Unavailable, "the server died before it answered"),
        End::Closed => request.lost(Kind::Unavailable, "the session was closed"),
        End::Cancelled => request.lost(Kind::Cancelled, "the caller cancelled it"),
        End::Late => request.lost(Kind::Timeout, "the server took too long"),
    }
}

/// About as many bytes as the message has that carries `result`.
fn size(result: &McpCallResult) -> usize {
    let data = result.structured.as_ref();
    let data = data.map_or(0, |data| data.to_string().len());
    let content = result.content.iter().map(|content| match content {
        McpContent::Text(text) => text.len(),
        McpContent::Image { bytes, .. } | McpContent::Audio { bytes, .. } => in_base64(bytes.len()),
        McpContent::Resource(contents) => read_size(contents),
        McpContent::ResourceLink(resource) => resource.uri.len(),
    });
    content.fold(data, usize::saturating_add)
}

fn read_size(contents: &McpResourceContents) -> usize {
    match &contents.data {
        ResourceData::Text(text) => text.len(),
        ResourceData::Bytes(bytes) => in_base64(bytes.len()),
    }
}

const fn in_base64(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

#[async_trait]
impl McpSession for Session {
    fn server(&self) -> McpServerInfo {
        locked(&self.current).info.clone()
    }

    async fn tools(&self) -> Result<Arc<[McpTool]>, McpError> {
        let alias = &self.config.alias;
        let tools = self.list(
            "tools",
            "tools",
            |cache| &mut cache.tools,
            |offer| {
                let named = offer.tools.iter().map(|tool| {
                    Ok(McpTool {
                        name: tool_name(alias, &tool.remote).map_err(|_| "a tool has no name")?,
                        remote: tool.remote.clone(),
                        title: tool.title.clone(),
                        description: tool.description.clone(),
                        input_schema: tool.input_schema.clone(),
                        output_schema: tool.output_schema.clone(),
                        hints: tool.hints,
                        task_support: tool.task_support(),
                    })
                });
                named.collect()
            },
        );
        let tools = tools.await?;
        let mut names: Vec<_> = tools.iter().map(|tool| &tool.name).collect();
        names.sort();
        let before = names.len();
        names.dedup();
        if names.len() == before {
            Ok(tools)
        } else {
            locked(&self.cache).tools = None;
            Err(error(
                Kind::Malformed,
                "tools",
                "two tools come out with one name",
            ))
        }
    }

    async fn call(&self, call: McpCall) -> Result<McpCallResult, McpError> {
        let request = Request {
            operation: "call",
            tool: Some(call.tool.clone()),
            timeout: call.timeout,
            cancel: call.cancel.clone(),
        };
        self.in_time(&request, self.run(&request, call)).await
    }

    fn as_tasks(&self) -> Option<&dyn McpTasks> {
        self.capabilities.tasks.then_some(self)
    }

    async fn resources(&self) -> Result<Arc<[McpResource]>, McpError> {
        self.list(
            "resources",
            "resources",
            |cache| &mut cache.resources,
            |offer| Ok(offer.resources.clone()),
        )
        .await
    }

    async fn resource_templates(&self) -> Result<Arc<[McpResourceTemplate]>, McpError> {
        self.list(
            "resource_templates",
            "templates",
            |cache| &mut cache.templates,
            |offer| Ok(offer.templates.clone()),
        )
        .await
    }

    async fn read_resource(&self, uri: &str) -> Result<Vec<McpResourceContents>, McpError> {
        let request = self.request("read_resource");
        let read = async {
            let (line, _) = self.enter(&request).await?;
            let seen = McpSeen::Read(uri.to_owned());
            let read = self.ask(&request, &line, seen, || async {
                let offer = self.server.offer();
                let read = offer.reads.iter().find_map(|read| read(uri));
                read.unwrap_or(Err(McpFault::Refused(-32002)))
            });
            let contents = read.await?;
            let bytes: usize = contents.iter().map(read_size).sum();
            if bytes > MAX_MESSAGE_BYTES {
                return Err(judged(&request, McpFault::TooLarge));
            }
            Ok(contents)
        };
        self.in_time(&request, read).await
    }

    async fn prompts(&self) -> Result<Arc<[McpPrompt]>, McpError> {
        self.list(
            "prompts",
            "prompts",
            |cache| &mut cache.prompts,
            |offer| {
                Ok(offer
                    .prompts
                    .iter()
                    .map(|(prompt, _)| prompt.clone())
                    .collect())
            },
        )
        .await
    }

    async fn prompt(
        &self,
        name: &str,
        arguments: BTreeMap<String, String>,
    ) -> Result<McpPromptResult, McpError> {
        let request = self.request("prompt");
        let filled = async {
            let (line, _) = self.enter(&request).await?;
            let seen = McpSeen::Prompted(name.to_owned());
            let filled = self.ask(&request, &line, seen, || async {
                let offer = self.server.offer();
                let known = offer.prompts.iter().find(|(prompt, _)| prompt.name == name);
                let (prompt, fill) = known.ok_or(McpFault::Refused(-32002))?;
                let is_whole = prompt
                    .arguments
                    .iter()
                    .all(|argument| !argument.required || arguments.contains_key(&argument.name));
                if is_whole {
                    Ok(fill(&arguments))
                } else {
                    Err(McpFault::Refused(-32602))
                }
            });
            filled.await
        };
        self.in_time(&request, filled).await
    }

    async fn close(&self) -> Result<(), McpError> {
        self.close.set();
        let line = Arc::clone(&locked(&self.current).line);
        line.end();
        Ok(())
    }
}

//! Calls that a server keeps as tasks. They live as long as the server, over every session and its own deaths.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use seaworthy_ports::mcp::{
    Kind, McpCall, McpCallResult, McpError, McpStarted, McpTask, McpTasks, TaskId, TaskStatus,
    TaskSupport, task_message,
};

use super::request::Request;
use super::session::Session;
use super::tool::{Keys, STATELESS};
use super::{FakeMcpAnswer, FakeMcpCall, FakeMcpServer, McpFault, McpSeen};
use crate::locked;

/// What a tool's tasks are like.
#[derive(Clone, Debug)]
pub struct FakeMcpTask {
    /// Whether calls become tasks.
    pub support: TaskSupport,
    /// What is told each time that a task is asked after; the last is told for ever. [`McpFault::Garbled`]: an answer that is
    /// none.
    pub polls: Vec<Result<TaskStatus, McpFault>>,
    /// What is said of the task.
    pub message: Option<String>,
    /// How long the server wants to be left alone.
    pub poll_interval: Option<Duration>,
    /// What a call meets that is to become a task.
    pub begins: Option<McpFault>,
    /// Whether calls become tasks that nobody asked for, which breaks the protocol.
    pub is_eager: bool,
    /// Whether calls are answered at once after all.
    pub is_immediate: bool,
    /// How often the tool runs, once the server is listened to: to ask something. Until then the task wants input, after
    /// what [`Self::polls`] tell.
    pub asks: usize,
    /// What is told after that, before it is completed.
    pub afterwards: Vec<TaskStatus>,
}

impl FakeMcpTask {
    /// A task that is told to stand like this, one after the other.
    #[must_use]
    pub fn new(support: TaskSupport, polls: &[TaskStatus]) -> Self {
        Self {
            support,
            polls: polls.iter().copied().map(Ok).collect(),
            message: None,
            poll_interval: None,
            begins: None,
            is_eager: false,
            is_immediate: false,
            asks: 0,
            afterwards: Vec::new(),
        }
    }

    /// The same, whose tool runs so often to ask something, and which is told to stand like this afterwards.
    #[must_use]
    pub fn asking(mut self, times: usize, afterwards: &[TaskStatus]) -> Self {
        self.asks = times;
        self.afterwards = afterwards.to_vec();
        self
    }

    /// The same, asking to be left alone for so long.
    #[must_use]
    pub const fn with_poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = Some(interval);
        self
    }

    /// The same, saying this of itself.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// The same, telling `poll` from the last time on.
    #[must_use]
    pub fn with_poll(mut self, poll: Result<TaskStatus, McpFault>) -> Self {
        self.polls.push(poll);
        self
    }
}

/// A task that a server keeps.
#[derive(Clone)]
pub(super) struct Kept {
    tool: String,
    script: FakeMcpTask,
    asked: usize,
    is_cancelled: bool,
    answer: Result<FakeMcpAnswer, McpFault>,
    /// The call that still asks something, and how often.
    asking: Option<(McpCall, usize)>,
}

/// The tasks of a server by name.
#[derive(Default)]
pub(super) struct Tasks {
    all: BTreeMap<String, Kept>,
    begun: usize,
}

impl Tasks {
    pub(super) fn forget(&mut self) {
        self.all.clear();
    }
}

impl Kept {
    fn stands(&self) -> Result<TaskStatus, McpFault> {
        if self.is_cancelled {
            return Ok(TaskStatus::Cancelled);
        }
        let told = self.script.polls.get(self.asked);
        match (self.script.asks, &self.asking) {
            (0, _) => {
                let told = told.or_else(|| self.script.polls.last());
                told.copied().unwrap_or(Ok(TaskStatus::Completed))
            }
            (_, Some(_)) => told.copied().unwrap_or(Ok(TaskStatus::InputRequired)),
            (_, None) => {
                let told = self.script.afterwards.get(self.asked);
                Ok(told.copied().unwrap_or(TaskStatus::Completed))
            }
        }
    }

    /// The call that still asks something, and how often it has heard what it asked.
    fn next(&self) -> Option<(McpCall, usize)> {
        let (call, left) = self.asking.as_ref()?;
        Some((call.clone(), self.script.asks.saturating_sub(*left)))
    }

    /// The tool has heard what it asked.
    fn heard(&mut self, answer: Result<FakeMcpAnswer, McpFault>) {
        self.answer = answer;
        self.asking = self
            .asking
            .take()
            .filter(|(_call, left)| *left > 1)
            .map(|(call, left)| (call, left - 1));
        if self.asking.is_none() {
            self.asked = 0;
        }
    }

    fn told(&self, id: &TaskId, status: TaskStatus) -> McpTask {
        McpTask {
            id: id.clone(),
            status,
            message: self.script.message.as_deref().map(task_message),
            poll_interval: self.script.poll_interval,
            ttl: None,
        }
    }
}

const UNKNOWN: McpFault = McpFault::Refused(-32602);

impl FakeMcpServer {
    fn begin(
        &self,
        tool: &str,
        script: &FakeMcpTask,
        answer: Result<FakeMcpAnswer, McpFault>,
        asking: Option<(McpCall, usize)>,
    ) -> Result<McpTask, McpFault> {
        let mut tasks = locked(self.tasks());
        tasks.begun += 1;
        let id = format!("{tool}-{}", tasks.begun);
        let kept = Kept {
            tool: tool.to_owned(),
            script: script.clone(),
            asked: 0,
            is_cancelled: false,
            answer,
            asking,
        };
        tasks.all.insert(id.clone(), kept.clone());
        let id = TaskId::new(id).map_err(|_invalid| McpFault::Garbled)?;
        Ok(kept.told(&id, TaskStatus::Working))
    }

    fn kept<T>(
        &self,
        id: &TaskId,
        look: impl FnOnce(&mut Kept) -> Result<T, McpFault>,
    ) -> Result<T, McpFault> {
        let mut tasks = locked(self.tasks());
        let kept = tasks.all.get_mut(id.as_str());
        look(kept.ok_or(UNKNOWN)?)
    }

    fn tool_of(&self, id: &TaskId) -> String {
        let tool = self.kept(id, |kept| Ok(kept.tool.clone()));
        tool.unwrap_or_default()
    }
}

/// Servers say of a task that they do not know that the parameters are wrong.
fn known(error: McpError) -> McpError {
    match error.kind() {
        Kind::InvalidArguments => super::error(
            Kind::NotFound,
            error.operation(),
            "the server knows no such task",
        ),
        _ => error,
    }
}

impl Session {
    /// Asks about a task, which may change nothing or end it.
    async fn about<T: Send>(
        &self,
        request: &Request,
        seen: McpSeen,
        look: impl FnOnce() -> Result<T, McpFault> + Send,
    ) -> Result<T, McpError> {
        let asked = async {
            let (line, _) = self.enter(request).await?;
            self.ask(request, &line, seen, || async { look() }).await
        };
        self.in_time(request, asked).await.map_err(known)
    }
}

#[async_trait]
impl McpTasks for Session {
    async fn start_task(&self, call: McpCall, _ttl: Duration) -> Result<McpStarted, McpError> {
        let request = Request {
            operation: "start_task",
            tool: Some(call.tool.clone()),
            timeout: call.timeout,
            cancel: call.cancel.clone(),
        };
        let started = async {
            let script = self.tool(&call.tool).and_then(|tool| tool.task);
            let Some(script) = script.filter(|task| task.support != TaskSupport::Forbidden) else {
                self.find(&request, &call).await?;
                return Err(
                    request.failed(Kind::Unsupported, "calls of the tool do not become tasks")
                );
            };
            self.find(&request, &call).await?;
            if script.is_immediate {
                return self.run(&request, call).await.map(McpStarted::Answered);
            }
            let (line, _) = self.enter(&request).await?;
            let seen = McpSeen::Called(call.tool.clone());
            let begun = self.ask(&request, &line, seen, || async {
                if let Some(fault) = script.begins {
                    return Err(fault);
                }
                let tool = self.tool(&call.tool).ok_or(UNKNOWN)?;
                let (answer, asking) = match script.asks {
                    0 => (tool.run(self.seen_by_tool(&call)).await, None),
                    times => (Err(UNKNOWN), Some((call.clone(), times))),
                };
                self.server.begin(&call.tool, &script, answer, asking)
            });
            begun.await.map(McpStarted::Task)
        };
        self.in_time(&request, started).await
    }

    async fn task(&self, id: &TaskId) -> Result<McpTask, McpError> {
        let seen = McpSeen::Polled(self.server.tool_of(id));
        let look = || {
            self.server.kept(id, |kept| {
                let stands = kept.stands();
                kept.asked += 1;
                Ok(kept.told(id, stands?))
            })
        };
        self.about(&self.request("task"), seen, look).await
    }

    async fn task_result(&self, id: &TaskId, tool: &str) -> Result<McpCallResult, McpError> {
        let seen = McpSeen::Fetched(self.server.tool_of(id));
        let look = || {
            self.server.kept(id, |kept| {
                let FakeMcpAnswer(result) = kept.answer.clone()?;
                Ok(result)
            })
        };
        let request = self.request("task_result");
        let result = self.about(&request, seen, look).await?;
        let schema = self.tool(tool).and_then(|tool| tool.output_schema);
        self.keeps(&request, schema.as_ref(), result)
    }

    async fn task_input(&self, id: &TaskId, within: Duration) -> Result<(), McpError> {
        let request = Request {
            timeout: within,
            ..self.request("task_input")
        };
        let asked = async {
            let (line, _) = self.enter(&request).await?;
            let seen = McpSeen::Listened(self.server.tool_of(id));
            let is_stateless = self.server.offer().info.protocol == STATELESS;
            let asking = || async {
                while let Some((call, heard)) = self.server.kept(id, |kept| Ok(kept.next()))? {
                    let tool = self.tool(&call.tool).ok_or(UNKNOWN)?;
                    let (keys, refused) = Keys::after(heard);
                    let answer = tool.run(FakeMcpCall {
                        task: Some(id.clone()),
                        keys: is_stateless.then(|| Arc::new(keys)),
                        ..self.seen_by_tool(&call)
                    });
                    let refused = std::pin::pin!(refused.wait());
                    let answer = match select(answer, refused).await {
                        Either::Left((answer, _refused)) => answer,
                        Either::Right(((), _waiting)) => return Err(McpFault::Refused(-32601)),
                    };
                    self.server.kept(id, |kept| {
                        kept.heard(answer);
                        Ok(())
                    })?;
                }
                if !self.server.kept(id, |kept| kept.stands())?.has_ended() {
                    pending::<()>().await;
                }
                Ok(())
            };
            self.ask(&request, &line, seen, asking).await
        };
        self.in_time(&request, asked).await.map_err(known)
    }

    async fn cancel_task(&self, id: &TaskId) -> Result<McpTask, McpError> {
        let seen = McpSeen::CalledOff(self.server.tool_of(id));
        let look = || {
            self.server.kept(id, |kept| {
                if kept.stands()?.has_ended() {
                    return Err(UNKNOWN);
                }
                kept.is_cancelled = true;
                Ok(kept.told(id, TaskStatus::Cancelled))
            })
        };
        self.about(&self.request("cancel_task"), seen, look).await
    }
}

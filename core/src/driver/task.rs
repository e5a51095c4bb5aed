//! Calls that their servers work on as tasks: asking after them, and leaving the run alone meanwhile.
//!
//! A task is known by its name in the log and by nothing else, so any worker asks after it. One of a server that is a
//! process of the turn would end with the turn; such a run stays with its worker.
//!
//! A server that asks something in the middle is listened to until what it asks is on record, and again with the answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::Then;
use seaworthy_ports::mcp::{Kind, McpError, McpTask, McpTasks, TaskStatus};
use seaworthy_ports::{CallId, Latch, Retry, ServerAlias, Timestamp};
use serde_json::Value;

use super::tool_call::Done;
use super::{Driver, Held, Stop};
use crate::agent::Agent;
use crate::descriptor::ServerTransport;
use crate::event::{Event, WaitReason};
use crate::files::AttachedFile;
use crate::machine::Work;
use crate::servers::{Connections, Heard, Place, ServedTool};
use crate::state::{
    Call, CallStatus, Deferred, MAX_LOST_TASKS, Outcome, RunState, SHORTEST_POLL, ToolDeferred,
    next_poll,
};
use crate::tool::{SideEffect, ToolAnswer, ToolFailure, code};

/// How long servers have altogether to hear that a run was cancelled.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long a server is listened to that wants to ask something, and does not.
const LISTENING: Duration = Duration::from_secs(10);

impl Held<'_> {
    /// Waits where the run has nothing to do but that: parks it, until a server is to be asked after a task at the latest.
    /// `None`: it stayed with this worker, and there may be something to do now.
    pub(super) async fn rest(&mut self, reason: WaitReason) -> Result<Option<Then>, Stop> {
        let Some(poll_at) = self.state().next_poll() else {
            return self.park(reason, None).await.map(Some);
        };
        let Some(agent) = self.agent().await? else {
            return Ok(None);
        };
        let is_kept = deferred(self.state())
            .any(|(_call, _task, tool)| tool.is_some_and(|tool| is_process(&agent, &tool.server)));
        if !is_kept {
            return self.park(reason, Some(poll_at)).await.map(Some);
        }
        self.commit().await?;
        self.stay(poll_at).await?;
        Ok(None)
    }

    /// Waits until then or until a signal comes, and asks after the tasks whose time it is.
    async fn stay(&mut self, until: Timestamp) -> Result<(), Stop> {
        let clock = Arc::clone(&self.driver.ports.clock);
        let signal = {
            let mail = std::pin::pin!(self.mail());
            match select(clock.sleep_until(until), mail).await {
                Either::Left(((), _mail)) => None,
                Either::Right((signal, _due)) => Some(signal),
            }
        };
        if let Some(signal) = signal {
            return self.hear(signal).await;
        }
        let due: Vec<Work> = deferred(self.state())
            .filter(|(_call, task, _tool)| task.poll_at <= until)
            .map(|(call, ..)| Work::Poll(call.proposal.call.clone()))
            .collect();
        self.work_on(due).await
    }

    /// What it takes to ask after the task of `call`.
    pub(super) fn asking(
        &self,
        call: &CallId,
        servers: Option<Arc<Connections>>,
    ) -> Option<Asking> {
        let (call, task, tool) =
            deferred(self.state()).find(|(known, ..)| known.proposal.call == *call)?;
        Some(Asking {
            call: call.proposal.call.clone(),
            task: task.clone(),
            side_effect: call.proposal.side_effect,
            lost: call.doubts,
            has_asked: !call.live_questions().is_empty(),
            is_asked: call.open_question().is_some(),
            tool: tool?.clone(),
            servers: servers?,
        })
    }
}

/// The open calls that are tasks, with the tools they are of.
fn deferred(state: &RunState) -> impl Iterator<Item = (&Call, &Deferred, Option<&ServedTool>)> {
    let catalogue = state.catalogue.as_deref();
    state.open_calls().filter_map(move |call| {
        let CallStatus::Deferred(task) = &call.status else {
            return None;
        };
        let tool = catalogue.and_then(|known| known.tools.get(call.proposal.tool.as_str()));
        Some((call, &**task, tool))
    })
}

fn is_process(agent: &Agent, server: &ServerAlias) -> bool {
    let spec = agent.servers.get(server);
    spec.is_some_and(|spec| matches!(spec.transport, ServerTransport::Stdio { .. }))
}

/// A task that is asked after.
pub(super) struct Asking {
    call: CallId,
    task: Deferred,
    side_effect: SideEffect,
    /// How often the call's task was lost.
    lost: u32,
    /// Whether the server may ask again what is on record.
    has_asked: bool,
    /// Whether a person is to answer what the server asked.
    is_asked: bool,
    tool: ServedTool,
    servers: Arc<Connections>,
}

/// What became of listening to a server that wants input.
enum Listened {
    /// It still wants it.
    AsBefore,
    /// It is told of the task that something else has become of it.
    Told(Result<McpTask, McpError>),
    /// It will never get it: nobody gives it, and it cannot be told so.
    InVain,
}

/// What a server says of a task.
enum Told {
    /// It goes on, or wants to be answered something first.
    Goes {
        asks: bool,
        message: Option<String>,
        interval: Option<Duration>,
    },
    /// It has ended.
    Ended(ToolAnswer),
    /// There is none.
    Lost(String),
}

impl Asking {
    /// Asks, and says what is on record then. `heard`: what the server asks is heard, until the latch is set.
    pub(super) async fn ask(self, clock: &dyn Clock, heard: Option<(Heard, Latch)>) -> Done {
        let told = self.told(clock, heard.as_ref()).await;
        let now = clock.now();
        let event = match told {
            Told::Goes {
                asks,
                message,
                interval,
            } if now < self.task.until => Event::ToolDeferred(Box::new(ToolDeferred {
                asks,
                call: self.call,
                message,
                poll_at: next_poll(self.task.since, now, interval, self.task.until),
                since: self.task.since,
                task: self.task.task,
                until: self.task.until,
            })),
            Told::Goes { .. } => self.ended_late().await,
            Told::Ended(ToolAnswer::Succeeded(output)) => self.succeeded(output, Vec::new(), now),
            Told::Ended(ToolAnswer::Showed(output, media)) => self.succeeded(output, media, now),
            Told::Ended(ToolAnswer::Failed(failure) | ToolAnswer::FailedNoEffect(failure)) => {
                self.failed(failure)
            }
            // No answer to a question is one of these.
            Told::Ended(ToolAnswer::Changed(_) | ToolAnswer::Deferred(_)) => {
                self.lost("its server told of it what it cannot be".to_owned())
            }
            Told::Lost(why) => self.lost(why),
        };
        Done::Event(event)
    }

    fn succeeded(self, output: Value, media: Vec<AttachedFile>, now: Timestamp) -> Event {
        Event::ToolSucceeded {
            call: self.call,
            duration_ms: crate::millis::of(now.since(self.task.since)),
            media,
            output,
        }
    }

    fn failed(self, failure: ToolFailure) -> Event {
        Event::ToolFailed {
            call: self.call,
            code: failure.code.to_owned(),
            message: failure.message,
            no_effect: false,
        }
    }

    /// A call that may be repeated is begun again; of another nobody knows what became.
    fn lost(self, why: String) -> Event {
        if !self.side_effect.is_repeatable() {
            return Event::ToolInDoubt {
                call: self.call,
                reason: format!("the server took the call as a task, and then: {why}"),
            };
        }
        if self.lost < MAX_LOST_TASKS {
            return Event::ToolStarted { call: self.call };
        }
        self.failed(ToolFailure::new(code::TASK_LOST, why))
    }

    /// The task has had all its time.
    async fn ended_late(self) -> Event {
        let lasted = self.task.until.since(self.task.since);
        let message = format!("the server did not finish the task within {lasted:?}");
        let is_ended = match self.tasks().await {
            Ok(session) => self.call_off(&session).await,
            Err(_unreachable) => false,
        };
        if is_ended || self.side_effect.is_repeatable() {
            self.failed(ToolFailure::new(code::TIMEOUT, message))
        } else {
            self.lost(message)
        }
    }

    async fn tasks(&self) -> Result<Session, Told> {
        let session = self.servers.session(&self.tool.server).await;
        // What is not reached now may be later: the task does not end with the connection.
        let session = session.map_err(|error| Told::Goes {
            asks: self.has_asked,
            message: Some(error.to_string()),
            interval: None,
        })?;
        match session.as_tasks() {
            Some(_tasks) => Ok(Session(session)),
            None => Err(Told::Lost(
                "this worker cannot ask after tasks of servers".to_owned(),
            )),
        }
    }

    async fn call_off(&self, session: &Session) -> bool {
        let Some(tasks) = session.tasks() else {
            return false;
        };
        let ended = tasks.cancel_task(&self.task.task).await;
        ended.is_ok_and(|task| task.status == TaskStatus::Cancelled)
    }

    async fn told(&self, clock: &dyn Clock, heard: Option<&(Heard, Latch)>) -> Told {
        let session = match self.tasks().await {
            Ok(session) => session,
            Err(told) => return told,
        };
        let Some(tasks) = session.tasks() else {
            return Told::Lost("its server keeps no tasks".to_owned());
        };
        let task = match tasks.task(&self.task.task).await {
            Ok(task) => task,
            Err(error) => return unanswered(&error, self.has_asked),
        };
        if task.status != TaskStatus::InputRequired {
            return self.stands(tasks, task).await;
        }
        let Some((heard, stopped)) = heard else {
            return self.refuses(tasks, task).await;
        };
        if self.is_asked {
            return waits(task);
        }
        let ended = {
            let interval = task.poll_interval.unwrap_or_default();
            let interval = interval.clamp(SHORTEST_POLL, LISTENING);
            let listening = self.listen(tasks, heard, clock, interval);
            let stopped = std::pin::pin!(stopped.wait());
            match select(stopped, std::pin::pin!(listening)).await {
                // What it asked is on record.
                Either::Left(((), _listening)) => Listened::AsBefore,
                Either::Right((ended, _stopped)) => ended,
            }
        };
        match ended {
            Listened::AsBefore => waits(task),
            Listened::Told(Ok(task)) => self.stands(tasks, task).await,
            Listened::Told(Err(error)) => unanswered(&error, true),
            Listened::InVain => self.refuses(tasks, task).await,
        }
    }

    /// Lets the server ask, and says how it goes on.
    async fn listen(
        &self,
        tasks: &dyn McpTasks,
        heard: &Heard,
        clock: &dyn Clock,
        interval: Duration,
    ) -> Listened {
        let (id, until) = (&self.task.task, self.task.until);
        let over = {
            let input = std::pin::pin!(tasks.task_input(id, until.since(clock.now())));
            let watching = std::pin::pin!(self.watch(tasks, heard, clock, interval));
            match select(input, watching).await {
                Either::Left((over, _watching)) => over,
                Either::Right((seen, _input)) => {
                    return seen.map_or(Listened::AsBefore, Listened::Told);
                }
            }
        };
        let is_in_vain = over.is_err_and(|error| error.kind() == Kind::Unsupported);
        // Nothing more is asked, for whatever reason.
        match changed(tasks.task(id).await) {
            Some(told) => Listened::Told(told),
            None if is_in_vain => Listened::InVain,
            None => Listened::AsBefore,
        }
    }

    /// Looks whether the server has got what it wanted. One that does not ask for long is not listened to any more.
    async fn watch(
        &self,
        tasks: &dyn McpTasks,
        heard: &Heard,
        clock: &dyn Clock,
        interval: Duration,
    ) -> Option<Result<McpTask, McpError>> {
        let mut silent_since = clock.now();
        loop {
            clock.sleep_until(clock.now().plus(interval)).await;
            if let Some(seen) = changed(tasks.task(&self.task.task).await) {
                return Some(seen);
            }
            let now = clock.now();
            if heard.is_asked() {
                silent_since = now;
            }
            if now.since(silent_since) >= LISTENING || now >= self.task.until {
                return None;
            }
        }
    }

    /// What a task is that nobody has to be asked for.
    async fn stands(&self, tasks: &dyn McpTasks, task: McpTask) -> Told {
        match task.status {
            TaskStatus::Working => Told::Goes {
                asks: false,
                message: task.message,
                interval: task.poll_interval,
            },
            TaskStatus::InputRequired => waits(task),
            TaskStatus::Completed => self.fetched(tasks, None).await,
            TaskStatus::Failed => self.fetched(tasks, Some(task)).await,
            TaskStatus::Cancelled => Told::Ended(ToolAnswer::Failed(ToolFailure::new(
                code::CANCELLED,
                said("the task was ended at its server", task.message),
            ))),
        }
    }

    /// The server asks something in the middle of the task, and there is nobody who answers.
    async fn refuses(&self, tasks: &dyn McpTasks, task: McpTask) -> Told {
        let _ended = tasks.cancel_task(&self.task.task).await;
        let why = "the server asks something before it goes on, which nobody here answers";
        let failure = ToolFailure::new(code::INPUT_REQUIRED, said(why, task.message));
        Told::Ended(ToolAnswer::Failed(failure))
    }

    /// What the task came to. `failed`: it did not go well, whatever is fetched.
    async fn fetched(&self, tasks: &dyn McpTasks, failed: Option<McpTask>) -> Told {
        let result = tasks.task_result(&self.task.task, &self.tool.remote).await;
        let failed = match (failed, result) {
            (None, Ok(result)) => return Told::Ended(self.servers.answered(&result).await),
            (Some(_task), Ok(result)) if result.is_error => {
                return Told::Ended(self.servers.answered(&result).await);
            }
            (_, Err(error)) if error.retry() != Retry::No => {
                return unanswered(&error, self.has_asked);
            }
            (None, Err(error)) => return unanswered(&error, self.has_asked),
            (Some(task), _) => task,
        };
        Told::Ended(ToolAnswer::Failed(ToolFailure::new(
            code::TOOL,
            said("the task failed at its server", failed.message),
        )))
    }
}

/// The server wants to be answered first.
fn waits(task: McpTask) -> Told {
    Told::Goes {
        asks: true,
        message: task.message,
        interval: task.poll_interval,
    }
}

/// What was told of a task that wanted input. `None`: it still does.
fn changed(told: Result<McpTask, McpError>) -> Option<Result<McpTask, McpError>> {
    let is_as_before = |task: &McpTask| task.status == TaskStatus::InputRequired;
    (!told.as_ref().is_ok_and(is_as_before)).then_some(told)
}

/// A session that keeps tasks.
struct Session(Arc<dyn seaworthy_ports::mcp::McpSession>);

impl Session {
    fn tasks(&self) -> Option<&dyn McpTasks> {
        self.0.as_tasks()
    }
}

fn said(what: &str, message: Option<String>) -> String {
    match message.filter(|message| !message.trim().is_empty()) {
        Some(message) => format!("{what}: {message}"),
        None => what.to_owned(),
    }
}

/// A question about a task that has no answer. `asks`: as far as is known, the server wants something answered.
fn unanswered(error: &McpError, asks: bool) -> Told {
    match error.kind() {
        Kind::NotFound => Told::Lost("the server no longer knows the task".to_owned()),
        // It may be another thing once the server is back, or has other credentials.
        Kind::Unavailable
        | Kind::Timeout
        | Kind::Cancelled
        | Kind::Authentication
        | Kind::Permission => {
            let interval = match error.retry() {
                Retry::After(delay) => Some(delay),
                Retry::Backoff | Retry::No => None,
            };
            Told::Goes {
                asks,
                message: Some(error.to_string()),
                interval,
            }
        }
        Kind::Malformed | Kind::TooLarge => Told::Ended(ToolAnswer::Failed(ToolFailure::new(
            code::MALFORMED,
            error.to_string(),
        ))),
        Kind::InvalidArguments | Kind::Server | Kind::Unsupported | Kind::Rejected => Told::Ended(
            ToolAnswer::Failed(ToolFailure::new(code::TOOL, error.to_string())),
        ),
    }
}

impl Driver {
    /// Tells servers at addresses that nobody waits any longer for their tasks of a run that was cancelled, if they can be
    /// told in a short time.
    pub(super) async fn call_off_tasks(&self, state: &RunState) {
        if !matches!(state.outcome, Some(Outcome::Cancelled { .. })) {
            return;
        }
        let tasks: Vec<_> = deferred(state)
            .filter_map(|(_call, task, tool)| Some((task.task.clone(), tool?.server.clone())))
            .collect();
        if tasks.is_empty() {
            return;
        }
        let catalogue = state.catalogue.as_deref();
        let agent = self
            .agents
            .of(&state.submitted, catalogue, &*self.ports.models);
        let Ok(agent) = agent else { return };
        let place = Place {
            workspace: state.submitted.workspace.clone().into(),
            base_dir: state.submitted.base_dir.clone().into(),
            environment: self.settings.environment.clone(),
            // Servers that are processes are told nothing.
            sandbox: None,
        };
        let servers = Connections::on(&self.ports, state.run(), agent.servers.clone(), place);
        let telling = async {
            let told = tasks
                .iter()
                // A process that was started now would know of nothing.
                .filter(|(_task, server)| !is_process(&agent, server))
                .map(async |(task, server)| {
                    if let Ok(session) = servers.session(server).await
                        && let Some(tasks) = session.as_tasks()
                    {
                        // One that has ended meanwhile needs not be told.
                        let _ended = tasks.cancel_task(task).await;
                    }
                });
            join_all(told).await;
            servers.close().await;
        };
        let clock = &self.ports.clock;
        let late = clock.sleep_until(clock.now().plus(FAREWELL));
        select(std::pin::pin!(telling), late).await;
    }
}

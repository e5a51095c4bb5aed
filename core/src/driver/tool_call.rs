//! The tool calls of a turn: intents on record, then the calls at once, then their outcomes on record.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::FuturesUnordered;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::observer::{Execution, ServedBy, ServerLink, ToolCallOutcome};
use seaworthy_ports::sandbox::{OutputSink, SandboxSession};
use seaworthy_ports::{CallId, Latch, Timestamp};
use serde_json::Value;

use super::observed::ToolCall;
use super::{Held, Stop, mail};
use crate::agent::Agent;
use crate::descriptor::ServerTransport;
use crate::event::{Event, Resolution};
use crate::live::Live;
use crate::machine::Work;
use crate::servers::{Ask, Connections, Heard, ServedTool, media};
use crate::state::{RunState, ToolDeferred, next_poll};
use crate::tool::{SideEffect, Tool, ToolAnswer, ToolContext, ToolFailure, Verdict, code};

/// What became of one piece of work.
pub(super) enum Done {
    Event(Event),
    /// It was called off for a question, which is on record.
    CalledOff,
    /// Its server has changed the tool, and it was not called.
    Changed(Box<ServedTool>, Event),
    /// Another worker has the run.
    Fenced,
}

pub(super) struct Finished {
    /// Boxed: it is many times larger than what else may come.
    observed: Box<ToolCall>,
    duration: Duration,
    done: Done,
}

impl Held<'_> {
    /// Works on as many of `work` as run at once, and records what became of them.
    pub(super) async fn work_on(&mut self, mut work: Vec<Work>) -> Result<(), Stop> {
        let Some(agent) = self.agent().await? else {
            return Ok(());
        };
        let Some(session) = self.sandbox().await? else {
            return Ok(());
        };
        work.truncate(self.driver.settings.parallel_calls.max(1));
        let work = self.one_by_one(&agent, work);
        let servers = self.reach_servers(&agent, &work).await?;
        for one in &work {
            if let Work::Start(call) = one {
                self.writer
                    .record(Event::ToolStarted { call: call.clone() })
                    .await?;
            }
        }
        self.commit().await?;
        let running = FuturesUnordered::new();
        for one in work {
            let call = self.state().call(one.call());
            let tool = call.and_then(|call| agent.gateway.toolbox().get(&call.proposal.tool));
            match tool {
                Some(tool) => {
                    let session = Arc::clone(&session);
                    let served_by = served_by(&agent, self.state(), tool);
                    let start =
                        self.start(one, Arc::clone(tool), served_by, session, servers.clone());
                    running.push(start);
                }
                None => self.lost(&one).await?,
            }
        }
        self.gather(&agent, running).await
    }

    /// A call whose tool the agent no longer has: only a person can say what became of it.
    async fn lost(&mut self, work: &Work) -> Result<(), Stop> {
        let event = Event::ToolInDoubt {
            call: work.call().clone(),
            reason: "the agent no longer has the tool".to_owned(),
        };
        self.writer.record(event).await?;
        Ok(())
    }

    fn start(
        &mut self,
        work: Work,
        tool: Arc<dyn Tool>,
        served_by: Option<ServedBy>,
        session: Arc<dyn SandboxSession>,
        servers: Option<Arc<Connections>>,
    ) -> BoxFuture<'static, Finished> {
        let state = self.state();
        let (arguments, idempotency_key) = state
            .call(work.call())
            .map(|call| {
                (
                    call.proposal.arguments.clone(),
                    call.proposal.idempotency_key.clone(),
                )
            })
            .unwrap_or((Value::Null, String::new()));
        let definition = tool.definition();
        let observed = Box::new(self.observed.tool_call(
            work.call(),
            &definition.name,
            definition.side_effect,
            self.execution(&work),
            served_by,
            &arguments,
        ));
        let context = ToolContext {
            session,
            call: work.call().clone(),
            idempotency_key,
            base_dir: PathBuf::from(&state.submitted.base_dir),
            timeout: definition.timeout,
            cancel: self.cancel.clone(),
            on_output: Some(self.show_output(work.call())),
            trace: Some(observed.context()),
            servers,
        };
        let clock = Arc::clone(&self.driver.ports.clock);
        let asking = match &work {
            Work::Poll(call) => Some(self.asking(call, context.servers.clone())),
            _ => None,
        };
        let heard = self.heard(&work, context.servers.as_deref());
        Box::pin(async move {
            let started = clock.now();
            let done = match (asking, heard) {
                (Some(Some(asking)), heard) => asking.ask(&*clock, heard).await,
                (Some(None), _) => Done::Event(Event::ToolInDoubt {
                    call: work.call().clone(),
                    reason: "the run no longer has the server of its task".to_owned(),
                }),
                (None, None) => perform(&work, &*tool, context, arguments, &*clock, started).await,
                (None, Some((_heard, stopped))) => {
                    let working = perform(&work, &*tool, context, arguments, &*clock, started);
                    let stopped = std::pin::pin!(stopped.wait());
                    // What it came to after it was called off does not count.
                    match select(stopped, Box::pin(working)).await {
                        Either::Left(((), _working)) => Done::CalledOff,
                        Either::Right((done, _stopped)) => done,
                    }
                }
            };
            let duration = clock.now().since(started);
            Finished {
                observed,
                duration,
                done,
            }
        })
    }

    fn heard(&mut self, work: &Work, servers: Option<&Connections>) -> Option<(Heard, Latch)> {
        let server = self.server_of(work)?.clone();
        let call = self.writer.state.call(work.call())?;
        self.questions.hear(call, &server, servers?)
    }

    /// Records outcomes as they come. They are committed together, unless some keep the others waiting for long.
    async fn gather(
        &mut self,
        agent: &Agent,
        mut running: FuturesUnordered<BoxFuture<'static, Finished>>,
    ) -> Result<(), Stop> {
        enum Came {
            Finished(Option<Finished>),
            Mail(seaworthy_ports::durable_runtime::Signal),
            Asked(Ask),
            Waited,
        }
        let clock = Arc::clone(&self.driver.ports.clock);
        let mut flush_at = None;
        let mut ended = Vec::new();
        loop {
            let came = if let Some(one) = ended.pop() {
                Came::Finished(Some(one))
            } else {
                let due = async {
                    match flush_at {
                        Some(at) => clock.sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                let mail = std::pin::pin!(mail(&mut self.mail, &mut self.mail_open));
                let asked = std::pin::pin!(self.questions.next());
                let due = std::pin::pin!(due);
                match select(running.next(), select(mail, select(asked, due))).await {
                    Either::Left((finished, _rest)) => Came::Finished(finished),
                    Either::Right((Either::Left((signal, _rest)), _running)) => Came::Mail(signal),
                    Either::Right((
                        Either::Right((Either::Left((ask, _due)), _mail)),
                        _running,
                    )) => Came::Asked(ask),
                    Either::Right((Either::Right((Either::Right(_due), _mail)), _running)) => {
                        Came::Waited
                    }
                }
            };
            match came {
                Came::Finished(None) => {
                    self.questions.rest();
                    return Ok(());
                }
                Came::Finished(Some(finished)) => {
                    match finished.told() {
                        Done::Event(mut event) => {
                            media::bound(self.state(), &mut event);
                            self.writer.record(event).await?;
                        }
                        Done::Changed(now, event) => {
                            self.writer.record(Event::ToolChanged(now)).await?;
                            self.writer.record(event).await?;
                        }
                        Done::CalledOff => {}
                        Done::Fenced => return Err(Stop::TakenOver),
                    }
                    if flush_at.is_none() {
                        flush_at = Some(clock.now().plus(self.driver.settings.outcome_delay));
                    }
                }
                Came::Mail(signal) => self.hear(signal).await?,
                Came::Asked(ask) => {
                    self.hear_server(agent, ask, &mut running, &mut ended)
                        .await?;
                }
                Came::Waited => {
                    self.commit().await?;
                    flush_at = None;
                }
            }
        }
    }

    fn show_output(&self, call: &CallId) -> OutputSink {
        let (relay, run, call) = (
            self.driver.relay.clone(),
            self.state().run().clone(),
            call.clone(),
        );
        Arc::new(move |chunk| {
            let text = String::from_utf8_lossy(&chunk.bytes).into_owned();
            relay.show(
                &run,
                &Live::Output {
                    call: call.clone(),
                    stream: chunk.stream,
                    text,
                },
            );
        })
    }

    fn execution(&self, work: &Work) -> Execution {
        let is_doubtful = |call| self.state().call(call).is_some_and(|call| call.doubts > 0);
        match work {
            Work::Start(call) if is_doubtful(call) => Execution::Again,
            Work::Start(_) => Execution::First,
            Work::Repeat(_) => Execution::Again,
            Work::Verify(_) => Execution::Verify,
            Work::Poll(_) => Execution::Poll,
        }
    }
}

/// The server that the tool is of, as the run was told of its tools.
fn served_by(agent: &Agent, state: &RunState, tool: &Arc<dyn Tool>) -> Option<ServedBy> {
    let name = tool.definition().name.as_str();
    let server = &state.catalogue.as_ref()?.tools.get(name)?.server;
    let link = match agent.servers.get(server)?.transport {
        ServerTransport::Stdio { .. } => ServerLink::Stdio,
        ServerTransport::Http { .. } => ServerLink::Http,
    };
    Some(ServedBy {
        server: server.clone(),
        link,
    })
}

impl Finished {
    /// Tells the observer, and gives what became of the call.
    fn told(self) -> Done {
        let (outcome, error, result) = match &self.done {
            Done::Event(
                Event::ToolSucceeded { output, .. }
                | Event::ToolResolved {
                    resolution: Resolution::Happened { output },
                    ..
                },
            ) => (ToolCallOutcome::Succeeded, None, Some(output)),
            Done::Event(Event::ToolResolved { .. }) => (ToolCallOutcome::Succeeded, None, None),
            Done::Event(Event::ToolDeferred(_)) => (ToolCallOutcome::Deferred, None, None),
            Done::Event(Event::ToolStarted { .. }) => {
                (ToolCallOutcome::InDoubt, Some(code::TASK_LOST), None)
            }
            Done::Event(Event::ToolInDoubt { .. }) => {
                (ToolCallOutcome::InDoubt, Some("in_doubt"), None)
            }
            Done::Event(Event::ToolFailed { code, .. })
            | Done::Changed(_, Event::ToolFailed { code, .. }) => {
                (ToolCallOutcome::Failed, Some(code.as_str()), None)
            }
            Done::Event(_) | Done::Changed(..) => (ToolCallOutcome::Failed, None, None),
            Done::CalledOff => (ToolCallOutcome::Cancelled, Some("question"), None),
            Done::Fenced => (ToolCallOutcome::Cancelled, None, None),
        };
        self.observed.end(outcome, error, self.duration, result);
        self.done
    }
}

async fn perform(
    work: &Work,
    tool: &dyn Tool,
    context: ToolContext,
    arguments: Value,
    clock: &dyn Clock,
    started: Timestamp,
) -> Done {
    let call = work.call().clone();
    let definition = tool.definition();
    if matches!(work, Work::Verify(_)) {
        let reason = "the worker died while the call ran";
        return Done::Event(ask_verifier(tool, context, arguments, call, reason).await);
    }
    // Only of what must not be repeated may anything be asked afterwards.
    let for_verifier = (definition.side_effect == SideEffect::NonIdempotent)
        .then(|| (context.clone(), arguments.clone()));
    let answer = call_in_time(tool, context, arguments, clock, started).await;
    let duration_ms = u64::try_from(clock.now().since(started).as_millis()).unwrap_or(u64::MAX);
    let (failure, no_effect) = match answer {
        ToolAnswer::Succeeded(output) => {
            return Done::Event(Event::ToolSucceeded {
                call,
                output,
                duration_ms,
                media: Vec::new(),
            });
        }
        ToolAnswer::Showed(output, media) => {
            return Done::Event(Event::ToolSucceeded {
                call,
                output,
                duration_ms,
                media,
            });
        }
        ToolAnswer::FailedNoEffect(failure) => (failure, true),
        ToolAnswer::Failed(failure) => (failure, false),
        ToolAnswer::Deferred(taken) => {
            let since = started;
            let until = since.plus(taken.lasts);
            let interval = taken.task.poll_interval;
            return Done::Event(Event::ToolDeferred(Box::new(ToolDeferred {
                // What it asks it is asked for when it is time.
                asks: false,
                call,
                message: taken.task.message,
                poll_at: next_poll(since, clock.now(), interval, until),
                since,
                task: taken.task.id,
                until,
            })));
        }
        ToolAnswer::Changed(now) => {
            let message = "The server of this tool has changed it since the run began, and the call was not made. Call it \
                           again if you still need it: a person is then asked whether the change is accepted.";
            let failed = Event::ToolFailed {
                call,
                code: code::CHANGED.to_owned(),
                message: message.to_owned(),
                // Of an attempt that died before nothing is known.
                no_effect: matches!(work, Work::Start(_)),
            };
            return Done::Changed(now, failed);
        }
    };
    if failure.code == code::FENCED {
        return Done::Fenced;
    }
    if let Some((context, arguments)) = for_verifier
        && !no_effect
        && is_unknown(&failure)
    {
        let reason = format!("the call ended without an answer: {}", failure.message);
        return Done::Event(ask_verifier(tool, context, arguments, call, &reason).await);
    }
    Done::Event(Event::ToolFailed {
        call,
        code: failure.code.to_owned(),
        message: failure.message,
        no_effect,
    })
}

/// How much longer than its time a tool may take to notice that it is over.
const GRACE: Duration = Duration::from_secs(2);

/// Calls the tool. One that does not keep to its time is dropped, which kills what it started.
async fn call_in_time(
    tool: &dyn Tool,
    context: ToolContext,
    arguments: Value,
    clock: &dyn Clock,
    started: Timestamp,
) -> ToolAnswer {
    let timeout = context.timeout;
    let late = clock.sleep_until(started.plus(timeout).plus(GRACE));
    match select(tool.call(context, arguments), late).await {
        Either::Left((answer, _late)) => answer,
        Either::Right(((), _call)) => {
            let message = format!("the tool took longer than {timeout:?} and was ended");
            ToolAnswer::Failed(ToolFailure::new(code::TIMEOUT, message))
        }
    }
}

/// Whether the tool itself did not say how the call ended.
fn is_unknown(failure: &ToolFailure) -> bool {
    matches!(
        failure.code,
        code::TIMEOUT | code::SIGNAL | code::CANCELLED | code::UNAVAILABLE
    )
}

async fn ask_verifier(
    tool: &dyn Tool,
    context: ToolContext,
    arguments: Value,
    call: CallId,
    reason: &str,
) -> Event {
    if !tool.definition().verifiable {
        return Event::ToolInDoubt {
            call,
            reason: format!("{reason}, and the tool has no verifier"),
        };
    }
    let by = "verifier".to_owned();
    match tool.verify(context, arguments).await {
        Verdict::Happened(output) => Event::ToolResolved {
            call,
            resolution: Resolution::Happened { output },
            by,
        },
        Verdict::DidNotHappen => Event::ToolResolved {
            call,
            resolution: Resolution::DidNotHappen,
            by,
        },
        Verdict::Unknown(why) => Event::ToolInDoubt {
            call,
            reason: format!("{reason}, and the verifier does not know: {why}"),
        },
    }
}

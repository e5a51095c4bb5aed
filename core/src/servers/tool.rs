//! A tool of a server.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_ports::mcp::{McpCall, McpStarted, Progress, ProgressSink};
use seaworthy_ports::sandbox::{OutputChunk, OutputSink, OutputStream};
use seaworthy_ports::{TraceContext, async_trait};
use serde_json::Value;

use super::catalogue::ServedTool;
use super::result::failed;
use crate::descriptor::TaskRule;
use crate::tool::{
    Settings, TakenTask, Tool, ToolAnswer, ToolContext, ToolDefinition, ToolFailure, Verdict, code,
};

/// What a call carries beside its arguments, for servers that keep to it.
const IDEMPOTENCY_KEY: &str = "seaworthy/idempotency_key";
/// The same with the call's id.
const CALL_ID: &str = "seaworthy/call_id";

/// A tool of a server, as the run has it.
#[derive(Debug)]
pub(crate) struct Served {
    definition: ToolDefinition,
    pinned: ServedTool,
    tasks: TaskRule,
}

impl Served {
    pub(crate) fn new(pinned: ServedTool, settings: Settings, tasks: TaskRule) -> Self {
        let definition = ToolDefinition {
            name: pinned.name.clone(),
            description: pinned.description.clone(),
            input_schema: pinned.input_schema.clone(),
            side_effect: settings.side_effect,
            risk: settings.risk,
            approval: settings.approval,
            timeout: settings.timeout,
            verifiable: false,
        };
        Self {
            definition,
            pinned,
            tasks,
        }
    }

    async fn ask(&self, context: ToolContext, arguments: Value) -> Result<ToolAnswer, ToolAnswer> {
        let unavailable =
            |why: String| ToolAnswer::FailedNoEffect(ToolFailure::new(code::UNAVAILABLE, why));
        let Some(servers) = &context.servers else {
            return Err(unavailable("there are no servers here".to_owned()));
        };
        let session = servers
            .session(&self.pinned.server)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let tools = session.tools().await.map_err(|error| failed(&error))?;
        let remote = &self.pinned.remote;
        let support = match tools.iter().find(|tool| tool.remote == *remote) {
            // How a call is made is settled when it is made: what it does stays what it was.
            Some(now) if self.pinned.is_still(now) => now.task_support,
            Some(now) => {
                let now = ServedTool::of(&self.pinned.server, now);
                // What cannot be checked cannot be agreed to either.
                return Err(match now.fault() {
                    Some(why) => unavailable(format!(
                        "the server has changed the tool, and as it is now it cannot be used: {why}"
                    )),
                    None => ToolAnswer::Changed(Box::new(now)),
                });
            }
            None => {
                let why = "the server no longer has the tool";
                let failure = ToolFailure::new(code::NOT_FOUND, why);
                return Err(ToolAnswer::FailedNoEffect(failure));
            }
        };
        let call = McpCall {
            tool: remote.clone(),
            arguments,
            meta: meta(&context),
            timeout: context.timeout,
            cancel: context.cancel.clone(),
            on_progress: context.on_output.clone().map(progress),
        };
        let tasks = session.as_tasks().filter(|_| self.tasks.wants(support));
        let lasts = self.tasks.timeout;
        let started = match tasks {
            Some(tasks) => tasks.start_task(call, lasts).await,
            None => session.call(call).await.map(McpStarted::Answered),
        };
        match started {
            Ok(McpStarted::Answered(result)) => Ok(servers.answered(&result).await),
            Ok(McpStarted::Task(task)) => {
                Ok(ToolAnswer::Deferred(Box::new(TakenTask { task, lasts })))
            }
            Err(error) => Err(failed(&error)),
        }
    }
}

fn meta(context: &ToolContext) -> BTreeMap<String, Value> {
    let mut meta = BTreeMap::from([
        (
            IDEMPOTENCY_KEY.to_owned(),
            Value::String(context.idempotency_key.clone()),
        ),
        (
            CALL_ID.to_owned(),
            Value::String(context.call.as_str().to_owned()),
        ),
    ]);
    for (name, value) in context.trace.iter().flat_map(TraceContext::entries) {
        meta.insert(name.to_owned(), Value::String(value));
    }
    meta
}

/// Shows how far a call is as a line of output.
fn progress(sink: OutputSink) -> ProgressSink {
    Arc::new(move |Progress { done, total }| {
        let line = match total {
            Some(total) => format!("{done} of {total}\n"),
            None => format!("{done}\n"),
        };
        sink(&OutputChunk {
            stream: OutputStream::Stdout,
            bytes: Bytes::from(line),
        });
    })
}

#[async_trait]
impl Tool for Served {
    fn definition(&self) -> &ToolDefinition {
        &self.definition
    }

    async fn call(&self, context: ToolContext, arguments: Value) -> ToolAnswer {
        match self.ask(context, arguments).await {
            Ok(answer) | Err(answer) => answer,
        }
    }

    async fn verify(&self, _context: ToolContext, _arguments: Value) -> Verdict {
        let server = &self.pinned.server;
        Verdict::Unknown(format!(
            "the server {server} cannot be asked what became of an earlier call"
        ))
    }
}

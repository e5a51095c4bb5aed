//! The tools: one for each agent, and those that are about runs.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ContentBlock, JsonObject, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use seaworthy_core::Start;
use seaworthy_core::harness::View;
use seaworthy_core::servers::Reply;
use seaworthy_core::state::{Outcome, call_run};
use seaworthy_ports::{CallId, RunId, TraceContext};
use serde_json::{Value, json};

use crate::agents::{Agents, ServedAgent};
use crate::arguments::{
    self, Action, Answer, Await, Begin, Decide, End, InvalidArguments, MAX_INPUT_BYTES,
    MAX_REASON_BYTES, Which,
};
use crate::failure::Failure;
use crate::http::Caller;
use crate::report::{Report, cut};
use crate::server::{AgentServer, ServerSettings};
use crate::wait::Waiter;

const STATUS: &str = "run_status";
const WAIT: &str = "run_wait";
const CANCEL: &str = "run_cancel";
const APPROVE: &str = "run_approve";
const DENY: &str = "run_deny";
const ANSWER: &str = "run_answer";
/// What agents cannot be called.
pub(crate) const RUN_TOOLS: [&str; 6] = [STATUS, WAIT, CANCEL, APPROVE, DENY, ANSWER];
/// How much of an agent's instructions its tool's description has.
const MAX_ABOUT_BYTES: usize = 500;

fn schema(value: Value) -> Arc<JsonObject> {
    match value {
        Value::Object(object) => Arc::new(object),
        _ => Arc::default(),
    }
}

fn takes(required: &[&str], properties: Value) -> Arc<JsonObject> {
    schema(json!({
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    }))
}

/// Every tool, as clients see them.
pub(crate) fn tools(agents: &Agents, settings: &ServerSettings) -> Vec<Tool> {
    let run_id = json!({ "type": "string", "description": "The run's id" });
    let wait_seconds = json!({
        "type": "integer",
        "minimum": 0,
        "maximum": settings.longest_wait.as_secs(),
        "description": format!(
            "How long to wait for the run at most; it goes on all the same. Default: {}",
            settings.usual_wait.as_secs()
        ),
    });
    let reason = json!({ "type": "string", "maxLength": MAX_REASON_BYTES, "description": "Why" });
    let approval_id = json!({
        "type": "string",
        "description": "The approval's id, as the run's status shows it",
    });
    let report = schema(Report::schema());
    let hints = |read_only: bool, destructive: bool, idempotent: bool, open_world: bool| {
        ToolAnnotations::new()
            .read_only(read_only)
            .destructive(destructive)
            .idempotent(idempotent)
            .open_world(open_world)
    };
    let mut tools: Vec<Tool> = agents
        .iter()
        .map(|(name, agent)| {
            let properties = json!({
                "input": { "type": "string", "maxLength": MAX_INPUT_BYTES, "description": "What to ask the agent" },
                "run_id": {
                    "type": "string",
                    "description": "An id of your own for the run: the same call made again then finds the run and never starts a second one. Default: a new one with each call",
                },
                "session": { "type": "string", "description": "The session whose conversation the run continues" },
                "wait_seconds": wait_seconds,
            });
            Tool::new(name.to_owned(), about(name, agent), takes(&["input"], properties))
                .with_title(format!("Run agent {name}"))
                .with_annotations(hints(false, true, false, true))
        })
        .collect();
    tools.push(
        Tool::new(
            STATUS,
            "Says how a run stands, at once.",
            takes(&["run_id"], json!({ "run_id": run_id })),
        )
        .with_title("How a run stands")
        .with_annotations(hints(true, false, true, false)),
    );
    tools.push(
        Tool::new(
            WAIT,
            "Waits until a run has ended or needs a person, or the time is up, and says how it stands. The run goes on whether or not anybody waits.",
            takes(
                &["run_id"],
                json!({ "run_id": run_id, "wait_seconds": wait_seconds }),
            ),
        )
        .with_title("Wait for a run")
        .with_annotations(hints(true, false, true, false)),
    );
    tools.push(
        Tool::new(
            CANCEL,
            "Ends a run for good, at once, wherever it is being worked on. What its tools did so far stays done.",
            takes(&["run_id"], json!({ "run_id": run_id, "reason": reason })),
        )
        .with_title("End a run")
        .with_annotations(hints(false, true, true, false)),
    );
    if settings.decides {
        let properties = json!({
            "approval_id": approval_id,
            "reason": reason,
            "wait_seconds": wait_seconds,
        });
        tools.push(
            Tool::new(
                APPROVE,
                "Approves one call that a run waits to make, once and for exactly the arguments shown. The call then happens. Only for a person who has seen what it does: ask them first.",
                takes(&["approval_id"], properties.clone()),
            )
            .with_title("Approve a call")
            .with_annotations(hints(false, true, false, true)),
        );
        tools.push(
            Tool::new(
                DENY,
                "Denies one call that a run waits to make. The agent is told so, with the reason, and goes on without it.",
                takes(&["approval_id"], properties),
            )
            .with_title("Deny a call")
            .with_annotations(hints(false, false, false, false)),
        );
        let properties = json!({
            "question_id": { "type": "string", "description": "The question's id, as the run's status shows it" },
            "action": {
                "type": "string",
                "enum": ["accept", "decline", "dismiss"],
                "description": "Answer with `content`, or let the model be called; say no; or neither",
            },
            "content": {
                "type": "object",
                "description": "The answer, with the schema that the question shows; only for a question that wants input",
            },
            "wait_seconds": wait_seconds,
        });
        tools.push(
            Tool::new(
                ANSWER,
                "Answers what a server of the agent's tools wants to know before it goes on. Only with what a person said: ask them first.",
                takes(&["question_id", "action"], properties),
            )
            .with_title("Answer a question")
            .with_annotations(hints(false, true, false, true)),
        );
    }
    tools
        .into_iter()
        .map(|tool| tool.with_raw_output_schema(Arc::clone(&report)))
        .collect()
}

fn about(name: &str, agent: &ServedAgent) -> String {
    let instructions = cut(Agents::instructions(agent).trim(), MAX_ABOUT_BYTES);
    format!(
        "Starts a durable run of agent {name} and waits for it for a while. If it takes longer, or needs a person's approval, the result says how to go on; the run is never lost. The agent's instructions: {instructions}"
    )
}

impl AgentServer {
    pub(crate) async fn call(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let name: &str = &request.name;
        let arguments = request.arguments;
        let _place = match self.place() {
            Ok(place) => place,
            Err(busy) => return Ok(busy.into_result()),
        };
        let done = match name {
            STATUS => self.status(arguments).await,
            WAIT => self.wait(arguments, context).await,
            CANCEL => self.cancel(arguments, context).await,
            APPROVE if self.settings().decides => self.decide(arguments, true, context).await,
            DENY if self.settings().decides => self.decide(arguments, false, context).await,
            ANSWER if self.settings().decides => self.answer(arguments, context).await,
            _ => match self.agents().get(name) {
                Some(agent) => self.begin(agent, arguments, context).await,
                None => {
                    let why = "there is no tool of that name; `tools/list` has those there are";
                    return Err(ErrorData::invalid_params(why, None));
                }
            },
        };
        Ok(done.unwrap_or_else(Failure::into_result))
    }

    async fn begin(
        &self,
        agent: &ServedAgent,
        arguments: Option<JsonObject>,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Failure> {
        let begin: Begin = arguments::read(arguments)?;
        let longest = self.wait_time(begin.wait_seconds)?;
        let settings = self.settings();
        let start = Start {
            run: begin.run_id.as_deref().map(arguments::run_id).transpose()?,
            descriptor: agent.descriptor.clone(),
            input: arguments::input(begin.input)?,
            files: Vec::new(),
            session: begin
                .session
                .as_deref()
                .map(arguments::session_id)
                .transpose()?,
            workspace: settings.workspace.clone(),
            base_dir: agent.base_dir.clone(),
            grants_all: None,
            queue: settings.queue.clone(),
            trace: trace(context),
        };
        let started = self.harness().start(start).await?;
        let view = self.waiter(context).settle(&started.run, longest).await?;
        Ok(told(&view, true))
    }

    async fn status(&self, arguments: Option<JsonObject>) -> Result<CallToolResult, Failure> {
        let which: Which = arguments::read(arguments)?;
        let run = arguments::run_id(&which.run_id)?;
        Ok(told(&self.view(&run).await?, false))
    }

    async fn wait(
        &self,
        arguments: Option<JsonObject>,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Failure> {
        let wait: Await = arguments::read(arguments)?;
        let run = arguments::run_id(&wait.run_id)?;
        let longest = self.wait_time(wait.wait_seconds)?;
        self.view(&run).await?;
        let view = self.waiter(context).settle(&run, longest).await?;
        Ok(told(&view, false))
    }

    async fn cancel(
        &self,
        arguments: Option<JsonObject>,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Failure> {
        let end: End = arguments::read(arguments)?;
        let run = arguments::run_id(&end.run_id)?;
        let reason = arguments::reason(end.reason)?;
        self.view(&run).await?;
        self.harness()
            .cancel(&run, &caller(context), reason)
            .await?;
        Ok(told(&self.view(&run).await?, false))
    }

    async fn decide(
        &self,
        arguments: Option<JsonObject>,
        granted: bool,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Failure> {
        let decide: Decide = arguments::read(arguments)?;
        let approval = arguments::approval_id(&decide.approval_id)?;
        let reason = arguments::reason(decide.reason)?;
        let longest = self.wait_time(decide.wait_seconds)?;
        let run = run_of(&approval, "approval")?;
        self.view(&run).await?;
        let by = caller(context);
        self.harness()
            .decide(&approval, granted, &by, reason)
            .await?;
        let view = self.waiter(context).settle(&run, longest).await?;
        Ok(told(&view, false))
    }

    async fn answer(
        &self,
        arguments: Option<JsonObject>,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Failure> {
        let answer: Answer = arguments::read(arguments)?;
        let call = arguments::approval_id(&answer.question_id)?;
        let reply = match (answer.action, answer.content) {
            (Action::Accept, Some(content)) => Reply::Given { content },
            (Action::Accept, None) => Reply::Granted,
            (Action::Decline, None) => Reply::Declined,
            (Action::Dismiss, None) => Reply::Dismissed,
            (Action::Decline | Action::Dismiss, Some(_)) => {
                let why = "`content` goes with `accept` alone";
                return Err(InvalidArguments(why.to_owned()).into());
            }
        };
        let longest = self.wait_time(answer.wait_seconds)?;
        let run = run_of(&call, "question")?;
        self.view(&run).await?;
        self.harness()
            .answer(&call, reply, &caller(context))
            .await?;
        let view = self.waiter(context).settle(&run, longest).await?;
        Ok(told(&view, false))
    }

    fn waiter<'a>(&'a self, context: &'a RequestContext<RoleServer>) -> Waiter<'a> {
        Waiter {
            harness: self.harness(),
            context,
            stop: self.stop(),
        }
    }

    fn wait_time(&self, seconds: Option<u32>) -> Result<Duration, InvalidArguments> {
        let settings = self.settings();
        let Some(seconds) = seconds else {
            return Ok(settings.usual_wait);
        };
        let longest = settings.longest_wait.as_secs();
        if u64::from(seconds) > longest {
            return Err(InvalidArguments(format!(
                "`wait_seconds` is at most {longest}; wait again if the run takes longer"
            )));
        }
        Ok(Duration::from_secs(seconds.into()))
    }
}

/// The run of what a person is asked.
fn run_of(id: &CallId, what: &str) -> Result<RunId, InvalidArguments> {
    call_run(id).ok_or_else(|| {
        InvalidArguments(format!(
            "{id} is no {what}; `run_status` lists those that a run waits for"
        ))
    })
}

/// The result of a tool. Whoever had an agent do something was failed where the run was; whoever only asked got an answer.
fn told(view: &View, is_the_agents: bool) -> CallToolResult {
    let has_failed = matches!(
        view.state.outcome,
        Some(Outcome::Failed { .. } | Outcome::Cancelled { .. })
    );
    let report = serde_json::to_value(Report::of(view)).unwrap_or_default();
    let mut result = CallToolResult::success(vec![ContentBlock::text(report.to_string())]);
    result.structured_content = Some(report);
    result.is_error = Some(is_the_agents && has_failed);
    result
}

/// Who calls, for the record: the subject of its token, else what the client says of itself.
fn caller(context: &RequestContext<RoleServer>) -> String {
    let http = context.extensions.get::<http::request::Parts>();
    if let Some(caller) = http.and_then(|parts| parts.extensions.get::<Caller>()) {
        return caller.on_record();
    }
    // A client over HTTP that only introduced itself in another request is not known here.
    let client = if http.is_some() {
        context.meta.client_info()
    } else {
        context.client_info()
    };
    let name: String = client
        .map(|client| client.name)
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(64)
        .collect();
    if name.is_empty() {
        "an MCP client".to_owned()
    } else {
        format!("MCP client {name}")
    }
}

/// The span that the client works in. One that cannot be read is none.
fn trace(context: &RequestContext<RoleServer>) -> Option<TraceContext> {
    let parent = context.meta.get_traceparent()?;
    TraceContext::parse(parent, context.meta.get_tracestate()).ok()
}

//! MC-8: calls that become tasks.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_ports::Effect;
use seaworthy_ports::mcp::{
    Kind, MAX_TASK_MESSAGE_BYTES, McpError, McpSession, McpStarted, McpTask, McpTasks, TaskId,
    TaskStatus, TaskSupport,
};
use serde_json::json;

use super::Harness;
use super::script::{STATELESS_PROTOCOL, Seen, Task};
use super::scripts::{LEFT_ALONE, SAID, researched};
use super::stage::{CANARY, LONG, Stage, call, fails, is_usable, made};
use crate::outcome::{Halt, Outcome, broken, declared, holds, ok, refused, same, within};

/// The part of `session` that keeps tasks.
pub(super) fn tasks<'a, H: Harness>(
    stage: &Stage<H>,
    session: &'a Arc<dyn McpSession>,
) -> Result<&'a dyn McpTasks, Halt> {
    let is_declared = stage.harness.mcp().capabilities().tasks;
    match session.as_tasks() {
        Some(tasks) => Ok(tasks),
        None if is_declared => Err(broken(
            "asked a session for its tasks",
            "them, as the adapter declares them",
            "nothing",
        )),
        None => Err(Halt::NotDeclared {
            capability: "tasks",
            reason: "its sessions have no tasks",
        }),
    }
}

pub(super) fn named(tool: &str) -> Result<TaskId, Halt> {
    let did = "made the name of a task";
    TaskId::new(Task::name(tool)).map_err(|error| broken(did, "one", error))
}

async fn started(tasks: &dyn McpTasks, tool: &str) -> Result<Result<McpStarted, McpError>, Halt> {
    let did = format!("called {tool} as a task");
    within(&did, tasks.start_task(call(tool, json!({})), LONG)).await
}

pub(super) async fn begun(tasks: &dyn McpTasks, tool: &str) -> Result<McpTask, Halt> {
    let did = format!("called {tool} as a task");
    match ok(did.clone(), started(tasks, tool).await?)? {
        McpStarted::Task(task) => Ok(task),
        McpStarted::Answered(answer) => Err(broken(did, "a task", answer)),
    }
}

pub(super) async fn asked(
    tasks: &dyn McpTasks,
    id: &TaskId,
) -> Result<Result<McpTask, McpError>, Halt> {
    within("asked after a task", tasks.task(id)).await
}

/// Where the task stands, asked twice.
async fn comes_to(tasks: &dyn McpTasks, tool: &str, status: TaskStatus) -> Result<TaskId, Halt> {
    let task = begun(tasks, tool).await?;
    for expected in [TaskStatus::Working, status] {
        let did = format!("asked after the task of {tool}");
        let told = ok(did.clone(), asked(tasks, &task.id).await?)?;
        same(did, told.status, expected)?;
    }
    Ok(task.id)
}

/// MC-8.
pub async fn a_call_becomes_a_task_that_is_asked_after_and_fetched<H: Harness>(
    harness: H,
) -> Outcome {
    let is_declared = harness.mcp().capabilities().tasks;
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    let outcome = async {
        let tasks = tasks(&stage, &session)?;
        let task = begun(tasks, "research").await?;
        let did = "called a tool as a task";
        same(did, task.status, TaskStatus::Working)?;
        same(did, task.message.as_deref(), Some(SAID))?;
        let left_alone = Duration::from_secs_f64(LEFT_ALONE / 1000.0);
        same(did, task.poll_interval, Some(left_alone))?;
        let expected = [TaskStatus::Working, TaskStatus::Completed];
        for status in expected {
            let told = ok("asked after a task", asked(tasks, &task.id).await?)?;
            holds(
                told.id == task.id && told.status == status,
                "asked after a task",
                format!("the same task, {status:?}"),
                told.status,
            )?;
        }
        let did = "fetched what a task came to";
        let result = within(did, tasks.task_result(&task.id, "research")).await?;
        same(did, ok(did, result)?, researched())?;
        stage.called("research", 1)?;
        is_usable(&session, "a task").await
    };
    declared("tasks", is_declared, outcome.await)
}

/// MC-8.
pub async fn a_task_is_known_to_every_session<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let first = stage.session().await?;
    let task = begun(tasks(&stage, &first)?, "kept").await?;
    ok("closed a session", first.close().await)?;
    let second = stage.session().await?;
    let tasks = tasks(&stage, &second)?;
    let did = "asked another session after a task";
    let told = ok(did, asked(tasks, &task.id).await?)?;
    same(did, told.status, TaskStatus::Completed)?;
    let did = "fetched what a task came to over another session";
    let result = within(did, tasks.task_result(&task.id, "kept")).await?;
    same(did, ok(did, result)?, researched())?;
    stage.called("kept", 1)
}

/// MC-8.
pub async fn a_server_may_answer_at_once_instead<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    let did = "called a tool as a task that is answered at once";
    match ok(did, started(tasks(&stage, &session)?, "at_once").await?)? {
        McpStarted::Answered(answer) => same(did, answer, researched())?,
        McpStarted::Task(task) => return Err(broken(did, "the answer", task)),
    }
    stage.called("at_once", 1)
}

async fn supports<H: Harness>(harness: H, script: &str, expected: [TaskSupport; 3]) -> Outcome {
    let stage = Stage::of(harness, script).await?;
    let session = stage.session().await?;
    tasks(&stage, &session)?;
    let did = format!("listed the tools of the server {script}");
    let listed = ok(did.clone(), within(&did, session.tools()).await?)?;
    let said = ["echo", "research", "at_once"].map(|name| {
        let tool = listed.iter().find(|tool| tool.remote == name);
        tool.map(|tool| tool.task_support)
    });
    same(did, said, expected.map(Some))
}

/// MC-8.
pub async fn tools_say_whether_their_calls_become_tasks<H: Harness>(harness: H) -> Outcome {
    use TaskSupport::{Forbidden, Optional, Required, ServerDecides};
    let expected = if harness.protocol() == STATELESS_PROTOCOL {
        [ServerDecides; 3]
    } else {
        [Forbidden, Required, Optional]
    };
    supports(harness, "tasks", expected).await
}

/// MC-8.
pub async fn a_server_that_does_not_say_that_it_keeps_tasks_has_none<H: Harness>(
    harness: H,
) -> Outcome {
    supports(harness, "undeclared", [TaskSupport::Forbidden; 3]).await
}

/// MC-8.
pub async fn a_tool_without_tasks_is_not_called_as_one<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    let did = "called a tool as a task that has none";
    let answer = started(tasks(&stage, &session)?, "echo").await?;
    if stage.harness.protocol() == STATELESS_PROTOCOL {
        // The server was left to decide, and it never does.
        let answered = ok(did, answer)?;
        let is_answer = matches!(answered, McpStarted::Answered(_));
        holds(is_answer, did, "the answer", answered)?;
        return stage.called("echo", 1);
    }
    let seen = answer.map_err(|error| (error.kind(), error.effect()));
    holds(
        seen.as_ref().err() == Some(&(Kind::Unsupported, Effect::None)),
        did,
        "Unsupported without effect",
        seen,
    )?;
    stage.called("echo", 0)
}

/// MC-8.
pub async fn a_tool_that_only_has_tasks_is_not_called_otherwise<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    tasks(&stage, &session)?;
    let answer = made(&session, call("research", json!({}))).await?;
    let did = "called a tool that only has tasks";
    fails(did, answer, &[Kind::Unsupported], Effect::None)?;
    is_usable(&session, "a call that must be a task").await
}

/// MC-8.
pub async fn a_task_that_nobody_knows_is_not_found<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    let tasks = tasks(&stage, &session)?;
    let nobody = named("nobody")?;
    refused(
        "asked after a task that nobody knows",
        asked(tasks, &nobody).await?,
        Kind::NotFound,
    )?;
    let did = "fetched what a task came to that nobody knows";
    let fetched = within(did, tasks.task_result(&nobody, "research")).await?;
    refused(did, fetched, Kind::NotFound)?;
    let did = "ended a task that nobody knows";
    refused(
        did,
        within(did, tasks.cancel_task(&nobody)).await?,
        Kind::NotFound,
    )?;
    is_usable(&session, "tasks that nobody knows").await
}

async fn malformed<H: Harness>(harness: H, tool: &str) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    let tasks = tasks(&stage, &session)?;
    let task = begun(tasks, tool).await?;
    let did = format!("asked after the task of {tool}");
    let answer = asked(tasks, &task.id).await?;
    if let Err(error) = &answer {
        holds(
            !error.to_string().contains(CANARY),
            did.clone(),
            "an error that quotes nothing",
            error,
        )?;
    }
    refused(did, answer, Kind::Malformed)?;
    is_usable(&session, "an answer that breaks the protocol").await
}

/// MC-8.
pub async fn an_answer_about_another_task_is_malformed<H: Harness>(harness: H) -> Outcome {
    malformed(harness, "another").await
}

/// MC-8.
pub async fn a_status_that_nobody_knows_is_malformed<H: Harness>(harness: H) -> Outcome {
    malformed(harness, "garbage").await
}

/// MC-8.
pub async fn a_task_without_a_usable_name_is_malformed<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    let tasks = tasks(&stage, &session)?;
    for tool in ["nameless", "endless"] {
        let did = format!("called {tool} as a task");
        let answer = started(tasks, tool).await?;
        let seen = answer.map_err(|error| (error.kind(), error.effect()));
        holds(
            seen.as_ref().err() == Some(&(Kind::Malformed, Effect::Unknown)),
            did,
            "Malformed with unknown effect",
            seen,
        )?;
        stage.called(tool, 1)?;
    }
    is_usable(&session, "a task without a name").await
}

/// MC-8.
pub async fn a_task_that_nobody_asked_for_is_malformed<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    tasks(&stage, &session)?;
    let answer = made(&session, call("unasked", json!({}))).await?;
    let did = "called a tool that begins a task unasked";
    fails(did, answer, &[Kind::Malformed], Effect::Unknown)?;
    is_usable(&session, "a task that nobody asked for").await
}

/// MC-8.
pub async fn a_task_is_ended<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    let tasks = tasks(&stage, &session)?;
    let task = begun(tasks, "works").await?;
    let did = "ended a task";
    let ended = ok(did, within(did, tasks.cancel_task(&task.id)).await?)?;
    same(did, ended.status, TaskStatus::Cancelled)?;
    stage.until(&Seen::CalledOff("works".to_owned()), 1).await?;
    let did = "asked after a task that was ended";
    let told = ok(did, asked(tasks, &task.id).await?)?;
    same(did, told.status, TaskStatus::Cancelled)
}

/// MC-8.
pub async fn a_task_that_failed_says_how<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    let tasks = tasks(&stage, &session)?;
    // Without `initialize`, a task whose tool failed is completed like any other.
    let status = match stage.harness.protocol() {
        STATELESS_PROTOCOL => TaskStatus::Completed,
        _ => TaskStatus::Failed,
    };
    let failed = comes_to(tasks, "fails", status).await?;
    let did = "fetched what a task came to whose tool failed";
    let result = ok(did, within(did, tasks.task_result(&failed, "fails")).await?)?;
    holds(result.is_error, did, "a failure of the tool's", &result)?;
    let broke = comes_to(tasks, "breaks", TaskStatus::Failed).await?;
    let did = "fetched what a task came to whose server failed";
    let result = within(did, tasks.task_result(&broke, "breaks")).await?;
    refused(did, result, Kind::Server)
}

/// MC-8.
pub async fn a_task_stands_where_the_server_says<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    let tasks = tasks(&stage, &session)?;
    let stands = [
        ("asks", TaskStatus::InputRequired),
        ("is_cancelled", TaskStatus::Cancelled),
        ("works", TaskStatus::Working),
    ];
    for (tool, status) in stands {
        comes_to(tasks, tool, status).await?;
    }
    Ok(())
}

/// MC-8.
pub async fn data_of_a_task_that_do_not_fit_are_malformed<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    let tasks = tasks(&stage, &session)?;
    let task = comes_to(tasks, "miscounts", TaskStatus::Completed).await?;
    let did = "fetched what a task came to, which does not fit the tool's schema";
    let result = within(did, tasks.task_result(&task, "miscounts")).await?;
    refused(did, result, Kind::Malformed)
}

/// MC-8.
pub async fn what_is_said_of_a_task_is_bounded<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    let tasks = tasks(&stage, &session)?;
    let task = begun(tasks, "long").await?;
    let did = "asked after a task that says too much";
    let told = ok(did, asked(tasks, &task.id).await?)?;
    for told in [task, told] {
        let bytes = told.message.map_or(0, |message| message.len());
        holds(
            (1..=MAX_TASK_MESSAGE_BYTES).contains(&bytes),
            did,
            format!("1 to {MAX_TASK_MESSAGE_BYTES} bytes"),
            bytes,
        )?;
        holds(
            told.poll_interval > Some(Duration::from_secs(1_000_000)),
            did,
            "a long time to be left alone",
            told.poll_interval,
        )?;
    }
    Ok(())
}

//! Calls that a server keeps as tasks: as the protocol version 2025-11-25 has them, and as the extension of 2026-07-28 has
//! them that took their place (`extension`).

mod extension;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use seaworthy_ports::mcp::{
    McpCall, McpCallResult, McpError, McpStarted, McpTask, McpTasks, TaskId, TaskStatus,
    TaskSupport, task_message,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::answers;
use crate::connection::Connection;
use crate::error::{Fault, INVALID_PARAMS};
use crate::session::{self, Session};

const UNKNOWN: Fault = Fault::NotFound("the server knows no such task");

/// What a call carries that is to become a task.
#[derive(Serialize)]
pub(crate) struct Wanted {
    ttl: u64,
}

impl Wanted {
    pub(crate) fn new(ttl: Duration) -> Self {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self { ttl }
    }
}

/// What a tool says of its execution.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Execution {
    #[serde(default)]
    task_support: Option<String>,
}

impl Execution {
    /// A word that is not known promises nothing.
    pub(crate) fn support(&self) -> TaskSupport {
        match self.task_support.as_deref() {
            Some("optional") => TaskSupport::Optional,
            Some("required") => TaskSupport::Required,
            _ => TaskSupport::Forbidden,
        }
    }
}

/// Whether the server that said this keeps calls of tools as tasks.
pub(crate) fn are_kept(initialized: &[u8]) -> bool {
    let said: Option<Value> = serde_json::from_slice(initialized).ok();
    said.is_some_and(|said| {
        said.pointer("/capabilities/tasks/requests/tools/call")
            .is_some_and(Value::is_object)
    })
}

/// A task, as servers write it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    task_id: String,
    status: Status,
    #[serde(default)]
    status_message: Option<String>,
    #[serde(default)]
    ttl: Option<f64>,
    #[serde(default)]
    poll_interval: Option<f64>,
    // The extension has its own words for the two.
    #[serde(default)]
    ttl_ms: Option<f64>,
    #[serde(default)]
    poll_interval_ms: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

/// The answer to a call that may have become a task.
#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    task: Option<Task>,
}

/// A server may write any number.
fn millis(said: f64) -> Option<Duration> {
    if said < 0.0 {
        return None;
    }
    Some(Duration::try_from_secs_f64(said / 1000.0).unwrap_or(Duration::MAX))
}

impl Task {
    fn read(self) -> Result<McpTask, Fault> {
        let id = TaskId::new(self.task_id)
            .map_err(|_invalid| Fault::Malformed("the server's task has no usable name"))?;
        Ok(McpTask {
            id,
            status: match self.status {
                Status::Working => TaskStatus::Working,
                Status::InputRequired => TaskStatus::InputRequired,
                Status::Completed => TaskStatus::Completed,
                Status::Failed => TaskStatus::Failed,
                Status::Cancelled => TaskStatus::Cancelled,
            },
            message: self.status_message.as_deref().map(task_message),
            poll_interval: self
                .poll_interval_ms
                .or(self.poll_interval)
                .and_then(millis),
            ttl: self.ttl_ms.or(self.ttl).and_then(millis),
        })
    }
}

/// The task that an answer to a call names, if it names one.
pub(crate) fn created(answer: &[u8], is_stateless: bool) -> Result<Option<McpTask>, Fault> {
    if is_stateless {
        return extension::created(answer);
    }
    let created: Created = answers::read(answer)?;
    created.task.map(Task::read).transpose()
}

/// What was asked about a task. Servers say of one that they do not know that the parameters are wrong.
fn known(fault: Fault) -> Fault {
    match fault {
        Fault::Refused(INVALID_PARAMS) => UNKNOWN,
        fault => fault,
    }
}

/// What a server says of the task `id`.
fn told(answer: &[u8], id: &TaskId) -> Result<McpTask, Fault> {
    let task: Task = answers::read(answer)?;
    let task = task.read()?;
    if task.id == *id {
        Ok(task)
    } else {
        Err(Fault::Malformed(
            "the server's answer is about another task",
        ))
    }
}

/// Asks something about a task.
async fn ask(
    connection: &Connection,
    method: &'static str,
    id: &TaskId,
    until: Instant,
) -> Result<Bytes, Fault> {
    let answer = session::asked(connection, method, &json!({"taskId": id}), until).await;
    answer.map_err(known)
}

impl Session {
    async fn asked_after(&self, id: &TaskId) -> Result<McpTask, Fault> {
        let answer = self.ask("tasks/get", json!({"taskId": id})).await;
        told(&answer.map_err(known)?, id)
    }

    /// Has what the server asks answered. Where it asks on a connection, the answer to the request is not looked at: it is
    /// that of the task, and fetched when the task has ended.
    async fn listened(&self, id: &TaskId, within: Duration) -> Result<(), Fault> {
        // No task lasts so long.
        const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
        let until = Instant::now() + within.min(LONGEST);
        self.with(|connection| {
            Box::pin(async move {
                if connection.is_stateless() {
                    return extension::answer(&connection, id, until).await;
                }
                let answer = ask(&connection, "tasks/result", id, until).await;
                answer.map(|_answer| ())
            })
        })
        .await
    }

    async fn fetched(&self, id: &TaskId, tool: &str) -> Result<McpCallResult, Fault> {
        let until = self.until();
        let fetched = self.with(|connection| {
            Box::pin(async move {
                if connection.is_stateless() {
                    return extension::result(&connection, id, until).await;
                }
                answers::read(&ask(&connection, "tasks/result", id, until).await?)
            })
        });
        let result = answers::called(fetched.await?)?;
        if !result.is_error {
            self.promised(tool, result.structured.as_ref()).await?;
        }
        Ok(result)
    }

    async fn called_off(&self, id: &TaskId) -> Result<McpTask, Fault> {
        let until = self.until();
        self.with(|connection| {
            Box::pin(async move {
                if connection.is_stateless() {
                    return extension::cancel(&connection, id, until).await;
                }
                told(&ask(&connection, "tasks/cancel", id, until).await?, id)
            })
        })
        .await
    }
}

#[async_trait]
impl McpTasks for Session {
    async fn start_task(&self, call: McpCall, ttl: Duration) -> Result<McpStarted, McpError> {
        let was_sent = AtomicBool::new(false);
        let started = self.place(&call, Some(ttl), &was_sent).await;
        started.map_err(|fault| fault.into_error("start_task", was_sent.load(Ordering::Relaxed)))
    }

    async fn task(&self, id: &TaskId) -> Result<McpTask, McpError> {
        let task = self.asked_after(id).await;
        task.map_err(|fault| fault.into_error("task", false))
    }

    async fn task_result(&self, id: &TaskId, tool: &str) -> Result<McpCallResult, McpError> {
        let result = self.fetched(id, tool).await;
        result.map_err(|fault| fault.into_error("task_result", false))
    }

    async fn task_input(&self, id: &TaskId, within: Duration) -> Result<(), McpError> {
        let heard = self.listened(id, within).await;
        heard.map_err(|fault| fault.into_error("task_input", false))
    }

    async fn cancel_task(&self, id: &TaskId) -> Result<McpTask, McpError> {
        let task = self.called_off(id).await;
        task.map_err(|fault| fault.into_error("cancel_task", true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(said: &Value) -> Result<McpTask, Fault> {
        created(json!({"task": said}).to_string().as_bytes(), false).map(Option::unwrap)
    }

    #[test]
    fn any_number_is_a_time() {
        let said = |ttl: Value, poll: Value| {
            let said =
                json!({"taskId": "a", "status": "working", "ttl": ttl, "pollInterval": poll});
            let task = task(&said).unwrap();
            (task.ttl, task.poll_interval)
        };
        assert_eq!(said(Value::Null, Value::Null), (None, None));
        assert_eq!(said(json!(-1), json!(0)), (None, Some(Duration::ZERO)));
        assert_eq!(
            said(json!(1.5), json!(1e300)),
            (Some(Duration::from_micros(1500)), Some(Duration::MAX))
        );
    }

    #[test]
    fn what_is_no_task_is_malformed() {
        for said in [
            json!({}),
            json!({"taskId": "", "status": "working"}),
            json!({"taskId": 7, "status": "working"}),
            json!({"taskId": "a", "status": "resting"}),
            json!({"taskId": "a", "status": "working", "pollInterval": "soon"}),
        ] {
            assert!(matches!(task(&said), Err(Fault::Malformed(_))), "{said}");
        }
    }

    #[test]
    fn a_server_keeps_tasks_of_calls_only_if_it_says_so() {
        let said = |tasks: Value| {
            are_kept(
                json!({"capabilities": {"tasks": tasks}})
                    .to_string()
                    .as_bytes(),
            )
        };
        assert!(said(json!({"requests": {"tools": {"call": {}}}})));
        assert!(!said(
            json!({"requests": {"sampling": {"createMessage": {}}}})
        ));
        assert!(!said(Value::Null));
        assert!(!are_kept(b"{}"));
    }
}

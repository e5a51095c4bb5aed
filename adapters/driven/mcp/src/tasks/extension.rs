//! Tasks as the extension `io.modelcontextprotocol/tasks` of the protocol version 2026-07-28 has them (SEP-2663): the server
//! alone decides which calls become one, `tasks/get` tells everything about it, and `tasks/update` answers what it asks.

use std::collections::BTreeMap;
use std::time::Duration;

use rmcp::model as wire;
use seaworthy_ports::mcp::{McpTask, TaskId};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{Status, Task, ask, known, told};
use crate::answers;
use crate::connection::Connection;
use crate::error::Fault;
use crate::modern::{self, Judged};
use crate::rounds::{self, Asked};
use crate::session;

/// How often a server is asked whether a task has ended that it was told to end, and how long it is left alone before each
/// time but the first.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// What a server says of a task beside what it says of every one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    status: Status,
    #[serde(borrow, default)]
    input_requests: BTreeMap<String, Asked<'a>>,
    #[serde(default)]
    result: Option<wire::CallToolResult>,
    #[serde(default)]
    error: Option<Broken>,
}

/// Why a task has no result.
#[derive(Deserialize)]
struct Broken {
    code: i64,
}

const UNREADABLE: Fault = Fault::Malformed("what the server tells of the task cannot be read");

fn detail(answer: &[u8]) -> Result<Detail<'_>, Fault> {
    serde_json::from_slice(answer).map_err(|_error| UNREADABLE)
}

/// The task that an answer to a call is, if it is one.
pub(super) fn created(answer: &[u8]) -> Result<Option<McpTask>, Fault> {
    if modern::judged(answer, true)? != Judged::Task {
        return Ok(None);
    }
    let task: Task = answers::read(answer)?;
    task.read().map(Some)
}

/// Has answered what the server asks before it goes on, and tells it all answers together: it need not take some of them.
/// Those that it has already it passes over.
pub(super) async fn answer(
    connection: &Connection,
    id: &TaskId,
    until: Instant,
) -> Result<(), Fault> {
    let answer = ask(connection, "tasks/get", id, until).await?;
    told(&answer, id)?;
    let Detail {
        status: Status::InputRequired,
        input_requests,
        ..
    } = detail(&answer)?
    else {
        return Ok(());
    };
    let answers = rounds::answers(connection, input_requests, Some(id), until).await?;
    if answers.is_empty() {
        return Ok(());
    }
    let params = json!({"taskId": id, "inputResponses": answers});
    let taken = session::asked(connection, "tasks/update", &params, until).await;
    taken.map(|_nothing| ()).map_err(known)
}

/// What the task came to.
pub(super) async fn result(
    connection: &Connection,
    id: &TaskId,
    until: Instant,
) -> Result<wire::CallToolResult, Fault> {
    let answer = ask(connection, "tasks/get", id, until).await?;
    told(&answer, id)?;
    let Detail {
        status,
        result,
        error,
        ..
    } = detail(&answer)?;
    match (status, result, error) {
        (Status::Completed, Some(result), _) => Ok(result),
        (Status::Failed, _, Some(Broken { code })) => Err(Fault::TaskFailed(code)),
        (Status::Completed | Status::Failed, ..) => Err(UNREADABLE),
        (Status::Working | Status::InputRequired | Status::Cancelled, ..) => {
            Err(Fault::Rejected("the task has not come to anything"))
        }
    }
}

/// Tells the server to end the task, and looks for a moment whether it has: it need not, and says no more than that it heard.
pub(super) async fn cancel(
    connection: &Connection,
    id: &TaskId,
    until: Instant,
) -> Result<McpTask, Fault> {
    ask(connection, "tasks/cancel", id, until).await?;
    let mut looks = 0;
    loop {
        let task = told(&ask(connection, "tasks/get", id, until).await?, id)?;
        looks += 1;
        if task.status.has_ended() || looks == LOOKS {
            return Ok(task);
        }
        sleep_until((Instant::now() + PAUSE).min(until)).await;
    }
}

//! Tasks of the extension `io.modelcontextprotocol/tasks`: what is sent about them, and what servers may answer.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_contract::http::Backend;
use seaworthy_ports::Effect;
use seaworthy_ports::mcp::{
    Beginning, Kind, McpContent, McpError, McpSession, McpStarted, McpTask, TaskId, TaskStatus,
    TaskSupport,
};
use serde_json::{Value, json};

use crate::{
    LONG, backend, call, complete, connect, error, form, how, methods, of_tool, params, server,
    text,
};

const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A task as its server tells of it, with this beside.
fn task(status: &str, beside: &Value) -> Value {
    let mut task = json!({
        "taskId": "the one", "status": status, "ttlMs": null, "pollIntervalMs": 40,
        "createdAt": "2026-07-28T10:30:00Z", "lastUpdatedAt": "2026-07-28T10:30:00Z",
    });
    for (name, value) in beside.as_object().unwrap() {
        task[name] = value.clone();
    }
    complete(task)
}

fn created() -> Value {
    let mut created = task("working", &json!({}));
    created["result"]["resultType"] = json!("task");
    created
}

/// A server that keeps each call as a task, and answers this when it is asked after one.
async fn keeper(
    answer: impl Fn(&str, &Value, usize) -> Option<Value> + Send + Sync + 'static,
) -> Backend {
    backend(move |method, params, before| {
        answer(method, params, before).or_else(|| match method {
            "server/discover" => Some(complete(json!({
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}, "extensions": {TASKS: {}}},
            }))),
            "tools/call" => Some(created()),
            "tasks/update" | "tasks/cancel" => Some(complete(json!({}))),
            _ => None,
        })
    })
    .await
}

/// A session with a server that says this of its task.
async fn telling(told: Value) -> (Backend, Arc<dyn McpSession>) {
    let backend =
        keeper(move |method, _params, _before| (method == "tasks/get").then(|| told.clone())).await;
    let session = connect(server(backend.url(), Beginning::Stateless)).await;
    (backend, session.unwrap())
}

fn id() -> TaskId {
    TaskId::new("the one").unwrap()
}

async fn begin(session: &Arc<dyn McpSession>) -> Result<McpStarted, McpError> {
    let call = of_tool("t", json!({"region": "Zürich"}));
    session.as_tasks().unwrap().start_task(call, LONG).await
}

async fn listen(session: &Arc<dyn McpSession>) -> Result<(), McpError> {
    session.as_tasks().unwrap().task_input(&id(), LONG).await
}

async fn fetch(session: &Arc<dyn McpSession>) -> Result<Vec<McpContent>, Kind> {
    let fetched = session.as_tasks().unwrap().task_result(&id(), "t").await;
    fetched
        .map(|result| result.content)
        .map_err(|error| error.kind())
}

async fn cancel(session: &Arc<dyn McpSession>) -> Result<McpTask, McpError> {
    session.as_tasks().unwrap().cancel_task(&id()).await
}

/// Whether each request of `method` declared the extension.
fn declared(backend: &Backend, method: &str) -> Vec<bool> {
    let takes = "/_meta/io.modelcontextprotocol~1clientCapabilities/extensions";
    let is_declared = |params: &Value| params.pointer(takes) == Some(&json!({TASKS: {}}));
    params(backend, method).iter().map(is_declared).collect()
}

#[tokio::test]
async fn tasks_are_declared_where_one_may_come_and_named_in_headers() {
    let (backend, session) = telling(task("completed", &json!({"result": {"content": []}}))).await;
    let McpStarted::Task(begun) = begin(&session).await.unwrap() else {
        panic!("it was answered at once");
    };
    assert_eq!(
        (begun.id, begun.status, begun.poll_interval, begun.ttl),
        (
            id(),
            TaskStatus::Working,
            Some(Duration::from_millis(40)),
            None
        )
    );
    assert_eq!(
        session
            .as_tasks()
            .unwrap()
            .task(&id())
            .await
            .unwrap()
            .status,
        TaskStatus::Completed
    );
    fetch(&session).await.unwrap();
    cancel(&session).await.unwrap();
    let plain = call(&session).await.unwrap_err();
    assert_eq!(how(&plain), (Kind::Malformed, Effect::Unknown));
    assert_eq!(declared(&backend, "tools/call"), [true, false]);
    assert_eq!(declared(&backend, "tools/list"), [false]);
    assert_eq!(declared(&backend, "tasks/get"), [true; 3]);
    assert_eq!(declared(&backend, "tasks/cancel"), [true]);
    assert!(params(&backend, "tools/call")[0].get("task").is_none());
    let about = backend.requests();
    let about = about
        .iter()
        .filter(|request| request.contains("mcp-method: tasks/"));
    assert!(about.clone().count() == 4);
    assert!(
        about
            .into_iter()
            .all(|request| request.contains("mcp-name: the one\r\n"))
    );
}

#[tokio::test]
async fn a_server_that_does_not_say_that_it_keeps_tasks_is_asked_for_none() {
    let backend = backend(|_method, _params, _before| None).await;
    let session = connect(server(backend.url(), Beginning::Stateless))
        .await
        .unwrap();
    let tools = session.tools().await.unwrap();
    assert!(
        tools
            .iter()
            .all(|tool| tool.task_support == TaskSupport::Forbidden)
    );
    let refused = begin(&session).await.unwrap_err();
    assert_eq!(how(&refused), (Kind::Unsupported, Effect::None));
    assert!(!methods(&backend).contains(&"tools/call".to_owned()));
}

#[tokio::test]
async fn a_call_that_asks_before_it_becomes_a_task_is_one_call() {
    let backend = keeper(|method, params, _before| {
        let is_first = params.get("inputResponses").is_none();
        (method == "tools/call" && is_first)
            .then(|| crate::asks(json!({"who": form("Who?")}), Some("state")))
    })
    .await;
    let session = connect(server(backend.url(), Beginning::Stateless))
        .await
        .unwrap();
    let begun = begin(&session).await.unwrap();
    assert!(matches!(begun, McpStarted::Task(_)), "{begun:?}");
    assert_eq!(declared(&backend, "tools/call"), [true, true]);
}

#[tokio::test]
async fn every_question_is_answered_under_its_name_and_all_together() {
    let open = json!({"inputRequests": {"a": form("Ada?"), "b": form("Bob?")}});
    let (backend, session) = telling(task("input_required", &open)).await;
    listen(&session).await.unwrap();
    let updates = params(&backend, "tasks/update");
    assert_eq!(updates.len(), 1);
    let answered = |name: &str| json!({"action": "accept", "content": {"name": name}});
    assert_eq!(
        updates[0]["inputResponses"],
        json!({"a": answered("Ada?"), "b": answered("Bob?")})
    );
    assert_eq!(updates[0]["taskId"], "the one");
    assert_eq!(declared(&backend, "tasks/update"), [true]);
}

#[tokio::test]
async fn a_task_that_asks_nothing_is_told_nothing() {
    for told in [
        task("input_required", &json!({})),
        task("input_required", &json!({"inputRequests": {}})),
        task("working", &json!({"inputRequests": {"a": form("Ada?")}})),
    ] {
        let (backend, session) = telling(told).await;
        listen(&session).await.unwrap();
        assert!(params(&backend, "tasks/update").is_empty());
    }
}

#[tokio::test]
async fn what_a_task_may_ask_at_once_is_bounded() {
    let many: Value = (0..17)
        .map(|number| (number.to_string(), form("Who?")))
        .collect();
    let long = json!({"x".repeat(257): form("Who?")});
    for asked in [many, long] {
        let (backend, session) =
            telling(task("input_required", &json!({"inputRequests": asked}))).await;
        assert_eq!(listen(&session).await.unwrap_err().kind(), Kind::TooLarge);
        assert!(params(&backend, "tasks/update").is_empty());
    }
}

#[tokio::test]
async fn an_update_of_a_task_that_is_gone_is_not_found() {
    let open = task(
        "input_required",
        &json!({"inputRequests": {"a": form("Ada?")}}),
    );
    let backend = keeper(move |method, _params, _before| match method {
        "tasks/get" => Some(open.clone()),
        "tasks/update" => Some(error(-32_602)),
        _ => None,
    })
    .await;
    let session = connect(server(backend.url(), Beginning::Stateless))
        .await
        .unwrap();
    assert_eq!(listen(&session).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn what_a_task_came_to_is_what_its_end_says() {
    let result = json!({"result": {"content": [{"type": "text", "text": "built"}]}});
    let (_backend, session) = telling(task("completed", &result)).await;
    let built = McpContent::Text("built".to_owned());
    assert_eq!(fetch(&session).await, Ok(vec![built]));
    let broken = |code: i64| json!({"error": {"code": code, "message": "canary"}});
    for (told, expected) in [
        (task("failed", &broken(-32_603)), Kind::Server),
        // It is the task's error, and says nothing of what was asked after.
        (task("failed", &broken(-32_602)), Kind::Server),
        (task("failed", &broken(-32_601)), Kind::Server),
        (task("failed", &result), Kind::Malformed),
        (task("completed", &json!({})), Kind::Malformed),
        (task("completed", &json!({"result": 7})), Kind::Malformed),
        (task("working", &result), Kind::Rejected),
        (task("input_required", &result), Kind::Rejected),
        (task("cancelled", &result), Kind::Rejected),
        (task("resting", &result), Kind::Malformed),
    ] {
        let (_backend, session) = telling(told.clone()).await;
        assert_eq!(fetch(&session).await, Err(expected), "{told}");
    }
}

#[tokio::test]
async fn what_is_told_of_another_task_is_malformed() {
    let beside = json!({
        "taskId": "another", "inputRequests": {"a": form("Ada?")}, "result": {"content": []},
    });
    for status in ["input_required", "completed"] {
        let (backend, session) = telling(task(status, &beside)).await;
        assert_eq!(listen(&session).await.unwrap_err().kind(), Kind::Malformed);
        assert_eq!(fetch(&session).await, Err(Kind::Malformed));
        assert_eq!(cancel(&session).await.unwrap_err().kind(), Kind::Malformed);
        assert!(params(&backend, "tasks/update").is_empty());
    }
}

#[tokio::test]
async fn a_task_that_is_to_end_is_looked_at_for_a_moment() {
    let backend = keeper(|method, _params, before| {
        let status = if before < 2 { "working" } else { "cancelled" };
        (method == "tasks/get").then(|| task(status, &json!({})))
    })
    .await;
    let session = connect(server(backend.url(), Beginning::Stateless))
        .await
        .unwrap();
    assert_eq!(
        cancel(&session).await.unwrap().status,
        TaskStatus::Cancelled
    );
    assert_eq!(params(&backend, "tasks/get").len(), 3);
    let (backend, session) = telling(task("working", &json!({}))).await;
    assert_eq!(cancel(&session).await.unwrap().status, TaskStatus::Working);
    assert_eq!(params(&backend, "tasks/get").len(), 5);
    assert_eq!(params(&backend, "tasks/cancel").len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_a_task_counts_only_where_one_may_be() {
    let backend = keeper(|method, _params, _before| (method == "tasks/get").then(created)).await;
    let session = connect(server(backend.url(), Beginning::Stateless))
        .await
        .unwrap();
    let told = session.as_tasks().unwrap().task(&id()).await;
    assert_eq!(told.unwrap_err().kind(), Kind::Malformed);
    let backend = keeper(|method, _params, _before| (method == "tools/call").then(text)).await;
    let session = connect(server(backend.url(), Beginning::Stateless))
        .await
        .unwrap();
    let answered = begin(&session).await.unwrap();
    assert!(matches!(answered, McpStarted::Answered(_)), "{answered:?}");
}

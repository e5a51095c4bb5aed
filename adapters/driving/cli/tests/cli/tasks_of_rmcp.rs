//! Tasks of the protocol version 2026-07-28 (SEP-2663) at a server whose part of the protocol is the `rmcp` crate's, which
//! outlives the workers that are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ContentBlock,
    CreateTaskResult, GetTaskParams, GetTaskResult, InputRequest, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, UpdateTaskParams,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::task_manager::{TaskContext, TaskExit, TaskManager, TaskOptions};
use rmcp::{ErrorData, ServerHandler};
use seaworthy::ports::Latch;
use seaworthy_mcp_server::http::{HttpServer, HttpSettings};
use serde_json::{Value, json};

use crate::desk::{ADA, agent, answer, calling, events, said as told};
use crate::support::{Done, Place, kill, until};

/// A desk whose tools are all tasks.
#[derive(Clone, Default)]
struct Desk {
    tasks: TaskManager,
    began: Arc<AtomicUsize>,
    called_off: Arc<AtomicUsize>,
    go: Arc<AtomicBool>,
}

fn input(request: Value) -> Result<InputRequest, TaskExit> {
    serde_json::from_value(request).map_err(|error| {
        let message = error.to_string();
        TaskExit::Error(ErrorData::internal_error(message, None))
    })
}

fn whom() -> Result<InputRequest, TaskExit> {
    input(json!({"method": "elicitation/create", "params": {
        "mode": "form",
        "message": "For whom?",
        "requestedSchema": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
        },
    }}))
}

fn said(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text.into())])
}

/// Asks the same twice, at once.
async fn book(context: TaskContext) -> Result<CallToolResult, TaskExit> {
    let (first, second) = tokio::try_join!(
        context.request_input("first", whom()?),
        context.request_input("second", whom()?)
    )?;
    let name = |answer: &Value| {
        answer["content"]["name"]
            .as_str()
            .unwrap_or("nobody")
            .to_owned()
    };
    Ok(said(format!(
        "booked for {} and {}",
        name(&first),
        name(&second)
    )))
}

async fn draft(context: TaskContext) -> Result<CallToolResult, TaskExit> {
    let words = input(json!({"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": "Greet."}}],
        "maxTokens": 9,
    }}))?;
    let words = context.request_input("words", words).await?;
    Ok(said(words["content"]["text"].as_str().unwrap_or("nothing")))
}

impl Desk {
    /// Serves in this process, and says where.
    fn serve() -> (Self, String) {
        let desk = Self::default();
        let serving = desk.clone();
        let (sender, url) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let server = HttpServer::new(listener, HttpSettings::default()).unwrap();
                sender.send(server.url()).unwrap();
                let (_stop, stopped) = Latch::new();
                server.serve(serving, stopped).await;
            });
        });
        (desk, url.recv().unwrap())
    }

    async fn run(self, tool: String, context: TaskContext) -> Result<CallToolResult, TaskExit> {
        match tool.as_str() {
            "book" => book(context).await,
            "draft" => draft(context).await,
            "fail" => Err(ErrorData::internal_error("the desk is closed", None).into()),
            _ => {
                while !self.go.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok(said("built"))
            }
        }
    }

    fn began(&self) -> usize {
        self.began.load(Ordering::SeqCst)
    }
}

impl ServerHandler for Desk {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tasks();
        ServerConfig::new(capabilities.build())
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({"type": "object"})
            .as_object()
            .cloned()
            .unwrap_or_default();
        let schema = Arc::new(schema);
        let tools = ["book", "draft", "fail", "build", "at_once"];
        let tools = tools.map(|name| Tool::new(name, "At the desk.", Arc::clone(&schema)));
        Ok(ListToolsResult::with_all_items(tools.into()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.began.fetch_add(1, Ordering::SeqCst);
        if request.name == "at_once" {
            return Ok(said("at once").into());
        }
        let desk = self.clone();
        let options = TaskOptions::new().with_poll_interval_ms(20);
        let task = self.tasks.spawn(options, |context| {
            Box::pin(desk.run(request.name.into_owned(), context))
        });
        Ok(CallToolResponse::Task(CreateTaskResult::new(task)))
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.tasks
            .get_task(&request.task_id)
            .map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks
            .update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.called_off.fetch_add(1, Ordering::SeqCst);
        self.tasks.cancel_task(&request.task_id)
    }
}

/// A run of `tool`, which may not be repeated.
fn place(tool: &str, url: &str) -> Place {
    let place = Place::new();
    let reached = format!("url: {url}");
    let lines = [
        reached.as_str(),
        "protocol: 2026-07-28",
        "risk: low",
        "elicitation: ask",
        "sampling: ask",
    ];
    place.write("agent.yaml", &agent("desk", &lines));
    let turns = calling(&format!("desk__{tool}"));
    let sampled = "  - when: \"{{ 'Greet' in input }}\"\n    text: Hello.\n";
    place.write("script.yaml", &format!("turns:\n{sampled}{turns}"));
    place
}

fn begin(place: &Place) -> Done {
    place.run(&["run", "agent.yaml", "--run-id", "r1"])
}

#[test]
fn a_server_decides_which_calls_become_tasks() {
    let (desk, url) = Desk::serve();
    let at_once = place("at_once", &url);
    told(&begin(&at_once), "Done: at once");
    assert_eq!(events(&at_once, "tool_deferred"), 0);
    desk.go.store(true, Ordering::SeqCst);
    let build = place("build", &url);
    told(&begin(&build), "Done: built");
    assert!(events(&build, "tool_deferred") > 0);
    let fail = place("fail", &url);
    let failed = begin(&fail);
    assert_eq!(failed.code, 0, "{failed:?}");
    assert_eq!(events(&fail, "tool_failed"), 1);
    assert_eq!(desk.began(), 3);
}

#[test]
fn a_task_outlives_the_worker_that_began_it() {
    let (desk, url) = Desk::serve();
    let place = place("build", &url);
    let child = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    until(|| desk.began() > 0 && place.show("r1")["waiting_for"] == "task");
    kill(child);
    desk.go.store(true, Ordering::SeqCst);
    told(&place.run(&["resume", "r1"]), "Done: built");
    assert_eq!(desk.began(), 1);
    assert_eq!(place.json(&["verify", "r1"])["ok"], true);
    assert_eq!(place.run(&["replay", "r1"]).code, 0);
    assert_eq!(desk.began(), 1);
}

/// Two questions of the same words, which only their names tell apart, each answered in a process of its own.
#[test]
fn questions_of_a_task_are_asked_one_by_one_and_answered_by_any_process() {
    let (desk, url) = Desk::serve();
    let place = place("book", &url);
    assert_eq!(begin(&place).code, 3);
    answer(&place, &ADA);
    let child = place.start(&["resume", "r1"]);
    until(|| events(&place, "question_asked") == 2);
    kill(child);
    answer(&place, &["--with", "{\"name\": \"Grace\"}"]);
    told(
        &place.run(&["resume", "r1"]),
        "Done: booked for Ada and Grace",
    );
    assert_eq!(desk.began(), 1);
    for event in ["question_asked", "question_answered"] {
        assert_eq!(events(&place, event), 2, "{event}");
    }
    assert_eq!(place.json(&["verify", "r1"])["ok"], true);
    assert_eq!(place.run(&["replay", "r1"]).code, 0);
    assert_eq!(desk.began(), 1);
}

#[test]
fn a_model_call_that_a_task_wants_is_granted_or_ends_it() {
    let (desk, url) = Desk::serve();
    let granted = place("draft", &url);
    assert_eq!(begin(&granted).code, 3);
    answer(&granted, &["--allow"]);
    told(&granted.run(&["resume", "r1"]), "Done: Hello.");
    assert_eq!(desk.called_off.load(Ordering::SeqCst), 0);
    // Nobody can tell the server that no model is called: its task would wait for ever.
    let declined = place("draft", &url);
    assert_eq!(begin(&declined).code, 3);
    answer(&declined, &["--decline"]);
    let done = declined.run(&["resume", "r1"]);
    assert!(done.stdout.contains("nobody here answers"), "{done:?}");
    assert_eq!(events(&declined, "tool_failed"), 1);
    assert_eq!(desk.called_off.load(Ordering::SeqCst), 1);
}

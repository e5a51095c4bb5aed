//! The reference servers of the Model Context Protocol: one that has everything, over both transports, one for files and
//! one that remembers.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_mcp::{McpClient, McpConfig};
use seaworthy_ports::mcp::{
    Authorization, Beginning, Elicitation, Elicited, Endpoint, Kind, Mcp as _, McpCall,
    McpCallResult, McpCompleting, McpCompletion, McpContent, McpError, McpHost, McpLog,
    McpLogLevel, McpLogMessage, McpRoot, McpServer, McpSession, McpStarted, Progress, ResourceData,
    Sampled, Sampling, StdioCommand, TaskId, TaskStatus, TaskSupport, Transport,
};
use seaworthy_ports::{Effect, Latch, Secret, ServerAlias, async_trait};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(110);

/// Where the server with everything is, and the folder of all of them.
fn place() -> (String, String) {
    let place = std::env::var("SEAWORTHY_TEST_MCP").unwrap();
    let (url, packages) = place.split_once('#').unwrap();
    (url.to_owned(), packages.to_owned())
}

fn program(name: &str, arguments: &[&str], env: &[(&str, &str)]) -> Transport {
    let program = format!("{}/{name}/dist/index.js", place().1);
    let path = std::env::var("PATH").unwrap();
    let path = ("PATH", path.as_str());
    let env = env.iter().chain([&path]);
    let words = ["node", &program].into_iter().chain(arguments.to_vec());
    Transport::Stdio(StdioCommand {
        argv: words.map(str::to_owned).collect(),
        cwd: std::env::temp_dir(),
        env: env
            .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
            .collect(),
        sandbox: None,
    })
}

fn address() -> Transport {
    Transport::StreamableHttp(Endpoint {
        url: place().0,
        authorization: Authorization::None,
        headers: BTreeMap::new(),
    })
}

fn everything() -> [Transport; 2] {
    [program("server-everything", &["stdio"], &[]), address()]
}

fn server(transport: Transport) -> McpServer {
    McpServer {
        alias: ServerAlias::new("reference").unwrap(),
        transport,
        connect_timeout: LONG,
        request_timeout: LONG,
        host: None,
        roots: Vec::new(),
        log: None,
        beginning: Beginning::default(),
    }
}

async fn connect(transport: Transport, host: Option<Arc<dyn McpHost>>) -> Arc<dyn McpSession> {
    begin(McpServer {
        host,
        ..server(transport)
    })
    .await
}

async fn begin(server: McpServer) -> Arc<dyn McpSession> {
    let mcp = McpClient::new(McpConfig::default());
    mcp.connect(server).await.unwrap()
}

fn made(tool: &str, arguments: Value) -> McpCall {
    McpCall {
        tool: tool.to_owned(),
        arguments,
        meta: BTreeMap::new(),
        timeout: LONG,
        cancel: Latch::never(),
        on_progress: None,
    }
}

async fn called(
    session: &Arc<dyn McpSession>,
    tool: &str,
    arguments: Value,
) -> Result<McpCallResult, McpError> {
    session.call(made(tool, arguments)).await
}

fn texts(result: &McpCallResult) -> String {
    let texts = result.content.iter().filter_map(|piece| match piece {
        McpContent::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

#[tokio::test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
async fn tools_answer_over_both_transports() {
    for transport in everything() {
        let session = connect(transport, None).await;
        let about = session.server();
        assert_eq!(about.name, "mcp-servers/everything");
        assert_eq!(about.protocol, "2025-11-25");
        assert!(about.tools && about.resources && about.prompts);
        let tools = session.tools().await.unwrap();
        let echo = tools.iter().find(|tool| tool.remote == "echo").unwrap();
        assert_eq!(echo.name.as_str(), "reference__echo");

        let sum = called(&session, "get-sum", json!({"a": 2, "b": 40})).await;
        assert!(texts(&sum.unwrap()).contains("42"));
        let wrong = called(&session, "get-sum", json!({"a": "two"})).await;
        let wrong = wrong.unwrap_err();
        assert_eq!(
            (wrong.kind(), wrong.effect()),
            (Kind::InvalidArguments, Effect::None)
        );

        let place = json!({"location": "New York"});
        let weather = called(&session, "get-structured-content", place)
            .await
            .unwrap();
        assert!(
            weather
                .structured
                .is_some_and(|data| data.get("temperature").is_some())
        );

        let image = called(&session, "get-tiny-image", json!({})).await.unwrap();
        let is_png = |piece: &McpContent| match piece {
            McpContent::Image { media_type, bytes } => {
                media_type == "image/png" && bytes.starts_with(b"\x89PNG")
            }
            _ => false,
        };
        assert!(image.content.iter().any(is_png));

        let links = called(&session, "get-resource-links", json!({"count": 3}))
            .await
            .unwrap();
        let links = links.content.iter();
        assert_eq!(
            links
                .filter(|piece| matches!(piece, McpContent::ResourceLink(_)))
                .count(),
            3
        );
        session.close().await.unwrap();
    }
}

#[tokio::test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
async fn resources_and_prompts_read_over_both_transports() {
    for transport in everything() {
        let session = connect(transport, None).await;
        let resources = session.resources().await.unwrap();
        let document = session
            .read_resource(&resources.first().unwrap().uri)
            .await
            .unwrap();
        assert!(
            matches!(&document.first().unwrap().data, ResourceData::Text(text) if !text.is_empty())
        );
        assert_eq!(session.resource_templates().await.unwrap().len(), 2);
        let blob = session
            .read_resource("demo://resource/dynamic/blob/1")
            .await
            .unwrap();
        assert!(
            matches!(&blob.first().unwrap().data, ResourceData::Bytes(bytes) if !bytes.is_empty())
        );
        assert!(session.read_resource("demo://nothing").await.is_err());

        let prompts = session.prompts().await.unwrap();
        let asked = prompts
            .iter()
            .find(|prompt| prompt.name == "args-prompt")
            .unwrap();
        assert!(
            asked
                .arguments
                .iter()
                .any(|argument| argument.name == "city" && argument.required)
        );
        let city = BTreeMap::from([("city".to_owned(), "Porto".to_owned())]);
        let filled = session.prompt("args-prompt", city).await.unwrap();
        let said = &filled.messages.first().unwrap().content;
        assert!(matches!(said, McpContent::Text(text) if text.contains("Porto")));
        session.close().await.unwrap();
    }
}

#[tokio::test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
async fn a_long_call_tells_how_far_it_is_and_can_be_called_off() {
    for transport in everything() {
        let session = connect(transport, None).await;
        let shown = Arc::<Mutex<Vec<Progress>>>::default();
        let sink = Arc::clone(&shown);
        let mut long = made(
            "trigger-long-running-operation",
            json!({"duration": 1, "steps": 4}),
        );
        long.on_progress = Some(Arc::new(move |progress| {
            sink.lock().unwrap().push(progress)
        }));
        session.call(long).await.unwrap();
        let steps: Vec<f64> = shown.lock().unwrap().iter().map(|step| step.done).collect();
        assert_eq!(steps, [1.0, 2.0, 3.0, 4.0]);

        let mut endless = made(
            "trigger-long-running-operation",
            json!({"duration": 600, "steps": 600}),
        );
        endless.timeout = Duration::from_millis(300);
        let late = session.call(endless).await.unwrap_err();
        assert_eq!(
            (late.kind(), late.effect()),
            (Kind::Timeout, Effect::Unknown)
        );
        assert!(
            called(&session, "echo", json!({"message": "still there"}))
                .await
                .is_ok()
        );
        session.close().await.unwrap();
    }
}

/// Says yes to everything, and remembers what it was asked.
#[derive(Debug, Default)]
struct Host(Mutex<Vec<&'static str>>);

#[async_trait]
impl McpHost for Host {
    async fn elicit(&self, question: Elicitation) -> Elicited {
        self.0.lock().unwrap().push("user");
        assert!(question.schema.get("properties").is_some());
        Elicited::Accepted(json!({"name": "Ada", "check": true}))
    }

    async fn sample(&self, question: Sampling) -> Sampled {
        self.0.lock().unwrap().push("model");
        assert!(!question.messages.is_empty());
        Sampled::Answered {
            model: "a model".to_owned(),
            content: McpContent::Text("forty-two".to_owned()),
        }
    }
}

#[tokio::test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
async fn a_servers_questions_reach_the_host_over_both_transports() {
    for transport in everything() {
        let host = Arc::<Host>::default();
        let session = connect(transport, Some(Arc::<Host>::clone(&host))).await;
        // These tools are offered once the server has seen what its client can do, and told by a change of the list.
        let has = async |name: &str| {
            let tools = session.tools().await.unwrap();
            tools.iter().any(|tool| tool.remote == name)
        };
        for tool in ["trigger-sampling-request", "trigger-elicitation-request"] {
            while !has(tool).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let asked = json!({"prompt": "the answer?", "maxTokens": 9});
        let sampled = called(&session, "trigger-sampling-request", asked)
            .await
            .unwrap();
        assert!(texts(&sampled).contains("forty-two"));
        let told = called(&session, "trigger-elicitation-request", json!({}))
            .await
            .unwrap();
        assert!(texts(&told).contains("Ada"), "{}", texts(&told));
        assert_eq!(*host.0.lock().unwrap(), ["model", "user"]);
        session.close().await.unwrap();
    }
}

#[tokio::test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
async fn files_are_written_and_read_and_nothing_outside_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().to_str().unwrap();
    let session = connect(program("server-filesystem", &[inside], &[]), None).await;
    let file = format!("{inside}/note.txt");
    let written = json!({"path": file, "content": "Grüße"});
    assert!(
        !called(&session, "write_file", written)
            .await
            .unwrap()
            .is_error
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "Grüße");
    let read = called(&session, "read_text_file", json!({"path": file}))
        .await
        .unwrap();
    assert_eq!(texts(&read), "Grüße");
    let outside = called(&session, "read_text_file", json!({"path": "/etc/hostname"})).await;
    assert!(outside.unwrap().is_error);
    let tools = session.tools().await.unwrap();
    let read = tools
        .iter()
        .find(|tool| tool.remote == "read_text_file")
        .unwrap();
    assert_eq!(read.hints.read_only, Some(true));
    session.close().await.unwrap();
}

async fn remembering(file: &Path) -> Arc<dyn McpSession> {
    let file = file.to_str().unwrap();
    connect(
        program("server-memory", &[], &[("MEMORY_FILE_PATH", file)]),
        None,
    )
    .await
}

#[tokio::test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
async fn what_was_remembered_is_there_in_the_next_session() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory.jsonl");
    let session = remembering(&file).await;
    let ada =
        json!({"entities": [{"name": "Ada", "entityType": "person", "observations": ["counts"]}]});
    assert!(
        !called(&session, "create_entities", ada)
            .await
            .unwrap()
            .is_error
    );
    session.close().await.unwrap();
    let session = remembering(&file).await;
    let graph = called(&session, "read_graph", json!({})).await.unwrap();
    assert!(
        graph
            .structured
            .is_some_and(|graph| graph.to_string().contains("counts"))
    );
    session.close().await.unwrap();
}

#[tokio::test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
async fn a_call_becomes_a_task_that_is_asked_after_and_fetched_over_both_transports() {
    const TOOL: &str = "simulate-research-query";
    for transport in everything() {
        let session = connect(transport, None).await;
        let tools = session.tools().await.unwrap();
        let tool = tools.iter().find(|tool| tool.remote == TOOL).unwrap();
        assert_eq!(tool.task_support, TaskSupport::Required);
        let tasks = session.as_tasks().unwrap();
        let begin = async || {
            let call = made(TOOL, json!({"topic": "ships"}));
            match tasks.start_task(call, LONG).await.unwrap() {
                McpStarted::Task(task) => task,
                McpStarted::Answered(answer) => panic!("{answer:?}"),
            }
        };
        let task = begin().await;
        assert_eq!(task.status, TaskStatus::Working);
        let interval = task.poll_interval.unwrap();
        let deadline = tokio::time::Instant::now() + LONG;
        let mut said = Vec::new();
        loop {
            let told = tasks.task(&task.id).await.unwrap();
            said.extend(told.message);
            if told.status == TaskStatus::Completed {
                break;
            }
            assert_eq!(told.status, TaskStatus::Working);
            assert!(tokio::time::Instant::now() < deadline);
            tokio::time::sleep(interval).await;
        }
        assert!(!said.is_empty());
        let result = tasks.task_result(&task.id, TOOL).await.unwrap();
        assert!(texts(&result).contains("Research Report: ships"));

        let ended = begin().await;
        let told = tasks.cancel_task(&ended.id).await.unwrap();
        assert_eq!(told.status, TaskStatus::Cancelled);
        let nobody = TaskId::new("nobody's").unwrap();
        let unknown = tasks.task(&nobody).await.unwrap_err();
        assert_eq!(unknown.kind(), Kind::NotFound);
        let otherwise = called(&session, TOOL, json!({"topic": "ships"})).await;
        assert!(otherwise.is_err() || otherwise.is_ok_and(|answer| answer.is_error));
        session.close().await.unwrap();
    }
}

/// Waits until the server offers the tool: some come when it has seen what its client can do, and told the list changed.
async fn until_offered(session: &Arc<dyn McpSession>, name: &str) {
    loop {
        let tools = session.tools().await.unwrap();
        if tools.iter().any(|tool| tool.remote == name) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn root(folder: &Path) -> McpRoot {
    McpRoot::folder(folder, Some("of the test".to_owned()))
}

#[tokio::test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
async fn arguments_are_completed_over_both_transports() {
    for transport in everything() {
        let session = connect(transport, None).await;
        assert!(session.server().completions);
        let ask = async |of, argument: &str, value: &str, given: &[(&str, &str)]| {
            let given = given.iter();
            let question = McpCompletion {
                of,
                argument: argument.to_owned(),
                value: value.to_owned(),
                given: given
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            };
            session.complete(question).await
        };
        let prompt = || McpCompleting::Prompt("completable-prompt".to_owned());
        let departments = ask(prompt(), "department", "S", &[]).await.unwrap();
        assert_eq!(departments.values, ["Sales", "Support"]);
        assert!(!departments.has_more);
        let given = [("department", "Sales")];
        let names = ask(prompt(), "name", "", &given).await.unwrap();
        assert_eq!(names.values, ["David", "Eve", "Frank"]);

        let templates = session.resource_templates().await.unwrap();
        let template = templates.first().unwrap().uri_template.clone();
        let template = McpCompleting::Template(template);
        let ids = ask(template, "resourceId", "7", &[]).await.unwrap();
        assert_eq!(ids.values, ["7"]);
        let nothing = McpCompleting::Prompt("nothing".to_owned());
        let unknown = ask(nothing, "name", "", &[]).await.unwrap_err();
        assert_eq!(unknown.kind(), Kind::InvalidArguments);
        session.close().await.unwrap();
    }
}

#[tokio::test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
async fn roots_and_log_messages_reach_each_other_over_both_transports() {
    let folder = tempfile::tempdir().unwrap();
    for transport in everything() {
        let heard = Arc::<Mutex<Vec<McpLogMessage>>>::default();
        let sink = Arc::clone(&heard);
        let session = begin(McpServer {
            roots: vec![root(folder.path())],
            log: Some(McpLog {
                level: McpLogLevel::Info,
                sink: Arc::new(move |message| sink.lock().unwrap().push(message)),
            }),
            ..server(transport)
        })
        .await;
        assert!(session.server().logging);
        until_offered(&session, "get-roots-list").await;
        let told = called(&session, "get-roots-list", json!({})).await.unwrap();
        let told = texts(&told);
        assert!(
            told.contains(&root(folder.path()).uri) && told.contains("of the test"),
            "{told}"
        );
        // The server logs that it has them.
        let is_told = |message: &McpLogMessage| {
            message.level == McpLogLevel::Info
                && message.logger.as_deref() == Some("everything-server")
                && message.text.contains("1 root(s)")
        };
        while !heard.lock().unwrap().iter().any(is_told) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        session.close().await.unwrap();
    }
}

#[tokio::test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
async fn the_server_for_files_works_in_its_roots_and_not_in_the_folders_of_its_command_line() {
    let [given, rooted] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let words = [given.path().to_str().unwrap()];
    let session = begin(McpServer {
        roots: vec![root(rooted.path())],
        ..server(program("server-filesystem", &words, &[]))
    })
    .await;
    let write = async |folder: &Path| {
        let file = folder.join("note.txt");
        let written = json!({"path": file.to_str().unwrap(), "content": "here"});
        called(&session, "write_file", written)
            .await
            .unwrap()
            .is_error
    };
    // It asks once it has been greeted, and until then works where it was started.
    while write(rooted.path()).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        write(given.path()).await,
        "it still works in the other folder"
    );
    let file = rooted.path().join("note.txt");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "here");
    session.close().await.unwrap();
}

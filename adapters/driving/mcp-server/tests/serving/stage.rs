//! A stack in memory, agents on it, and clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rmcp::model::{CallToolRequestParams, CallToolResult, ClientConfig};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceExt as _};
use seaworthy::descriptor::{Calling, Descriptor, ModelSpec};
use seaworthy::driver::Settings;
use seaworthy::harness::worker;
use seaworthy::memory::{MemoryBlobStore, MemoryCheckpointStore, MemoryRuntime, MemoryStateStore};
use seaworthy::ports::clock::Clock;
use seaworthy::ports::durable_runtime::Scope;
use seaworthy::ports::mcp::Elicited;
use seaworthy::ports::{Latch, LatchSetter, Secret, WorkerId};
use seaworthy::system::{SystemClock, SystemEntropy};
use seaworthy::{Harness, Model, Models, NoModel, NoSecrets, Ports};
use seaworthy_fakes::{
    FakeMcp, FakeMcpServer, FakeMcpTool, FakeModel, FakeSandbox, McpFault, RanCommand,
    SilentObserver, Step,
};
use seaworthy_mcp_server::http::{HttpServer, HttpSettings};
use seaworthy_mcp_server::{AgentServer, ServedAgent, ServerSettings, serve_stdio};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The token of servers that want one.
pub(crate) const TOKEN: &str = "a-token-that-nobody-can-guess";
/// How long a call waits at most; only a test that fails waits for it.
pub(crate) const LONG: u64 = 100;

/// An agent that may note things, and needs an approval for it.
fn descriptor(name: &str) -> String {
    format!(
        "
version: seaworthy.agent_graph.v1
metadata: {{ name: {name} }}
runtime: {{ entry_agent: {name} }}
models:
  main: {{ provider: openai, model: any }}
tools:
  note:
    description: Notes something.
    input_schema: {{ type: object, properties: {{ text: {{ type: string }} }} }}
    command: [note]
    approval: required
agents:
  {name}: {{ instructions: Note what {name} is told., model: main, tools: [note] }}
"
    )
}

/// An agent whose only tool is a server's, which asks for whom before it books.
const BOOKER: &str = "
version: seaworthy.agent_graph.v1
metadata: { name: booker }
runtime: { entry_agent: booker }
models:
  main: { provider: openai, model: any }
mcp_servers:
  desk: { url: https://desk.invalid/mcp, side_effect: idempotent, risk: low, elicitation: ask }
agents:
  booker: { instructions: Book what booker is told., model: main, tools: [\"desk.*\"] }
";

/// The server of that tool.
fn desk() -> FakeMcp {
    let book = FakeMcpTool::new("book", |call| async move {
        let schema = json!({
            "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"],
        });
        let heard = match call.elicit("For whom?", schema).await {
            Some(Elicited::Accepted(answer)) => answer,
            Some(Elicited::Declined | Elicited::Cancelled) | None => json!("nobody"),
        };
        Ok::<_, McpFault>(json!({ "booked_for": heard }))
    });
    let server = FakeMcpServer::new("desk").with_tool(book.with_description("Books."));
    FakeMcp::new().with_server("desk", server).unwrap()
}

pub(crate) fn agent(name: &str) -> ServedAgent {
    let text = match name {
        "booker" => BOOKER.to_owned(),
        name => descriptor(name),
    };
    let descriptor = Descriptor::parse(&text, "agent.yaml")
        .unwrap()
        .materialise(|_path| Err("there are no files".to_owned()))
        .unwrap();
    ServedAgent {
        descriptor,
        base_dir: "/agent".to_owned(),
    }
}

#[derive(Debug)]
struct Only(Model);

impl Models for Only {
    fn find(&self, _spec: &ModelSpec, _calling: Calling) -> Result<Model, NoModel> {
        Ok(self.0.clone())
    }
}

/// A stack with a worker, until it is dropped.
pub(crate) struct Stage {
    pub(crate) harness: Harness,
    pub(crate) stop: Latch,
    stopper: LatchSetter,
    noted: Arc<AtomicU32>,
    working: Option<JoinHandle<()>>,
}

impl Stage {
    /// A stack whose model does `steps`, whoever asks.
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut stage = Self::without_worker(steps);
        stage.work();
        stage
    }

    /// The same without anybody who advances runs.
    pub(crate) fn without_worker(steps: impl IntoIterator<Item = Step>) -> Self {
        let noted = Arc::<AtomicU32>::default();
        let notes = Arc::clone(&noted);
        let sandbox = FakeSandbox::new(move |_command| {
            notes.fetch_add(1, Ordering::Relaxed);
            RanCommand {
                code: 0,
                stdout: r#"{"noted":true}"#.to_owned(),
            }
        });
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let model = Model {
            provider: Arc::new(FakeModel::new(steps)),
            name: "any".to_owned(),
        };
        let ports = Ports {
            state_store: Arc::new(MemoryStateStore::default()),
            durable_runtime: Arc::new(MemoryRuntime::new(Arc::clone(&clock))),
            blob_store: Arc::new(MemoryBlobStore::default()),
            checkpoint_store: Arc::new(MemoryCheckpointStore::default()),
            sandbox: Arc::new(sandbox),
            models: Arc::new(Only(model)),
            mcp: Arc::new(desk()),
            secrets: Arc::new(NoSecrets),
            clock,
            entropy: Arc::new(SystemEntropy::new().unwrap()),
            observer: Arc::new(SilentObserver),
        };
        let (stopper, stop) = Latch::new();
        Self {
            harness: Harness::new(ports, Settings::default()),
            stop,
            stopper,
            noted,
            working: None,
        }
    }

    /// Begins to advance runs.
    pub(crate) fn work(&mut self) {
        let (harness, stop) = (self.harness.clone(), self.stop.clone());
        self.working = Some(tokio::spawn(async move {
            let me = worker(WorkerId::new("test").unwrap(), Scope::All, 8);
            harness.serve(me, stop).await.unwrap();
        }));
    }

    /// How often something was noted.
    pub(crate) fn noted(&self) -> u32 {
        self.noted.load(Ordering::Relaxed)
    }

    pub(crate) fn server(&self, names: &[&str]) -> AgentServer {
        self.server_with(names, ServerSettings::new("/workspace"))
    }

    pub(crate) fn server_with(&self, names: &[&str], settings: ServerSettings) -> AgentServer {
        let agents = names.iter().map(|name| agent(name)).collect();
        AgentServer::new(self.harness.clone(), agents, settings, self.stop.clone()).unwrap()
    }

    /// Serves over HTTP on a free port, and says where.
    pub(crate) async fn http(&self, server: AgentServer) -> String {
        let settings = HttpSettings {
            token: Some(Secret::new(TOKEN)),
            ..HttpSettings::default()
        };
        self.http_with(server, settings).await
    }

    /// The same for whoever `settings` let in.
    pub(crate) async fn http_with(&self, server: AgentServer, settings: HttpSettings) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = HttpServer::new(listener, settings).unwrap();
        let url = http.url();
        tokio::spawn(http.serve(server, self.stop.clone()));
        url
    }

    pub(crate) fn end(&self) {
        self.stopper.set();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stopper.set();
        if let Some(working) = &self.working {
            working.abort();
        }
    }
}

pub(crate) type Client = RunningService<RoleClient, ClientConfig>;

pub(crate) fn me() -> ClientConfig {
    let mut me = ClientConfig::default();
    me.client_info.name = "tester".to_owned();
    me
}

/// A client in the same process, over lines.
pub(crate) async fn over_lines(stage: &Stage, server: AgentServer) -> Client {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (input, output) = tokio::io::split(theirs);
    tokio::spawn(serve_stdio(server, input, output, stage.stop.clone()));
    me().serve(ours).await.unwrap()
}

/// A client that shows the token.
pub(crate) async fn over_http(stage: &Stage, server: AgentServer) -> Client {
    // There may be a provider already: every test of the process wants one.
    let _set_before = rustls::crypto::ring::default_provider().install_default();
    let url = stage.http(server).await;
    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(TOKEN);
    me().serve(StreamableHttpClientTransport::from_config(config))
        .await
        .unwrap()
}

pub(crate) async fn call(client: &Client, tool: &str, arguments: Value) -> CallToolResult {
    let request = CallToolRequestParams::new(tool.to_owned())
        .with_arguments(arguments.as_object().unwrap().clone());
    client.call_tool(request).await.unwrap()
}

/// What a call reports.
pub(crate) fn report(result: &CallToolResult) -> Value {
    let report = result.structured_content.clone().unwrap();
    let text = &result.content[0].as_text().unwrap().text;
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), report);
    report
}

/// What a failed call says.
pub(crate) fn refusal(result: &CallToolResult) -> String {
    assert_eq!(result.is_error, Some(true), "{result:?}");
    assert_eq!(result.structured_content, None);
    result.content[0].as_text().unwrap().text.clone()
}

pub(crate) fn says(text: &str) -> Step {
    Step::says(text)
}

pub(crate) fn notes() -> Step {
    Step::calls("note", &json!({ "text": "milk" }))
}

/// Waits for something that other tasks bring about.
pub(crate) async fn until(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(LONG), waiting)
        .await
        .unwrap();
}

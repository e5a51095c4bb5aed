//! The server behind both transports.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, GetPromptRequestParams, GetPromptResponse,
    Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use seaworthy_core::Harness;
use seaworthy_core::harness::{HarnessError, View};
use seaworthy_ports::{Latch, QueueName, RunId};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::agents::{Agents, InvalidAgents, ServedAgent};
use crate::failure::Failure;
use crate::{prompts, resources, tools};

/// What clients are told when they connect.
const INSTRUCTIONS: &str = "Each agent is a tool that starts a durable run. A run goes on whether or not anybody waits \
    for it: `run_wait` waits, `run_status` looks, `run_cancel` ends it. Pass a `run_id` of your own when you start one, so \
    that the same call made again finds that run. Runs are resources, `seaworthy://runs/{run_id}`.";

/// How agents are served.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The directory that runs work in, absolute.
    pub workspace: String,
    /// The queue in which they wait for a worker; `None`: the default one.
    pub queue: Option<QueueName>,
    /// How long a call waits for a run unless it says so.
    pub usual_wait: Duration,
    /// How long a call may wait for a run.
    pub longest_wait: Duration,
    /// How many calls may be in flight, over all connections; the next are refused.
    pub max_calls: usize,
    /// Whether clients may approve and deny calls.
    pub decides: bool,
}

impl ServerSettings {
    /// Runs that work in `workspace`; calls wait for 30 seconds and at most for 5 minutes, 64 of them at once; clients may
    /// approve and deny.
    #[must_use]
    pub fn new(workspace: impl Into<String>) -> Self {
        Self {
            workspace: workspace.into(),
            queue: None,
            usual_wait: Duration::from_secs(30),
            longest_wait: Duration::from_secs(300),
            max_calls: 64,
            decides: true,
        }
    }
}

/// Agents as a server of the Model Context Protocol. Cloning is cheap, and clones share everything.
///
/// A client sees the runs of these agents and no others.
#[derive(Clone, Debug)]
pub struct AgentServer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    harness: Harness,
    agents: Agents,
    settings: ServerSettings,
    tools: Vec<Tool>,
    calls: Semaphore,
    stop: Latch,
}

impl AgentServer {
    /// Serves `agents` on `harness`. Calls that wait for a run return once `stop` is set.
    ///
    /// # Errors
    ///
    /// [`InvalidAgents`]: these cannot be served together.
    pub fn new(
        harness: Harness,
        agents: Vec<ServedAgent>,
        settings: ServerSettings,
        stop: Latch,
    ) -> Result<Self, InvalidAgents> {
        let agents = Agents::new(agents)?;
        Ok(Self(Arc::new(Inner {
            tools: tools::tools(&agents, &settings),
            calls: Semaphore::new(settings.max_calls.min(Semaphore::MAX_PERMITS)),
            harness,
            agents,
            settings,
            stop,
        })))
    }

    pub(crate) fn harness(&self) -> &Harness {
        &self.0.harness
    }

    pub(crate) fn agents(&self) -> &Agents {
        &self.0.agents
    }

    pub(crate) fn settings(&self) -> &ServerSettings {
        &self.0.settings
    }

    pub(crate) fn stop(&self) -> &Latch {
        &self.0.stop
    }

    /// A place among the calls in flight.
    pub(crate) fn place(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.0
            .calls
            .try_acquire()
            .map_err(|_full| Failure::Busy(self.0.settings.max_calls))
    }

    /// The run, if it is of one of the served agents.
    pub(crate) async fn view(&self, run: &RunId) -> Result<View, Failure> {
        let view = self.0.harness.view(run).await?;
        if self.0.agents.get(&view.state.submitted.agent).is_none() {
            return Err(HarnessError::UnknownRun(run.clone()).into());
        }
        Ok(view)
    }
}

impl ServerHandler for AgentServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_prompts()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("seaworthy", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.0.tools.clone()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let called = Box::pin(self.call(request, &context)).await?;
        Ok(CallToolResponse::Complete(called))
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let _place = self.place().map_err(Failure::into_error)?;
        let cursor = request.and_then(|request| request.cursor);
        self.list_runs(cursor.as_deref())
            .await
            .map_err(Failure::into_error)
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(resources::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let _place = self.place().map_err(Failure::into_error)?;
        let read = self.read_uri(&request.uri).await;
        Ok(ReadResourceResponse::Complete(
            read.map_err(Failure::into_error)?,
        ))
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(prompts::list(&self.0.agents))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        prompts::get(&self.0.agents, request).map(GetPromptResponse::Complete)
    }
}

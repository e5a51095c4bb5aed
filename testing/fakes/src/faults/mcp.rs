//! Servers of the Model Context Protocol behind faults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use seaworthy_ports::AdapterInfo;
use seaworthy_ports::mcp::{
    Kind, Mcp, McpCall, McpCallResult, McpCapabilities, McpCompleted, McpCompletion, McpError,
    McpPrompt, McpPromptResult, McpResource, McpResourceContents, McpResourceTemplate, McpServer,
    McpServerInfo, McpSession, McpStarted, McpTask, McpTasks, McpTool, TaskId,
};

use super::{Faults, wrapper};

wrapper!(
    /// Servers behind faults, sessions included. No adapter calls a tool twice of itself: a duplicated `mcp call` shows what
    /// a test that counts effects must find.
    FaultyMcp, Mcp
);

const FAILED: Kind = Kind::Unavailable;

#[async_trait]
impl Mcp for FaultyMcp {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> McpCapabilities {
        self.inner.capabilities()
    }

    async fn connect(&self, server: McpServer) -> Result<Arc<dyn McpSession>, McpError> {
        let call = || self.inner.connect(server.clone());
        let inner = self.faults.port("mcp connect", FAILED, call).await?;
        let faults = self.faults.clone();
        Ok(Arc::new(FaultySession { inner, faults }))
    }
}

#[derive(Debug)]
struct FaultySession {
    inner: Arc<dyn McpSession>,
    faults: Faults,
}

#[async_trait]
impl McpSession for FaultySession {
    fn server(&self) -> McpServerInfo {
        self.inner.server()
    }

    async fn tools(&self) -> Result<Arc<[McpTool]>, McpError> {
        let call = || self.inner.tools();
        self.faults.port("mcp tools", FAILED, call).await
    }

    async fn call(&self, made: McpCall) -> Result<McpCallResult, McpError> {
        let call = || self.inner.call(made.clone());
        self.faults.port("mcp call", FAILED, call).await
    }

    fn as_tasks(&self) -> Option<&dyn McpTasks> {
        self.inner.as_tasks().map(|_tasks| self as &dyn McpTasks)
    }

    async fn resources(&self) -> Result<Arc<[McpResource]>, McpError> {
        let call = || self.inner.resources();
        self.faults.port("mcp resources", FAILED, call).await
    }

    async fn resource_templates(&self) -> Result<Arc<[McpResourceTemplate]>, McpError> {
        let call = || self.inner.resource_templates();
        self.faults.port("mcp templates", FAILED, call).await
    }

    async fn read_resource(&self, uri: &str) -> Result<Vec<McpResourceContents>, McpError> {
        let call = || self.inner.read_resource(uri);
        self.faults.port("mcp read", FAILED, call).await
    }

    async fn prompts(&self) -> Result<Arc<[McpPrompt]>, McpError> {
        let call = || self.inner.prompts();
        self.faults.port("mcp prompts", FAILED, call).await
    }

    async fn prompt(
        &self,
        name: &str,
        arguments: BTreeMap<String, String>,
    ) -> Result<McpPromptResult, McpError> {
        let call = || self.inner.prompt(name, arguments.clone());
        self.faults.port("mcp prompt", FAILED, call).await
    }

    async fn complete(&self, asked: McpCompletion) -> Result<McpCompleted, McpError> {
        let call = || self.inner.complete(asked.clone());
        self.faults.port("mcp complete", FAILED, call).await
    }

    async fn close(&self) -> Result<(), McpError> {
        let call = || self.inner.close();
        self.faults.port("mcp close", FAILED, call).await
    }
}

impl FaultySession {
    /// It is one of the kind only if what is behind the faults is.
    fn tasks(&self) -> Result<&dyn McpTasks, McpError> {
        let error = || McpError::new(Kind::Unsupported, "fake", "as_tasks", "there are no tasks");
        self.inner.as_tasks().ok_or_else(error)
    }
}

#[async_trait]
impl McpTasks for FaultySession {
    async fn start_task(&self, made: McpCall, ttl: Duration) -> Result<McpStarted, McpError> {
        let tasks = self.tasks()?;
        let call = || tasks.start_task(made.clone(), ttl);
        self.faults.port("mcp start_task", FAILED, call).await
    }

    async fn task(&self, id: &TaskId) -> Result<McpTask, McpError> {
        let tasks = self.tasks()?;
        let call = || tasks.task(id);
        self.faults.port("mcp task", FAILED, call).await
    }

    async fn task_result(&self, id: &TaskId, tool: &str) -> Result<McpCallResult, McpError> {
        let tasks = self.tasks()?;
        let call = || tasks.task_result(id, tool);
        self.faults.port("mcp task_result", FAILED, call).await
    }

    async fn task_input(&self, id: &TaskId, within: Duration) -> Result<(), McpError> {
        let tasks = self.tasks()?;
        let call = || tasks.task_input(id, within);
        self.faults.port("mcp task_input", FAILED, call).await
    }

    async fn cancel_task(&self, id: &TaskId) -> Result<McpTask, McpError> {
        let tasks = self.tasks()?;
        let call = || tasks.cancel_task(id);
        self.faults.port("mcp cancel_task", FAILED, call).await
    }
}

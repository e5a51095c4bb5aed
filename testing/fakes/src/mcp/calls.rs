//! Calls of tools, with what they take and promise.

use std::sync::Arc;

use seaworthy_ports::mcp::{
    Kind, MAX_MESSAGE_BYTES, McpCall, McpCallResult, McpContent, McpError, McpResourceContents,
    McpSession as _, McpTool, ResourceData, TaskSupport,
};
use serde_json::Value;

use super::request::{Request, judged};
use super::session::Session;
use super::{FakeMcpAnswer, FakeMcpCall, FakeMcpTool, McpFault, McpSeen};

/// Whether `value` has `schema`; no, if that is none. Nothing is fetched for it.
pub(super) fn fits(schema: &Value, value: &Value) -> bool {
    jsonschema::options()
        .offline()
        .build(schema)
        .is_ok_and(|validator| validator.is_valid(value))
}

impl Session {
    /// What a tool is to know of a call.
    pub(super) fn seen_by_tool(&self, call: &McpCall) -> FakeMcpCall {
        let takes = self.config.host.as_ref().map(|host| host.takes());
        let host = |declared: bool, takes: Option<bool>| {
            (declared && takes == Some(true))
                .then(|| self.config.host.clone())
                .flatten()
        };
        FakeMcpCall {
            task: None,
            keys: None,
            arguments: call.arguments.clone(),
            meta: call.meta.clone(),
            server: self.server.clone(),
            alias: self.config.alias.clone(),
            on_progress: call.on_progress.clone(),
            roots: self.config.roots.clone(),
            logs: Arc::clone(&self.logs),
            user: host(
                self.capabilities.elicitation,
                takes.map(|takes| takes.elicitation),
            ),
            model: host(
                self.capabilities.sampling,
                takes.map(|takes| takes.sampling),
            ),
        }
    }

    /// The tool, if it takes the arguments.
    pub(super) async fn find(
        &self,
        request: &Request,
        call: &McpCall,
    ) -> Result<McpTool, McpError> {
        let tools = self.tools().await?;
        let listed = tools.iter().find(|tool| tool.remote == call.tool);
        let listed = listed.ok_or_else(|| unknown(request))?;
        if !call.arguments.is_object() || !fits(&listed.input_schema, &call.arguments) {
            return Err(request.failed(
                Kind::InvalidArguments,
                "the arguments do not fit the input schema",
            ));
        }
        Ok(listed.clone())
    }

    pub(super) async fn run(
        &self,
        request: &Request,
        call: McpCall,
    ) -> Result<McpCallResult, McpError> {
        let listed = self.find(request, &call).await?;
        let (line, _) = self.enter(request).await?;
        let tool = self.tool(&call.tool).ok_or_else(|| unknown(request))?;
        let seen = McpSeen::Called(call.tool.clone());
        let answer = self.ask(request, &line, seen, || async {
            match &tool.task {
                Some(task) if task.is_eager => Err(McpFault::Garbled),
                Some(task) if task.support == TaskSupport::Required && !task.is_immediate => {
                    Err(McpFault::Refused(-32601))
                }
                _ => tool.run(self.seen_by_tool(&call)).await,
            }
        });
        let FakeMcpAnswer(result) = answer.await?;
        if size(&result) > MAX_MESSAGE_BYTES {
            return Err(judged(request, McpFault::TooLarge));
        }
        self.keeps(request, listed.output_schema.as_ref(), result)
    }

    /// The result, if it is what the tool promised.
    pub(super) fn keeps(
        &self,
        request: &Request,
        schema: Option<&Value>,
        result: McpCallResult,
    ) -> Result<McpCallResult, McpError> {
        let keeps = schema.filter(|_| !result.is_error).is_none_or(|schema| {
            let data = result.structured.as_ref();
            data.is_some_and(|data| fits(schema, data))
        });
        if keeps {
            Ok(result)
        } else {
            Err(request.lost(Kind::Malformed, "the result does not fit the output schema"))
        }
    }

    pub(super) fn tool(&self, remote: &str) -> Option<FakeMcpTool> {
        let offer = self.server.offer();
        offer.tools.into_iter().find(|tool| tool.remote == remote)
    }
}

fn unknown(request: &Request) -> McpError {
    request.failed(Kind::NotFound, "the server has no such tool")
}

/// About as many bytes as the message has that carries `result`.
fn size(result: &McpCallResult) -> usize {
    let data = result.structured.as_ref();
    let data = data.map_or(0, |data| data.to_string().len());
    let content = result.content.iter().map(|content| match content {
        McpContent::Text(text) => text.len(),
        McpContent::Image { bytes, .. } | McpContent::Audio { bytes, .. } => in_base64(bytes.len()),
        McpContent::Resource(contents) => read_size(contents),
        McpContent::ResourceLink(resource) => resource.uri.len(),
    });
    content.fold(data, usize::saturating_add)
}

pub(super) fn read_size(contents: &McpResourceContents) -> usize {
    match &contents.data {
        ResourceData::Text(text) => text.len(),
        ResourceData::Bytes(bytes) => in_base64(bytes.len()),
    }
}

const fn in_base64(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

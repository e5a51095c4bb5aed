//! Everything that can be asked of a session.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::mcp::{
    Kind, MAX_MESSAGE_BYTES, McpCall, McpCallResult, McpCompleted, McpCompletion, McpError,
    McpPrompt, McpPromptResult, McpResource, McpResourceContents, McpResourceTemplate,
    McpServerInfo, McpSession, McpTasks, McpTool, tool_name,
};

use super::calls::read_size;
use super::request::{Request, judged};
use super::session::Session;
use super::{McpFault, McpSeen, error};
use crate::locked;

#[async_trait]
impl McpSession for Session {
    fn server(&self) -> McpServerInfo {
        locked(&self.current).info.clone()
    }

    async fn tools(&self) -> Result<Arc<[McpTool]>, McpError> {
        let alias = &self.config.alias;
        let tools = self.list(
            "tools",
            "tools",
            |cache| &mut cache.tools,
            |offer| {
                let named = offer.tools.iter().map(|tool| {
                    Ok(McpTool {
                        name: tool_name(alias, &tool.remote).map_err(|_| "a tool has no name")?,
                        remote: tool.remote.clone(),
                        title: tool.title.clone(),
                        description: tool.description.clone(),
                        input_schema: tool.input_schema.clone(),
                        output_schema: tool.output_schema.clone(),
                        hints: tool.hints,
                        task_support: tool.task_support(&offer.info.protocol),
                    })
                });
                named.collect()
            },
        );
        let tools = tools.await?;
        let mut names: Vec<_> = tools.iter().map(|tool| &tool.name).collect();
        names.sort();
        let before = names.len();
        names.dedup();
        if names.len() == before {
            Ok(tools)
        } else {
            locked(&self.cache).tools = None;
            Err(error(
                Kind::Malformed,
                "tools",
                "two tools come out with one name",
            ))
        }
    }

    async fn call(&self, call: McpCall) -> Result<McpCallResult, McpError> {
        let request = Request {
            operation: "call",
            tool: Some(call.tool.clone()),
            timeout: call.timeout,
            cancel: call.cancel.clone(),
        };
        self.in_time(&request, self.run(&request, call)).await
    }

    fn as_tasks(&self) -> Option<&dyn McpTasks> {
        self.capabilities.tasks.then_some(self)
    }

    async fn resources(&self) -> Result<Arc<[McpResource]>, McpError> {
        self.list(
            "resources",
            "resources",
            |cache| &mut cache.resources,
            |offer| Ok(offer.resources.clone()),
        )
        .await
    }

    async fn resource_templates(&self) -> Result<Arc<[McpResourceTemplate]>, McpError> {
        self.list(
            "resource_templates",
            "templates",
            |cache| &mut cache.templates,
            |offer| Ok(offer.templates.clone()),
        )
        .await
    }

    async fn read_resource(&self, uri: &str) -> Result<Vec<McpResourceContents>, McpError> {
        let request = self.request("read_resource");
        let read = async {
            let (line, _) = self.enter(&request).await?;
            let seen = McpSeen::Read(uri.to_owned());
            let read = self.ask(&request, &line, seen, || async {
                let offer = self.server.offer();
                let read = offer.reads.iter().find_map(|read| read(uri));
                read.unwrap_or(Err(McpFault::Refused(-32002)))
            });
            let contents = read.await?;
            let bytes: usize = contents.iter().map(read_size).sum();
            if bytes > MAX_MESSAGE_BYTES {
                return Err(judged(&request, McpFault::TooLarge));
            }
            Ok(contents)
        };
        self.in_time(&request, read).await
    }

    async fn prompts(&self) -> Result<Arc<[McpPrompt]>, McpError> {
        self.list(
            "prompts",
            "prompts",
            |cache| &mut cache.prompts,
            |offer| {
                Ok(offer
                    .prompts
                    .iter()
                    .map(|(prompt, _)| prompt.clone())
                    .collect())
            },
        )
        .await
    }

    async fn prompt(
        &self,
        name: &str,
        arguments: BTreeMap<String, String>,
    ) -> Result<McpPromptResult, McpError> {
        let request = self.request("prompt");
        let filled = async {
            let (line, _) = self.enter(&request).await?;
            let seen = McpSeen::Prompted(name.to_owned());
            let filled = self.ask(&request, &line, seen, || async {
                let offer = self.server.offer();
                let known = offer.prompts.iter().find(|(prompt, _)| prompt.name == name);
                let (prompt, fill) = known.ok_or(McpFault::Refused(-32002))?;
                let is_whole = prompt
                    .arguments
                    .iter()
                    .all(|argument| !argument.required || arguments.contains_key(&argument.name));
                if is_whole {
                    Ok(fill(&arguments))
                } else {
                    Err(McpFault::Refused(-32602))
                }
            });
            filled.await
        };
        self.in_time(&request, filled).await
    }

    async fn complete(&self, completion: McpCompletion) -> Result<McpCompleted, McpError> {
        let request = self.request("complete");
        let completed = async {
            let (line, _) = self.enter(&request).await?;
            if !self.server().completions {
                return Err(request.failed(Kind::Unsupported, "the server completes nothing"));
            }
            let seen = McpSeen::Completed(completion.argument.clone());
            let completed = self.ask(&request, &line, seen, || async {
                let complete = self.server.offer().complete;
                complete.ok_or(McpFault::Refused(-32601))?(&completion)
            });
            let McpCompleted {
                values,
                total,
                has_more,
            } = completed.await?;
            Ok(McpCompleted::bounded(values, total, has_more))
        };
        self.in_time(&request, completed).await
    }

    async fn close(&self) -> Result<(), McpError> {
        self.close.set();
        let line = Arc::clone(&locked(&self.current).line);
        line.end();
        Ok(())
    }
}

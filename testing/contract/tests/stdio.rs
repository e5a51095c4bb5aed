//! The suite's own server, a process that speaks MCP on its standard input and output, against a client that others wrote.
//!
//! The client is made an adapter only as far as it goes: it validates nothing, bounds nothing and reconnects after a
//! death. The scenarios below need no more, and what they find would be the server's mistake.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what cannot be read is a failed test"
)]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rmcp::service::{RunningService, ServiceError};
use rmcp::transport::{ConfigureCommandExt as _, TokioChildProcess};
use rmcp::{Peer, RoleClient, ServiceExt as _};
use seaworthy_contract::{Outcome, mcp as mc, process};
use seaworthy_ports::mcp::{
    Hints, Kind, Mcp, McpCall, McpCallResult, McpCapabilities, McpCompleted, McpCompleting,
    McpCompletion, McpContent, McpError, McpPrompt, McpPromptArgument, McpPromptMessage,
    McpPromptResult, McpResource, McpResourceContents, McpResourceTemplate, McpServer,
    McpServerInfo, McpSession, McpTasks, McpTool, ResourceData, TaskSupport, Transport, tool_name,
};
use seaworthy_ports::model_provider::Role;
use seaworthy_ports::{AdapterInfo, async_trait};
use serde::Serialize;
use serde_json::{Value, json};

struct Harness;

#[async_trait]
impl mc::Harness for Harness {
    async fn start() -> Self {
        Self
    }

    fn mcp(&self) -> Arc<dyn Mcp> {
        Arc::new(Client)
    }

    fn server_process(&self) -> Option<Command> {
        process::this_test("a_server_of_a_scenario", "")
    }
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_server_of_a_scenario() -> Outcome {
    mc::serve()
}

macro_rules! speaks {
    ($($clause:literal $scenario:ident)*) => {
        $(
            #[test]
            fn $scenario() {
                let verdict = seaworthy_contract::suite::block_on(async {
                    let harness = <Harness as mc::Harness>::start().await;
                    let run = mc::$scenario(harness);
                    seaworthy_contract::suite::judge($clause, stringify!($scenario), run).await
                });
                seaworthy_contract::suite::demand(&verdict);
            }
        )*
    };
}

speaks! {
    "MC-1" a_server_tells_who_it_is_and_what_it_has
    "MC-1" a_server_of_the_previous_protocol_is_understood
    "MC-1" lists_are_paged_through_in_the_servers_order
    "MC-1" a_tool_arrives_with_everything_the_server_says_of_it
    "MC-1" a_list_that_changed_is_asked_for_again
    "MC-1" every_kind_of_content_arrives_typed
    "MC-1" a_tool_that_failed_is_an_answer
    "MC-1" structured_content_arrives_as_data
    "MC-1" resources_read_as_text_and_bytes
    "MC-1" a_prompt_is_filled_in
    "MC-1" an_answer_of_another_shape_is_malformed_and_the_session_goes_on
    "MC-1" a_line_that_is_no_message_ends_nothing
    "MC-2" a_death_leaves_the_call_unknown_and_the_next_call_reconnects
    "MC-2" every_call_in_flight_fails_with_its_server
    "MC-2" answers_in_any_order_reach_their_callers
    "MC-2" answers_that_nobody_waits_for_disturb_nobody
    "MC-2" a_server_that_does_not_start_is_unavailable
    "MC-3" a_call_that_takes_too_long_times_out_and_is_cancelled
    "MC-3" a_cancelled_call_ends_and_the_server_hears_of_it
    "MC-3" a_dropped_call_is_cancelled
    "MC-3" an_answer_after_the_cancellation_disturbs_nobody
    "MC-3" arguments_and_metadata_arrive_as_they_were_given
    "MC-3" a_server_that_never_speaks_times_out_and_leaves_nothing
    "MC-3" a_dropped_connect_leaves_nothing
    "MC-3" a_process_that_ignores_its_end_is_killed
    "MC-4" tools_are_named_by_alias_and_called_by_their_own_names
    "MC-4" hints_arrive_as_the_server_gave_them
    "MC-5" without_a_host_every_question_is_refused
    "MC-6" a_message_below_the_bound_arrives
    "MC-6" a_list_of_the_most_entries_arrives
    "MC-10" arguments_of_prompts_and_templates_are_completed
    "MC-7" a_server_that_complains_is_neither_stalled_nor_quoted
}

fn error(kind: Kind) -> McpError {
    McpError::new(kind, "rmcp", "call", "it failed")
}

/// What the client says went wrong; the effect is unknown unless the server refused.
fn failed(why: &ServiceError) -> McpError {
    match why {
        ServiceError::McpError(refused) => error(match refused.code.0 {
            -32002 => Kind::NotFound,
            -32602 => Kind::InvalidArguments,
            _ => Kind::Server,
        }),
        ServiceError::UnexpectedResponse => error(Kind::Malformed).with_unknown_effect(),
        _ => error(Kind::Unavailable).with_unknown_effect(),
    }
}

#[derive(Debug)]
struct Client;

#[async_trait]
impl Mcp for Client {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "rmcp",
            package: "rmcp",
            version: "3",
        }
    }

    fn capabilities(&self) -> McpCapabilities {
        McpCapabilities::NONE.with_stdio()
    }

    async fn connect(&self, server: McpServer) -> Result<Arc<dyn McpSession>, McpError> {
        let running = start(&server).await?;
        let info = info(running.peer());
        Ok(Arc::new(Session {
            server,
            running: tokio::sync::Mutex::new(Some(running)),
            info: Mutex::new(info),
        }))
    }
}

async fn start(server: &McpServer) -> Result<RunningService<RoleClient, ()>, McpError> {
    let Transport::Stdio(stdio) = &server.transport else {
        return Err(error(Kind::Unsupported));
    };
    let (program, arguments) = stdio.argv.split_first().unwrap();
    let command = tokio::process::Command::new(program).configure(|command| {
        let variables = stdio.env.iter();
        command
            .args(arguments)
            .current_dir(&stdio.cwd)
            .env_clear()
            .envs(variables.map(|(name, value)| (name, value.expose())));
    });
    let transport = TokioChildProcess::builder(command)
        .stderr(std::process::Stdio::null())
        .spawn();
    let (transport, _stderr) = transport.map_err(|_why| error(Kind::Unavailable))?;
    match tokio::time::timeout(server.connect_timeout, ().serve(transport)).await {
        Ok(Ok(running)) => Ok(running),
        Ok(Err(_why)) => Err(error(Kind::Unavailable)),
        Err(_late) => Err(error(Kind::Timeout)),
    }
}

fn info(peer: &Peer<RoleClient>) -> McpServerInfo {
    let info = json(&peer.peer_info().unwrap());
    let has = |name: &str| info["capabilities"].get(name).is_some();
    McpServerInfo {
        name: text(&info["serverInfo"]["name"]),
        version: text(&info["serverInfo"]["version"]),
        protocol: text(&info["protocolVersion"]),
        instructions: some(&info["instructions"]),
        tools: has("tools"),
        resources: has("resources"),
        prompts: has("prompts"),
        completions: has("completions"),
        logging: has("logging"),
    }
}

struct Session {
    server: McpServer,
    running: tokio::sync::Mutex<Option<RunningService<RoleClient, ()>>>,
    info: Mutex<McpServerInfo>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    async fn peer(&self) -> Result<Peer<RoleClient>, McpError> {
        let mut running = self.running.lock().await;
        let live = running.as_ref().ok_or_else(|| error(Kind::Rejected))?;
        if live.peer().is_transport_closed() {
            let fresh = start(&self.server).await?;
            *self.info.lock().unwrap() = info(fresh.peer());
            *running = Some(fresh);
        }
        Ok(running.as_ref().unwrap().peer().clone())
    }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

fn some(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn text(value: &Value) -> String {
    some(value).unwrap_or_default()
}

fn bytes(value: &Value) -> Bytes {
    use base64::Engine as _;

    let decoded = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap());
    decoded.unwrap().into()
}

fn resource(value: &Value) -> McpResource {
    McpResource {
        uri: text(&value["uri"]),
        name: text(&value["name"]),
        title: some(&value["title"]),
        description: some(&value["description"]),
        media_type: some(&value["mimeType"]),
        size: value["size"].as_u64(),
    }
}

fn contents(value: &Value) -> McpResourceContents {
    McpResourceContents {
        uri: text(&value["uri"]),
        media_type: some(&value["mimeType"]),
        data: match value["text"].as_str() {
            Some(text) => ResourceData::Text(text.to_owned()),
            None => ResourceData::Bytes(bytes(&value["blob"])),
        },
    }
}

fn content(value: &Value) -> McpContent {
    let media_type = text(&value["mimeType"]);
    match value["type"].as_str().unwrap() {
        "text" => McpContent::Text(text(&value["text"])),
        "image" => McpContent::Image {
            media_type,
            bytes: bytes(&value["data"]),
        },
        "audio" => McpContent::Audio {
            media_type,
            bytes: bytes(&value["data"]),
        },
        "resource" => McpContent::Resource(contents(&value["resource"])),
        _ => McpContent::ResourceLink(resource(value)),
    }
}

fn each<T>(values: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    values.as_array().into_iter().flatten().map(read).collect()
}

#[async_trait]
impl McpSession for Session {
    fn server(&self) -> McpServerInfo {
        self.info.lock().unwrap().clone()
    }

    async fn tools(&self) -> Result<Arc<[McpTool]>, McpError> {
        let peer = self.peer().await?;
        let tools = peer.list_all_tools().await.map_err(|why| failed(&why))?;
        let tools = each(&json(&tools), |tool| {
            let hint = |name: &str| tool["annotations"][name].as_bool();
            let remote = text(&tool["name"]);
            McpTool {
                name: tool_name(&self.server.alias, &remote).unwrap(),
                remote,
                title: some(&tool["title"]),
                description: text(&tool["description"]),
                input_schema: tool["inputSchema"].clone(),
                output_schema: tool.get("outputSchema").cloned(),
                hints: Hints {
                    read_only: hint("readOnlyHint"),
                    destructive: hint("destructiveHint"),
                    idempotent: hint("idempotentHint"),
                    open_world: hint("openWorldHint"),
                },
                task_support: TaskSupport::Forbidden,
            }
        });
        Ok(tools.into())
    }

    async fn call(&self, call: McpCall) -> Result<McpCallResult, McpError> {
        let peer = self.peer().await?;
        let mut params = json!({"name": call.tool, "arguments": call.arguments});
        if !call.meta.is_empty() {
            params["_meta"] = json!(call.meta);
        }
        let answer = tokio::select! {
            answer = peer.call_tool(serde_json::from_value(params).unwrap()) => answer,
            () = call.cancel.wait() => return Err(error(Kind::Cancelled).with_unknown_effect()),
            () = tokio::time::sleep(call.timeout) => {
                return Err(error(Kind::Timeout).with_unknown_effect());
            }
        };
        let answer = json(&answer.map_err(|why| failed(&why))?);
        Ok(McpCallResult {
            is_error: answer["isError"].as_bool().unwrap_or_default(),
            structured: answer.get("structuredContent").cloned(),
            content: each(&answer["content"], content),
        })
    }

    fn as_tasks(&self) -> Option<&dyn McpTasks> {
        None
    }

    async fn resources(&self) -> Result<Arc<[McpResource]>, McpError> {
        let peer = self.peer().await?;
        let all = peer
            .list_all_resources()
            .await
            .map_err(|why| failed(&why))?;
        Ok(each(&json(&all), resource).into())
    }

    async fn resource_templates(&self) -> Result<Arc<[McpResourceTemplate]>, McpError> {
        let peer = self.peer().await?;
        let all = peer.list_all_resource_templates().await;
        let all = each(&json(&all.map_err(|why| failed(&why))?), |template| {
            McpResourceTemplate {
                uri_template: text(&template["uriTemplate"]),
                name: text(&template["name"]),
                title: some(&template["title"]),
                description: some(&template["description"]),
                media_type: some(&template["mimeType"]),
            }
        });
        Ok(all.into())
    }

    async fn read_resource(&self, uri: &str) -> Result<Vec<McpResourceContents>, McpError> {
        let peer = self.peer().await?;
        let params = serde_json::from_value(json!({"uri": uri})).unwrap();
        let read = peer.read_resource(params).await;
        let read = json(&read.map_err(|why| failed(&why))?);
        Ok(each(&read["contents"], contents))
    }

    async fn prompts(&self) -> Result<Arc<[McpPrompt]>, McpError> {
        let peer = self.peer().await?;
        let all = peer.list_all_prompts().await.map_err(|why| failed(&why))?;
        let all = each(&json(&all), |prompt| McpPrompt {
            name: text(&prompt["name"]),
            title: some(&prompt["title"]),
            description: some(&prompt["description"]),
            arguments: each(&prompt["arguments"], |argument| McpPromptArgument {
                name: text(&argument["name"]),
                description: some(&argument["description"]),
                required: argument["required"].as_bool().unwrap_or_default(),
            }),
        });
        Ok(all.into())
    }

    async fn prompt(
        &self,
        name: &str,
        arguments: BTreeMap<String, String>,
    ) -> Result<McpPromptResult, McpError> {
        let peer = self.peer().await?;
        let params = json!({"name": name, "arguments": arguments});
        let filled = peer
            .get_prompt(serde_json::from_value(params).unwrap())
            .await;
        let filled = json(&filled.map_err(|why| failed(&why))?);
        Ok(McpPromptResult {
            description: some(&filled["description"]),
            messages: each(&filled["messages"], |message| McpPromptMessage {
                role: match message["role"].as_str() {
                    Some("assistant") => Role::Assistant,
                    _ => Role::User,
                },
                content: content(&message["content"]),
            }),
        })
    }

    async fn complete(&self, asked: McpCompletion) -> Result<McpCompleted, McpError> {
        let peer = self.peer().await?;
        let of = match asked.of {
            McpCompleting::Prompt(name) => json!({"type": "ref/prompt", "name": name}),
            McpCompleting::Template(uri) => json!({"type": "ref/resource", "uri": uri}),
        };
        let params = json!({
            "ref": of,
            "argument": {"name": asked.argument, "value": asked.value},
            "context": {"arguments": asked.given},
        });
        let answer = peer.complete(serde_json::from_value(params).unwrap()).await;
        let completion = &json(&answer.map_err(|why| failed(&why))?)["completion"];
        Ok(McpCompleted {
            values: each(&completion["values"], text),
            total: completion["total"].as_u64(),
            has_more: completion["hasMore"].as_bool().unwrap_or_default(),
        })
    }

    async fn close(&self) -> Result<(), McpError> {
        let running = self.running.lock().await.take();
        if let Some(running) = running {
            let _quit = running.cancel().await;
        }
        Ok(())
    }
}

//! Which tools of servers a run gets, and which lists it does not take.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_executor::block_on;
use seaworthy_core::NoSecrets;
use seaworthy_core::descriptor::{Descriptor, Materialised, ServerTools};
use seaworthy_core::servers::{
    Catalogue, Connections, ListError, MAX_CATALOGUE_BYTES, MAX_DESCRIPTION_BYTES,
    MAX_SCHEMA_BYTES, MAX_TOOLS, Place,
};
use seaworthy_fakes::{FakeMcp, FakeMcpServer, FakeMcpTool};
use seaworthy_ports::ServerAlias;
use serde_json::json;

const DESCRIPTOR: &str = r#"
version: seaworthy.agent_graph.v1
metadata: { name: listed }
runtime: { entry_agent: worker }
models:
  main: { provider: openai, model: table }
mcp_servers:
  desk:
    url: https://desk.invalid/mcp
    deny: [secret]
agents:
  worker: { instructions: Work., model: main, tools: ["desk.*"] }
"#;

fn descriptor() -> Materialised {
    Descriptor::parse(DESCRIPTOR, "listed.yaml")
        .unwrap()
        .materialise(|_path| Err("no files".to_owned()))
        .unwrap()
}

fn tool(name: &str) -> FakeMcpTool {
    FakeMcpTool::answering(name, "done").with_description("Does it.")
}

/// A tool that no arguments can be checked for.
fn odd() -> FakeMcpTool {
    tool("odd").with_input_schema(json!({ "$ref": "https://elsewhere.invalid/schema.json" }))
}

/// What an agent gets that picks these of the server's tools; `None`: all.
fn listed(tools: Vec<FakeMcpTool>, picks: &[Option<&str>]) -> Result<Catalogue, ListError> {
    let server = FakeMcpServer::new("desk");
    server.set_tools(tools);
    let mcp = FakeMcp::new().with_server("desk", server).unwrap();
    let place = Place {
        workspace: "/workspace".into(),
        base_dir: "/base".into(),
        environment: BTreeMap::new(),
        sandbox: None,
    };
    let servers = descriptor().mcp_servers;
    let connections = Connections::new(Arc::new(mcp), Arc::new(NoSecrets), servers, place);
    let picks: Vec<ServerTools> = picks
        .iter()
        .map(|tool| ServerTools {
            server: ServerAlias::new("desk").unwrap(),
            tool: tool.map(str::to_owned),
        })
        .collect();
    block_on(connections.list(&picks))
}

fn names(catalogue: &Catalogue) -> Vec<&str> {
    catalogue.tools.keys().map(|name| name.as_str()).collect()
}

#[test]
fn an_agent_gets_what_it_picks_and_the_descriptor_allows() {
    let tools = || vec![tool("look"), tool("send"), tool("secret")];
    let all = listed(tools(), &[None]).unwrap();
    assert_eq!(names(&all), ["desk__look", "desk__send"]);
    let one = listed(tools(), &[Some("look")]).unwrap();
    assert_eq!(names(&one), ["desk__look"]);
}

#[test]
fn a_tool_that_is_listed_by_name_and_is_not_there_is_an_error() {
    let missing = listed(vec![tool("look")], &[None, Some("send")]);
    assert!(
        matches!(&missing, Err(ListError::NoTool { tool, has, .. }) if tool == "send" && has == "look"),
        "{missing:?}"
    );
}

#[test]
fn a_tool_that_nobody_can_have_is_left_out_unless_it_is_listed_by_name() {
    let long = "x".repeat(MAX_DESCRIPTION_BYTES + 1);
    let large = json!({ "description": "x".repeat(MAX_SCHEMA_BYTES) });
    for odd in [
        odd(),
        tool("odd").with_description(long),
        tool("odd").with_input_schema(large.clone()),
        tool("odd").with_output_schema(large),
    ] {
        let rest = listed(vec![tool("look"), odd.clone()], &[None]).unwrap();
        assert_eq!(names(&rest), ["desk__look"]);
        assert_eq!(rest.left_out.len(), 1);
        let named = listed(vec![tool("look"), odd], &[None, Some("odd")]);
        assert!(
            matches!(named, Err(ListError::Unusable { .. })),
            "{named:?}"
        );
    }
}

#[test]
fn a_run_takes_no_more_tools_than_it_may_have() {
    let many = |count: usize| {
        (0..count)
            .map(|number| tool(&format!("t{number}")))
            .collect()
    };
    assert_eq!(
        listed(many(MAX_TOOLS), &[None]).unwrap().tools.len(),
        MAX_TOOLS
    );
    let more = listed(many(MAX_TOOLS + 1), &[None]);
    assert!(
        matches!(more, Err(ListError::TooMany { tools, .. }) if tools == MAX_TOOLS + 1),
        "{more:?}"
    );
}

#[test]
fn a_run_takes_no_more_bytes_of_tools_than_it_may_have() {
    let long = "x".repeat(MAX_DESCRIPTION_BYTES);
    let count = MAX_CATALOGUE_BYTES / MAX_DESCRIPTION_BYTES + 1;
    let tools = (0..count)
        .map(|number| tool(&format!("t{number}")).with_description(long.as_str()))
        .collect();
    let large = listed(tools, &[None]);
    assert!(
        matches!(large, Err(ListError::TooMany { bytes, .. }) if bytes > MAX_CATALOGUE_BYTES),
        "{large:?}"
    );
}

#[test]
fn what_is_left_out_is_bounded_on_record() {
    let tools = (0..MAX_TOOLS + 3)
        .map(|number| {
            let odd = json!({ "$ref": "https://elsewhere.invalid/schema.json" });
            tool(&format!("t{number}")).with_input_schema(odd)
        })
        .collect();
    let catalogue = listed(tools, &[None]).unwrap();
    assert_eq!(catalogue.left_out.len(), MAX_TOOLS);
}

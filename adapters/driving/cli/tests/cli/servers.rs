//! Agents whose tools are those of servers, and looking at these servers.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{Done, Place};

/// A server that notes calls in a file of the workspace. What its tool does, the file `described`
/// beside it says.
const SERVER: &str = r#"#!/bin/sh
here=$(dirname "$0")
while IFS= read -r line; do
    id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    case $line in
    *'"initialize"'*)
        result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"resources":{}},"serverInfo":{"name":"notes","version":"1"}}' ;;
    *'"tools/list"'*)
        result="{\"tools\":[{\"name\":\"note\",\"description\":\"$(cat "$here/described")\",\"inputSchema\":{\"type\":\"object\"}}]}" ;;
    *'"resources/list"'*) result='{"resources":[{"uri":"note://all","name":"all"}]}' ;;
    *'"resources/templates/list"'*) result='{"resourceTemplates":[]}' ;;
    *'"resources/read"'*) result='{"contents":[{"uri":"note://all","text":"all of it"}]}' ;;
    *'"tools/call"'*)
        echo "$SECRET_WORD" >>noted
        result='{"content":[{"type":"text","text":"noted"}]}' ;;
    *'"ping"'*) result='{}' ;;
    *) continue ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;

fn agent(floor: &str) -> String {
    format!(
        "version: seaworthy.agent_graph.v1
metadata: {{ name: noting }}
runtime: {{ entry_agent: noting, max_turns: 8 }}
models:
  main: {{ provider: scripted, script: script.yaml }}
mcp_servers:
  notes:
    command: [./server.sh]
    env: {{ SECRET_WORD: {{ secret: TEST_NOTES_WORD }} }}
    {floor}
agents:
  noting:
    instructions: Do as the script says.
    model: main
    tools: [\"notes.*\"]
"
    )
}

const SCRIPT: &str = "turns:
  - calls: [{ tool: notes__note, arguments: {} }]
  - text: \"Done: {{ last[0].text }}\"
";

fn place(floor: &str) -> Place {
    let place = Place::new();
    place.write("agent.yaml", &agent(floor));
    place.write("script.yaml", SCRIPT);
    place.write("described", "Notes.");
    place.write_tool("server.sh", SERVER);
    place
}

fn run(place: &Place, args: &[&str]) -> Done {
    let mut command = place.command(args);
    command.env("TEST_NOTES_WORD", "canary");
    Done::of(command.output().unwrap())
}

#[test]
fn an_agent_calls_the_tools_of_a_server_with_its_secret_and_no_record_has_that() {
    let place = place("risk: low");
    let done = run(&place, &["run", "agent.yaml", "--run-id", "r1", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("Done: noted"), "{done:?}");
    assert_eq!(place.lines("noted"), ["canary"]);
    assert!(!done.stdout.contains("canary"));
    let events = run(&place, &["events", "r1", "--json"]);
    assert!(!events.stdout.contains("canary"), "{events:?}");
    let kinds: Vec<String> = events
        .json_lines()
        .iter()
        .map(|record| record["type"].as_str().unwrap().to_owned())
        .collect();
    assert!(kinds.iter().any(|kind| kind == "tools_listed"), "{kinds:?}");

    // A strict replay needs neither the server nor its secret.
    fs::remove_file(place.path().join("server.sh")).unwrap();
    let replayed = place.run(&["replay", "r1", "--json"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert_eq!(place.lines("noted").len(), 1);
}

#[test]
fn a_server_runs_inside_the_sandbox_where_its_descriptor_says_so() {
    let place = place("sandbox: true\n    risk: low");
    let done = run(&place, &["run", "agent.yaml", "--run-id", "r1", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(place.lines("noted"), ["canary"]);
    let tools = run(&place, &["mcp", "tools", "agent.yaml", "--json"]);
    assert_eq!(tools.code, 0, "{tools:?}");
    let doctor = run(&place, &["doctor", "agent.yaml", "--json"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
}

#[test]
fn a_tool_that_nobody_said_anything_of_needs_an_approval() {
    let place = place("timeout: 20s");
    let asked = run(&place, &["run", "agent.yaml", "--run-id", "r1", "--json"]);
    assert_eq!(asked.code, 3, "{asked:?}");
    assert!(place.lines("noted").is_empty());
    assert_eq!(place.run(&["approve", "r1.c1"]).code, 0);
    let resumed = run(&place, &["resume", "r1", "--json"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(place.lines("noted").len(), 1);
}

#[test]
fn a_tool_that_changed_while_the_run_waited_is_asked_about_whatever_was_granted_before() {
    let place = place("approval: required");
    place.write(
        "script.yaml",
        "turns:
  - calls: [{ tool: notes__note, arguments: {} }]
  - calls: [{ tool: notes__note, arguments: {} }]
  - text: Done.
",
    );
    assert_eq!(
        run(&place, &["run", "agent.yaml", "--run-id", "r1"]).code,
        3
    );
    place.write("described", "Notes, and sends them to somebody.");
    let resumed = run(&place, &["resume", "r1", "--yes", "--json"]);
    assert_eq!(resumed.code, 3, "{resumed:?}");
    assert!(place.lines("noted").is_empty(), "it was called");
    assert_eq!(place.run(&["approve", "r1.c2"]).code, 0);
    let accepted = run(&place, &["resume", "r1", "--yes", "--json"]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    assert_eq!(place.lines("noted").len(), 1);
}

#[test]
fn the_servers_of_an_agent_are_looked_at() {
    let place = place("deny: [other]");
    let tools = run(&place, &["mcp", "tools", "agent.yaml", "--json"]);
    assert_eq!(tools.code, 0, "{tools:?}");
    let listed = &tools.json_lines()[0][0];
    assert_eq!(listed["name"], json!("notes"));
    let tool = &listed["tools"][0];
    assert_eq!(tool["name"], json!("notes__note"));
    assert_eq!(
        (&tool["risk"], &tool["approval"]),
        (&json!("high"), &json!("required"))
    );

    let resources = run(&place, &["mcp", "resources", "agent.yaml", "--json"]);
    assert_eq!(
        resources.json_lines()[0][0]["resources"][0]["uri"],
        json!("note://all")
    );
    let read = run(
        &place,
        &["mcp", "resources", "agent.yaml", "--read", "note://all"],
    );
    assert_eq!(read.stdout.trim(), "all of it");

    let called = run(
        &place,
        &["mcp", "call", "agent.yaml", "notes.note", "--json"],
    );
    assert_eq!(called.code, 0, "{called:?}");
    assert_eq!(called.json_lines()[0]["output"], json!("noted"));
    assert_eq!(
        run(&place, &["mcp", "call", "agent.yaml", "notes.nothing"]).code,
        1
    );
    assert_eq!(
        run(&place, &["mcp", "call", "agent.yaml", "notes.other"]).code,
        2
    );
    assert_eq!(
        run(&place, &["mcp", "call", "agent.yaml", "nobody.note"]).code,
        2
    );

    let doctor = run(&place, &["doctor", "agent.yaml", "--json"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    assert_eq!(doctor.json_lines()[0]["servers"][0]["tools"], json!(1));
}

#[test]
fn a_server_that_is_not_there_is_named_and_told_from_a_wrong_word() {
    let place = place("risk: low");
    fs::remove_file(place.path().join("server.sh")).unwrap();
    assert_eq!(run(&place, &["mcp", "tools", "agent.yaml"]).code, 1);
    let doctor = run(&place, &["doctor", "agent.yaml", "--json"]);
    assert_eq!(doctor.code, 1, "{doctor:?}");
    assert_eq!(doctor.json_lines()[0]["servers"][0]["ready"], json!(false));
    // Without its secret it is not even tried.
    let without = place.run(&["mcp", "tools", "agent.yaml"]);
    assert_eq!(without.code, 1);
    assert!(without.stdout.contains("TEST_NOTES_WORD"), "{without:?}");
}

/// The example's descriptor with the reference server where it is installed.
fn example() -> (PathBuf, String) {
    let place = std::env::var("SEAWORTHY_TEST_MCP").unwrap();
    let (_url, packages) = place.split_once('#').unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/notes");
    let text = fs::read_to_string(folder.join("agent.yaml")).unwrap();
    let installed = format!("[node, {packages}/server-filesystem/dist/index.js, \".\"]");
    let npx = "[npx, --yes, \"@modelcontextprotocol/server-filesystem\", \".\"]";
    assert!(text.contains(npx));
    (folder, text.replace(npx, &installed))
}

#[test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
fn the_example_keeps_notes_with_the_reference_server() {
    let (folder, text) = example();
    let place = Place::new();
    place.write("agent.yaml", &text);
    let script = fs::read_to_string(folder.join("script.yaml")).unwrap();
    place.write("script.yaml", &script);
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(place.lines("NOTES.md"), ["Begun by a script."]);
    assert_eq!(place.run(&["replay", "r1"]).code, 0);
    let doctor = place.run(&["doctor", "agent.yaml"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    let listed = place.json(&["mcp", "tools", "agent.yaml"]);
    let tools = listed[0]["tools"].as_array().unwrap();
    let write = tools
        .iter()
        .find(|tool| tool["tool"] == "write_file")
        .unwrap();
    assert_eq!(write["risk"], json!("destructive"));
}

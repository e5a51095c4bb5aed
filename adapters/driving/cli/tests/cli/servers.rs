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
        result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"resources":{},"prompts":{},"completions":{},"logging":{}},"serverInfo":{"name":"notes","version":"1"}}' ;;
    *'"tools/list"'*)
        result="{\"tools\":[{\"name\":\"note\",\"description\":\"$(cat "$here/described")\",\"inputSchema\":{\"type\":\"object\"}}]}" ;;
    *'"resources/list"'*) result='{"resources":[{"uri":"note://all","name":"all"}]}' ;;
    *'"resources/templates/list"'*) result='{"resourceTemplates":[]}' ;;
    *'"resources/read"'*) result='{"contents":[{"uri":"note://all","text":"all of it"}]}' ;;
    *'"prompts/list"'*)
        result='{"prompts":[{"name":"greet","description":"Greets.","arguments":[{"name":"who","required":true}]}]}' ;;
    *'"prompts/get"'*'"Ada"'*)
        result='{"messages":[{"role":"user","content":{"type":"text","text":"Hello, Ada\u001b[2J"}}]}' ;;
    *'"completion/complete"'*'"value":"A"'*)
        result='{"completion":{"values":["Ada","Al\u001b[2J"],"total":3,"hasMore":true}}' ;;
    *'"logging/setLevel"'*)
        printf '%s\n' "$line" | sed -n 's/.*"level":"\([a-z]*\)".*/\1/p' >>level
        continue ;;
    *'"tools/call"'*)
        echo "$SECRET_WORD" >>noted
        printf '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"warning","logger":"disk","data":"full\\u001b[2J"}}\n'
        if [ -e asks ]; then
            printf '{"jsonrpc":"2.0","id":"r","method":"roots/list"}\n'
            IFS= read -r answer
            echo "$answer" >>asks
        fi
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
fn the_prompts_of_a_server_are_listed_filled_in_and_completed() {
    let place = place("risk: low");
    let prompts = run(&place, &["mcp", "prompts", "agent.yaml", "--json"]);
    assert_eq!(prompts.code, 0, "{prompts:?}");
    let prompt = &prompts.json_lines()[0][0]["prompts"][0];
    assert_eq!(prompt["name"], json!("greet"));
    assert_eq!(prompt["arguments"][0]["required"], json!(true));
    let shown = run(&place, &["mcp", "prompts", "agent.yaml"]);
    assert!(shown.stdout.contains("greet who"), "{shown:?}");

    let get = [
        "mcp",
        "prompts",
        "agent.yaml",
        "--get",
        "greet",
        "--arguments",
    ];
    let filled = run(&place, &[&get[..], &["{\"who\": \"Ada\"}"]].concat());
    assert_eq!(
        (filled.code, filled.stdout.trim()),
        (0, "user: Hello, Ada\u{fffd}[2J")
    );
    let filled = run(
        &place,
        &[&get[..], &["{\"who\": \"Ada\"}", "--json"]].concat(),
    );
    let text = &filled.json_lines()[0]["messages"][0]["content"]["text"];
    assert_eq!(text, &json!("Hello, Ada\u{1b}[2J"));
    assert_eq!(run(&place, &[&get[..], &["{\"who\": 7}"]].concat()).code, 2);

    let complete = [
        "mcp",
        "complete",
        "agent.yaml",
        "notes",
        "--argument",
        "who",
        "--value",
        "A",
    ];
    let of = |whose: &[&str]| run(&place, &[&complete[..], whose].concat());
    let completed = of(&["--prompt", "greet", "--json"]);
    assert_eq!(completed.code, 0, "{completed:?}");
    let expected = json!({"values": ["Ada", "Al\u{1b}[2J"], "total": 3, "has_more": true});
    assert_eq!(completed.json_lines()[0], expected);
    let shown = of(&["--resource", "note://{who}"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (0, "Ada\nAl [2J\n"));
    assert!(shown.stderr.contains("3 in all"), "{shown:?}");
    assert_eq!(of(&[]).code, 2);
    assert_eq!(
        of(&["--prompt", "greet", "--resource", "note://{who}"]).code,
        2
    );
    assert_eq!(of(&["--prompt", "greet", "--given", "7"]).code, 2);
    let text = fs::read_to_string(place.path().join("server.sh")).unwrap();
    place.write_tool("server.sh", &text.replace(",\"completions\":{}", ""));
    assert_eq!(of(&["--prompt", "greet"]).code, 1);
}

#[test]
fn what_a_server_logs_is_beside_the_result_where_it_is_wanted() {
    let said = "notes warning (disk): full\\u{1b}[2J\n";
    let place = place("risk: low");
    let call = ["mcp", "call", "agent.yaml", "notes.note"];
    let plain = run(&place, &call);
    assert_eq!(
        (plain.stdout.as_str(), plain.stderr.as_str()),
        ("noted\n", "")
    );
    let told = run(&place, &[&call[..], &["--log", "info"]].concat());
    assert_eq!(
        (told.stdout.as_str(), told.stderr.as_str()),
        ("noted\n", said)
    );
    let told = run(&place, &[&call[..], &["--log", "info", "--json"]].concat());
    assert_eq!(told.json_lines()[0]["output"], json!("noted"));
    let log: serde_json::Value = serde_json::from_str(&told.stderr).unwrap();
    assert_eq!(log["log"]["text"], json!("full\u{1b}[2J"));
    assert_eq!(log["log"]["level"], json!("warning"));
    assert_eq!(
        run(&place, &["mcp", "tools", "agent.yaml", "--log", "alert"]).code,
        0
    );
    assert_eq!(place.lines("level"), ["info", "info", "alert"]);
    assert_eq!(
        run(&place, &[&call[..], &["--log", "loud"]].concat()).code,
        2
    );

    let wanted = self::place("risk: low\n    log: warning");
    assert_eq!(run(&wanted, &call).stderr, said);
    let done = run(&wanted, &["run", "agent.yaml", "--run-id", "r1", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(wanted.lines("level"), ["warning", "warning"]);
    // It is on no record.
    let events = run(&wanted, &["events", "r1", "--json"]);
    assert!(!events.stdout.contains("disk"), "{events:?}");
}

#[test]
fn a_server_is_told_the_folders_of_its_descriptor_on_the_host_and_inside_the_sandbox() {
    for sandbox in ["", "\n    sandbox: true"] {
        let place = place(&format!("risk: low\n    roots: [., my notes]{sandbox}"));
        place.write("work/asks", "");
        let called = run(&place, &["mcp", "call", "agent.yaml", "notes.note"]);
        assert_eq!(called.code, 0, "{called:?}");
        let done = run(&place, &["run", "agent.yaml", "--run-id", "r1", "--json"]);
        assert_eq!(done.code, 0, "{done:?}");
        let heard = place.lines("asks");
        assert_eq!(heard.len(), 2, "{heard:?}");
        for answer in heard {
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            let roots = &answer["result"]["roots"];
            let uri = |at: usize| roots[at]["uri"].as_str().unwrap().to_owned();
            assert!(uri(0).starts_with("file:///"), "{answer}");
            assert_eq!(uri(1), format!("{}/my%20notes", uri(0)));
            let path = uri(0).replace("file://", "");
            assert_eq!(
                fs::canonicalize(path).unwrap(),
                fs::canonicalize(place.work()).unwrap()
            );
        }
    }
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

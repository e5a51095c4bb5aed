//! Servers that are shell scripts, agents that have their tools, and the one that asks for whom it is to book.

use std::fs;

use serde_json::Value;

use crate::support::{Done, Place};

/// A server that answers each line with the `result` that `cases` set, under the `id` of the line unless they set another;
/// those that go on with `continue` leave the line without an answer. `before` is done for each line, ahead of them.
pub(crate) fn server(before: &str, cases: &str) -> String {
    format!(
        r#"#!/bin/sh
while IFS= read -r line; do
    id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    {before}
    case $line in
    {cases}
    *) continue ;;
    esac
    printf '{{"jsonrpc":"2.0","id":%s,"result":%s}}\n' "$id" "$result"
done
"#
    )
}

/// The server is a script beside the agent.
pub(crate) const SCRIPT: &str = "command: [./server.sh]";

/// An agent with all tools of the server `alias`, of which its descriptor says these `lines`.
pub(crate) fn agent(alias: &str, lines: &[&str]) -> String {
    let lines = lines.join("\n    ");
    format!(
        "version: seaworthy.agent_graph.v1
metadata: {{ name: served }}
runtime: {{ entry_agent: served, max_turns: 8 }}
models:
  main: {{ provider: scripted, script: script.yaml }}
mcp_servers:
  {alias}:
    {lines}
agents:
  served:
    instructions: Do as the script says.
    model: main
    tools: [\"{alias}.*\"]
"
    )
}

/// The turns of a model that calls `tool` and says what came of it.
pub(crate) fn calling(tool: &str) -> String {
    format!(
        "  - calls: [{{ tool: {tool}, arguments: {{}} }}]
  - text: \"Done: {{{{ last[0].text }}}}\"
"
    )
}

/// An agent whose model takes these `turns`, beside the script of its server.
pub(crate) fn place(agent: &str, turns: &str, server: &str) -> Place {
    let place = Place::new();
    place.write("agent.yaml", agent);
    place.write("script.yaml", &format!("turns:\n{turns}"));
    place.write_tool("server.sh", server);
    place
}

/// A server whose one tool asks what the file `question` says, notes that in `asked`, and writes what it heard into `booked`.
/// Without `go` it does not get beyond hearing it.
pub(crate) fn asking() -> String {
    server(
        "",
        r#"*'"initialize"'*)
        result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"desk","version":"1"}}' ;;
    *'"tools/list"'*)
        result='{"tools":[{"name":"book","description":"Books.","inputSchema":{"type":"object"}}]}' ;;
    *'"tools/call"'*)
        call=$id
        echo asked >>asked
        cat question
        continue ;;
    *'"action":"accept"'* | *'"role":"assistant"'*)
        echo heard >>heard
        if [ ! -e go ]; then exec sleep 60; fi
        heard=$(printf '%s' "$line" | sed -n 's/.*"\(name\|text\)":"\([A-Za-z]*\)".*/\2/p')
        echo "$heard" >>booked
        id=$call
        result="{\"content\":[{\"type\":\"text\",\"text\":\"booked for $heard\"}]}" ;;
    *'"action":'*)
        id=$call
        result='{"content":[{"type":"text","text":"not booked"}]}' ;;"#,
    )
}

/// The question of a server that wants a name.
pub(crate) const FORM: &str = r#"{"jsonrpc":"2.0","id":900,"method":"elicitation/create","params":{"message":"For whom?","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}}}"#;

/// What answers it.
pub(crate) const ADA: [&str; 2] = ["--with", "{\"name\": \"Ada\"}"];

/// Answers the question of the run's first call.
pub(crate) fn answer(place: &Place, how: &[&str]) {
    let answered = place.run(&[&["answer", "r1.c1"], how].concat());
    assert_eq!(answered.code, 0, "{answered:?}");
}

/// Lets the server get on.
pub(crate) fn go(place: &Place) {
    fs::write(place.work().join("go"), "").unwrap();
}

/// How many records of this type the run has.
pub(crate) fn events(place: &Place, name: &str) -> usize {
    let events = place.run(&["events", "r1", "--json"]);
    let is_it = |record: &&Value| record["type"] == name;
    events.json_lines().iter().filter(is_it).count()
}

/// The run succeeded, and said this.
pub(crate) fn said(done: &Done, text: &str) {
    let said = (done.code, done.stdout.trim_end());
    assert_eq!(said, (0, text), "{done:?}");
}

//! Servers that ask something while they work on a call.

use serde_json::json;

use crate::support::{Done, Place};

/// A server whose one tool asks for a name, and writes it down once it has one.
const SERVER: &str = r#"#!/bin/sh
call=
while IFS= read -r line; do
    id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    case $line in
    *'"initialize"'*)
        result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"desk","version":"1"}}' ;;
    *'"tools/list"'*)
        result='{"tools":[{"name":"book","description":"Books.","inputSchema":{"type":"object"}}]}' ;;
    *'"tools/call"'*)
        call=$id
        printf '{"jsonrpc":"2.0","id":900,"method":"elicitation/create","params":{"message":"For whom?","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}}}\n'
        continue ;;
    *'"action":"accept"'*)
        name=$(printf '%s' "$line" | sed -n 's/.*"name":"\([A-Za-z]*\)".*/\1/p')
        echo "$name" >>booked
        id=$call
        result="{\"content\":[{\"type\":\"text\",\"text\":\"booked for $name\"}]}" ;;
    *'"action":'*)
        id=$call
        result='{"content":[{"type":"text","text":"not booked"}]}' ;;
    *) continue ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;

const AGENT: &str = "version: seaworthy.agent_graph.v1
metadata: { name: booking }
runtime: { entry_agent: booking, max_turns: 8 }
models:
  main: { provider: scripted, script: script.yaml }
mcp_servers:
  desk:
    command: [./server.sh]
    side_effect: idempotent
    risk: low
    elicitation: ask
agents:
  booking:
    instructions: Do as the script says.
    model: main
    tools: [\"desk.*\"]
";

const SCRIPT: &str = "turns:
  - calls: [{ tool: desk__book, arguments: {} }]
  - text: \"Done: {{ last[0].text }}\"
";

pub(crate) fn place() -> Place {
    let place = Place::new();
    place.write("agent.yaml", AGENT);
    place.write("script.yaml", SCRIPT);
    place.write_tool("server.sh", SERVER);
    place
}

fn parked() -> Place {
    let place = place();
    let asked = place.run(&["run", "agent.yaml", "--run-id", "r1", "--json"]);
    assert_eq!(asked.code, 3, "{asked:?}");
    let last = asked.json_lines().pop().unwrap();
    assert_eq!(last["waiting_for"], json!("question"), "{asked:?}");
    assert_eq!(last["questions"][0]["call_id"], json!("r1.c1"));
    assert!(place.lines("booked").is_empty());
    place
}

fn resumed(place: &Place) -> Done {
    place.run(&["resume", "r1", "--json"])
}

#[test]
fn a_question_waits_for_its_answer_and_any_process_goes_on_with_it() {
    let place = parked();
    let listed = place.run(&["questions", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed[0]["call_id"], json!("r1.c1"));
    assert_eq!(listed[0]["server"], json!("desk"));
    assert_eq!(listed[0]["wants"]["message"], json!("For whom?"));
    let shown = place.run(&["questions"]);
    assert!(shown.stdout.contains("r1.c1"), "{shown:?}");
    assert!(shown.stdout.contains("For whom?  (name)"), "{shown:?}");

    let wrong = place.run(&["answer", "r1.c1", "--with", "{\"name\": 7}"]);
    assert_ne!(wrong.code, 0, "{wrong:?}");
    assert!(wrong.stderr.contains("/name"), "{wrong:?}");
    let none = place.run(&["answer", "r1.c1", "--allow"]);
    assert!(none.stderr.contains("give one"), "{none:?}");
    let no_json = place.run(&["answer", "r1.c1", "--with", "Ada"]);
    assert_eq!(no_json.code, 2, "{no_json:?}");

    let answered = place.run(&["answer", "r1.c1", "--with", "{\"name\": \"Ada\"}", "--json"]);
    assert_eq!(answered.code, 0, "{answered:?}");
    let again = place.run(&["answer", "r1.c1", "--decline"]);
    assert!(again.stderr.contains("answered before"), "{again:?}");

    let done = resumed(&place);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("Done: booked for Ada"), "{done:?}");
    assert_eq!(place.lines("booked"), ["Ada"]);
    let replayed = place.run(&["replay", "r1", "--json"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert_eq!(place.lines("booked").len(), 1);
}

#[test]
fn a_server_learns_that_nobody_wants_to_answer() {
    let place = parked();
    assert_eq!(place.run(&["answer", "r1.c1", "--decline"]).code, 0);
    let done = resumed(&place);
    assert!(done.stdout.contains("Done: not booked"), "{done:?}");
    assert!(place.lines("booked").is_empty());
}

#[test]
fn a_call_that_asks_nothing_has_no_question() {
    let place = parked();
    let unknown = place.run(&["answer", "r1.c2", "--decline"]);
    assert_ne!(unknown.code, 0);
    assert!(unknown.stderr.contains("r1.c2"), "{unknown:?}");
}

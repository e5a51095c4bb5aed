//! Servers of the protocol version 2026-07-28: one that asks by answering, so that nobody holds anything while a person
//! thinks, and the program's own.

use serde_json::{Value, json};

use crate::desk::{self, ADA, agent, answer, calling};
use crate::mcp_conformance::Listening;
use crate::support::{Place, script};

/// A server whose one tool asks for a name, and writes it down once it has one. It knows no `initialize`, and nothing of a
/// call that it has asked about but what it is told again.
fn server() -> String {
    desk::server(
        "",
        r#"*'"initialize"'*)
        echo initialize >>seen
        printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32022,"message":"no","data":{"supported":["2026-07-28"]}}}\n' "$id"
        continue ;;
    *'"server/discover"'*)
        echo discover >>seen
        result='{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}' ;;
    *'"tools/list"'*)
        result='{"resultType":"complete","tools":[{"name":"book","description":"Books.","inputSchema":{"type":"object"}}],"ttlMs":60000,"cacheScope":"private"}' ;;
    *'"requestState":"opaque/1"'*'"tools/call"'*|*'"tools/call"'*'"requestState":"opaque/1"'*)
        case $line in
        *'"action":"accept"'*)
            name=$(printf '%s' "$line" | sed -n 's/.*"content":{"name":"\([A-Za-z]*\)".*/\1/p')
            echo "$name" >>booked
            result="{\"resultType\":\"complete\",\"content\":[{\"type\":\"text\",\"text\":\"booked for $name\"}]}" ;;
        *)
            result='{"resultType":"complete","content":[{"type":"text","text":"not booked"}]}' ;;
        esac ;;
    *'"tools/call"'*)
        echo call >>seen
        result='{"resultType":"input_required","requestState":"opaque/1","inputRequests":{"who":{"method":"elicitation/create","params":{"message":"For whom?","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}}}}}' ;;"#,
    )
}

/// A run that waits for the answer to the server's question.
fn parked(protocol: &str) -> Place {
    let protocol = format!("protocol: {protocol}");
    let lines = [
        desk::SCRIPT,
        "side_effect: idempotent",
        "risk: low",
        "elicitation: ask",
        &protocol,
    ];
    let place = desk::place(&agent("desk", &lines), &calling("desk__book"), &server());
    let asked = place.run(&["run", "agent.yaml", "--run-id", "r1", "--json"]);
    assert_eq!(asked.code, 3, "{asked:?}");
    let last = asked.json_lines().pop().unwrap();
    assert_eq!(last["waiting_for"], json!("question"), "{asked:?}");
    assert_eq!(last["questions"][0]["wants"]["message"], json!("For whom?"));
    assert!(place.lines("booked").is_empty());
    place
}

#[test]
fn a_run_waits_for_the_answer_and_any_process_goes_on_with_it() {
    for (protocol, greeting) in [
        ("auto", ["initialize", "discover"].as_slice()),
        ("2026-07-28", &["discover"]),
    ] {
        let place = parked(protocol);
        let begun: Vec<&str> = greeting.iter().copied().chain(["call"]).collect();
        assert_eq!(place.lines("seen"), begun);
        answer(&place, &ADA);
        let done = place.run(&["resume", "r1", "--json"]);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.stdout.contains("Done: booked for Ada"), "{done:?}");
        assert_eq!(place.lines("booked"), ["Ada"]);
        // It was made again from the beginning, and answered from the record.
        assert_eq!(place.lines("seen"), [begun.as_slice(), &begun].concat());
        let replayed = place.run(&["replay", "r1", "--json"]);
        assert_eq!(replayed.code, 0, "{replayed:?}");
        assert_eq!(place.lines("booked").len(), 1);
    }
}

#[test]
fn a_server_learns_that_nobody_wants_to_answer() {
    let place = parked("2026-07-28");
    answer(&place, &["--decline"]);
    let done = place.run(&["resume", "r1", "--json"]);
    assert!(done.stdout.contains("Done: not booked"), "{done:?}");
    assert!(place.lines("booked").is_empty());
}

/// Calls an agent that the program itself serves, and reads its run.
fn calls_an_agent(place: &Place, reached: &str) {
    let agent = format!(
        "version: seaworthy.agent_graph.v1
metadata: {{ name: calling }}
runtime: {{ entry_agent: calling }}
models:
  main: {{ provider: scripted, script: script.yaml }}
mcp_servers:
  agents: {{ {reached}, protocol: 2026-07-28 }}
agents:
  calling: {{ instructions: Do., model: main, tools: [\"agents.*\"] }}
"
    );
    place.write("calling.yaml", &agent);
    let listed = place.run(&["mcp", "tools", "calling.yaml", "--json"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(listed.stdout.contains("run_status"), "{listed:?}");
    let arguments = "{\"input\": \"Go.\", \"run_id\": \"r1\", \"wait_seconds\": 50}";
    let call = ["mcp", "call", "calling.yaml", "agents.tester", "--json"];
    let called = place.run(&[&call[..], &["--arguments", arguments]].concat());
    assert_eq!(called.code, 0, "{called:?}");
    assert!(called.stdout.contains("Done."), "{called:?}");
    let read = ["--read", "seaworthy://runs/r1", "--json"];
    let read = place.run(&[&["mcp", "resources", "calling.yaml"], &read[..]].concat());
    assert_eq!(read.code, 0, "{read:?}");
    let read: Value = serde_json::from_str(&read.stdout).unwrap();
    assert!(read.to_string().contains("Done."), "{read}");
    assert_eq!(place.lines("note").len(), 1);
}

#[test]
fn the_agents_that_the_program_serves_are_called_over_http() {
    let place = Place::with_script(&script(&["note"]));
    let server = Listening::start(&place, &["agent.yaml"]);
    calls_an_agent(&place, &format!("url: \"{}\"", server.url));
    server.stop();
}

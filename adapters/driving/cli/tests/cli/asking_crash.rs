//! Workers that are killed while a server waits for an answer: the answer is not lost, and nothing happens twice.

use std::fs;

use serde_json::Value;

use crate::support::{Place, finish, kill, until};

/// A server whose one tool asks, notes that in `asked`, and writes what it heard into `booked`. Without `go` it does not get
/// beyond hearing it.
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
    *) continue ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;

const FORM: &str = r#"{"jsonrpc":"2.0","id":900,"method":"elicitation/create","params":{"message":"For whom?","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}}}"#;

const MODEL: &str = r#"{"jsonrpc":"2.0","id":900,"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"Think of a name."}}],"maxTokens":20}}"#;

/// The model takes its time for what a server asks it.
const SCRIPT: &str = "turns:
  - when: \"{{ 'Think' in input }}\"
    text: Ada
    latency: 4s
  - calls: [{ tool: desk__book, arguments: {} }]
  - text: \"Done: {{ last[0].text }}\"
";

fn place(side_effect: &str, question: &str) -> Place {
    let place = Place::new();
    place.write(
        "agent.yaml",
        &format!(
            "version: seaworthy.agent_graph.v1
metadata: {{ name: booking }}
runtime: {{ entry_agent: booking, max_turns: 8 }}
models:
  main: {{ provider: scripted, script: script.yaml }}
mcp_servers:
  desk:
    command: [./server.sh]
    side_effect: {side_effect}
    risk: low
    elicitation: ask
    sampling: ask
agents:
  booking:
    instructions: Do as the script says.
    model: main
    tools: [\"desk.*\"]
"
        ),
    );
    place.write("script.yaml", SCRIPT);
    place.write_tool("server.sh", SERVER);
    fs::write(place.work().join("question"), format!("{question}\n")).unwrap();
    place
}

fn parked(question: &str) -> Place {
    let place = place("idempotent", question);
    let parked = place.run(&["run", "agent.yaml", "--run-id", "r1"]);
    assert_eq!(parked.code, 3, "{parked:?}");
    place
}

fn answer(place: &Place, how: &[&str]) {
    let answered = place.run(&[&["answer", "r1.c1"], how].concat());
    assert_eq!(answered.code, 0, "{answered:?}");
}

const ADA: [&str; 2] = ["--with", "{\"name\": \"Ada\"}"];

fn go(place: &Place) {
    fs::write(place.work().join("go"), "").unwrap();
}

fn events(place: &Place, name: &str) -> usize {
    let events = place.run(&["events", "r1", "--json"]);
    let is_it = |record: &&Value| record["type"] == name;
    events.json_lines().iter().filter(is_it).count()
}

fn is_booked_once(place: &Place) {
    let done = place.run(&["resume", "r1"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done: booked for Ada\n"),
        "{done:?}"
    );
    assert_eq!(place.lines("booked"), ["Ada"]);
    for event in ["question_asked", "question_answered"] {
        assert_eq!(events(place, event), 1, "{event}");
    }
    assert_eq!(place.json(&["verify", "r1"])["ok"], true);
}

#[test]
fn an_answer_outlives_the_worker_that_had_given_it_to_the_server() {
    let place = parked(FORM);
    answer(&place, &ADA);
    let child = place.start(&["resume", "r1"]);
    place.wait_for_file("heard");
    kill(child);
    go(&place);
    is_booked_once(&place);
    assert_eq!(
        place.lines("asked").len(),
        3,
        "whoever goes on is asked again"
    );
}

#[test]
fn a_model_call_for_a_server_that_was_cut_off_is_made_again_and_another_is_not() {
    let place = parked(MODEL);
    answer(&place, &["--allow"]);
    let child = place.start(&["resume", "r1"]);
    // The model is called once the server has asked again, and takes seconds.
    until(|| place.lines("asked").len() == 2);
    kill(child);
    assert_eq!(events(&place, "question_answered"), 1);
    assert_eq!(events(&place, "question_sampled"), 0);
    let child = place.start(&["resume", "r1"]);
    place.wait_for_file("heard");
    kill(child);
    assert_eq!(events(&place, "question_sampled"), 1);
    go(&place);
    is_booked_once(&place);
    assert_eq!(events(&place, "question_sampled"), 1, "it is on record");
}

#[test]
fn a_held_call_is_in_doubt_when_its_worker_is_killed_and_its_question_stays() {
    let place = place("non_idempotent", FORM);
    let child = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    place.wait_for_file("asked");
    until(|| place.json(&["questions"])[0]["call_id"] == "r1.c1");
    assert_eq!(place.show("r1")["status"], "running");
    kill(child);
    let doubt = place.run(&["resume", "r1"]);
    assert_eq!(doubt.code, 3, "{doubt:?}");
    assert_eq!(place.show("r1")["waiting_for"], "in_doubt");
    let listed = place.json(&["questions"]);
    assert_eq!(listed, serde_json::json!([]), "nobody waits for it now");
    let resolved = place.run(&["resolve", "r1.c1", "--did-not-happen"]);
    assert_eq!(resolved.code, 0, "{resolved:?}");
    go(&place);
    let child = place.start(&["resume", "r1"]);
    until(|| place.lines("asked").len() == 2);
    until(|| place.show("r1")["questions"][0]["call_id"] == "r1.c1");
    answer(&place, &ADA);
    let done = finish(child);
    assert_eq!(done.code, 0, "{done:?}");
    is_booked_once(&place);
}

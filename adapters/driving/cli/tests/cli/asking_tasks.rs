//! Tasks whose servers ask something in the middle, and workers that are killed meanwhile.

use std::process::Child;

use crate::desk::{self, ADA, agent, answer, calling, events, go, said};
use crate::support::{Place, finish, kill, until};

/// A process that keeps its one task in files: `began`, `asked` each time that it asks for a name, and `booked` with the
/// name. Without `go` it does not get beyond hearing the name.
fn server() -> String {
    desk::server(
        r#"status=input_required
    if [ -e booked ]; then status=completed; fi
    task='"taskId":"the one","createdAt":"2025-11-25T10:30:00Z","lastUpdatedAt":"2025-11-25T10:30:00Z","ttl":null,"pollInterval":50,"status":'"#,
        r#"*'"initialize"'*)
        result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"tasks":{"requests":{"tools":{"call":{}}}}},"serverInfo":{"name":"desk","version":"1"}}' ;;
    *'"tools/list"'*)
        result='{"tools":[{"name":"book","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}}]}' ;;
    *'"tools/call"'*)
        echo call >>began
        result="{\"task\":{$task\"working\"}}" ;;
    *'"tasks/get"'*) result="{$task\"$status\"}" ;;
    *'"tasks/result"'*)
        if [ ! -e booked ]; then
            echo asked >>asked
            printf '{"jsonrpc":"2.0","id":900,"method":"elicitation/create","params":{"message":"For whom?","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"the one"}}}}\n'
            continue
        fi
        result="{\"content\":[{\"type\":\"text\",\"text\":\"booked for $(cat booked)\"}]}" ;;
    *'"action":"accept"'*)
        echo heard >>heard
        if [ ! -e go ]; then exec sleep 60; fi
        if [ ! -e booked ]; then
            printf '%s' "$line" | sed -n 's/.*"name":"\([A-Za-z]*\)".*/\1/p' >>booked
        fi
        continue ;;
    *'"action":'*) echo refused >>refused; continue ;;"#,
    )
}

/// An agent whose server, reached like this, may ask persons and models.
fn place(server: &str, turns: &str) -> Place {
    let lines = [server, "risk: low", "elicitation: ask", "sampling: ask"];
    desk::place(&agent("desk", &lines), turns, &self::server())
}

/// A run whose question is open, which a worker holds because the server is a process.
fn asked() -> (Place, Child) {
    let place = place(desk::SCRIPT, &calling("desk__book"));
    let child = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    place.wait_for_file("asked");
    until(|| is_asked(&place));
    (place, child)
}

fn is_asked(place: &Place) -> bool {
    let shown = place.show("r1");
    shown["questions"][0]["call_id"] == "r1.c1" && shown["calls"][0]["status"] == "deferred"
}

/// The run was done once, whatever happened to it.
fn is_booked_once(place: &Place) {
    for file in ["began", "booked"] {
        assert_eq!(place.lines(file).len(), 1, "{file}");
    }
    assert_eq!(place.lines("booked"), ["Ada"]);
    assert!(place.lines("refused").is_empty());
    for event in ["question_asked", "question_answered", "tool_started"] {
        assert_eq!(events(place, event), 1, "{event}");
    }
    assert_eq!(place.json(&["verify", "r1"])["ok"], true);
    let replayed = place.run(&["replay", "r1"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert_eq!(place.lines("began").len(), 1);
}

#[test]
fn a_task_hears_the_answer_of_another_process() {
    let (place, child) = asked();
    assert_eq!(place.show("r1")["status"], "running");
    let listed = place.json(&["questions"]);
    assert_eq!(listed[0]["call_id"], "r1.c1", "{listed}");
    assert_eq!(listed[0]["wants"]["message"], "For whom?", "{listed}");
    go(&place);
    answer(&place, &ADA);
    said(&finish(child), "Done: booked for Ada");
    is_booked_once(&place);
    assert_eq!(place.json(&["questions"]), serde_json::json!([]));
}

#[test]
fn a_task_outlives_a_worker_that_is_killed_while_its_question_is_open() {
    let (place, child) = asked();
    kill(child);
    go(&place);
    answer(&place, &ADA);
    said(&place.run(&["resume", "r1"]), "Done: booked for Ada");
    assert_eq!(place.show("r1")["attempt"], 2);
    assert_eq!(
        place.lines("asked").len(),
        2,
        "it is asked for its question"
    );
    is_booked_once(&place);
}

#[test]
fn an_answer_outlives_a_worker_that_is_killed_once_it_is_on_record() {
    let (place, child) = asked();
    answer(&place, &ADA);
    place.wait_for_file("heard");
    kill(child);
    assert_eq!(events(&place, "question_answered"), 1);
    assert!(place.lines("booked").is_empty());
    go(&place);
    said(&place.run(&["resume", "r1"]), "Done: booked for Ada");
    is_booked_once(&place);
}

fn packages() -> (String, String) {
    let place = std::env::var("SEAWORTHY_TEST_MCP").unwrap();
    let (url, packages) = place.split_once('#').unwrap();
    (url.to_owned(), packages.to_owned())
}

fn reference_server() -> String {
    let (_url, packages) = packages();
    format!("command: [node, {packages}/server-everything/dist/index.js, stdio]")
}

#[test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
fn the_reference_server_asks_in_the_middle_of_its_research() {
    let place = place(
        &reference_server(),
        "  - calls: [{ tool: desk__simulate_research_query_b3243ea3, arguments: { topic: python, ambiguous: true } }]
  - text: \"{{ last[0].text }}\"
",
    );
    let child = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    until(|| is_there(&place) && is_asked(&place));
    let wrong = place.run(&[
        "answer",
        "r1.c1",
        "--with",
        "{\"interpretation\": \"bird\"}",
    ]);
    assert_ne!(wrong.code, 0, "{wrong:?}");
    answer(&place, &["--with", "{\"interpretation\": \"snake\"}"]);
    let done = finish(child);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("Clarification**: snake"), "{done:?}");
    assert_eq!(events(&place, "tool_started"), 1);
    assert_eq!(events(&place, "question_asked"), 1);
    assert_eq!(place.run(&["replay", "r1"]).code, 0);
}

/// A run of a tool of the reference server, which says nothing that would let the call be made again: the worker holds the
/// call, and the question is open.
fn held(server: &str, call: &str) -> (Place, Child) {
    let place = place(
        server,
        &format!(
            "  - when: \"{{{{ 'context' in input }}}}\"
    text: Scripted words.
  - calls: [{call}]
  - text: \"{{{{ last[0].text }}}}\"
"
        ),
    );
    let child = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    until(|| is_there(&place) && place.show("r1")["questions"][0]["call_id"] == "r1.c1");
    (place, child)
}

/// Whether the run is on record.
fn is_there(place: &Place) -> bool {
    place.run(&["show", "r1"]).code == 0
}

/// Answers the open question from another process, and gives what the run came to.
fn done_with(server: &str, call: &str, answer: &[&str]) -> (Place, String) {
    let (place, child) = held(server, call);
    desk::answer(&place, answer);
    let done = finish(child);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(events(&place, "question_asked"), 1);
    assert_eq!(place.run(&["replay", "r1"]).code, 0);
    (place, done.stdout)
}

/// The name that the reference server's tool has here.
fn named(server: &str, tool: &str) -> String {
    let listing = place(server, "  - text: nothing\n");
    let listed = listing.json(&["mcp", "tools", "agent.yaml"]);
    let text = listed.to_string();
    let start = text.find(&format!("desk__{tool}_")).unwrap();
    text[start..].split('"').next().unwrap().to_owned()
}

fn asks_and_samples(server: &str) {
    let elicit = named(server, "trigger_elicitation_request");
    let call = format!("{{ tool: {elicit}, arguments: {{}} }}");
    let fields = r#"{"name": "Ada", "check": true, "firstLine": "Call me."}"#;
    let (_place, said) = done_with(server, &call, &["--with", fields]);
    assert!(said.contains("Ada"), "{said}");

    let sample = named(server, "trigger_sampling_request");
    let call = format!("{{ tool: {sample}, arguments: {{ prompt: Greet. }} }}");
    let (place, said) = done_with(server, &call, &["--allow"]);
    assert!(said.contains("Scripted words."), "{said}");
    assert_eq!(events(&place, "question_sampled"), 1);

    let (place, said) = done_with(server, &call, &["--decline"]);
    assert!(!said.contains("Scripted words."), "{said}");
    assert_eq!(events(&place, "question_sampled"), 0);
}

#[test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
fn the_reference_server_asks_the_user_and_a_model_over_standard_input_and_output() {
    asks_and_samples(&reference_server());
}

#[test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
fn the_reference_server_asks_the_user_and_a_model_over_http() {
    let (url, _packages) = packages();
    asks_and_samples(&format!("url: {url}"));
}

//! The example agents on the reference servers of the protocol, over both transports. The one for files is in `servers`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::Place;

/// A place with a descriptor of the example, in which each of `changes` is made once.
fn example(descriptor: &str, changes: &[(&str, String)]) -> Place {
    let place = Place::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/reference-servers");
    let mut text = fs::read_to_string(folder.join(descriptor)).unwrap();
    let remembered = place.path().join("memory.jsonl");
    let memory = (
        "/tmp/seaworthy-memory.jsonl",
        remembered.display().to_string(),
    );
    for (written, here) in changes.iter().chain([&memory]) {
        assert_eq!(text.matches(written).count(), 1, "{written}");
        text = text.replace(written, here);
    }
    place.write("agent.yaml", &text);
    let script = fs::read_to_string(folder.join("script.yaml")).unwrap();
    place.write("script.yaml", &script);
    place
}

/// What `npx` would install, where it is installed.
fn installed(server: &str) -> (&'static str, String) {
    let place = std::env::var("SEAWORTHY_TEST_MCP").unwrap();
    let (_url, packages) = place.split_once('#').unwrap();
    let written = match server {
        "memory" => "npx, --yes, \"@modelcontextprotocol/server-memory\"",
        _ => "npx, --yes, \"@modelcontextprotocol/server-everything\"",
    };
    let here = format!("node, {packages}/server-{server}/dist/index.js");
    (written, here)
}

/// Runs the agent to its end and looks at what came of its calls.
fn explored(place: &Place) {
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let memory = fs::read_to_string(place.path().join("memory.jsonl")).unwrap();
    assert!(memory.contains("asked a script to look around"), "{memory}");
    let shown = place.show("r1");
    let answer = shown["output"].as_str().unwrap();
    assert!(answer.contains("visitor"), "{shown}");

    let events = place.run(&["events", "r1", "--json"]);
    let outcomes: Vec<Value> = events
        .json_lines()
        .into_iter()
        .filter(|record| record["type"] == "tool_succeeded")
        .collect();
    let told = outcomes.iter().map(Value::to_string).collect::<String>();
    assert_eq!(outcomes.len(), 5, "{events:?}");
    for said in ["42", "temperature", "image/png", "visitor"] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert_eq!(place.run(&["replay", "r1"]).code, 0);
    let listed = place.json(&["mcp", "tools", "agent.yaml"]);
    let names: Vec<&Value> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    let expected = [&json!("mcp-servers/everything"), &json!("memory-server")];
    assert_eq!(names, expected);
    let doctor = place.run(&["doctor", "agent.yaml"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
}

#[test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
fn the_example_remembers_and_tries_everything_over_standard_input_and_output() {
    let place = example(
        "agent.yaml",
        &[installed("memory"), installed("everything")],
    );
    explored(&place);
}

#[test]
#[cfg_attr(not(has_mcp), ignore = "SEAWORTHY_TEST_MCP names no server")]
fn the_example_remembers_and_tries_everything_over_http() {
    let place = std::env::var("SEAWORTHY_TEST_MCP").unwrap();
    let (url, _packages) = place.split_once('#').unwrap();
    let address = ("http://127.0.0.1:3001/mcp", url.to_owned());
    let place = example("over-http.yaml", &[installed("memory"), address]);
    explored(&place);
}

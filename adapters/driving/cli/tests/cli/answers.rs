//! Answers that must fit a schema, as the command line shows them.

use std::path::Path;

use crate::support::Place;
use serde_json::{Value, json};

const AGENT: &str = "version: seaworthy.agent_graph.v1
metadata: { name: counter }
runtime: { entry_agent: counter }
models:
  main: { provider: scripted, script: script.yaml, capabilities: { tool_use: false } }
agents:
  counter:
    instructions: Count.
    model: main
    output_schema: schema.json
";

const SCHEMA: &str = "{\"type\": \"object\", \"required\": [\"n\"], \"properties\": {\"n\": {\"type\": \"integer\"}}}";

fn place(schema: &str, turns: &str) -> Place {
    let place = Place::new();
    place.write("agent.yaml", AGENT);
    place.write("schema.json", schema);
    place.write("script.yaml", turns);
    place
}

#[test]
fn the_example_answers_with_json_after_one_repair() {
    let example =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/inventory/agent.yaml");
    let place = Place::new();
    place.write("work/one", "");
    place.write("work/two", "");
    let args = ["run", example.to_str().unwrap(), "--run-id", "r1"];
    let done = place.run(&args);
    assert_eq!(done.code, 0, "{done:?}");
    let answer: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(answer["names"].as_array().unwrap().len(), answer["count"]);
    let names = answer["names"].as_array().unwrap();
    assert!(names.contains(&json!("one")) && names.contains(&json!("two")));
    assert_eq!(done.stdout.lines().count(), 1);
    let shown = place.show("r1");
    assert_eq!((&shown["value"], &shown["turns"]), (&answer, &json!(3)));
    assert_eq!(shown["calls"].as_array().unwrap().len(), 1);
    let events = place.run(&["events", "r1"]).stdout;
    assert_eq!(events.matches("answer_rejected").count(), 1, "{events}");
}

#[test]
fn an_answer_in_text_is_printed_without_what_is_around_it() {
    let turns = "turns:\n  - text: \"Here:\\n```json\\n{ \\\"n\\\": 3 }\\n```\"\n";
    let place = place(SCHEMA, turns);
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let last = done.json_lines().pop().unwrap();
    assert_eq!(last["value"], json!({"n": 3}));
    assert_eq!(last["output"], "{\"n\":3}");
}

#[test]
fn a_run_whose_answers_never_fit_fails_and_says_what_is_wrong() {
    // A script starts again when the user speaks, so it says the same to the repair.
    let place = place(SCHEMA, "turns:\n  - text: three\n");
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1"]);
    assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
    let shown = place.show("r1");
    assert_eq!(shown["error"]["code"], "invalid_answer");
    assert_eq!(
        (&shown["turns"], &shown["value"]),
        (&json!(2), &Value::Null)
    );
}

#[test]
fn a_schema_that_is_none_is_refused_before_anything_runs() {
    for schema in ["{\"type\": \"array\"}", "no json"] {
        let place = place(schema, "turns:\n  - text: three\n");
        let done = place.run(&["run", "agent.yaml"]);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.contains("agent.yaml:10:20"), "{done:?}");
        assert!(done.stderr.contains("schema.json"), "{done:?}");
    }
}

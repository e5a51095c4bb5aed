//! The official inspector's command line as a client of `mcp serve`, over both transports.

use seaworthy_servers::Tools;
use serde_json::{Value, json};

use crate::mcp_conformance::Listening;
use crate::support::{Done, Place, script};

/// Asks a server of the agent in `place` through the inspector, which starts and ends with the question.
fn asked(place: &Place, target: &[&str], question: &[&str]) -> Value {
    let mut inspector = Tools::installed().command("inspector/clients/launcher/build/index.js");
    // What it starts itself gets little more of the environment than the search path.
    inspector
        .arg("--cli")
        .args(target)
        .args(["--method"])
        .args(question)
        .current_dir(place.path());
    let done = Done::of(inspector.output().unwrap());
    assert_eq!(done.code, 0, "{question:?}: {done:?}");
    serde_json::from_str(&done.stdout).unwrap()
}

/// Tools, a run of an agent, its resource and its prompt.
fn looked_at(place: &Place, target: &[&str]) {
    let ask = |question: &[&str]| asked(place, target, question);
    let names = |listed: &Value, list: &str| -> Vec<String> {
        let entries = listed[list].as_array().unwrap().iter();
        entries
            .map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let tools = names(&ask(&["tools/list"]), "tools");
    assert!(tools.contains(&"tester".to_owned()) && tools.contains(&"run_status".to_owned()));

    let call = ["tools/call", "--tool-name", "tester"];
    let arguments = ["input=Go.", "run_id=r1", "wait_seconds=50"];
    let arguments = arguments.iter().flat_map(|one| ["--tool-arg", one]);
    let called = ask(&call.into_iter().chain(arguments).collect::<Vec<_>>());
    assert_eq!(called["isError"], json!(false), "{called}");
    assert_eq!(called["structuredContent"]["answer"], json!("Done."));

    let resources = ask(&["resources/list"]);
    let uri = "seaworthy://runs/r1";
    let listed = resources["resources"].as_array().unwrap();
    assert!(
        listed.iter().any(|resource| resource["uri"] == uri),
        "{resources}"
    );
    let read = ask(&["resources/read", "--uri", uri]);
    let text = read["contents"][0]["text"].as_str().unwrap();
    let run: Value = serde_json::from_str(text).unwrap();
    assert_eq!(run["answer"], json!("Done."), "{run}");
    let templates = ask(&["resources/templates/list"]);
    assert!(
        !templates["resourceTemplates"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    assert_eq!(names(&ask(&["prompts/list"]), "prompts"), ["tester"]);
    let prompt = [
        "prompts/get",
        "--prompt-name",
        "tester",
        "--prompt-args",
        "input=Count.",
    ];
    let filled = ask(&prompt);
    let said = filled["messages"].as_array().unwrap();
    assert_eq!(said.last().unwrap()["content"]["text"], json!("Count."));
    assert_eq!(place.lines("note").len(), 1);
}

#[test]
#[cfg_attr(not(has_mcp_tools), ignore = "SEAWORTHY_TEST_MCP_TOOLS names no tools")]
fn the_inspector_runs_an_agent_over_standard_input_and_output() {
    let place = Place::with_script(&script(&["note"]));
    let program = env!("CARGO_BIN_EXE_seaworthy");
    let target = [program, "mcp", "serve", "agent.yaml", "--workspace", "work"];
    looked_at(&place, &target);
}

#[test]
#[cfg_attr(not(has_mcp_tools), ignore = "SEAWORTHY_TEST_MCP_TOOLS names no tools")]
fn the_inspector_runs_an_agent_over_http() {
    let place = Place::with_script(&script(&["note"]));
    let server = Listening::start(&place, &["agent.yaml"]);
    looked_at(&place, &[&server.url]);
    server.stop();
}

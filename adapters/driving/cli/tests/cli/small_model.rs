//! The example agent with a real model behind llama.cpp, so small that what it says cannot be relied on: only the way there
//! is looked at.

use std::path::Path;

use serde_json::Value;

use crate::support::{Done, Place};

/// A model that knows no tools and cannot be made to call one, but keeps to schemas.
const MODEL: &str = "
  main:
    provider: openai
    model: smollm2
    tools: by_schema
    max_output_tokens: 160
    parameters: { seed: SEED, temperature: TEMPERATURE }
    # A machine that does much else answers late.
    retry: { attempts: 8, elapsed: 20m }
";

/// The example agent with that model, which has to look before it answers. The first time the model says what is likeliest.
fn agent(round: u32) -> Place {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/inventory");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let place = Place::new();
    let scripted = "\n  main: { provider: scripted, script: script.yaml }\n";
    let (before, after) = read("agent.yaml")
        .split_once(scripted)
        .map(|(before, after)| (before.to_owned(), after.to_owned()))
        .unwrap();
    let after = after.trim_end();
    let choice = "    parameters: { tool_choice: required }\n";
    let temperature = if round == 0 { "0" } else { "0.4" };
    let model = MODEL
        .replace("SEED", &round.to_string())
        .replace("TEMPERATURE", temperature);
    place.write("agent.yaml", &format!("{before}{model}{after}\n{choice}"));
    place.write("answer.json", &read("answer.json"));
    place.write("work/one", "");
    place
}

/// What is asked for says how it is answered: so small a model does what was done before, unless it is told.
const INPUT: &str = "List the files. Then say {\"answer\": {\"count\": 1, \"names\": [\"one\"]}}";

/// How often it is asked until it is done.
const ROUNDS: u32 = 3;

fn url() -> String {
    std::env::var("SEAWORTHY_TEST_SMALL_MODEL").unwrap()
}

/// The run of the agent if it succeeded, or what came of it.
fn asked(url: &str, round: u32) -> Result<(Place, Value), String> {
    let place = agent(round);
    let mut command = place.command(&[
        "run",
        "agent.yaml",
        "--run-id",
        "r1",
        "--input",
        INPUT,
        "--json",
    ]);
    command.env("OPENAI_BASE_URL", format!("{url}/v1"));
    let done = Done::of(command.output().unwrap());
    let shown = place.show("r1");
    if done.code == 0 {
        Ok((place, shown))
    } else {
        Err(format!("{done:?}: {shown}"))
    }
}

#[test]
#[cfg_attr(
    not(has_small_model),
    ignore = "SEAWORTHY_TEST_SMALL_MODEL names no server"
)]
fn a_real_model_that_knows_no_tools_calls_one_and_answers_with_what_fits() {
    // What is likeliest is not the same on every processor, so it may have to be asked once more.
    let mut ended = asked(&url(), 0);
    for round in 1..ROUNDS {
        ended = ended.or_else(|_failed| asked(&url(), round));
    }
    let (place, shown) = ended.unwrap();
    let value = &shown["value"];
    assert!(value["count"].is_u64(), "{value}");
    assert!(value["names"].is_array(), "{value}");
    let calls = shown["calls"].as_array().unwrap();
    assert!(!calls.is_empty(), "{shown}");
    assert!(calls.iter().all(|call| call["tool"] == "list"), "{shown}");
    let events = place.run(&["events", "r1", "--json"]).json_lines();
    let answers: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "model_called")
        .collect();
    assert!(answers.len() > calls.len(), "{events:?}");
}

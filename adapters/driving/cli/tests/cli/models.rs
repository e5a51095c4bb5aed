//! `models`: what is known of an agent's models, and which can be reached.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::Place;

/// A server that answers every request with this, as long as the test lives. Returns its address.
fn answering(status: u16, body: &Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = body.to_string();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut head = Vec::new();
            let mut byte = [0; 1];
            while !head.ends_with(b"\r\n\r\n") && connection.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            connection.write_all(answer.as_bytes()).ok();
        }
    });
    url
}

const AGENT: &str = "
version: seaworthy.agent_graph.v1
metadata: { name: tester }
runtime: { entry_agent: tester }
models:
  main:
    provider: openai
    model: offered
    fallback: [spare, gone]
    price: { input: 1.25, output: 10 }
    limits: { concurrent: 4 }
    capabilities: { vision_input: false }
    max_output_tokens: 512
    parameters: { temperature: 0.5 }
  gone: { provider: openai, model: missing }
  spare: { provider: anthropic, model: claude-test }
  script: { provider: scripted, script: script.yaml }
agents:
  tester: { instructions: Test., model: main }
";

fn place() -> Place {
    let place = Place::new();
    place.write("agent.yaml", AGENT);
    place.write("script.yaml", "turns: [{ text: hello }]\n");
    place
}

/// The rows by their aliases, and what the program ended with.
fn models(place: &Place, flags: &[&str], environment: &[(&str, &str)]) -> (Value, i32) {
    let arguments = [&["models", "agent.yaml", "--json"], flags].concat();
    let mut command = place.command(&arguments);
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let by_alias = rows
        .into_iter()
        .map(|row| (row["alias"].as_str().unwrap().to_owned(), row));
    (
        Value::Object(by_alias.collect()),
        output.status.code().unwrap(),
    )
}

#[test]
fn each_alias_says_what_is_known_and_whether_it_is_there() {
    let url = answering(
        200,
        &json!({"data": [
            {"id": "offered", "context_length": 4096, "max_completion_tokens": 9000,
                "architecture": {"input_modalities": ["text", "image", "audio"]}},
            {"id": "other"},
        ]}),
    );
    let (rows, code) = models(&place(), &[], &[("OPENAI_BASE_URL", &url)]);
    assert_eq!(code, 1);
    let main = &rows["main"];
    assert_eq!(main["reach"], json!({"state": "reachable"}));
    assert_eq!(main["context_tokens"], json!(4096));
    assert_eq!(main["max_output_tokens"], json!(512));
    assert_eq!(main["fallback"], json!(["spare", "gone"]));
    assert_eq!(main["price"]["input"], json!(1_250_000));
    assert_eq!(main["limits"], json!({"concurrent": 4}));
    assert_eq!(main["parameters"], json!({"temperature": 0.5}));
    let capabilities = &main["capabilities"];
    // What the alias says goes before what the provider says.
    assert_eq!(capabilities["vision_input"], json!("absent"));
    assert_eq!(capabilities["audio_input"], json!("present"));
    assert_eq!(capabilities["tool_use"], json!("unknown"));
    assert_eq!(rows["gone"]["reach"]["code"], json!("not_found"));
    assert_eq!(rows["spare"]["reach"]["state"], json!("not_configured"));
    assert_eq!(rows["script"]["reach"]["state"], json!("not_asked"));
}

#[test]
fn a_provider_that_refuses_or_is_not_there_is_said_to() {
    let refused = answering(401, &json!({"error": {"code": "invalid_api_key"}}));
    let key = ("OPENAI_API_KEY", "sk-canary-0123456789");
    let (rows, code) = models(&place(), &[], &[("OPENAI_BASE_URL", &refused), key]);
    assert_eq!(code, 1);
    assert_eq!(rows["main"]["reach"]["code"], json!("authentication"));
    assert!(!rows.to_string().contains("canary"));
    // Nobody listens there: the port was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let (rows, _code) = models(&place(), &[], &[("OPENAI_BASE_URL", &nobody)]);
    assert_eq!(rows["main"]["reach"]["code"], json!("network"));
}

#[test]
fn offline_nobody_is_asked() {
    let place = place();
    let (rows, code) = models(&place, &["--offline"], &[]);
    assert_eq!(code, 1);
    assert_eq!(rows["main"]["reach"]["state"], json!("not_configured"));
    let environment = [
        ("OPENAI_BASE_URL", "http://127.0.0.1:9"),
        ("ANTHROPIC_API_KEY", "k"),
    ];
    let (rows, code) = models(&place, &["--offline"], &environment);
    assert_eq!(code, 0);
    for alias in ["main", "gone", "spare", "script"] {
        assert_eq!(rows[alias]["reach"], json!({"state": "not_asked"}));
    }
}

#[test]
fn a_person_reads_prices_and_chains() {
    let place = place();
    let done = place.run(&["models", "agent.yaml", "--offline"]);
    assert_eq!(done.code, 1);
    for part in [
        "USD 1.25 input, 10 output a million tokens",
        "spare, gone",
        "4 at once",
        "ANTHROPIC_API_KEY",
    ] {
        assert!(done.stdout.contains(part), "{part}: {done:?}");
    }
    let wrong = place.run(&["models", "nowhere.yaml"]);
    assert_eq!(wrong.code, 2);
}

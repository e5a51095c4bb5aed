//! Phoenix, a backend of OpenTelemetry that others wrote: what it gives back of a run whose spans it was sent.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "../../../adapters/driven/otlp/tests/support/facts.rs"]
mod facts;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use seaworthy_otlp::{OtlpConfig, OtlpObserver};
use seaworthy_ports::observer::Observer as _;
use seaworthy_ports::{SpanId, TraceContext};
use serde_json::{Value, json};

/// The longest anything here may take; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(110);

/// The body of an answer; `None`: it is none, such as that the project is not known yet.
fn get(url: &str, path: &str) -> Option<Value> {
    let host = url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(host).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    // Of version 1.0, so that the answer comes in one piece.
    write!(connection, "GET {path} HTTP/1.0\r\nhost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let is_well = head.lines().next().unwrap().ends_with("200 OK");
    is_well.then(|| serde_json::from_str(body).unwrap())
}

/// The spans of a project, once there are so many: the backend keeps them some time after it took them.
fn spans(url: &str, project: &str, wanted: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let found = get(url, &format!("/v1/projects/{project}/spans?limit=1000"));
        let found = found.map(|found| found.get("data").and_then(Value::as_array).unwrap().clone());
        let found = found.unwrap_or_default();
        if found.len() >= wanted {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{} spans came", found.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[cfg_attr(
    not(has_phoenix),
    ignore = "SEAWORTHY_TEST_PHOENIX names no server; see `cargo xtask services run --only phoenix`"
)]
fn a_backend_gives_a_run_back_with_its_parts_in_it_and_without_what_was_said() {
    let url = std::env::var("SEAWORTHY_TEST_PHOENIX").unwrap();
    // A project of this test's own.
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let project = format!("run-{}-{}", std::process::id(), since.as_nanos());
    let config = OtlpConfig::new(&url).with_resource("openinference.project.name", &project);
    let observer = OtlpObserver::start(&config).unwrap();
    for fact in facts::of_a_run() {
        observer.observe(&fact);
    }
    // What it has no place for, such as metrics, it refuses; that is no loss of spans.
    let _refused = observer.shutdown(PATIENCE);
    assert_eq!(observer.dropped(), 0);

    let spans = spans(&url, &project, 12);
    let parent = TraceContext::parse(facts::PARENT, None).unwrap();
    let named = |name: &str| -> Vec<&Value> {
        let named = spans.iter().filter(|span| span["name"] == name);
        named.collect()
    };
    let whole = named("invoke_agent starter");
    let calls = named("chat moon-1");
    let tools = named("execute_tool publish");
    let counts = [whole.len(), calls.len(), tools.len(), spans.len()];
    assert_eq!(counts, [1, 5, 4, 12]);
    assert_eq!(whole[0]["parent_id"], json!(parent.span().to_string()));
    let id = SpanId::of(b"whole").to_string();
    for span in &spans {
        assert_eq!(
            span["context"]["trace_id"],
            json!(parent.trace().to_string())
        );
        if span["context"]["span_id"] != json!(id) {
            assert_eq!(span["parent_id"], json!(id), "{span}");
        }
    }

    for call in calls {
        let told = &call["attributes"];
        assert_eq!(told["gen_ai.operation.name"], "chat", "{told}");
        assert_eq!(told["gen_ai.provider.name"], "gcp.gemini", "{told}");
        assert_eq!(told["gen_ai.request.model"], "moon-1", "{told}");
        assert_eq!(told["gen_ai.request.temperature"], 0.25, "{told}");
        if call["status_code"] != "ERROR" {
            assert_eq!(told["gen_ai.usage.input_tokens"], 100, "{told}");
            assert_eq!(told["gen_ai.usage.output_tokens"], 30, "{told}");
        }
    }
    for tool in tools {
        let told = &tool["attributes"];
        assert_eq!(told["gen_ai.operation.name"], "execute_tool", "{told}");
        assert_eq!(told["gen_ai.tool.name"], "publish", "{told}");
        assert_eq!(told["gen_ai.tool.call.id"], "run_1.c1", "{told}");
    }
    let all = Value::from(spans.clone()).to_string();
    for said in [facts::CONTENT, "Publish.", "Begin.", "Hm.", "published"] {
        assert!(!all.contains(said), "{said:?} is in what the backend keeps");
    }
}

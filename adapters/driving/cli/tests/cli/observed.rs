//! What a collector gets of runs that the program does: here Rotel, which nobody here wrote.

use std::collections::BTreeMap;
use std::fs;

use crate::support::{Done, Place, script, until};

/// Where the collector listens, and where it writes down what it gets. A test that needs it is ignored where there is
/// none, so it is there.
fn collector() -> (String, String) {
    let url = std::env::var("SEAWORTHY_TEST_ROTEL").unwrap();
    let (url, log) = url.split_once('#').unwrap();
    (url.to_owned(), log.to_owned())
}

#[test]
fn a_collector_that_is_not_there_costs_a_word_and_no_run() {
    let place = Place::with_script(&script(&["note"]));
    let output = place
        .command(&["run", "agent.yaml", "--otlp", "http://127.0.0.1:9"])
        .output()
        .unwrap();
    let done = Done::of(output);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("OTLP"), "{done:?}");
    assert_eq!(place.lines("note").len(), 1);
}

#[test]
fn an_address_of_no_collector_is_refused_before_anything_runs() {
    let place = Place::with_script(&script(&["note"]));
    let done = place.run(&["run", "agent.yaml", "--otlp", "collector"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(place.lines("note").is_empty());
}

/// A span as the collector wrote it down: by the names it gives to things.
type Written = BTreeMap<String, String>;

/// The spans of a trace.
fn written(log: &str, trace: &str) -> Vec<Written> {
    let text = fs::read_to_string(log).unwrap();
    let mut spans: Vec<Written> = Vec::new();
    for line in text.lines() {
        if line.starts_with("Span #") {
            spans.push(Written::new());
        } else if line.starts_with("Resource") || line.starts_with("Metric") {
            // What follows is not about the span.
            spans.push(Written::new());
        } else if let (Some(span), Some((name, value))) = (spans.last_mut(), line.split_once(':')) {
            let name = name.trim().trim_start_matches("-> ");
            span.insert(name.to_owned(), value.trim().to_owned());
        }
    }
    spans.retain(|span| span.get("Trace ID").map(String::as_str) == Some(trace));
    spans
}

fn time(span: &Written, name: &str) -> u64 {
    span[name].parse().unwrap()
}

#[test]
#[cfg_attr(not(has_rotel), ignore = "SEAWORTHY_TEST_ROTEL names no collector")]
fn a_collector_shows_each_step_of_a_run_in_the_trace_it_was_started_in() {
    let (url, log) = collector();
    let place = Place::with_script(&script(&["note", "list"]));
    let pid = std::process::id();
    let trace = format!("{:024x}{pid:08x}", 0x5ea_u32);
    let output = place
        .command(&["run", "agent.yaml", "--run-id", "seen", "--otlp", &url])
        .env("TRACEPARENT", format!("00-{trace}-00f067aa0ba902b7-01"))
        .output()
        .unwrap();
    let done = Done::of(output);
    assert_eq!(done.code, 0, "{done:?}");
    // Three answers, two calls, one attempt, and the run.
    until(|| written(&log, &trace).len() == 7);
    let spans = written(&log, &trace);
    let named = |name: &str| -> Vec<&Written> {
        spans.iter().filter(|span| span["Name"] == name).collect()
    };
    let run = named("invoke_agent tester");
    assert_eq!(run.len(), 1);
    let run = run[0];
    assert_eq!(run["Parent ID"], "00f067aa0ba902b7");
    assert_eq!(run["Kind"], "SPAN_KIND_INTERNAL");
    assert_eq!(run["seaworthy.run.id"], "Str(seen)");
    let calls = [
        named("chat script.yaml"),
        named("execute_tool note"),
        named("execute_tool list"),
    ];
    assert_eq!(calls.each_ref().map(Vec::len), [3, 1, 1]);
    for part in calls.iter().flatten().chain(&named("attempt")) {
        assert_eq!(part["Parent ID"], run["ID"], "{part:?}");
        let (start, end) = (time(part, "Start time"), time(part, "End time"));
        assert!(start <= end && time(run, "Start time") <= start, "{part:?}");
    }
    // The tool starts a process: that takes its time, and the run takes at least that.
    let tool = calls[1][0];
    let length = |span: &Written| time(span, "End time") - time(span, "Start time");
    assert!(
        length(tool) > 0 && length(run) >= length(tool),
        "{tool:?} {run:?}"
    );
    assert_eq!(tool["gen_ai.tool.call.id"], "Str(seen.c1)");
    assert_eq!(tool["seaworthy.tool.side_effect"], "Str(idempotent)");

    // What is on record is not told again: there is nothing left to do, so nothing is shown.
    let again = place.command(&["run", "agent.yaml", "--run-id", "seen", "--otlp", &url]);
    assert_eq!(Done::of({ again }.output().unwrap()).code, 0);
    assert_eq!(written(&log, &trace).len(), 7);
}

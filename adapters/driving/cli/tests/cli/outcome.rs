//! What `run` and the commands that look at runs print.

use crate::support::{Place, agent, script};
use serde_json::Value;

#[test]
fn a_run_that_succeeds_prints_its_answer_and_says_that_its_model_is_a_script() {
    let place = Place::with_script(&script(&["list", "note"]));
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.stdout, "Done.\n");
    assert!(done.stderr.contains("script"), "{done:?}");
    assert_eq!(place.lines("note").len(), 1);
}

#[test]
fn the_same_command_again_reports_the_outcome_and_runs_nothing() {
    let place = Place::with_script(&script(&["note"]));
    for _again in 0..3 {
        let done = place.run(&["run", "agent.yaml", "--run-id", "r1"]);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (0, "Done.\n"),
            "{done:?}"
        );
    }
    assert_eq!(place.lines("note").len(), 1);
    assert_eq!(place.show("r1")["attempt"], 1);
}

#[test]
fn a_run_id_that_exists_is_refused_for_another_input_or_descriptor() {
    let place = Place::with_script(&script(&["note"]));
    assert_eq!(
        place
            .run(&["run", "agent.yaml", "--run-id", "r1", "--input", "a"])
            .code,
        0
    );
    assert_eq!(
        place
            .run(&["run", "agent.yaml", "--run-id", "r1", "--input", "b"])
            .code,
        2
    );
    place.write("agent.yaml", &agent("other", 16));
    assert_eq!(
        place
            .run(&["run", "agent.yaml", "--run-id", "r1", "--input", "a"])
            .code,
        2
    );
    assert_eq!(place.lines("note").len(), 1);
}

#[test]
fn run_in_json_is_a_line_for_each_record_and_the_run_as_the_last() {
    let place = Place::with_script(&script(&["note"]));
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let lines = done.json_lines();
    let records: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["seq"].as_u64())
        .collect();
    assert_eq!(records, (1..=records.len() as u64).collect::<Vec<_>>());
    assert!(
        lines
            .iter()
            .any(|line| line["type"] == "text_delta" && line["data"]["delta"].is_string())
    );
    let last = lines.last().unwrap();
    assert_eq!(*last, place.show("r1"));
    assert_eq!(
        (&last["status"], &last["output"]),
        (&"succeeded".into(), &"Done.".into())
    );
    assert_eq!(last["records"], records.len());
}

#[test]
fn show_has_the_ledger_of_side_effects_and_every_call() {
    let place = Place::with_script(&script(&["list", "note"]));
    assert_eq!(place.run(&["run", "agent.yaml", "--run-id", "r1"]).code, 0);
    let shown = place.show("r1");
    for field in [
        "run_id",
        "status",
        "attempt",
        "output",
        "error",
        "usage",
        "waiting_for",
        "ledger",
        "created_at",
    ] {
        assert!(shown.get(field).is_some(), "{field}");
    }
    assert_eq!(shown["waiting_for"], Value::Null);
    assert_eq!(shown["calls"].as_array().unwrap().len(), 2);
    let ledger = shown["ledger"].as_array().unwrap();
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    assert_eq!(
        (&ledger[0]["tool"], &ledger[0]["status"]),
        (&"note".into(), &"succeeded".into())
    );
    assert_eq!(ledger[0]["call_id"], "r1.c2");
    assert_eq!(
        ledger[0]["idempotency_key"],
        place.lines("note")[0].as_str()
    );
}

#[test]
fn runs_and_events_list_what_happened() {
    let place = Place::with_script(&script(&["note"]));
    assert_eq!(place.run(&["run", "agent.yaml", "--run-id", "r1"]).code, 0);
    assert_eq!(place.run(&["run", "agent.yaml", "--run-id", "r2"]).code, 0);
    let runs = place.json(&["runs"]);
    let ids: Vec<_> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["run_id"].clone())
        .collect();
    assert_eq!(ids, ["r2", "r1"]);
    assert_eq!(
        (&runs[0]["status"], &runs[0]["agent"]),
        (&"succeeded".into(), &"tester".into())
    );
    assert!(runs[0]["created_at"].is_string() && runs[0]["updated_at"].is_string());
    assert_eq!(
        place.json(&["runs", "--status", "failed"]),
        Value::Array(Vec::new())
    );
    assert_eq!(
        place
            .json(&["runs", "--limit", "1"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let events = place
        .run(&["events", "r1", "--json", "--follow"])
        .json_lines();
    assert_eq!(
        (&events[0]["seq"], &events[0]["type"]),
        (&1.into(), &"run_submitted".into())
    );
    assert_eq!(events.last().unwrap()["type"], "run_succeeded");
    assert!(
        events
            .iter()
            .all(|event| event["at"].is_string() && event["data"].is_object())
    );
}

#[test]
fn a_detached_run_is_done_by_a_worker_that_drains_when_it_is_told_to_stop() {
    let place = Place::with_script(&script(&["note"]));
    let done = place.run(&["run", "agent.yaml", "--detach", "--run-id", "r1"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "r1\n"), "{done:?}");
    assert_eq!(place.show("r1")["status"], "queued");
    let worker = place.start(&["worker"]);
    crate::support::until(|| place.show("r1")["status"] == "succeeded");
    crate::support::signal(&worker, "TERM");
    assert_eq!(crate::support::finish(worker).code, 0);
}

#[test]
fn a_session_carries_the_conversation_on() {
    let place = Place::with_script("turns:\n  - text: Hello.\n");
    for run in ["r1", "r2"] {
        let done = place.run(&["run", "agent.yaml", "--run-id", run, "--session", "s1"]);
        assert_eq!(done.code, 0, "{done:?}");
    }
    assert_eq!(place.show("r2")["session"], "s1");
}

#[test]
fn the_default_store_lies_under_the_project_and_hides_from_git() {
    let place = Place::with_script(&script(&[]));
    std::fs::create_dir_all(place.work().join("a/b")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_seaworthy"));
    command
        .args(["run", "../../../agent.yaml"])
        .current_dir(place.work().join("a/b"));
    assert!(command.output().unwrap().status.success());
    assert!(place.work().join(".seaworthy/state.db").is_file());
    assert_eq!(
        std::fs::read_to_string(place.work().join(".seaworthy/.gitignore")).unwrap(),
        "*\n"
    );
    assert!(!place.work().join("a/b/.seaworthy").exists());
}

#[test]
fn a_run_in_memory_leaves_nothing() {
    let place = Place::with_script(&script(&["note"]));
    let done = place.run(&["run", "agent.yaml", "--store", "memory:"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done.\n"),
        "{done:?}"
    );
    assert!(!place.work().join(".seaworthy").exists());
}

#[test]
fn the_starter_agent_runs_as_it_is() {
    let place = Place::new();
    assert_eq!(place.run(&["init", "starter"]).code, 0);
    assert_eq!(place.run(&["init", "starter"]).code, 2);
    let done = place.run(&["run", "starter/agent.yaml", "--yes"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(place.lines("OUTBOX.md").len(), 1);
}

#[test]
fn verify_says_that_a_log_holds() {
    let place = Place::with_script(&script(&["note"]));
    assert_eq!(place.run(&["run", "agent.yaml", "--run-id", "r1"]).code, 0);
    let verified = place.json(&["verify", "r1"]);
    assert_eq!(
        (&verified["ok"], &verified["status"]),
        (&true.into(), &"succeeded".into())
    );
}

#[test]
fn doctor_shows_the_stack_and_makes_no_store() {
    let place = Place::new();
    let report = place.json(&["doctor"]);
    assert_eq!(report["store"]["exists"], false);
    assert!(!place.work().join(".seaworthy").exists());
    let ports: Vec<_> = report["adapters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["port"].clone())
        .collect();
    assert!(ports.contains(&"state_store".into()) && ports.contains(&"sandbox".into()));
    assert!(
        report["missing"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["what"] == "OPENAI_API_KEY")
    );
}

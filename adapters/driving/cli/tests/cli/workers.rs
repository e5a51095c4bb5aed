//! Workers, the queues they serve, and what they say of themselves.

use std::io::{BufRead as _, BufReader};

use serde_json::Value;

use crate::support::{Done, Place, finish, script, signal, until};

/// A run in a queue, for whoever serves it.
fn queued(place: &Place, run: &str, queue: &str) {
    let args = [
        "run",
        "agent.yaml",
        "--run-id",
        run,
        "--detach",
        "--queue",
        queue,
    ];
    let done = place.run(&args);
    assert_eq!(done.code, 0, "{done:?}");
}

fn status(place: &Place, run: &str) -> Value {
    place.show(run)["status"].clone()
}

#[test]
fn a_worker_serves_the_queues_it_is_told_and_no_others() {
    let place = Place::with_script(&script(&["note"]));
    queued(&place, "left", "slow");
    queued(&place, "taken", "fast");
    assert_eq!(place.show("left")["queue"], "slow");
    let worker = place.start(&["worker", "--queue", "fast"]);
    until(|| status(&place, "taken") == "succeeded");
    // Serving both, the worker would have taken this one first: it is older.
    assert_eq!(status(&place, "left"), "queued");
    signal(&worker, "TERM");
    assert_eq!(finish(worker).code, 0);
    let worker = place.start(&["worker", "--queue", "other", "--queue", "slow"]);
    until(|| status(&place, "left") == "succeeded");
    signal(&worker, "TERM");
    assert_eq!(finish(worker).code, 0);
}

#[test]
fn a_run_that_is_queued_again_waits_in_its_own_queue() {
    let place = Place::with_script(&script(&["note"]));
    // Nobody answers: there are fewer turns than the script needs, so the run fails.
    place.write("agent.yaml", &crate::support::agent("tester", 1));
    let args = ["run", "agent.yaml", "--run-id", "r", "--queue", "slow"];
    assert_eq!(place.run(&args).code, 1);
    assert_eq!(place.run(&["reopen", "r"]).code, 0);
    queued(&place, "probe", "default");
    let worker = place.start(&["worker", "--queue", "default"]);
    until(|| status(&place, "probe") == "failed");
    assert_eq!(status(&place, "r"), "queued");
    signal(&worker, "TERM");
    assert_eq!(finish(worker).code, 0);
    let worker = place.start(&["worker", "--queue", "slow"]);
    until(|| status(&place, "r") != "queued" && status(&place, "r") != "running");
    signal(&worker, "TERM");
    assert_eq!(finish(worker).code, 0);
    assert_eq!(place.show("r")["queue"], "slow");
}

#[test]
fn a_run_that_exists_is_not_moved_to_another_queue() {
    let place = Place::with_script(&script(&[]));
    queued(&place, "r", "slow");
    let done = place.run(&[
        "run",
        "agent.yaml",
        "--run-id",
        "r",
        "--detach",
        "--queue",
        "fast",
    ]);
    assert_eq!(done.code, 2, "{done:?}");
    assert_eq!(place.show("r")["queue"], "slow");
    assert_eq!(
        place
            .run(&["run", "agent.yaml", "--queue", "no queue"])
            .code,
        2
    );
}

#[test]
fn limits_of_queues_are_set_listed_and_lifted() {
    let place = Place::new();
    assert_eq!(place.json(&["queues"]), serde_json::json!([]));
    assert!(!place.work().join(".seaworthy").exists());
    let set = place.json(&["queues", "limit", "slow", "2"]);
    assert_eq!(
        (set["queue"].as_str(), set["limit"].as_u64()),
        (Some("slow"), Some(2))
    );
    let listed = place.json(&["queues"]);
    assert_eq!(listed, serde_json::json!([{ "queue": "slow", "limit": 2 }]));
    assert!(place.run(&["queues"]).stdout.contains("slow"));
    assert_eq!(
        place.json(&["queues", "limit", "slow", "none"])["limit"],
        Value::Null
    );
    assert_eq!(place.json(&["queues"]), serde_json::json!([]));
    for wrong in [["slow", "0"], ["slow", "some"], ["no queue", "1"]] {
        let done = place.run(&["queues", "limit", wrong[0], wrong[1]]);
        assert_eq!(done.code, 2, "{done:?}");
    }
}

#[test]
fn a_worker_says_how_it_goes() {
    let place = Place::with_script(&script(&["note"]));
    queued(&place, "r", "default");
    let mut worker = place.start(&["worker", "--health-every", "1", "--json"]);
    let lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let health = lines
        .by_ref()
        .find(|line| line["runs"]["succeeded"] == 1)
        .unwrap();
    assert_eq!(health["type"], "health");
    assert_eq!(health["state"], "serving");
    assert_eq!(health["lost"], 0);
    assert_eq!(
        health["live"],
        health["claims"].as_u64().unwrap() - health["turns"].as_u64().unwrap()
    );
    assert!(health["claims"].as_u64().unwrap() >= 1);
    assert!(health["runs"]["records"].as_u64().unwrap() > 3);
    assert!(health["memory"].as_u64().unwrap() > 1_000_000);
    signal(&worker, "TERM");
    let stopped = lines.last().unwrap();
    assert_eq!(stopped["type"], "stopped");
    assert!(stopped["turns"].as_u64().unwrap() >= 1);
    assert!(worker.wait().unwrap().success());
}

#[test]
fn a_worker_whose_output_nobody_reads_goes_on() {
    let place = Place::with_script(&script(&["note"]));
    let mut worker = place.start(&["worker", "--health-every", "1", "--json"]);
    drop(worker.stdout.take());
    queued(&place, "first", "default");
    until(|| status(&place, "first") == "succeeded");
    let seen = std::time::Instant::now();
    // Longer than it takes to find out that nobody reads.
    until(|| seen.elapsed() > std::time::Duration::from_millis(2_500));
    queued(&place, "second", "default");
    until(|| status(&place, "second") == "succeeded");
    signal(&worker, "TERM");
    worker.wait().unwrap();
}

#[test]
fn a_store_is_migrated_once() {
    let place = Place::with_script(&script(&[]));
    let done = place.json(&["migrate"]);
    assert_eq!(done["from"], Value::Null);
    let newest = done["to"].clone();
    assert!(newest.as_u64().unwrap() >= 1);
    let again = place.json(&["migrate"]);
    assert_eq!((&again["from"], &again["to"]), (&newest, &newest));
    assert_eq!(place.run(&["run", "agent.yaml"]).code, 0);
    let refused = |store: &str| -> Done {
        let done = place.run(&["migrate", "--store", store]);
        assert_eq!(done.code, 2, "{done:?}");
        done
    };
    refused("memory:");
    place.write(
        "other",
        "not a database, and long enough to be taken for one, if it were one",
    );
    refused("sqlite:other");
}

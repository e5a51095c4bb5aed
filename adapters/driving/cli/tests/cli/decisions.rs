//! Approvals, failures, cancelling and reopening.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::{Place, agent, script};
use serde_json::{Value, json};

/// A run that waits for an approval of `ask`.
fn waiting() -> Place {
    let place = Place::with_script(&script(&["ask"]));
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stderr.contains("seaworthy approve r1.c1"), "{done:?}");
    place
}

#[test]
fn without_a_terminal_a_run_that_asks_is_parked() {
    let place = waiting();
    let shown = place.show("r1");
    assert_eq!(
        (&shown["status"], &shown["waiting_for"]),
        (&"waiting".into(), &"approval".into())
    );
    let approvals = place.json(&["approvals"]);
    assert_eq!(approvals.as_array().unwrap().len(), 1);
    let open = &approvals[0];
    assert_eq!(
        (&open["approval_id"], &open["run_id"]),
        (&"r1.c1".into(), &"r1".into())
    );
    assert_eq!(
        (&open["tool"], &open["arguments"]),
        (&"ask".into(), &json!({}))
    );
    assert_eq!(open["status"], "pending");
    assert!(place.lines("ask").is_empty());
    assert_eq!(place.run(&["resume", "r1"]).code, 3);
}

#[test]
fn an_approved_call_is_made_once() {
    let place = waiting();
    assert_eq!(
        place.json(&["approve", "r1.c1", "--reason", "fine"])["granted"],
        true
    );
    assert_eq!(place.run(&["approve", "r1.c1"]).code, 2);
    assert_eq!(place.run(&["deny", "r1.c1"]).code, 2);
    let done = place.run(&["resume", "r1"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done.\n"),
        "{done:?}"
    );
    assert_eq!(place.lines("ask").len(), 1);
    assert_eq!(place.json(&["approvals"]), Value::Array(Vec::new()));
}

#[test]
fn a_denied_call_is_not_made_and_the_model_goes_on() {
    let place = waiting();
    assert_eq!(
        place.run(&["deny", "r1.c1", "--reason", "not today"]).code,
        0
    );
    assert_eq!(place.run(&["resume", "r1"]).code, 0);
    assert!(place.lines("ask").is_empty());
    let shown = place.show("r1");
    assert_eq!(shown["ledger"][0]["status"], "failed_no_effect");
    assert!(
        shown["ledger"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("not today")
    );
}

#[test]
fn yes_grants_and_the_log_says_so() {
    let place = Place::with_script(&script(&["ask"]));
    assert_eq!(
        place
            .run(&["run", "agent.yaml", "--run-id", "r1", "--yes"])
            .code,
        0
    );
    let events = place.run(&["events", "r1", "--json"]).json_lines();
    let decided = events
        .iter()
        .find(|event| event["type"] == "approval_decided")
        .unwrap();
    assert_eq!(
        (&decided["data"]["granted"], &decided["data"]["by"]),
        (&true.into(), &"run --yes".into())
    );
}

#[test]
fn yes_grants_what_a_run_started_without_it_asks_for() {
    let place = waiting();
    assert_eq!(
        place
            .run(&["run", "agent.yaml", "--run-id", "r1", "--yes"])
            .code,
        0
    );
    assert_eq!(place.lines("ask").len(), 1);
}

#[test]
fn a_worker_goes_on_once_somebody_approves() {
    let place = waiting();
    let worker = place.start(&["worker"]);
    assert_eq!(place.run(&["approve", "r1.c1"]).code, 0);
    crate::support::until(|| place.show("r1")["status"] == "succeeded");
    crate::support::signal(&worker, "TERM");
    assert_eq!(crate::support::finish(worker).code, 0);
    assert_eq!(place.lines("ask").len(), 1);
}

#[test]
fn a_failed_run_exits_with_1_and_goes_on_once_it_is_reopened() {
    let place = Place::with_script(&script(&["note", "note", "note"]));
    place.write("agent.yaml", &agent("tester", 2));
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("seaworthy reopen r1"), "{done:?}");
    assert_eq!(place.show("r1")["error"]["code"], "max_turns");
    assert_eq!(place.run(&["resume", "r1"]).code, 1);
    assert_eq!(place.run(&["reopen", "r1"]).code, 0);
    let done = place.run(&["resume", "r1"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done.\n"),
        "{done:?}"
    );
    assert_eq!(place.lines("note").len(), 3);
    assert_eq!(place.run(&["reopen", "r1"]).code, 2);
    assert_eq!(place.json(&["verify", "r1"])["ok"], true);
}

#[test]
fn a_cancelled_run_exits_with_4() {
    let place = waiting();
    assert_eq!(
        place.json(&["cancel", "r1", "--reason", "changed my mind"])["status"],
        "cancelled"
    );
    assert_eq!(place.run(&["cancel", "r1"]).code, 0);
    assert_eq!(place.run(&["resume", "r1"]).code, 4);
    assert_eq!(place.run(&["run", "agent.yaml", "--run-id", "r1"]).code, 4);
    assert_eq!(
        place.show("r1")["cancelled"],
        json!({ "by": "tester", "reason": "changed my mind" })
    );
    assert_eq!(place.run(&["approve", "r1.c1"]).code, 2);
}

#[test]
fn a_run_that_is_cancelled_while_it_works_ends_with_4() {
    let place = Place::with_script(&script(&["doubt"]));
    let running = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    place.wait_for_file("doubt");
    assert_eq!(place.run(&["cancel", "r1"]).code, 0);
    assert_eq!(crate::support::finish(running).code, 4);
    assert_eq!(place.show("r1")["ledger"][0]["status"], "in_doubt");
}

#[test]
fn a_run_that_waits_to_ask_its_model_again_hears_that_it_is_cancelled() {
    let place = Place::with_script(&script(&[]));
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = endpoint.local_addr().unwrap();
    let mut command = place.command(&["worker"]);
    command
        .env("OPENAI_API_KEY", "k")
        .env("OPENAI_BASE_URL", format!("http://{address}/v1"));
    let worker = command.spawn().unwrap();
    let model = ["--model", "main=openai:m"];
    let mut start = place.command(&["run", "agent.yaml", "--run-id", "r1", "--detach"]);
    start.args(model).env("OPENAI_API_KEY", "k");
    assert_eq!(start.status().unwrap().code(), Some(0));
    let (mut asked, _from) = endpoint.accept().unwrap();
    let _request = asked.read(&mut [0; 1024]).unwrap();
    let answer = "HTTP/1.1 503 Busy\r\nRetry-After: 19\r\nContent-Length: 0\r\n\r\n";
    asked.write_all(answer.as_bytes()).unwrap();
    drop(asked);
    // Whichever comes first, the worker hears of both.
    assert_eq!(place.run(&["cancel", "r1"]).code, 0);
    let began = Instant::now();
    // A worker that drains waits for its turns.
    crate::support::signal(&worker, "TERM");
    assert_eq!(crate::support::finish(worker).code, 0);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(9), "it took {took:?}");
}

#[test]
fn a_worker_says_which_run_it_cannot_go_on_with() {
    let place = Place::with_script(&script(&[]));
    let mut start = place.command(&["run", "agent.yaml", "--run-id", "r1", "--detach"]);
    start.args(["--model", "main=openai:m"]);
    let started = start.env("OPENAI_API_KEY", "k").status().unwrap();
    assert_eq!(started.code(), Some(0));
    // It has no key.
    let mut worker = place.command(&["worker"]).spawn().unwrap();
    let said = BufReader::new(worker.stderr.take().unwrap());
    let (sender, warnings) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in said.lines().map_while(Result::ok) {
            if line.contains("cannot go on") {
                let _over = sender.send(line);
            }
        }
    });
    let warning = warnings.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(
        warning.contains("r1") && warning.contains("OPENAI_API_KEY"),
        "{warning}"
    );
    crate::support::signal(&worker, "TERM");
    assert_eq!(worker.wait().unwrap().code(), Some(0));
}

#[test]
fn a_succeeded_run_cannot_be_cancelled() {
    let place = Place::with_script(&script(&[]));
    assert_eq!(place.run(&["run", "agent.yaml", "--run-id", "r1"]).code, 0);
    assert_eq!(place.run(&["cancel", "r1"]).code, 2);
}

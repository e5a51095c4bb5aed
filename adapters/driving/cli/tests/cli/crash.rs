//! Killed, stopped and shared: nothing is lost and nothing happens twice.

use std::fs;

use crate::support::{Place, finish, kill, script, signal};

/// A run of `tool` that is killed while the tool has acted and not answered.
fn killed(tool: &str) -> Place {
    let place = Place::with_script(&script(&["note", tool]));
    let child = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    place.wait_for_file(tool);
    kill(child);
    place
}

#[test]
fn a_killed_call_that_its_tool_knows_about_is_not_made_again() {
    let place = killed("sure");
    let done = place.run(&["resume", "r1"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done.\n"),
        "{done:?}"
    );
    assert_eq!(place.lines("sure").len(), 1);
    assert_eq!(place.lines("note").len(), 1);
    assert_eq!(place.show("r1")["attempt"], 2);
    assert_eq!(place.json(&["verify", "r1"])["ok"], true);
}

#[test]
fn the_same_command_continues_a_killed_run() {
    let place = killed("sure");
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done.\n"),
        "{done:?}"
    );
    assert_eq!(place.lines("sure").len(), 1);
}

#[test]
fn a_call_in_doubt_that_happened_is_not_made_again() {
    let place = killed("doubt");
    let done = place.run(&["resume", "r1"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stderr.contains("seaworthy resolve r1.c2"), "{done:?}");
    assert_eq!(place.show("r1")["waiting_for"], "in_doubt");
    assert_eq!(place.show("r1")["ledger"][1]["status"], "in_doubt");
    assert_eq!(
        place
            .run(&["resolve", "r1.c2", "--happened", "--result", "{not json"])
            .code,
        2
    );
    assert_eq!(
        place
            .run(&[
                "resolve",
                "r1.c2",
                "--happened",
                "--result",
                "{\"done\":true}"
            ])
            .code,
        0
    );
    assert_eq!(place.run(&["resolve", "r1.c2", "--did-not-happen"]).code, 2);
    assert_eq!(place.run(&["resume", "r1"]).code, 0);
    assert_eq!(place.lines("doubt").len(), 1);
}

#[test]
fn a_call_in_doubt_that_did_not_happen_is_made() {
    let place = killed("doubt");
    assert_eq!(place.run(&["resume", "r1"]).code, 3);
    // As if it had not: the person says so, and the person is right.
    fs::remove_file(place.work().join("doubt")).unwrap();
    fs::write(place.work().join("go"), "").unwrap();
    assert_eq!(place.run(&["resolve", "r1.c2", "--did-not-happen"]).code, 0);
    assert_eq!(place.run(&["resume", "r1"]).code, 0);
    assert_eq!(place.lines("doubt").len(), 1);
}

#[test]
fn of_two_processes_on_one_run_one_advances_it_and_both_report_its_outcome() {
    let place = Place::with_script(&script(&["doubt"]));
    let first = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    place.wait_for_file("doubt");
    let second = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    let third = place.start(&["resume", "r1"]);
    fs::write(place.work().join("go"), "").unwrap();
    for child in [first, second, third] {
        let done = finish(child);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (0, "Done.\n"),
            "{done:?}"
        );
    }
    assert_eq!(place.lines("doubt").len(), 1);
    assert_eq!(place.show("r1")["attempt"], 1);
}

#[test]
fn when_the_process_that_advances_a_run_is_killed_the_one_that_follows_takes_over() {
    let place = Place::with_script(&script(&["sure"]));
    let first = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    place.wait_for_file("sure");
    let second = place.start(&["resume", "r1"]);
    kill(first);
    let done = finish(second);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done.\n"),
        "{done:?}"
    );
    assert_eq!(place.lines("sure").len(), 1);
}

#[test]
fn a_run_that_is_told_to_stop_says_how_to_go_on() {
    let place = Place::with_script(&script(&["sure"]));
    let child = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    place.wait_for_file("sure");
    signal(&child, "INT");
    let done = finish(child);
    assert_eq!(done.code, 130, "{done:?}");
    assert!(done.stderr.contains("seaworthy resume r1"), "{done:?}");
    assert_eq!(place.run(&["resume", "r1"]).code, 0);
    assert_eq!(place.lines("sure").len(), 1);
}

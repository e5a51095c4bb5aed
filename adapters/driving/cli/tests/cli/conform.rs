//! The contract suites from the command line.

use std::fs;

use crate::support::{Done, Place, finish, signal, until};

/// The names in the folder of the place.
fn names(place: &Place) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_port_is_tried_and_its_clauses_and_level_are_told() {
    let place = Place::new();
    let done = place.run(&["conform", "checkpoint-store", "--store", "memory:"]);
    assert_eq!(done.code, 0, "{done:?}");
    for told in [
        "checkpoint_store: memory (seaworthy-memory ",
        "CK-1   passed",
        "CK-4   passed",
        "not declared (durability)",
        "level: full (",
    ] {
        assert!(done.stdout.contains(told), "{told}: {done:?}");
    }
    assert_eq!(done.stderr, "");
}

#[test]
fn a_report_for_programs_is_one_object() {
    let place = Place::new();
    let report = place.json(&["conform", "entropy"]);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["port"], "entropy");
    assert_eq!(report["adapter"]["id"], "system");
    assert_eq!(report["level"], "full");
    assert_eq!(report["clauses"][0]["clause"], "EN-1");
    assert_eq!(report["clauses"][0]["standing"], "passed");
    assert_eq!(report["verdicts"].as_array().unwrap().len(), 4);
}

#[test]
fn other_processes_take_part_and_what_is_at_the_url_is_left_alone() {
    let place = Place::new();
    place.write("runs.db", "not even a database");
    let report = place.json(&["conform", "checkpoint-store", "--store", "sqlite:runs.db"]);
    assert_eq!(report["adapter"]["id"], "sqlite");
    assert_eq!(report["level"], "full");
    assert_eq!(report["counts"]["not_checkable"], 0);
    let kept = fs::read_to_string(place.path().join("runs.db")).unwrap();
    assert_eq!(kept, "not even a database");
    assert_eq!(names(&place), ["runs.db", "work"]);
}

#[test]
fn a_store_that_nobody_made_is_not_made() {
    let place = Place::new();
    let done = place.run(&["conform", "clock"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(names(&place), ["work"]);
    let inside = fs::read_dir(place.work()).unwrap().count();
    assert_eq!(inside, 1, "only .git");
}

#[test]
fn a_clause_that_fails_is_told_and_ends_with_one() {
    let place = Place::new();
    // The scenarios with processes have no folder for their journal.
    let done = place
        .command(&["conform", "checkpoint-store", "--store", "sqlite:runs.db"])
        .env("TMPDIR", place.path().join("absent"))
        .output()
        .unwrap();
    let done = Done::of(done);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stdout.contains("CK-4   FAILED"), "{done:?}");
    assert!(done.stdout.contains("CK-4 is broken"), "{done:?}");
    assert!(done.stdout.contains("level: broken ("), "{done:?}");
    assert_eq!(names(&place), ["work"]);
}

#[test]
fn what_cannot_be_tried_is_wrong_usage() {
    let place = Place::new();
    for args in [
        &["conform"] as &[&str],
        &["conform", "no-such-port"],
        &["conform", "state-store", "--store", "postgres:somewhere"],
    ] {
        let done = place.run(args);
        assert_eq!(done.code, 2, "{args:?}: {done:?}");
        assert!(done.stdout.is_empty(), "{done:?}");
    }
}

#[test]
fn being_stopped_leaves_nothing_behind() {
    let place = Place::new();
    let child = place.start(&["conform", "durable-runtime", "--store", "sqlite:runs.db"]);
    until(|| names(&place).len() > 1);
    signal(&child, "TERM");
    let done = finish(child);
    assert_eq!(done.code, 143, "{done:?}");
    assert_eq!(names(&place), ["work"]);
}

#[test]
fn the_sandbox_of_this_program_keeps_its_port() {
    let place = Place::new();
    let report = place.json(&["conform", "sandbox", "--store", "sqlite:runs.db"]);
    assert_eq!(report["port"], "sandbox");
    assert_eq!(report["counts"]["failed"], 0, "{report}");
    assert_ne!(report["level"], "broken");
}

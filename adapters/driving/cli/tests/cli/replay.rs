//! Runs that begin with what another run recorded.

use std::fs;

use crate::support::{Place, agent, kill, script};

/// A run `r1` that called these tools and is done.
fn ran(tools: &[&str]) -> Place {
    let place = Place::with_script(&script(tools));
    fs::write(place.work().join("go"), "").unwrap();
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1"]);
    assert_eq!(done.code, 0, "{done:?}");
    place
}

/// The number of the `n`-th record of that type, from 1.
fn record(place: &Place, run: &str, kind: &str, n: usize) -> String {
    let events = place.run(&["events", run, "--json"]).json_lines();
    let mut of_kind = events.iter().filter(|event| event["type"] == kind);
    of_kind.nth(n - 1).unwrap()["seq"].to_string()
}

fn count(place: &Place, run: &str, kind: &str) -> usize {
    let events = place.run(&["events", run, "--json"]).json_lines();
    events.iter().filter(|event| event["type"] == kind).count()
}

#[test]
fn a_strict_replay_reproduces_a_run_and_does_nothing() {
    let place = ran(&["note", "sure"]);
    let done = place.run(&["replay", "r1", "--run-id", "p1"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done.\n"),
        "{done:?}"
    );
    assert!(done.stderr.contains("seaworthy compare r1 p1"), "{done:?}");
    assert_eq!(place.lines("note").len(), 1);
    assert_eq!(place.lines("sure").len(), 1);
    assert_eq!(count(&place, "p1", "tool_started"), 0);
    assert_eq!(count(&place, "p1", "model_called"), 0);
    let shown = place.show("p1");
    assert_eq!(shown["replay"]["source"], "r1");
    assert_eq!(shown["replay"]["mode"], "strict");
    assert!(shown["calls"][0]["replayed_from"].is_u64());
    assert_eq!(place.json(&["verify", "p1"])["ok"], true);
    assert_eq!(place.json(&["compare", "r1", "p1"])["same"], true);
    let again = place.run(&["replay", "r1", "--run-id", "p1"]);
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (0, "Done.\n"),
        "{again:?}"
    );
}

#[test]
fn a_strict_replay_with_another_agent_says_where_it_deviates() {
    let place = ran(&["note"]);
    let other = agent("tester", 16).replace("Append a line.", "Append one line.");
    place.write("other.yaml", &other);
    let done = place.run(&["replay", "r1", "--run-id", "p1", "--agent", "other.yaml"]);
    assert_eq!(done.code, 5, "{done:?}");
    let at = record(&place, "r1", "model_called", 1);
    let events = place.run(&["events", "p1", "--json"]).json_lines();
    let deviated = events
        .iter()
        .find(|event| event["type"] == "replay_deviated");
    let deviated = &deviated.unwrap()["data"];
    assert_eq!(
        (deviated["at"].to_string(), &deviated["part"]),
        (at, &"tools".into())
    );
    assert_eq!(place.show("p1")["error"]["code"], "replay_deviated");
    assert_eq!(place.run(&["resume", "p1"]).code, 5);
    assert_eq!(place.run(&["show", "r1"]).code, 0);
}

#[test]
fn a_hybrid_replay_with_another_model_changes_nothing_that_is_not_on_record() {
    let place = ran(&["note", "sure"]);
    place.write(
        "other.yaml",
        &agent("tester", 16).replace("script.yaml", "other-script.yaml"),
    );
    place.write("other-script.yaml", &script(&["sure", "ask", "list"]));
    let hybrid = [
        "replay",
        "r1",
        "--run-id",
        "p1",
        "--mode",
        "hybrid",
        "--agent",
        "other.yaml",
    ];
    let done = place.run(&hybrid);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done.\n"),
        "{done:?}"
    );
    for (tool, times) in [("note", 1), ("sure", 1), ("ask", 0)] {
        assert_eq!(place.lines(tool).len(), times, "{tool}");
    }
    let statuses: Vec<_> = place.show("p1")["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| (call["status"].clone(), call["replayed_from"].is_u64()))
        .collect();
    let expected = [
        ("succeeded".into(), true),
        ("failed_no_effect".into(), false),
        ("succeeded".into(), false),
    ];
    assert_eq!(statuses, expected);
    let compared = place.run(&["compare", "r1", "p1"]);
    assert_eq!(compared.code, 1, "{compared:?}");
    assert!(
        compared.stdout.starts_with("the runs part after 0 answers"),
        "{compared:?}"
    );
}

#[test]
fn a_replay_killed_in_a_live_call_goes_on_and_repeats_neither_its_call_nor_those_of_its_source() {
    let place = ran(&["note", "sure"]);
    fs::remove_file(place.work().join("go")).unwrap();
    let from = record(&place, "r1", "model_called", 2);
    let live = [
        "replay", "r1", "--run-id", "p1", "--mode", "live", "--from", &from,
    ];
    let child = place.start(&live);
    crate::support::until(|| place.lines("sure").len() == 2);
    kill(child);
    let done = place.run(&["resume", "p1"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done.\n"),
        "{done:?}"
    );
    assert_eq!(place.lines("note").len(), 1, "taken from the record");
    let keys = place.lines("sure");
    assert_eq!(keys.len(), 2, "once by the source, once by the replay");
    assert_ne!(keys[0], keys[1]);
    assert_eq!(place.show("p1")["attempt"], 2);
    assert_eq!(count(&place, "p1", "model_replayed"), 1);
    assert_eq!(place.json(&["verify", "p1"])["ok"], true);
    // The verifier's answer is not the call's own.
    let compared = place.run(&["compare", "r1", "p1", "--json"]);
    assert_eq!(compared.code, 1, "{compared:?}");
    let first = &compared.json_lines()[0]["first"];
    assert_eq!(
        (&first["section"], &first["answers"]),
        (&"results".into(), &2.into())
    );
}

#[test]
fn a_hybrid_replay_killed_while_it_waits_for_a_person_goes_on() {
    let place = ran(&["note"]);
    place.write(
        "other.yaml",
        &agent("tester", 16).replace("script.yaml", "other-script.yaml"),
    );
    place.write("other-script.yaml", &script(&["note", "doubt"]));
    let hybrid = [
        "replay",
        "r1",
        "--run-id",
        "p1",
        "--mode",
        "hybrid",
        "--unmatched",
        "ask",
        "--agent",
        "other.yaml",
    ];
    let parked = place.run(&hybrid);
    assert_eq!(parked.code, 3, "{parked:?}");
    assert!(
        parked.stderr.contains("seaworthy approve p1.c2"),
        "{parked:?}"
    );
    assert_eq!(place.run(&["approve", "p1.c2"]).code, 0);
    fs::remove_file(place.work().join("go")).unwrap();
    let child = place.start(&["resume", "p1"]);
    place.wait_for_file("doubt");
    kill(child);
    assert_eq!(place.run(&["resume", "p1"]).code, 3, "the call is in doubt");
    assert_eq!(place.run(&["resolve", "p1.c2", "--happened"]).code, 0);
    assert_eq!(place.run(&["resume", "p1"]).code, 0);
    assert_eq!(place.lines("doubt").len(), 1);
    assert_eq!(place.lines("note").len(), 1);
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let place = ran(&["note"]);
    for args in [
        &["replay", "nobody"][..],
        &["replay", "r1", "--from", "0"],
        &["replay", "r1", "--from", "1000"],
        &["replay", "r1", "--mode", "loose"],
        &["replay", "r1", "--model", "nothing=openai:m"],
        &["compare", "r1", "nobody"],
    ] {
        assert_eq!(place.run(args).code, 2, "{args:?}");
    }
}

#[test]
fn a_strict_replay_needs_no_model() {
    let place = ran(&["note"]);
    // Nothing answers any more: the script is gone, and no key was ever there.
    fs::remove_file(place.path().join("script.yaml")).unwrap();
    assert_eq!(place.run(&["replay", "r1"]).code, 0);
}

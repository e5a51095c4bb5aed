//! Servers that ask something while they work on a call.

use std::fs;

use serde_json::json;

use crate::desk::{self, ADA, FORM, agent, calling, go};
use crate::support::{Done, Place};

/// A call that may be repeated, of a server that goes on as soon as it has heard something.
pub(crate) fn place() -> Place {
    let lines = [
        desk::SCRIPT,
        "side_effect: idempotent",
        "risk: low",
        "elicitation: ask",
    ];
    let place = desk::place(
        &agent("desk", &lines),
        &calling("desk__book"),
        &desk::asking(),
    );
    fs::write(place.work().join("question"), format!("{FORM}\n")).unwrap();
    go(&place);
    place
}

fn parked() -> Place {
    let place = place();
    let asked = place.run(&["run", "agent.yaml", "--run-id", "r1", "--json"]);
    assert_eq!(asked.code, 3, "{asked:?}");
    let last = asked.json_lines().pop().unwrap();
    assert_eq!(last["waiting_for"], json!("question"), "{asked:?}");
    assert_eq!(last["questions"][0]["call_id"], json!("r1.c1"));
    assert!(place.lines("booked").is_empty());
    place
}

fn resumed(place: &Place) -> Done {
    place.run(&["resume", "r1", "--json"])
}

#[test]
fn a_question_waits_for_its_answer_and_any_process_goes_on_with_it() {
    let place = parked();
    let listed = place.run(&["questions", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed[0]["call_id"], json!("r1.c1"));
    assert_eq!(listed[0]["server"], json!("desk"));
    assert_eq!(listed[0]["wants"]["message"], json!("For whom?"));
    let shown = place.run(&["questions"]);
    assert!(shown.stdout.contains("r1.c1"), "{shown:?}");
    assert!(shown.stdout.contains("For whom?  (name)"), "{shown:?}");

    let wrong = place.run(&["answer", "r1.c1", "--with", "{\"name\": 7}"]);
    assert_ne!(wrong.code, 0, "{wrong:?}");
    assert!(wrong.stderr.contains("/name"), "{wrong:?}");
    let none = place.run(&["answer", "r1.c1", "--allow"]);
    assert!(none.stderr.contains("give one"), "{none:?}");
    let no_json = place.run(&["answer", "r1.c1", "--with", "Ada"]);
    assert_eq!(no_json.code, 2, "{no_json:?}");

    let answered = place.run(&[&["answer", "r1.c1", "--json"][..], &ADA].concat());
    assert_eq!(answered.code, 0, "{answered:?}");
    let again = place.run(&["answer", "r1.c1", "--decline"]);
    assert!(again.stderr.contains("answered before"), "{again:?}");

    let done = resumed(&place);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("Done: booked for Ada"), "{done:?}");
    assert_eq!(place.lines("booked"), ["Ada"]);
    let replayed = place.run(&["replay", "r1", "--json"]);
    assert_eq!(replayed.code, 0, "{replayed:?}");
    assert_eq!(place.lines("booked").len(), 1);
}

#[test]
fn a_server_learns_that_nobody_wants_to_answer() {
    let place = parked();
    assert_eq!(place.run(&["answer", "r1.c1", "--decline"]).code, 0);
    let done = resumed(&place);
    assert!(done.stdout.contains("Done: not booked"), "{done:?}");
    assert!(place.lines("booked").is_empty());
}

#[test]
fn a_call_that_asks_nothing_has_no_question() {
    let place = parked();
    let unknown = place.run(&["answer", "r1.c2", "--decline"]);
    assert_ne!(unknown.code, 0);
    assert!(unknown.stderr.contains("r1.c2"), "{unknown:?}");
}

//! Workers that are killed while a server waits for an answer: the answer is not lost, and nothing happens twice.

use std::fs;

use crate::desk::{self, ADA, FORM, agent, answer, calling, events, go, said};
use crate::support::{Place, finish, kill, until};

const MODEL: &str = r#"{"jsonrpc":"2.0","id":900,"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"Think of a name."}}],"maxTokens":20}}"#;

/// The model takes its time for what a server asks it.
fn place(side_effect: &str, question: &str) -> Place {
    let side_effect = format!("side_effect: {side_effect}");
    let lines = [
        desk::SCRIPT,
        &side_effect,
        "risk: low",
        "elicitation: ask",
        "sampling: ask",
    ];
    let thinks = "  - when: \"{{ 'Think' in input }}\"
    text: Ada
    latency: 4s
";
    let turns = format!("{thinks}{}", calling("desk__book"));
    let place = desk::place(&agent("desk", &lines), &turns, &desk::asking());
    fs::write(place.work().join("question"), format!("{question}\n")).unwrap();
    place
}

fn parked(question: &str) -> Place {
    let place = place("idempotent", question);
    let parked = place.run(&["run", "agent.yaml", "--run-id", "r1"]);
    assert_eq!(parked.code, 3, "{parked:?}");
    place
}

fn is_booked_once(place: &Place) {
    said(&place.run(&["resume", "r1"]), "Done: booked for Ada");
    assert_eq!(place.lines("booked"), ["Ada"]);
    for event in ["question_asked", "question_answered"] {
        assert_eq!(events(place, event), 1, "{event}");
    }
    assert_eq!(place.json(&["verify", "r1"])["ok"], true);
}

#[test]
fn an_answer_outlives_the_worker_that_had_given_it_to_the_server() {
    let place = parked(FORM);
    answer(&place, &ADA);
    let child = place.start(&["resume", "r1"]);
    place.wait_for_file("heard");
    kill(child);
    go(&place);
    is_booked_once(&place);
    assert_eq!(
        place.lines("asked").len(),
        3,
        "whoever goes on is asked again"
    );
}

#[test]
fn a_model_call_for_a_server_that_was_cut_off_is_made_again_and_another_is_not() {
    let place = parked(MODEL);
    answer(&place, &["--allow"]);
    let child = place.start(&["resume", "r1"]);
    // The model is called once the server has asked again, and takes seconds.
    until(|| place.lines("asked").len() == 2);
    kill(child);
    assert_eq!(events(&place, "question_answered"), 1);
    assert_eq!(events(&place, "question_sampled"), 0);
    let child = place.start(&["resume", "r1"]);
    place.wait_for_file("heard");
    kill(child);
    assert_eq!(events(&place, "question_sampled"), 1);
    go(&place);
    is_booked_once(&place);
    assert_eq!(events(&place, "question_sampled"), 1, "it is on record");
}

#[test]
fn a_held_call_is_in_doubt_when_its_worker_is_killed_and_its_question_stays() {
    let place = place("non_idempotent", FORM);
    let child = place.start(&["run", "agent.yaml", "--run-id", "r1"]);
    place.wait_for_file("asked");
    until(|| place.json(&["questions"])[0]["call_id"] == "r1.c1");
    assert_eq!(place.show("r1")["status"], "running");
    kill(child);
    let doubt = place.run(&["resume", "r1"]);
    assert_eq!(doubt.code, 3, "{doubt:?}");
    assert_eq!(place.show("r1")["waiting_for"], "in_doubt");
    let listed = place.json(&["questions"]);
    assert_eq!(listed, serde_json::json!([]), "nobody waits for it now");
    let resolved = place.run(&["resolve", "r1.c1", "--did-not-happen"]);
    assert_eq!(resolved.code, 0, "{resolved:?}");
    go(&place);
    let child = place.start(&["resume", "r1"]);
    until(|| place.lines("asked").len() == 2);
    until(|| place.show("r1")["questions"][0]["call_id"] == "r1.c1");
    answer(&place, &ADA);
    let done = finish(child);
    assert_eq!(done.code, 0, "{done:?}");
    is_booked_once(&place);
}

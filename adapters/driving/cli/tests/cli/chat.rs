//! A session at the terminal: one run for each message, and nothing lost in between.

use std::io::Write as _;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::support::{Done, Place, finish, kill, until};

const ECHO: &str = "turns: [{ text: 'You said {{ input }}.' }]";

/// `chat` with these arguments, with standard input open.
fn begin(place: &Place, args: &[&str]) -> Child {
    place
        .command(&[&["chat", "agent.yaml"], args].concat())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

fn type_in(child: &mut Child, text: &[u8]) {
    child.stdin.as_mut().unwrap().write_all(text).unwrap();
}

/// All that is typed at once, to the end.
fn chat(place: &Place, args: &[&str], text: &str) -> Done {
    let mut child = begin(place, args);
    type_in(&mut child, text.as_bytes());
    finish(child)
}

fn runs(place: &Place) -> Vec<Value> {
    place.json(&["runs"]).as_array().unwrap().clone()
}

#[test]
fn each_line_is_a_message_and_each_message_a_run_of_the_session() {
    let place = Place::with_script(ECHO);
    let done = chat(&place, &["--session", "s1"], "one\n\n  \ntwo\n");
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.stdout, "You said one.\nYou said two.\n");
    let runs = runs(&place);
    assert_eq!(runs.len(), 2);
    for run in &runs {
        let run = place.show(run["run_id"].as_str().unwrap());
        assert_eq!(run["session"], "s1", "{run}");
    }
    let again = chat(&place, &["--session", "s1"], "three");
    assert_eq!(again.stdout, "You said three.\n", "{again:?}");
}

#[test]
fn a_line_that_ends_with_a_backslash_goes_on_and_words_with_a_slash_are_for_the_program() {
    let place = Place::with_script(ECHO);
    let done = chat(&place, &[], "/help\n/session\none\\\ntwo\n/exit\nthree\n");
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "You said one\ntwo.\n")
    );
    assert!(done.stderr.contains("/exit"), "{done:?}");
    assert!(done.stderr.contains("--session chat_"), "{done:?}");
    assert_eq!(runs(&place).len(), 1);
}

#[test]
fn a_message_that_fails_does_not_end_the_session() {
    let place = Place::with_script("turns: [{ when: \"{{ input == 'good' }}\", text: Fine. }]");
    let done = chat(&place, &[], "bad\ngood\n");
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Fine.\n"),
        "{done:?}"
    );
    assert!(done.stderr.contains("seaworthy reopen"), "{done:?}");
}

#[test]
fn an_approval_that_nobody_can_be_asked_for_ends_the_chat_and_the_next_one_goes_on_with_it() {
    let place = Place::with_script(&crate::support::script(&["ask"]));
    let done = chat(&place, &["--session", "s1"], "go\nnever read\n");
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stderr.contains("seaworthy approve"), "{done:?}");
    let approval = place.json(&["approvals"])[0]["approval_id"].clone();
    assert_eq!(place.run(&["approve", approval.as_str().unwrap()]).code, 0);
    let done = chat(&place, &["--session", "s1"], "");
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done.\n"),
        "{done:?}"
    );
    assert_eq!(place.lines("ask").len(), 1);
}

#[test]
fn a_chat_that_was_granted_everything_asks_for_nothing() {
    let place = Place::with_script(&crate::support::script(&["ask"]));
    let done = chat(&place, &["--yes"], "go\n");
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done.\n"),
        "{done:?}"
    );
    assert_eq!(place.lines("ask").len(), 1);
}

#[test]
fn a_killed_chat_loses_no_message_and_repeats_no_call() {
    let place = Place::with_script(&crate::support::script(&["note", "sure"]));
    let mut child = begin(&place, &["--session", "s1"]);
    type_in(&mut child, b"go\n");
    place.wait_for_file("sure");
    kill(child);
    let done = chat(&place, &["--session", "s1"], "");
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "Done.\n"),
        "{done:?}"
    );
    assert_eq!(place.lines("sure").len(), 1);
    assert_eq!(place.lines("note").len(), 1);
}

#[test]
fn programs_get_a_line_of_json_for_each_event_and_each_run() {
    let place = Place::with_script(ECHO);
    let done = chat(&place, &["--json"], "one\n");
    let lines = done.json_lines();
    assert_eq!(lines[0]["type"], "run_submitted", "{done:?}");
    let last = lines.last().unwrap();
    assert_eq!(last["status"], "succeeded");
    assert!(lines.iter().any(|line| line["type"] == "ended"), "{done:?}");
}

#[test]
fn what_is_no_text_is_refused_and_what_was_said_before_is_kept() {
    let place = Place::with_script(ECHO);
    let mut child = begin(&place, &[]);
    type_in(&mut child, b"one\n");
    until(|| {
        !place
            .json(&["runs", "--status", "succeeded"])
            .as_array()
            .unwrap()
            .is_empty()
    });
    type_in(&mut child, b"\xff\xfe\n");
    let done = finish(child);
    assert_eq!(done.code, 2, "{done:?}");
    assert_eq!(done.stdout, "You said one.\n");
}

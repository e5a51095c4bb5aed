//! Files given to an agent on the command line.

use std::io::Write as _;

use crate::support::{Place, finish};

const AGENT: &str = "version: seaworthy.agent_graph.v1
metadata: { name: reader }
runtime: { entry_agent: reader }
models:
  main: { provider: scripted, script: script.yaml }
agents:
  reader: { instructions: Read., model: main }
";

/// An agent whose model says what it was told last.
fn place() -> Place {
    let place = Place::new();
    place.write("agent.yaml", AGENT);
    place.write("script.yaml", "turns:\n  - text: \"heard: {{ input }}\"\n");
    place
}

#[test]
fn a_text_is_given_to_the_agent_with_what_it_is_asked() {
    let place = place();
    place.write("notes.md", "# Seven");
    let args = ["run", "agent.yaml", "--run-id", "r1", "--input", "Well?"];
    let with = |file| place.run(&[&args[..], &["--attach", file]].concat());
    let done = with("notes.md");
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("# Seven") && done.stdout.contains("Well?"));
    assert!(done.stdout.contains("notes.md"), "{done:?}");
    // The same again is the same run; another file makes it another.
    assert_eq!(with("notes.md").stdout, done.stdout);
    place.write("other.md", "# Eight");
    assert_eq!(with("other.md").code, 2);
    assert_eq!(place.run(&args).code, 2);
}

#[test]
fn a_picture_for_a_model_without_eyes_is_refused_before_anything_runs() {
    let place = place();
    place.write("picture.txt", "%PDF-1.7");
    let done = place.run(&["run", "agent.yaml", "--attach", "picture.txt"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("file_input"), "{done:?}");
    let runs = place.run(&["runs", "--json"]);
    assert!(!runs.stdout.contains("reader"), "{runs:?}");
}

#[test]
fn what_is_no_file_or_cannot_be_told_is_refused() {
    let place = place();
    std::fs::write(place.path().join("noise"), [0, 159, 146, 150]).unwrap();
    place.write("empty.txt", "");
    place.write("long.txt", &"x".repeat(1024 * 1024 + 1));
    for file in [
        "missing",
        "work",
        "noise",
        "empty.txt",
        "long.txt",
        "/dev/zero",
    ] {
        let done = place.run(&["run", "agent.yaml", "--attach", file]);
        assert_eq!(done.code, 2, "{file}: {done:?}");
        assert!(done.stderr.contains(file), "{file}: {done:?}");
    }
}

#[test]
fn a_chat_gives_files_to_the_next_message_alone_and_survives_a_mistyped_name() {
    let place = place();
    place.write("notes.md", "# Seven");
    let mut chat = place
        .command(&["chat", "agent.yaml"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    chat.stdin
        .take()
        .unwrap()
        .write_all(b"/attach nothing.md\n/attach notes.md\nFirst.\nSecond.\n")
        .unwrap();
    let done = finish(chat);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.stdout.matches("# Seven").count(), 1, "{done:?}");
    let (first, second) = done.stdout.split_once("Second.").unwrap();
    assert!(first.contains("# Seven") && !second.contains("# Seven"));
    assert!(done.stderr.contains("nothing.md"), "{done:?}");
}

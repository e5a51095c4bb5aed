//! What is asked of whoever sits at a terminal, at one that `script` makes.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::asking;
use crate::support::{Place, script, until};

const QUESTION: &str = "[q]uit and decide later: ";

/// The program at a terminal of its own.
struct Seat {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Seat {
    fn at(place: &Place, args: &[&str]) -> Self {
        let program = place.command(args);
        let words = [program.get_program()]
            .into_iter()
            .chain(program.get_args());
        let words = words.map(|word| format!("'{}'", word.to_str().unwrap()));
        let line: Vec<String> = words.collect();
        let mut command = Command::new("script");
        command
            .args(["--quiet", "--return", "--command", &line.join(" ")])
            .arg("/dev/null")
            .current_dir(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut child = command.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let shown = Arc::<Mutex<String>>::default();
        let showing = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                let text = String::from_utf8_lossy(&piece[..length]);
                showing.lock().unwrap().push_str(&text);
            }
        });
        Self { child, shown }
    }

    fn times(&self, text: &str) -> usize {
        self.shown.lock().unwrap().matches(text).count()
    }

    /// Types a line once `text` was shown so many times.
    fn types_after(&mut self, text: &str, times: usize, line: &str) {
        until(|| self.times(text) >= times);
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(line.as_bytes()).unwrap();
        input.write_all(b"\n").unwrap();
    }

    /// How the program ended.
    fn ended(mut self) -> i32 {
        until(|| self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code().unwrap()
    }
}

fn chat() -> (Place, Seat) {
    let place = Place::with_script(&script(&["ask"]));
    let mut seat = Seat::at(&place, &["chat", "agent.yaml", "--session", "s1"]);
    seat.types_after("/help says", 1, "go");
    (place, seat)
}

#[test]
#[cfg_attr(
    not(has_script),
    ignore = "there is no `script`, which makes terminals"
)]
fn an_approval_is_asked_for_in_the_chat_and_the_call_is_made_once_it_is_granted() {
    let (place, mut seat) = chat();
    // What is no answer is asked for again, and nothing is done meanwhile.
    seat.types_after(QUESTION, 1, "maybe");
    until(|| seat.times(QUESTION) >= 2);
    assert!(place.lines("ask").is_empty());
    seat.types_after(QUESTION, 2, "y");
    seat.types_after("Done.", 1, "/exit");
    assert_eq!(seat.ended(), 0);
    assert_eq!(place.lines("ask").len(), 1);
}

#[test]
#[cfg_attr(
    not(has_script),
    ignore = "there is no `script`, which makes terminals"
)]
fn an_approval_that_is_refused_in_the_chat_makes_no_call_and_the_chat_goes_on() {
    let (place, mut seat) = chat();
    seat.types_after(QUESTION, 1, "n");
    seat.types_after("Done.", 1, "/exit");
    assert_eq!(seat.ended(), 0);
    assert!(place.lines("ask").is_empty());
    assert_eq!(place.json(&["approvals"]), Value::Array(Vec::new()));
    let run = place.json(&["runs"])[0]["run_id"].clone();
    let events = place.run(&["events", run.as_str().unwrap(), "--json"]);
    let events = events.json_lines();
    let decided = |event: &&Value| event["type"] == "approval_decided";
    let decided = events.iter().find(decided).unwrap();
    assert_eq!(decided["data"]["granted"], false, "{decided}");
}

#[test]
#[cfg_attr(
    not(has_script),
    ignore = "there is no `script`, which makes terminals"
)]
fn an_approval_that_is_put_off_in_the_chat_waits_and_is_asked_for_when_it_goes_on() {
    let (place, mut seat) = chat();
    seat.types_after(QUESTION, 1, "q");
    assert_eq!(seat.ended(), 3);
    assert!(place.lines("ask").is_empty());
    let mut again = Seat::at(&place, &["chat", "agent.yaml", "--session", "s1"]);
    again.types_after(QUESTION, 1, "yes");
    again.types_after("Done.", 1, "/exit");
    assert_eq!(again.ended(), 0);
    assert_eq!(place.lines("ask").len(), 1);
}

#[test]
#[cfg_attr(
    not(has_script),
    ignore = "there is no `script`, which makes terminals"
)]
fn a_question_of_a_server_is_asked_field_by_field_and_the_run_goes_on_with_the_answer() {
    const CHOICE: &str = "[q]uit and answer later: ";
    let place = asking::place();
    let mut seat = Seat::at(&place, &["run", "agent.yaml", "--run-id", "r1"]);
    seat.types_after(CHOICE, 1, "a");
    seat.types_after("name (string): ", 1, "Ada");
    assert_eq!(seat.ended(), 0);
    assert_eq!(place.lines("booked"), ["Ada"]);

    let place = asking::place();
    let mut seat = Seat::at(&place, &["run", "agent.yaml", "--run-id", "r1"]);
    seat.types_after(CHOICE, 1, "q");
    assert_eq!(seat.ended(), 3);
    assert!(place.lines("booked").is_empty());
    let mut seat = Seat::at(&place, &["resume", "r1"]);
    seat.types_after(CHOICE, 1, "d");
    assert_eq!(seat.ended(), 0);
    assert!(place.lines("booked").is_empty());
}

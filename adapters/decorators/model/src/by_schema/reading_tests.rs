use seaworthy_ports::ToolName;

use super::*;

fn forms(answer: Answer) -> Forms {
    let tools = ["read", "list"].map(|name| ToolName::new(name).unwrap());
    Forms {
        tools: tools.into(),
        answer,
    }
}

/// What is made of `raw` in pieces of so many letters; deltas that follow each other are one.
fn read(raw: &str, answer: Answer, size: usize) -> (Vec<Part>, End) {
    let mut reading = Reading::new(forms(answer));
    let letters: Vec<char> = raw.chars().collect();
    let mut parts: Vec<Part> = Vec::new();
    let mut add = |more: Vec<Part>| {
        for part in more {
            match (parts.last_mut(), part) {
                (Some(Part::Delta(last)), Part::Delta(more)) => last.push_str(&more),
                (_, part) => parts.push(part),
            }
        }
    };
    for piece in letters.chunks(size) {
        add(reading.push(&piece.iter().collect::<String>()).unwrap());
    }
    let (end, last) = reading.end();
    add(last);
    (parts, end)
}

fn delta(text: &str) -> Part {
    Part::Delta(text.to_owned())
}

#[test]
fn a_form_is_read_however_it_is_cut_and_spaced() {
    let call = |arguments: &str| vec![Part::Call("read".to_owned()), delta(arguments)];
    let answer = |text: &str| vec![Part::Answer, delta(text)];
    let cases = [
        (
            r#"{"name":"read","parameters":{"path":"a}\"{","n":[1,{}]}}"#,
            Answer::Text,
            (call(r#"{"path":"a}\"{","n":[1,{}]}"#), End::Called),
        ),
        (
            " {\n \"name\" : \"read\" ,\n \"parameters\" : { } }\n",
            Answer::Never,
            (call("{ }"), End::Called),
        ),
        (
            r#"{"answer": "ü \"🦀\" \\ \u00fc\ud83e\udd80\n/\/"}"#,
            Answer::Text,
            (answer("ü \"🦀\" \\ ü🦀\n//"), End::Answered),
        ),
        (
            r#"{"answer": ""}"#,
            Answer::Text,
            (vec![Part::Answer], End::Answered),
        ),
        (
            r#"{"answer": {"n": "}"} }"#,
            Answer::Json,
            (answer(r#"{"n": "}"}"#), End::Answered),
        ),
        (
            r#"{"answer":12}"#,
            Answer::Json,
            (answer("12"), End::Answered),
        ),
        (
            r#"{"answer":"a\"}"}"#,
            Answer::Json,
            (answer(r#""a\"}""#), End::Answered),
        ),
        // Another order, and a member's name with an escape.
        (
            r#"{"parameters": {"path": "a"}, "name": "read"}"#,
            Answer::Text,
            (call(r#"{"path": "a"}"#), End::Called),
        ),
        (
            r#"{"answ\u0065r": "a"}"#,
            Answer::Text,
            (answer("a"), End::Answered),
        ),
    ];
    for (raw, form, expected) in cases {
        for size in [1, 2, 3, 7, 1_000] {
            assert_eq!(read(raw, form, size), expected, "{raw} by {size}");
        }
    }
}

#[test]
fn what_has_no_form_says_so_at_its_end() {
    for (raw, form) in [
        ("", Answer::Text),
        ("It is empty.", Answer::Text),
        (r#"["read", {}, "a"]"#, Answer::Text),
        (r#"{"name": "read"}"#, Answer::Text),
        (r#"{"name": "read", "parameters": [1]}"#, Answer::Text),
        (r#"{"name": "write", "parameters": {}}"#, Answer::Text),
        (
            r#"{"name": "read", "parameters": {}, "answer": "a"}"#,
            Answer::Text,
        ),
        (r#"{"name": "read", "parameters": {}} {}"#, Answer::Text),
        (r#"{"name": "read", "parameters": {}"#, Answer::Text),
        (r#"{"answer": "a", "answer": "b"}"#, Answer::Text),
        (r#"{"answer": "a"#, Answer::Text),
        (r#"{"answer": "\x"}"#, Answer::Text),
        (r#"{"answer": "\ud83e\u0041"}"#, Answer::Text),
        (r#"{"answer": "\ud83eabcdefgh"}"#, Answer::Text),
        (r#"{"answer": "\u00é"}"#, Answer::Text),
        (r#"{"answer": 1}"#, Answer::Text),
        (r#"{"answer": "a"}"#, Answer::Never),
    ] {
        for size in [1, 1_000] {
            assert_eq!(read(raw, form, size).1, End::Formless, "{raw} by {size}");
        }
    }
}

#[test]
fn text_is_passed_on_as_soon_as_it_stands() {
    let mut reading = Reading::new(forms(Answer::Text));
    let mut seen = Vec::new();
    for piece in [
        r#"{"answer""#,
        r#": "Hel"#,
        r"lo\",
        r"u00",
        r#"fc"#,
        r#""}"#,
    ] {
        seen.push(reading.push(piece).unwrap());
    }
    let expected = [
        vec![],
        vec![Part::Answer, delta("Hel")],
        vec![delta("lo")],
        vec![],
        vec![delta("ü")],
        vec![],
    ];
    assert_eq!(seen, expected);
}

#[test]
fn an_answer_has_a_most_length() {
    let mut reading = Reading::new(forms(Answer::Text));
    assert_eq!(reading.push(r#"{"answer": ""#).map(|_parts| ()), Ok(()));
    let flood = "x".repeat(MAX_BYTES);
    assert_eq!(reading.push(&flood), Err(()));
}

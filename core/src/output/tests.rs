use serde_json::json;

use super::*;

fn contract() -> Contract {
    Contract::compile(&json!({
        "type": "object",
        "required": ["n"],
        "additionalProperties": false,
        "properties": { "n": { "type": "integer" } },
    }))
    .unwrap()
}

fn says(blocks: Vec<Block>) -> Message {
    Message {
        role: Role::Assistant,
        blocks,
    }
}

fn text(text: &str) -> Message {
    says(vec![Block::Text {
        text: text.to_owned(),
        opaque: None,
    }])
}

fn call(name: &str, arguments: &str) -> Block {
    Block::ToolCall(ToolCallBlock {
        id: format!("id of {name}"),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        opaque: None,
    })
}

#[test]
fn an_answer_in_text_is_the_whole_text_or_its_only_fenced_block() {
    for said in [
        "{\"n\": 3}",
        "  {\"n\": 3}\n",
        "```json\n{\"n\": 3}\n```",
        "Here it is:\n\n```\n{\n  \"n\": 3\n}\n```\nGood luck.",
        "```json\n{\"n\": 3}",
    ] {
        assert_eq!(contract().read(&text(said)), Ok(json!({"n": 3})), "{said}");
    }
    for said in [
        "",
        "three",
        "It is {\"n\": 3}",
        "```\n{\"n\": 3}\n```\n```\n{\"n\": 4}\n```",
        "{\"n\": \"3\"}",
        "[3]",
        "{\"n\": 3, \"m\": 4}",
        "{\"n\": 3",
    ] {
        assert!(contract().read(&text(said)).is_err(), "{said}");
    }
}

#[test]
fn an_answer_by_the_tool_is_the_arguments_of_its_only_call() {
    let by = |arguments: &[&str]| {
        let calls = arguments.iter().map(|said| call(ANSWER_TOOL, said));
        contract().read(&says(calls.collect()))
    };
    assert_eq!(by(&["{\"n\": 3}"]), Ok(json!({"n": 3})));
    assert!(by(&["{\"n\": 3}", "{\"n\": 3}"]).is_err());
    assert!(by(&["{\"n\": "]).is_err());
    assert!(by(&[""]).is_err());
}

#[test]
fn faults_name_their_place_and_stay_short_whatever_the_answer_holds() {
    let faults = contract()
        .read(&text("{\"n\": \"x\", \"m\": 1}"))
        .unwrap_err();
    assert!(
        faults.iter().any(|fault| fault.starts_with("/n: ")),
        "{faults:?}"
    );
    let wrong = Contract::compile(&json!({"type": "array", "items": {"type": "integer"}})).unwrap();
    let huge: Vec<String> = (0..50).map(|_| "ü".repeat(10_000)).collect();
    let faults = wrong.read(&text(&json!(huge).to_string())).unwrap_err();
    assert_eq!(faults.len(), MAX_FAULTS + 1);
    assert!(repair(&faults).len() < 10_000);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(wrong.read(&text(&deep)).is_err());
    let long = format!("\"{}\"", "x".repeat(MAX_ANSWER_BYTES));
    assert_eq!(wrong.read(&text(&long)).unwrap_err(), [too_long()]);
}

#[test]
fn a_message_that_also_calls_other_tools_is_no_answer() {
    assert!(is_answer(&text("{}")));
    assert!(is_answer(&says(vec![call(ANSWER_TOOL, "{}")])));
    assert!(!is_answer(&says(vec![call("read", "{}")])));
    let both = vec![call(ANSWER_TOOL, "{}"), call("read", "{}")];
    assert!(!is_answer(&says(both)));
    assert!(!is_answer(&Message::user("{}")));
}

#[test]
fn whoever_does_not_know_the_tool_is_told_of_it_in_text() {
    use seaworthy_ports::model_provider::{ToolResultBlock, check_history};
    let result = |name: &str| {
        Block::ToolResult(ToolResultBlock {
            id: format!("id of {name}"),
            name: name.to_owned(),
            content: format!("{name} said so"),
            is_error: true,
            media: Vec::new(),
        })
    };
    let user = |blocks| Message {
        role: Role::User,
        blocks,
    };
    let plain = vec![
        Message::user("go"),
        says(vec![call("read", "{}")]),
        user(vec![result("read")]),
    ];
    assert!(matches!(as_text(&plain), Cow::Borrowed(_)));
    let mut messages = plain.clone();
    messages.push(says(vec![
        call("read", "{}"),
        call(ANSWER_TOOL, "{\"n\": 1}"),
    ]));
    messages.push(user(vec![result("read"), result(ANSWER_TOOL)]));
    messages.push(says(vec![call(ANSWER_TOOL, "{\"n\": 2}")]));
    let told = as_text(&messages);
    assert_eq!(check_history(&told), Ok(()));
    assert!(told.starts_with(&plain));
    let said: Vec<String> = told.iter().skip(3).map(Message::text).collect();
    assert_eq!(said, ["{\"n\": 1}", "final_answer said so", "{\"n\": 2}"]);
    assert_eq!(told.iter().flat_map(Message::tool_calls).count(), 2);
}

//! A script as a conversation goes through it, and scripts that are wrong.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use futures_executor::block_on;
use seaworthy_fakes::FakeClock;
use seaworthy_ports::Latch;
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::model_provider::{
    Block, Kind, Message, ModelError, ModelProviderExt as _, ModelReply, ModelRequest, Role,
    ToolResultBlock,
};
use seaworthy_scripted::{ScriptError, ScriptedModel};
use serde_json::{Value, json};

fn request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        model: "script".to_owned(),
        instructions: "".into(),
        messages: Arc::new(messages),
        tools: Arc::default(),
        output_schema: None,
        max_output_tokens: None,
        parameters: Arc::default(),
        idle_timeout: Duration::from_secs(1),
        cancel: Latch::never(),
    }
}

fn say(model: &ScriptedModel, messages: &[Message]) -> Result<ModelReply, ModelError> {
    block_on(model.complete(request(messages.to_vec())))
}

/// Adds the answer, and results for its calls.
fn answer(messages: &mut Vec<Message>, reply: &ModelReply, results: &[(Value, bool)]) {
    messages.push(reply.message.clone());
    let blocks = reply
        .message
        .tool_calls()
        .zip(results)
        .map(|(call, (content, is_error))| {
            let content = content
                .as_str()
                .map_or_else(|| content.to_string(), str::to_owned);
            let (id, name) = (call.id.clone(), call.name.clone());
            Block::ToolResult(ToolResultBlock {
                id,
                name,
                content,
                is_error: *is_error,
                media: Vec::new(),
            })
        });
    messages.push(Message {
        role: Role::User,
        blocks: blocks.collect(),
    });
}

fn arguments(reply: &ModelReply) -> Vec<Value> {
    reply
        .message
        .tool_calls()
        .map(|call| call.parsed().unwrap())
        .collect()
}

const SCRIPT: &str = r#"
turns:
  - text: "You said {{ input }}."
    calls:
      - { tool: list, arguments: { path: ., depth: 2 } }
      - { tool: shell, arguments: { command: "echo {{ input | upper }}" } }
  - when: "{{ results[1].is_error }}"
    text: It failed.
    calls: [{ tool: shell, arguments: { command: again } }]
  - repeat: 2
    text: "Round {{ iteration }}"
    calls:
      - { tool: write, arguments: { count: "{{ results[0].output.entries | length }}", last: "{{ last[0].tool }}" } }
  - text: "Done with {{ results | length }} results."
"#;

#[test]
fn answers_follow_the_script_and_its_templates() {
    let model = ScriptedModel::from_yaml(SCRIPT, "s.yaml").unwrap();
    let mut messages = vec![Message::user("hello")];
    let first = say(&model, &messages).unwrap();
    assert_eq!(first.message.text(), "You said hello.");
    assert_eq!(
        arguments(&first),
        [
            json!({ "path": ".", "depth": 2 }),
            json!({ "command": "echo HELLO" })
        ]
    );
    answer(
        &mut messages,
        &first,
        &[
            (json!({ "entries": [1, 2, 3] }), false),
            (json!("HELLO"), false),
        ],
    );
    for round in 0..2 {
        let reply = say(&model, &messages).unwrap();
        assert_eq!(reply.message.text(), format!("Round {round}"));
        let last = if round == 0 { "list" } else { "write" };
        assert_eq!(arguments(&reply), [json!({ "count": 3, "last": last })]);
        answer(&mut messages, &reply, &[(json!({}), false)]);
    }
    assert_eq!(
        say(&model, &messages).unwrap().message.text(),
        "Done with 4 results."
    );
}

#[test]
fn a_turn_is_left_out_by_what_was_known_at_its_time() {
    let model = ScriptedModel::from_yaml(SCRIPT, "s.yaml").unwrap();
    let mut messages = vec![Message::user("hello")];
    let first = say(&model, &messages).unwrap();
    answer(
        &mut messages,
        &first,
        &[(json!({ "entries": [] }), false), (json!("no"), true)],
    );
    let second = say(&model, &messages).unwrap();
    assert_eq!(second.message.text(), "It failed.");
    answer(&mut messages, &second, &[(json!("yes"), false)]);
    assert_eq!(say(&model, &messages).unwrap().message.text(), "Round 0");
}

#[test]
fn a_new_message_of_the_user_starts_the_script_again() {
    let model = ScriptedModel::from_yaml("turns: [{ text: '{{ input }}' }]", "s.yaml").unwrap();
    let mut messages = vec![Message::user("one")];
    let reply = say(&model, &messages).unwrap();
    messages.push(reply.message);
    messages.push(Message::user("two"));
    assert_eq!(say(&model, &messages).unwrap().message.text(), "two");
}

#[test]
fn the_same_conversation_gets_the_same_answer_in_any_process() {
    let messages = [Message::user("hello")];
    let one = say(
        &ScriptedModel::from_yaml(SCRIPT, "s.yaml").unwrap(),
        &messages,
    )
    .unwrap();
    let other = say(
        &ScriptedModel::from_yaml(SCRIPT, "s.yaml").unwrap(),
        &messages,
    )
    .unwrap();
    assert!(one == other);
}

#[test]
fn a_script_that_is_over_and_an_undefined_name_fail_the_call() {
    for script in [
        "turns: [{ text: a, calls: [{ tool: t }] }]",
        "turns: [{ text: '{{ results[0].nothing }}' }]",
        "turns: [{ text: a, calls: [{ tool: t, arguments: { of: '{{ last[7] }}' } }] }]",
    ] {
        let model = ScriptedModel::from_yaml(script, "s.yaml").unwrap();
        let mut messages = vec![Message::user("go")];
        let failed = match say(&model, &messages) {
            Err(error) => error,
            Ok(reply) => {
                answer(&mut messages, &reply, &[(json!(1), false)]);
                say(&model, &messages).err().unwrap()
            }
        };
        assert_eq!(failed.kind(), Kind::InvalidRequest);
    }
}

#[test]
fn a_conversation_that_real_providers_refuse_is_refused() {
    let model = ScriptedModel::from_yaml(SCRIPT, "s.yaml").unwrap();
    let mut messages = vec![Message::user("hello")];
    let reply = say(&model, &messages).unwrap();
    messages.push(reply.message.clone());
    assert_eq!(
        say(&model, &messages).err().unwrap().kind(),
        Kind::InvalidRequest
    );
    answer(&mut messages, &reply, &[(json!(1), false)]);
    assert_eq!(
        say(&model, &messages).err().unwrap().kind(),
        Kind::InvalidRequest
    );
}

#[test]
fn latency_is_waited_for_on_the_clock() {
    let clock = FakeClock::jumping();
    let started = clock.now();
    let model = ScriptedModel::from_yaml("turns: [{ text: some words, latency: 240ms }]", "s.yaml")
        .unwrap();
    let model = model.with_clock(Arc::new(clock.clone()));
    assert_eq!(
        say(&model, &[Message::user("go")]).unwrap().message.text(),
        "some words"
    );
    let took = clock.now().since(started);
    assert!(
        took >= Duration::from_millis(180) && took <= Duration::from_millis(240),
        "{took:?}"
    );
}

#[test]
fn a_wrong_script_is_refused_with_its_place() {
    let at = |script: &str| match ScriptedModel::from_yaml(script, "s.yaml").err() {
        Some(ScriptError::Syntax { origin, line, .. }) => (origin, line),
        other => panic!("{other:?}"),
    };
    assert_eq!(at("turns:\n  - txet: hello\n"), ("s.yaml".to_owned(), 2));
    assert_eq!(at("turns:\n  - text: [\n").0, "s.yaml");
    let turn = |script: &str| match ScriptedModel::from_yaml(script, "s.yaml").err() {
        Some(ScriptError::Turn { turn, .. }) => turn,
        other => panic!("{other:?}"),
    };
    assert_eq!(turn("turns: [{ text: a }, { text: '{{ 1 + }}' }]"), 2);
    assert_eq!(turn("turns: [{ text: '{{ nobody }}' }]"), 1);
    assert_eq!(turn("turns: [{ text: a, latency: 5 minutes }]"), 1);
    assert_eq!(turn("turns: [{ text: a, repeat: 0 }]"), 1);
    assert!(matches!(
        ScriptedModel::from_yaml("turns: []", "s.yaml"),
        Err(ScriptError::Whole { .. })
    ));
}

#[test]
fn an_expression_alone_keeps_its_type_and_text_around_it_makes_text() {
    let script = r#"
turns:
  - calls: [{ tool: t }]
  - calls:
      - tool: t
        arguments:
          list: "{{ results[0].output.of }}"
          whole: "{{ results[-1] }}"
          count: "{{ results[0].output.of | length }}"
          is: "{{ results[0].is_error }}"
          text: "{{ results[0].output.of[0] }}!"
          both: "{{ turn }}{{ iteration }}"
          names: "{{ results | map(attribute='tool') | list }}"
          lines: "{{ 'a b' | trim | split(' ') | join('/') }}"
"#;
    let model = ScriptedModel::from_yaml(script, "s.yaml").unwrap();
    let mut messages = vec![Message::user("go")];
    let reply = say(&model, &messages).unwrap();
    answer(&mut messages, &reply, &[(json!({"of": [1, "zwei"]}), true)]);
    let output = json!({"of": [1, "zwei"]});
    let whole =
        json!({"tool": "t", "text": output.to_string(), "output": output, "is_error": true});
    assert_eq!(
        arguments(&say(&model, &messages).unwrap()),
        [json!({
            "list": [1, "zwei"], "whole": whole, "count": 2, "is": true, "text": "1!", "both": "10",
            "names": ["t"], "lines": "a/b",
        })]
    );
}

#[test]
fn ids_of_calls_are_unique_in_a_conversation() {
    let model = ScriptedModel::from_yaml(
        "turns: [{ repeat: 3, calls: [{ tool: a }, { tool: b }] }]",
        "s.yaml",
    )
    .unwrap();
    let mut messages = Vec::new();
    for _round in 0..2 {
        messages.push(Message::user("go"));
        for _turn in 0..3 {
            let reply = say(&model, &messages).unwrap();
            answer(
                &mut messages,
                &reply,
                &[(json!(1), false), (json!(2), false)],
            );
        }
    }
    let ids: Vec<_> = messages
        .iter()
        .flat_map(Message::tool_calls)
        .map(|call| &call.id)
        .collect();
    let different: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), different.len()), (12, 12));
}

#[test]
fn what_the_conversation_holds_is_in_no_error() {
    for script in [
        "turns: [{ text: '{{ input + 1 }}' }]",
        "turns: [{ text: '{{ input | int }} words' }]",
        "turns: [{ text: '{{ input }}', when: '{{ input.canary.x }}' }]",
    ] {
        let model = ScriptedModel::from_yaml(script, "s.yaml").unwrap();
        let error = say(&model, &[Message::user("canary")]).err().unwrap();
        assert_eq!(error.kind(), Kind::InvalidRequest);
        let shown = format!("{error} {error:?} {model:?}");
        assert!(
            !shown.replace("input.canary", "").contains("canary"),
            "{shown}"
        );
    }
}

#[test]
fn a_cancelled_call_is_not_answered() {
    let model = ScriptedModel::from_yaml("turns: [{ text: a }]", "s.yaml").unwrap();
    let (setter, cancel) = Latch::new();
    setter.set();
    let request = ModelRequest {
        cancel,
        ..request(vec![Message::user("go")])
    };
    assert_eq!(
        block_on(model.complete(request)).err().unwrap().kind(),
        Kind::Cancelled
    );
}

#[test]
fn cancelling_ends_the_latency() {
    let model = ScriptedModel::from_yaml("turns: [{ text: some words, latency: 5s }]", "s.yaml")
        .unwrap()
        .with_clock(Arc::new(FakeClock::new()));
    let (setter, cancel) = Latch::new();
    let request = ModelRequest {
        cancel,
        ..request(vec![Message::user("go")])
    };
    let call = std::thread::spawn(move || block_on(model.complete(request)).err().unwrap().kind());
    setter.set();
    assert_eq!(call.join().unwrap(), Kind::Cancelled);
}

#[test]
fn a_latency_longer_than_the_call_allows_silence_is_a_timeout() {
    for (turn, started) in [
        ("{ text: some words, latency: 100s }", true),
        ("{ calls: [{ tool: a }], latency: 9s }", true),
        ("{ latency: 9s }", false),
    ] {
        let clock = FakeClock::jumping();
        let before = clock.now();
        let model = ScriptedModel::from_yaml(&format!("turns: [{turn}]"), "s.yaml")
            .unwrap()
            .with_clock(Arc::new(clock.clone()));
        let error = say(&model, &[Message::user("go")]).unwrap_err();
        assert_eq!(
            (error.kind(), error.response_started),
            (Kind::Timeout, started)
        );
        assert_eq!(clock.now().since(before), Duration::from_secs(1));
    }
}

#[test]
fn an_output_schema_is_refused() {
    let model = ScriptedModel::from_yaml("turns: [{ text: a }]", "s.yaml").unwrap();
    let output_schema = Some(Arc::new(json!({ "type": "object" })));
    let request = ModelRequest {
        output_schema,
        ..request(vec![Message::user("go")])
    };
    assert_eq!(
        block_on(model.complete(request)).err().unwrap().kind(),
        Kind::Unsupported
    );
}

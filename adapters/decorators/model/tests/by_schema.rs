//! What a model is asked that calls tools by a schema, and what is made of its answers.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use seaworthy_fakes::{FakeModel, Step};
use seaworthy_model_decorators::ToolsBySchema;
use seaworthy_ports::model_provider::{
    Block, FinishReason, Kind, Message, ModelCapabilities, ModelError, ModelProvider as _,
    ModelProviderExt as _, ModelReply, ModelRequest, Parameters, Role, ToolCallBlock, ToolChoice,
    ToolResultBlock, ToolSpec,
};
use seaworthy_ports::{Latch, ToolName};
use serde_json::{Value, json};

fn name(name: &str) -> ToolName {
    ToolName::new(name).unwrap()
}

fn request(messages: Vec<Message>) -> ModelRequest {
    let tools = [("read", "Reads a file."), ("now", "Says the time.")];
    let tools = tools.map(|(tool, description)| ToolSpec {
        name: name(tool),
        description: description.to_owned(),
        input_schema: json!({"type": "object", "properties": {"path": {"type": "string"}}}),
    });
    ModelRequest {
        model: "m".to_owned(),
        instructions: Arc::from("Be brief."),
        messages: Arc::new(messages),
        tools: Arc::new(tools.into()),
        output_schema: None,
        max_output_tokens: Some(7),
        parameters: Arc::default(),
        idle_timeout: Duration::from_secs(1),
        cancel: Latch::never(),
    }
}

fn choosing(choice: ToolChoice) -> ModelRequest {
    let parameters = Parameters {
        temperature: Some(0.0),
        tool_choice: Some(choice),
        ..Parameters::default()
    };
    ModelRequest {
        parameters: Arc::new(parameters),
        ..request(vec![Message::user("go")])
    }
}

/// What comes of `request`, whose answer is `step`.
fn asked(request: ModelRequest, step: Step) -> Result<ModelReply, ModelError> {
    let keeps = ModelCapabilities::NONE.with_structured_output();
    let model = FakeModel::new([step]).with_capabilities(keeps);
    let decorated = ToolsBySchema::new(Arc::new(model.clone()));
    let reply = decorated.complete(request).now_or_never().unwrap();
    if reply.is_ok() {
        model.assert_all_used();
    }
    reply
}

fn is_valid(request: &ModelRequest, answer: &Value) -> bool {
    let schema = request.output_schema.as_deref().unwrap();
    jsonschema::is_valid(schema, answer)
}

fn call(id: &str, tool: &str, arguments: &str) -> Block {
    Block::ToolCall(ToolCallBlock {
        id: id.to_owned(),
        name: tool.to_owned(),
        arguments: arguments.to_owned(),
        opaque: None,
    })
}

fn result(id: &str, tool: &str, content: &str, is_error: bool) -> Block {
    Block::ToolResult(ToolResultBlock {
        id: id.to_owned(),
        name: tool.to_owned(),
        content: content.to_owned(),
        is_error,
        media: Vec::new(),
    })
}

fn says(role: Role, blocks: Vec<Block>) -> Message {
    Message { role, blocks }
}

#[test]
fn a_call_is_one_and_an_answer_is_text() {
    let go = || request(vec![Message::user("go")]);
    let called = Step::says(r#"{"name": "read", "parameters": {"path": "a"}}"#);
    let reply = asked(go(), called).unwrap();
    assert_eq!(
        reply.message.blocks,
        [call("call_0", "read", r#"{"path": "a"}"#)]
    );
    assert_eq!(reply.finish.reason, FinishReason::ToolCalls);
    let reply = asked(go(), Step::says(r#"{"answer": "It is\nempty."}"#)).unwrap();
    assert_eq!(reply.message.text(), "It is\nempty.");
    assert_eq!(reply.finish.reason, FinishReason::Stop);
}

#[test]
fn the_model_is_told_its_tools_and_given_none() {
    let told = Step::says(r#"{"answer": ""}"#)
        .when("the tools are in the instructions", |request| {
            let told = &request.instructions;
            told.starts_with("Be brief.\n") && told.contains("- read: Reads a file.")
        })
        .when("it has no tools of its own", |request| {
            request.tools.is_empty() && request.parameters.tool_choice.is_none()
        })
        .when("the rest is as it was", |request| {
            request.max_output_tokens == Some(7) && request.model == "m"
        })
        .when(
            "calls and answers fit the schema, and nothing else",
            |request| {
                is_valid(
                    request,
                    &json!({"name": "read", "parameters": {"path": "a"}}),
                ) && is_valid(request, &json!({"name": "now", "parameters": {}}))
                    && is_valid(request, &json!({"answer": "a"}))
                    && !is_valid(request, &json!({"name": "write", "parameters": {}}))
                    && !is_valid(request, &json!({"name": "read", "parameters": {"path": 1}}))
                    && !is_valid(request, &json!({"name": "read"}))
                    && !is_valid(request, &json!({"answer": 1}))
            },
        );
    asked(request(vec![Message::user("go")]), told).unwrap();
}

#[test]
fn a_tool_that_must_be_called_leaves_no_other_form() {
    let called = || Step::says(r#"{"name": "now", "parameters": {}}"#);
    let required = called().when("there is no answer", |request| {
        !is_valid(request, &json!({"answer": "a"}))
            && is_valid(request, &json!({"name": "read", "parameters": {}}))
    });
    asked(choosing(ToolChoice::Required), required).unwrap();
    let one = called()
        .when("only that tool can be called", |request| {
            !is_valid(request, &json!({"answer": "a"}))
                && !is_valid(request, &json!({"name": "read", "parameters": {}}))
                && is_valid(request, &json!({"name": "now", "parameters": {}}))
        })
        .when("other parameters stay", |request| {
            request.parameters.temperature == Some(0.0)
        });
    asked(choosing(ToolChoice::Tool(name("now"))), one).unwrap();
    let none = Step::says("plain").when("it says what it likes", |request| {
        request.output_schema.is_none() && &*request.instructions == "Be brief."
    });
    let reply = asked(choosing(ToolChoice::None), none).unwrap();
    assert_eq!(reply.message.text(), "plain");
    // A model that calls another one all the same.
    let other = Step::says(r#"{"name": "read", "parameters": {}}"#);
    let reply = asked(choosing(ToolChoice::Tool(name("now"))), other).unwrap();
    assert_eq!(reply.finish.reason, FinishReason::Malformed);
}

#[test]
fn an_answer_may_have_a_schema_of_its_own() {
    let schema = json!({
        "type": "object",
        "required": ["n"],
        "properties": {"n": {"$ref": "#/$defs/n"}},
        "$defs": {"n": {"type": "integer"}},
    });
    let request = ModelRequest {
        output_schema: Some(Arc::new(schema)),
        ..request(vec![Message::user("go")])
    };
    let step = Step::says(r#"{"answer": {"n": 3}}"#).when("it is that of the answer", |request| {
        is_valid(request, &json!({"answer": {"n": 3}}))
            && is_valid(request, &json!({"name": "now", "parameters": {}}))
            && !is_valid(request, &json!({"answer": {"n": "3"}}))
    });
    let reply = asked(request, step).unwrap();
    assert_eq!(reply.message.text(), r#"{"n": 3}"#);
}

#[test]
fn calls_and_results_are_text_for_the_model() {
    let messages = vec![
        Message::user("go"),
        says(
            Role::Assistant,
            vec![
                Block::Text {
                    text: "I look.".to_owned(),
                    opaque: None,
                },
                call("call_1", "read", r#"{"path": "a"}"#),
                call("x", "now", ""),
            ],
        ),
        says(
            Role::User,
            vec![
                result("call_1", "read", "is a\n", false),
                result("x", "now", "no clock", true),
            ],
        ),
    ];
    let step = Step::says(r#"{"name": "now", "parameters": {}}"#)
        .when("the calls are as it would write them", |request| {
            request.messages[1].text()
                == "I look.\n\n{\"name\": \"read\", \"parameters\": {\"path\": \"a\"}}\n\n\
                    {\"name\": \"now\", \"parameters\": {}}"
        })
        .when("the results are told", |request| {
            request.messages[2].text()
                == "The result of read:\nis a\n\n\nThe call of now failed:\nno clock"
        });
    let reply = asked(request(messages.clone()), step).unwrap();
    // No call before has this id.
    assert_eq!(reply.message.blocks, [call("call_2", "now", "{}")]);
    // A model that gets no tools cannot read calls either.
    let without = ModelRequest {
        tools: Arc::default(),
        ..request(messages)
    };
    let step = Step::says("plain").when("nothing is a call", |request| {
        request
            .messages
            .iter()
            .all(|message| message.tool_calls().count() == 0)
            && request.output_schema.is_none()
    });
    assert_eq!(asked(without, step).unwrap().message.text(), "plain");
}

#[test]
fn what_keeps_to_no_form_is_malformed_and_told() {
    for said in ["It is empty.", r#"{"name": "read"}"#] {
        let reply = asked(request(vec![Message::user("go")]), Step::says(said)).unwrap();
        assert_eq!(reply.finish.reason, FinishReason::Malformed);
        assert_eq!(reply.message.text(), said);
    }
    let cut = Step::says(r#"{"name": "read", "parameters": {"pa"#).finishing(FinishReason::Length);
    let reply = asked(request(vec![Message::user("go")]), cut).unwrap();
    assert_eq!(reply.finish.reason, FinishReason::Length);
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let stopped = ModelRequest {
        parameters: Arc::new(Parameters {
            stop: vec!["END".to_owned()],
            ..Parameters::default()
        }),
        ..request(vec![Message::user("go")])
    };
    let unanswered = vec![
        Message::user("go"),
        says(Role::Assistant, vec![call("a", "now", "{}")]),
        Message::user("well?"),
    ];
    for (request, kind) in [
        (stopped, Kind::Unsupported),
        (request(unanswered), Kind::InvalidRequest),
        (
            choosing(ToolChoice::Tool(name("write"))),
            Kind::InvalidRequest,
        ),
    ] {
        let error = asked(request, Step::says("never")).unwrap_err();
        assert_eq!(error.kind(), kind);
    }
}

#[test]
fn only_a_model_that_keeps_to_schemas_calls_tools() {
    let with = |capabilities| {
        let model = FakeModel::new([]).with_capabilities(capabilities);
        ToolsBySchema::new(Arc::new(model))
    };
    let keeps = ModelCapabilities::NONE.with_structured_output();
    let expected = keeps
        .with_tool_use()
        .with_schema_with_tools()
        .with_forced_calls();
    assert_eq!(with(keeps).capabilities("m"), expected);
    let does_not = with(ModelCapabilities::NONE.with_tool_use().with_signed_calls());
    assert_eq!(does_not.capabilities("m"), ModelCapabilities::NONE);
    let reply = does_not.complete(request(vec![Message::user("go")]));
    let error = reply.now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
}

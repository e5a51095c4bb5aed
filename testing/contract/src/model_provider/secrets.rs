//! MP-10: what no error and no debug output may show.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use seaworthy_ports::ToolName;
use seaworthy_ports::model_provider::{
    Block, FinishReason, Kind, Message, ModelError, ModelRequest, Role, ToolCallBlock,
    ToolResultBlock, ToolSpec,
};
use serde_json::json;

use super::stage::{call, request};
use super::{Answer, Failure, Harness, Script, Step};
use crate::outcome::{Halt, Outcome, broken};

/// In every part of a prompt.
const CANARY: &str = "canary-in-the-prompt";

/// A request with canaries wherever a prompt may be.
fn prompt<H: Harness>(harness: &H) -> ModelRequest {
    let call = Block::ToolCall(ToolCallBlock {
        id: "call-1".to_owned(),
        name: "read".to_owned(),
        arguments: json!({"path": format!("{CANARY}-arguments")}).to_string(),
        opaque: None,
    });
    let result = Block::ToolResult(ToolResultBlock {
        id: "call-1".to_owned(),
        name: "read".to_owned(),
        content: format!("{CANARY}-result"),
        is_error: false,
        media: Vec::new(),
    });
    let tools = ToolName::new("read").map(|name| ToolSpec {
        name,
        description: format!("{CANARY}-description"),
        input_schema: json!({"type": "object", "description": format!("{CANARY}-schema")}),
    });
    ModelRequest {
        instructions: Arc::from(format!("{CANARY}-instructions")),
        messages: Arc::new(vec![
            Message::user(format!("{CANARY}-user")),
            Message {
                role: Role::Assistant,
                blocks: vec![call],
            },
            Message {
                role: Role::User,
                blocks: vec![result],
            },
        ]),
        tools: Arc::new(tools.into_iter().collect()),
        ..request(harness)
    }
}

/// A backend that quotes `secret` wherever it can; it knows no prompt before it names the request.
fn answers(secret: &str) -> Vec<Answer> {
    let request_id = (secret != CANARY).then(|| secret.to_owned());
    let failure = |kind: Kind| Failure {
        message: format!("this is wrong: {secret}"),
        ..Failure::of(kind)
    };
    let late = |step: Step| Answer::of([Step::text("half"), step]);
    let kinds = [
        Kind::Authentication,
        Kind::Permission,
        Kind::NotFound,
        Kind::InvalidRequest,
        Kind::ContextLength,
        Kind::RateLimited,
        Kind::QuotaExhausted,
        Kind::Overloaded,
        Kind::Server,
        Kind::Timeout,
        Kind::ContentFilter,
        Kind::Unsupported,
    ];
    let mut answers = vec![
        Answer::of([Step::text("done"), Step::Finish(FinishReason::Stop)]),
        Answer::HangUp,
        Answer::of([Step::Malformed(secret.to_owned())]),
        late(Step::Malformed(secret.to_owned())),
        late(Step::Fail(failure(Kind::Server))),
        late(Step::Cut),
        Answer::Stream(Script {
            request_id,
            steps: vec![Step::Fail(failure(Kind::Overloaded))],
            ..Script::default()
        }),
    ];
    answers.extend(kinds.map(|kind| Answer::Refuse(failure(kind))));
    answers
}

/// The error as every log could show it.
fn shown(error: &ModelError) -> String {
    let mut shown = format!(
        "{error} {error:?} {error:#?} {:?} {:?} {}",
        error.code,
        error.request_id,
        error.error.message(),
    );
    let mut under = error.source();
    while let Some(source) = under {
        let _never_fails = write!(shown, " {source} {source:?} {source:#?}");
        under = source.source();
    }
    shown
}

/// MP-10.
pub async fn no_key_is_in_an_error_or_in_debug<H: Harness>(harness: H) -> Outcome {
    let secrets = harness.secrets();
    if secrets.is_empty() {
        return Err(Halt::NotCheckable("the provider was made without a secret"));
    }
    for secret in secrets {
        hidden(&harness, &secret, "a key").await?;
    }
    Ok(())
}

/// MP-10.
pub async fn no_prompt_is_in_an_error_or_in_debug<H: Harness>(harness: H) -> Outcome {
    hidden(&harness, CANARY, "a part of a prompt").await
}

async fn hidden<H: Harness>(harness: &H, secret: &str, what: &str) -> Outcome {
    let look = |did: String, shown: &str| match shown.find(secret) {
        None => Ok(()),
        Some(at) => {
            let before: String = shown
                .get(..at)
                .unwrap_or_default()
                .chars()
                .rev()
                .take(80)
                .collect();
            let before: String = before.chars().rev().collect();
            Err(broken(
                did,
                format!("no text that shows {what}"),
                format!("{before}…"),
            ))
        }
    };
    let mut answered = 0_usize;
    for answer in answers(secret) {
        let Some(_said) = harness.answer(&answer).await else {
            continue;
        };
        answered = answered.saturating_add(1);
        let provider = harness.provider();
        look(
            "looked at the debug output of the provider".to_owned(),
            &format!("{provider:?} {provider:#?}"),
        )?;
        let seen = call(harness, prompt(harness)).await?;
        let events = &seen.events;
        look(
            "looked at the debug output of the events of an answer".to_owned(),
            &format!("{events:?} {events:#?}"),
        )?;
        if let Some(error) = &seen.error {
            let did = format!(
                "looked at the error {:?} of a backend that quotes",
                error.kind()
            );
            look(did, &shown(error))?;
        }
    }
    if answered == 0 {
        return Err(Halt::NotCheckable("the backend cannot be made to answer"));
    }
    // What the provider finds wrong by itself.
    let invalid = ModelRequest {
        messages: Arc::new(vec![Message {
            role: Role::Assistant,
            blocks: prompt(harness)
                .messages
                .iter()
                .flat_map(|message| message.blocks.clone())
                .collect(),
        }]),
        ..prompt(harness)
    };
    let seen = call(harness, invalid).await?;
    seen.error.as_ref().map_or(Ok(()), |error| {
        look(
            "looked at the error of a conversation that is refused".to_owned(),
            &shown(error),
        )
    })
}

//! MP-11: conversations that a backend would refuse to continue.

use std::sync::Arc;

use seaworthy_ports::model_provider::{
    Block, FinishReason, Kind, Message, ModelRequest, Role, ToolCallBlock, ToolResultBlock,
};

use super::stage::{call, request, set};
use super::{Answer, Harness, Step};
use crate::outcome::{Outcome, same};

fn calls<const N: usize>(ids: [&str; N]) -> Message {
    let blocks = ids.map(|id| {
        Block::ToolCall(ToolCallBlock {
            id: id.to_owned(),
            name: "read".to_owned(),
            arguments: "{}".to_owned(),
            opaque: None,
        })
    });
    Message {
        role: Role::Assistant,
        blocks: blocks.into(),
    }
}

fn results<const N: usize>(ids: [&str; N]) -> Message {
    let blocks = ids.map(|id| {
        Block::ToolResult(ToolResultBlock {
            id: id.to_owned(),
            name: "read".to_owned(),
            content: "read".to_owned(),
            is_error: false,
            media: Vec::new(),
        })
    });
    Message {
        role: Role::User,
        blocks: blocks.into(),
    }
}

fn said(text: &str) -> Message {
    Message {
        role: Role::Assistant,
        ..Message::user(text)
    }
}

fn together(one: Message, other: Message) -> Message {
    Message {
        role: one.role,
        blocks: one.blocks.into_iter().chain(other.blocks).collect(),
    }
}

fn continuing<H: Harness>(harness: &H, messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        messages: Arc::new(messages),
        ..request(harness)
    }
}

fn fine() -> Answer {
    Answer::of([Step::text("done"), Step::Finish(FinishReason::Stop)])
}

/// MP-11.
pub async fn a_conversation_that_nobody_would_continue_is_refused<H: Harness>(
    harness: H,
) -> Outcome {
    set(&harness, &fine()).await?;
    let user = || Message::user("hello");
    let wrong = [
        ("without a message", vec![]),
        ("that the model begins", vec![said("hello")]),
        ("that ends with a call", vec![user(), calls(["a"])]),
        (
            "with a call that is never answered",
            vec![user(), calls(["a"]), user()],
        ),
        (
            "with one of two calls answered",
            vec![user(), calls(["a", "b"]), results(["a"])],
        ),
        (
            "with a call that is answered too late",
            vec![user(), calls(["a"]), said("hm"), results(["a"])],
        ),
        ("with a result of no call", vec![user(), results(["a"])]),
        (
            "with a result of another call",
            vec![user(), calls(["a"]), results(["b"])],
        ),
        (
            "with two results of a call",
            vec![user(), calls(["a"]), results(["a", "a"])],
        ),
        (
            "with a result of a call that has its result",
            vec![
                user(),
                calls(["a"]),
                results(["a"]),
                said("so"),
                results(["a"]),
            ],
        ),
        (
            "with two calls of the same id",
            vec![user(), calls(["a", "a"]), results(["a"])],
        ),
        (
            "in which the user calls",
            vec![
                user(),
                Message {
                    role: Role::User,
                    ..calls(["a"])
                },
                results(["a"]),
            ],
        ),
        (
            "in which the model answers its call",
            vec![
                user(),
                calls(["a"]),
                Message {
                    role: Role::Assistant,
                    ..results(["a"])
                },
                user(),
            ],
        ),
    ];
    for (what, messages) in wrong {
        let did = format!("went on in a conversation {what}");
        let seen = call(&harness, continuing(&harness, messages)).await?;
        seen.failed_as(&did, Kind::InvalidRequest)?;
        let sent = harness.requests().map_or(0, |requests| requests.len());
        same(format!("{did}, and counted what was sent"), sent, 0)?;
    }
    Ok(())
}

/// MP-11.
pub async fn a_conversation_that_is_whole_is_taken<H: Harness>(harness: H) -> Outcome {
    set(&harness, &fine()).await?;
    let user = || Message::user("hello");
    let whole = [
        ("of one message", vec![user()]),
        ("in which the user speaks twice", vec![user(), user()]),
        (
            "with results in another order",
            vec![user(), calls(["a", "b"]), results(["b", "a"])],
        ),
        (
            "with results in two messages",
            vec![user(), calls(["a", "b"]), results(["a"]), results(["b"])],
        ),
        (
            "in which the user speaks beside a result",
            vec![user(), calls(["a"]), together(results(["a"]), user())],
        ),
        (
            "in which a later call has the id of an earlier one",
            vec![
                user(),
                calls(["a"]),
                results(["a"]),
                calls(["a"]),
                results(["a"]),
            ],
        ),
        (
            "of many turns",
            vec![
                user(),
                together(said("I look."), calls(["a"])),
                results(["a"]),
                said("There."),
                user(),
            ],
        ),
    ];
    for (what, messages) in whole {
        let did = format!("went on in a conversation {what}");
        let reply = call(&harness, continuing(&harness, messages)).await?;
        let text = reply.reply(&did).await?.message.text();
        same(did, text.as_str(), "done")?;
    }
    Ok(())
}

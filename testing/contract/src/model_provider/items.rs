//! MP-4: items that only their own backend understands.

use std::sync::Arc;

use seaworthy_ports::model_provider::{
    Block, FinishReason, Message, ModelRequest, OpaqueItem, Role, ToolCallBlock, ToolResultBlock,
};
use serde_json::json;

use super::stage::{UNSEEN, call, request, set, texts};
use super::{Answer, Harness, Owner, Step};
use crate::outcome::{Halt, Outcome, broken, holds, same};

/// An item like a signature, as long as they get.
fn item(name: &str) -> String {
    format!("{name}+/{}==", "aZ09+/".repeat(300))
}

fn user(text: &str) -> Message {
    Message::user(text)
}

fn text(text: &str, opaque: Option<OpaqueItem>) -> Block {
    Block::Text {
        text: text.to_owned(),
        opaque,
    }
}

/// Answers every call of `message`.
fn results(message: &Message) -> Message {
    let results = message.tool_calls().enumerate().map(|(number, call)| {
        Block::ToolResult(ToolResultBlock {
            id: call.id.clone(),
            name: call.name.clone(),
            content: format!("result-{number}"),
            is_error: false,
            media: Vec::new(),
        })
    });
    Message {
        role: Role::User,
        blocks: results.collect(),
    }
}

/// What the backend was sent with the conversation.
async fn sent<H: Harness>(harness: &H, messages: Vec<Message>) -> Result<String, Halt> {
    let done = texts(["done"])
        .into_iter()
        .chain([Step::Finish(FinishReason::Stop)]);
    set(harness, &Answer::of(done.collect::<Vec<_>>())).await?;
    let request = ModelRequest {
        messages: Arc::new(messages),
        ..request(harness)
    };
    call(harness, request)
        .await?
        .well("went on in a conversation")?;
    let last = harness.requests().ok_or(UNSEEN)?.pop();
    last.ok_or_else(|| broken("went on in a conversation", "a call", "none"))
}

/// The parts must be in what was sent, each once, in this order.
fn in_order(did: &str, sent: &str, parts: &[&str]) -> Outcome {
    let mut last = 0;
    for part in parts {
        let short: String = part.chars().take(24).collect();
        same(
            format!("{did}, and counted {short}"),
            sent.matches(part).count(),
            1,
        )?;
        let at = sent.find(part).unwrap_or_default();
        holds(
            at >= last,
            format!("{did}, and looked for {short}"),
            "everything in its place",
            "an item before what it follows",
        )?;
        last = at;
    }
    Ok(())
}

/// MP-4.
pub async fn an_item_of_a_call_returns_in_its_place<H: Harness>(harness: H) -> Outcome {
    let (one, two) = (item("one"), item("two"));
    let of = |call: u32, data: &str| Step::Item {
        of: Owner::Call(call),
        data: data.to_owned(),
    };
    let steps = [
        Step::call(0, "read"),
        of(0, &one),
        Step::arguments(0, "{}"),
        Step::call(1, "list"),
        Step::arguments(1, "{}"),
        of(1, &two),
        Step::Finish(FinishReason::ToolCalls),
    ];
    let message = first(&harness, &steps).await?;
    let results = results(&message);
    let messages = vec![user("word-one"), message, results, user("word-two")];
    let sent = sent(&harness, messages).await?;
    let did = "went on after calls with items";
    in_order(
        did,
        &sent,
        &["word-one", &one, &two, "result-0", "result-1", "word-two"],
    )
}

/// MP-4.
pub async fn an_item_of_reasoning_returns_in_its_place<H: Harness>(harness: H) -> Outcome {
    let item = item("thought");
    let steps = [
        Step::Reasoning("Let me think.".to_owned()),
        Step::Item {
            of: Owner::Reasoning,
            data: item.clone(),
        },
        Step::text("word-two"),
        Step::Finish(FinishReason::Stop),
    ];
    let message = first(&harness, &steps).await?;
    let messages = vec![user("word-one"), message, user("word-three")];
    let sent = sent(&harness, messages).await?;
    let did = "went on after reasoning with an item";
    in_order(did, &sent, &["word-one", &item, "word-two", "word-three"])
}

/// The answer to the first call; its items must be the provider's own.
async fn first<H: Harness>(harness: &H, steps: &[Step]) -> Result<Message, Halt> {
    set(harness, &Answer::of(steps)).await?;
    harness.requests().ok_or(UNSEEN)?;
    let did = "read an answer with items";
    let reply = call(harness, request(harness)).await?.reply(did).await?;
    let own = harness.provider().info().id;
    let owners: Vec<&str> = reply
        .message
        .blocks
        .iter()
        .filter_map(|block| match block {
            Block::Text { opaque, .. } | Block::Reasoning { opaque, .. } => opaque.as_ref(),
            Block::ToolCall(call) => call.opaque.as_ref(),
            Block::ToolResult(_) | Block::Refusal { .. } | Block::File(_) => None,
        })
        .map(|item| item.provider.as_str())
        .collect();
    let many = steps
        .iter()
        .filter(|step| matches!(step, Step::Item { .. }))
        .count();
    same(
        "read an answer with items, and whose they are",
        owners,
        vec![own; many],
    )?;
    Ok(reply.message)
}

/// MP-4.
pub async fn an_item_of_another_provider_is_never_sent<H: Harness>(harness: H) -> Outcome {
    let foreign = |name: &str| {
        Some(OpaqueItem {
            provider: "another".to_owned(),
            data: json!({"signature": format!("foreign-{name}")}),
        })
    };
    let message = Message {
        role: Role::Assistant,
        blocks: vec![
            Block::Reasoning {
                text: "hm".to_owned(),
                opaque: foreign("reasoning"),
            },
            text("I look.", foreign("text")),
            Block::ToolCall(ToolCallBlock {
                id: "call-of-another".to_owned(),
                name: "read".to_owned(),
                arguments: "{}".to_owned(),
                opaque: foreign("call"),
            }),
        ],
    };
    let results = results(&message);
    let sent = sent(&harness, vec![user("word-one"), message, results]).await?;
    in_order(
        "went on in another provider's conversation",
        &sent,
        &["word-one", "result-0"],
    )?;
    holds(
        !sent.contains("foreign-"),
        "went on in another provider's conversation",
        "nothing that only the other provider understands",
        "its items were sent",
    )
}

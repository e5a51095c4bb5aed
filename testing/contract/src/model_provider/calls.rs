//! MP-3: calls of tools, and fragments of everything.

use std::collections::BTreeSet;

use seaworthy_ports::model_provider::{BlockKind, FinishReason, ModelEvent, ToolCallBlock};
use serde_json::{Value, json};

use super::stage::{call, ended, hello, request, set};
use super::{Answer, Harness, Step};
use crate::outcome::{Halt, Outcome, broken, holds, same};

type Call = (String, Option<Value>);

/// The calls that the model made of an answer, by tool; each has an id of its own.
async fn called<H: Harness>(harness: &H, did: &str, answer: &Answer) -> Result<Vec<Call>, Halt> {
    set(harness, answer).await?;
    let reply = call(harness, request(harness)).await?.reply(did).await?;
    let ids: BTreeSet<&str> = reply
        .message
        .tool_calls()
        .map(|call| call.id.as_str())
        .filter(|id| !id.is_empty())
        .collect();
    let calls: Vec<Call> = reply
        .message
        .tool_calls()
        .map(|call| (call.name.clone(), call.parsed()))
        .collect();
    same(
        format!("{did}, and counted their ids"),
        ids.len(),
        calls.len(),
    )?;
    same(did, reply.finish.reason, FinishReason::ToolCalls)?;
    Ok(calls)
}

fn expected<const N: usize>(calls: [(&str, Value); N]) -> Vec<Call> {
    calls
        .into_iter()
        .map(|(name, arguments)| (name.to_owned(), Some(arguments)))
        .collect()
}

fn interleaved() -> Vec<Step> {
    vec![
        Step::text("Grüße, 🦀: "),
        Step::text("I look."),
        Step::call(0, "read"),
        Step::arguments(0, "{\"pa"),
        Step::call(1, "list"),
        Step::arguments(1, "{\"path\":"),
        Step::arguments(0, "th\":\"ü🦀\","),
        Step::call(2, "write"),
        Step::arguments(2, "{\"path\":\"\\ud83e"),
        Step::arguments(1, "\".\","),
        Step::arguments(2, "\\udd80\"}"),
        Step::arguments(0, "\"n\":1}"),
        Step::arguments(1, "\"deep\":[{}]}"),
        Step::Finish(FinishReason::ToolCalls),
    ]
}

fn of_interleaved() -> Vec<Call> {
    expected([
        ("read", json!({"path": "ü🦀", "n": 1})),
        ("list", json!({"path": ".", "deep": [{}]})),
        ("write", json!({"path": "🦀"})),
    ])
}

/// MP-3.
pub async fn interleaved_calls_keep_their_own_arguments<H: Harness>(harness: H) -> Outcome {
    let did = "read three calls whose arguments interleave";
    let calls = called(&harness, did, &Answer::of(interleaved())).await?;
    same(did, calls, of_interleaved())
}

/// MP-3.
pub async fn arguments_come_in_fragments_of_any_size<H: Harness>(harness: H) -> Outcome {
    let arguments = json!({"path": "ü/🦀\n", "list": [1, 2.5, null], "empty": {}});
    let letters: Vec<char> = arguments.to_string().chars().collect();
    for size in [1, 2, 3, 1_000] {
        let mut steps = vec![Step::call(0, "write")];
        for fragment in letters.chunks(size) {
            steps.push(Step::arguments(0, &fragment.iter().collect::<String>()));
        }
        steps.push(Step::Finish(FinishReason::ToolCalls));
        let did = format!("read arguments in fragments of {size} letters");
        let calls = called(&harness, &did, &Answer::of(steps)).await?;
        same(did, calls, expected([("write", arguments.clone())]))?;
    }
    Ok(())
}

/// MP-3.
pub async fn bytes_may_be_split_anywhere<H: Harness>(harness: H) -> Outcome {
    for pieces in [1, 2, 3, 5, 16] {
        let answer = Answer::in_pieces(pieces, interleaved());
        set(&harness, &answer).await?;
        let did = format!("read an answer in pieces of {pieces} bytes");
        let reply = call(&harness, request(&harness)).await?.reply(&did).await?;
        same(
            did.clone(),
            reply.message.text().as_str(),
            "Grüße, 🦀: I look.",
        )?;
        let calls: Vec<Call> = reply
            .message
            .tool_calls()
            .map(|call| (call.name.clone(), call.parsed()))
            .collect();
        same(did, calls, of_interleaved())?;
    }
    Ok(())
}

/// MP-3.
pub async fn a_call_without_arguments_has_an_empty_object<H: Harness>(harness: H) -> Outcome {
    let steps = [
        Step::call(0, "now"),
        Step::call(1, "list"),
        Step::arguments(1, "{}"),
        Step::call(2, "today"),
        Step::Finish(FinishReason::ToolCalls),
    ];
    let did = "read calls without arguments";
    let calls = called(&harness, did, &Answer::of(steps)).await?;
    let nothing = [
        ("now", json!({})),
        ("list", json!({})),
        ("today", json!({})),
    ];
    same(did, calls, expected(nothing))
}

/// MP-3.
pub async fn arguments_that_are_no_json_are_malformed<H: Harness>(harness: H) -> Outcome {
    for arguments in [
        "{\"path\":",
        "path: a",
        "{\"path\":\"a\"} and so on",
        "{'a':1}",
    ] {
        let steps = [
            Step::call(0, "list"),
            Step::arguments(0, "{\"path\":\".\"}"),
            Step::call(1, "read"),
            Step::arguments(1, arguments),
            Step::Finish(FinishReason::ToolCalls),
        ];
        let (_, seen) = hello(&harness, &Answer::of(steps)).await?;
        let did = format!("read a call with the arguments {arguments}");
        ended(&did, &seen, FinishReason::Malformed)?;
        let reply = seen.reply(&did).await?;
        // Whoever tells the model what was wrong needs what it wrote.
        let written: Option<&ToolCallBlock> = reply.message.tool_calls().last();
        let written = written.map(|call| call.arguments.as_str());
        same(did, written, Some(arguments))?;
    }
    Ok(())
}

/// MP-3.
pub async fn every_fragment_belongs_to_an_open_block<H: Harness>(harness: H) -> Outcome {
    let steps = [
        Step::text("I look "),
        Step::text("around."),
        Step::call(0, "read"),
        Step::arguments(0, "{\"path\":\"a\"}"),
        Step::call(1, "list"),
        Step::arguments(1, "{\"path\":\"b\"}"),
        Step::Finish(FinishReason::ToolCalls),
    ];
    let (_, seen) = hello(&harness, &Answer::of(steps)).await?;
    let seen = seen.well("read an answer of text and calls")?;
    let (mut open, mut known, mut calls) = (BTreeSet::new(), BTreeSet::new(), 0_usize);
    for event in &seen.events {
        let is_fine = match event {
            ModelEvent::BlockStarted { block, kind } => {
                calls += usize::from(matches!(kind, BlockKind::ToolCall { .. }));
                open.insert(*block);
                known.insert(*block)
            }
            ModelEvent::BlockDelta { block, .. } | ModelEvent::BlockOpaque { block, .. } => {
                open.contains(block)
            }
            ModelEvent::BlockEnded { block } => open.remove(block),
            _ => true,
        };
        if !is_fine {
            return Err(broken(
                "followed the blocks of an answer",
                "each begun once, and nothing of it before that or after its end",
                (event, &seen.events),
            ));
        }
    }
    holds(
        open.is_empty() && calls == 2,
        "followed the blocks of an answer",
        "two calls, and every block ended",
        &seen.events,
    )
}

//! MP-17: what tools show.

use std::sync::Arc;

use seaworthy_ports::model_provider::{
    Block, FileBlock, FinishReason, Kind, Message, ModelRequest, Role, ToolCallBlock,
    ToolResultBlock,
};

use super::stage::{UNSEEN, call, request, set};
use super::{Answer, Harness, Step};
use crate::outcome::{Halt, Outcome, broken, holds, same};

/// One type of each sort.
const TYPES: [&str; 3] = ["image/png", "audio/wav", "application/pdf"];

/// A file whose content is Base64 without letters that JSON or an address escapes.
fn file(media_type: &str, mark: &str) -> FileBlock {
    FileBlock {
        media_type: media_type.to_owned(),
        name: None,
        data: format!("{mark}{}", "aZ09".repeat(60)),
    }
}

fn message(role: Role, blocks: Vec<Block>) -> Message {
    Message { role, blocks }
}

/// Two calls, whose results show these files.
fn shown(first: Vec<FileBlock>, second: Vec<FileBlock>) -> Vec<Message> {
    let call = |id: &str| {
        Block::ToolCall(ToolCallBlock {
            id: id.to_owned(),
            name: "look".to_owned(),
            arguments: "{}".to_owned(),
            opaque: None,
        })
    };
    let result = |id: &str, content: &str, media| {
        Block::ToolResult(ToolResultBlock {
            id: id.to_owned(),
            name: "look".to_owned(),
            content: content.to_owned(),
            is_error: false,
            media,
        })
    };
    vec![
        Message::user("word-one"),
        message(Role::Assistant, vec![call("call-a"), call("call-b")]),
        message(
            Role::User,
            vec![
                result("call-a", "result-one", first),
                result("call-b", "result-two", second),
            ],
        ),
    ]
}

/// What the backend was sent; `None`: the call was refused as unsupported, and nothing was.
async fn sent<H: Harness>(
    harness: &H,
    did: &str,
    messages: Vec<Message>,
) -> Result<Option<String>, Halt> {
    let before = harness.requests().ok_or(UNSEEN)?.len();
    let request = ModelRequest {
        messages: Arc::new(messages),
        ..request(harness)
    };
    let seen = call(harness, request).await?;
    let mut requests = harness.requests().ok_or(UNSEEN)?;
    match &seen.error {
        Some(error) if error.kind() == Kind::Unsupported => {
            same(
                format!("{did}, was refused, and counted calls"),
                requests.len(),
                before,
            )?;
            Ok(None)
        }
        Some(error) => Err(broken(did, "an answer or Unsupported", error.kind())),
        None => requests
            .pop()
            .map(Some)
            .ok_or_else(|| broken(did, "a call", "none")),
    }
}

async fn well<H: Harness>(harness: &H) -> Outcome {
    let answer = Answer::of([Step::text("done"), Step::Finish(FinishReason::Stop)]);
    set(harness, &answer).await.map(drop)
}

/// MP-17.
pub async fn what_a_tool_shows_reaches_the_backend_behind_its_text<H: Harness>(
    harness: H,
) -> Outcome {
    well(&harness).await?;
    for media_type in TYPES {
        let [one, two, three] = ["One", "Two", "Six"].map(|mark| file(media_type, mark));
        let did = format!("went on after results that show {media_type}");
        let messages = shown(vec![one.clone(), two.clone()], vec![three.clone()]);
        let Some(sent) = sent(&harness, &did, messages).await? else {
            continue;
        };
        let files = [&one.data, &two.data, &three.data];
        for data in files {
            same(
                format!("{did}, and counted a file"),
                sent.matches(data.as_str()).count(),
                1,
            )?;
        }
        let place = |text: &str| sent.find(text);
        let places = files.map(|data| place(data));
        holds(
            places.is_sorted(),
            format!("{did}, and looked for the files"),
            "the order of the results",
            "another",
        )?;
        let [first, _, last] = places;
        holds(
            place("result-one") < first && place("result-two") < last,
            format!("{did}, and looked for the texts"),
            "each before what its result shows",
            "a file before the text of its result",
        )?;
    }
    Ok(())
}

/// MP-17.
pub async fn what_the_user_may_show_a_tool_may_show<H: Harness>(harness: H) -> Outcome {
    well(&harness).await?;
    for media_type in TYPES {
        let file = file(media_type, "One");
        let did = format!("showed {media_type} as the user");
        let by_user = message(Role::User, vec![Block::File(file.clone())]);
        if sent(&harness, &did, vec![by_user]).await?.is_none() {
            continue;
        }
        let did = format!("showed {media_type} as the user, then in a result");
        let by_tool = sent(&harness, &did, shown(vec![file], Vec::new())).await?;
        holds(by_tool.is_some(), did, "a call", "a refusal")?;
    }
    Ok(())
}

//! `questions`: what the servers of waiting runs ask; `answer`: what they are told.

use std::num::NonZeroU32;

use seaworthy::ports::CallId;
use seaworthy::servers::Reply;
use serde_json::{Value, json};

use super::{Context, id};
use crate::args::AnswerArgs;
use crate::error::{CliError, Exit};
use crate::output::question::{self, OpenQuestion};
use crate::stack::Stack;

/// How many waiting runs are read at once.
const PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
/// How many questions are listed.
const MAX_LISTED: usize = 10_000;

pub(super) async fn questions(context: &Context) -> Result<Exit, CliError> {
    let open = match context.open_if_any().await? {
        Some(stack) => list(&stack).await?,
        None => Vec::new(),
    };
    if context.output.json {
        context.output.json(&open)?;
        return Ok(Exit::Succeeded);
    }
    for asked in &open {
        context.output.line(&question::open(asked))?;
    }
    if open.is_empty() {
        context.output.note("no run waits for an answer");
    }
    Ok(Exit::Succeeded)
}

async fn list(stack: &Stack) -> Result<Vec<OpenQuestion>, CliError> {
    let (mut open, mut page) = (Vec::new(), None);
    loop {
        let asked = stack.harness.questions(PAGE, page).await?;
        let items = asked.items.iter();
        open.extend(items.filter_map(|asked| OpenQuestion::of(&asked.run, &asked.call)));
        page = asked.next;
        if page.is_none() || open.len() >= MAX_LISTED {
            return Ok(open);
        }
    }
}

pub(super) async fn answer(context: &Context, args: AnswerArgs) -> Result<Exit, CliError> {
    let call: CallId = id(&args.call)?;
    let reply = reply(&args)?;
    let stack = context.open().await?;
    let by = &context.environment.user;
    let run = stack.harness.answer(&call, reply.clone(), by).await?;
    if context.output.json {
        context
            .output
            .json(&json!({ "call_id": call, "run_id": run, "reply": reply, "by": by }))?;
    }
    let flag = &stack.flag;
    context.output.note(&format!(
        "answered; where no worker serves the store: seaworthy resume {run}{flag}"
    ));
    stack.close().await;
    Ok(Exit::Succeeded)
}

fn reply(args: &AnswerArgs) -> Result<Reply, CliError> {
    let Some(text) = &args.with else {
        return Ok(if args.allow {
            Reply::Granted
        } else if args.decline {
            Reply::Declined
        } else {
            Reply::Dismissed
        });
    };
    let content: Value = serde_json::from_str(text).map_err(|error| {
        CliError::Usage(format!(
            "--with is no JSON ({error}); an answer is an object: --with '{{\"name\": \"Ada\"}}'"
        ))
    })?;
    Ok(Reply::Given { content })
}

//! `questions`: what the servers of runs ask; `answer`: what they are told.

use seaworthy::ports::CallId;
use seaworthy::servers::Reply;
use serde_json::{Value, json};

use super::{Context, id, waiting};
use crate::args::AnswerArgs;
use crate::error::{CliError, Exit};
use crate::output::question::{self, OpenQuestion};

pub(super) async fn questions(context: &Context) -> Result<Exit, CliError> {
    let open = match context.open_if_any().await? {
        Some(stack) => {
            let page_of = async |limit, page| stack.harness.questions(limit, page).await;
            waiting::all(page_of, |asked| OpenQuestion::of(&asked.run, &asked.call)).await?
        }
        None => Vec::new(),
    };
    waiting::show(context, &open, question::open, "no run waits for an answer")
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

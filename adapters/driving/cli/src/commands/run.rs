//! `run`: starts an agent, or continues the run of that id.

use std::fs::File;
use std::io::stdin;

use seaworthy::Start;
use seaworthy::harness::{HarnessError, View};
use seaworthy::ports::{QueueName, RunId, SessionId};
use serde_json::json;

use super::{Context, id};
use crate::args::RunArgs;
use crate::attach;
use crate::descriptor::{bounded, load, utf8};
use crate::drive::{Drive, check_agent, conclude, drive};
use crate::error::{CliError, Exit};
use crate::models::chosen;
use crate::output::{Paint, clean};
use crate::progress::Shown;
use crate::stack::Stack;
use crate::stop::Stop;
use crate::store::Store;

/// What an agent is asked when nobody asks anything.
const DEFAULT_INPUT: &str = "Begin.";
/// The most bytes of an input.
const MAX_INPUT: u64 = 1024 * 1024;
/// Who grants approvals of a run started with `--yes`.
const GRANTED_BY: &str = "run --yes";

pub(super) async fn run(context: &Context, args: RunArgs) -> Result<Exit, CliError> {
    let run: Option<RunId> = args.run_id.as_deref().map(id).transpose()?;
    let session: Option<SessionId> = args.session.as_deref().map(id).transpose()?;
    let queue: Option<QueueName> = args.queue.as_deref().map(id).transpose()?;
    let (descriptor, base_dir) = load(&args.agent, &args.model)?;
    let input = input(args.input.as_deref())?;
    let files = args
        .attach
        .iter()
        .map(|path| attach::read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let workspace = utf8(&context.workspace()?, "the workspace")?;
    let store = context.store()?;
    if args.detach && store == Store::Memory {
        return Err(CliError::Usage(
            "--detach needs a store that outlives this process; name one: --store sqlite:PATH"
                .to_owned(),
        ));
    }
    let stack = context.create().await?;
    let existing = existing(&stack, run.as_ref()).await?;
    if existing
        .as_ref()
        .is_none_or(|view| view.state.outcome.is_none())
    {
        attach::check(&check_agent(&stack, &descriptor).await?, &files)?;
    }
    let start = Start {
        run,
        descriptor,
        input,
        files,
        session,
        workspace,
        base_dir: utf8(&base_dir, "the folder of the descriptor")?,
        grants_all: args.yes.then(|| GRANTED_BY.to_owned()),
        queue,
        trace: context.environment.trace.clone(),
    };
    let started = stack.harness.start(start).await?;
    let exit = advance(context, &stack, &started.run, &args, existing).await;
    stack.close().await;
    exit
}

async fn existing(stack: &Stack, run: Option<&RunId>) -> Result<Option<View>, CliError> {
    let Some(run) = run else { return Ok(None) };
    match stack.harness.view(run).await {
        Ok(view) => Ok(Some(view)),
        Err(HarnessError::UnknownRun(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn advance(
    context: &Context,
    stack: &Stack,
    run: &RunId,
    args: &RunArgs,
    existing: Option<View>,
) -> Result<Exit, CliError> {
    let output = context.output;
    let mut shown = Shown::default();
    if let Some(view) = existing {
        if view.state.outcome.is_some() {
            output.note(&format!("run {run} has ended before; this is its outcome"));
            return conclude(stack, output, &view, &shown);
        }
        // After a crash between the log's end and the runtime's note of it.
        stack.harness.requeue(run).await?;
        output.note(&format!(
            "run {run} exists and goes on, {}",
            view.status().as_str()
        ));
        shown = Shown::before(&view.state);
    }
    let view = stack.harness.view(run).await?;
    if args.detach {
        let flag = &stack.flag;
        if output.json {
            output.json(&json!({ "run_id": run, "status": view.status().as_str() }))?;
        } else {
            output.line(run.as_str())?;
        }
        output.note(&format!("queued; a worker runs it: seaworthy worker{flag}"));
        return Ok(Exit::Succeeded);
    }
    let submitted = &view.state.submitted;
    output.note(&format!(
        "{} {run}, agent {}",
        output.paint(Paint::Faint, "     run"),
        clean(&submitted.agent)
    ));
    if let Some(model) = chosen(&submitted.descriptor) {
        output.note(&format!(
            "{} {}",
            output.paint(Paint::Faint, "   model"),
            clean(&model.to_string())
        ));
        if model.is_scripted() {
            output.note("         a script answers, no live model is asked; --model ALIAS=openai:NAME asks one");
        }
    }
    let how = Drive {
        grants_all: args.yes.then_some(GRANTED_BY),
        user: context.environment.user.clone(),
    };
    let driven = drive(stack, output, run, &how, &Stop::listen()?, shown).await?;
    driven.conclude(stack, output)
}

/// What the agent is asked.
fn input(given: Option<&str>) -> Result<String, CliError> {
    let wrong = |why: String| CliError::Usage(format!("--input: {why}"));
    match given {
        None => Ok(DEFAULT_INPUT.to_owned()),
        Some("-") => bounded(stdin().lock(), MAX_INPUT)
            .map_err(|why| wrong(format!("standard input: {why}"))),
        Some(text) => match text.strip_prefix('@') {
            Some(path) => {
                let file = File::open(path)
                    .map_err(|error| wrong(format!("{path} cannot be read: {error}")))?;
                bounded(file, MAX_INPUT)
                    .map_err(|why| wrong(format!("{path} cannot be read: {why}")))
            }
            None if text.len() as u64 > MAX_INPUT => {
                Err(wrong(format!("it has more than {MAX_INPUT} bytes")))
            }
            None => Ok(text.to_owned()),
        },
    }
}

//! `replay`: runs again what a run did, from its record or another way.

use seaworthy::harness::{HarnessError, View};
use seaworthy::ports::RunId;
use seaworthy::ports::state_store::Seq;
use seaworthy::replay::{Mode, Replay, Unmatched};
use serde_json::json;

use super::{Context, id};
use crate::args::ReplayArgs;
use crate::descriptor::{load, overrides, utf8};
use crate::drive::{Drive, check_run, conclude, drive};
use crate::error::{CliError, Exit};
use crate::output::Paint;
use crate::progress::Shown;
use crate::stack::Stack;
use crate::stop::Stop;

/// Who grants approvals of a replay started with `--yes`.
const GRANTED_BY: &str = "replay --yes";

pub(super) async fn replay(context: &Context, args: ReplayArgs) -> Result<Exit, CliError> {
    let mode = match args.mode.as_str() {
        "live" => Mode::Live,
        "hybrid" => Mode::Hybrid,
        _ => Mode::Strict,
    };
    let agent = args
        .agent
        .as_deref()
        .map(|path| {
            let (descriptor, folder) = load(path, &[])?;
            Ok::<_, CliError>((descriptor, utf8(&folder, "the folder of the descriptor")?))
        })
        .transpose()?;
    let workspace = args
        .within
        .as_deref()
        .map(|path| {
            let folder = path.canonicalize().map_err(|source| {
                CliError::io(format!("use the directory {}", path.display()), source)
            })?;
            utf8(&folder, "the directory")
        })
        .transpose()?;
    let replay = Replay {
        run: args.run_id.as_deref().map(id).transpose()?,
        source: id(&args.run)?,
        from: Seq(args.from),
        mode,
        agent,
        models: overrides(&args.model)?,
        unmatched: match args.unmatched.as_str() {
            "ask" => Unmatched::Ask,
            _ => Unmatched::Refuse,
        },
        workspace,
        grants_all: args.yes.then(|| GRANTED_BY.to_owned()),
        queue: args.queue.as_deref().map(id).transpose()?,
        trace: context.environment.trace.clone(),
    };
    let stack = context.open().await?;
    let exit = start(context, &stack, replay, &args).await;
    stack.close().await;
    exit
}

async fn start(
    context: &Context,
    stack: &Stack,
    replay: Replay,
    args: &ReplayArgs,
) -> Result<Exit, CliError> {
    let output = context.output;
    let existing = match &replay.run {
        Some(run) => existing(stack, run).await?,
        None => None,
    };
    let (source, from, mode) = (replay.source.clone(), replay.from, replay.mode);
    let run = stack.harness.replay(replay).await?.run;
    let view = stack.harness.view(&run).await?;
    if existing.is_some() && view.state.outcome.is_some() {
        output.note(&format!("run {run} has ended before; this is its outcome"));
        return conclude(stack, output, &view, &Shown::default());
    }
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
    check_run(stack, &view.state).await?;
    if existing.is_some() {
        // After a crash between the log's end and the runtime's note of it.
        stack.harness.requeue(&run).await?;
    }
    output.note(&format!(
        "{} {run}, {} replay of {source} from record {from}",
        output.paint(Paint::Faint, "     run"),
        mode.as_str(),
    ));
    // What a hybrid replay asks beyond its tools' own rules, a person is to answer.
    let grants_all = args.yes && mode != Mode::Hybrid;
    let how = Drive {
        grants_all: grants_all.then_some(GRANTED_BY),
        user: context.environment.user.clone(),
    };
    let shown = existing
        .map(|view| Shown::before(&view.state))
        .unwrap_or_default();
    let driven = drive(stack, output, &run, &how, &Stop::listen()?, shown).await?;
    driven.conclude(stack, output)
}

async fn existing(stack: &Stack, run: &RunId) -> Result<Option<View>, CliError> {
    match stack.harness.view(run).await {
        Ok(view) => Ok(Some(view)),
        Err(HarnessError::UnknownRun(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

//! `resolve`: what became of a call in doubt.

use seaworthy::event::Resolution;
use seaworthy::ports::CallId;
use serde_json::{Value, json};

use super::{Context, id};
use crate::args::ResolveArgs;
use crate::error::{CliError, Exit};

pub(super) async fn resolve(context: &Context, args: ResolveArgs) -> Result<Exit, CliError> {
    let call: CallId = id(&args.call)?;
    let resolution = if args.happened {
        Resolution::Happened {
            output: result(args.result.as_deref())?,
        }
    } else {
        Resolution::DidNotHappen
    };
    let stack = context.open().await?;
    let by = &context.environment.user;
    let run = stack.harness.resolve(&call, resolution, by).await?;
    if context.output.json {
        context.output.json(
            &json!({ "call_id": call, "run_id": run, "happened": args.happened, "by": by }),
        )?;
    }
    let flag = &stack.flag;
    context.output.note(&format!(
        "resolved; where no worker serves the store: seaworthy resume {run}{flag}"
    ));
    stack.close().await;
    Ok(Exit::Succeeded)
}

fn result(text: Option<&str>) -> Result<Value, CliError> {
    text.map_or(Ok(Value::Null), |text| {
        serde_json::from_str(text).map_err(|error| {
            CliError::Usage(format!(
                "--result is no JSON ({error}); text is JSON in quotes: --result '\"sent\"'"
            ))
        })
    })
}

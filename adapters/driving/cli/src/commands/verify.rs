//! `verify`: a run's log held against its own rules.

use seaworthy::ports::RunId;

use super::{Context, id};
use crate::args::RunRef;
use crate::error::{CliError, Exit};
use crate::output::json::Checked;
use crate::output::{Paint, clean};

pub(super) async fn verify(context: &Context, args: &RunRef) -> Result<Exit, CliError> {
    let run: RunId = id(&args.run)?;
    let verified = context.open().await?.harness.verify(&run).await?;
    let output = context.output;
    if output.json {
        output.json(&Checked::of(run.as_str(), &verified))?;
    } else if verified.faults.is_empty() {
        let head = verified
            .head
            .map(|head| head.to_string())
            .unwrap_or_default();
        output.line(&format!(
            "run {run} holds: {} records, {}, {head}",
            verified.records,
            verified.status.as_str()
        ))?;
    } else {
        output.line(&format!(
            "run {run} does not hold; {} records were read before the fault",
            verified.records
        ))?;
        for fault in &verified.faults {
            output.line(&format!("  {}", clean(fault)))?;
        }
        output.note(&format!(
            "{}: restore the store from a backup; other runs are not affected",
            output.paint(Paint::Bad, "faulty")
        ));
    }
    Ok(if verified.faults.is_empty() {
        Exit::Succeeded
    } else {
        Exit::Failed
    })
}

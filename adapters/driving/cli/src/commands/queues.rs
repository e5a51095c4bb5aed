//! `queues`: how many runs of a queue may run at once.

use std::num::NonZeroU32;

use seaworthy::ports::QueueName;
use serde_json::json;

use super::{Context, id};
use crate::args::{QueuesArgs, QueuesChange};
use crate::error::{CliError, Exit};

pub(super) async fn queues(context: &Context, args: QueuesArgs) -> Result<Exit, CliError> {
    match args.change {
        None => list(context).await,
        Some(QueuesChange::Limit { queue, limit }) => limit_to(context, &queue, &limit).await,
    }
}

async fn list(context: &Context) -> Result<Exit, CliError> {
    let limits = match context.open_if_any().await? {
        Some(stack) => {
            let limits = stack.harness.ports().durable_runtime.queue_limits().await;
            stack.close().await;
            limits?
        }
        None => std::collections::BTreeMap::new(),
    };
    if context.output.json {
        let listed: Vec<_> = limits
            .iter()
            .map(|(queue, limit)| json!({ "queue": queue, "limit": limit }))
            .collect();
        context.output.json(&listed)?;
        return Ok(Exit::Succeeded);
    }
    for (queue, limit) in &limits {
        context.output.line(&format!("{limit:>10}  {queue}"))?;
    }
    if limits.is_empty() {
        context.output.note("no queue is limited");
    }
    Ok(Exit::Succeeded)
}

async fn limit_to(context: &Context, queue: &str, limit: &str) -> Result<Exit, CliError> {
    let queue: QueueName = id(queue)?;
    let limit = parse(limit)?;
    let stack = context.create_lasting().await?;
    let limited = stack
        .harness
        .ports()
        .durable_runtime
        .limit_queue(&queue, limit)
        .await;
    stack.close().await;
    limited?;
    if context.output.json {
        context
            .output
            .json(&json!({ "queue": queue, "limit": limit }))?;
    }
    context.output.note(&match limit {
        Some(limit) => {
            format!("at most {limit} runs of queue {queue} run at once, over all workers")
        }
        None => format!("queue {queue} has no limit"),
    });
    Ok(Exit::Succeeded)
}

fn parse(limit: &str) -> Result<Option<NonZeroU32>, CliError> {
    if limit == "none" {
        return Ok(None);
    }
    limit.parse().map(Some).map_err(|_unreadable| {
        CliError::Usage(format!(
            "{limit:?} is no limit; write a number from 1 to {}, or none",
            u32::MAX
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!(parse("none").unwrap(), None);
        assert_eq!(parse("7").unwrap().map(NonZeroU32::get), Some(7));
        for wrong in ["0", "-1", "", "many", "4294967296"] {
            assert!(matches!(parse(wrong), Err(CliError::Usage(_))), "{wrong}");
        }
    }
}

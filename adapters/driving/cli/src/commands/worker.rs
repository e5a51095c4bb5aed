//! `worker`: serves every run of the store, or those of some queues.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use seaworthy::ports::QueueName;
use seaworthy::ports::durable_runtime::Scope;
use serde::Serialize;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval_at};

use super::{Context, id};
use crate::args::WorkerArgs;
use crate::error::{CliError, Exit};
use crate::observer::Seen;
use crate::stack::Stack;
use crate::stop::Stop;

pub(super) async fn worker(context: &Context, args: &WorkerArgs) -> Result<Exit, CliError> {
    let stop = Stop::listen()?;
    let scope = scope(&args.queue)?;
    let stack = context.create_lasting().await?;
    stack.observer.warn();
    let output = context.output;
    let of = match &scope {
        Scope::Queues(queues) => {
            let names: Vec<&str> = queues.iter().map(QueueName::as_str).collect();
            format!(", queue {}", names.join(", "))
        }
        Scope::All | Scope::Run(_) => String::new(),
    };
    output.note(&format!(
        "serving {}{of}; Ctrl-C or SIGTERM stops after live turns",
        stack.store.url()
    ));
    let worker = stack.worker(scope, args.concurrency.into())?;
    let served = {
        let mut serving = pin!(stack.harness.serve(worker, stop.latch.clone()));
        let telling = tell(context, &stack, &stop, args.health_every);
        tokio::select! {
            served = &mut serving => served,
            // Whoever read the output is gone. That is no reason to stop working.
            () = telling => serving.await,
        }
    };
    stack.close().await;
    let served = served?;
    if output.json {
        output.json(&json!({
            "type": "stopped", "turns": served.turns, "panicked": served.panicked, "revoked": served.revoked,
        }))?;
    }
    output.note(&format!("stopped after {} turns", served.turns));
    // A worker is there to be stopped: this is its success.
    Ok(Exit::Succeeded)
}

fn scope(queues: &[String]) -> Result<Scope, CliError> {
    if queues.is_empty() {
        return Ok(Scope::All);
    }
    let queues: BTreeSet<QueueName> = queues
        .iter()
        .map(|queue| id(queue))
        .collect::<Result<_, _>>()?;
    Ok(Scope::Queues(queues))
}

/// How it goes. Counts are from the start of the process.
#[derive(Debug, Serialize)]
struct Health {
    /// `serving`, or `draining` once it was asked to stop.
    state: &'static str,
    /// Turns under way.
    live: u64,
    /// Turns that began, each with the claim of a run.
    claims: u64,
    /// Turns that returned.
    turns: u64,
    /// Turns that could not go on and come again.
    put_off: u64,
    /// Turns whose lease was gone.
    revoked: u64,
    /// Turns that panicked or were given up.
    lost: u64,
    /// What became of runs.
    runs: Seen,
    /// Memory in use, in bytes; `None` where the system does not say.
    memory: Option<u64>,
}

impl Health {
    fn of(stack: &Stack, stop: &Stop) -> Self {
        let counts = stack.work.counts();
        Self {
            state: if stop.latch.is_set() {
                "draining"
            } else {
                "serving"
            },
            live: counts.live(),
            claims: counts.claimed,
            turns: counts.returned,
            put_off: counts.put_off,
            revoked: counts.revoked,
            lost: counts.lost,
            runs: stack.observer.seen(),
            memory: memory(),
        }
    }

    fn line(&self) -> String {
        let memory = self
            .memory
            .map(|bytes| format!(", {} MB", bytes / 1_000_000))
            .unwrap_or_default();
        format!(
            "{}: {} live turns, {} claims, {} turns ended ({} put off, {} revoked, {} lost); runs: {} succeeded, {} failed, {} cancelled, {} stalls; {} records{memory}",
            self.state,
            self.live,
            self.claims,
            self.turns,
            self.put_off,
            self.revoked,
            self.lost,
            self.runs.succeeded,
            self.runs.failed,
            self.runs.cancelled,
            self.runs.stalled,
            self.runs.records,
        )
    }
}

/// Says every so many seconds how it goes, for as long as somebody reads.
async fn tell(context: &Context, stack: &Stack, stop: &Stop, every: u32) {
    if every == 0 {
        return std::future::pending().await;
    }
    let every = Duration::from_secs(every.into());
    let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let health = Health::of(stack, stop);
        if !context.output.json {
            context.output.note(&health.line());
            continue;
        }
        let told = serde_json::to_value(&health).map(|mut value| {
            if let Some(object) = value.as_object_mut() {
                object.insert("type".to_owned(), json!("health"));
                object.insert("at".to_owned(), json!(stack.harness.ports().clock.now()));
            }
            value
        });
        match told {
            Ok(value) if context.output.json(&value).is_ok() => {}
            _ => return,
        }
    }
}

/// What this process has in memory, as Linux counts it.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_serves_all_queues_unless_some_are_named() {
        assert_eq!(scope(&[]).unwrap(), Scope::All);
        let named = ["b".to_owned(), "a".to_owned(), "b".to_owned()];
        let Scope::Queues(queues) = scope(&named).unwrap() else {
            panic!("all of them");
        };
        assert_eq!(queues.len(), 2);
        assert!(scope(&["no queue".to_owned()]).is_err());
    }

    #[test]
    fn a_process_knows_its_memory() {
        assert!(memory().is_some_and(|bytes| bytes > 100_000));
    }
}

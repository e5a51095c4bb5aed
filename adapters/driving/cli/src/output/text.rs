//! What a person reads.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use seaworthy::context::Compacted;
use seaworthy::event::{Decision, Event, FailedTry, Resolution, WaitReason};
use seaworthy::log::Loaded;
use seaworthy::replay::Recall;
use seaworthy::servers::{Reply, ToolsListed};
use serde_json::Value;

use super::json::{Listed, Open, Run};
use super::{brief, clean, question};

/// The longest arguments that are shown on one line.
const ARGUMENTS: usize = 120;
/// The longest reason or message that is shown on one line.
const MESSAGE: usize = 200;

/// A call's arguments on one line.
pub(crate) fn arguments(value: &Value) -> String {
    brief(&value.to_string(), ARGUMENTS)
}

/// A message on one line.
pub(crate) fn message(text: &str) -> String {
    brief(text, MESSAGE)
}

/// How long something took.
pub(crate) fn duration(millis: u64) -> String {
    if millis < 1000 {
        format!("{millis} ms")
    } else {
        format!("{:.1} s", Duration::from_millis(millis).as_secs_f64())
    }
}

/// What a run waits for.
pub(crate) const fn wait(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::Approval => "an approval",
        WaitReason::Question => "the answer to a question of a server",
        WaitReason::InDoubt => "somebody who knows what became of a call in doubt",
        WaitReason::ModelDeferred => "the model's provider, which said to come back later",
        WaitReason::ModelLimit => "its turn to ask the model, whose limits are reached",
        WaitReason::Task => "a task that a server works on",
    }
}

/// `show`.
pub(crate) fn run(run: &Run) -> String {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        let _never_fails = writeln!(out, "{name:<10} {}", clean(value));
    };
    field("run", &run.run_id);
    field("status", run.status);
    field("agent", &run.agent);
    if let Some(model) = &run.model {
        field("model", &model.to_string());
    }
    if let Some(session) = &run.session {
        field("session", session);
    }
    field("workspace", &run.workspace);
    field("created", &run.created_at.to_string());
    field("updated", &run.updated_at.to_string());
    field(
        "attempt",
        &format!(
            "{} ({} model turns, {} records)",
            run.attempt, run.turns, run.records
        ),
    );
    if let (Some(input), Some(output)) = (run.usage.input_tokens, run.usage.output_tokens) {
        field("tokens", &format!("{input} in, {output} out"));
    }
    if let Some(waiting) = run.waiting_for {
        let until = run
            .waiting_until
            .map(|until| format!(", until {until}"))
            .unwrap_or_default();
        field("waits for", &format!("{waiting}{until}"));
    }
    if let Some(error) = &run.error {
        field("error", &format!("{}: {}", error.code, error.message));
    }
    if let Some(cancelled) = &run.cancelled {
        let reason = cancelled
            .reason
            .as_deref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        field("cancelled", &format!("by {}{reason}", cancelled.by));
    }
    for (index, call) in run.calls.iter().enumerate() {
        let name = if index == 0 { "calls" } else { "" };
        let reason = call
            .reason
            .as_deref()
            .map(|reason| format!("  {}", message(reason)))
            .unwrap_or_default();
        field(
            name,
            &format!(
                "{}  {}  {}  ({}){reason}",
                call.call_id, call.tool, call.status, call.side_effect
            ),
        );
    }
    if let Some(output) = &run.output {
        let _never_fails = write!(out, "\n{}", clean(output));
    }
    out.trim_end().to_owned()
}

/// A line of `runs`.
pub(crate) fn listed(run: &Listed) -> String {
    let or_dash = |value: &Option<String>| clean(value.as_deref().unwrap_or("-"));
    let waiting = run
        .waiting_for
        .as_deref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    format!(
        "{:<24}  {:<9}  {}  {}{}",
        clean(&run.run_id),
        clean(&run.status),
        run.updated_at
            .map_or_else(|| "-".to_owned(), |at| at.to_string()),
        or_dash(&run.agent),
        clean(&waiting)
    )
}

/// `approvals`, one of them.
pub(crate) fn open(open: &Open) -> String {
    let risk = open.risk.as_str().unwrap_or("-");
    format!(
        "{}  {} {}  ({}, risk {risk})",
        open.approval_id,
        clean(&open.tool),
        arguments(&open.arguments),
        open.side_effect
    )
}

/// A line of `events`.
pub(crate) fn record(loaded: &Loaded) -> String {
    let envelope = &loaded.envelope;
    let what = envelope
        .event()
        .map_or_else(|_newer| arguments(&envelope.data), |event| about(&event));
    format!(
        "{:>5}  {}  {:<19} {what}",
        envelope.seq,
        envelope.at,
        clean(&envelope.kind)
    )
    .trim_end()
    .to_owned()
}

/// What became of tries that failed, each with its model.
pub(crate) fn tries(failed: &[FailedTry]) -> String {
    let each = |one: &FailedTry| format!("{} {}", clean(&one.model), clean(&one.code));
    let all: Vec<String> = failed.iter().map(each).collect();
    format!("after {}", all.join(", "))
}

/// Which tools of servers a run has, in short.
pub(crate) fn served(listed: &ToolsListed) -> String {
    let catalogue = &listed.catalogue;
    let mut servers: BTreeMap<&str, usize> = BTreeMap::new();
    for tool in catalogue.tools.values() {
        let count = servers.entry(tool.server.as_str()).or_default();
        *count = count.saturating_add(1);
    }
    let each = servers
        .iter()
        .map(|(server, count)| format!("{count} of {server}"));
    let mut text = format!("tools: {}", each.collect::<Vec<_>>().join(", "));
    if !catalogue.left_out.is_empty() {
        text.push_str(&format!("; {} cannot be used", catalogue.left_out.len()));
    }
    if let Some(from) = listed.from {
        text.push_str(&format!("; from record {from}"));
    }
    text
}

fn about(event: &Event) -> String {
    let text = match event {
        Event::RunSubmitted(run) => format!("agent {}, input {}", run.agent, message(&run.input)),
        Event::AttemptStarted { worker, .. } => format!("by {worker}"),
        Event::SessionLoaded { through } => format!("through {through}"),
        Event::ToolsListed(listed) => served(listed),
        Event::ToolChanged(now) => format!(
            "{} of {} is {} now: {}",
            now.remote,
            now.server,
            now.digest,
            message(&now.description)
        ),
        Event::ModelCalled(called) => {
            let asks = called.message.tool_calls().count();
            let said = message(&called.message.text());
            let mut took = duration(called.duration_ms);
            if !called.failed_tries.is_empty() {
                took = format!("{took} ({})", tries(&called.failed_tries));
            }
            if asks == 0 {
                format!("{} answered in {took}: {said}", called.model)
            } else {
                format!(
                    "{} asks for {asks} call{}, in {took}",
                    called.model,
                    if asks == 1 { "" } else { "s" }
                )
            }
        }
        Event::ModelReplayed(replayed) => format!(
            "{}, from record {}: {}",
            replayed.called.model,
            replayed.from,
            message(&replayed.called.message.text())
        ),
        Event::ToolReplayed(replayed) => format!(
            "{} {}, from record {}",
            replayed.call,
            recalled(&replayed.result),
            replayed.from
        ),
        Event::ReplayDeviated(deviated) => message(&deviated.to_string()),
        Event::ContextCompacted(compacted) => shortened(compacted),
        Event::ContextNotCompacted(kept) => {
            format!("{}: {}", kept.code, message(&kept.message))
        }
        Event::ModelFailed {
            code,
            message: why,
            tries,
            ..
        } => format!("{code} after {tries} tries: {}", message(why)),
        Event::AnswerRejected { faults, .. } => message(&faults.join("; ")),
        Event::ToolProposed(call) => {
            format!("{} {} {}", call.call, call.tool, arguments(&call.arguments))
        }
        Event::ToolDecided {
            call,
            decision,
            reason,
        } => format!("{call} {}: {}", decided(*decision), message(reason)),
        Event::ApprovalRequested { approval, .. } => approval.to_string(),
        Event::ApprovalDecided {
            approval,
            granted,
            by,
            reason,
            ..
        } => {
            let answer = if *granted { "granted" } else { "denied" };
            let reason = reason
                .as_deref()
                .map(|reason| format!(": {}", message(reason)))
                .unwrap_or_default();
            format!("{approval} {answer} by {by}{reason}")
        }
        Event::ToolStarted { call } => call.to_string(),
        Event::ToolSucceeded {
            call,
            duration_ms,
            output,
            ..
        } => {
            format!(
                "{call} in {}: {}",
                duration(*duration_ms),
                arguments(output)
            )
        }
        Event::ToolFailed {
            call,
            code,
            message: why,
            ..
        } => format!("{call} {code}: {}", message(why)),
        Event::QuestionAsked { call, question } => {
            format!("{call} {}", question::asked(&question.wants))
        }
        Event::QuestionAnswered {
            by, call, reply, ..
        } => format!("{call} {} by {by}", replied(reply)),
        Event::QuestionSampled(sampled) => format!(
            "{} {} {}: {}",
            sampled.call,
            sampled.provider,
            sampled.sample.model,
            message(&sampled.sample.text)
        ),
        Event::ToolDeferred(deferred) => {
            let said = deferred.message.as_deref().map(message);
            let said = said.map(|said| format!(": {said}")).unwrap_or_default();
            format!(
                "{}, asked again at {}{said}",
                deferred.call, deferred.poll_at
            )
        }
        Event::ToolInDoubt { call, reason } => format!("{call}: {}", message(reason)),
        Event::ToolResolved {
            call,
            resolution,
            by,
        } => format!("{call} {}, says {by}", resolved(resolution)),
        Event::SignalReceived { signal, note } => format!("{signal}: {}", message(note)),
        Event::RunWaiting { reason, until } => {
            let until = until
                .map(|until| format!(" until {until}"))
                .unwrap_or_default();
            format!("for {}{until}", wait(*reason))
        }
        Event::RunReopened { by } => format!("by {by}"),
        Event::RunSucceeded { output } => message(output),
        Event::RunFailed { code, message: why } => format!("{code}: {}", message(why)),
        Event::RunCancelled { by, reason } => {
            format!(
                "by {by}{}",
                reason
                    .as_deref()
                    .map(|reason| format!(": {}", message(reason)))
                    .unwrap_or_default()
            )
        }
    };
    clean(&text)
}

/// How much shorter a conversation got.
pub(crate) fn shortened(compacted: &Compacted) -> String {
    format!(
        "{}{} tokens instead of {}, summed up by {} in {}",
        if compacted.estimated { "about " } else { "" },
        compacted.tokens_after,
        compacted.tokens_before,
        clean(&compacted.model),
        duration(compacted.duration_ms)
    )
}

/// What became of a recorded call.
pub(crate) fn recalled(result: &Recall) -> String {
    match result {
        Recall::Succeeded { .. } => "succeeded".to_owned(),
        Recall::Failed { code, .. } => format!("failed: {}", clean(code)),
    }
}

/// What policy says.
const fn decided(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allowed",
        Decision::RequireApproval => "needs an approval",
        Decision::Deny => "denied",
    }
}

/// What a person answered.
pub(crate) const fn replied(reply: &Reply) -> &'static str {
    match reply {
        Reply::Given { .. } => "answered",
        Reply::Granted => "allowed",
        Reply::Declined => "declined",
        Reply::Dismissed => "dismissed",
    }
}

/// What became of a call in doubt.
pub(crate) const fn resolved(resolution: &Resolution) -> &'static str {
    match resolution {
        Resolution::Happened { .. } => "happened",
        Resolution::DidNotHappen => "did not happen",
    }
}

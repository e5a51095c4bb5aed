//! MC-13: servers that begin without `initialize`.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use seaworthy_ports::Effect;
use seaworthy_ports::mcp::{
    Elicitation, Elicited, Kind, McpHost, McpServerInfo, Sampled, Sampling, TaskSupport,
};
use serde_json::json;

use super::script::{Answered, STATELESS_PROTOCOL};
use super::serve_questions::told_all;
use super::stage::{LONG, Stage, call, fails, is_usable, made};
use super::{Harness, VERSION, scripts};
use crate::outcome::{Halt, Outcome, declared, ok, same, within};

/// A host that numbers its answers, and keeps the questions.
#[derive(Debug, Default)]
struct Numbers(Mutex<Vec<String>>);

#[async_trait]
impl McpHost for Numbers {
    async fn elicit(&self, question: Elicitation) -> Elicited {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(question.message);
        Elicited::Accepted(answer(asked.len()))
    }

    async fn sample(&self, _question: Sampling) -> Sampled {
        Sampled::Refused
    }
}

fn answer(number: usize) -> serde_json::Value {
    json!({"answer": number.to_string()})
}

async fn stage<H: Harness>(harness: H, script: &str) -> Result<Stage<H>, Halt> {
    Stage::of(harness, &scripts::stateless(script)).await
}

/// MC-13.
pub async fn a_server_that_begins_without_initialize_is_understood<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = stage(harness, "usual").await?;
    let session = stage.session().await?;
    let expected = McpServerInfo {
        name: stage.script.name.clone(),
        version: VERSION.to_owned(),
        protocol: STATELESS_PROTOCOL.to_owned(),
        instructions: stage.script.instructions.clone(),
        tools: true,
        resources: true,
        prompts: true,
        completions: false,
        logging: false,
    };
    same("connected and asked who it is", session.server(), expected)?;
    is_usable(&session, "connecting").await
}

/// MC-13.
pub async fn a_call_goes_on_where_the_server_asked<H: Harness>(harness: H) -> Outcome {
    let capabilities = harness.mcp().capabilities();
    let stage = stage(harness, "usual").await?;
    let outcome = async {
        let host = Arc::<Numbers>::default();
        let mut server = stage.server()?;
        server.host = Some(Arc::<Numbers>::clone(&host));
        let session = stage.session_with(server).await?;
        let did = "called a tool that asks one question after the other";
        let answer_of = made(&session, call("asks_in_turn", json!({}))).await?;
        let accepted = |number| Answered::Accepted(answer(number));
        let expected: Vec<_> = (1..=scripts::IN_TURN.len()).map(accepted).collect();
        same(did, ok(did, answer_of)?, told_all(&expected)?)?;
        let asked = host.0.lock().unwrap_or_else(PoisonError::into_inner);
        same(did, asked.as_slice(), &scripts::IN_TURN.map(str::to_owned))?;
        drop(asked);
        stage.called("asks_in_turn", 1)
    };
    declared("elicitation", capabilities.elicitation, outcome.await)
}

/// MC-13.
pub async fn a_call_that_dies_after_the_server_asked_may_have_begun<H: Harness>(
    harness: H,
) -> Outcome {
    let capabilities = harness.mcp().capabilities();
    let stage = stage(harness, "usual").await?;
    let outcome = async {
        let mut server = stage.server()?;
        server.host = Some(Arc::<Numbers>::default());
        let session = stage.session_with(server).await?;
        let died = made(&session, call("asks_and_dies", json!({}))).await?;
        fails(
            "called a tool that asks and then kills its server",
            died,
            &[Kind::Unavailable],
            Effect::Unknown,
        )?;
        is_usable(&session, "a death after a question").await?;
        stage.called("asks_and_dies", 1)
    };
    declared("elicitation", capabilities.elicitation, outcome.await)
}

/// MC-13.
pub async fn questions_without_an_end_end_the_call<H: Harness>(harness: H) -> Outcome {
    let capabilities = harness.mcp().capabilities();
    let stage = stage(harness, "usual").await?;
    let outcome = async {
        let mut server = stage.server()?;
        server.host = Some(Arc::<Numbers>::default());
        let session = stage.session_with(server).await?;
        let asked = made(&session, call("asks_forever", json!({}))).await?;
        fails(
            "called a tool that asks and asks",
            asked,
            &[Kind::Malformed],
            Effect::Unknown,
        )?;
        is_usable(&session, "questions without an end").await
    };
    declared("elicitation", capabilities.elicitation, outcome.await)
}

/// MC-13.
pub async fn calls_of_a_server_that_begins_without_initialize_become_no_tasks<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = stage(harness, "tasks").await?;
    let session = stage.session().await?;
    let tools = ok("asked for the tools", session.tools().await)?;
    for tool in tools.iter() {
        let did = format!("asked whether calls of {} become tasks", tool.remote);
        same(did, tool.task_support, TaskSupport::Forbidden)?;
    }
    let did = "called a tool whose calls would become tasks at another version";
    let answer = made(&session, call("research", json!({}))).await?;
    same(did, ok(did, answer)?, scripts::researched())?;
    let Some(tasks) = session.as_tasks() else {
        return Ok(());
    };
    let did = "called it as a task";
    let started = within(did, tasks.start_task(call("research", json!({})), LONG)).await?;
    let seen = started.map_err(|error| (error.kind(), error.effect()));
    same(did, seen.err(), Some((Kind::Unsupported, Effect::None)))
}

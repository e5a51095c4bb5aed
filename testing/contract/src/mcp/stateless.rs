//! MC-13: servers that begin without `initialize`.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use seaworthy_ports::Effect;
use seaworthy_ports::mcp::{
    Elicitation, Elicited, HostTakes, Kind, McpHost, McpServerInfo, Sampled, Sampling, TaskStatus,
    TaskSupport,
};
use serde_json::json;

use super::questions::{self, Asked, Host};
use super::script::{Answered, STATELESS_PROTOCOL};
use super::serve_extension::key;
use super::serve_questions::told_all;
use super::stage::{LONG, Stage, call, fails, is_usable, made};
use super::tasks::{begun, tasks};
use super::{Harness, VERSION, scripts};
use crate::outcome::{Halt, Outcome, declared, ok, refused, same, within};

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
pub async fn calls_that_are_left_to_the_server_become_tasks<H: Harness>(harness: H) -> Outcome {
    let stage = stage(harness, "tasks").await?;
    let session = stage.session().await?;
    let tasks = tasks(&stage, &session)?;
    let listed = ok("asked for the tools", session.tools().await)?;
    for tool in listed.iter() {
        let did = format!("asked whether calls of {} become tasks", tool.remote);
        same(did, tool.task_support, TaskSupport::ServerDecides)?;
    }
    let did = "called a tool whose server may make a task of it";
    let task = begun(tasks, "research").await?;
    same(did, task.status, TaskStatus::Working)?;
    let did = "made a call that is not left to the server";
    let answer = made(&session, call("at_once", json!({}))).await?;
    same(did, ok(did, answer)?, scripts::researched())?;
    let answer = made(&session, call("research", json!({}))).await?;
    let did = "called a tool as none whose calls are tasks";
    fails(did, answer, &[Kind::Unsupported], Effect::None)
}

/// MC-13.
pub async fn questions_of_a_task_keep_their_names<H: Harness>(harness: H) -> Outcome {
    let capabilities = harness.mcp().capabilities();
    let stage = stage(harness, "tasks").await?;
    let outcome = async {
        let answer = answer(1);
        let host = Host::new(Some(Elicited::Accepted(answer.clone())));
        let session = questions::session(&stage, &host).await?;
        let tasks = tasks(&stage, &session)?;
        let task = begun(tasks, "consults_twice").await?.id;
        let did = "listened to a task that asks the same twice";
        ok(did, within(did, tasks.task_input(&task, LONG)).await?)?;
        let accepted = Answered::Accepted(answer);
        let expected = told_all(&[accepted.clone(), accepted])?;
        let result = within(did, tasks.task_result(&task, "consults_twice")).await?;
        same(did, ok(did, result)?, expected)?;
        let asked = host.asked();
        let keys: Vec<_> = asked
            .iter()
            .map(|asked| match asked {
                Asked::User(question) => question.key.clone(),
                Asked::Model(question) => question.key.clone(),
            })
            .collect();
        same(did, keys, vec![Some(key(1)), Some(key(2))])
    };
    let outcome = declared("elicitation", capabilities.elicitation, outcome.await);
    declared("tasks", capabilities.tasks, outcome)
}

/// MC-13.
pub async fn a_model_call_that_nobody_makes_for_a_task_is_unsupported<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = stage(harness, "tasks").await?;
    let takes = HostTakes {
        sampling: false,
        ..HostTakes::ALL
    };
    let host = Host::taking(takes, Some(Elicited::Declined));
    let session = questions::session(&stage, &host).await?;
    let tasks = tasks(&stage, &session)?;
    let task = begun(tasks, "drafts").await?.id;
    let did = "listened to a task that wants a model called, which the host does not";
    let heard = within(did, tasks.task_input(&task, LONG)).await?;
    refused(did, heard, Kind::Unsupported)?;
    let did = "asked after a task that got no answer";
    let told = ok(did, within(did, tasks.task(&task)).await?)?;
    same(did, told.status, TaskStatus::InputRequired)
}

//! MC-8: tasks whose servers ask something before they go on.

use seaworthy_ports::ServerAlias;
use seaworthy_ports::mcp::{
    Elicitation, Elicited, Kind, McpContent, McpTasks, Sampling, TaskId, TaskStatus,
};
use seaworthy_ports::model_provider::Role;
use serde_json::json;

use super::questions::{Asked, Host, schema, session};
use super::script::{Answered, STATELESS_PROTOCOL, Seen};
use super::scripts::QUESTION;
use super::serve::told;
use super::serve_extension::key;
use super::stage::{LONG, SHORT, Stage, is_usable};
use super::tasks::{asked, begun, named, tasks};
use super::{ALIAS, Harness};
use crate::outcome::{Outcome, holds, id, ok, refused, same, within};

async fn stands(tasks: &dyn McpTasks, id: &TaskId, status: TaskStatus) -> Outcome {
    let did = "asked after a task whose server asks something";
    same(did, ok(did, asked(tasks, id).await?)?.status, status)
}

/// Has the task's server ask and be answered, and compares what the task came to.
async fn comes_to(tasks: &dyn McpTasks, id: &TaskId, tool: &str, heard: &Answered) -> Outcome {
    stands(tasks, id, TaskStatus::InputRequired).await?;
    let did = format!("listened to what the task of {tool} asks");
    ok(did.clone(), within(&did, tasks.task_input(id, LONG)).await?)?;
    stands(tasks, id, TaskStatus::Completed).await?;
    let did = format!("fetched what the task of {tool} came to");
    let result = within(&did, tasks.task_result(id, tool)).await?;
    same(did.clone(), ok(did, result)?, told(heard)?)
}

/// MC-8.
pub async fn what_a_task_asks_reaches_the_host_with_its_name<H: Harness>(harness: H) -> Outcome {
    let capabilities = harness.mcp().capabilities();
    let stage = Stage::of(harness, "tasks").await?;
    let answer = json!({"name": "Ada"});
    let host = Host::new(Some(Elicited::Accepted(answer.clone())));
    let session = session(&stage, &host).await?;
    let tasks = tasks(&stage, &session)?;
    let is_stateless = stage.harness.protocol() == STATELESS_PROTOCOL;
    let key = is_stateless.then(|| key(1));
    let mut expected = Vec::new();
    if capabilities.elicitation {
        let task = begun(tasks, "consults").await?.id;
        comes_to(tasks, &task, "consults", &Answered::Accepted(answer)).await?;
        expected.push(Asked::User(Elicitation {
            server: id(ServerAlias::new(ALIAS))?,
            message: QUESTION.to_owned(),
            schema: schema(),
            task: Some(task),
            key: key.clone(),
        }));
    }
    if capabilities.sampling {
        let task = begun(tasks, "drafts").await?.id;
        let sampled = Answered::Sampled {
            model: "a model".to_owned(),
            text: "an answer".to_owned(),
        };
        comes_to(tasks, &task, "drafts", &sampled).await?;
        expected.push(Asked::Model(Sampling {
            server: id(ServerAlias::new(ALIAS))?,
            instructions: Some("Be brief.".to_owned()),
            messages: vec![(Role::User, McpContent::Text(QUESTION.to_owned()))],
            max_tokens: 99,
            task: Some(task),
            key,
        }));
    }
    holds(
        host.asked() == expected,
        "listened to what tasks ask",
        "each question at the host, once and with the name of its task",
        host.asked().len(),
    )
}

/// MC-8.
pub async fn a_task_that_nobody_answers_is_not_refused_and_asks_another_session<H: Harness>(
    harness: H,
) -> Outcome {
    let capabilities = harness.mcp().capabilities();
    let stage = Stage::of(harness, "tasks").await?;
    let nobody = Host::new(None);
    let first = session(&stage, &nobody).await?;
    let answer = json!({"name": "Ada"});
    let somebody = Host::new(Some(Elicited::Accepted(answer.clone())));
    let second = session(&stage, &somebody).await?;
    let sampled = Answered::Sampled {
        model: "a model".to_owned(),
        text: "an answer".to_owned(),
    };
    let tools = [
        (
            "consults",
            capabilities.elicitation,
            Answered::Accepted(answer),
        ),
        ("drafts", capabilities.sampling, sampled),
    ];
    for (tool, _, heard) in tools.iter().filter(|(_, is_asked, _)| *is_asked) {
        let tasks = tasks(&stage, &first)?;
        let task = begun(tasks, tool).await?.id;
        let did = format!("listened to what the task of {tool} asks, which the host never answers");
        let late = within(&did, tasks.task_input(&task, SHORT)).await?;
        refused(did, late, Kind::Timeout)?;
        // Whatever the server was told, it was told before this.
        stands(tasks, &task, TaskStatus::InputRequired).await?;
        stands(tasks, &task, TaskStatus::InputRequired).await?;
        comes_to(self::tasks(&stage, &second)?, &task, tool, heard).await?;
    }
    holds(
        !stage
            .seen()?
            .iter()
            .any(|seen| matches!(seen, Seen::CalledOff(_))),
        "stopped listening to a task",
        "a task that goes on",
        "one that was ended",
    )?;
    is_usable(&first, "a task that nobody answered").await
}

/// MC-8.
pub async fn what_a_task_asks_is_nobodys_that_is_not_known<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "tasks").await?;
    let session = stage.session().await?;
    let did = "listened to a task that nobody knows";
    let nobody = named("nobody")?;
    let heard = within(did, tasks(&stage, &session)?.task_input(&nobody, LONG)).await?;
    refused(did, heard, Kind::NotFound)
}

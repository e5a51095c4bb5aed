//! MC-10: what could be written for an argument.

use std::collections::BTreeMap;
use std::sync::Arc;

use seaworthy_ports::mcp::{
    Kind, MAX_COMPLETION_BYTES, MAX_COMPLETIONS, McpCompleted, McpCompleting, McpCompletion,
    McpError, McpSession,
};

use super::Harness;
use super::script::Seen;
use super::stage::{SHORT, Stage, is_usable};
use crate::outcome::{Halt, Outcome, holds, ok, same, within};

/// What a server suggests that repeats the question: whose argument it is, what is written of it, and what was given.
#[must_use]
pub fn suggested(asked: &McpCompletion) -> McpCompleted {
    let whose = match &asked.of {
        McpCompleting::Prompt(name) => format!("prompt {name}"),
        McpCompleting::Template(uri) => format!("template {uri}"),
    };
    let given = asked.given.iter();
    let given = given.map(|(name, value)| format!("{name}={value}"));
    McpCompleted {
        values: [whose, asked.value.clone()]
            .into_iter()
            .chain(given)
            .collect(),
        total: Some(7),
        has_more: true,
    }
}

fn question(of: McpCompleting, argument: &str) -> McpCompletion {
    McpCompletion {
        of,
        argument: argument.to_owned(),
        value: "A\u{e9}\"".to_owned(),
        given: BTreeMap::new(),
    }
}

fn of_prompt(argument: &str) -> McpCompletion {
    question(McpCompleting::Prompt("x".to_owned()), argument)
}

async fn asked(
    session: &Arc<dyn McpSession>,
    question: McpCompletion,
) -> Result<Result<McpCompleted, McpError>, Halt> {
    let did = format!("asked what could be written for {}", question.argument);
    within(&did, session.complete(question)).await
}

/// It must fail for one of these reasons, and the session go on.
async fn fails(session: &Arc<dyn McpSession>, argument: &str, kinds: &[Kind]) -> Outcome {
    let answer = asked(session, of_prompt(argument)).await?;
    let kind = answer.map_err(|error| error.kind());
    holds(
        kind.as_ref().is_err_and(|kind| kinds.contains(kind)),
        format!("asked what could be written for {argument}"),
        format!("an error of {kinds:?}"),
        kind,
    )?;
    is_usable(session, "a completion that failed").await
}

/// MC-10.
pub async fn arguments_of_prompts_and_templates_are_completed<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "completes").await?;
    let session = stage.session().await?;
    holds(
        session.server().completions,
        "connected to a server that completes arguments",
        "that it says so",
        session.server(),
    )?;
    let template = McpCompleting::Template("contract:a/{path}".to_owned());
    let given = McpCompletion {
        given: BTreeMap::from([("when".to_owned(), "today".to_owned())]),
        value: String::new(),
        ..of_prompt("who")
    };
    for question in [of_prompt("who"), question(template, "who"), given] {
        let did = "asked what could be written for an argument";
        let answer = ok(did, asked(&session, question.clone()).await?)?;
        let (seen, expected) = (answer, suggested(&question));
        // Neither shows its values, which are no secret here.
        same(did, seen.values, expected.values)?;
        same(did, (seen.total, seen.has_more), (Some(7), true))?;
    }
    let seen = stage.count(&Seen::Completed("who".to_owned()))?;
    same("counted the questions that the server saw", seen, 3)
}

/// MC-10.
pub async fn a_server_that_completes_nothing_is_not_asked<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    fails(&session, "who", &[Kind::Unsupported]).await?;
    let seen = stage.count(&Seen::Completed("who".to_owned()))?;
    same("counted the questions that the server saw", seen, 0)
}

/// MC-10.
pub async fn values_beyond_the_bounds_are_left_out_and_the_answer_says_so<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "completes").await?;
    let session = stage.session().await?;
    for (argument, values, has_more) in [
        ("most", MAX_COMPLETIONS, false),
        ("too_many", MAX_COMPLETIONS, true),
        ("longest", 1, false),
        ("too_long", 0, true),
    ] {
        let did = format!("asked what could be written for {argument}");
        let answer = ok(did.clone(), asked(&session, of_prompt(argument)).await?)?;
        let longest = answer.values.iter().map(String::len).max();
        holds(
            longest.unwrap_or_default() <= MAX_COMPLETION_BYTES,
            did.clone(),
            format!("at most {MAX_COMPLETION_BYTES} bytes of each value"),
            longest,
        )?;
        same(
            did,
            (answer.values.len(), answer.has_more),
            (values, has_more),
        )?;
    }
    Ok(())
}

/// MC-10.
pub async fn a_completion_of_another_shape_is_malformed<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "completes").await?;
    let session = stage.session().await?;
    fails(&session, "wrongly", &[Kind::Malformed]).await?;
    fails(&session, "unknown", &[Kind::InvalidArguments]).await
}

/// MC-10.
pub async fn a_completion_that_never_comes_times_out<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "completes").await?;
    let mut server = stage.server()?;
    server.request_timeout = SHORT;
    let session = stage.session_with(server).await?;
    let answer = asked(&session, of_prompt("never")).await?;
    same(
        "asked what could be written, and the server never answered",
        answer.map_err(|error| error.kind()).err(),
        Some(Kind::Timeout),
    )
}

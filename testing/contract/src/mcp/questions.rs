//! MC-5: what servers ask.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use seaworthy_ports::mcp::{
    Elicitation, Elicited, HostTakes, Kind, McpContent, McpHost, McpSession, Sampled, Sampling,
};
use seaworthy_ports::model_provider::Role;
use seaworthy_ports::{Effect, ServerAlias};
use serde_json::{Value, json};

use super::script::{Answered, STATELESS_PROTOCOL, Seen};
use super::scripts::QUESTION;
use super::serve::told;
use super::stage::{SHORT, Stage, call, fails, is_usable, made};
use super::{ALIAS, Harness};
use crate::outcome::{Halt, Outcome, broken, declared, holds, id, ok, same};

/// What a host was asked.
#[derive(Clone, PartialEq)]
pub(super) enum Asked {
    User(Elicitation),
    Model(Sampling),
}

/// A host that answers what it is told to, or never.
pub(super) struct Host {
    user: Option<Elicited>,
    takes: HostTakes,
    asked: Mutex<Vec<Asked>>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

impl Host {
    pub(super) fn new(user: Option<Elicited>) -> Arc<Self> {
        Self::taking(HostTakes::ALL, user)
    }

    pub(super) fn taking(takes: HostTakes, user: Option<Elicited>) -> Arc<Self> {
        Arc::new(Self {
            user,
            takes,
            asked: Mutex::default(),
        })
    }

    fn note(&self, asked: Asked) {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(asked);
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl McpHost for Host {
    fn takes(&self) -> HostTakes {
        self.takes
    }

    async fn elicit(&self, question: Elicitation) -> Elicited {
        self.note(Asked::User(question));
        match &self.user {
            Some(answer) => answer.clone(),
            None => pending().await,
        }
    }

    async fn sample(&self, question: Sampling) -> Sampled {
        self.note(Asked::Model(question));
        if self.user.is_none() {
            pending::<()>().await;
        }
        Sampled::Answered {
            model: "a model".to_owned(),
            content: McpContent::Text("an answer".to_owned()),
        }
    }
}

pub(super) async fn session<H: Harness>(
    stage: &Stage<H>,
    host: &Arc<Host>,
) -> Result<Arc<dyn McpSession>, Halt> {
    let mut server = stage.server()?;
    server.host = Some(Arc::<Host>::clone(host));
    stage.session_with(server).await
}

/// Calls a tool that asks a question, and compares what the server heard.
async fn hears(session: &Arc<dyn McpSession>, tool: &str, expected: Answered) -> Outcome {
    let did = format!("called {tool}, which asks a question");
    let answer = ok(did.clone(), made(session, call(tool, json!({}))).await?)?;
    let heard = answer.structured.map(serde_json::from_value::<Answered>);
    match heard {
        Some(Ok(heard)) => same(did, heard, expected),
        other => Err(broken(did, format!("{expected:?}"), other)),
    }
}

pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
    })
}

/// MC-5.
pub async fn a_question_to_the_user_reaches_the_host<H: Harness>(harness: H) -> Outcome {
    let capabilities = harness.mcp().capabilities();
    let stage = Stage::of(harness, "usual").await?;
    let outcome = async {
        let answer = json!({"name": "Ada"});
        let host = Host::new(Some(Elicited::Accepted(answer.clone())));
        let session = session(&stage, &host).await?;
        hears(&session, "elicit", Answered::Accepted(answer)).await?;
        let expected = Asked::User(Elicitation {
            server: id(ServerAlias::new(ALIAS))?,
            message: QUESTION.to_owned(),
            schema: schema(),
            task: None,
            key: None,
        });
        holds(
            host.asked() == [expected],
            "called a tool that asks the user",
            "the question at the host, once and word for word",
            host.asked().len(),
        )?;
        for no in [Elicited::Declined, Elicited::Cancelled] {
            let session = self::session(&stage, &Host::new(Some(no))).await?;
            hears(&session, "elicit", Answered::Refused).await?;
        }
        Ok(())
    };
    declared("elicitation", capabilities.elicitation, outcome.await)
}

/// MC-5.
pub async fn an_answer_that_does_not_fit_is_a_refusal<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    for answer in [json!({}), json!({"name": 7}), json!("Ada")] {
        let host = Host::new(Some(Elicited::Accepted(answer)));
        let session = session(&stage, &host).await?;
        hears(&session, "elicit", Answered::Refused).await?;
    }
    Ok(())
}

/// MC-5.
pub async fn a_model_call_that_a_server_wants_reaches_the_host<H: Harness>(harness: H) -> Outcome {
    let capabilities = harness.mcp().capabilities();
    let stage = Stage::of(harness, "usual").await?;
    let outcome = async {
        let host = Host::new(Some(Elicited::Declined));
        let session = session(&stage, &host).await?;
        let sampled = Answered::Sampled {
            model: "a model".to_owned(),
            text: "an answer".to_owned(),
        };
        hears(&session, "sample", sampled).await?;
        let expected = Asked::Model(Sampling {
            server: id(ServerAlias::new(ALIAS))?,
            instructions: Some("Be brief.".to_owned()),
            messages: vec![(Role::User, McpContent::Text(QUESTION.to_owned()))],
            max_tokens: 99,
            task: None,
            key: None,
        });
        holds(
            host.asked() == [expected],
            "called a tool that wants a model called",
            "the conversation at the host, once and word for word",
            host.asked().len(),
        )
    };
    declared("sampling", capabilities.sampling, outcome.await)
}

/// MC-5.
pub async fn without_a_host_every_question_is_refused<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    hears(&session, "elicit", Answered::Refused).await?;
    hears(&session, "sample", Answered::Refused).await?;
    is_usable(&session, "questions that nobody answers").await
}

/// MC-5.
pub async fn a_question_that_the_host_does_not_take_is_refused_and_the_server_knows<H: Harness>(
    harness: H,
) -> Outcome {
    let capabilities = harness.mcp().capabilities();
    let stage = Stage::of(harness, "usual").await?;
    for [elicitation, sampling] in [[true, false], [false, true], [false, false]] {
        let takes = HostTakes {
            elicitation,
            sampling,
        };
        let host = Host::taking(takes, Some(Elicited::Accepted(json!({"name": "Ada"}))));
        let session = session(&stage, &host).await?;
        let did = format!(
            "connected with a host that takes {takes:?}, and had the server tell what it may ask"
        );
        let told = ok(
            did.clone(),
            made(&session, call("may_ask", json!({}))).await?,
        )?;
        let expected = json!({
            "elicitation": elicitation && capabilities.elicitation,
            "sampling": sampling && capabilities.sampling,
            "roots": false,
        });
        same(did, told.structured, Some(expected))?;
        for (tool, is_taken) in [("elicit", elicitation), ("sample", sampling)] {
            if !is_taken {
                hears(&session, tool, Answered::Refused).await?;
            }
        }
        holds(
            host.asked().is_empty(),
            "called tools whose questions the host does not take",
            "a host that was not asked",
            host.asked().len(),
        )?;
    }
    Ok(())
}

/// MC-5.
pub async fn a_host_that_never_answers_does_not_outlast_the_call<H: Harness>(
    harness: H,
) -> Outcome {
    let capabilities = harness.mcp().capabilities();
    let protocol = harness.protocol();
    let stage = Stage::of(harness, "usual").await?;
    let host = Host::new(None);
    let session = session(&stage, &host).await?;
    ok("asked for the tools", session.tools().await)?;
    let tools = [
        ("elicit", capabilities.elicitation),
        ("sample", capabilities.sampling),
    ];
    for (tool, _) in tools.into_iter().filter(|(_, is_asked)| *is_asked) {
        let mut asking = call(tool, json!({}));
        asking.timeout = SHORT;
        let did = format!("called {tool}, whose question the host never answers");
        match made(&session, asking).await? {
            // The adapter refused for the host in time, and the server answered in the last moment.
            Ok(answer) => same(did, answer, told(&Answered::Refused)?)?,
            late => {
                fails(&did, late, &[Kind::Timeout], Effect::Unknown)?;
                if protocol == STATELESS_PROTOCOL {
                    // Nothing is open at the server while somebody thinks of an answer.
                    continue;
                }
                stage.until(&Seen::Cancelled(tool.to_owned()), 1).await?;
            }
        }
        is_usable(&session, "a question that was never answered").await?;
    }
    Ok(())
}

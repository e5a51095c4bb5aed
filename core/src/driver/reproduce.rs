//! What a strict replay holds against the record: each request and each call, before it takes the recorded answer.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use seaworthy_ports::model_provider::{
    CountTokens, Directory, Embeddings, Kind, Message, ModelCapabilities, ModelError, ModelEvent,
    ModelProvider, ModelRequest, Rerank, ToolCallBlock, ToolSpec,
};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{AdapterInfo, BoxStream, PortError, RunId};
use serde::Serialize;
use serde_json::json;

use super::Stop;
use super::model_call::request_digest;
use super::replayed::Replaying;
use crate::agent::Agent;
use crate::descriptor::{Calling, Materialised, ModelSpec};
use crate::event::{Event, RunSubmitted};
use crate::gateway::ProposeError;
use crate::parameters;
use crate::replay::{Answer, Deviated, Part, Recorded, Verdict, excerpt, parting};
use crate::servers::Catalogue;
use crate::stack::{Model, Models, NoModel};
use crate::state::{CallNumber, RunState};

/// The agent of a run whose models are never asked: it needs no provider, no key and no network.
pub(super) fn agent(
    submitted: &RunSubmitted,
    catalogue: Option<&Catalogue>,
) -> Result<Arc<Agent>, String> {
    let descriptor: Materialised = serde_json::from_value(submitted.descriptor.clone())
        .map_err(|error| format!("the descriptor cannot be read: {error}"))?;
    Agent::with_catalogue(&descriptor, &NeverAsked, catalogue)
        .map(Arc::new)
        .map_err(|error| error.to_string())
}

pub(super) fn deviated(at: Seq, part: Part, expected: &str, found: &str) -> Deviated {
    Deviated {
        at,
        expected: excerpt(expected),
        found: excerpt(found),
        part,
    }
}

/// The deviation of texts, shown where they part.
fn parted(at: Seq, part: Part, expected: &str, found: &str) -> Deviated {
    let (expected, found) = parting(expected, found);
    Deviated {
        at,
        expected,
        found,
        part,
    }
}

pub(super) fn no_agent(at: Seq, why: &str) -> Deviated {
    deviated(at, Part::Agent, "an agent", why)
}

pub(super) fn unwritable(error: ProposeError) -> Stop {
    let why = error.to_string();
    Stop::Corrupt { why }
}

/// What the request for the next answer and the recorded one differ in, if in anything.
pub(super) fn request(
    replaying: &Replaying,
    answer: &Answer,
    state: &RunState,
) -> Result<Option<Deviated>, Stop> {
    let at = answer.seq;
    let agent = match &replaying.agent {
        Some(Ok(agent)) => agent,
        Some(Err(why)) => return Ok(Some(no_agent(at, why))),
        None => return Ok(None),
    };
    let recorded = replaying.recording.state.messages.iter();
    if let Some(deviated) = messages(at, recorded.take(answer.messages), &state.messages) {
        return Ok(Some(deviated));
    }
    let model = &answer.called.model;
    let names: Vec<&str> = agent
        .candidates()
        .map(|candidate| candidate.model.name.as_str())
        .collect();
    let Some(candidate) = agent
        .candidates()
        .find(|candidate| candidate.model.name == *model)
    else {
        return Ok(Some(deviated(at, Part::Model, model, &names.join(", "))));
    };
    let of_source = &replaying.recording.state.submitted;
    if of_source.descriptor_digest != state.submitted.descriptor_digest
        && let Ok(before) = self::agent(of_source, state.catalogue.as_deref())
    {
        let specs = |tools: &[ToolSpec]| {
            let specs = tools.iter().map(|tool| {
                json!({ "name": tool.name, "description": tool.description, "input_schema": tool.input_schema })
            });
            written(&specs.collect::<Vec<_>>())
        };
        let (expected, found) = (specs(&before.tools), specs(&agent.tools));
        if expected != found {
            return Ok(Some(parted(at, Part::Tools, &expected, &found)));
        }
        if before.instructions != agent.instructions {
            let (expected, found) = (&before.instructions, &agent.instructions);
            return Ok(Some(parted(at, Part::Instructions, expected, found)));
        }
    }
    if !answer.is_first_hand {
        return Ok(None);
    }
    let parameters = parameters::of_answer(agent, candidate, &state.messages);
    let digest = request_digest(agent, candidate, answer.before, answer.messages, parameters)?;
    if digest == answer.called.request_digest {
        return Ok(None);
    }
    let expected = answer.called.request_digest.to_string();
    Ok(Some(deviated(
        at,
        Part::Request,
        &expected,
        &digest.to_string(),
    )))
}

fn messages<'m>(
    at: Seq,
    recorded: impl Iterator<Item = &'m Message>,
    now: &[Message],
) -> Option<Deviated> {
    let mut recorded = recorded.enumerate();
    let mut now = now.iter();
    loop {
        match (recorded.next(), now.next()) {
            (None, None) => return None,
            (Some((_, recorded)), Some(now)) if recorded == now => {}
            (recorded, now) => {
                let text = |message: Option<&Message>| {
                    message.map_or_else(|| "no message".to_owned(), |message| written(&message))
                };
                let recorded = text(recorded.map(|(_index, message)| message));
                return Some(parted(at, Part::Messages, &recorded, &text(now)));
            }
        }
    }
}

/// What the call as it is now and the recorded one differ in, if in anything. It is proposed as the source's, so that the
/// digest of the proposal covers run, call, arguments and the tool's definition.
pub(super) fn call(
    agent: &Agent,
    source: &RunId,
    number: CallNumber,
    wish: &ToolCallBlock,
    recorded: &Recorded,
) -> Result<Option<Deviated>, Stop> {
    let events = agent
        .gateway
        .propose(source, number, wish, None)
        .map_err(unwritable)?;
    let (mut verdict, mut found) = (None, None);
    for event in events {
        match event {
            Event::ToolProposed(proposal) => found = Some(proposal),
            Event::ToolDecided { decision, .. } => verdict = Some(Verdict::Decided(decision)),
            Event::ToolFailed { code, message, .. } => {
                verdict = Some(Verdict::Refused { code, message });
            }
            _ => {}
        }
    }
    let (at, expected) = (recorded.seq, &recorded.proposal);
    let tool = &expected.tool;
    match found {
        Some(found) if found.proposal == expected.proposal => {}
        Some(found) if found.arguments != expected.arguments => {
            let (expected, found) = (written(&expected.arguments), written(&found.arguments));
            return Ok(Some(parted(at, Part::Call, &expected, &found)));
        }
        _ => {
            let now = match agent.gateway.tool(tool) {
                Some(_) => format!("{tool} with another definition"),
                None => format!("no tool {tool}"),
            };
            let expected = format!("{tool} as it was defined");
            return Ok(Some(deviated(at, Part::Call, &expected, &now)));
        }
    }
    if recorded.verdict.is_none() || recorded.verdict == verdict {
        return Ok(None);
    }
    let (expected, found) = (said(recorded.verdict.as_ref()), said(verdict.as_ref()));
    Ok(Some(deviated(at, Part::Decision, &expected, &found)))
}

fn said(verdict: Option<&Verdict>) -> String {
    match verdict {
        Some(Verdict::Decided(decision)) => written(decision),
        Some(Verdict::Refused { code, message }) => format!("{code}: {message}"),
        None => "nothing".to_owned(),
    }
}

fn written<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Models that only have names.
#[derive(Debug)]
struct NeverAsked;

impl Models for NeverAsked {
    fn find(&self, spec: &ModelSpec, _calling: Calling) -> Result<Model, NoModel> {
        Ok(Model {
            provider: Arc::new(Self),
            name: spec.name().to_owned(),
        })
    }
}

impl ModelProvider for NeverAsked {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "recorded",
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        ModelCapabilities::ALL
    }

    fn stream(&self, _request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let why = "a strict replay asks no model";
        let error = PortError::new(Kind::Unsupported, self.info().id, "stream", why);
        stream::iter([Err(error.into())]).boxed()
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        None
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        None
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        None
    }

    fn directory(&self) -> Option<&dyn Directory> {
        None
    }
}

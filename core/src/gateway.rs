//! What stands between a model's wish and a tool: validate, normalise, hash, policy, approval. The ledger, execution and
//! the commit of the outcome follow in the driver, in that order.

use std::collections::BTreeMap;

use jsonschema::{PatternOptions, ValidationError, Validator};
use seaworthy_ports::model_provider::ToolCallBlock;
use seaworthy_ports::{CallId, Digest, RunId, ToolName};
use serde::Serialize;
use serde_json::{Value, json};

use crate::canonical_json;
use crate::event::{Decision, Event, ToolProposed};
use crate::output::ANSWER_TOOL;
use crate::state::CallNumber;
use crate::tool::{ApprovalRule, Risk, SideEffect, Tool, ToolDefinition, Toolbox, code};

/// The tools of an agent with all that is computed of them once.
#[derive(Debug)]
pub struct Gateway {
    toolbox: Toolbox,
    checked: BTreeMap<ToolName, Checked>,
    /// The tools that their server has changed, with the digest of what they are now.
    changed: BTreeMap<ToolName, Digest>,
    /// Whether its agent's models may answer by a call of [`ANSWER_TOOL`].
    takes_answers: bool,
}

#[derive(Debug)]
struct Checked {
    validator: Validator,
    digest: Digest,
}

/// A tool's input schema is no JSON schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the input schema of tool {tool} is no JSON schema: {why}")]
pub struct InvalidSchema {
    /// The tool.
    pub tool: ToolName,
    /// What is wrong.
    pub why: String,
}

/// The most bytes of arguments of one call.
const MAX_ARGUMENT_BYTES: usize = 1024 * 1024;

impl Gateway {
    /// The gateway to `toolbox`.
    ///
    /// # Errors
    ///
    /// [`InvalidSchema`] for the first tool whose schema cannot be compiled.
    pub fn new(toolbox: Toolbox) -> Result<Self, InvalidSchema> {
        let mut checked = BTreeMap::new();
        for definition in toolbox.definitions() {
            let invalid = |why: String| InvalidSchema {
                tool: definition.name.clone(),
                why,
            };
            let validator = compile(&definition.input_schema)
                .or_else(|_error| jsonschema::validator_for(&definition.input_schema))
                .map_err(|error| invalid(error.to_string()))?;
            let digest = digest_of(definition).map_err(|error| invalid(error.to_string()))?;
            checked.insert(definition.name.clone(), Checked { validator, digest });
        }
        Ok(Self {
            toolbox,
            checked,
            changed: BTreeMap::new(),
            takes_answers: false,
        })
    }

    /// The same, for an agent whose models may answer by a call of [`ANSWER_TOOL`]. Such a call is an answer and never
    /// comes here, unless it was made beside others: then it is refused, and the others go on.
    #[must_use]
    pub fn with_answers(mut self) -> Self {
        self.takes_answers = true;
        self
    }

    /// The same, in which a person must agree to each call of these tools, whatever their own rule and whoever grants
    /// everything in advance: their server has changed them into something with this digest.
    #[must_use]
    pub fn with_changed(mut self, changed: BTreeMap<ToolName, Digest>) -> Self {
        self.changed = changed;
        self
    }

    /// The tools.
    #[must_use]
    pub fn toolbox(&self) -> &Toolbox {
        &self.toolbox
    }

    /// The tool called `name`.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&dyn Tool> {
        self.toolbox.get(name).map(AsRef::as_ref)
    }

    /// What becomes of one call the model wants made: the proposal and policy's decision, or the proposal and its refusal.
    ///
    /// `grants_all` names who has granted every approval of the run in advance.
    ///
    /// # Errors
    ///
    /// A run id so long that its calls cannot be named, or arguments that JSON cannot hold; neither happens with ids and
    /// arguments that were parsed.
    pub fn propose(
        &self,
        run: &RunId,
        number: CallNumber,
        wish: &ToolCallBlock,
        grants_all: Option<&str>,
    ) -> Result<Vec<Event>, ProposeError> {
        let call = CallId::new(format!("{run}.c{number}"))?;
        let arguments = (wish.arguments.len() <= MAX_ARGUMENT_BYTES)
            .then(|| wish.parsed())
            .flatten();
        let tool = self.tool(&wish.name).map(Tool::definition);
        let definition_digest = tool
            .and_then(|tool| self.checked.get(&tool.name))
            .map(|checked| checked.digest);
        let checked = self.check(wish, arguments.as_ref(), tool);
        let shown =
            arguments.unwrap_or_else(|| Value::String(wish.arguments.chars().take(4096).collect()));
        let accepts = self.changed.get(wish.name.as_str()).copied();
        let proposal = Digest::of(&canonical_json::to_vec(&Proposal {
            accepts,
            arguments: &shown,
            call: &call,
            definition: definition_digest,
            run,
            tool: &wish.name,
        })?);
        let proposed = ToolProposed {
            call: call.clone(),
            provider_call: wish.id.clone(),
            tool: wish.name.clone(),
            arguments: shown,
            proposal,
            side_effect: tool.map_or(SideEffect::ReadOnly, |tool| tool.side_effect),
            risk: tool.map_or(Risk::Low, |tool| tool.risk),
            idempotency_key: format!("swk_{}", proposal.to_hex().get(..32).unwrap_or_default()),
        };
        let mut events = vec![Event::ToolProposed(Box::new(proposed))];
        match checked {
            Err(message) => events.push(Event::ToolFailed {
                call,
                code: code::INVALID.to_owned(),
                message,
                no_effect: true,
            }),
            Ok(definition) => {
                let asked = Asked {
                    call: &call,
                    proposal,
                    accepts,
                };
                decide(&mut events, definition, asked, grants_all);
            }
        }
        Ok(events)
    }

    /// The tool and its arguments, or what the model must mend.
    fn check<'a>(
        &self,
        wish: &ToolCallBlock,
        arguments: Option<&Value>,
        tool: Option<&'a ToolDefinition>,
    ) -> Result<&'a ToolDefinition, String> {
        if self.takes_answers && wish.name == ANSWER_TOOL {
            return Err(format!(
                "the answer is not taken: call {ANSWER_TOOL} alone, when the results of the other calls are there"
            ));
        }
        let Some(tool) = tool else {
            let names: Vec<&str> = self
                .toolbox
                .definitions()
                .map(|tool| tool.name.as_str())
                .collect();
            return Err(format!(
                "there is no tool {:?}; there are {}",
                wish.name,
                names.join(", ")
            ));
        };
        let Some(arguments) = arguments else {
            return Err(format!(
                "the arguments are not JSON of at most {MAX_ARGUMENT_BYTES} bytes; send an object"
            ));
        };
        if let Some(checked) = self.checked.get(&tool.name) {
            let faults: Vec<String> = checked
                .validator
                .iter_errors(arguments)
                .take(5)
                .map(|fault| match fault.instance_path().to_string() {
                    path if path.is_empty() => fault.to_string(),
                    path => format!("{path}: {fault}"),
                })
                .collect();
            if !faults.is_empty() {
                return Err(format!(
                    "the arguments do not fit the tool's schema: {}",
                    faults.join("; ")
                ));
            }
        }
        Ok(tool)
    }
}

/// What a person may be asked.
#[derive(Clone, Copy)]
struct Asked<'a> {
    call: &'a CallId,
    proposal: Digest,
    /// The change of the tool that granting it agrees to.
    accepts: Option<Digest>,
}

fn decide(
    events: &mut Vec<Event>,
    tool: &ToolDefinition,
    asked: Asked<'_>,
    grants_all: Option<&str>,
) {
    let Asked {
        call,
        proposal,
        accepts,
    } = asked;
    let (decision, reason) = match tool.approval {
        _ if accepts.is_some() => (
            Decision::RequireApproval,
            "the server has changed the tool since the run began; approving the call accepts the change",
        ),
        ApprovalRule::None => (Decision::Allow, "the tool needs no approval"),
        ApprovalRule::Required => (
            Decision::RequireApproval,
            "the tool needs a person's approval",
        ),
    };
    events.push(Event::ToolDecided {
        call: call.clone(),
        decision,
        reason: reason.to_owned(),
    });
    if decision == Decision::RequireApproval {
        events.push(Event::ApprovalRequested {
            accepts,
            approval: call.clone(),
            call: call.clone(),
            proposal,
        });
        // Nobody can have agreed in advance to what nobody knew.
        if let Some(by) = grants_all.filter(|_by| accepts.is_none()) {
            events.push(Event::ApprovalDecided {
                approval: call.clone(),
                proposal,
                granted: true,
                by: by.to_owned(),
                reason: None,
            });
        }
    }
}

/// Compiles a schema that may be a stranger's: nothing is fetched, and patterns take time in proportion to what they are
/// matched with.
pub(crate) fn compile(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    jsonschema::options()
        .offline()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
}

/// What the digest of a proposal is made of.
#[derive(Serialize)]
struct Proposal<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    accepts: Option<Digest>,
    arguments: &'a Value,
    call: &'a CallId,
    definition: Option<Digest>,
    run: &'a RunId,
    tool: &'a str,
}

/// A call cannot be named or hashed.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The run's id is too long for its calls.
    #[error(transparent)]
    Id(#[from] seaworthy_ports::InvalidId),
    /// The arguments cannot be written as JSON.
    #[error("the arguments cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

fn digest_of(tool: &ToolDefinition) -> Result<Digest, serde_json::Error> {
    canonical_json::to_vec(&json!({
        "name": tool.name, "description": tool.description, "input_schema": tool.input_schema,
        "side_effect": tool.side_effect, "risk": tool.risk, "approval": tool.approval,
    }))
    .map(|bytes| Digest::of(&bytes))
}

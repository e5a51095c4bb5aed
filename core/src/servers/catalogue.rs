//! The tools of servers that a run has, as they were when it first saw them.

use std::collections::BTreeMap;

use seaworthy_ports::mcp::{Hints, McpTool};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{Digest, ServerAlias, ToolName};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::canonical_json;
use crate::gateway::compile;

/// The most tools of servers that a run has.
pub const MAX_TOOLS: usize = 512;
/// The most bytes of all of them, as the log has them.
pub const MAX_CATALOGUE_BYTES: usize = 2 * 1024 * 1024;
/// The most bytes of what a tool says of itself.
pub const MAX_DESCRIPTION_BYTES: usize = 16 * 1024;
/// The most bytes of one of a tool's schemas.
pub const MAX_SCHEMA_BYTES: usize = 64 * 1024;

/// What a server said of a tool's effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServedHints {
    /// It may destroy something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destructive: Option<bool>,
    /// Repeating it changes nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// It deals with the world outside the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_world: Option<bool>,
    /// It changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

impl From<Hints> for ServedHints {
    fn from(hints: Hints) -> Self {
        let Hints {
            read_only,
            destructive,
            idempotent,
            open_world,
        } = hints;
        Self {
            destructive,
            idempotent,
            open_world,
            read_only,
        }
    }
}

impl From<ServedHints> for Hints {
    fn from(hints: ServedHints) -> Self {
        let ServedHints {
            destructive,
            idempotent,
            open_world,
            read_only,
        } = hints;
        Self {
            read_only,
            destructive,
            idempotent,
            open_world,
        }
    }
}

/// A tool of a server, as the server described it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServedTool {
    /// What it says it does.
    pub description: String,
    /// The digest of everything else in here: what is held against the server before a call.
    pub digest: Digest,
    /// What the server says of its effects.
    pub hints: ServedHints,
    /// The JSON schema of its arguments.
    pub input_schema: Value,
    /// What models call it.
    pub name: ToolName,
    /// The JSON schema of its structured results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// What the server calls it.
    pub remote: String,
    /// Whose it is.
    pub server: ServerAlias,
}

impl ServedTool {
    /// The tool as `server` describes it now.
    #[must_use]
    pub fn of(server: &ServerAlias, tool: &McpTool) -> Self {
        let hints = ServedHints::from(tool.hints);
        let described = json!({
            "description": tool.description,
            "hints": hints,
            "input_schema": tool.input_schema,
            "name": tool.name,
            "output_schema": tool.output_schema,
            "remote": tool.remote,
            "server": server,
        });
        // Every JSON value can be written; a digest that nothing else has is better than a panic.
        let digest = match canonical_json::to_vec(&described) {
            Ok(bytes) => Digest::of(&bytes),
            Err(_never) => Digest::of(described.to_string().as_bytes()),
        };
        Self {
            description: tool.description.clone(),
            digest,
            hints,
            input_schema: tool.input_schema.clone(),
            name: tool.name.clone(),
            output_schema: tool.output_schema.clone(),
            remote: tool.remote.clone(),
            server: server.clone(),
        }
    }

    /// Whether the server describes it as it did then.
    #[must_use]
    pub fn is_still(&self, tool: &McpTool) -> bool {
        self.description == tool.description
            && Hints::from(self.hints) == tool.hints
            && self.input_schema == tool.input_schema
            && self.name == tool.name
            && self.output_schema == tool.output_schema
            && self.remote == tool.remote
    }

    /// Why no run can have it, if none can.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let is_long = |schema: &Value| schema.to_string().len() > MAX_SCHEMA_BYTES;
        if self.description.len() > MAX_DESCRIPTION_BYTES {
            Some(format!(
                "its description has more than {MAX_DESCRIPTION_BYTES} bytes"
            ))
        } else if is_long(&self.input_schema) || self.output_schema.as_ref().is_some_and(is_long) {
            Some(format!(
                "one of its schemas has more than {MAX_SCHEMA_BYTES} bytes"
            ))
        } else if compile(&self.input_schema).is_err() {
            Some(
                "its input schema is no JSON schema, or refers to something outside itself"
                    .to_owned(),
            )
        } else {
            None
        }
    }
}

/// A tool that the run does not have although its agent lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// What the server calls it.
    pub remote: String,
    /// Whose it is.
    pub server: ServerAlias,
    /// Why.
    pub why: String,
}

/// The tools of servers that a run has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Those that their server has changed since: as they are there now. No model is told of that, and they are not called,
    /// before a person has agreed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<ToolName, ServedTool>,
    /// The digest of those that the run has and those that were changed.
    pub digest: Digest,
    /// Those that nobody can have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Those that it has: as they were when it first saw them, or as a person agreed to.
    pub tools: BTreeMap<ToolName, ServedTool>,
}

impl Catalogue {
    /// The catalogue of these tools.
    #[must_use]
    pub fn new(tools: BTreeMap<ToolName, ServedTool>, left_out: Vec<LeftOut>) -> Self {
        Self {
            changed: BTreeMap::new(),
            digest: Digest::of(b""),
            left_out,
            tools,
        }
        .sealed()
    }

    fn sealed(mut self) -> Self {
        let mut text = String::new();
        for (sort, tools) in [("has", &self.tools), ("changed", &self.changed)] {
            for tool in tools.values() {
                text.push_str(sort);
                text.push(' ');
                text.push_str(&tool.digest.to_hex());
                text.push('\n');
            }
        }
        self.digest = Digest::of(text.as_bytes());
        self
    }

    /// The catalogue after a server has changed a tool.
    ///
    /// # Errors
    ///
    /// A tool that the run does not have.
    pub(crate) fn with_change(mut self, now: ServedTool) -> Result<Self, &'static str> {
        let had = self
            .tools
            .get(&now.name)
            .ok_or("the run has no such tool of a server")?;
        if had.digest == now.digest {
            self.changed.remove(&now.name);
        } else {
            self.changed.insert(now.name.clone(), now);
        }
        Ok(self.sealed())
    }

    /// The catalogue after a person has agreed to the change of `name` that has this digest. Of another one nothing is
    /// known to be agreed.
    pub(crate) fn with_accepted(mut self, name: &str, digest: Digest) -> Self {
        let is_it = |now: &ServedTool| now.digest == digest;
        if self.changed.get(name).is_some_and(is_it)
            && let Some((name, now)) = self.changed.remove_entry(name)
        {
            self.tools.insert(name, now);
        }
        self.sealed()
    }
}

/// The servers of the agent said which tools they have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolsListed {
    /// The tools that the run has from here on.
    pub catalogue: Catalogue,
    /// The record of another run that this was taken from, where no server was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Seq>,
}

#[cfg(test)]
mod tests {
    use seaworthy_ports::mcp::TaskSupport;

    use super::*;

    fn alias() -> ServerAlias {
        ServerAlias::new("files").unwrap()
    }

    fn tool() -> McpTool {
        McpTool {
            name: ToolName::new("files__read").unwrap(),
            remote: "read".to_owned(),
            title: None,
            description: "Reads.".to_owned(),
            input_schema: json!({"type": "object"}),
            output_schema: None,
            hints: Hints::default(),
            task_support: TaskSupport::Forbidden,
        }
    }

    #[test]
    fn everything_a_model_or_the_gateway_goes_by_is_in_the_digest() {
        let before = ServedTool::of(&alias(), &tool());
        assert!(before.is_still(&tool()));
        let changes: [fn(&mut McpTool); 4] = [
            |tool| tool.description.push('!'),
            |tool| tool.input_schema = json!({"type": "object", "required": ["a"]}),
            |tool| tool.output_schema = Some(json!({})),
            |tool| tool.hints.destructive = Some(true),
        ];
        for change in changes {
            let mut changed = tool();
            change(&mut changed);
            assert!(!before.is_still(&changed));
            assert_ne!(ServedTool::of(&alias(), &changed).digest, before.digest);
        }
    }

    #[test]
    fn only_the_change_that_was_agreed_to_is_taken() {
        let before = ServedTool::of(&alias(), &tool());
        let named = |description: &str| {
            let mut tool = tool();
            tool.description = description.to_owned();
            ServedTool::of(&alias(), &tool)
        };
        let name = before.name.clone();
        let catalogue =
            Catalogue::new(BTreeMap::from([(name.clone(), before.clone())]), Vec::new());
        let changed = catalogue.clone().with_change(named("one")).unwrap();
        let changed = changed.with_change(named("two")).unwrap();
        assert_ne!(changed.digest, catalogue.digest);
        let other = changed
            .clone()
            .with_accepted(name.as_str(), named("one").digest);
        assert_eq!(other, changed);
        let accepted = changed.with_accepted(name.as_str(), named("two").digest);
        assert!(accepted.changed.is_empty());
        assert_eq!(accepted.tools.get(&name), Some(&named("two")));
    }

    #[test]
    fn a_change_that_is_taken_back_is_none() {
        let before = ServedTool::of(&alias(), &tool());
        let mut other = tool();
        other.description.push('!');
        let catalogue = Catalogue::new(
            BTreeMap::from([(before.name.clone(), before.clone())]),
            Vec::new(),
        );
        let changed = catalogue
            .clone()
            .with_change(ServedTool::of(&alias(), &other))
            .unwrap();
        assert_eq!(changed.with_change(before).unwrap(), catalogue);
    }

    #[test]
    fn a_tool_that_no_arguments_can_be_checked_for_has_a_fault() {
        let of = |schema: Value| {
            let mut tool = tool();
            tool.input_schema = schema;
            ServedTool::of(&alias(), &tool).fault()
        };
        assert_eq!(of(json!({"type": "object"})), None);
        assert!(of(json!({"$ref": "https://example.org/schema.json"})).is_some());
        assert!(of(json!({"type": 7})).is_some());
        assert!(of(json!({"description": "x".repeat(MAX_SCHEMA_BYTES)})).is_some());
    }
}

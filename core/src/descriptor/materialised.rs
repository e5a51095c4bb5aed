//! A descriptor that stands alone: no file, no default and no environment is needed to run it.

use std::collections::BTreeMap;
use std::sync::Arc;

use seaworthy_ports::model_provider::Parameters;
use seaworthy_ports::{Digest, ServerAlias, ToolName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alias::AliasSpec;
use super::context::CompactionSpec;
use super::server::{ServerSpec, ServerTools};
use crate::history::Window;
use crate::servers::{Catalogue, Served};
use crate::tool::{Builtin, Command, Settings, Tool, ToolDefinition, Toolbox};

/// The version of what [`Materialised`] looks like in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The first.
    #[default]
    #[serde(rename = "seaworthy.materialised.v1")]
    V1,
}

/// What the descriptor calls itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its version, in its author's terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// How runs go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// The agent that a run starts with.
    pub entry_agent: String,
    /// The most model turns of a run.
    pub max_turns: u32,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    /// Its name.
    pub name: String,
    /// What the model is told first.
    pub instructions: String,
    /// The alias of its model.
    pub model: String,
    /// The tools it may call, in the order of the descriptor.
    pub tools: Vec<ToolName>,
    /// The tools of servers it may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_tools: Vec<ServerTools>,
    /// How much of its session's conversation it sees.
    #[serde(default, skip_serializing_if = "Window::is_all")]
    pub history: Window,
    /// When the older part of its conversation is replaced by a summary, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction: Option<CompactionSpec>,
    /// The JSON schema that its answer must fit, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// How its model is to answer; it goes before what the model's alias says.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,
}

/// A tool that agents may list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToolSource {
    /// A tool that comes with Seaworthy.
    Builtin {
        /// Which one.
        builtin: Builtin,
        /// What models are told instead of its own description.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// How the gateway treats it.
        settings: Settings,
    },
    /// A program.
    Command {
        /// What models are told of it.
        description: String,
        /// The JSON schema of its arguments.
        input_schema: Value,
        /// What does it.
        command: Vec<String>,
        /// What finds out about a call in doubt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verify: Option<Vec<String>>,
        /// How the gateway treats it.
        settings: Settings,
    },
}

impl ToolSource {
    /// How the gateway treats the tool.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        match self {
            Self::Builtin { settings, .. } | Self::Command { settings, .. } => settings,
        }
    }

    fn make(&self, name: &ToolName) -> Arc<dyn Tool> {
        match self {
            Self::Builtin {
                builtin,
                description,
                settings,
            } => {
                let description = description
                    .clone()
                    .unwrap_or_else(|| builtin.description().to_owned());
                builtin.named(name.clone(), description, *settings)
            }
            Self::Command {
                description,
                input_schema,
                command,
                verify,
                settings,
            } => {
                let definition = ToolDefinition {
                    name: name.clone(),
                    description: description.clone(),
                    input_schema: input_schema.clone(),
                    side_effect: settings.side_effect,
                    risk: settings.risk,
                    approval: settings.approval,
                    timeout: settings.timeout,
                    verifiable: verify.is_some(),
                };
                Arc::new(Command::new(definition, command.clone(), verify.clone()))
            }
        }
    }
}

/// A descriptor with everything in it: scripts inlined, defaults written out. It is kept in the log of each of its runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Materialised {
    /// The version of this form.
    pub format: Format,
    /// What the descriptor calls itself.
    pub metadata: Metadata,
    /// How runs go.
    pub runtime: Runtime,
    /// Models by alias.
    pub models: BTreeMap<String, AliasSpec>,
    /// Every tool that an agent lists or the descriptor declares, built-in ones included.
    pub tools: BTreeMap<ToolName, ToolSource>,
    /// Servers whose tools agents list.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp_servers: BTreeMap<ServerAlias, ServerSpec>,
    /// Agents by name.
    pub agents: BTreeMap<String, AgentSpec>,
}

/// A descriptor has no such model, agent or tool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownName {
    /// No model has that alias.
    #[error("the descriptor has no model {0:?}; it has: {1}")]
    Model(String, String),
    /// No agent has that name.
    #[error("the descriptor has no agent {0:?}; it has: {1}")]
    Agent(String, String),
    /// No tool has that name.
    #[error("the descriptor has no tool {0:?}")]
    Tool(ToolName),
    /// A server's tools are not on record, or the descriptor has no such server.
    #[error("nothing is on record of {0}")]
    Server(String),
    /// An agent lists a tool twice.
    #[error("agent {0:?} lists tool {1:?} twice")]
    Twice(String, ToolName),
}

impl Materialised {
    /// The digest of the canonical JSON of all of it: schemas, instructions and scripts included.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match crate::canonical_json::to_vec(self) {
            Ok(bytes) => Digest::of(&bytes),
            // Only a number that is not finite cannot be written, and no JSON value has one. A digest that nothing
            // else has is then better than a panic.
            Err(_never) => Digest::of(format!("{self:?}").as_bytes()),
        }
    }

    /// The agent that a run starts with.
    ///
    /// # Errors
    ///
    /// [`UnknownName::Agent`] where the form was written by hand; a parsed descriptor has it.
    pub fn entry(&self) -> Result<&AgentSpec, UnknownName> {
        self.agent(&self.runtime.entry_agent)
    }

    /// The agent `name`.
    ///
    /// # Errors
    ///
    /// [`UnknownName::Agent`] with the agents there are.
    pub fn agent(&self, name: &str) -> Result<&AgentSpec, UnknownName> {
        self.agents
            .get(name)
            .ok_or_else(|| UnknownName::Agent(name.to_owned(), names(&self.agents)))
    }

    /// The model with that alias.
    ///
    /// # Errors
    ///
    /// [`UnknownName::Model`] with the aliases there are.
    pub fn model(&self, alias: &str) -> Result<&AliasSpec, UnknownName> {
        self.models
            .get(alias)
            .ok_or_else(|| UnknownName::Model(alias.to_owned(), names(&self.models)))
    }

    /// The same with another model behind an alias. What went with the old one (its price, its limits, who stands in for
    /// it) goes with it, unless `spec` brings its own.
    ///
    /// # Errors
    ///
    /// [`UnknownName::Model`] with the aliases there are.
    pub fn with_model(
        mut self,
        alias: &str,
        spec: impl Into<AliasSpec>,
    ) -> Result<Self, UnknownName> {
        match self.models.get_mut(alias) {
            Some(model) => {
                *model = spec.into();
                Ok(self)
            }
            None => Err(UnknownName::Model(alias.to_owned(), names(&self.models))),
        }
    }

    /// The tools of `agent`.
    ///
    /// # Errors
    ///
    /// [`UnknownName`] where the form was written by hand; a parsed descriptor has all its tools, each once.
    pub fn toolbox(&self, agent: &AgentSpec) -> Result<Toolbox, UnknownName> {
        self.toolbox_with(agent, None)
    }

    /// The tools of `agent`, those of servers included, as far as `catalogue` has them; without one, no tool of a server.
    ///
    /// # Errors
    ///
    /// [`UnknownName`] where the form was written by hand, or where the catalogue is another agent's.
    pub fn toolbox_with(
        &self,
        agent: &AgentSpec,
        catalogue: Option<&Catalogue>,
    ) -> Result<Toolbox, UnknownName> {
        let mut tools = self.served(agent, catalogue)?;
        for name in &agent.tools {
            let source = self
                .tools
                .get(name)
                .ok_or_else(|| UnknownName::Tool(name.clone()))?;
            tools.push(source.make(name));
        }
        Toolbox::new(tools).map_err(|duplicate| UnknownName::Twice(agent.name.clone(), duplicate.0))
    }
}

impl Materialised {
    /// The tools of servers that `agent` lists.
    fn served(
        &self,
        agent: &AgentSpec,
        catalogue: Option<&Catalogue>,
    ) -> Result<Vec<Arc<dyn Tool>>, UnknownName> {
        let mut tools: BTreeMap<&ToolName, Arc<dyn Tool>> = BTreeMap::new();
        let Some(catalogue) = catalogue else {
            return Ok(Vec::new());
        };
        for pick in &agent.server_tools {
            let unknown = |what: &str| UnknownName::Server(format!("{}.{what}", pick.server));
            let what = pick.tool.as_deref().unwrap_or("*");
            let spec = self.mcp_servers.get(&pick.server);
            let spec = spec.ok_or_else(|| unknown(what))?;
            let is_picked = |remote: &str| match pick.tool.as_deref() {
                Some(tool) => tool == remote,
                None => spec.allows(remote),
            };
            let mut found = false;
            for (name, tool) in &catalogue.tools {
                if tool.server == pick.server && is_picked(&tool.remote) {
                    let settings = spec.settings(&tool.remote, tool.hints.into());
                    let tasks = spec.task_rule(&tool.remote);
                    let served = Served::new(tool.clone(), settings, tasks);
                    tools.insert(name, Arc::new(served));
                    found = true;
                }
            }
            if !found && pick.tool.is_some() {
                return Err(unknown(what));
            }
        }
        Ok(tools.into_values().collect())
    }
}

fn names<T>(map: &BTreeMap<String, T>) -> String {
    map.keys()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

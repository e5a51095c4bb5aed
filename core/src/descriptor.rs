//! Descriptors: what an agent is, in YAML.
//!
//! [`Descriptor::parse`] reads the text and reports everything that is wrong with it at once, each problem with its
//! place. [`Descriptor::materialise`] then takes the files in that it names, which makes a [`Materialised`]: the form that
//! is hashed, kept in the log of each run and run from.

mod alias;
mod aliases;
mod context;
mod error;
mod fields;
mod materialised;
mod model;
mod parameters;
mod schema;
mod sections;
mod server;
mod servers;
mod servers_oauth;
mod servers_roots;
mod suggest;
mod task;
mod yaml;

use std::collections::BTreeMap;

use seaworthy_ports::{ServerAlias, ToolName};

pub use alias::{AliasSettings, AliasSpec, Calling, Cost, Fallback, Limits, Price, Support};
pub use context::CompactionSpec;
pub use error::{DescriptorError, DescriptorErrors, codes};
pub use materialised::{
    AgentSpec, Format, Materialised, Metadata, Runtime, ToolSource, UnknownName,
};
pub use model::{InvalidOverride, ModelOverride, ModelSpec};
pub use schema::{MAX_OUTPUT_SCHEMA_BYTES, MAX_OUTPUT_SCHEMA_DEPTH};
pub use server::{
    Asking, EnvValue, Floor, ServerAuth, ServerGrant, ServerOAuth, ServerProof, ServerSpec,
    ServerTools, ServerTransport,
};
pub use task::{TASK_TIMEOUT, TaskRule};

use error::{Position, Reporter};

/// The version of descriptors that this crate reads.
pub const VERSION: &str = "seaworthy.agent_graph.v1";
/// How many model turns a run has at most unless its descriptor says otherwise.
pub const DEFAULT_MAX_TURNS: u32 = 16;
/// How many model turns a descriptor can ask for.
pub const MAX_TURNS: u32 = 64;
/// The most bytes of a script.
pub const MAX_SCRIPT_BYTES: usize = 1024 * 1024;

/// A parsed descriptor. Every name in it leads somewhere.
#[derive(Clone, Debug)]
pub struct Descriptor {
    file: String,
    metadata: Metadata,
    runtime: Runtime,
    models: BTreeMap<String, ModelSource>,
    tools: BTreeMap<ToolName, ToolSource>,
    servers: BTreeMap<ServerAlias, ServerSpec>,
    agents: BTreeMap<String, AgentSource>,
}

/// A model alias as the descriptor has it.
#[derive(Clone, Debug)]
struct ModelSource {
    source: Source,
    settings: AliasSettings,
}

/// An agent as the descriptor has it.
#[derive(Clone, Debug)]
struct AgentSource {
    spec: AgentSpec,
    /// The file with its output schema, and where it is named.
    schema: Option<(String, Position)>,
}

/// A model as the descriptor names it.
#[derive(Clone, Debug)]
enum Source {
    Scripted {
        script: String,
        at: Position,
    },
    /// Nothing of it lies in a file.
    Asked(ModelSpec),
}

impl Descriptor {
    /// Parses a descriptor; `file` is what messages call it.
    ///
    /// # Errors
    ///
    /// [`DescriptorErrors`] with every problem that can be told from the others, at most 100.
    pub fn parse(text: &str, file: &str) -> Result<Self, DescriptorErrors> {
        let mut reporter = Reporter::new(file);
        let descriptor = yaml::parse(text, &mut reporter)
            .and_then(|root| sections::descriptor(&root, file, &mut reporter));
        reporter.finish(descriptor)
    }

    /// What the descriptor calls itself.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Takes in the files that the descriptor names. `read` gets their paths, relative to the descriptor's folder and
    /// never leading out of it by their segments (symbolic links are the reader's to judge), and says in words why it
    /// cannot read one. A file is read once for
    /// each model and agent that names it.
    ///
    /// # Errors
    ///
    /// [`DescriptorErrors`] with every file that cannot be read or is too large, at the place where it is named.
    pub fn materialise(
        self,
        mut read: impl FnMut(&str) -> Result<String, String>,
    ) -> Result<Materialised, DescriptorErrors> {
        let mut reporter = Reporter::new(&self.file);
        let mut models = BTreeMap::new();
        for (alias, ModelSource { source, settings }) in self.models {
            let model = match source {
                Source::Asked(spec) => spec,
                Source::Scripted { script: origin, at } => match read(&origin) {
                    Ok(script) if script.len() <= MAX_SCRIPT_BYTES => {
                        ModelSpec::Scripted { script, origin }
                    }
                    Ok(script) => {
                        let message = format!(
                            "`models.{alias}.script`: {origin} has {} bytes; a script has at most {MAX_SCRIPT_BYTES}",
                            script.len()
                        );
                        reporter.report(at, codes::TOO_LARGE, message);
                        continue;
                    }
                    Err(why) => {
                        let message =
                            format!("`models.{alias}.script`: {origin} cannot be read: {why}");
                        reporter.report(at, codes::UNREADABLE_FILE, message);
                        continue;
                    }
                },
            };
            models.insert(alias, AliasSpec { settings, model });
        }
        let mut agents = BTreeMap::new();
        for (name, AgentSource { mut spec, schema }) in self.agents {
            if let Some((file, at)) = schema {
                let path = format!("agents.{name}.output_schema");
                match read(&file) {
                    Ok(text) => {
                        spec.output_schema =
                            schema::in_file(&text, &file, &path, at, &mut reporter);
                    }
                    Err(why) => {
                        let message = format!("`{path}`: {file} cannot be read: {why}");
                        reporter.report(at, codes::UNREADABLE_FILE, message);
                    }
                }
            }
            agents.insert(name, spec);
        }
        reporter.finish(Some(Materialised {
            format: Format::V1,
            metadata: self.metadata,
            runtime: self.runtime,
            models,
            tools: self.tools,
            mcp_servers: self.servers,
            agents,
        }))
    }
}

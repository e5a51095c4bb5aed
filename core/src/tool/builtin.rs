//! The tools that come with Seaworthy, by name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_ports::{InvalidId, ToolName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::edit::Edit;
use super::glob::Glob;
use super::grep::Grep;
use super::list::List;
use super::read::Read;
use super::shell::Shell;
use super::write::Write;
use super::{ApprovalRule, Risk, Settings, SideEffect, Tool, ToolDefinition};

/// A tool that comes with Seaworthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    /// The entries of a directory.
    List,
    /// The lines of a file.
    Read,
    /// Replaces a file.
    Write,
    /// Replaces one piece of a file.
    Edit,
    /// Paths by pattern.
    Glob,
    /// Lines by pattern.
    Grep,
    /// Runs a shell command.
    Shell,
}

/// No built-in tool has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no built-in tool has that name; there are list, read, write, edit, glob, grep and shell")]
pub struct NoBuiltin;

impl Builtin {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::List,
        Self::Read,
        Self::Write,
        Self::Edit,
        Self::Glob,
        Self::Grep,
        Self::Shell,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Write => "write",
            Self::Edit => "edit",
            Self::Glob => "glob",
            Self::Grep => "grep",
            Self::Shell => "shell",
        }
    }

    /// How the gateway treats it unless a descriptor says otherwise.
    ///
    /// `shell` is not repeatable: nobody knows what a command does. A descriptor that offers it for looking around only
    /// may say so.
    #[must_use]
    pub const fn settings(self) -> Settings {
        let (side_effect, risk, seconds) = match self {
            Self::List | Self::Read | Self::Glob | Self::Grep => {
                (SideEffect::ReadOnly, Risk::Low, 60)
            }
            Self::Write | Self::Edit => (SideEffect::Idempotent, Risk::Medium, 60),
            Self::Shell => (SideEffect::NonIdempotent, Risk::Medium, 120),
        };
        Settings {
            side_effect,
            risk,
            approval: ApprovalRule::None,
            timeout: Duration::from_secs(seconds),
        }
    }

    /// What models are told of it.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::List => super::list::DESCRIPTION,
            Self::Read => super::read::DESCRIPTION,
            Self::Write => super::write::DESCRIPTION,
            Self::Edit => super::edit::DESCRIPTION,
            Self::Glob => super::glob::DESCRIPTION,
            Self::Grep => super::grep::DESCRIPTION,
            Self::Shell => super::shell::DESCRIPTION,
        }
    }

    /// The JSON schema of its arguments.
    #[must_use]
    pub fn input_schema(self) -> Value {
        match self {
            Self::List => super::list::input_schema(),
            Self::Read => super::read::input_schema(),
            Self::Write => super::write::input_schema(),
            Self::Edit => super::edit::input_schema(),
            Self::Glob => super::glob::input_schema(),
            Self::Grep => super::grep::input_schema(),
            Self::Shell => super::shell::input_schema(),
        }
    }

    /// The tool under its own name and with its own settings.
    ///
    /// # Errors
    ///
    /// None in fact: every built-in's name is a tool name.
    pub fn tool(self) -> Result<Arc<dyn Tool>, InvalidId> {
        let name = ToolName::new(self.as_str())?;
        Ok(self.named(name, self.description().to_owned(), self.settings()))
    }

    /// The tool under another name, with another description and other settings.
    #[must_use]
    pub fn named(self, name: ToolName, description: String, settings: Settings) -> Arc<dyn Tool> {
        let definition = ToolDefinition {
            name,
            description,
            input_schema: self.input_schema(),
            side_effect: settings.side_effect,
            risk: settings.risk,
            approval: settings.approval,
            timeout: settings.timeout,
            verifiable: false,
        };
        match self {
            Self::List => Arc::new(List::new(definition)),
            Self::Read => Arc::new(Read::new(definition)),
            Self::Write => Arc::new(Write::new(definition)),
            Self::Edit => Arc::new(Edit::new(definition)),
            Self::Glob => Arc::new(Glob::new(definition)),
            Self::Grep => Arc::new(Grep::new(definition)),
            Self::Shell => Arc::new(Shell::new(definition)),
        }
    }
}

impl fmt::Display for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Builtin {
    type Err = NoBuiltin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|builtin| builtin.as_str() == text)
            .ok_or(NoBuiltin)
    }
}

/// Makes a built-in tool of `run(&ToolContext, Value) -> Result<Value, Trouble>`. None of them can tell afterwards what
/// became of a call: they are repeatable, or a person decides.
macro_rules! builtin {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name {
            definition: $crate::tool::ToolDefinition,
        }

        impl $name {
            pub(super) const fn new(definition: $crate::tool::ToolDefinition) -> Self {
                Self { definition }
            }
        }

        #[seaworthy_ports::async_trait]
        impl $crate::tool::Tool for $name {
            fn definition(&self) -> &$crate::tool::ToolDefinition {
                &self.definition
            }

            async fn call(
                &self,
                context: $crate::tool::ToolContext,
                arguments: serde_json::Value,
            ) -> $crate::tool::ToolAnswer {
                match run(&context, arguments).await {
                    Ok(result) => $crate::tool::ToolAnswer::Succeeded(result),
                    Err(trouble) => trouble.into(),
                }
            }

            async fn verify(
                &self,
                _context: $crate::tool::ToolContext,
                _arguments: serde_json::Value,
            ) -> $crate::tool::Verdict {
                $crate::tool::Verdict::Unknown(format!(
                    "{} cannot tell what became of an earlier call",
                    self.definition.name
                ))
            }
        }
    };
}

pub(super) use builtin;

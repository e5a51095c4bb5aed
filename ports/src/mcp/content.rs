//! What servers offer and answer, typed. All of it is the server's word and not to be trusted.

use std::fmt;

use bytes::Bytes;
use serde_json::Value;

use super::task::TaskSupport;
use crate::ToolName;
use crate::model_provider::Role;

/// A tool of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct McpTool {
    /// What a model calls it.
    pub name: ToolName,
    /// What the server calls it.
    pub remote: String,
    /// Its name for people.
    pub title: Option<String>,
    /// What it does.
    pub description: String,
    /// The JSON schema of its arguments.
    pub input_schema: Value,
    /// The JSON schema of its structured results.
    pub output_schema: Option<Value>,
    /// What the server says of its effects.
    pub hints: Hints,
    /// Whether calls of it become tasks; of a server that keeps no tasks, of no tool.
    pub task_support: TaskSupport,
}

/// What a server says of a tool's effects. `None`: it does not say. Hints may raise a tool's risk, never lower it (MC-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// It changes nothing.
    pub read_only: Option<bool>,
    /// It may destroy something.
    pub destructive: Option<bool>,
    /// Repeating it changes nothing more.
    pub idempotent: Option<bool>,
    /// It deals with the world outside the server.
    pub open_world: Option<bool>,
}

/// What a tool answered.
#[derive(Clone, PartialEq)]
pub struct McpCallResult {
    /// Whether the tool failed.
    pub is_error: bool,
    /// The answer as data, which has the tool's output schema if it has one and did not fail.
    pub structured: Option<Value>,
    /// The answer as content, in order.
    pub content: Vec<McpContent>,
}

impl fmt::Debug for McpCallResult {
    /// Without content: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpCallResult")
            .field("is_error", &self.is_error)
            .field("structured", &self.structured.is_some())
            .field("content", &self.content)
            .finish()
    }
}

/// A piece of content.
#[derive(Clone, PartialEq)]
pub enum McpContent {
    /// Text.
    Text(String),
    /// An image.
    Image {
        /// Its media type.
        media_type: String,
        /// Its bytes, decoded.
        bytes: Bytes,
    },
    /// A sound.
    Audio {
        /// Its media type.
        media_type: String,
        /// Its bytes, decoded.
        bytes: Bytes,
    },
    /// A resource's contents.
    Resource(McpResourceContents),
    /// A resource that can be read.
    ResourceLink(McpResource),
}

impl fmt::Debug for McpContent {
    /// Sizes alone: content is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Image { bytes, .. } => write!(f, "Image({} bytes)", bytes.len()),
            Self::Audio { bytes, .. } => write!(f, "Audio({} bytes)", bytes.len()),
            Self::Resource(contents) => fmt::Debug::fmt(contents, f),
            Self::ResourceLink(_) => f.write_str("ResourceLink"),
        }
    }
}

/// A resource of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpResource {
    /// What it is read by.
    pub uri: String,
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// Its media type.
    pub media_type: Option<String>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

/// A pattern that resources can be named by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpResourceTemplate {
    /// The pattern, as in RFC 6570.
    pub uri_template: String,
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: Option<String>,
    /// What such resources are.
    pub description: Option<String>,
    /// Their media type, if they all have one.
    pub media_type: Option<String>,
}

/// The contents of a resource.
#[derive(Clone, PartialEq, Eq)]
pub struct McpResourceContents {
    /// What it was read by.
    pub uri: String,
    /// Its media type.
    pub media_type: Option<String>,
    /// What it holds.
    pub data: ResourceData,
}

impl fmt::Debug for McpResourceContents {
    /// The size alone: addresses and contents are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = match &self.data {
            ResourceData::Text(text) => text.len(),
            ResourceData::Bytes(bytes) => bytes.len(),
        };
        write!(f, "McpResourceContents({size} bytes)")
    }
}

/// What a resource holds. It has no `Debug`, because it is content.
#[derive(Clone, PartialEq, Eq)]
pub enum ResourceData {
    /// Text.
    Text(String),
    /// Bytes, decoded.
    Bytes(Bytes),
}

/// A prompt of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpPrompt {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What is filled in.
    pub arguments: Vec<McpPromptArgument>,
}

/// What is filled in in a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpPromptArgument {
    /// Its name.
    pub name: String,
    /// What it means.
    pub description: Option<String>,
    /// Whether it must be given.
    pub required: bool,
}

/// A prompt, filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct McpPromptResult {
    /// What it is for.
    pub description: Option<String>,
    /// Its messages, in order.
    pub messages: Vec<McpPromptMessage>,
}

/// A message of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct McpPromptMessage {
    /// Who says it.
    pub role: Role,
    /// What.
    pub content: McpContent,
}

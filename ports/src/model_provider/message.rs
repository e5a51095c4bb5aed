//! The conversation, independent of any provider.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The user, or the results of tools.
    User,
    /// The model.
    Assistant,
}

/// One message: what one side says before the other answers.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What, in order.
    pub blocks: Vec<Block>,
}

impl Message {
    /// The user says `text`.
    pub fn user(text: impl Into<String>) -> Self {
        Self {
            role: Role::User,
            blocks: vec![Block::Text {
                text: text.into(),
                opaque: None,
            }],
        }
    }

    /// All text blocks, joined.
    #[must_use]
    pub fn text(&self) -> String {
        self.blocks
            .iter()
            .filter_map(|block| match block {
                Block::Text { text, .. } => Some(text.as_str()),
                Block::Reasoning { .. }
                | Block::ToolCall(_)
                | Block::ToolResult(_)
                | Block::Refusal { .. }
                | Block::File(_) => None,
            })
            .collect()
    }

    /// The tool calls, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCallBlock> {
        self.blocks.iter().filter_map(|block| match block {
            Block::ToolCall(call) => Some(call),
            Block::Text { .. }
            | Block::Reasoning { .. }
            | Block::ToolResult(_)
            | Block::Refusal { .. }
            | Block::File(_) => None,
        })
    }
}

impl fmt::Debug for Message {
    /// Without content: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?}, {} blocks)", self.role, self.blocks.len())
    }
}

/// A part of a message.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Block {
    /// Text.
    Text {
        /// The text.
        text: String,
        /// Data for the provider that wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opaque: Option<OpaqueItem>,
    },
    /// The model's reasoning.
    Reasoning {
        /// As far as it is shown; may be empty.
        text: String,
        /// Data for the provider that wrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opaque: Option<OpaqueItem>,
    },
    /// The model wants a tool called.
    ToolCall(ToolCallBlock),
    /// The answer to a call.
    ToolResult(ToolResultBlock),
    /// The model declines.
    Refusal {
        /// In its words.
        text: String,
    },
    /// The user shows a file.
    File(FileBlock),
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text { .. } => "Text",
            Self::Reasoning { .. } => "Reasoning",
            Self::ToolCall(_) => "ToolCall",
            Self::ToolResult(_) => "ToolResult",
            Self::Refusal { .. } => "Refusal",
            Self::File(_) => "File",
        })
    }
}

/// A file for the model: an image, a sound, a document. A provider that cannot take it refuses the call with
/// [`Kind::Unsupported`](super::Kind::Unsupported) before anything is sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileBlock {
    /// What it is, such as `image/png` or `application/pdf`.
    pub media_type: String,
    /// What the model may call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its bytes in Base64, with the standard alphabet and padding.
    pub data: String,
}

impl fmt::Debug for FileBlock {
    /// Without content: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileBlock({} letters)", self.data.len())
    }
}

/// A call the model wants made.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCallBlock {
    /// The provider's id of the call; results answer to it.
    pub id: String,
    /// The tool, as the model wrote it.
    pub name: String,
    /// The arguments as the model wrote them: JSON, if the model kept to the rules.
    pub arguments: String,
    /// Data for the provider that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<OpaqueItem>,
}

impl ToolCallBlock {
    /// The arguments, if they are JSON. No text at all is an empty object.
    #[must_use]
    pub fn parsed(&self) -> Option<Value> {
        if self.arguments.trim().is_empty() {
            return Some(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_str(&self.arguments).ok()
    }
}

/// What a tool answered.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolResultBlock {
    /// The provider's id of the call.
    pub id: String,
    /// The tool, as the model wrote it.
    pub name: String,
    /// The answer, as the model reads it.
    pub content: String,
    /// Whether the call failed.
    #[serde(default)]
    pub is_error: bool,
    /// What the tool shows beside it: images, sounds, documents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<FileBlock>,
}

/// Data that only the provider that made it understands, such as a reasoning signature.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpaqueItem {
    /// The id of the adapter it belongs to; no other gets it.
    pub provider: String,
    /// The data.
    pub data: Value,
}

impl fmt::Debug for OpaqueItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpaqueItem({})", self.provider)
    }
}

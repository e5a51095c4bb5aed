//! Files that are given to a run: kept by their digest beside its log, and put into the conversation when a model gets it.
//!
//! In a run's state, in its log and in its session's a file is a [`FileBlock`] whose data is `blob:` and a digest. No Base64
//! has a colon, so that is never taken for content. Only what a model is sent has the bytes.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use seaworthy_ports::Digest;
use seaworthy_ports::blob_store::{BlobError, BlobStore};
use seaworthy_ports::model_provider::{Block, FileBlock, Message};
use serde::{Deserialize, Serialize};

use crate::history::{self, file_note};
use crate::stack::Ports;

/// The most files of a run.
pub const MAX_FILES: usize = 16;
/// The most bytes of a file.
pub const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;
/// The most bytes of a file of text, all of which becomes part of what is said.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;
/// The most bytes of files that a model is sent at once; of a session's, the newest.
pub const MAX_SENT_BYTES: usize = 24 * 1024 * 1024;
/// The most bytes of a name or a media type.
const MAX_WORD_BYTES: usize = 255;
/// What data begins with that lies elsewhere.
const ELSEWHERE: &str = "blob:";

/// A file to give to a run.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// What it is, such as `image/png` or `text/plain`.
    pub media_type: String,
    /// What the model may call it.
    pub name: Option<String>,
    /// Its content.
    pub bytes: Bytes,
}

impl std::fmt::Debug for Attachment {
    /// Without content: it is not for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Attachment({}, {} bytes)",
            self.media_type,
            self.bytes.len()
        )
    }
}

/// A file that was given to a run, as its log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachedFile {
    /// How many bytes it has.
    pub bytes: u64,
    /// Where the blob store has them.
    pub digest: Digest,
    /// What it is.
    pub media_type: String,
    /// What the model may call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl AttachedFile {
    pub(crate) fn of(attachment: &Attachment) -> Self {
        Self {
            bytes: attachment.bytes.len() as u64,
            digest: Digest::of(&attachment.bytes),
            media_type: attachment.media_type.clone(),
            name: attachment.name.clone(),
        }
    }

    /// It as a part of a message, without its bytes.
    pub(crate) fn block(&self) -> Block {
        Block::File(self.file())
    }

    /// It as messages have it, without its bytes.
    pub(crate) fn file(&self) -> FileBlock {
        FileBlock {
            media_type: self.media_type.clone(),
            name: self.name.clone(),
            data: format!("{ELSEWHERE}{}", self.digest),
        }
    }
}

/// A file that cannot be given to a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFile {
    /// There are too many.
    #[error("{0} files are given; a run takes at most {MAX_FILES}")]
    TooMany(usize),
    /// They are too large together.
    #[error("the files have {0} bytes together; a run takes at most {MAX_SENT_BYTES}")]
    TooMuch(usize),
    /// One is too large.
    #[error("file {name:?} has {bytes} bytes; one of {media_type} has at most {most}")]
    TooLarge {
        /// The file's name, or its place among the files.
        name: String,
        /// What it is.
        media_type: String,
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        most: usize,
    },
    /// One is empty.
    #[error("file {0:?} is empty")]
    Empty(String),
    /// The name or media type of one cannot be used.
    #[error("file {0:?}: its name or its media type is not one")]
    Word(String),
    /// One says that it is text and is not UTF-8.
    #[error("file {0:?} is not the UTF-8 text that its media type says it is")]
    NoText(String),
}

/// Whether a file of this type is told to a model as text, so that every model takes it.
#[must_use]
pub fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/")
        || matches!(
            media_type,
            "application/json" | "application/yaml" | "application/toml" | "application/xml"
        )
}

/// The capability that a model needs for a file of this type, by its name; `None`: every model takes it.
#[must_use]
pub fn capability(media_type: &str) -> Option<&'static str> {
    match media_type.split('/').next() {
        _ if is_text(media_type) => None,
        Some("image") => Some("vision_input"),
        Some("audio") => Some("audio_input"),
        _ => Some("file_input"),
    }
}

/// Checks the files without storing anything.
///
/// # Errors
///
/// The first that cannot be given to a run.
pub fn check(attachments: &[Attachment]) -> Result<Vec<AttachedFile>, InvalidFile> {
    if attachments.len() > MAX_FILES {
        return Err(InvalidFile::TooMany(attachments.len()));
    }
    for (index, file) in attachments.iter().enumerate() {
        let shown = file.name.as_deref().unwrap_or_default();
        let name = || match shown {
            "" => format!("number {}", index.saturating_add(1)),
            name => name.chars().take(80).collect(),
        };
        let is_word = |text: &str| text.len() <= MAX_WORD_BYTES && !text.contains(char::is_control);
        let of_two = file.media_type.split_once('/');
        if !is_word(shown)
            || !is_word(&file.media_type)
            || !of_two.is_some_and(|(sort, kind)| !sort.is_empty() && !kind.is_empty())
        {
            return Err(InvalidFile::Word(name()));
        }
        if file.bytes.is_empty() {
            return Err(InvalidFile::Empty(name()));
        }
        let is_text = is_text(&file.media_type);
        let most = if is_text {
            MAX_TEXT_BYTES
        } else {
            MAX_FILE_BYTES
        };
        if file.bytes.len() > most {
            return Err(InvalidFile::TooLarge {
                name: name(),
                media_type: file.media_type.clone(),
                bytes: file.bytes.len(),
                most,
            });
        }
        if is_text && std::str::from_utf8(&file.bytes).is_err() {
            return Err(InvalidFile::NoText(name()));
        }
    }
    let total = attachments.iter().map(|file| file.bytes.len()).sum();
    if total > MAX_SENT_BYTES {
        return Err(InvalidFile::TooMuch(total));
    }
    Ok(attachments.iter().map(AttachedFile::of).collect())
}

/// Puts the files where a run can find them. Repeating it is harmless.
pub(crate) async fn keep(
    blobs: &dyn BlobStore,
    attachments: &[Attachment],
) -> Result<(), BlobError> {
    for file in attachments {
        let content = stream::iter([Ok(file.bytes.clone())]).boxed();
        let _digest: Digest = blobs.put(content).await?;
    }
    Ok(())
}

/// Where the bytes of a file lie, if they are not in the block.
fn elsewhere(file: &FileBlock) -> Option<Digest> {
    file.data.strip_prefix(ELSEWHERE)?.parse().ok()
}

/// Whether any file's bytes lie elsewhere.
pub(crate) fn are_elsewhere(messages: &[Message]) -> bool {
    let mut blocks = messages.iter().flat_map(|message| &message.blocks);
    blocks.any(|block| match block {
        Block::File(file) => elsewhere(file).is_some(),
        Block::ToolResult(result) => result.media.iter().any(|file| elsewhere(file).is_some()),
        _ => false,
    })
}

/// The messages with the bytes of their files. Where those are too many, counting those that are there already, the oldest
/// files become notes, and the oldest media of results go: their results describe them. They stay as they are where no model
/// is shown any (`shows_media`).
pub(crate) async fn fetched(
    ports: &Ports,
    messages: &[Message],
    shows_media: bool,
) -> Result<Vec<Message>, BlobError> {
    let mut left = MAX_SENT_BYTES;
    let mut fetched = messages.to_vec();
    for message in fetched.iter_mut().rev() {
        for block in message.blocks.iter_mut().rev() {
            match block {
                Block::File(file) => match bytes_of(ports, file, &mut left).await? {
                    Found::Here => {}
                    Found::Elsewhere(bytes) => *block = with_bytes(file, &bytes),
                    Found::TooMuch => *block = history::text(file_note(file)),
                },
                Block::ToolResult(result) if shows_media => {
                    let mut media = Vec::with_capacity(result.media.len());
                    for mut file in std::mem::take(&mut result.media).into_iter().rev() {
                        match bytes_of(ports, &file, &mut left).await? {
                            Found::Here => {}
                            Found::Elsewhere(bytes) => file.data = base64(&bytes),
                            Found::TooMuch => continue,
                        }
                        media.push(file);
                    }
                    media.reverse();
                    result.media = media;
                }
                _ => {}
            }
        }
    }
    Ok(fetched)
}

/// Where the bytes of a file were found.
enum Found {
    /// In the message.
    Here,
    /// In the store.
    Elsewhere(Vec<u8>),
    /// There are more than may be sent.
    TooMuch,
}

/// The bytes of a file, unless there are more than `left`, which becomes less by them.
async fn bytes_of(ports: &Ports, file: &FileBlock, left: &mut usize) -> Result<Found, BlobError> {
    let (found, many) = match elsewhere(file) {
        // In Base64 four letters are three bytes.
        None => {
            let letters = file.data.trim_end_matches('=').len();
            (Found::Here, letters.saturating_mul(3) / 4)
        }
        Some(digest) => match fetch(ports, &digest, *left).await? {
            Some(bytes) => {
                let many = bytes.len();
                (Found::Elsewhere(bytes), many)
            }
            None => return Ok(Found::TooMuch),
        },
    };
    if many > *left {
        return Ok(Found::TooMuch);
    }
    *left = left.saturating_sub(many);
    Ok(found)
}

/// The bytes, unless there are more than `most`.
async fn fetch(ports: &Ports, digest: &Digest, most: usize) -> Result<Option<Vec<u8>>, BlobError> {
    let mut parts = ports.blob_store.get(digest).await?;
    let mut bytes = Vec::new();
    while let Some(part) = parts.try_next().await? {
        bytes.extend_from_slice(&part);
        if bytes.len() > most {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

fn with_bytes(file: &FileBlock, bytes: &[u8]) -> Block {
    if is_text(&file.media_type)
        && let Ok(content) = std::str::from_utf8(bytes)
    {
        let name = file.name.as_deref().unwrap_or("without a name");
        return history::text(format!("[file {name}, {}]\n\n{content}", file.media_type));
    }
    Block::File(FileBlock {
        data: base64(bytes),
        ..file.clone()
    })
}

/// With the standard alphabet and padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

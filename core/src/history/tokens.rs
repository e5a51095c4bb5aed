//! How many tokens something has, guessed without asking anybody.
//!
//! Tokens are of a model's own making, so this is no count: on plain English text it is within a quarter of what the
//! tokenizers of the large providers say, on random letters and rare scripts it may be half or double of it. What it
//! does promise is that more text is never fewer tokens, and that a conversation has as many as its messages together.

use seaworthy_ports::model_provider::{Block, FileBlock, Message, Tokens, ToolSpec};

/// Tokens that a message has whatever is in it: its role and its limits.
const PER_MESSAGE: u64 = 4;
/// Tokens that a call or a result has beside its text.
const PER_CALL: u64 = 8;
/// Tokens that a tool's definition has beside its text.
const PER_TOOL: u64 = 16;
/// An image of a usual size: providers scale larger ones down to about as many.
const PER_IMAGE: u64 = 1600;

/// The tokens of `messages`. That of two lists, one behind the other, is the sum.
#[must_use]
pub fn estimate(messages: &[Message]) -> u64 {
    messages.iter().fold(0, |sum: u64, message| {
        let blocks = message.blocks.iter().map(block);
        sum.saturating_add(PER_MESSAGE)
            .saturating_add(total(blocks))
    })
}

/// The tokens of a whole request.
#[must_use]
pub fn estimate_request(instructions: &str, tools: &[ToolSpec], messages: &[Message]) -> Tokens {
    let definitions = total(tools.iter().map(|tool| {
        let schema = tool.input_schema.to_string();
        PER_TOOL
            .saturating_add(estimate_text(tool.name.as_str()))
            .saturating_add(estimate_text(&tool.description))
            .saturating_add(estimate_text(&schema))
    }));
    let count = estimate_text(instructions)
        .saturating_add(definitions)
        .saturating_add(estimate(messages));
    Tokens {
        count,
        estimated: true,
    }
}

fn total(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

fn block(block: &Block) -> u64 {
    match block {
        Block::Text { text, .. } | Block::Reasoning { text, .. } | Block::Refusal { text } => {
            estimate_text(text)
        }
        Block::ToolCall(call) => PER_CALL
            .saturating_add(estimate_text(&call.name))
            .saturating_add(estimate_text(&call.arguments)),
        Block::ToolResult(result) => PER_CALL
            .saturating_add(estimate_text(&result.name))
            .saturating_add(estimate_text(&result.content))
            .saturating_add(total(result.media.iter().map(file_tokens))),
        Block::File(file) => file_tokens(file),
    }
}

/// What a character weighs, in twelfths of a token.
const fn weight(character: char) -> u64 {
    match character {
        // Four letters of English.
        'a'..='z' | 'A'..='Z' | ' ' | '\n' | '\t' | '\r' => 3,
        '0'..='9' => 5,
        '\0'..='\u{7f}' => 6,
        // The other alphabets: about two letters.
        '\u{80}'..='\u{2e7f}' => 6,
        // Chinese, Japanese, Korean: about a character.
        '\u{2e80}'..='\u{ffff}' => 13,
        // Pictures and rare characters: up to their bytes.
        _ => 30,
    }
}

/// The tokens of a text: by its characters, each weighed by its script.
#[must_use]
pub fn estimate_text(text: &str) -> u64 {
    text.chars()
        .fold(0_u64, |sum, character| {
            sum.saturating_add(weight(character))
        })
        .div_ceil(12)
}

fn file_tokens(file: &FileBlock) -> u64 {
    let bytes = decoded_len(&file.data);
    let kind = file
        .media_type
        .split_once('/')
        .map_or(file.media_type.as_str(), |(kind, _)| kind);
    let content = match kind {
        "image" => PER_IMAGE,
        // 32 tokens for a second of 16 kB.
        "audio" => bytes.div_ceil(500),
        // 25 to 30 for a second of some 250 kB, and its sound.
        "video" => bytes.div_ceil(800),
        "text" => bytes.div_ceil(3),
        // A page of a document has some 60 kB and 2000 tokens.
        _ => bytes.div_ceil(30),
    };
    let name = file.name.as_deref().map_or(0, estimate_text);
    PER_CALL.saturating_add(content).saturating_add(name)
}

/// How many bytes a text in Base64 stands for, at most.
fn decoded_len(text: &str) -> u64 {
    let letters = u64::try_from(text.len()).unwrap_or(u64::MAX);
    letters.div_ceil(4).saturating_mul(3)
}

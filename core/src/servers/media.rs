//! What a server's answer shows: images, sounds and documents, kept beside the run's log.
//!
//! A result describes each of its pieces; those that models take are kept as well, by their digest, and shown to models
//! that are known to take them. What is not what it says it is, or too much, is only described.

use seaworthy_ports::mcp::{McpCallResult, McpContent, McpResourceContents, ResourceData};

use crate::event::Event;
use crate::files::{AttachedFile, Attachment};
use crate::state::RunState;

/// The most pieces of a result that are kept.
pub const MAX_PIECES: usize = 16;
/// The most bytes of one. In Base64 they are less than the 5 MB that the strictest provider takes.
pub const MAX_PIECE_BYTES: usize = 3_500 * 1024;
/// The most bytes of a result's pieces together.
pub const MAX_RESULT_MEDIA_BYTES: usize = 8 * 1024 * 1024;
/// The most bytes of all that the tools of a run have shown.
pub const MAX_RUN_MEDIA_BYTES: u64 = 64 * 1024 * 1024;
/// The most bytes of a name.
const MAX_NAME_BYTES: usize = 255;

/// What of an answer is kept, in its order.
pub(super) fn shown(result: &McpCallResult) -> Vec<Attachment> {
    let mut left = MAX_RESULT_MEDIA_BYTES;
    let mut kept = Vec::new();
    for file in result.content.iter().filter_map(piece) {
        let many = file.bytes.len();
        if kept.len() < MAX_PIECES && many <= MAX_PIECE_BYTES && many <= left {
            left = left.saturating_sub(many);
            kept.push(file);
        }
    }
    kept
}

fn piece(piece: &McpContent) -> Option<Attachment> {
    let (media_type, bytes, name) = match piece {
        McpContent::Image { media_type, bytes } | McpContent::Audio { media_type, bytes } => {
            (media_type, bytes, None)
        }
        McpContent::Resource(McpResourceContents {
            uri,
            media_type: Some(media_type),
            data: ResourceData::Bytes(bytes),
        }) => (media_type, bytes, name_in(uri)),
        McpContent::Text(_) | McpContent::Resource(_) | McpContent::ResourceLink(_) => return None,
    };
    Some(Attachment {
        media_type: known(media_type, bytes)?.to_owned(),
        name,
        bytes: bytes.clone(),
    })
}

/// The media type under which every provider that takes such a file at all takes it. `None`: nobody takes it, or its bytes
/// are of another type than it says; a provider would refuse the whole request.
fn known(said: &str, bytes: &[u8]) -> Option<&'static str> {
    let is_riff = |form: &[u8]| bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(form);
    let said = said.split(';').next().unwrap_or_default().trim();
    let (media_type, is_it) = match said.to_ascii_lowercase().as_str() {
        "image/png" => ("image/png", bytes.starts_with(b"\x89PNG\r\n\x1a\n")),
        "image/jpeg" | "image/jpg" => ("image/jpeg", bytes.starts_with(b"\xff\xd8\xff")),
        "image/webp" => ("image/webp", is_riff(b"WEBP")),
        "audio/wav" | "audio/x-wav" | "audio/wave" => ("audio/wav", is_riff(b"WAVE")),
        "audio/mpeg" | "audio/mp3" => (
            "audio/mpeg",
            bytes.starts_with(b"ID3")
                || matches!(bytes, [0xff, second, ..] if second & 0xe0 == 0xe0),
        ),
        "application/pdf" => ("application/pdf", bytes.starts_with(b"%PDF-")),
        _ => return None,
    };
    is_it.then_some(media_type)
}

/// What a model may call a resource: the end of its address, if that is a plain word.
fn name_in(uri: &str) -> Option<String> {
    let name = uri.rsplit('/').next()?;
    let is_plain = !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.contains(|letter: char| letter.is_control() || matches!(letter, '?' | '#'));
    is_plain.then(|| name.to_owned())
}

/// Leaves out what a finished call shows where the run has more than enough of it already.
pub(crate) fn bound(state: &RunState, event: &mut Event) {
    let Event::ToolSucceeded { media, .. } = event else {
        return;
    };
    if media.is_empty() {
        return;
    }
    let bytes = |files: &[AttachedFile]| {
        let sizes = files.iter().map(|file| file.bytes);
        sizes.fold(0, u64::saturating_add)
    };
    let all = state.calls.values().map(|call| bytes(call.media()));
    let all = all.fold(bytes(media), u64::saturating_add);
    if all > MAX_RUN_MEDIA_BYTES {
        media.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

    fn image(media_type: &str, bytes: impl Into<Bytes>) -> McpContent {
        McpContent::Image {
            media_type: media_type.to_owned(),
            bytes: bytes.into(),
        }
    }

    fn kept(content: Vec<McpContent>) -> Vec<Attachment> {
        shown(&McpCallResult {
            is_error: false,
            structured: None,
            content,
        })
    }

    fn of_size(bytes: usize) -> McpContent {
        let mut content = PNG.to_vec();
        content.resize(bytes, 0);
        image("image/png", content)
    }

    #[test]
    fn what_models_take_is_kept_in_order_under_its_usual_type() {
        let contents = McpResourceContents {
            uri: "file:///reports/may.pdf".to_owned(),
            media_type: Some("application/pdf".to_owned()),
            data: ResourceData::Bytes(Bytes::from_static(b"%PDF-1.7")),
        };
        let kept = kept(vec![
            image("image/PNG; a=b", PNG),
            McpContent::Text("between".to_owned()),
            image("image/jpg", &b"\xff\xd8\xff\xe0"[..]),
            image("image/webp", &b"RIFF\0\0\0\0WEBP"[..]),
            McpContent::Resource(contents),
            image("audio/x-wav", &b"RIFF\0\0\0\0WAVE"[..]),
            image("audio/mp3", &b"\xff\xfb\x90"[..]),
        ]);
        let types: Vec<&str> = kept.iter().map(|file| &*file.media_type).collect();
        assert_eq!(
            types,
            [
                "image/png",
                "image/jpeg",
                "image/webp",
                "application/pdf",
                "audio/wav",
                "audio/mpeg"
            ]
        );
        let name = kept.iter().find_map(|file| file.name.as_deref());
        assert_eq!(name, Some("may.pdf"));
    }

    #[test]
    fn what_is_not_what_it_says_is_not_kept() {
        assert!(kept(vec![image("image/png", &b"<html>"[..])]).is_empty());
        assert!(kept(vec![image("image/webp", &b"RIFF\0\0\0\0WAVE"[..])]).is_empty());
        assert!(kept(vec![image("image/tiff", PNG)]).is_empty());
        assert!(kept(vec![image("image/png", &b""[..])]).is_empty());
    }

    #[test]
    fn pieces_are_bounded_each_and_together_and_in_number() {
        assert_eq!(kept(vec![of_size(MAX_PIECE_BYTES)]).len(), 1);
        assert!(kept(vec![of_size(MAX_PIECE_BYTES + 1)]).is_empty());
        let large = vec![of_size(MAX_PIECE_BYTES); 3];
        assert_eq!(kept(large).len(), 2);
        assert_eq!(kept(vec![of_size(20); MAX_PIECES + 1]).len(), MAX_PIECES);
    }
}

//! Files given to an agent: read, told apart, and checked against what its models take.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use seaworthy::agent::Agent;
use seaworthy::files::{self, Attachment, MAX_FILE_BYTES};

use crate::error::CliError;

/// The file at `path`, as an agent gets it.
pub(crate) fn read(path: &Path) -> Result<Attachment, CliError> {
    let wrong = |why: String| CliError::Usage(format!("--attach {}: {why}", path.display()));
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .ok_or_else(|| wrong("it is no file".to_owned()))?;
    let unreadable = |error: std::io::Error| wrong(format!("it cannot be read: {error}"));
    // A pipe or a device may have no end, and opening one may wait for ever.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(wrong("it is no file".to_owned()));
    }
    let mut bytes = Vec::new();
    let limit = (MAX_FILE_BYTES as u64).saturating_add(1);
    File::open(path)
        .map_err(unreadable)?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    let media_type = media_type(&bytes, extension).ok_or_else(|| {
        wrong(
            "what it is cannot be told by its content or its extension; images (PNG, JPEG, GIF, WebP), audio (WAV, MP3, \
             Ogg, FLAC), PDF and UTF-8 text can be attached"
                .to_owned(),
        )
    })?;
    let attachment = Attachment {
        media_type: media_type.to_owned(),
        name: Some(name),
        bytes: bytes.into(),
    };
    // What is wrong with one file is said before others are read.
    files::check(std::slice::from_ref(&attachment)).map_err(|error| wrong(error.to_string()))?;
    Ok(attachment)
}

/// Refuses files that none of the agent's models takes, as far as anybody has said.
pub(crate) fn check(agent: &Agent, attached: &[Attachment]) -> Result<(), CliError> {
    files::check(attached).map_err(|error| CliError::Usage(error.to_string()))?;
    for file in attached {
        if let Some(missing) = agent.cannot_take(&file.media_type) {
            return Err(CliError::Usage(format!(
                "--attach {}: model {:?} takes no {} (it has no `{missing}`); give it another with --model {}=PROVIDER:MODEL",
                file.name.as_deref().unwrap_or_default(),
                agent.model.alias,
                file.media_type,
                agent.model.alias
            )));
        }
    }
    Ok(())
}

/// What a file is: by its first bytes where they tell, else by its extension, and text where it is UTF-8.
fn media_type(bytes: &[u8], extension: Option<&str>) -> Option<&'static str> {
    if let Some(told) = by_content(bytes) {
        return Some(told);
    }
    let is_text = !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok();
    if !is_text {
        return None;
    }
    let extension = extension.unwrap_or_default().to_ascii_lowercase();
    Some(match extension.as_str() {
        "json" => "application/json",
        "yaml" | "yml" => "application/yaml",
        "toml" => "application/toml",
        "xml" => "application/xml",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "md" | "markdown" => "text/markdown",
        _ => "text/plain",
    })
}

fn by_content(bytes: &[u8]) -> Option<&'static str> {
    const STARTS: [(&[u8], &str); 9] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"%PDF-", "application/pdf"),
        (b"ID3", "audio/mpeg"),
        (b"OggS", "audio/ogg"),
        (b"fLaC", "audio/flac"),
        (b"\xff\xfb", "audio/mpeg"),
    ];
    let is_riff = bytes.starts_with(b"RIFF");
    match bytes.get(8..12) {
        Some(b"WEBP") if is_riff => return Some("image/webp"),
        Some(b"WAVE") if is_riff => return Some("audio/wav"),
        _ => {}
    }
    STARTS
        .iter()
        .find(|(start, _)| bytes.starts_with(start))
        .map(|(_, media_type)| *media_type)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_is_what_its_first_bytes_say_whatever_it_is_called() {
        for (bytes, media_type) in [
            (&b"\x89PNG\r\n\x1a\n rest"[..], "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF89a", "image/gif"),
            (b"RIFF....WEBPVP8 ", "image/webp"),
            (b"RIFF....WAVEfmt ", "audio/wav"),
            (b"ID3\x04", "audio/mpeg"),
            (b"%PDF-1.7", "application/pdf"),
        ] {
            for extension in [None, Some("txt"), Some("png")] {
                assert_eq!(super::media_type(bytes, extension), Some(media_type));
            }
        }
    }

    #[test]
    fn text_is_told_apart_by_its_extension_and_anything_else_is_not_guessed() {
        let of = |bytes: &[u8], extension| super::media_type(bytes, extension);
        assert_eq!(of(b"a: 1", Some("YAML")), Some("application/yaml"));
        assert_eq!(of(b"a,b", Some("csv")), Some("text/csv"));
        assert_eq!(of(b"fn main() {}", Some("rs")), Some("text/plain"));
        assert_eq!(of("größer".as_bytes(), None), Some("text/plain"));
        assert_eq!(of(b"\x7fELF\x02\x00", Some("txt")), None);
        assert_eq!(of(b"caf\xe9", Some("txt")), None);
        // A name alone does not make an image.
        assert_eq!(of(b"\x00\x01", Some("png")), None);
    }
}

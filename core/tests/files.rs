//! Which files can be given to a run.

use bytes::Bytes;
use seaworthy_core::files::{
    Attachment, InvalidFile, MAX_FILE_BYTES, MAX_FILES, MAX_SENT_BYTES, MAX_TEXT_BYTES, capability,
    check, is_text,
};
use seaworthy_ports::Digest;

fn file(media_type: &str, bytes: &[u8]) -> Attachment {
    Attachment {
        media_type: media_type.to_owned(),
        name: Some("it".to_owned()),
        bytes: Bytes::copy_from_slice(bytes),
    }
}

fn zeroes(media_type: &str, count: usize) -> Attachment {
    file(media_type, &vec![0; count])
}

#[test]
fn a_file_is_named_by_the_digest_of_its_bytes() {
    let kept = check(&[file("image/png", b"picture")]).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].bytes, kept[0].digest), (7, Digest::of(b"picture")));
    assert_eq!(check(&[]), Ok(Vec::new()));
}

#[test]
fn too_many_too_large_and_empty_files_are_refused() {
    let many = vec![file("image/png", b"x"); MAX_FILES + 1];
    assert_eq!(check(&many), Err(InvalidFile::TooMany(MAX_FILES + 1)));
    assert!(check(&many[1..]).is_ok());
    for (media_type, most) in [
        ("image/png", MAX_FILE_BYTES),
        ("text/plain", MAX_TEXT_BYTES),
    ] {
        assert!(check(&[zeroes(media_type, most)]).is_ok());
        assert!(matches!(
            check(&[zeroes(media_type, most + 1)]),
            Err(InvalidFile::TooLarge { most: named, .. }) if named == most
        ));
    }
    let half = zeroes("image/png", MAX_SENT_BYTES / 2 + 1);
    assert!(matches!(
        check(&[half.clone(), half]),
        Err(InvalidFile::TooMuch(_))
    ));
    assert!(matches!(
        check(&[file("image/png", b"")]),
        Err(InvalidFile::Empty(_))
    ));
}

#[test]
fn what_is_no_media_type_no_name_or_no_text_is_refused() {
    for wrong in ["", "png", "/png", "image/", "image/p\nng"] {
        assert!(
            matches!(check(&[file(wrong, b"x")]), Err(InvalidFile::Word(_))),
            "{wrong:?}"
        );
    }
    let mut long = file("image/png", b"x");
    long.name = Some("n".repeat(256));
    assert!(matches!(check(&[long]), Err(InvalidFile::Word(_))));
    assert!(matches!(
        check(&[file("text/plain", b"caf\xe9")]),
        Err(InvalidFile::NoText(_))
    ));
    assert!(check(&[file("application/pdf", b"caf\xe9")]).is_ok());
}

#[test]
fn every_model_takes_text_and_other_files_need_what_models_may_lack() {
    assert!(is_text("text/csv") && is_text("application/json"));
    for (media_type, needed) in [
        ("text/plain", None),
        ("application/json", None),
        ("image/png", Some("vision_input")),
        ("audio/wav", Some("audio_input")),
        ("application/pdf", Some("file_input")),
        ("video/mp4", Some("file_input")),
    ] {
        assert_eq!(capability(media_type), needed, "{media_type}");
    }
}

//! What nobody may guess: the proof of who asked for a code (PKCE), and the mark by which an answer is known.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::error::Fault;

/// 256 random bits as letters that addresses may have.
pub(super) fn word() -> Result<String, Fault> {
    let mut bits = [0; 32];
    SystemRandom::new()
        .fill(&mut bits)
        .map_err(|_error| Fault::Unsupported("the platform gives no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}

/// What is shown of a word before it is.
pub(super) fn digest_of(word: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_standard() {
        // RFC 7636, appendix B.
        let challenge = digest_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn words_are_long_and_differ() {
        let (one, two) = (word().unwrap(), word().unwrap());
        assert_eq!(one.len(), 43);
        assert_ne!(one, two);
    }
}

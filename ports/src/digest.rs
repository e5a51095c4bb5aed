//! Content addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const PREFIX: &str = "sha256:";
const TEXT_BYTES: usize = PREFIX.len() + 64;

/// The SHA-256 of some bytes, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// The text is not `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no digest: expected sha256: and 64 lower-case hexadecimal digits")]
pub struct InvalidDigest(String);

#[cfg(not(feature = "ring"))]
fn sha256(bytes: &[u8]) -> [u8; 32] {
    portable(bytes)
}

#[cfg(feature = "ring")]
fn sha256(bytes: &[u8]) -> [u8; 32] {
    let sum = ring::digest::digest(&ring::digest::SHA256, bytes);
    // It has 32 bytes.
    sum.as_ref()
        .try_into()
        .unwrap_or_else(|_other| portable(bytes))
}

fn portable(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha256(bytes))
    }

    /// A digest computed elsewhere, while streaming.
    #[must_use]
    pub const fn from_sha256(sum: [u8; 32]) -> Self {
        Self(sum)
    }

    /// Its one form, written into `text`.
    fn text<'a>(&self, text: &'a mut [u8; TEXT_BYTES]) -> &'a str {
        let (prefix, digits) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        let digit = |half: u8| {
            if half < 10 {
                b'0' + half
            } else {
                b'a' + half - 10
            }
        };
        let (pairs, _none) = digits.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 0x0f)];
        }
        str::from_utf8(text).unwrap_or_default()
    }

    /// The 64 hexadecimal digits alone.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let mut text = [0; TEXT_BYTES];
        let text = self.text(&mut text);
        text.get(PREFIX.len()..).unwrap_or_default().to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TEXT_BYTES];
        f.write_str(self.text(&mut text))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDigest(text.chars().take(80).collect());
        let digits = text.strip_prefix(PREFIX).ok_or_else(invalid)?;
        if digits.len() != 64 || digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid());
        }
        let mut sum = [0; 32];
        hex::decode_to_slice(digits, &mut sum).map_err(|_error| invalid())?;
        Ok(Self(sum))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; TEXT_BYTES];
        serializer.serialize_str(self.text(&mut text))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sha256: and 64 lower-case hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_is_the_sha_256_of_the_bytes() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_ne!(Digest::of(b"a"), Digest::of(b"b"));
    }

    #[test]
    fn a_digest_is_the_same_whatever_computes_it() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(1_000).collect();
        for length in 0..bytes.len() {
            let bytes = &bytes[..length];
            assert_eq!(Digest::of(bytes).0, portable(bytes), "{length}");
        }
    }

    #[test]
    fn a_digest_has_one_form() {
        assert_eq!(EMPTY.parse(), Ok(Digest::of(b"")));
        let hex = Digest::of(b"").to_hex();
        let refused = [
            String::new(),
            hex.clone(),
            format!("sha1:{hex}"),
            EMPTY.to_uppercase(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha256:../{}", &hex[3..]),
            format!("sha256:{}\0", &hex[1..]),
            "sha256:".to_owned() + &"é".repeat(32),
        ];
        for text in refused {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_digest_that_is_read_is_checked() {
        let json = serde_json::to_string(&Digest::of(b"")).unwrap();
        assert_eq!(
            serde_json::from_str::<Digest>(&json).unwrap(),
            Digest::of(b"")
        );
        assert!(serde_json::from_str::<Digest>("\"sha256:00\"").is_err());
    }
}

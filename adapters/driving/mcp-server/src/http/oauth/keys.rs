//! The keys of an issuer, and what they have signed.
//!
//! Only asymmetric signatures are known here: a token that says it was signed otherwise, or not at all, fits no key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of an issuer.
const MAX_KEYS: usize = 64;
/// The most bytes of an RSA key's modulus: 8192 bits.
const MAX_MODULUS_BYTES: usize = 1024;
/// The most bytes of an RSA key's exponent.
const MAX_EXPONENT_BYTES: usize = 8;
/// The bytes of one coordinate on the curve P-256, and of a key on Ed25519.
const POINT_BYTES: usize = 32;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// `None`: it is none of those that are taken.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "PS256" => Self::Ps256,
            "ES256" => Self::Es256,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// What a key is made of.
#[derive(Debug, PartialEq, Eq)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Material {
    const fn can(&self, algorithm: Algorithm) -> bool {
        matches!(
            (self, algorithm),
            (Self::Rsa { .. }, Algorithm::Rs256 | Algorithm::Ps256)
                | (Self::P256(_), Algorithm::Es256)
                | (Self::Ed25519(_), Algorithm::EdDsa)
        )
    }
}

/// A key that signatures are checked with.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// The only way in which the key signs, if it says so.
    only: Option<Algorithm>,
    material: Material,
}

impl Key {
    /// Reads a key. `None`: it is for something else than signatures of tokens, or of a kind that is not taken.
    fn read(key: Value) -> Option<Self> {
        let key: Jwk = serde_json::from_value(key).ok()?;
        let is_for_signatures = key
            .purpose
            .as_deref()
            .is_none_or(|purpose| purpose == "sig")
            && key
                .operations
                .is_none_or(|all| all.iter().any(|one| one == "verify"));
        if !is_for_signatures {
            return None;
        }
        let only = match key.algorithm.as_deref() {
            Some(name) => Some(Algorithm::parse(name)?),
            None => None,
        };
        let material = match (key.kind.as_str(), key.curve.as_deref()) {
            ("RSA", _) => Material::Rsa {
                modulus: number(key.modulus.as_deref()?, MAX_MODULUS_BYTES)?,
                exponent: number(key.exponent.as_deref()?, MAX_EXPONENT_BYTES)?,
            },
            ("EC", Some("P-256")) => {
                let (x, y) = (point(key.x.as_deref()?)?, point(key.y.as_deref()?)?);
                Material::P256([&[4], x.as_slice(), y.as_slice()].concat())
            }
            ("OKP", Some("Ed25519")) => Material::Ed25519(point(key.x.as_deref()?)?),
            _ => return None,
        };
        Some(Self {
            id: key.id,
            only,
            material,
        })
    }

    fn fits(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        self.material.can(algorithm)
            && self.only.is_none_or(|only| only == algorithm)
            && id.is_none_or(|id| self.id.as_deref() == Some(id))
    }

    fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let checked = match (&self.material, algorithm) {
            (Material::Rsa { modulus, exponent }, Algorithm::Rs256 | Algorithm::Ps256) => {
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                let way = match algorithm {
                    Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA256,
                };
                key.verify(way, message, signature)
            }
            (Material::P256(point), Algorithm::Es256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (Material::Ed25519(point), Algorithm::EdDsa) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
            _ => return false,
        };
        checked.is_ok()
    }
}

/// A key as it is published.
#[derive(Deserialize)]
struct Jwk {
    #[serde(rename = "kty")]
    kind: String,
    #[serde(rename = "kid")]
    id: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    #[serde(rename = "key_ops")]
    operations: Option<Vec<String>>,
    #[serde(rename = "alg")]
    algorithm: Option<String>,
    #[serde(rename = "crv")]
    curve: Option<String>,
    #[serde(rename = "n")]
    modulus: Option<String>,
    #[serde(rename = "e")]
    exponent: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A number without zeros in front, which no key needs and `ring` does not take.
fn number(text: &str, most: usize) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let start = bytes.iter().position(|byte| *byte != 0)?;
    let bytes = bytes.get(start..)?;
    (bytes.len() <= most).then(|| bytes.to_vec())
}

fn point(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    (bytes.len() == POINT_BYTES).then_some(bytes)
}

/// What an issuer signs with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keys(Vec<Key>);

impl Keys {
    /// Reads a set of keys. Those that nothing here can be signed with are passed over.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn read(json: &[u8]) -> Result<Self, &'static str> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|_error| "its keys are no key set")?;
        if set.keys.len() > MAX_KEYS {
            return Err("it has more keys than an issuer needs");
        }
        let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err("it has no key for RS256, PS256, ES256 or EdDSA");
        }
        Ok(Self(keys))
    }

    /// Whether a signature by key `id` could be checked.
    pub(super) fn have(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        self.0.iter().any(|key| key.fits(algorithm, id))
    }

    /// Whether one of the keys that go by `id` has signed `message`; all of them where there is no id.
    pub(super) fn have_signed(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.0
            .iter()
            .filter(|key| key.fits(algorithm, id))
            .any(|key| key.has_signed(algorithm, message, signature))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ed25519() -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": URL_SAFE_NO_PAD.encode([7; 32]) })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut key = ed25519();
        key[name] = value;
        key
    }

    #[test]
    fn keys_that_sign_no_tokens_are_passed_over() {
        for other in [
            with("use", json!("enc")),
            with("key_ops", json!(["sign"])),
            with("alg", json!("HS256")),
            with("crv", json!("X25519")),
            with("x", json!("AAAA")),
            with("x", json!("not base64 !")),
            with("kty", json!("oct")),
            json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }),
            json!({ "kty": "RSA", "n": "AQAB" }),
            json!({ "kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([9; 1025]) }),
            json!({ "kty": "EC", "crv": "P-384", "x": "AAAA", "y": "AAAA" }),
            json!("a key"),
        ] {
            let alone = json!({ "keys": [other.clone()] }).to_string();
            assert!(Keys::read(alone.as_bytes()).is_err(), "{other}");
            let both = json!({ "keys": [other, ed25519()] }).to_string();
            let keys = Keys::read(both.as_bytes()).unwrap();
            assert_eq!(keys.0.len(), 1);
            assert!(keys.have(Algorithm::EdDsa, Some("a")));
        }
    }

    #[test]
    fn a_key_signs_only_as_it_says() {
        let rsa = json!({ "kty": "RSA", "alg": "PS256", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([9; 256]) });
        let set = json!({ "keys": [rsa, with("use", json!("sig"))] }).to_string();
        let keys = Keys::read(set.as_bytes()).unwrap();
        assert!(keys.have(Algorithm::Ps256, None));
        assert!(!keys.have(Algorithm::Rs256, None));
        assert!(!keys.have(Algorithm::Ps256, Some("a")));
        assert!(!keys.have(Algorithm::EdDsa, Some("b")));
    }

    #[test]
    fn a_set_is_bounded() {
        let of = |many| json!({ "keys": vec![ed25519(); many] }).to_string();
        assert!(Keys::read(of(MAX_KEYS).as_bytes()).is_ok());
        assert!(Keys::read(of(MAX_KEYS + 1).as_bytes()).is_err());
        assert!(Keys::read(b"{}").is_err());
        assert!(Keys::read(b"<html>").is_err());
    }
}

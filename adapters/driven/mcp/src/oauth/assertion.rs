//! A client that proves who it is by signing (RFC 7523).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use seaworthy_ports::Secret;
use serde_json::json;

use super::chance::word;
use crate::error::Fault;

/// How long an assertion is good for, in seconds.
const VALID: i64 = 300;

enum Key {
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    fn read(pem: &Secret) -> Result<Self, Fault> {
        const UNFIT: Fault =
            Fault::Rejected("the client's key is no P-256 or RSA key in PEM (PKCS #8)");
        let text = pem.expose();
        let body = text
            .split_once("-----BEGIN PRIVATE KEY-----")
            .and_then(|(_before, rest)| rest.split_once("-----END PRIVATE KEY-----"))
            .ok_or(UNFIT)?;
        let letters: String = body.0.split_ascii_whitespace().collect();
        let der = STANDARD.decode(letters).map_err(|_error| UNFIT)?;
        let random = SystemRandom::new();
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random) {
            return Ok(Self::P256(key));
        }
        RsaKeyPair::from_pkcs8(&der)
            .map(Self::Rsa)
            .map_err(|_error| UNFIT)
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, Fault> {
        const FAILED: Fault = Fault::Unsupported("the client's key does not sign");
        let random = SystemRandom::new();
        match self {
            Self::P256(key) => key
                .sign(&random, text)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_error| FAILED),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
                    .map_err(|_error| FAILED)?;
                Ok(signature)
            }
        }
    }
}

/// What `client` shows the authorisation server `issuer`, once, at `now` (seconds since the Unix epoch).
pub(super) fn assertion(
    client: &str,
    issuer: &str,
    key: &Secret,
    now: i64,
) -> Result<Secret, Fault> {
    let key = Key::read(key)?;
    let head = json!({"alg": key.algorithm(), "typ": "JWT"});
    let claims = json!({
        "iss": client,
        "sub": client,
        "aud": issuer,
        "jti": word()?,
        "iat": now,
        "exp": now.saturating_add(VALID),
    });
    let part = |part: String| URL_SAFE_NO_PAD.encode(part);
    let signed = format!("{}.{}", part(head.to_string()), part(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())?);
    Ok(Secret::new(format!("{signed}.{signature}")))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_assertion_is_signed_and_says_who_for_whom_and_until_when() {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random)
                .unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(made.as_ref())
        );
        let made = assertion("me", "https://as.example", &Secret::new(pem), 1000).unwrap();
        let (signed, signature) = made.expose().rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key());
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        public.verify(signed.as_bytes(), &signature).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1);
        let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"]),
            (&json!("me"), &json!("me"), &json!("https://as.example"))
        );
        assert_eq!(
            (&claims["iat"], &claims["exp"]),
            (&json!(1000), &json!(1300))
        );
    }

    #[test]
    fn what_is_no_key_is_refused_unseen() {
        let pem = "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----";
        for text in ["", "canary", pem] {
            let refused = assertion("me", "https://as.example", &Secret::new(text), 0);
            assert!(matches!(refused, Err(Fault::Rejected(_))), "{text}");
        }
    }
}

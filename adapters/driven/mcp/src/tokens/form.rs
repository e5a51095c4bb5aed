//! How tokens are written into a file. The version goes up when an older reader would misunderstand it.

use seaworthy_ports::mcp::{OAuthRegistration, OAuthTokens};
use seaworthy_ports::{Secret, Timestamp};
use serde::{Deserialize, Serialize};

use crate::oauth::is_token;

const VERSION: u32 = 1;
/// The longest text that is no token, and the most scopes.
const LONGEST: usize = 4 * 1024;
const MOST_SCOPES: usize = 128;

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// What they are for: a file that is moved is not read.
    name: String,
    access: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh: Option<String>,
    /// Milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<i64>,
    issuer: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registration: Option<Registered>,
}

#[derive(Serialize, Deserialize)]
struct Registered {
    client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<String>,
}

pub(super) fn written(name: &str, tokens: &OAuthTokens) -> String {
    let text = |secret: &Secret| secret.expose().to_owned();
    let kept = Kept {
        version: VERSION,
        name: name.to_owned(),
        access: text(&tokens.access),
        refresh: tokens.refresh.as_ref().map(text),
        expires: tokens.expires.map(Timestamp::as_millis),
        issuer: tokens.issuer.clone(),
        scopes: tokens.scopes.clone(),
        registration: tokens.registration.as_ref().map(|known| Registered {
            client_id: known.client_id.clone(),
            secret: known.secret.as_ref().map(text),
            method: known.method.clone(),
        }),
    };
    // Text, numbers and lists of text: there is nothing that JSON has no form for.
    serde_json::to_string_pretty(&kept).unwrap_or_default()
}

/// `None`: that is not what [`written`] writes.
pub(super) fn read(name: &str, text: &str) -> Option<OAuthTokens> {
    let kept: Kept = serde_json::from_str(text).ok()?;
    let registration = kept.registration.map(|known| OAuthRegistration {
        client_id: known.client_id,
        secret: known.secret.map(Secret::new),
        method: known.method,
    });
    let tokens = OAuthTokens {
        access: Secret::new(kept.access),
        refresh: kept.refresh.map(Secret::new),
        expires: kept.expires.map(Timestamp::from_millis),
        issuer: kept.issuer,
        scopes: kept.scopes,
        registration,
    };
    let registered = tokens.registration.as_ref();
    let is_sound = kept.version == VERSION
        && kept.name == name
        && is_token(&tokens.access)
        && tokens.refresh.as_ref().is_none_or(is_token)
        && tokens.issuer.len() <= LONGEST
        && tokens.scopes.len() <= MOST_SCOPES
        && tokens.scopes.iter().all(|scope| scope.len() <= LONGEST)
        && registered.is_none_or(|known| known.client_id.len() <= LONGEST);
    is_sound.then_some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 1 wrote it.
    const FIRST: &str = r#"{
  "version": 1,
  "name": "n",
  "access": "a",
  "refresh": "r",
  "expires": 5,
  "issuer": "https://as.example",
  "scopes": ["x", "y"],
  "registration": { "client_id": "c", "secret": "s", "method": "client_secret_post" }
}"#;

    #[test]
    fn what_was_written_is_read() {
        let tokens = read("n", FIRST).unwrap();
        assert_eq!(read("n", &written("n", &tokens)), Some(tokens.clone()));
        assert_eq!(tokens.expires, Some(Timestamp::from_millis(5)));
        assert_eq!(tokens.scopes, ["x", "y"]);
        assert_eq!(tokens.refresh, Some(Secret::new("r")));
    }

    #[test]
    fn what_is_none_is_not_read() {
        assert_eq!(read("other", FIRST), None);
        for (from, to) in [
            ("\"version\": 1", "\"version\": 2"),
            ("\"a\"", "\"\""),
            ("\"a\"", "\"two\\nlines\""),
            ("\"r\"", "\"\""),
            ("\"https://as.example\"", "5"),
            ("{", ""),
        ] {
            assert_eq!(read("n", &FIRST.replacen(from, to, 1)), None, "{from}");
        }
        let long = "x".repeat(LONGEST + 1);
        let many = format!("[{}\"x\"]", "\"x\", ".repeat(MOST_SCOPES));
        for (from, to) in [
            ("https://as.example", &long),
            ("[\"x\", \"y\"]", &many),
            ("\"y\"", &format!("\"{long}\"")),
            (
                "\"client_id\": \"c\"",
                &format!("\"client_id\": \"{long}\""),
            ),
        ] {
            assert_eq!(read("n", &FIRST.replacen(from, to, 1)), None, "{from}");
        }
    }
}

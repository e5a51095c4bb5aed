//! Keeps secrets out of cassettes: what is known is replaced, and what is left is looked through before anything is written.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use seaworthy_ports::Secret;
use serde_json::Value;

use crate::exchange::{Exchange, Said};

/// How keys of well-known services begin. What follows has at least [`KEY_LETTERS`] letters.
const KEYS: [&str; 9] = [
    "sk-",
    "AIza",
    "ghp_",
    "gho_",
    "github_pat_",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "glpat-",
];
const KEY_LETTERS: usize = 16;

/// What is replaced by what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrubber {
    secrets: Vec<Secret>,
    places: Vec<(String, String)>,
}

impl Scrubber {
    pub(crate) fn hide(&mut self, secret: Secret) {
        if !secret.expose().is_empty() {
            self.secrets.push(secret);
        }
    }

    pub(crate) fn rename(&mut self, text: String, name: &str) {
        if !text.is_empty() {
            self.places.push((text, format!("<{name}>")));
        }
    }

    pub(crate) fn text(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            clean = clean.replace(secret.expose(), "<secret>");
        }
        for (place, name) in &self.places {
            clean = clean.replace(place, name);
        }
        clean
    }

    pub(crate) fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => {
                let members = members.into_iter();
                Value::Object(
                    members
                        .map(|(name, item)| (self.text(&name), self.value(item)))
                        .collect(),
                )
            }
            other => other,
        }
    }

    /// An answer without what is known. A secret that is split over fragments is found in the block's whole text, which
    /// then is one fragment.
    pub(crate) fn said(&self, said: Vec<Said>) -> Result<Vec<Said>, serde_json::Error> {
        let whole = |of: u32| -> String {
            let parts = said.iter().filter_map(|said| match said {
                Said::BlockDelta { block, delta } if *block == of => Some(delta.as_str()),
                _ => None,
            });
            parts.collect()
        };
        let mut joined = Vec::new();
        let mut clean = Vec::with_capacity(said.len());
        for one in &said {
            let Said::BlockDelta { block, .. } = one else {
                let value = self.value(serde_json::to_value(one)?);
                clean.push(serde_json::from_value(value)?);
                continue;
            };
            if joined.contains(block) {
                continue;
            }
            let text = whole(*block);
            let scrubbed = self.text(&text);
            if scrubbed == text {
                clean.push(one.clone());
            } else {
                joined.push(*block);
                clean.push(Said::BlockDelta {
                    block: *block,
                    delta: scrubbed,
                });
            }
        }
        Ok(clean)
    }

    /// The question or answer in which something is left that looks like a secret, if there is one: its number, and in
    /// which words it was found. Never the secret.
    pub(crate) fn suspicion(&self, exchanges: &[Exchange]) -> Option<(usize, &'static str)> {
        exchanges.iter().enumerate().find_map(|(number, exchange)| {
            let text = serde_json::to_string(exchange).unwrap_or_default();
            let joined = exchange.said.iter().filter_map(|said| match said {
                Said::BlockDelta { delta, .. } => Some(delta.as_str()),
                _ => None,
            });
            let joined: String = joined.collect();
            self.found(&text)
                .or_else(|| self.found(&joined))
                .map(|what| (number, what))
        })
    }

    fn found(&self, text: &str) -> Option<&'static str> {
        for secret in &self.secrets {
            let plain = secret.expose();
            let escaped = serde_json::to_string(plain).unwrap_or_default();
            if text.contains(plain) || text.contains(escaped.trim_matches('"')) {
                return Some("a secret that was named");
            }
            let encoded = [
                STANDARD.encode(plain),
                STANDARD_NO_PAD.encode(plain),
                URL_SAFE_NO_PAD.encode(plain),
            ];
            if encoded
                .iter()
                .any(|encoded| text.contains(encoded.as_str()))
            {
                return Some("a secret that was named, in Base64");
            }
        }
        let is_key = |begin: &&str| {
            text.match_indices(begin).any(|(at, begin)| {
                let before = text.get(..at).and_then(|before| before.chars().next_back());
                let rest = text
                    .get(at.saturating_add(begin.len())..)
                    .unwrap_or_default();
                let letters = rest
                    .bytes()
                    .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
                before.is_none_or(|before| !before.is_alphanumeric())
                    && letters.count() >= KEY_LETTERS
            })
        };
        KEYS.iter().any(is_key).then_some("what begins like a key")
    }
}

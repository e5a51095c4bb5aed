//! `auth: { type: oauth }` of a server.

use super::aliases::optional;
use super::error::{Reporter, codes};
use super::fields::{Fields, sequence, shown, text};
use super::server::{ServerGrant, ServerOAuth, ServerProof};
use super::servers::{MAX_URL, secret_at};
use super::yaml::Node;

/// The most scopes, and the most bytes of each.
const MAX_SCOPES: usize = 64;
const MAX_SCOPE: usize = 256;

pub(super) const KEYS: [&str; 7] = [
    "type",
    "grant",
    "client",
    "secret",
    "private_key",
    "issuer",
    "scopes",
];

pub(super) fn oauth(fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> Option<ServerOAuth> {
    const GRANTS: [(&str, ServerGrant); 2] = [
        ("authorization_code", ServerGrant::AuthorizationCode),
        ("client_credentials", ServerGrant::ClientCredentials),
    ];
    let grant = match fields.word("grant", &GRANTS, reporter) {
        Some(grant) => grant?,
        None => ServerGrant::AuthorizationCode,
    };
    let client = optional(fields, "client", reporter, |node, path, reporter| {
        text(node, path, reporter).map(str::to_owned)
    })?;
    let issuer = optional(fields, "issuer", reporter, issuer)?;
    let scopes = optional(fields, "scopes", reporter, scopes)?;
    let secret = match fields.get("secret") {
        Some(_node) => Some(secret_at(fields, "secret", reporter)?),
        None => None,
    };
    let key = match fields.get("private_key") {
        Some(_node) => Some(secret_at(fields, "private_key", reporter)?),
        None => None,
    };
    let mut wrong = |why: &str| {
        let message = format!("`{}` {why}", fields.path("type"));
        reporter.report(fields.at(), codes::INVALID_VALUE, message);
        None
    };
    let proof = match (secret, key) {
        (Some(_), Some(_)) => {
            return wrong(
                "has both `secret` and `private_key`; a client proves who it is in one way",
            );
        }
        (Some(secret), None) => Some(ServerProof::Secret(secret)),
        (None, Some(key)) => Some(ServerProof::PrivateKey(key)),
        (None, None) => None,
    };
    if grant == ServerGrant::ClientCredentials && (client.is_none() || proof.is_none()) {
        return wrong(
            "with `grant: client_credentials` needs `client`, and `secret` or `private_key`: nobody else proves who it is",
        );
    }
    if proof.is_some() && (client.is_none() || issuer.is_none()) {
        return wrong(
            "with `secret` or `private_key` needs `client` and `issuer`, the authorisation server that they are for: a \
             server names whom it likes",
        );
    }
    Some(ServerOAuth {
        grant,
        client,
        proof,
        issuer,
        scopes: scopes.unwrap_or_default(),
    })
}

fn issuer(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<String> {
    let issuer = text(node, path, reporter)?;
    let here = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
    let is_place =
        issuer.starts_with("https://") || here.iter().any(|here| issuer.starts_with(here));
    let is_plain = !issuer.contains(|letter: char| {
        matches!(letter, '@' | '?' | '#') || letter.is_whitespace() || letter.is_control()
    });
    if is_place && is_plain && issuer.len() <= MAX_URL {
        return Some(issuer.to_owned());
    }
    let message = format!(
        "`{path}` must be the address of an authorisation server, such as `https://login.example.com`"
    );
    reporter.report(node.at, codes::INVALID_VALUE, message);
    None
}

fn scopes(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Vec<String>> {
    let is_letter = |letter: u8| matches!(letter, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let mut scopes = Vec::new();
    for node in sequence(node, path, "[read]", reporter)? {
        let scope = text(node, path, reporter)?;
        let is_scope =
            !scope.is_empty() && scope.len() <= MAX_SCOPE && scope.bytes().all(is_letter);
        if !is_scope || scopes.len() == MAX_SCOPES {
            let message = format!("`{path}`: `{}` is no scope, or one too many", shown(scope));
            reporter.report(node.at, codes::INVALID_VALUE, message);
            return None;
        }
        scopes.push(scope.to_owned());
    }
    Some(scopes)
}

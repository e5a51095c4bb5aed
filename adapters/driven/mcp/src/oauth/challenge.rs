//! What a server says when it does not take a token: the header `WWW-Authenticate`.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// The most bytes of the header, the most scopes and the most bytes of them.
const MOST_BYTES: usize = 8 * 1024;
const MOST_SCOPES: usize = 64;
const MOST_SCOPE_BYTES: usize = 2 * 1024;

/// What a server wants of its callers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// Where it describes itself.
    pub(super) metadata: Option<String>,
    /// What a token has to be good for.
    pub(super) scopes: Vec<String>,
    /// A token that is good for more would be taken.
    pub(crate) wants_more: bool,
}

impl Challenge {
    /// What the headers of an answer say; nothing, where they say nothing that can be read.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let said = headers.get_all(WWW_AUTHENTICATE).into_iter();
        let said = said.filter_map(|said| said.to_str().ok());
        said.filter(|said| said.len() <= MOST_BYTES)
            .find_map(Self::read)
            .unwrap_or_default()
    }

    fn read(text: &str) -> Option<Self> {
        const SCHEME: &str = "bearer";
        let lower = text.to_ascii_lowercase();
        let start = lower.match_indices(SCHEME).find_map(|(at, _)| {
            let before = text.get(..at)?.trim_end();
            let after = at + SCHEME.len();
            let is_scheme = (before.is_empty() || before.ends_with(','))
                && text
                    .get(after..)?
                    .chars()
                    .next()
                    .is_none_or(|next| next == ' ');
            is_scheme.then_some(after)
        })?;
        let mut read = Self::default();
        let mut rest = text.get(start..)?;
        while let Some((name, value, after)) = parameter(rest) {
            match name.to_ascii_lowercase().as_str() {
                "resource_metadata" => read.metadata = Some(value),
                "scope" => read.scopes = scopes(&value),
                "error" => read.wants_more = value == "insufficient_scope",
                _ => {}
            }
            rest = after;
        }
        Some(read)
    }
}

/// The next parameter of a challenge, and what stands behind it. `None`: it has no more.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let (name, rest) = text.split_once('=')?;
    let name = name.trim();
    // A name with something in it is the next scheme's.
    if name.is_empty() || name.contains([' ', ',', '"']) {
        return None;
    }
    let rest = rest.trim_start();
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([',', ' ']).unwrap_or(rest.len());
        let (value, rest) = rest.split_at(end);
        return Some((name, value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((name, value, quoted.get(at + 1..)?)),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

/// The scopes of a list, as far as they are any.
pub(super) fn scopes(text: &str) -> Vec<String> {
    let is_letter = |letter: u8| matches!(letter, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let mut scopes: Vec<String> = Vec::new();
    let mut bytes = 0;
    for scope in text.split(' ') {
        bytes += scope.len();
        if scopes.len() == MOST_SCOPES || bytes > MOST_SCOPE_BYTES {
            break;
        }
        let is_scope = !scope.is_empty() && scope.bytes().all(is_letter);
        if is_scope && !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(metadata: Option<&str>, scopes: &[&str], wants_more: bool) -> Challenge {
        Challenge {
            metadata: metadata.map(str::to_owned),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            wants_more,
        }
    }

    fn said(texts: &[&str]) -> Challenge {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn a_challenge_is_read_however_it_is_written() {
        let full = challenge(Some("https://x.example/m"), &["a", "b:c"], true);
        for text in [
            r#"Bearer resource_metadata="https://x.example/m", scope="a b:c", error="insufficient_scope""#,
            r#"bearer  error=insufficient_scope,scope="a  b:c a" ,resource_metadata="https://x.example/m""#,
            r#"Basic realm="bearer x", Bearer error="insufficient_scope", error_description="\"no\"", scope="a b:c", resource_metadata=https://x.example/m, Digest realm="d", scope="z""#,
        ] {
            assert_eq!(said(&[text]), full, "{text}");
        }
        assert_eq!(said(&["Basic realm=x", "Bearer scope=a"]).scopes, ["a"]);
    }

    #[test]
    fn what_is_no_challenge_says_nothing() {
        let long = format!("Bearer scope=\"{}\"", "a ".repeat(MOST_BYTES));
        for text in [
            "",
            "Basic scope=a",
            "Bearer",
            "Bearer scope",
            "Bearer scope=\"a",
            "Bearers scope=a",
            long.as_str(),
        ] {
            assert_eq!(said(&[text]), Challenge::default(), "{text}");
        }
        assert_eq!(scopes(&"ab ".repeat(2000)), ["ab"]);
        let many: Vec<String> = (0..500).map(|number| number.to_string()).collect();
        assert_eq!(scopes(&many.join(" ")).len(), MOST_SCOPES);
        let wide: Vec<String> = (0..60).map(|number| format!("{number:0>128}")).collect();
        let taken = MOST_SCOPE_BYTES / 128;
        assert_eq!(scopes(&wide.join(" ")).len(), taken);
    }
}

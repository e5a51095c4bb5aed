//! Strings of frames, without copies.

use std::borrow::Cow;
use std::ops::Deref;

use serde::Deserialize;

/// A string that stays where it is in its frame, unless letters of it are escaped there.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Lent<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Lent<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_copied_only_where_letters_are_escaped() {
        #[derive(Deserialize)]
        struct Both<'a> {
            #[serde(borrow)]
            plain: Option<Lent<'a>>,
            #[serde(borrow)]
            escaped: Option<Lent<'a>>,
        }
        let both: Both<'_> = serde_json::from_str(r#"{"plain":"a","escaped":"\u0062"}"#).unwrap();
        let (plain, escaped) = (both.plain.unwrap(), both.escaped.unwrap());
        assert_eq!((&*plain, &*escaped), ("a", "b"));
        assert!(matches!(plain.0, Cow::Borrowed(_)));
        assert!(matches!(escaped.0, Cow::Owned(_)));
    }
}

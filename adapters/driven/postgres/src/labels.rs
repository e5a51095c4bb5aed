//! Labels as the database keeps them: one JSON object. PostgreSQL has no character NUL in its texts, so it is written with
//! an escape.

use seaworthy_ports::state_store::Labels;

const ESCAPE: char = '\u{1}';

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0' => escaped.extend([ESCAPE, '0']),
            ESCAPE => escaped.extend([ESCAPE, '1']),
            other => escaped.push(other),
        }
    }
    escaped
}

fn unescaped(text: &str) -> Option<String> {
    let mut characters = text.chars();
    let mut unescaped = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        unescaped.push(match character {
            ESCAPE => match characters.next()? {
                '0' => '\0',
                '1' => ESCAPE,
                _ => return None,
            },
            other => other,
        });
    }
    Some(unescaped)
}

/// A name or a value as the table of labels has it.
pub(crate) fn part(text: &str) -> String {
    escaped(text)
}

/// All labels, in their order: equal labels are equal texts.
pub(crate) fn to_text(labels: &Labels) -> serde_json::Result<String> {
    let is_plain = |text: &str| !text.contains(['\0', ESCAPE]);
    let escaped_labels: Labels;
    let labels = if labels
        .iter()
        .all(|(name, value)| is_plain(name) && is_plain(value))
    {
        labels
    } else {
        let both = |(name, value): (&String, &String)| (escaped(name), escaped(value));
        escaped_labels = labels.iter().map(both).collect();
        &escaped_labels
    };
    serde_json::to_string(labels)
}

/// The labels of such a text, or `None` if that is not what it is.
pub(crate) fn from_text(text: &str) -> Option<Labels> {
    if text == "{}" {
        return Some(Labels::new());
    }
    let labels: Labels = serde_json::from_str(text).ok()?;
    labels
        .iter()
        .map(|(name, value)| Some((unescaped(name)?, unescaped(value)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_whatever_is_in_them() {
        let odd = [
            "",
            "a",
            "\0",
            "\u{1}",
            "\u{1}0",
            "\0\u{1}\0",
            "\"\\",
            "日本",
        ];
        let labels: Labels = odd
            .iter()
            .zip(odd.iter().rev())
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let text = to_text(&labels).expect("labels are texts");
        assert!(!text.contains("\\u0000"), "{text}");
        assert_eq!(from_text(&text), Some(labels));
        assert_eq!(to_text(&Labels::new()).expect("no labels"), "{}");
        assert_eq!(from_text("{}"), Some(Labels::new()));
    }

    #[test]
    fn what_are_no_labels_is_refused() {
        for text in [
            "",
            "[]",
            "{\"a\":1}",
            "{\"\\u0001x\":\"\"}",
            "{\"a\":\"\\u0001\"}",
        ] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }
}

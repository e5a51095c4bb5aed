//! "Did you mean …?"

/// The candidate that `text` is most likely a misspelling of.
fn closest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if text.len() > 64 {
        return None;
    }
    let most = (text.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(text, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// What to write instead of `text`: the likely candidate, or all of them.
pub(super) fn advice<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match closest(text, candidates.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if candidates.is_empty() => "there are none".to_owned(),
        None => format!("there are: {}", listed(&candidates)),
    }
}

/// The names in back quotes, with an end to the list.
pub(super) fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 30;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        text.push_str(" and more");
    }
    text
}

/// How many characters must be put in, left out or replaced to make `left` of `right` (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        let mut next = vec![before];
        for (b, above) in right.chars().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *above;
            before = replaced.min(before + 1).min(above + 1);
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{advice, distance};

    #[test]
    fn distances_are_counted_in_characters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("größe", "grösse"), 2);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn a_misspelling_gets_one_suggestion_and_anything_else_the_list() {
        assert!(
            advice("max_turn", ["entry_agent", "max_turns"]).contains("did you mean `max_turns`")
        );
        assert!(
            advice("colour", ["entry_agent", "max_turns"]).contains("`entry_agent`, `max_turns`")
        );
    }
}

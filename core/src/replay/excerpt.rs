//! Parts of texts, small enough for a record and a screen.

/// The most characters of an excerpt.
const LONGEST: usize = 240;
/// How many characters in front of a difference are shown.
const BEFORE: usize = 40;

/// The beginning of `text`; an end that is missing is marked.
pub(crate) fn excerpt(text: &str) -> String {
    from(text, 0)
}

/// What two texts have around the first difference between them.
pub(crate) fn parting(left: &str, right: &str) -> (String, String) {
    let same = left
        .chars()
        .zip(right.chars())
        .take_while(|(left, right)| left == right)
        .count();
    let start = same.saturating_sub(BEFORE);
    (from(left, start), from(right, start))
}

fn from(text: &str, start: usize) -> String {
    let mut shown = String::new();
    if start > 0 {
        shown.push('…');
    }
    let mut rest = text.chars().skip(start);
    shown.extend(rest.by_ref().take(LONGEST));
    if rest.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_cut_between_characters_and_says_so() {
        let text = "é".repeat(LONGEST + 1);
        let shown = excerpt(&text);
        assert_eq!(shown.chars().count(), LONGEST + 1);
        assert!(shown.ends_with('…'));
        assert_eq!(excerpt("short"), "short");
    }

    #[test]
    fn texts_are_shown_where_they_part() {
        let (left, right) = (
            format!("{}left", "x".repeat(1000)),
            format!("{}right", "x".repeat(1000)),
        );
        let (left, right) = parting(&left, &right);
        assert_eq!(left, format!("…{}left", "x".repeat(BEFORE)));
        assert_eq!(right, format!("…{}right", "x".repeat(BEFORE)));
    }
}

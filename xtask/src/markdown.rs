//! As much of Markdown as checking a page needs: prose, inline code, code blocks, links and headings.

/// A piece of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A link's target.
    Link(&'a str),
    /// Inline code.
    Code(&'a str),
    /// A line of a code block in this language.
    Block(&'a str, &'a str),
    /// Text between the others.
    Prose(&'a str),
}

/// The pieces of a page with their line numbers, from 1.
pub(crate) fn pieces(page: &str) -> Vec<(usize, Piece<'_>)> {
    let mut found = Vec::new();
    let mut fence: Option<(&str, &str)> = None;
    for (number, line) in (1..).zip(page.lines()) {
        let trimmed = line.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| trimmed.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => {
                let info = trimmed.trim_start_matches(['`', '~']).trim();
                let language = info.split([' ', ',', '{']).next().unwrap_or_default();
                fence = Some((mark, language));
            }
            (Some((open, _)), Some(mark)) if open == mark => fence = None,
            (Some((_, language)), _) => found.push((number, Piece::Block(language, line))),
            (None, None) => inline(line, number, &mut found),
        }
    }
    found
}

fn inline<'a>(line: &'a str, number: usize, found: &mut Vec<(usize, Piece<'a>)>) {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('`') {
        prose(before, number, found);
        let Some((code, after)) = after.split_once('`') else {
            rest = after;
            break;
        };
        if !code.is_empty() {
            found.push((number, Piece::Code(code)));
        }
        rest = after;
    }
    prose(rest, number, found);
}

/// Text with links `[…](target)`; the part before a target may be in another piece, as in a link around inline code.
fn prose<'a>(text: &'a str, number: usize, found: &mut Vec<(usize, Piece<'a>)>) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        found.push((number, Piece::Prose(before)));
        let Some((target, after)) = after.split_once(')') else {
            rest = after;
            break;
        };
        let target = target.split_whitespace().next().unwrap_or_default();
        found.push((number, Piece::Link(target)));
        rest = after;
    }
    if !rest.trim().is_empty() {
        found.push((number, Piece::Prose(rest)));
    }
}

/// The anchors of a page's headings, as GitHub makes them.
pub(crate) fn anchors(page: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found: Vec<String> = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let slug: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter_map(|letter| match letter {
                ' ' => Some('-'),
                '-' | '_' => Some(letter),
                _ => letter.is_alphanumeric().then_some(letter),
            })
            .collect();
        let repeats = found
            .iter()
            .filter(|other| **other == slug || other.starts_with(&format!("{slug}-")))
            .count();
        found.push(if found.contains(&slug) {
            format!("{slug}-{repeats}")
        } else {
            slug
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_falls_into_its_pieces() {
        let page =
            "See [the `map`](map.md#top \"title\") and `cargo xtask test`.\n```sh\n$ ls\n```\nend";
        let pieces = pieces(page);
        assert_eq!(
            pieces,
            [
                (1, Piece::Prose("See [the ")),
                (1, Piece::Code("map")),
                (1, Piece::Prose("")),
                (1, Piece::Link("map.md#top")),
                (1, Piece::Prose(" and ")),
                (1, Piece::Code("cargo xtask test")),
                (1, Piece::Prose(".")),
                (3, Piece::Block("sh", "$ ls")),
                (5, Piece::Prose("end")),
            ]
        );
    }

    #[test]
    fn code_blocks_hide_links_and_know_their_language() {
        let found = pieces("```rust,no_run\nlet x = a[0](1);\n```\n[a](b)");
        assert_eq!(
            found.first(),
            Some(&(2, Piece::Block("rust", "let x = a[0](1);")))
        );
        assert_eq!(
            found
                .iter()
                .filter(|(_, piece)| matches!(piece, Piece::Link(_)))
                .count(),
            1
        );
    }

    #[test]
    fn what_is_not_closed_does_not_swallow_the_page() {
        assert_eq!(pieces("a ` b\nc").len(), 3);
        assert_eq!(pieces("a [b](c\nd").len(), 3);
    }

    #[test]
    fn headings_have_the_anchors_of_github() {
        let page = "# One idea: the log decides\n## A `code` word\n```\n# no heading\n```\n## Twice\n## Twice\n#no";
        assert_eq!(
            anchors(page),
            [
                "one-idea-the-log-decides",
                "a-code-word",
                "twice",
                "twice-1"
            ]
        );
    }
}

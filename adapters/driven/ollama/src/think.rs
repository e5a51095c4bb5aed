//! Thinking that a model writes at the beginning of its answer, between tags.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// What a fragment of an answer is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Thought,
    Said,
}

/// Tells the two apart. Tags may be split anywhere.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    state: State,
    /// What may be the beginning of a tag.
    held: String,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Nothing but space has come.
    #[default]
    Start,
    Thought,
    Said,
}

impl Splitter {
    /// Takes a fragment, gives what is sure of it.
    pub(crate) fn take(&mut self, fragment: &str) -> Vec<(Side, String)> {
        self.held.push_str(fragment);
        let mut sides = Vec::new();
        if matches!(self.state, State::Start) {
            let begun = self.held.trim_start();
            if let Some(rest) = begun.strip_prefix(OPEN) {
                self.held = rest.to_owned();
                self.state = State::Thought;
            } else if OPEN.starts_with(begun) {
                return sides;
            } else {
                self.state = State::Said;
            }
        }
        if matches!(self.state, State::Thought) {
            if let Some((thought, rest)) = self.held.split_once(CLOSE) {
                sides.push((Side::Thought, thought.to_owned()));
                self.held = rest.trim_start().to_owned();
                self.state = State::Said;
            } else {
                // The longest end that may begin the tag is kept.
                let kept = (1..CLOSE.len())
                    .rev()
                    .filter_map(|length| CLOSE.get(..length))
                    .find(|start| self.held.ends_with(start))
                    .map_or(0, str::len);
                let sure = self.held.len().saturating_sub(kept);
                let rest = self.held.split_off(sure);
                sides.push((Side::Thought, std::mem::replace(&mut self.held, rest)));
                return sides;
            }
        }
        sides.push((Side::Said, std::mem::take(&mut self.held)));
        sides
    }

    /// Whether no tag can come any more: all that follows is said.
    pub(crate) const fn is_past(&self) -> bool {
        matches!(self.state, State::Said)
    }

    /// What is left when nothing more comes.
    pub(crate) fn end(&mut self) -> (Side, String) {
        let side = match self.state {
            State::Thought => Side::Thought,
            State::Start | State::Said => Side::Said,
        };
        (side, std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(fragments: &[&str]) -> (String, String) {
        let mut splitter = Splitter::default();
        let mut all: Vec<_> = fragments
            .iter()
            .flat_map(|fragment| splitter.take(fragment))
            .collect();
        all.push(splitter.end());
        let of = |wanted| {
            all.iter()
                .filter(|(side, _)| *side == wanted)
                .map(|(_, text)| text.as_str())
                .collect()
        };
        (of(Side::Thought), of(Side::Said))
    }

    #[test]
    fn once_a_tag_cannot_come_any_more_nothing_is_held() {
        let mut splitter = Splitter::default();
        for (fragment, is_past) in [
            (" ", false),
            ("<think>so", false),
            ("</think", false),
            (">yes", true),
            ("<think>", true),
        ] {
            splitter.take(fragment);
            assert_eq!(splitter.is_past(), is_past, "{fragment}");
        }
        assert_eq!(splitter.held, "");
    }

    #[test]
    fn tags_may_be_split_anywhere() {
        let whole = "<think>\nLet < me </thin see.\n</think>\n\nGrüße <think> 🦀</think>";
        let expected = (
            "\nLet < me </thin see.\n".to_owned(),
            "Grüße <think> 🦀</think>".to_owned(),
        );
        for at in (0..=whole.len()).filter(|at| whole.is_char_boundary(*at)) {
            let (one, two) = whole.split_at(at);
            let (thought, said) = split(&[one, two]);
            assert_eq!(thought, expected.0, "{at}");
            assert_eq!(said.trim_start(), expected.1, "{at}");
        }
        let letters: Vec<String> = whole.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(split(&letters).0, expected.0);
    }

    #[test]
    fn an_answer_without_tags_is_all_said() {
        for whole in [
            "",
            "<",
            "<thin",
            "<b>bold</b>",
            "so <think>no</think>",
            "\n x",
        ] {
            assert_eq!(split(&[whole]), (String::new(), whole.to_owned()));
        }
        assert_eq!(split(&["<think>on"]).0, "on");
        assert_eq!(split(&["<think>on </th"]).0, "on </th");
    }
}

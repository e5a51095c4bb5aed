//! Which entries of two sequences belong to each other.

use std::collections::BTreeMap;

use super::told::Item;

/// An entry that the sequences do not share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pair {
    /// Only the left one has it, there.
    Removed(usize),
    /// Only the right one has it, there.
    Added(usize),
    /// Both have one between the same shared neighbours.
    Changed(usize, usize),
}

impl Pair {
    /// How many answers the model had given there.
    pub(super) fn answers(&self, left: &[Item], right: &[Item]) -> usize {
        let of = |items: &[Item], place: usize| items.get(place).map(|item| item.answers);
        let (one, other) = match *self {
            Self::Removed(place) => (of(left, place), None),
            Self::Added(place) => (None, of(right, place)),
            Self::Changed(one, other) => (of(left, one), of(right, other)),
        };
        one.into_iter().chain(other).min().unwrap_or_default()
    }
}

/// The most cells of the table of a comparison. Sequences that need more, after what they begin and end with in common, are
/// paired in order.
const MAX_CELLS: usize = 4_000_000;

/// What of two sequences is not shared, in order, for as many shared entries as possible.
pub(super) fn align(left: &[Item], right: &[Item]) -> Vec<Pair> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let left = number_all(left, &mut numbers);
    let right = number_all(right, &mut numbers);
    let head = common(left.iter(), right.iter());
    let rest = |all: &[usize]| all.get(head..).unwrap_or_default().to_vec();
    let (mut left, mut right) = (rest(&left), rest(&right));
    let tail = common(left.iter().rev(), right.iter().rev());
    left.truncate(left.len().saturating_sub(tail));
    right.truncate(right.len().saturating_sub(tail));
    let mut pairs = Vec::new();
    let (mut from, mut to) = (0, 0);
    for (one, other) in shared(&left, &right)
        .into_iter()
        .chain([(left.len(), right.len())])
    {
        pairs.extend(between(
            head.saturating_add(from)..head.saturating_add(one),
            head.saturating_add(to)..head.saturating_add(other),
        ));
        from = one.saturating_add(1);
        to = other.saturating_add(1);
    }
    pairs
}

/// Numbers that are the same where texts are.
fn number_all<'i>(items: &'i [Item], numbers: &mut BTreeMap<&'i str, usize>) -> Vec<usize> {
    items
        .iter()
        .map(|item| {
            let next = numbers.len();
            *numbers.entry(item.text.as_str()).or_insert(next)
        })
        .collect()
}

fn common<'n>(
    left: impl Iterator<Item = &'n usize>,
    right: impl Iterator<Item = &'n usize>,
) -> usize {
    left.zip(right)
        .take_while(|(left, right)| left == right)
        .count()
}

/// What lies between two shared entries: as many changed ones as both have, then the rest.
fn between(left: std::ops::Range<usize>, right: std::ops::Range<usize>) -> Vec<Pair> {
    let both = left.len().min(right.len());
    let changed = left
        .clone()
        .zip(right.clone())
        .map(|(one, other)| Pair::Changed(one, other));
    let removed = left.skip(both).map(Pair::Removed);
    let added = right.skip(both).map(Pair::Added);
    changed.chain(removed).chain(added).collect()
}

/// The places of a longest common subsequence.
fn shared(left: &[usize], right: &[usize]) -> Vec<(usize, usize)> {
    let width = right.len().saturating_add(1);
    let cells = left.len().saturating_add(1).saturating_mul(width);
    if left.is_empty() || right.is_empty() || cells > MAX_CELLS {
        return Vec::new();
    }
    // The longest of what begins at each place, from the end on.
    let mut rows: Vec<Vec<u32>> = vec![vec![0; width]];
    for one in left.iter().rev() {
        let mut row = vec![0_u32; width];
        if let Some(below) = rows.last() {
            let mut behind = 0;
            for (place, other) in right.iter().enumerate().rev() {
                let of = |at: usize| below.get(at).copied().unwrap_or_default();
                behind = if one == other {
                    of(place.saturating_add(1)).saturating_add(1)
                } else {
                    of(place).max(behind)
                };
                if let Some(cell) = row.get_mut(place) {
                    *cell = behind;
                }
            }
        }
        rows.push(row);
    }
    rows.reverse();
    let longest = |one: usize, other: usize| {
        rows.get(one)
            .and_then(|row| row.get(other))
            .copied()
            .unwrap_or_default()
    };
    let mut found = Vec::new();
    let (mut one, mut other) = (0, 0);
    while let (Some(here), Some(there)) = (left.get(one), right.get(other)) {
        let (next_one, next_other) = (one.saturating_add(1), other.saturating_add(1));
        if here == there {
            found.push((one, other));
            (one, other) = (next_one, next_other);
        } else if longest(next_one, other) >= longest(one, next_other) {
            one = next_one;
        } else {
            other = next_other;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use seaworthy_ports::state_store::Seq;

    use super::*;

    fn items(text: &str) -> Vec<Item> {
        let item = |letter: char| Item {
            seq: Seq(1),
            answers: 0,
            text: letter.to_string(),
        };
        text.chars().map(item).collect()
    }

    fn aligned(left: &str, right: &str) -> Vec<Pair> {
        align(&items(left), &items(right))
    }

    #[test]
    fn one_entry_more_leaves_the_rest_alone() {
        assert_eq!(aligned("abcd", "abxcd"), [Pair::Added(2)]);
        assert_eq!(aligned("abxcd", "abcd"), [Pair::Removed(2)]);
        assert_eq!(aligned("abcd", "abcd"), []);
    }

    #[test]
    fn what_lies_between_the_same_neighbours_is_changed() {
        assert_eq!(
            aligned("abcde", "axcye"),
            [Pair::Changed(1, 1), Pair::Changed(3, 3)]
        );
        assert_eq!(
            aligned("ab", "axyz"),
            [Pair::Changed(1, 1), Pair::Added(2), Pair::Added(3)]
        );
        assert_eq!(aligned("", "a"), [Pair::Added(0)]);
    }

    #[test]
    fn sequences_too_long_for_a_table_are_paired_in_order() {
        let (left, right) = ("ab".repeat(1500), "ba".repeat(1500));
        assert_eq!(aligned(&left, &right).len(), 3000);
    }
}

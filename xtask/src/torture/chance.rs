//! Random delays that a seed repeats.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// SplitMix64: small, and good enough to choose moments.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A duration from `least` up to `most` milliseconds.
    pub(super) fn millis(&mut self, least: u64, most: u64) -> Duration {
        let span = most.saturating_sub(least).saturating_add(1);
        Duration::from_millis(least.saturating_add(self.next().checked_rem(span).unwrap_or(0)))
    }

    /// Whether it is one of the `of` in a hundred.
    pub(super) fn percent(&mut self, of: u64) -> bool {
        self.next() % 100 < of
    }

    /// A number below `count`; `None` where there is none.
    pub(super) fn below(&mut self, count: usize) -> Option<usize> {
        let count = u64::try_from(count).ok()?;
        self.next().checked_rem(count)?.try_into().ok()
    }

    /// Another source, for another thread.
    pub(super) fn split(&mut self) -> Self {
        Self(self.next())
    }
}

/// A seed that nobody chose.
pub(crate) fn any_seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_delays_within_their_bounds() {
        let (mut one, mut two) = (Chance::new(7), Chance::new(7));
        for _ in 0..1000 {
            let delay = one.millis(20, 40);
            assert_eq!(delay, two.millis(20, 40));
            assert!((20..=40).contains(&delay.as_millis()));
        }
        assert_ne!(
            Chance::new(7).millis(0, 1_000_000),
            Chance::new(8).millis(0, 1_000_000)
        );
    }
}

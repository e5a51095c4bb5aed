//! Chance that a seed repeats.

use std::sync::Arc;

use seaworthy_fakes::SeededEntropy;
use seaworthy_ports::entropy::Entropy as _;

/// Draws from a seed. Clones draw from the same sequence.
#[derive(Clone, Debug)]
pub struct Chance(Arc<SeededEntropy>);

impl Chance {
    /// The draws of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(SeededEntropy::new(seed)))
    }

    /// A number below `end`; 0 if there is none.
    #[must_use]
    pub fn below(&self, end: usize) -> usize {
        let end = end.max(1) as u128;
        usize::try_from(self.0.bits() % end).unwrap_or(0)
    }

    /// True once in `times`.
    #[must_use]
    pub fn once_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `these`, if there are any.
    #[must_use]
    pub fn one_of<T: Copy>(&self, these: &[T]) -> Option<T> {
        these.get(self.below(these.len())).copied()
    }
}

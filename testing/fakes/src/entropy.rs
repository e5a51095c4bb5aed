//! Chance that repeats itself.

use std::sync::Mutex;

use seaworthy_ports::AdapterInfo;
use seaworthy_ports::entropy::Entropy;

use crate::{info, locked};

/// The same values for the same seed: SplitMix64, twice for each value.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// The values of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn bits(&self) -> u128 {
        let mut state = locked(&self.0);
        let high = Self::next(&mut state);
        (u128::from(high) << 64) | u128::from(Self::next(&mut state))
    }
}

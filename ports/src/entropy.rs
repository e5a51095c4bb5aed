//! Chance: ids and jitter.

use std::fmt;

use crate::AdapterInfo;

/// The only source of randomness.
///
/// # Contract
///
/// * **EN-1** 128-bit values do not repeat: not within a source, not between two sources, not between processes.
///   A seeded source for tests declares itself by its id.
/// * **EN-2** Every value of the range is equally likely.
pub trait Entropy: fmt::Debug + Send + Sync + 'static {
    /// Who this is.
    fn info(&self) -> AdapterInfo;

    /// 128 random bits.
    fn bits(&self) -> u128;
}

//! [`SystemEntropy`]: the operating system's random numbers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seaworthy_ports::AdapterInfo;
use seaworthy_ports::entropy::Entropy;
use sha2::{Digest, Sha256};

/// The operating system gave no randomness.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the operating system gave no randomness: {0}")]
pub struct EntropyUnavailable(getrandom::Error);

/// The operating system's cryptographic random numbers.
///
/// A port call cannot fail, so the one moment that can is [`new`](Self::new): it takes a secret key from the system.
/// Should the system ever refuse later, values are derived from that key and a counter, which keeps them unpredictable
/// and free of repetition. Clones share key and counter.
#[derive(Clone)]
pub struct SystemEntropy(Arc<Fallback>);

struct Fallback {
    key: [u8; 32],
    counter: AtomicU64,
}

impl SystemEntropy {
    /// Reads from the operating system once, to know that it can.
    ///
    /// # Errors
    ///
    /// [`EntropyUnavailable`] where the system has no randomness to give.
    pub fn new() -> Result<Self, EntropyUnavailable> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(EntropyUnavailable)?;
        Ok(Self(Arc::new(Fallback {
            key,
            counter: AtomicU64::new(0),
        })))
    }
}

impl Fallback {
    fn bits(&self) -> u128 {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let sum: [u8; 32] = Sha256::new()
            .chain_update(self.key)
            // A forked child has the same key and counter, and another process id.
            .chain_update(std::process::id().to_le_bytes())
            .chain_update(count.to_le_bytes())
            .finalize()
            .into();
        let (mut high, mut low) = ([0; 16], [0; 16]);
        high.copy_from_slice(sum.first_chunk::<16>().unwrap_or(&[0; 16]));
        low.copy_from_slice(sum.last_chunk::<16>().unwrap_or(&[0; 16]));
        u128::from_le_bytes(high) ^ u128::from_le_bytes(low)
    }
}

impl fmt::Debug for SystemEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemEntropy")
    }
}

impl Entropy for SystemEntropy {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn bits(&self) -> u128 {
        let mut bytes = [0; 16];
        match getrandom::fill(&mut bytes) {
            Ok(()) => u128::from_le_bytes(bytes),
            Err(_refused) => self.0.bits(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn values_without_the_system_repeat_neither_within_a_key_nor_across_keys() {
        let fallback = |byte| Fallback {
            key: [byte; 32],
            counter: AtomicU64::new(0),
        };
        let (one, two) = (fallback(1), fallback(2));
        let seen: BTreeSet<u128> = (0..1_000).flat_map(|_| [one.bits(), two.bits()]).collect();
        assert_eq!(seen.len(), 2_000);
    }

    #[test]
    fn debug_shows_no_key() {
        let entropy = SystemEntropy(Arc::new(Fallback {
            key: [0xAB; 32],
            counter: AtomicU64::new(0),
        }));
        assert_eq!(format!("{entropy:?}"), "SystemEntropy");
    }
}

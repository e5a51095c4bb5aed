//! Sources of randomness with a bug.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seaworthy_contract::entropy::Harness;
use seaworthy_fakes::SeededEntropy;
use seaworthy_ports::entropy::Entropy;
use seaworthy_ports::{AdapterInfo, async_trait};

pub(crate) const NONE: u8 = 0;
pub(crate) const REPEATS_ONE: u8 = 1;
pub(crate) const ALWAYS_THE_SAME_SEED: u8 = 2;
pub(crate) const STUCK_BIT: u8 = 3;
pub(crate) const FAVOURS_A_BYTE: u8 = 4;

pub(crate) struct Broken(Arc<Bad>);

#[async_trait]
impl Harness for Broken {
    async fn start() -> Self {
        Self(Arc::new(Bad::new(super::chosen(), 7)))
    }

    fn entropy(&self) -> Arc<dyn Entropy> {
        Arc::<Bad>::clone(&self.0)
    }

    fn another(&self) -> Option<Arc<dyn Entropy>> {
        let seed = if self.0.bug == ALWAYS_THE_SAME_SEED {
            7
        } else {
            8
        };
        Some(Arc::new(Bad::new(self.0.bug, seed)))
    }
}

#[derive(Debug)]
struct Bad {
    bug: u8,
    inner: SeededEntropy,
    taken: AtomicU64,
}

impl Bad {
    fn new(bug: u8, seed: u64) -> Self {
        Self {
            bug,
            inner: SeededEntropy::new(seed),
            taken: AtomicU64::new(0),
        }
    }
}

impl Entropy for Bad {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn bits(&self) -> u128 {
        let taken = self.taken.fetch_add(1, Ordering::SeqCst);
        match (self.bug, taken) {
            // Once in a while, as a generator that is seeded anew with the time.
            (REPEATS_ONE, 1_000 | 2_000) => 1 << 127 | 0x5EA,
            (STUCK_BIT, _) => self.inner.bits() | 1 << 70,
            (FAVOURS_A_BYTE, _) if taken.is_multiple_of(64) => {
                self.inner.bits() & !0xFFFF_FFFF | 0x5A5A_5A5A
            }
            _ => self.inner.bits(),
        }
    }
}

//! The operating system as clock and source of randomness.

mod clock;
mod entropy;

pub use clock::SystemClock;
pub use entropy::{EntropyUnavailable, SystemEntropy};

use seaworthy_ports::AdapterInfo;

const INFO: AdapterInfo = AdapterInfo {
    id: "system",
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
};

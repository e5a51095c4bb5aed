//! Nobody looks.

use seaworthy_ports::AdapterInfo;
use seaworthy_ports::observer::{Fact, Observer};

use crate::info;

/// An observer that takes note of nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct SilentObserver;

impl Observer for SilentObserver {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn wants_content(&self) -> bool {
        false
    }

    fn observe(&self, _fact: &Fact) {}
}

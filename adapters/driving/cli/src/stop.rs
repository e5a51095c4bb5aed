//! Being asked to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use seaworthy::ports::Latch;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{CliError, Exit};

const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// Set by the first Ctrl-C or SIGTERM; the second ends the process where it stands, which loses nothing either.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) latch: Latch,
    by: Arc<AtomicU8>,
}

impl Stop {
    /// Listens from now on.
    pub(crate) fn listen() -> Result<Self, CliError> {
        let cannot = |source| CliError::io("listen for signals", source);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let (setter, latch) = Latch::new();
        let by = Arc::new(AtomicU8::new(0));
        let seen = Arc::clone(&by);
        let _runs_as_long_as_the_process = tokio::spawn(async move {
            loop {
                let signal = tokio::select! {
                    _ = interrupt.recv() => SIGINT,
                    _ = terminate.recv() => SIGTERM,
                };
                if seen.swap(signal, Ordering::AcqRel) != 0 {
                    std::process::exit(128_i32.saturating_add(signal.into()));
                }
                setter.set();
            }
        });
        Ok(Self { latch, by })
    }

    /// What the process ends with if it was asked to stop.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.by.load(Ordering::Acquire) {
            0 => None,
            signal => Some(Exit::Signal(signal)),
        }
    }
}

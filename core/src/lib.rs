//! The domain of Seaworthy: log, fold, agent machine, gateway and driver. No I/O of its own.

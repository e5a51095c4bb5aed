//! A worker that is paused in its turn.

use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::{Either, select};
use seaworthy_ports::durable_runtime::{RuntimeError, Served, Worker};
use seaworthy_ports::{Latch, LatchSetter};

use super::stage::{DONE, Runtime, consumed, does};
use crate::outcome::{Halt, broken, ok, patience, within};

/// A worker whose thread is blocked in its turn, heartbeat and all, as SIGSTOP would do it. Nothing shows that it is dead,
/// so nothing but time ends its lease.
pub(super) struct Paused {
    go_on: mpsc::Sender<()>,
    is_revoked: mpsc::Receiver<bool>,
    stop: LatchSetter,
    thread: JoinHandle<std::io::Result<Result<Served, RuntimeError>>>,
}

impl Paused {
    /// Returns when the worker is in its turn.
    pub(super) async fn start(runtime: &Runtime, worker: Worker) -> Result<Self, Halt> {
        let (paused, mut was_paused) = tokio::sync::mpsc::unbounded_channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        let goes_on = Mutex::new(goes_on);
        let (tell, is_revoked) = mpsc::channel::<bool>();
        let advance = does(move |turn| {
            let _scenario_is_over = paused.send(());
            let waits = goes_on
                .lock()
                .map(|goes_on| goes_on.recv_timeout(patience()));
            let _awake = waits.map(|woken| woken.is_ok());
            let tell = tell.clone();
            async move {
                let revoked = std::pin::pin!(turn.revoked.wait());
                let late = std::pin::pin!(tokio::time::sleep(patience() / 2));
                let is_revoked = matches!(select(revoked, late).await, Either::Left(_));
                let _scenario_is_over = tell.send(is_revoked);
                // What it would leave behind if anybody listened.
                consumed(&turn.signals, DONE)
            }
        });
        let worker = Worker {
            concurrency: 1,
            drain: patience(),
            ..worker
        };
        let (stop, stopped) = Latch::new();
        let runtime = Arc::clone(runtime);
        let thread = std::thread::spawn(move || {
            let alone = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            alone.map(|alone| alone.block_on(runtime.serve(worker, advance, stopped)))
        });
        within("waited for a worker to be paused", was_paused.recv()).await?;
        Ok(Self {
            go_on,
            is_revoked,
            stop,
            thread,
        })
    }

    /// Lets the turn end, and the worker with it. Returns what the worker counted, and whether the turn saw that its lease
    /// is gone.
    pub(super) async fn wake(self) -> Result<(Served, bool), Halt> {
        // It takes nothing else once it is awake.
        self.stop.set();
        let _asleep = self.go_on.send(());
        let ended = within("waited for the paused worker to end", async {
            while !self.thread.is_finished() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            self.thread.join()
        })
        .await?;
        let served = match ended {
            Ok(Ok(served)) => ok("served", served)?,
            Ok(Err(error)) => {
                return Err(broken("made a runtime for a worker", "a runtime", error));
            }
            Err(_panic) => return Err(broken("served", "no panic", "a panic")),
        };
        // A turn that was dropped can tell nothing: that is as good.
        Ok((served, self.is_revoked.try_recv().unwrap_or(true)))
    }
}

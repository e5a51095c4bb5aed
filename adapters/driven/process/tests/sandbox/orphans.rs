//! What happens to commands that have stopped their supervisor when their worker dies or is superseded, and to fences.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::bench::*;
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use seaworthy_ports::sandbox::*;

/// The folder that the worker process below works in, and what it runs there.
const FOLDER: &str = "SEAWORTHY_TEST_FOLDER";
const SCRIPT: &str = "SEAWORTHY_TEST_SCRIPT";

/// Says who it and its supervisor are, and when it is told to, stops the supervisor.
const STOP_SUPERVISOR: &str = "echo $$ >a; echo $PPID >supervisor; \
                               until [ -e go ]; do sleep 0.005; done; kill -STOP $PPID";

struct Worker(Child);

impl Worker {
    /// Another process that opens a session as attempt 1 and runs `script`.
    fn start(folder: &Path, script: &str) -> Self {
        let worker = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "orphans::worker_process",
                "--nocapture",
            ])
            .env(FOLDER, folder)
            .env(SCRIPT, script)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(worker)
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
#[ignore = "a process that the other tests start"]
async fn worker_process() {
    let folder = std::env::var(FOLDER).unwrap();
    let folder = Path::new(&folder);
    let session = connect(folder).await.open(spec(folder, 1)).await.unwrap();
    let _killed = session.exec(sh(&std::env::var(SCRIPT).unwrap())).await;
}

/// A worker that is stopped, with a supervisor that its command, whose id this gives, has stopped.
async fn all_stopped(bench: &Bench, then: &str) -> (Worker, i32) {
    let worker = Worker::start(bench.folder.path(), &format!("{STOP_SUPERVISOR}; {then}"));
    let command = pid_in(&bench.work().join("a")).await;
    let supervisor = pid_in(&bench.work().join("supervisor")).await;
    // First, for it would wake its supervisor.
    worker.signal(Signal::STOP);
    until("the worker is stopped", || is_stopped(worker.pid())).await;
    fs::write(bench.work().join("go"), "").unwrap();
    until("the supervisor is stopped", || is_stopped(supervisor)).await;
    (worker, command)
}

#[tokio::test]
async fn commands_die_with_a_worker_that_is_killed_even_if_they_have_stopped_their_supervisor() {
    let bench = Bench::new().await;
    let (worker, command) = all_stopped(&bench, "while :; do sleep 0.005; done").await;
    assert!(runs(command) && !is_stopped(command));
    worker.signal(Signal::KILL);
    until("the command is dead", || !runs(command)).await;
}

#[tokio::test]
async fn a_takeover_ends_commands_that_are_stopped_with_their_supervisor_and_their_worker() {
    let bench = Bench::new().await;
    let (_worker, command) = all_stopped(&bench, "kill -STOP $$").await;
    until("the command is stopped", || is_stopped(command)).await;
    bench.open(2).await;
    assert!(!runs(command));
}

#[tokio::test]
async fn nothing_acts_for_a_run_that_was_closed_for_good() {
    let bench = Bench::new().await;
    let (one, two) = (bench.open(1).await, bench.open(1).await);
    one.close(true).await.unwrap();
    let kind = two.exec(argv(&["true"])).await.unwrap_err().kind();
    assert_eq!(kind, Kind::Fenced);
    let kind = two.write("a", Bytes::new()).await.unwrap_err().kind();
    assert_eq!(kind, Kind::Fenced);
}

#[tokio::test]
async fn what_a_run_without_a_last_close_has_left_is_swept_by_an_open_after_a_week() {
    let bench = Bench::new().await;
    let open = async |run: &str| {
        let mut spec = bench.spec(1);
        spec.owner.run = seaworthy_ports::RunId::new(run).unwrap();
        // Each time another worker, for one sweeps once a day.
        let sandbox = connect(bench.folder.path()).await;
        sandbox.open(spec).await.unwrap()
    };
    let (closed, held) = (open("closed").await, open("held").await);
    closed.close(false).await.unwrap();
    drop(closed);
    let state = bench.folder.path().join("state");
    let age = |days: u64| {
        let then = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
        for entry in fs::read_dir(&state).unwrap() {
            let entry = fs::File::open(entry.unwrap().path()).unwrap();
            entry.set_modified(then).unwrap();
        }
    };
    let left = || {
        let mut names: Vec<_> = fs::read_dir(&state)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    age(6);
    open("a").await.close(true).await.unwrap();
    assert_eq!(
        left(),
        ["closed.fence", "closed.live", "held.fence", "held.live"]
    );
    age(8);
    open("b").await.close(true).await.unwrap();
    assert_eq!(left(), ["held.fence", "held.live"]);
    held.write("still", Bytes::new()).await.unwrap();
}

#[tokio::test]
async fn nothing_is_written_once_close_has_returned() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    // A takeover is about to be decided, so the write has to wait.
    let fence = bench
        .folder
        .path()
        .join("state")
        .join(format!("{RUN}.fence"));
    let fence = fs::File::open(fence).unwrap();
    fence.lock().unwrap();
    let write = session.write("late", Bytes::new());
    tokio::select! {
        biased;
        _ = write => panic!("it did not wait"),
        () = tokio::task::yield_now() => {} // it has begun, and what blocks does not stop when it is dropped
    }
    session.close(false).await.unwrap();
    fence.unlock().unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await; // real time: many looks at the lock
    assert!(!bench.work().join("late").exists());
}

#[tokio::test]
async fn close_waits_for_what_is_being_written() {
    let bench = Bench::new().await;
    let session = bench.open(1).await;
    let content = Bytes::from(vec![b'x'; 100_000_000]);
    let writer = Arc::clone(&session);
    let write = tokio::spawn(async move { writer.write("file", content).await });
    let drafts = || {
        let names = fs::read_dir(bench.work()).unwrap();
        names
            .filter(|entry| entry.as_ref().unwrap().file_name() != "file")
            .count()
    };
    until("it is being written", || drafts() == 1).await;
    session.close(false).await.unwrap();
    assert_eq!(drafts(), 0);
    // Too late to be published, unless it was already.
    let is_there = bench.work().join("file").exists();
    assert_eq!(write.await.unwrap().is_ok(), is_there);
}

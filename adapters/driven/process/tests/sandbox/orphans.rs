//! SB-7 and SB-8: what happens to commands when their worker dies, sleeps or is superseded.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::bench::*;
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use seaworthy_ports::sandbox::*;

/// The folder that the worker process below works in.
const FOLDER: &str = "SEAWORTHY_TEST_FOLDER";

/// A line every 5 ms from the command and from a grandchild in a session of its own, until somebody ends them.
const APPEND: &str = "setsid sh -c 'echo $$ >b; while :; do echo b >>lines; sleep 0.005; done' & \
                      echo $$ >a; while :; do echo a >>lines; sleep 0.005; done";

struct Worker(Child);

impl Worker {
    /// Another process that opens a session as attempt 1 and runs [`APPEND`].
    fn start(folder: &Path) -> Self {
        let worker = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "orphans::worker_process",
                "--nocapture",
            ])
            .env(FOLDER, folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(worker)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
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
    let first = session.exec(sh(APPEND)).await;
    // Only a worker that was superseded gets here.
    let second = session.exec(sh("echo zombie >>lines")).await;
    let third = session.write("zombie", Bytes::new()).await;
    let fourth = session.remove("lines").await;
    let mut told = String::new();
    for result in [first.map(drop), second.map(drop), third, fourth] {
        told.push_str(&format!("{:?}\n", result.map_err(|error| error.kind())));
    }
    fs::write(folder.join("told.new"), told).unwrap();
    fs::rename(folder.join("told.new"), folder.join("told")).unwrap();
}

async fn running(bench: &Bench) -> (i32, i32) {
    let pids = (
        pid_in(&bench.work().join("a")).await,
        pid_in(&bench.work().join("b")).await,
    );
    until("both write", || {
        let lines = fs::read_to_string(bench.work().join("lines")).unwrap_or_default();
        lines.contains('a') && lines.contains('b')
    })
    .await;
    assert!(runs(pids.0) && runs(pids.1));
    pids
}

fn size(bench: &Bench) -> u64 {
    fs::metadata(bench.work().join("lines")).unwrap().len()
}

#[tokio::test]
async fn commands_die_with_a_worker_that_is_killed() {
    let bench = Bench::new().await;
    let worker = Worker::start(bench.folder.path());
    let (a, b) = running(&bench).await;
    worker.signal(Signal::KILL);
    until("the command is dead", || !runs(a)).await;
    until("the grandchild is dead", || !runs(b)).await;
    let before = size(&bench);
    tokio::time::sleep(Duration::from_millis(100)).await; // real time: twenty lines of an orphan
    assert_eq!(size(&bench), before);
    // The next attempt need not wait for anything.
    let session = bench.open(2).await;
    session.write("lines", Bytes::new()).await.unwrap();
    session.close(true).await.unwrap();
    assert_eq!(
        fs::read_dir(bench.folder.path().join("state"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn a_takeover_ends_the_commands_of_a_worker_that_sleeps_and_fences_it_when_it_wakes() {
    let bench = Bench::new().await;
    let worker = Worker::start(bench.folder.path());
    let (a, b) = running(&bench).await;
    worker.signal(Signal::STOP);
    assert!(runs(a) && runs(b));
    let session = bench.open(2).await;
    // At once, not after a while.
    assert!(!runs(a) && !runs(b));
    session
        .write("lines", Bytes::from_static(b"mine\n"))
        .await
        .unwrap();
    worker.signal(Signal::CONT);
    let told = bench.folder.path().join("told");
    until("the worker has tried", || told.exists()).await;
    assert_eq!(fs::read_to_string(told).unwrap(), "Err(Fenced)\n".repeat(4));
    assert_eq!(
        fs::read_to_string(bench.work().join("lines")).unwrap(),
        "mine\n"
    );
    assert!(!bench.work().join("zombie").exists());
}

#[tokio::test]
async fn an_earlier_attempt_is_refused_and_the_later_one_works_on() {
    let bench = Bench::new().await;
    let first = bench.open(1).await;
    let second = bench.open(2).await;
    let kind = first.exec(argv(&["true"])).await.unwrap_err().kind();
    assert_eq!(kind, Kind::Fenced);
    let kind = first.spawn(argv(&["true"])).await.unwrap_err().kind();
    assert_eq!(kind, Kind::Fenced);
    let kind = first.write("a/b", Bytes::new()).await.unwrap_err().kind();
    assert_eq!(kind, Kind::Fenced);
    let kind = first.remove("a").await.unwrap_err().kind();
    assert_eq!(kind, Kind::Fenced);
    assert!(!bench.work().join("a").exists());
    let kind = bench.sandbox.open(bench.spec(1)).await.unwrap_err().kind();
    assert_eq!(kind, Kind::Fenced);
    first.close(true).await.unwrap();
    let output = second.exec(argv(&["true"])).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(0));
}

#[tokio::test]
async fn runs_do_not_fence_each_other() {
    let bench = Bench::new().await;
    let one = bench.open(1).await;
    let mut spec = bench.spec(9);
    spec.owner.run = seaworthy_ports::RunId::new("run_2").unwrap();
    let two = bench.sandbox.open(spec).await.unwrap();
    one.exec(argv(&["true"])).await.unwrap();
    two.close(true).await.unwrap();
    one.write("a", Bytes::new()).await.unwrap();
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
